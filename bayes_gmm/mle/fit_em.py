"""The maximum-likelihood fit: EM from many starts, the best one kept."""

import math
import warnings
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import (
    flag,
    names_its_arguments,
    number_of_steps,
    one_of,
    positive_integer,
    real_number,
    seed_integer,
)
from bayes_gmm.errors import FitWarning
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.degrees_of_freedom import estimate_degrees
from bayes_gmm.mle.doubts import thin_components
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.em_run import EMRun, StoppingRule
from bayes_gmm.mle.initialisation import split_starts, starting_mixtures, usual_number_of_starts
from bayes_gmm.mle.multistart import Round, agree, distinct_optima, run_rounds
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.conjugate_prior import ConjugatePrior
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.component_moves import FROM_COMPONENTS, KEPT, climbs, usual_number_of_climbs

SEARCH_OPTIONS = ("n_starts", "accelerate", "tol", "max_steps", "seed", "spurious")
"""Arguments of `fit_em` that say where to start and when to stop, beside a start of one's own."""

_NO_LIMIT = 2**30
"""Steps that no run makes: the last round ends by the rule alone."""

_GENERATION = 32
"""Largest number of starts that are made before what they found is looked at."""

_CHEAP_POINTS = 2000
"""Tables up to this length are so cheap that all starts may run long before the first choice."""

_PATIENCE = 3.0
"""Seconds after which climbs show how they proceed."""


