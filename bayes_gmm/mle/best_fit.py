"""The best maximum of a problem: starts and rounds of runs, and the fit that the best run becomes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import flag, number_of_steps, one_of, positive_integer, real_number, seed_integer
from bayes_gmm.likelihood.moments import n_statistics
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.degrees_of_freedom import estimate_degrees
from bayes_gmm.mle.doubts import thin_components
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.em_run import EMRun, StoppingRule
from bayes_gmm.mle.multistart import Round, agree, distinct_optima, run_rounds
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import NARROW, Problem
from bayes_gmm.search.component_moves import FROM_COMPONENTS, KEPT, climbs, usual_number_of_climbs
from bayes_gmm.search.initialisation import split_starts, starting_mixtures, usual_number_of_starts

SEARCH_OPTIONS = ("n_starts", "accelerate", "tol", "max_steps", "seed", "spurious")
"""Arguments of `fit_em` that say where to start and when to stop, beside a start of one's own."""

_NO_LIMIT = 2**30
"""Steps that no run makes: the last round ends by the rule alone."""

_GENERATION = 32
"""Largest number of starts that are made before what they found is looked at."""

_CHEAP_POINTS = 2000
"""Tables up to this length are so cheap that all starts may run long before the first choice."""

_SHORT_STEP, _STATISTICS_OF_A_SHARE = 8e7, 50
"""Products of a step of all runs up to which NumPy ends before XLA has compiled, and what an exponential counts as."""

_SHORT_SIDE_BY_SIDE = 2**17
"""Work (`Problem.work`) up to which NumPy ends runs that step side by side, few of each, before XLA has compiled."""

_PATIENCE = 3.0
"""Seconds after which climbs show how they proceed."""


class SearchOptions(NamedTuple):
    """Checked arguments of `fit_em` that say where to start and when to stop."""

    start: Any = None
    n_starts: int | None = None
    accelerate: bool = True
    tol: float = 1e-8
    max_steps: int = 1000
    seed: int = 0
    spurious: str = "keep"
    progress: bool = False

    @classmethod
    def of(
        cls,
        *,
        start: Any = None,
        n_starts: Any = None,
        accelerate: Any = True,
        tol: Any = 1e-8,
        max_steps: Any = 1000,
        seed: Any = 0,
        spurious: Any = "keep",
        progress: Any = False,
    ) -> "SearchOptions":
        """Check what a user gives.

        Raises
        ------
        ArgumentError
            When an argument has a value that it cannot have.
        """
        one_of("spurious", spurious, ("keep", "skip"), 'The default is "keep".')
        return cls(
            start=start,
            n_starts=None if n_starts is None else positive_integer("n_starts", n_starts),
            accelerate=flag("accelerate", accelerate),
            tol=real_number(
                "tol", tol, least=0.0, expected="a finite number of nats, 0 or more", remedy="The default is 1e-8."
            ),
            max_steps=number_of_steps("max_steps", max_steps),
            seed=seed_integer(seed),
            spurious=spurious,
            progress=flag("progress", progress),
        )


def fit_problem(problem: Problem, options: SearchOptions, n_slots: int | None = None, n_rows: int = 0) -> EMFit:
    """Fit a problem: one of few complete rows in NumPy, or by a compiled program.

    A program that many problems share has room for `n_slots` components and, for short tables, `n_rows` rows.
    """
    return _fit_of(problem, options, *_run_all_starts(problem, options, n_slots, n_rows))


def may_run_side_by_side(problems: Sequence[Problem], options: SearchOptions) -> bool:
    """Whether the runs of these problems, which differ in the number of components, may step together in NumPy."""
    few = options.n_starts is not None and options.n_starts <= _GENERATION
    return few and all(
        one.is_plain
        and one.work <= _SHORT_SIDE_BY_SIDE
        and one.table.n_features <= NARROW
        # A prior, and parameters that are held, are made for one number of components.
        and one.prior is None
        and one.fixed is None
        for one in problems
    )


