"""The posterior by NUTS: chains start at the modes that hold mass, and their draws are relabelled and judged."""

from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped

from bayes_gmm.bayes.modes import WORTH_A_MENTION, Modes, find_modes, find_more_modes, mode_programs
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.bayes.target import Target, to_mixtures
from bayes_gmm.core.compilation import CompilingAhead
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import names_its_arguments
from bayes_gmm.io.checkpoint import Checkpoint
from bayes_gmm.likelihood.pointwise import log_densities
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.arviz_tree import posterior_tree
from bayes_gmm.posterior.diagnostics import HOPELESS_RHAT, MANY_DIVERGENT, Jumps, judge, load_arviz, split_r_hat
from bayes_gmm.posterior.explanations import Explanation, explain, explain_by_modes
from bayes_gmm.posterior.overlapping_components import KEPT, explore, obstacle
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.relabelling import Relabelling, relabel
from bayes_gmm.posterior.sampled import Sampled, doubts_of, note_of_masses, notes_of, pivot_of
from bayes_gmm.posterior.sampling_options import SamplingOptions
from bayes_gmm.posterior.starting_fit import starting_fit
from bayes_gmm.posterior.verdict import LARGEST_RHAT, Verdict
from bayes_gmm.sampling import nuts
from bayes_gmm.sampling.numpyro_hmc import SamplerSettings

LARGEST_POINTWISE = 10**7
"""Largest number of draws times points for which the log-likelihood of each is kept: 80 MB of float64."""

_POINTS_FOR_MODES = 100
"""Points, about, at which the densities of draws and modes are compared."""

_FIRST_DRAWS = 250
"""Draws of each chain after which NUTS is given up where its chains are far apart in the log posterior density."""

_LONGER = (4, 16)
"""By how many times chains are made longer that do not suffice, where the posterior cannot be explored."""

_ADAPTATION_WARMUP = 1000
"""Least warm-up where a dense metric has to be adapted: the default warm-up of Stan, which always adapts its metric."""