@names_its_arguments
def fit_em(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    n_starts: int | None = None,
    start: Any = None,
    sample_weight: Any = None,
    labels: Any = None,
    fixed: Any = None,
    prior: ConjugatePrior | None = None,
    assignment: str = "soft",
    missing: str = "integrate",
    noise: Any = False,
    errors: Any = None,
    components: str = "gaussian",
    degrees_of_freedom: Any = None,
    accelerate: bool = True,
    tol: float | int = 1e-8,
    max_steps: int = 1000,
    seed: int = 0,
    spurious: str = "keep",
    progress: bool = True,
) -> EMFit:
    r"""Fit a mixture of Gaussians, or of t distributions, by maximum likelihood.

    .. math:: \hat\theta = \arg\max_\theta \sum_n w_n \log \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points. Column names are kept.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", or one of mclust's codes for volume, shape and orientation: equal (E),
        varying (V) or identity (I) over components (`covariance_structures`).
    n_starts
        Number of starts; by default 20 to 128, many where they are cheap, but no more than the first 32 when 24 of
        these come to one maximum, the best. The first 32 are random, of three kinds (`random_starts`); further ones,
        up to 32 at a time, split a component of the best maxima found (`split_starts`). All make a short run, and the
        best go on; once 24 have come to the best maximum, those 20 nats and more below are left behind. For ten
        or more components, and from four on where there are more than 2000 points, the first two starts are the best
        ends of two to eight climbs instead (`climbs`): k-means cells merged to components, then components split,
        merged and moved while that gains; few random starts, or none, follow. There are no climbs with hard
        assignment, known labels, fixed parameters that name components, or more than 64 features.
    start
        Labels (N,), responsibilities (N, K) or a `Mixture`, in place of random starts. With noise the label -1 is its.
        Of a `Mixture` with correlations the variances count where covariances are diagonal.
    sample_weight : (N,)
        A row of weight w counts as w equal rows.
    labels : (N,)
        Known component of each row, -1 or None where it is not known. With all known the fit is in closed form.
    fixed
        Parameters that keep their value: a mapping with keys "weights", "means", "covariances", each with an array for
        all components or a mapping from component to value; weights may be "equal" (`fixed_parameters`). They do not
        count in BIC.
    prior
        A `ConjugatePrior`: the answer is then the mode of the posterior, and cannot collapse.
    assignment
        "soft" is EM. "hard" gives each point whole to its most probable component: classification EM, which with
        `covariance_type="EII"` and fixed equal weights is k-means.
    missing
        What cells that were not seen (NaN, NA, null) mean. "integrate": they are missing at random, and the likelihood
        is that of the seen ones, which the fit says. "refuse" raises; "drop" leaves out rows with missing cells, with
        their weights and labels: `Table.left_out` says so, and `Table.kept_rows` which are left.
    noise
        Uniform noise over a box, which takes outliers: True or "box" for the smallest box along the columns that holds
        all rows, "principal box" for that along their principal axes, or a density, in one over the units of all
        columns (`Noise`). Values with known errors have none.
    errors
        Known errors of the values: standard deviations (N, D) or covariances (N, D, D), 0 where a value is exact; those
        of missing cells are not looked at. The mixture is then that of the true values, x = true + N(0, errors), known
        as extreme deconvolution. Its covariances may be zero, which `EMFit.doubts` says and nothing prevents.
    components
        "gaussian", or "t" for multivariate t distributions, whose heavy tails leave outliers little weight.
    degrees_of_freedom
        Those of t distributions: "common" (the default) estimates one number for all components, "per component" one
        for each, between 1 and 10000, where a component is Gaussian enough, which the fit says; or values to hold, one
        or (K,). The fit then has scatters, `Mixture.scatters`; covariances are larger by nu / (nu - 2).
    accelerate
        Whether runs that are not done after 20 steps extrapolate (`em_run`). The objective never falls.
    tol
        Stop when the last gain, and what is left by the score (its squared length in units of the information, as far
        as the last steps show that), are below `tol` nats; parameters are then within about sqrt(2 tol) standard
        errors of the maximum.
    max_steps
        Largest number of EM steps of each start.
    seed
        Seed of the random starts.
    spurious
        "keep" gives the highest maximum found. "skip" passes over those in which a component has fewer than two points
        for each of its own parameters, if there is another: many such maxima are spurious, but some are small tight
        clusters, which no rule tells apart. `EMFit.doubts` names them and the best of the others.
    progress
        Whether to show on standard error how climbs proceed when they take more than three seconds.

    Returns
    -------
    EMFit
        The best start, with the log-likelihoods of all. A `FitWarning` is given when it did not converge.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.
    FitError
        When the process was forked after JAX ran in its parent, where JAX would wait for ever.

    Notes
    -----
    Many fits in many processes: ``joblib.Parallel(n_jobs=4)(joblib.delayed(bg.fit_em)(part, 2) for part in parts)``
    starts processes that can compute, as do ``multiprocessing.get_context("spawn").Pool(4)`` and Dask, by
    ``dask.compute(*[dask.delayed(bg.fit_em)(part, 2) for part in parts], scheduler="processes")`` or on a cluster.

    References
    ----------
    Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x; classification EM: Celeux and Govaert
    (1992), doi 10.1016/0167-9473(92)90042-E; missing cells: `missing_cells`; noise: `Noise`; errors: Bovy, Hogg and
    Roweis (2011), doi 10.1214/10-AOAS439; t distributions: Peel and McLachlan (2000), doi 10.1023/A:1008981510081.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2)
    >>> round(mle.log_likelihood, 3)
    -1130.264
    """
    problem = Problem.of(
        x,
        n_components,
        covariance_type=covariance_type,
        sample_weight=sample_weight,
        labels=labels,
        fixed=fixed,
        prior=prior,
        assignment=assignment,
        missing=missing,
        noise=noise,
        errors=errors,
        components=components,
        degrees_of_freedom=degrees_of_freedom,
    )
    options = {"n_starts": n_starts, "accelerate": accelerate, "tol": tol, "max_steps": max_steps, "seed": seed}
    fit = fit_problem(problem, SearchOptions.of(start=start, spurious=spurious, progress=progress, **options))
    if fit.status is not EMStatus.CONVERGED:
        said = " ".join((f"EM ended {fit.status.name}.", *fit.degeneracies, fit.status.advice))
        warnings.warn(said, FitWarning, stacklevel=3)
    return fit


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
    runs, log_priors = _run_all_starts(problem, options, n_slots, n_rows)
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
    K = problem.n_components
    in_numpy = problem.is_short and n_slots is None
    if in_numpy:
        objective = problem.short_objective(with_products=False)
    else:
        objective = problem.objective(n_rows, with_products=False).with_slots(n_slots or K)
    rule = StoppingRule(options.tol, options.max_steps, problem.collapsed_scale, options.accelerate)
    n_climbs = 0 if options.start is not None else usual_number_of_climbs(problem)
    n_starts = options.n_starts or _usual_number_of_starts(problem, n_climbs)
    size, n_generations = _generations(n_starts)
    starts = _first_starts(problem, objective, options, min(n_climbs, 1) if size == 1 else n_climbs, size)
    runs = _one_generation(starts, objective, rule, problem)
    if options.n_starts is None and agree(runs):
        n_generations = 1
    if len(runs.status) == size and K > 1 and not problem.names_components:
        for number in range(1, n_generations):
            found = np.where(runs.status == EMStatus.CONVERGED, runs.value, -np.inf)
            if not np.isfinite(found).any():
                break
            starts = split_starts((options.seed, number), runs.mixture, found, size, problem, objective)
            more = _one_generation(starts, objective, rule, problem)
            runs = jax.tree.map(lambda *leaves: np.concatenate(leaves), runs, more)
    if problem.estimates_degrees:
        runs = estimate_degrees(runs, objective, rule, problem)
    log_priors = objective.log_prior(runs.mixture)
    constant = problem.log_volume
    mixture = problem.scaling.to_data(runs.mixture.first(K))
    return replace(runs, mixture=mixture, value=runs.value - constant, path=runs.path - constant), log_priors


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


def _one_generation(starts: Mixture, objective: Objective, rule: StoppingRule, problem: Problem) -> EMRun:
    rounds = _rounds(len(starts.log_weights), problem.table.n_points)
    compiled = partial(problem.objective, with_products=False)
    return run_rounds(starts, objective, rule, rounds, padded_length(int(rule.max_steps) + 1), compiled)


def _rounds(n_starts: int, n_points: int) -> tuple[Round, ...]:
    """Short runs of all starts, then ever longer ones of the best.

    Good optima may be slow to show: where steps are cheap, a hundred come before the first choice.
    """
    plan = ((1, 100), (4, _NO_LIMIT)) if n_points <= _CHEAP_POINTS else ((1, 20), (4, 100), (10, _NO_LIMIT))
    return tuple(Round(math.ceil(n_starts / share), limit) for share, limit in plan)
