"""Can these draws be trusted? One verdict with reasons, label-invariant quantities first."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lazy_loader
import numpy as np
from jaxtyping import Float

from bayes_gmm.posterior.explanations import Explanation, scalars
from bayes_gmm.posterior.relabelling import Relabelling
from bayes_gmm.posterior.verdict import LARGEST_RHAT, SMALLEST_BFMI, SMALLEST_ESS, Verdict, VerdictStatus

az = lazy_loader.load("arviz_stats")
"""ArviZ, which takes a second to import, is there when it is needed, or when `load_arviz` has been called."""

_TAILS = (0.05, 0.95)
_FEWEST_RATIOS = 10

LARGEST_AMBIGUITY = 0.05
"""Share of ambiguous draws above which a component's own numbers are doubted."""

HOPELESS_RHAT = 1.05
"""Disagreement on invariants beyond which more draws are not all that is missing."""


def judge(
    tree: Any,
    relabelling: Relabelling,
    *,
    explanations: tuple[Explanation, ...] = (),
    doubts: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Verdict:
    """Judge the draws of a tree (groups invariants, posterior, sample_stats), their explanations and relabelling.

    `doubts` are reasons that no draw can show, such as a posterior that does not exist.
    """
    max_rhat, min_ess, max_mcse = {}, {}, {}
    for group in ("invariants", "posterior"):
        worst = _worst(np.concatenate(list(scalars(tree[group].to_dataset()))))
        max_rhat[group], min_ess[group], max_mcse[group] = worst
    stats = tree["sample_stats"]
    found = [
        *((VerdictStatus.DOUBTFUL, doubt) for doubt in doubts),
        *_frozen_chains(stats["lp"].values),
        *_disagreement(max_rhat, explanations),
        *_too_few(min_ess),
        *_trajectories(stats),
        *_ambiguous(relabelling),
    ]
    return Verdict(
        status=max((status for status, _ in found), default=VerdictStatus.GOOD),
        reasons=tuple(reason for _, reason in found),
        notes=notes,
        max_rhat=max_rhat,
        min_ess=min_ess,
        max_mcse=max_mcse,
        n_divergent=int(stats["diverging"].sum()),
        n_deepest=int(stats["reached_max_tree_depth"].sum()),
        min_bfmi=_smallest_bfmi(stats["energy"].values),
        n_draws=int(stats["diverging"].size),
    )


def summary(dataset: Any, *, probability: float) -> dict[str, Any]:
    """Mean, sd, equal-tailed interval, R-hat and bulk ESS of every variable of a dataset."""
    interval = az.eti(dataset, prob=probability)
    with quietly():
        r_hat, ess = az.rhat(_two_chains(dataset)), az.ess(dataset, method="bulk")
    return {
        "mean": dataset.mean(("chain", "draw")),
        "sd": dataset.std(("chain", "draw"), ddof=1),
        "lower": interval.sel(ci_bound="lower"),
        "upper": interval.sel(ci_bound="upper"),
        "r_hat": r_hat,
        "ess": ess,
    }


def split_r_hat(values: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat of quantities (Q, chain, draw); of a single chain, that of its halves."""
    n_quantities, n_chains, n_draws = values.shape
    if n_chains == 1:
        values = values[..., : n_draws // 2 * 2].reshape(n_quantities, 2, -1)
    return np.atleast_1d(np.asarray(az.base.array_stats.rhat(values), dtype=np.float64))


def _two_chains(dataset: Any) -> Any:
    """The same draws; where there is one chain, its halves as two."""
    if dataset.sizes["chain"] > 1 or dataset.sizes["draw"] < 2:
        return dataset
    chain = dataset.isel(chain=0, drop=True).drop_vars("draw", errors="ignore")
    halves = chain.coarsen(draw=dataset.sizes["draw"] // 2, boundary="trim").construct(draw=("chain", "step"))
    return halves.rename(step="draw")


def load_arviz() -> Any:
    """Import ArviZ now."""
    return az.base


@contextmanager
def quietly() -> Iterator[None]:
    """A constant has no R-hat: it comes out as NaN, of which ArviZ warns, and is judged as such."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _worst(values: np.ndarray) -> tuple[float, float, float]:
    """Largest R-hat, smallest bulk or tail ESS, largest MCSE over sd, of quantities (Q, C, S) that vary.

    What is the same in every draw, because the prior holds it, has nothing to diagnose. NaN when one of the others
    is NaN or none varies, so that it cannot pass for good.
    """
    varying = np.ptp(values, axis=(1, 2)) > 1e-12 * np.abs(values).max((1, 2))
    judged = values[varying | np.isnan(values).any((1, 2))]
    if not len(judged):
        return np.nan, np.nan, np.nan
    with quietly():
        r_hat = split_r_hat(judged)
        bulk, mean = az.base.array_stats.ess(judged, method="bulk"), az.base.array_stats.ess(judged, method="mean")
        tail = az.base.array_stats.ess(judged, method="tail", prob=_TAILS)
    return float(np.max(r_hat)), float(min(np.min(bulk), np.min(tail))), float(np.min(mean) ** -0.5)


def smooth_importance_weights(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Logarithms of normalised weights with their tail smoothed, and Pareto's k.

    Minus infinity when the largest ratios are all the same, a tail that has nothing to smooth; infinity when there are
    too few to tell.
    """
    smoothed, pareto_k = log_ratios, np.inf
    try:
        with quietly():
            # ArviZ takes what leave-one-out begins with, log-likelihoods: minus the log ratios.
            if len(log_ratios) >= _FEWEST_RATIOS:
                smoothed, pareto_k = az.base.array_stats.psislw(log_ratios.max() - log_ratios)
    except ValueError:  # ArviZ's answer to a tail of equal values
        pareto_k = -np.inf
    log_weights = np.asarray(smoothed) - np.logaddexp.reduce(smoothed)
    return log_weights, np.inf if np.isnan(pareto_k) else float(pareto_k)


Found = list[tuple[VerdictStatus, str]]


def _frozen_chains(log_posterior: np.ndarray) -> Found:
    frozen = np.flatnonzero(np.ptp(log_posterior, axis=1) == 0)
    if not frozen.size:
        return []
    which = ", ".join(map(str, frozen))
    return [(VerdictStatus.BAD, f"Chain {which} never moved. Start again with another seed or a longer warm-up.")]


def _disagreement(max_rhat: dict[str, float], explanations: tuple[Explanation, ...]) -> Found:
    if len(explanations) > 1:
        listed = "; ".join(map(str, explanations))
        text = f"The chains found {len(explanations)} different explanations, which are not to be averaged: {listed}."
        return [(VerdictStatus.BAD, text + " Look at each by itself, or use fewer components.")]
    if not max_rhat["invariants"] <= LARGEST_RHAT:
        status = VerdictStatus.DOUBTFUL if max_rhat["invariants"] <= HOPELESS_RHAT else VerdictStatus.BAD
        return [
            (
                status,
                f"The chains disagree on quantities that no relabelling can change (R-hat "
                f"{max_rhat['invariants']:.3f}), though none stands apart: they are too short. Raise num_samples.",
            )
        ]
    if not max_rhat["posterior"] <= LARGEST_RHAT:
        return [
            (
                VerdictStatus.DOUBTFUL,
                f"The chains agree on the density but not on single components (R-hat {max_rhat['posterior']:.3f}). "
                "Trust the density; for the components draw more samples or use fewer of them.",
            )
        ]
    return []


def _too_few(min_ess: dict[str, float]) -> Found:
    smallest = min(min_ess.values())
    if smallest >= SMALLEST_ESS:
        return []
    text = f"The effective sample size falls to {smallest:.0f}, below {SMALLEST_ESS:.0f}. Raise num_samples."
    return [(VerdictStatus.DOUBTFUL, text)]


def _trajectories(stats: Any) -> Found:
    found: Found = []
    divergent, total = int(stats["diverging"].sum()), stats["diverging"].size
    if divergent:
        status = VerdictStatus.BAD if divergent > 0.01 * total else VerdictStatus.DOUBTFUL
        text = f"{divergent} of {total} transitions diverged: a region of the posterior is too narrow for the sampler."
        remedy = " Raise target_accept_prob, use fewer components, or a tighter prior on the scales."
        found.append((status, text + remedy))
    deepest = int(stats["reached_max_tree_depth"].sum())
    if deepest:
        text = f"{deepest} of {total} trajectories were cut at the largest tree depth. The posterior is badly scaled."
        found.append((VerdictStatus.DOUBTFUL, text))
    lowest = _smallest_bfmi(stats["energy"].values)
    if not lowest >= SMALLEST_BFMI:
        text = f"The energy mixes slowly (BFMI {lowest:.2f}). Draw more samples, or put a tighter prior on the scales."
        found.append((VerdictStatus.DOUBTFUL, text))
    return found


def _smallest_bfmi(energy: Float[np.ndarray, "chain draw"]) -> float:
    """Smallest over the chains; NaN when the energy of a chain is constant or not finite."""
    with quietly():
        return float(np.min(az.base.array_stats.bfmi(energy)))


def _ambiguous(relabelling: Relabelling) -> Found:
    worst = int(np.argmax(relabelling.ambiguous))
    rate = float(relabelling.ambiguous[worst])
    if rate <= LARGEST_AMBIGUITY:
        return []
    text = f"In {rate:.0%} of the draws component {worst} holds less than half of the points it has in the fit."
    return [
        (
            VerdictStatus.DOUBTFUL,
            text + " Its own numbers mean little; the density and the other components do.",
        )
    ]
