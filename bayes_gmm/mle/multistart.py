"""Many runs of EM, in rounds that ever fewer of them survive.

XLA runs a loop on one core. Where a pass over the data is short, threads therefore make some runs each; where it takes
milliseconds they share each pass of a run, and its steps go through Python. On an accelerator all runs step together.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from bayes_gmm.core.compilation import n_cores
from bayes_gmm.likelihood.blocks import Blocks
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_run import RUNNING, Rule, Run, begin, go_on, step
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.objective import Objective

_N_CORES = n_cores()
_WORTH_A_THREAD = 0.01
_WORTH_A_PART = 1.5
"""Milliseconds of a pass over the data from which threads help with many runs, and with the pass itself."""

# Threads of our own are faster than those of XLA's matrix products.
_jit = partial(jax.jit, compiler_options={"xla_cpu_multi_thread_eigen": False})


class Round(NamedTuple):
    """How many of the runs go on, the best ones, and up to how many steps."""

    n_runs: int
    max_steps: int


def run_rounds(starts: Mixture, objective: Objective, rule: Rule, rounds: Sequence[Round], path_length: int) -> Run:
    """Runs (R,) from all starts, without their past, in NumPy; within a scoped float64."""
    runs = begin(jax.tree.map(np.array, jax.device_get(starts)), path_length)
    with ThreadPoolExecutor(_N_CORES) as threads:
        for number, limit in rounds:
            if (chosen := _best_first(runs)[:number]).size:
                _advance(runs, chosen, limit, objective, rule, threads)
    status = np.where(runs.status == RUNNING, EMStatus.LEFT_BEHIND, runs.status)
    return replace(runs, status=status, past=None)


def _best_first(runs: Run) -> Int[np.ndarray, " some"]:
    """Numbers of the runs still on their way, by value; all in their order before they begin."""
    order = np.argsort(-np.nan_to_num(runs.value, nan=np.inf), kind="stable")
    return order[runs.status[order] == RUNNING]


def _advance(runs: Run, chosen: np.ndarray, limit: int, objective: Objective, rule: Rule, threads: Executor) -> None:
    """Let the chosen runs go on, in place."""
    milliseconds = objective.data.milliseconds(len(objective.present))
    if jax.default_backend() != "cpu":
        together = _together(_some(runs, chosen, len(runs.status)), limit, objective, rule)
        _put(runs, chosen, jax.device_get(together))
    elif milliseconds < _WORTH_A_THREAD or _N_CORES == 1:
        one_by_one = _one_by_one(_some(runs, chosen, len(runs.status)), limit, objective, rule)
        _put(runs, chosen, jax.device_get(one_by_one))
    elif len(parts := objective.data.parts(max(1, min(_N_CORES, int(milliseconds / _WORTH_A_PART))))) > 1:
        _in_parts(runs, chosen, limit, objective, rule, parts, threads)
    else:
        _in_threads(runs, chosen, limit, objective, rule, threads)


def _in_threads(runs: Run, chosen: np.ndarray, limit: int, objective: Objective, rule: Rule, threads: Executor) -> None:
    def advance(share: np.ndarray) -> Run:
        with jax.enable_x64(True):  # which each thread has for itself
            return jax.device_get(_one_by_one(_some(runs, share, size), limit, objective, rule))

    size = -(-len(runs.status) // _N_CORES)
    if not runs.n_steps.any():
        advance(chosen[:0])  # compiles, for all threads
    shares = [chosen[first::_N_CORES] for first in range(min(_N_CORES, len(chosen)))]
    for share, moved in zip(shares, threads.map(advance, shares), strict=True):
        _put(runs, share, moved)


def _in_parts(
    runs: Run, chosen: np.ndarray, limit: int, objective: Objective, rule: Rule, parts: list[Blocks], threads: Executor
) -> None:
    def expect(part: Blocks) -> Any:
        with jax.enable_x64(True):
            return jax.block_until_ready(_expect(run.mixture, replace(rest, data=part)))

    rest = objective.without_data()
    for number in chosen:
        run = jax.tree.map(lambda leaf, number=number: leaf[number], runs)
        _expect(run.mixture, replace(rest, data=replace(parts[0], stop=parts[0].first)))  # compiles, for all threads
        while int(run.status) == RUNNING and int(run.n_steps) < limit:
            run = _step(run, list(threads.map(expect, parts)), rest, rule)
        _put(runs, np.array([number]), jax.tree.map(lambda leaf: np.asarray(leaf)[None], run))


def _some(runs: Run, numbers: np.ndarray, size: int) -> Run:
    """Runs (size,) of these numbers, and idle ones after them."""
    padded = np.pad(numbers, (0, size - len(numbers)))
    some = jax.tree.map(lambda leaf: leaf[padded], runs)
    return replace(some, status=np.where(np.arange(size) < len(numbers), some.status, EMStatus.LEFT_BEHIND))


def _put(runs: Run, numbers: np.ndarray, moved: Run) -> None:
    for every, leaf in zip(jax.tree.leaves(runs), jax.tree.leaves(moved), strict=True):
        every[numbers] = leaf[: len(numbers)]


@_jit
def _one_by_one(runs: Run, limit: Array | int, objective: Objective, rule: Rule) -> Run:
    return jax.lax.map(partial(go_on, limit=limit, objective=objective, rule=rule), runs)


@jax.jit
def _together(runs: Run, limit: Array | int, objective: Objective, rule: Rule) -> Run:
    return jax.vmap(partial(go_on, limit=limit, objective=objective, rule=rule))(runs)


@_jit
def _expect(mixture: Mixture, objective: Objective) -> tuple[Array, Array]:
    return objective.expect(mixture)


@_jit
def _step(run: Run, expected: list[tuple[Array, Array]], objective: Objective, rule: Rule) -> Run:
    return step(run, jax.tree.map(lambda *parts: sum(parts), *expected), objective, rule)
