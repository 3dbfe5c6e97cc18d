"""A run of chains, from a problem to a posterior: what `fit_nuts` and `fit_hmc` have in common.

Modes are found, chains start at them, and it is decided whether their draws suffice or what comes next.
"""

from contextlib import nullcontext
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped

from bayes_gmm.bayes.modes import WORTH_A_MENTION, Modes, find_modes, find_more_modes, mode_programs
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.target import Target, to_mixtures
from bayes_gmm.core.compilation import CompilingAhead
from bayes_gmm.core.precision import in_float64
from bayes_gmm.io.checkpoint import Checkpoint
from bayes_gmm.likelihood.pointwise import log_densities
from bayes_gmm.mcmc.mixing import split_r_hat
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.arviz_tree import posterior_tree
from bayes_gmm.posterior.diagnostics import HOPELESS_RHAT, MANY_DIVERGENT, Jumps, judge
from bayes_gmm.posterior.explanations import Explanation, explain, explain_by_modes
from bayes_gmm.posterior.overlapping_components import KEPT, explore, obstacle
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.relabelling import Relabelling, relabel
from bayes_gmm.posterior.sampled import Sampled, doubts_of, note_of_masses, notes_of, pivot_of
from bayes_gmm.posterior.sampling_options import NUTS, SamplingOptions
from bayes_gmm.posterior.starting_fit import starting_fit
from bayes_gmm.posterior.verdict import LARGEST_RHAT, Verdict
from bayes_gmm.sampling.chains import Chains, Observed, Plan, sample, sampler_programs
from bayes_gmm.sampling.fixed_length_hmc import FixedLengthHMC
from bayes_gmm.sampling.kernel import Kernel
from bayes_gmm.sampling.nuts import Nuts

LARGEST_POINTWISE = 10**7
"""Largest number of draws times points for which the log-likelihood of each is kept: 80 MB of float64."""

_POINTS_FOR_MODES = 100
"""Points, about, at which the densities of draws and modes are compared."""

_LONGER = (4, 16)
"""By how many times chains are made longer that do not suffice, where the posterior cannot be explored."""

_ADAPTATION_WARMUP = 1000
"""Least warm-up where a dense metric has to be adapted: the default warm-up of Stan, which always adapts its metric."""

FIRST_LOOK, LONG_TRAJECTORY = 100, 7.5
"""Transitions of the warm-up after which NUTS is given up where its trajectories are longer than this.

In a Gaussian they are 3.5 to 5 long by the metric of its mode, whatever its dimension and the size of the steps.
"""

FIRST_DRAWS = 250
"""Draws of each chain after which it is decided whether its kernel will do."""

LESS_ACCEPTED = 0.1
"""How much less than asked for may be accepted of trajectories of fixed length."""

MOST_DIVERGENT = 0.005
"""Share of such trajectories that may diverge."""


def run(
    problem: PosteriorProblem, options: SamplingOptions, *, start: EMFit | None, checkpoint: str | Path | None
) -> Posterior:
    """Sample a posterior until the draws suffice, or as many of them as were asked for."""
    began = monotonic()
    with nullcontext() if checkpoint is None else Checkpoint.open(checkpoint, options.identity(problem)) as file:
        prepared = _prepare(problem, options.kernel)
        mle = starting_fit(problem, start, options.seed, progress=options.progress)
        sampled = _sample(problem, prepared, mle, options, began, checkpoint=file)
        if why := _unsuited(sampled.chains.statistics, sampled.plan):
            options = options._replace(kernel=NUTS)
            sampled = _sample(problem, prepared, mle, options, began)._replace(instead=why)
        ended = not options.until_done or sampled.chains.interrupted
        if ended or not _known_to_be_wrong(problem, mle, sampled):
            posterior = _assemble(problem, mle, options, sampled)
            if ended or _suffices(posterior.verdict, options):
                return posterior
        return _go_on(problem, prepared, mle, options, sampled, began)


class Prepared(NamedTuple):
    """The density, and the programs that are compiled while EM runs: of the search for modes and of the sampler."""

    target: Target
    searching: CompilingAhead
    sampling: CompilingAhead


def _prepare(problem: PosteriorProblem, kernel: Kernel) -> Prepared:
    with jax.enable_x64(True):
        target, mixture = problem.target(), problem.mixture_shape
        searching, sampling = mode_programs(mixture, target), sampler_programs(mixture, target, kernel)
        return Prepared(target, CompilingAhead(searching), CompilingAhead(sampling))


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
    """Chains of a kernel, of `times` the usual length, of which the usual number of draws is kept."""
    target = prepared.target
    prepared.searching.wait(progress=options.progress)
    modes = find_modes(problem, target, mle, progress=options.progress)
    mode_of_chain = modes.allocate(options.num_chains)
    around = jax.tree.map(lambda leaf: leaf[mode_of_chain], modes.around)
    plan = _plan(modes, options)
    prepared.sampling.wait(progress=options.progress)
    stop = _Stop(options, plan, began, explorable=not obstacle(problem))
    chains = sample(
        target,
        around,
        plan,
        num_samples=options.num_samples or times * KEPT,
        seed=options.seed,
        progress=options.progress,
        checkpoint=checkpoint,
        stop=stop,
    )
    refused = plan.adapts_metric and options.kernel != NUTS
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
        given_up=stop.hopeless,
        instead="no metric is known" if refused else "",
    )