@names_its_arguments
def fit_nuts(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    sample_weight: Any = None,
    missing: str = "integrate",
    noise: Any = False,
    errors: Any = None,
    components: str = "gaussian",
    degrees_of_freedom: Any = None,
    num_warmup: int = 200,
    num_samples: int | None = None,
    num_chains: int = 4,
    target_accept_prob: float = 0.8,
    seed: int = 0,
    start: EMFit | None = None,
    relabelling: str = "responsibilities",
    checkpoint: str | Path | None = None,
    progress: bool = True,
    min_ess: float = 400.0,
    max_seconds: float = 120.0,
) -> Posterior:
    r"""Sample the posterior of a mixture of Gaussians or t distributions, without labels, until the draws suffice.

    .. math:: p(\theta \mid x) \propto p(\theta) \prod_n \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    NUTS makes a thousand draws of each chain. Where label-invariant quantities say that these are not enough, or a mode
    may have been missed, particles are moved from the prior to the posterior, and chains mix short Hamiltonian moves
    with independence proposals fitted to them, until R-hat is at most 1.01 and the effective sample size `min_ess`.

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points. Column names become coordinates.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", "EEI" (diagonal, tied) or "EII" (spherical, tied).
    prior
        Prior in data units; the default takes its scale from the data (`Prior`).
    sample_weight : (N,)
        Weights of the rows: a row of weight 3 counts as three equal rows, one of weight 0 is ignored.
    missing
        What cells that were not seen (NaN, NA, null) mean: "integrate", they are missing at random, and the likelihood
        is that of the seen ones; "refuse" raises; "drop" leaves rows with missing cells out.
    noise
        Uniform noise over a box, as in `fit_em`, whose weight has the prior `Prior.noise`. Not beside `errors`.
    errors
        Known errors of the values, (N, D) or (N, D, D), as in `fit_em`: the posterior and its default prior are then
        those of the mixture of the true values.
    components, degrees_of_freedom
        "gaussian" or "t" with "common" or "per component" degrees of freedom, or values, as in `fit_em` (`Prior`).
    num_warmup, num_samples
        Transitions of each chain to tune NUTS's step size, and its draws, exactly so many; when left out, sampling goes
        on until it is done.
    num_chains
        Chains, run side by side; each mode that holds a share of the mass gets chains of its own.
    target_accept_prob
        Acceptance that the step size is tuned to. Nearer to one, steps are shorter, and fewer diverge.
    seed, start
        Seed of everything random; and an EM fit of the same table, to start from and to take labels from.
    relabelling
        How label switching is undone: "responsibilities", "ecr" or "stephens" (`relabel`).
    checkpoint
        File that keeps finished draws of NUTS while sampling goes on. Called again with the same arguments after it was
        killed, a run continues from the file and ends with the same draws: what may follow NUTS is made again.
    progress
        Whether to show a progress bar on standard error. Ctrl-C keeps the finished draws.
    min_ess, max_seconds
        Effective sample size of every label-invariant quantity at which sampling ends, and seconds after which it ends
        unfinished, which the verdict says; no limit for a given `num_samples`.

    Returns
    -------
    Posterior
        A `FitWarning` is given where tied data and the prior leave no proper posterior.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used, or the checkpoint is of another run.
    OutputError
        When the checkpoint cannot be opened. One that cannot be written any more is left with a `FitWarning`.

    References
    ----------
    Hoffman and Gelman (2014), JMLR 15, 1593-1623; a tempered pilot: Chopin (2002), doi 10.1093/biomet/89.3.539; mixed
    kernels: Tierney (1994), doi 10.1214/aos/1176325750.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> posterior = bg.fit_nuts(bg.datasets.load("faithful"), n_components=2, progress=False)
    >>> posterior.verdict.status.name
    'GOOD'
    """
    given = {"prior": prior, "sample_weight": sample_weight, "missing": missing, "noise": noise, "errors": errors}
    given |= {"components": components, "degrees_of_freedom": degrees_of_freedom}
    problem = PosteriorProblem.of(x, n_components, covariance_type=covariance_type, **given)
    options = SamplingOptions.of(
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        target_accept_prob=target_accept_prob,
        seed=seed,
        relabelling=relabelling,
        progress=progress,
        min_ess=min_ess,
        max_seconds=max_seconds,
    )
    began = monotonic()
    with nullcontext() if checkpoint is None else Checkpoint.open(checkpoint, options.identity(problem)) as file:
        prepared = _prepare(problem)
        mle = starting_fit(problem, start, options.seed)
        sampled = _sample(problem, prepared, mle, options, began, checkpoint=file)
        ended = not options.until_done or sampled.chains.interrupted
        if ended or not _known_to_be_wrong(problem, mle, sampled):
            posterior = _assemble(problem, mle, options, sampled)
            if ended or _suffices(posterior.verdict, options):
                return posterior
        return _go_on(problem, prepared, mle, options, sampled, began)


class Prepared(NamedTuple):
    """The density, and the programs of the search for modes and of the sampler, which are compiled while EM runs."""

    target: Target
    searching: CompilingAhead
    sampling: CompilingAhead


def _prepare(problem: PosteriorProblem) -> Prepared:
    with jax.enable_x64(True):
        target, mixture = problem.target(), problem.mixture_shape
        searching, sampling = mode_programs(mixture, target), nuts.sampler_programs(mixture, target)
        return Prepared(target, CompilingAhead(searching), CompilingAhead(chain(sampling, [load_arviz])))


@in_float64
def _sample(
    problem: PosteriorProblem,
    prepared: Prepared,
    mle: EMFit,
    options: SamplingOptions,
    began: float,
    *,
    checkpoint: Checkpoint | None = None,
    times: int = 1,
) -> Sampled:
    """Chains of NUTS, of `times` the usual length, of which the usual number of draws is kept."""
    target = prepared.target
    prepared.searching.wait(progress=options.progress)
    modes = find_modes(problem, target, mle)
    mode_of_chain = modes.allocate(options.num_chains)
    around = jax.tree.map(lambda leaf: leaf[mode_of_chain], modes.around)
    plan = _plan(modes, options)
    prepared.sampling.wait(progress=options.progress)
    stop = _Stop(options, began, explorable=not obstacle(problem)) if options.until_done else None
    chains = nuts.sample(
        target,
        around,
        plan,
        num_samples=options.num_samples or times * KEPT,
        seed=options.seed,
        progress=options.progress,
        checkpoint=checkpoint,
        stop=stop,
    )
    if times > 1:
        chains = chains.thinned(KEPT)
    draws, log_prior = to_mixtures(chains.coordinates, target.sites)
    return Sampled(
        modes,
        mode_of_chain,
        plan,
        chains,
        draws,
        chains.statistics["lp"] - log_prior,
        given_up=stop is not None and stop.hopeless,
    )


