"""Many runs of EM, in rounds: all runs begin, and after each round only the best go on.

XLA runs a loop on one core. Where a pass over the data is short, each thread therefore makes some of the runs; where
it takes milliseconds the threads share each pass of a run, and its steps go through Python. On an accelerator all runs
step together, and so do those of a short table, in NumPy.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from bayes_gmm.core.linalg import square
from bayes_gmm.core.precision import in_threads
from bayes_gmm.core.tuning import TUNING, n_cores
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.linear_form import Expectation
from bayes_gmm.likelihood.short_tables import ShortTable
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_run import RUNNING, EMRun, StoppingRule, advance, begin, step
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.objective import Objective

_N_CORES = n_cores()

SAME_OPTIMUM = 1e-3
"""Nats within which two runs have reached the same value: far above `tol`, far below what tells fits apart."""

_SAME_COMPONENTS = 0.05
"""Standard deviations of the data by which summed means and covariances of one maximum may differ between runs."""

_AGREEING = 24
"""Number of runs, of some 32, at one maximum from which on others find no better one (`tests/calibration`)."""

_FAR = 20.0
"""Nats below the best from which on a maximum has no share in a posterior, and is not waited for where runs agree."""

_MOST_OPTIMA = 16
"""Number of distinct maxima that a fit keeps."""

# Threads of our own are faster than those of XLA's matrix products.
_jit = partial(jax.jit, compiler_options={"xla_cpu_multi_thread_eigen": False})


_MOMENT = 1.0
"""Seconds after which runs show how they proceed."""

_ONE_PROBLEM = np.zeros(1, int)


class Round(NamedTuple):
    """Number of runs that go on, the best ones of each problem, and the number of steps up to which they go."""

    n_runs: int
    max_steps: int


class _Search(NamedTuple):
    """Everything that stays the same from round to round; it is told how many runs of a round are done."""

    objective: Objective
    rule: StoppingRule
    threads: Executor
    tell: Callable[[int], Any] = lambda count: None


def run_rounds(
    starts: Mixture,
    objective: Objective,
    rule: StoppingRule,
    rounds: Sequence[Round],
    path_length: int,
    firsts: Int[np.ndarray, " problems"] = _ONE_PROBLEM,
    progress: bool = False,
) -> EMRun:
    """Runs (R,) from all starts, without their past, in NumPy; within a scoped float64.

    The runs of several problems, each from one number in `firsts` to the next, do not look at each other's. Once those
    of a problem `agree` its runs far below are left behind: of runs that step together after any step, of others after
    a round. With `progress` a bar shows how many runs of all rounds are done, where they take longer than a moment.
    """
    runs = begin(jax.tree.map(np.array, jax.device_get(starts)), objective, path_length)
    is_short = isinstance(objective.data, ShortTable)
    total = sum(one.n_runs for one in rounds)
    hidden = is_short or not progress
    bar = tqdm(total=total, desc="EM", unit=" runs", disable=hidden, leave=False, delay=_MOMENT)
    with bar, ThreadPoolExecutor(_N_CORES) as threads:
        search = _Search(objective, rule, threads, bar.update)
        for number, limit in rounds:
            chosen = _best_first(runs, number, firsts)
            if is_short:
                _step_together(runs, chosen, limit, search, firsts)
            elif chosen.size:
                _advance(runs, chosen, limit, search)
    status = np.where(runs.status == RUNNING, EMStatus.LEFT_BEHIND, runs.status)
    return replace(runs, status=status, past=None)


def agree(runs: EMRun, firsts: Int[np.ndarray, " problems"] = _ONE_PROBLEM) -> Bool[np.ndarray, " problems"]:
    """Whether so many runs of each problem have come to its best maximum that others find no better one.

    One of them has to have ended there.
    """
    values = _usable_values(runs)
    arrived = values > _best_of_own(values, firsts) - SAME_OPTIMUM
    ended = np.logical_or.reduceat(arrived & (runs.status == EMStatus.CONVERGED), firsts)
    return (np.add.reduceat(arrived, firsts, dtype=int) >= _AGREEING) & ended


def _usable_values(runs: EMRun) -> Float[np.ndarray, " R"]:
    """Values of the runs, minus infinity of those that have none or failed."""
    failed = (runs.status == EMStatus.COLLAPSED) | (runs.status == EMStatus.NONFINITE)
    return np.where(failed | np.isnan(runs.value), -np.inf, runs.value)


def _best_of_own(values: Float[np.ndarray, " R"], firsts: Int[np.ndarray, " problems"]) -> Float[np.ndarray, " R"]:
    """For each run the largest value of its problem."""
    return np.maximum.reduceat(values, firsts)[_problem_of(len(values), firsts)]


def _problem_of(n_runs: int, firsts: Int[np.ndarray, " problems"]) -> Int[np.ndarray, " R"]:
    return np.repeat(np.arange(len(firsts)), np.diff(firsts, append=n_runs))


def _may_go_on(runs: EMRun, firsts: Int[np.ndarray, " problems"] = _ONE_PROBLEM) -> Bool[np.ndarray, " R"]:
    """Runs (R,) that have not ended; where the runs agree only those near the best, which may end beside it."""
    going = runs.status == RUNNING
    if not (runs.status == EMStatus.CONVERGED).any() or not (agreeing := agree(runs, firsts)).any():
        return going
    far = runs.value <= _best_of_own(_usable_values(runs), firsts) - _FAR
    return going & ~(agreeing[_problem_of(len(going), firsts)] & far)


def _best_first(runs: EMRun, number: int, firsts: Int[np.ndarray, " problems"]) -> Int[np.ndarray, " some"]:
    """Numbers of the best runs of each problem that may go on, by value; all in their order before they begin."""
    problem = _problem_of(len(runs.value), firsts)
    order = np.lexsort((-np.nan_to_num(runs.value, nan=np.inf), problem))
    order = order[_may_go_on(runs, firsts)[order]]
    place = np.arange(len(order)) - np.searchsorted(problem[order], problem[order])
    return order[place < number]


def _advance(runs: EMRun, chosen: Int[np.ndarray, " some"], limit: int, search: _Search) -> None:
    """Let the chosen runs go on, in place."""
    objective, rule, _, tell = search
    milliseconds = objective.data.milliseconds(len(objective.present))
    n_parts = max(1, min(_N_CORES, int(milliseconds / TUNING.milliseconds_worth_a_part)))
    if jax.default_backend() != "cpu":
        together = _together(_some(runs, chosen, len(runs.status)), limit, objective, rule)
        _put(runs, chosen, jax.device_get(together))
        tell(len(chosen))
    elif milliseconds < TUNING.milliseconds_worth_a_thread or _N_CORES == 1:
        one_by_one = _one_by_one(_some(runs, chosen, len(runs.status)), limit, objective, rule)
        _put(runs, chosen, jax.device_get(one_by_one))
        tell(len(chosen))
    elif len(parts := objective.data.parts(n_parts)) > 1:
        _share_passes(runs, chosen, limit, search, parts)
    else:
        _share_runs(runs, chosen, limit, search)


# Runs that collapse are not finite, which their status says.
@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def _step_together(
    runs: EMRun, chosen: Int[np.ndarray, " some"], limit: int, search: _Search, firsts: Int[np.ndarray, " problems"]
) -> None:
    """Let the chosen runs go on in NumPy, in place: one step of all that have not ended at a time."""
    going, objective = jax.tree.map(lambda leaf: leaf[chosen], runs), search.objective.of_mixtures(chosen)
    while chosen.size:
        going = step(going, None, objective, search.rule)
        runs.value[chosen], runs.status[chosen] = going.value, going.status
        on = _may_go_on(runs, firsts)[chosen] & (going.n_steps < limit)
        if not on.all():
            _put(runs, chosen[~on], jax.tree.map(lambda leaf, off=~on: leaf[off], going))
            going, chosen = jax.tree.map(lambda leaf, on=on: leaf[on], going), chosen[on]
            objective = search.objective.of_mixtures(chosen)


def _share_runs(runs: EMRun, chosen: Int[np.ndarray, " some"], limit: int, search: _Search) -> None:
    """Each thread makes some of the runs."""

    def advance_some(numbers: np.ndarray) -> EMRun:
        return jax.device_get(_one_by_one(_some(runs, numbers, size), limit, search.objective, search.rule))

    size = -(-len(runs.status) // _N_CORES)
    if not runs.n_steps.any():
        advance_some(chosen[:0])  # compiles, for all threads
    shares = [chosen[first::_N_CORES] for first in range(min(_N_CORES, len(chosen)))]
    for share, moved in zip(shares, in_threads(search.threads, advance_some, shares), strict=True):
        _put(runs, share, moved)
        search.tell(len(share))


def _share_passes(
    runs: EMRun, chosen: Int[np.ndarray, " some"], limit: int, search: _Search, parts: Sequence[Likelihood]
) -> None:
    """The threads share each pass over the data, run by run and step by step."""

    def expect(part: Likelihood) -> Expectation:
        return jax.block_until_ready(_expect(run.mixture, replace(rest, data=part)))

    rest = search.objective.without_data()
    for number in chosen:
        run = jax.tree.map(lambda leaf, number=number: leaf[number], runs)
        _expect(run.mixture, replace(rest, data=parts[0].unvisited()))  # compiles, for all threads
        while int(run.status) == RUNNING and int(run.n_steps) < limit:
            run = _step(run, list(in_threads(search.threads, expect, parts)), rest, search.rule)
        _put(runs, np.array([number]), jax.tree.map(lambda leaf: np.asarray(leaf)[None], run))
        search.tell(1)


def _some(runs: EMRun, numbers: Int[np.ndarray, " some"], size: int) -> EMRun:
    """Runs (size,) of these numbers, and idle ones after them."""
    padded = np.pad(numbers, (0, size - len(numbers)))
    some = jax.tree.map(lambda leaf: leaf[padded], runs)
    return replace(some, status=np.where(np.arange(size) < len(numbers), some.status, EMStatus.LEFT_BEHIND))


def _put(runs: EMRun, numbers: Int[np.ndarray, " some"], moved: EMRun) -> None:
    for every, leaf in zip(jax.tree.leaves(runs), jax.tree.leaves(moved), strict=True):
        every[numbers] = leaf[: len(numbers)]


@_jit
def _one_by_one(runs: EMRun, limit: Array | int, objective: Objective, rule: StoppingRule) -> EMRun:
    return jax.lax.map(partial(advance, limit=limit, objective=objective, rule=rule), runs)


@jax.jit
def _together(runs: EMRun, limit: Array | int, objective: Objective, rule: StoppingRule) -> EMRun:
    return jax.vmap(partial(advance, limit=limit, objective=objective, rule=rule))(runs)


@_jit
def _expect(mixture: Mixture, objective: Objective) -> Expectation:
    return objective.expect(mixture)


@_jit
def _step(run: EMRun, expected: list[Expectation], objective: Objective, rule: StoppingRule) -> EMRun:
    return step(run, jax.tree.map(lambda *parts: sum(parts), *expected), objective, rule)


# Runs that failed may have ended anywhere, also where squares overflow float64; none of them is kept.
@np.errstate(over="ignore", invalid="ignore")
def distinct_optima(runs: EMRun, best: int, x: Float[np.ndarray, "N D"]) -> Mixture:
    """Converged runs, best first, with different values or, where data are symmetric, different components."""
    order = np.argsort(np.where(runs.status == EMStatus.CONVERGED, -runs.value, np.inf), kind="stable")
    ends = order[: np.count_nonzero(runs.status == EMStatus.CONVERGED)]
    components, values = _without_labels(runs.mixture, x), runs.value.tolist()
    kept: list[int] = [best]
    for run in ends.tolist():
        rivals = [other for other in kept if abs(values[other] - values[run]) <= SAME_OPTIMUM]
        if not rivals or np.abs(components[rivals] - components[run]).max(1).min() > _SAME_COMPONENTS:
            kept.append(run)
    return jax.tree.map(lambda leaf: leaf[kept[:_MOST_OPTIMA]], runs.mixture)


def _without_labels(mixtures: Mixture, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "M D+D*D"]:
    """Sums over the components of means and covariances of mixtures (M,), in sds of the data, (M, D + D D)."""
    spread = np.nanstd(x, 0)
    means = ((mixtures.means - np.nanmean(x, 0)) / spread).sum(-2)
    covariances = square(mixtures.scale_tril / spread[:, None]).sum(-3)
    return np.concatenate([means, covariances.reshape(len(means), -1)], 1)
