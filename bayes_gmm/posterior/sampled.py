"""What a run made before it is put together, and what is to be said of it: doubts, which weigh, and notes."""

from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.bayes.modes import WORTH_A_CHAIN, WORTH_A_MENTION, Modes
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.resolution import at_the_resolution
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.explanations import Explanation
from bayes_gmm.posterior.overlapping_components import Explored
from bayes_gmm.posterior.relabelling import match
from bayes_gmm.sampling.chains import Chains, Plan


class Sampled(NamedTuple):
    """The modes, the number of the mode at which each chain started, the chains, and their draws as mixtures.

    The draws are in data units under the labels of the sampler; `log_likelihood` (chain, draw) is theirs. `given_up`:
    the first draws showed that they will not do. `instead` says why NUTS was used where HMC was asked for.
    """

    modes: Modes
    mode_of_chain: Int[np.ndarray, " chain"]
    plan: Plan
    chains: Chains
    draws: Mixture
    log_likelihood: Float[np.ndarray, "chain draw"]
    given_up: bool = False
    explored: Explored | None = None
    remark: str = ""
    instead: str = ""


def pivot_of(problem: PosteriorProblem, mle: EMFit, modes: Modes) -> Mixture:
    """The mode with most mass, under the labels of the EM fit.

    Where the EM fit is not finite, or the prior tells the components apart, the mode keeps its own labels.
    """
    best = jax.tree.map(itemgetter(0), modes.mixtures)
    if problem.exchangeable and np.isfinite(mle.mixture.scale_tril).all():
        return best.permute(match(best, mle.mixture, problem.table.values))
    return best


def doubts_of(problem: PosteriorProblem, sampled: Sampled) -> Iterator[str]:
    """Reasons against the draws that do not show in them."""
    yield from problem.tie_warnings
    if sampled.explored is not None:
        return
    if large := _modes_without_chain(sampled.modes.share >= WORTH_A_CHAIN, sampled):
        yield f"{large} Raise num_chains."


def _modes_without_chain(considered: Bool[np.ndarray, " M"], sampled: Sampled) -> str:
    """A sentence on the considered modes at which no chain started; empty where there are none."""
    missed = np.setdiff1d(np.flatnonzero(considered), sampled.mode_of_chain)
    if not missed.size:
        return ""
    mass = sampled.modes.share[missed].sum()
    modes = f"{missed.size} other modes" if missed.size > 1 else "Another mode"
    return f"{modes}, with about {mass:.0%} of the mass by Laplace's approximation, got no chain."


def notes_of(problem: PosteriorProblem, mle: EMFit, sampled: Sampled, draws: Mixture) -> Iterator[str]:
    """What the reader should know and is no reason against the draws."""
    if (resolution := problem.prior.resolution) is not None and np.any(resolution):
        widths = np.broadcast_to(resolution, (problem.table.n_features,))
        yield from at_the_resolution(draws, widths, problem.table.columns)
    if sampled.instead:
        yield f"NUTS made the draws in place of HMC: {sampled.instead}."
    if sampled.plan.adapts_metric:
        yield (
            "Newton's method found no proper mode near the EM fit, so the metric was adapted during a warm-up of "
            f"{sampled.plan.num_warmup} transitions."
        )
    if not problem.exchangeable:
        yield "The prior tells the components apart, so the draws keep its labels and were not relabelled."
    share = sampled.modes.share
    if sampled.remark:
        yield sampled.remark
    if sampled.explored is not None:
        yield from _of_exploration(sampled.explored, sampled.plan.kernel.name)
    elif small := _modes_without_chain((share > WORTH_A_MENTION) & (share < WORTH_A_CHAIN), sampled):
        yield small
    if len(mle.start_log_likelihoods) == 1 and sampled.explored is None:
        yield "EM began from one start only, so that modes elsewhere were not looked for."
    if sampled.log_likelihood.shape[0] == 1:
        yield "R-hat compares the halves of the only chain; what it never visited it cannot miss."
    if sampled.chains.interrupted:
        yield f"Sampling was interrupted after {sampled.log_likelihood.shape[1]} draws of each chain."


def note_of_masses(explanations: tuple[Explanation, ...]) -> Iterator[str]:
    """A sentence where the chains moved between explanations of the data."""
    if not np.isnan(explanations[0].mass_error):
        listed = "; ".join(map(str, explanations))
        yield f"The posterior has {len(explanations)} explanations, between which the chains moved: {listed}."


def _of_exploration(explored: Explored, name: str) -> Iterator[str]:
    """How the draws were made, and whether the run was ended before its time."""
    yield (
        f"{name} alone would not do, so the posterior was explored from the prior: {explored.n_iterations} iterations "
        f"of each chain, of whose independence proposals {explored.accepted.mean():.0%} were accepted."
    )
    if explored.out_of_time:
        yield "The limit of seconds ended the run. Raise max_seconds."