class _Stop:
    """Whether to end NUTS early: no time is left, or its first draws show that another way is needed."""

    def __init__(self, options: SamplingOptions, began: float, *, explorable: bool) -> None:
        self.ends, self.undecided, self.hopeless = began + options.max_seconds, explorable, False

    def __call__(self, log_posterior: Float[np.ndarray, "chain draw"]) -> bool:
        if self.undecided and log_posterior.shape[1] >= _FIRST_DRAWS:
            self.undecided = False
            self.hopeless = not split_r_hat(log_posterior[None, :, :_FIRST_DRAWS])[0] <= HOPELESS_RHAT
        return self.hopeless or monotonic() > self.ends


def _known_to_be_wrong(problem: PosteriorProblem, mle: EMFit, sampled: Sampled) -> bool:
    """Whether NUTS was given up, or a mode can have been missed or be weighed wrongly by it."""
    one_start = len(mle.start_log_likelihoods) == 1 and problem.n_components > 1
    several_modes = int((sampled.modes.share > WORTH_A_MENTION).sum()) > 1
    return sampled.given_up or one_start or several_modes


def _suffices(verdict: Verdict, options: SamplingOptions) -> bool:
    """Whether the invariants have mixed, and too few transitions diverged to leave a region out."""
    mixed = verdict.max_rhat["invariants"] <= LARGEST_RHAT and verdict.min_ess["invariants"] >= options.min_ess
    return mixed and verdict.n_divergent <= MANY_DIVERGENT * verdict.n_draws


def _go_on(
    problem: PosteriorProblem,
    prepared: Prepared,
    mle: EMFit,
    options: SamplingOptions,
    sampled: Sampled,
    began: float,
) -> Posterior:
    """The posterior by exploring it from the prior; where that cannot be done, by longer chains of NUTS."""
    if why := obstacle(problem):
        return _prolong(problem, prepared, mle, options, sampled, began, f"{why[0].upper()}{why[1:]}")
    target = prepared.target
    explored = explore(problem, target, options, sampled.chains.coordinates, began=began)
    if explored is None:
        remark = "The posterior was not explored to an end, and these are the draws of NUTS alone. Raise max_seconds."
        return _assemble(problem, mle, options, sampled._replace(remark=remark))
    chains = nuts.Chains(np.zeros((0,)), explored.statistics, explored.interrupted)
    found = sampled._replace(
        modes=find_more_modes(sampled.modes, explored.draws, problem, target),
        mode_of_chain=np.zeros_like(sampled.mode_of_chain),
        chains=chains,
        draws=explored.draws,
        log_likelihood=explored.log_likelihood,
        explored=explored,
    )
    return _assemble(problem, mle, options, found)


def _prolong(
    problem: PosteriorProblem,
    prepared: Prepared,
    mle: EMFit,
    options: SamplingOptions,
    sampled: Sampled,
    began: float,
    why: str,
) -> Posterior:
    """The posterior by longer and longer chains of NUTS while there is hope that they suffice, and time."""
    remark = f"{why}, so that sampling ended with the draws of NUTS. Give num_samples for more."
    posterior = _assemble(problem, mle, options, sampled._replace(remark=remark))
    for times in _LONGER:
        hopeless = not posterior.verdict.max_rhat["invariants"] <= HOPELESS_RHAT
        if hopeless or posterior.interrupted or monotonic() > began + options.max_seconds:
            break
        if _suffices(posterior.verdict, options):
            break
        longer = _sample(problem, prepared, mle, options, began, times=times)
        remark = f"{why}, so that the chains of NUTS were made {times} times as long; {KEPT} draws of each are kept."
        posterior = _assemble(problem, mle, options, longer._replace(remark=remark))
    return posterior