class _Stop:
    """After how many transitions to end chains early: no time is left, or the first show that another way is needed."""

    def __init__(self, options: SamplingOptions, plan: Plan, began: float, *, explorable: bool) -> None:
        self.options, self.plan, self.ends = options, plan, began + options.max_seconds
        self.can_give_up = options.until_done and explorable
        self.looks = [(FIRST_LOOK, self._far_from_gaussian), (plan.num_warmup + FIRST_DRAWS, self._disagree)]
        self.hopeless = False

    def __call__(self, seen: Observed) -> int | None:
        length = seen["lp"].shape[1]
        while self.looks and length >= self.looks[0][0]:
            size, look = self.looks.pop(0)
            if look({name: values[:, :size] for name, values in seen.items()}):
                return size
        out_of_time = self.options.until_done and length > self.plan.num_warmup and monotonic() > self.ends
        return length if out_of_time else None

    def _far_from_gaussian(self, seen: Observed) -> bool:
        """Whether trajectories are far longer than those in a Gaussian of which the metric is known."""
        known = isinstance(self.plan.kernel, Nuts) and not self.plan.adapts_metric
        lengths = (seen["n_steps"] * seen["step_size"])[:, FIRST_LOOK // 2 :]
        self.hopeless = self.can_give_up and known and bool(lengths.mean() > LONG_TRAJECTORY)
        return self.hopeless

    def _disagree(self, seen: Observed) -> bool:
        """Whether trajectories of fixed length will not do, or the chains are not even near to one another."""
        first = {name: values[:, self.plan.num_warmup :] for name, values in seen.items()}
        if _unsuited(first, self.plan):
            return True
        self.hopeless = self.can_give_up and not split_r_hat(first["lp"][None])[0] <= HOPELESS_RHAT
        return self.hopeless


def _unsuited(statistics: Observed, plan: Plan) -> str:
    """Why trajectories of fixed length will not do, judged by the first draws; empty where they do, and for NUTS."""
    if not isinstance(plan.kernel, FixedLengthHMC):
        return ""
    accepted = statistics["acceptance_rate"][:, :FIRST_DRAWS].mean()
    divergent = statistics["diverging"][:, :FIRST_DRAWS].mean()
    if accepted >= plan.target_accept_prob - LESS_ACCEPTED and divergent <= MOST_DIVERGENT:
        return ""
    return f"of trajectories of fixed length {accepted:.0%} were accepted and {divergent:.1%} diverged"


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
        name = sampled.plan.kernel.name
        remark = (
            f"The posterior was not explored to an end, and these are the draws of {name} alone. Raise max_seconds."
        )
        return _assemble(problem, mle, options, sampled._replace(remark=remark))
    chains = Chains(np.zeros((0,)), explored.statistics, explored.interrupted)
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
    """The posterior by longer and longer chains while there is hope that they suffice, and time."""
    name = sampled.plan.kernel.name
    kept = sampled._replace(
        remark=f"{why}, so that sampling ended with the draws of {name}. Give num_samples for more."
    )
    posterior = _assemble(problem, mle, options, kept)
    for times in _LONGER:
        hopeless = not posterior.verdict.max_rhat["invariants"] <= HOPELESS_RHAT
        if hopeless or posterior.interrupted or monotonic() > began + options.max_seconds:
            break
        if _suffices(posterior.verdict, options):
            break
        longer = _sample(problem, prepared, mle, options, began, times=times)
        if longer.chains.size >= kept.chains.size:
            remark = (
                f"{why}, so that the chains of {name} were made {times} times as long; {KEPT} draws of each are kept."
            )
            kept = longer._replace(remark=remark, instead=sampled.instead)
        elif longer.chains.interrupted:  # too early for as many draws as there are
            kept = kept._replace(chains=kept.chains._replace(interrupted=True))
        else:
            break
        posterior = _assemble(problem, mle, options, kept)
    return posterior


def _plan(modes: Modes, options: SamplingOptions) -> Plan:
    """How to tune the chains: where no mode is proper, its Gaussian is no metric, and NUTS adapts a dense one."""
    if modes.trustworthy:
        return Plan(options.num_warmup, options.target_accept_prob, options.kernel)
    num_warmup = max(options.num_warmup, _ADAPTATION_WARMUP)
    return Plan(num_warmup, options.target_accept_prob, NUTS, adapts_metric=True)


def _assemble(problem: PosteriorProblem, mle: EMFit, options: SamplingOptions, sampled: Sampled) -> Posterior:
    relabelling = _relabel(problem, mle, options, sampled)
    draws = sampled.draws.permute(relabelling.permutations)
    statistics = sampled.chains.statistics
    tree = posterior_tree(
        draws,
        problem.table,
        sample_stats=statistics | _depth(statistics["n_steps"], sampled.plan.kernel),
        log_likelihood=sampled.log_likelihood,
        pointwise=_pointwise(draws, problem),
        attributes={
            "inference_library": "bayes_gmm",
            "sampler": sampled.plan.kernel.name,
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


def _depth(n_steps: Shaped[np.ndarray, "chain draw"], kernel: Kernel) -> dict[str, Shaped[np.ndarray, "chain draw"]]:
    """Depth of a tree of so many leaves, at most 2^depth - 1, and whether it was cut."""
    depth = np.log2(n_steps).astype(int) + 1
    deepest = kernel.max_tree_depth if isinstance(kernel, Nuts) else np.inf
    return {"tree_depth": depth, "reached_max_tree_depth": depth >= deepest}
