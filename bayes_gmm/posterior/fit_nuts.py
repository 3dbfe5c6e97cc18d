"""The posterior by NUTS: modes are found, chains start in each that matters, draws are relabelled and judged."""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bayes_gmm.bayes import nuts
from bayes_gmm.bayes.numpyro_hmc import SamplerSettings
from bayes_gmm.bayes.modes import WORTH_A_CHAIN, WORTH_A_MENTION, Modes, find_modes, mode_programs
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.bayes.target import Target, to_mixtures
from bayes_gmm.core.compilation import CompilingAhead
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import instance_of
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.checkpoint import Checkpoint
from bayes_gmm.likelihood.pointwise import log_densities
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.fit_em import fit_em
from bayes_gmm.posterior.arviz_tree import posterior_tree
from bayes_gmm.posterior.diagnostics import judge, load_arviz
from bayes_gmm.posterior.explanations import explain
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.relabelling import Relabelling, match, relabel
from bayes_gmm.posterior.sampling_options import Run

LARGEST_POINTWISE = 10**7
"""Most numbers, one for each draw and point, that are kept of the log-likelihood."""

_ADAPTATION_WARMUP = 1000


def fit_nuts(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    num_warmup: int = 200,
    num_samples: int = 1000,
    num_chains: int = 4,
    target_accept_prob: float = 0.8,
    seed: int = 0,
    start: EMFit | None = None,
    relabelling: str = "responsibilities",
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Posterior:
    r"""Sample the posterior of a Gaussian mixture by NUTS, the labels summed out.

    .. math:: p(\theta \mid x) \propto p(\theta) \prod_n \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

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
    num_warmup, num_samples
        Transitions of each chain to tune the step size, and to keep.
    num_chains
        Chains, run side by side; each mode that holds a share of the mass gets chains of its own.
    target_accept_prob
        Acceptance that the step size is tuned to. Nearer to one, steps are shorter: slower, and fewer diverge.
    seed
        Seed of everything random.
    start
        An EM fit of the same table, to start from and to take the labels from; fitted when left out.
    relabelling
        How label switching is undone: "responsibilities", "ecr" or "stephens" (`relabel`).
    checkpoint
        File that keeps the finished draws while sampling goes on. A run that was killed continues from it, when
        called again with the same arguments (`num_samples` may be larger), to the draws it would have made.
    progress
        Whether to show a progress bar on standard error. Ctrl-C keeps the finished draws.

    Returns
    -------
    Posterior
        A `FitWarning` is given where tied data and the prior leave no proper posterior.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used, or the checkpoint is of another run.
    OutputError
        When the checkpoint cannot be opened. One that can no longer be written is given up with a `FitWarning`.

    References
    ----------
    Hoffman and Gelman (2014), JMLR 15, 1593-1623.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> posterior = bg.fit_nuts(bg.datasets.load("faithful"), n_components=2, progress=False)
    >>> posterior.verdict.status.name
    'GOOD'
    """
    problem = PosteriorProblem.of(x, n_components, covariance_type=covariance_type, prior=prior)
    run = Run.of(num_warmup, num_samples, num_chains, target_accept_prob, seed, relabelling, progress)
    with nullcontext() if checkpoint is None else Checkpoint.open(checkpoint, run.identity(problem)) as file:
        prepared = _prepare(problem)
        mle = starting_fit(problem, start, run.seed)
        return _assemble(problem, mle, run, _sample(problem, prepared, mle, run, file))


class Prepared(NamedTuple):
    """The density, and the programs that are compiled while EM runs: of the search for modes, and of the sampler."""

    target: Target
    searching: CompilingAhead
    sampling: CompilingAhead


class Sampled(NamedTuple):
    """What the sampler left: modes, mode of each chain, chains, mixtures in data units and their log-likelihoods."""

    modes: Modes
    began: np.ndarray
    plan: nuts.Plan
    chains: nuts.Chains
    draws: Mixture
    log_likelihood: np.ndarray


def starting_fit(problem: PosteriorProblem, start: EMFit | None, seed: int) -> EMFit:
    """EM's optima for the same data and structure: the given ones, or new ones."""
    if start is None:
        return fit_em(problem.table, problem.n_components, covariance_type=problem.covariance_type, seed=seed)
    instance_of("start", start, EMFit, "Give what fit_em returned, or leave start out.")
    same = np.array_equal(start.table.values, problem.table.values) and start.structure == problem.structure
    if start.mixture.n_components == problem.n_components and same:
        return start
    raise ArgumentError(
        f"start has {start.mixture.n_components} components of structure {start.structure.name} on a table of "
        f"{start.table.n_points} points.",
        f"an EM fit of the same table ({problem.table.n_points} points) with {problem.n_components} components of "
        f"structure {problem.structure.name}",
        "Leave start out, or fit it with fit_em(x, n_components, covariance_type=).",
    )


def _prepare(problem: PosteriorProblem) -> Prepared:
    with jax.enable_x64(True):
        target, mixture = problem.target(), problem.mixture_shape
        searching, sampling = mode_programs(mixture, target), nuts.sampler_programs(mixture, target)
        return Prepared(target, CompilingAhead(searching), CompilingAhead(chain(sampling, [load_arviz])))


@in_float64
def _sample(
    problem: PosteriorProblem, prepared: Prepared, mle: EMFit, run: Run, checkpoint: Checkpoint | None
) -> Sampled:
    target = prepared.target
    prepared.searching.wait()
    modes = find_modes(problem, target, mle)
    began = modes.allocate(run.num_chains)
    around = jax.tree.map(lambda leaf: leaf[began], modes.around)
    plan = _plan(modes, run)
    prepared.sampling.wait()
    chains = nuts.sample(
        target,
        around,
        plan,
        num_samples=run.num_samples,
        seed=run.seed,
        progress=run.progress,
        checkpoint=checkpoint,
    )
    draws, log_prior = to_mixtures(chains.coordinates, target.sites)
    return Sampled(modes, began, plan, chains, draws, chains.statistics["lp"] - log_prior)


def _plan(modes: Modes, run: Run) -> nuts.Plan:
    if modes.trustworthy:
        return nuts.Plan(run.num_warmup, run.target_accept_prob)
    num_warmup = max(run.num_warmup, _ADAPTATION_WARMUP)
    return nuts.Plan(num_warmup, run.target_accept_prob, SamplerSettings(metric_warmup=num_warmup))


def _assemble(problem: PosteriorProblem, mle: EMFit, run: Run, sampled: Sampled) -> Posterior:
    relabelling = _relabel(problem, mle, run, sampled)
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
            "seed": run.seed,
            "num_warmup": sampled.plan.num_warmup,
            "target_accept_prob": run.target_accept_prob,
        },
    )
    explanations = explain(tree, sampled.began, sampled.modes.share)
    return Posterior(
        draws=draws,
        relabelling=relabelling,
        tree=tree,
        verdict=judge(
            tree,
            relabelling,
            explanations=explanations,
            doubts=tuple(_doubts(problem, sampled)),
            notes=tuple(_notes(problem, mle, sampled)),
        ),
        explanations=explanations,
        modes=sampled.modes,
        mle=mle,
        problem=problem,
        interrupted=sampled.chains.interrupted,
    )