@in_float64
def fit_side_by_side(problems: Sequence[Problem], options: SearchOptions) -> list[EMFit]:
    """Fits of problems that differ in the number of components, from random starts whose runs step together.

    Absent components fill up every mixture to the largest number of them.
    """
    n_slots = max(problem.n_components for problem in problems)
    objectives = [problem.short_objective(with_products=False).with_slots(n_slots) for problem in problems]
    climbing = [min(usual_number_of_climbs(problem), 1 if options.n_starts == 1 else KEPT) for problem in problems]
    given = zip(problems, objectives, climbing, strict=True)
    starts = [_first_starts(problem, objective, options, n, options.n_starts or 1) for problem, objective, n in given]
    sizes = [len(some.log_weights) for some in starts]
    firsts = np.cumsum([0, *sizes[:-1]])
    present = np.repeat([objective.present for objective in objectives], sizes, 0)
    together = jax.tree.map(lambda *leaves: np.concatenate(jax.device_get(leaves)), *starts)
    objective = replace(objectives[0], present=present)
    runs = _one_generation(together, objective, _rule(problems[0], options), problems[0], firsts)
    fits = []
    for problem, first, size in zip(problems, firsts, sizes, strict=True):
        own = jax.tree.map(lambda leaf, first=first, size=size: leaf[first : first + size], runs)
        fits.append(_fit_of(problem, options, _in_data_units(own, problem), np.zeros(size)))
    return fits


def _fit_of(problem: Problem, options: SearchOptions, runs: EMRun, log_priors: Any) -> EMFit:
    """The best of the runs (R,), in data units, at whose ends the prior density has these logarithms (R,)."""
    usable = np.isin(runs.status, (EMStatus.CONVERGED, EMStatus.MAX_STEPS))
    if options.spurious == "skip":
        clean = usable & ~thin_components(runs.mixture, problem).any(-1)
        usable = clean if clean.any() else usable
    candidates = np.where(usable, runs.value, -np.inf) if usable.any() else runs.value
    best = int(np.argmax(np.nan_to_num(candidates, nan=-np.inf)))
    mixture = jax.tree.map(lambda leaf: leaf[best], runs.mixture)
    if problem.fixed is not None:
        mixture = problem.fixed.impose(mixture)
    if not problem.names_components:
        mixture = mixture.permute(np.argsort(mixture.means[:, 0], kind="stable"))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of a fit that failed nothing is finite
        centred = problem.objective_without_prior(mixture)
        log_likelihood = centred if problem.assignment == "soft" else problem.log_likelihood(mixture)
    return EMFit(
        mixture=mixture,
        log_likelihood=log_likelihood,
        status=EMStatus(int(runs.status[best])),
        n_steps=int(runs.n_steps[best]),
        path=runs.path[best, : runs.n_steps[best] + 1],
        start_log_likelihoods=runs.value,
        start_statuses=runs.status,
        optima=distinct_optima(runs, best, problem.table.values),
        kernel_error=abs(float(runs.value[best] - log_priors[best]) - centred),
        problem=problem,
    )


@in_float64
def _run_all_starts(
    problem: Problem, options: SearchOptions, n_slots: int | None, n_rows: int
) -> tuple[EMRun, Float[Array | np.ndarray, " R"]]:
    """All runs, in data units, and the logarithm of the prior density at the end of each."""
    rule = _rule(problem, options)
    n_climbs = 0 if options.start is not None else usual_number_of_climbs(problem)
    n_starts = options.n_starts or _usual_number_of_starts(problem, n_climbs)
    size, n_generations = _generations(n_starts)
    if n_slots is None and (problem.is_short or (n_climbs and _is_short_for(problem, size))):
        objective = problem.short_objective(with_products=False)
    else:
        objective = problem.objective(n_rows, with_products=False).with_slots(n_slots or problem.n_components)
    starts = _first_starts(problem, objective, options, min(n_climbs, 1) if size == 1 else n_climbs, size)
    runs = _one_generation(starts, objective, rule, problem, progress=options.progress)
    if options.n_starts is None and agree(runs):
        n_generations = 1
    if len(runs.status) == size and problem.n_components > 1 and not problem.names_components:
        for number in range(1, n_generations):
            found = np.where(runs.status == EMStatus.CONVERGED, runs.value, -np.inf)
            if not np.isfinite(found).any():
                break
            starts = split_starts((options.seed, number), runs.mixture, found, size, problem, objective)
            more = _one_generation(starts, objective, rule, problem, progress=options.progress)
            runs = jax.tree.map(lambda *leaves: np.concatenate(leaves), runs, more)
    if problem.estimates_degrees:
        runs = estimate_degrees(runs, objective, rule, problem)
    return _in_data_units(runs, problem), objective.log_prior(runs.mixture)