def _plan(modes: Modes, options: SamplingOptions) -> nuts.Plan:
    """How to tune the chains: where no mode is proper, its Gaussian is no metric, and a dense one is adapted."""
    if modes.trustworthy:
        return nuts.Plan(options.num_warmup, options.target_accept_prob)
    num_warmup = max(options.num_warmup, _ADAPTATION_WARMUP)
    return nuts.Plan(num_warmup, options.target_accept_prob, SamplerSettings(metric_warmup=num_warmup))


def _assemble(problem: PosteriorProblem, mle: EMFit, options: SamplingOptions, sampled: Sampled) -> Posterior:
    relabelling = _relabel(problem, mle, options, sampled)
    draws = sampled.draws.permute(relabelling.permutations)
    statistics = sampled.chains.statistics
    tree = posterior_tree(
        draws,
        problem.table,
        sample_stats=statistics | _depth(statistics["n_steps"], sampled.plan),
        log_likelihood=sampled.log_likelihood,
        pointwise=_pointwise(draws, problem),
        attributes={
            "inference_library": "bayes_gmm",
            "seed": options.seed,
            "num_warmup": sampled.plan.num_warmup,
            "num_samples": options.num_samples or "None",
            "target_accept_prob": options.target_accept_prob,
        },
    )
    explanations = explain(tree, sampled.mode_of_chain, sampled.modes.share)
    if sampled.explored is not None and len(explanations) == 1:
        explanations = _explanations_by_mode(problem, sampled, draws, tree) or explanations
    return Posterior(
        draws=draws,
        relabelling=relabelling,
        tree=tree,
        verdict=judge(
            tree,
            relabelling,
            explanations=explanations if np.isnan(explanations[0].mass_error) else (),
            doubts=tuple(doubts_of(problem, sampled)),
            notes=(*notes_of(problem, mle, sampled, draws), *note_of_masses(explanations)),
            jumps=None if sampled.explored is None else Jumps(sampled.explored.accepted, sampled.explored.uncovered),
        ),
        explanations=explanations,
        modes=sampled.modes,
        mle=mle,
        problem=problem,
        interrupted=sampled.chains.interrupted,
    )


def _relabel(problem: PosteriorProblem, mle: EMFit, options: SamplingOptions, sampled: Sampled) -> Relabelling:
    """Relabelling to the pivot; its permutations change nothing where the prior tells the components apart."""
    pivot = pivot_of(problem, mle, sampled.modes)
    (x, errors), weights = problem.table.observed(), problem.sample_weight
    relabelling = relabel(sampled.draws, pivot, x, options.relabelling, sample_weight=weights, errors=errors)
    if problem.exchangeable:
        return relabelling
    unchanged = np.broadcast_to(np.arange(problem.n_components), relabelling.permutations.shape)
    return relabelling._replace(permutations=unchanged)


def _pointwise(draws: Mixture, problem: PosteriorProblem) -> Float[np.ndarray, "chain draw N"] | None:
    """Log-likelihood of each draw at each point, or None where it would be too large to keep."""
    x, errors = problem.table.observed()
    if int(np.prod(draws.log_weights.shape[:-1])) * len(x) > LARGEST_POINTWISE:
        return None
    return log_densities(draws, x, problem.scaling, errors)


def _explanations_by_mode(
    problem: PosteriorProblem, sampled: Sampled, draws: Mixture, tree: xr.DataTree
) -> tuple[Explanation, ...]:
    """Explanations between which the chains moved, judged at some of the points; empty where there is but one."""
    points, errors = problem.table.observed(slice(None, None, max(1, problem.table.n_points // _POINTS_FOR_MODES)))
    of_draws, of_modes = (
        log_densities(mixtures, points, problem.scaling, errors) for mixtures in (draws, sampled.modes.mixtures)
    )
    return explain_by_modes(tree, of_draws, of_modes)


def _depth(n_steps: Shaped[np.ndarray, "chain draw"], plan: nuts.Plan) -> dict[str, Shaped[np.ndarray, "chain draw"]]:
    """Depth of the tree of each transition, which has at most 2^depth - 1 leapfrog steps, and whether it was cut."""
    depth = np.log2(n_steps).astype(int) + 1
    return {"tree_depth": depth, "reached_max_tree_depth": depth >= plan.settings.max_tree_depth}
