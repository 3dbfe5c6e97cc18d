"""Whether draws can be trusted: a verdict with reasons, from quantities that do not depend on labels first."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.mcmc.mixing import bulk_ess, mean_ess, smallest_bfmi, split_r_hat, tail_ess
from bayes_gmm.posterior.explanations import Explanation, scalars
from bayes_gmm.posterior.relabelling import Relabelling
from bayes_gmm.posterior.verdict import LARGEST_RHAT, SMALLEST_BFMI, SMALLEST_ESS, Verdict, VerdictStatus

_CONSTANT = 1e-12
"""Range, relative to the size, below which a quantity varies by rounding alone."""

MANY_DIVERGENT = 0.01
"""Share of divergent transitions above which the draws are bad: the region that they miss is no longer small."""

_FEWEST_ACCEPTED = 0.01
"""Share of independence proposals that every chain should accept at least."""

_MOST_UNCOVERED = 0.01
"""Share of the pilot's particles that may lie where the chains were too rarely."""

LARGEST_AMBIGUITY = 0.05
"""Share of ambiguous draws above which the numbers of a component are doubted."""

HOPELESS_RHAT = 1.05
"""R-hat of an invariant above which the draws are bad: such chains may not have reached the same region."""


class Jumps(NamedTuple):
    """Share of the independence proposals that each chain accepted, and of the pilot's particles that none covers."""

    accepted: Float[np.ndarray, " chain"]
    uncovered: float


def judge(
    tree: Any,
    relabelling: Relabelling,
    *,
    explanations: tuple[Explanation, ...] = (),
    doubts: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    jumps: Jumps | None = None,
) -> Verdict:
    """Judge draws, and apart from them whether components can be named.

    A divergence, a trajectory that was cut and energy that mixes slowly are no reasons by themselves where the
    invariants have mixed: they warn of a region that is missed, and R-hat and effective sample size would show it.

    Parameters
    ----------
    tree
        Draws as `posterior_tree` makes them: the groups invariants, posterior and sample_stats are used.
    relabelling
        The relabelling of the draws.
    explanations
        Groups of chains that agree, as `explain` finds them.
    doubts
        Reasons that do not show in the draws, such as a posterior that does not exist.
    notes
        What the reader should know, without weight in the judgement.
    jumps
        How independence proposals fared, where there were any.
    """
    max_rhat, min_ess, max_mcse = {}, {}, {}
    for group in ("invariants", "posterior"):
        worst = worst_of(np.concatenate(list(scalars(tree[group].to_dataset()))))
        max_rhat[group], min_ess[group], max_mcse[group] = worst
    stats = tree["sample_stats"]
    mixed = max_rhat["invariants"] <= LARGEST_RHAT and min_ess["invariants"] >= SMALLEST_ESS
    trajectories = list(_trajectories(stats, several=jumps is None))
    harmless = [finding for finding in trajectories if mixed and finding.status is VerdictStatus.DOUBTFUL]
    sampling = [
        *(Finding(VerdictStatus.DOUBTFUL, doubt) for doubt in doubts),
        *_frozen_chains(stats["lp"].values),
        *_disagreement(max_rhat["invariants"], explanations),
        *_small_sample_size(min_ess["invariants"]),
        *(finding for finding in trajectories if finding not in harmless),
        *(_missed(jumps) if jumps is not None else ()),
    ]
    components = [*_unlike_components(max_rhat, min_ess), *_ambiguous(relabelling)]
    by_sampling, by_components = _worst_status(sampling), _worst_status(components)
    return Verdict(
        status=max(by_sampling, by_components),
        sampling=by_sampling,
        components=by_components,
        reasons=tuple(finding.reason for finding in (*sampling, *components)),
        notes=(*notes, *(_without_weight(finding) for finding in harmless)),
        max_rhat=max_rhat,
        min_ess=min_ess,
        max_mcse=max_mcse,
        n_divergent=int(stats["diverging"].sum()),
        n_deepest=int(stats["reached_max_tree_depth"].sum()),
        min_bfmi=smallest_bfmi(stats["energy"].values),
        n_draws=int(stats["diverging"].size),
    )