def _is_short_for(problem: Problem, n_runs: int) -> bool:
    """Whether NumPy ends so many runs before XLA has compiled; climbs before them take longer than its slower steps."""
    n_points, n_features = problem.table.values.shape
    width = n_statistics(n_features, diagonal=problem.needs_no_products) + _STATISTICS_OF_A_SHARE
    return problem.is_plain and n_runs * n_points * problem.n_components * width <= _SHORT_STEP


def _rule(problem: Problem, options: SearchOptions) -> StoppingRule:
    return StoppingRule(options.tol, options.max_steps, problem.collapsed_scale, options.accelerate)


def _in_data_units(runs: EMRun, problem: Problem) -> EMRun:
    """The runs without absent components, in data units."""
    mixture, constant = problem.scaling.to_data(runs.mixture.first(problem.n_components)), problem.log_volume
    return replace(runs, mixture=mixture, value=runs.value - constant, path=runs.path - constant)


def _usual_number_of_starts(problem: Problem, n_climbs: int) -> int:
    """Default number of starts, climbs among them: many where a run of EM costs little, few for many components."""
    usual = usual_number_of_starts(problem)
    if not n_climbs or problem.n_components < FROM_COMPONENTS:
        return usual
    return min(usual, _GENERATION) if problem.table.n_points <= _CHEAP_POINTS else KEPT


def _first_starts(problem: Problem, objective: Objective, options: SearchOptions, n_climbs: int, size: int) -> Mixture:
    """The ends of climbs, and random starts or the start that the user gives after them."""
    n_others = size - min(n_climbs, KEPT)
    if n_others:
        others = starting_mixtures(problem, objective, options.start, n_others, options.seed)
    if not n_climbs:
        return others
    ends = _ends_of_climbs(problem, objective, options, n_climbs)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), ends, jax.device_get(others)) if n_others else ends


def _ends_of_climbs(problem: Problem, objective: Objective, options: SearchOptions, most: int) -> Mixture:
    """The best ends of climbs, with a progress bar once they take long."""
    hidden = not options.progress
    with tqdm(desc="climbs", unit=" rounds of moves", disable=hidden, leave=False, delay=_PATIENCE) as bar:

        def tell(value: float) -> None:
            bar.set_postfix_str(f"log-likelihood {value - constant:.1f}", refresh=False)
            bar.update()

        constant = problem.log_volume
        if problem.degrees_of_freedom is None:
            return climbs(problem, objective, options.seed, most, tell)
        plain, degrees = problem.plain(), objective.degrees_of_freedom
        ends = climbs(plain, plain.objective().with_slots(len(degrees)), options.seed, most, tell)
        return replace(ends, degrees_of_freedom=np.tile(degrees, (len(ends.log_weights), 1)))


def _generations(n_starts: int) -> tuple[int, int]:
    """Size and number of generations: random starts first, then starts that split what was found."""
    number = math.ceil(n_starts / _GENERATION)
    return math.ceil(n_starts / number), number


def _one_generation(
    starts: Mixture,
    objective: Objective,
    rule: StoppingRule,
    problem: Problem,
    firsts: Int[np.ndarray, " problems"] | None = None,
    progress: bool = False,
) -> EMRun:
    """Runs from all starts: of one problem, or of several whose first runs have these numbers."""
    firsts = np.zeros(1, int) if firsts is None else firsts
    n_starts = len(starts.log_weights) // len(firsts)
    path_length = padded_length(int(rule.max_steps) + 1)
    rounds = _rounds(n_starts, problem.table.n_points)
    return run_rounds(starts, objective, rule, rounds, path_length, firsts, progress)


def _rounds(n_starts: int, n_points: int) -> tuple[Round, ...]:
    """Short runs of all starts, then ever longer ones of the best.

    Good optima may be slow to show: where steps are cheap, a hundred come before the first choice.
    """
    plan = ((1, 100), (4, _NO_LIMIT)) if n_points <= _CHEAP_POINTS else ((1, 20), (4, 100), (10, _NO_LIMIT))
    return tuple(Round(math.ceil(n_starts / share), limit) for share, limit in plan)