def pivot_of(problem: PosteriorProblem, mle: EMFit, modes: Modes) -> Mixture:
    """The mode with most mass, under the labels of the EM fit where that is finite."""
    best = jax.tree.map(itemgetter(0), modes.mixtures)
    if problem.exchangeable and np.isfinite(mle.mixture.scale_tril).all():
        return best.permute(match(best, mle.mixture, problem.table.values))
    return best


def _relabel(problem: PosteriorProblem, mle: EMFit, run: Run, sampled: Sampled) -> Relabelling:
    """Labels of the pivot; the prior's own where it tells the components apart."""
    pivot = pivot_of(problem, mle, sampled.modes)
    relabelling = relabel(sampled.draws, pivot, problem.table.values, run.relabelling)
    if problem.exchangeable:
        return relabelling
    own = np.broadcast_to(np.arange(problem.n_components), relabelling.permutations.shape)
    return relabelling._replace(permutations=own)


def _pointwise(draws: Mixture, problem: PosteriorProblem) -> np.ndarray | None:
    x = problem.table.values
    if int(np.prod(draws.log_weights.shape[:-1])) * len(x) > LARGEST_POINTWISE:
        return None
    return log_densities(draws, x, problem.scaling)


def _doubts(problem: PosteriorProblem, sampled: Sampled) -> Iterator[str]:
    yield from problem.tie_warnings
    if large := _unseen(sampled.modes.share >= WORTH_A_CHAIN, sampled):
        yield f"{large} Raise num_chains."


def _unseen(of_interest: np.ndarray, sampled: Sampled) -> str:
    """What to say of those of the modes that got no chain; nothing where there are none."""
    unseen = np.setdiff1d(np.flatnonzero(of_interest), sampled.began)
    if not unseen.size:
        return ""
    mass = sampled.modes.share[unseen].sum()
    modes = f"{unseen.size} other modes" if unseen.size > 1 else "Another mode"
    return f"{modes}, with about {mass:.0%} of the mass by Laplace's approximation, got no chain."


def _notes(problem: PosteriorProblem, mle: EMFit, sampled: Sampled) -> Iterator[str]:
    if sampled.plan.settings.metric_warmup:
        yield (
            "Newton's method found no proper mode near the EM fit, so the metric was adapted during a warm-up of "
            f"{sampled.plan.num_warmup} transitions."
        )
    if not problem.exchangeable:
        yield "The prior tells the components apart, so the draws keep its labels and were not relabelled."
    share = sampled.modes.share
    if small := _unseen((share > WORTH_A_MENTION) & (share < WORTH_A_CHAIN), sampled):
        yield small
    if len(mle.start_log_likelihoods) == 1:
        yield "EM began from one start only, so that modes elsewhere were not looked for."
    if sampled.log_likelihood.shape[0] == 1:
        yield "R-hat compares the halves of the only chain; what it never visited it cannot miss."
    if sampled.chains.interrupted:
        yield f"Sampling was interrupted after {sampled.log_likelihood.shape[1]} draws of each chain."


def _depth(n_steps: np.ndarray, plan: nuts.Plan) -> dict[str, np.ndarray]:
    depth = np.log2(n_steps).astype(int) + 1
    return {"tree_depth": depth, "reached_max_tree_depth": depth >= plan.settings.max_tree_depth}