def summary(dataset: Any, *, probability: float) -> dict[str, Any]:
    """Mean, sd, equal-tailed interval, R-hat and bulk ESS of every variable of a dataset."""
    tail = (1 - probability) / 2
    interval = dataset.quantile((tail, 1 - tail), ("chain", "draw"))
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant has no R-hat
        r_hat, ess = (dataset.map(_of_each_entry(statistic)) for statistic in (split_r_hat, bulk_ess))
    return {
        "mean": dataset.mean(("chain", "draw")),
        "sd": dataset.std(("chain", "draw"), ddof=1),
        "lower": interval.isel(quantile=0, drop=True),
        "upper": interval.isel(quantile=1, drop=True),
        "r_hat": r_hat,
        "ess": ess,
    }


def _of_each_entry(statistic: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A statistic of quantities (Q, chain, draw) as one of a variable (chain, draw, ...)."""

    def of_variable(variable: Any) -> Any:
        first = variable.isel(chain=0, draw=0, drop=True)
        chains = variable.transpose(..., "chain", "draw").values
        return first.copy(data=statistic(chains.reshape(-1, *chains.shape[-2:])).reshape(first.shape))

    return of_variable


class Worst(NamedTuple):
    """Largest R-hat, smallest bulk or tail ESS, and largest MCSE over sd."""

    r_hat: float
    ess: float
    mcse: float


def worst_of(values: Float[np.ndarray, "Q chain draw"]) -> Worst:
    """Largest R-hat, smallest bulk or tail ESS, and largest MCSE over sd, of the quantities that vary.

    A quantity that the prior holds constant has nothing to diagnose. All three are NaN when one of the others is NaN or
    when none varies, so that neither case passes for good.
    """
    varying = np.ptp(values, axis=(1, 2)) > _CONSTANT * np.abs(values).max((1, 2))
    judged = values[varying | np.isnan(values).any((1, 2))]
    if not len(judged):
        return Worst(np.nan, np.nan, np.nan)
    ess = np.minimum(bulk_ess(judged), tail_ess(judged))
    return Worst(float(split_r_hat(judged).max()), float(ess.min()), float(mean_ess(judged).min() ** -0.5))


class Finding(NamedTuple):
    """A reason against the draws, and how much it weighs."""

    status: VerdictStatus
    reason: str


def _frozen_chains(log_posterior: Float[np.ndarray, "chain draw"]) -> Iterator[Finding]:
    frozen = np.flatnonzero(np.ptp(log_posterior, axis=1) == 0)
    if frozen.size:
        which = ", ".join(map(str, frozen))
        text = f"Chain {which} never moved. Start again with another seed or a longer warm-up."
        yield Finding(VerdictStatus.BAD, text)


def _worst_status(findings: list[Finding]) -> VerdictStatus:
    return max((finding.status for finding in findings), default=VerdictStatus.GOOD)


def _disagreement(r_hat: float, explanations: tuple[Explanation, ...]) -> Iterator[Finding]:
    """The strongest disagreement of the chains: in explanations, or in invariants."""
    # A NaN, which compares false, counts as disagreement.
    if len(explanations) > 1:
        listed = "; ".join(map(str, explanations))
        text = f"The chains found {len(explanations)} different explanations, which are not to be averaged: {listed}."
        yield Finding(VerdictStatus.BAD, text + " Look at each by itself, or use fewer components.")
    elif not r_hat <= LARGEST_RHAT:
        yield Finding(
            VerdictStatus.DOUBTFUL if r_hat <= HOPELESS_RHAT else VerdictStatus.BAD,
            f"The chains disagree on quantities that no relabelling can change (R-hat {r_hat:.3f}), though none stands "
            "apart: they are too short. Raise num_samples or min_ess.",
        )


def _without_weight(finding: Finding) -> str:
    """The first clause of a reason that R-hat and effective sample size do not confirm."""
    fact = finding.reason.partition(". ")[0].partition(":")[0]
    return f"{fact}, but R-hat and effective sample size show no sign of a region that is missed."


def _small_sample_size(smallest: float) -> Iterator[Finding]:
    if not smallest >= SMALLEST_ESS:
        text = f"The effective sample size falls to {smallest:.0f}, below {SMALLEST_ESS:.0f}."
        yield Finding(VerdictStatus.DOUBTFUL, f"{text} Raise num_samples or min_ess.")


def _missed(jumps: Jumps) -> Iterator[Finding]:
    """What the independence proposals and the pilot say against the chains."""
    lowest = float(np.min(jumps.accepted))
    if not lowest >= _FEWEST_ACCEPTED:
        text = f"A chain accepted only {lowest:.1%} of the independence proposals, so that it may have missed a region."
        yield Finding(VerdictStatus.DOUBTFUL, f"{text} Use fewer components.")
    if not jumps.uncovered <= _MOST_UNCOVERED:
        text = f"{jumps.uncovered:.0%} of the particles that came from the prior lie where the chains were too rarely"
        yield Finding(VerdictStatus.BAD, f"{text}: a mode may have been missed. Start again with another seed.")


def _unlike_components(max_rhat: dict[str, float], min_ess: dict[str, float]) -> Iterator[Finding]:
    """Single components of which the chains know less than of the density."""
    if max_rhat["invariants"] <= LARGEST_RHAT and not max_rhat["posterior"] <= LARGEST_RHAT:
        yield Finding(
            VerdictStatus.DOUBTFUL,
            f"The chains agree on the density but not on single components (R-hat {max_rhat['posterior']:.3f}). "
            "Trust the density; for the components draw more samples or use fewer of them.",
        )
    elif min_ess["invariants"] >= SMALLEST_ESS and not min_ess["posterior"] >= SMALLEST_ESS:
        yield Finding(
            VerdictStatus.DOUBTFUL,
            f"The effective sample size of single components falls to {min_ess['posterior']:.0f}, below "
            f"{SMALLEST_ESS:.0f}, though that of the density does not. Raise num_samples or min_ess.",
        )


def _trajectories(stats: Any, *, several: bool) -> Iterator[Finding]:
    """Divergences and cut trajectories; where proposals jump beside them, many divergences weigh no more than few."""
    divergent, total = int(stats["diverging"].sum()), stats["diverging"].size
    if divergent:
        many = several and divergent > MANY_DIVERGENT * total
        status = VerdictStatus.BAD if many else VerdictStatus.DOUBTFUL
        text = f"{divergent} of {total} transitions diverged: a region of the posterior is too narrow for the sampler."
        remedy = " Raise target_accept_prob, use fewer components, or a tighter prior on the scales."
        yield Finding(status, text + remedy)
    deepest = int(stats["reached_max_tree_depth"].sum())
    if deepest:
        text = f"{deepest} of {total} trajectories were cut at the largest tree depth. The posterior is badly scaled."
        yield Finding(VerdictStatus.DOUBTFUL, text)
    lowest = smallest_bfmi(stats["energy"].values)
    if not lowest >= SMALLEST_BFMI:
        text = f"The energy mixes slowly (BFMI {lowest:.2f}). Draw more samples, or put a tighter prior on the scales."
        yield Finding(VerdictStatus.DOUBTFUL, text)


def _ambiguous(relabelling: Relabelling) -> Iterator[Finding]:
    worst = int(np.argmax(relabelling.ambiguous))
    rate = float(relabelling.ambiguous[worst])
    if rate > LARGEST_AMBIGUITY:
        text = f"In {rate:.0%} of the draws component {worst} holds less than half of the points it has in the fit."
        remedy = " Its own numbers mean little; quote the density, the clusters of points, or sorted quantities."
        yield Finding(VerdictStatus.DOUBTFUL, text + remedy)
