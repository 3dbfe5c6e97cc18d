"""Can these draws be trusted? One verdict with reasons, label-invariant quantities first."""

import warnings
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import arviz as az
import numpy as np
from arviz_stats.base import array_stats

from .explanations import Explanation
from .relabel import Relabelling

LARGEST_RHAT = 1.01
SMALLEST_ESS = 400.0
SMALLEST_BFMI = 0.3
LARGEST_AMBIGUITY = 0.05


class VerdictStatus(IntEnum):
    """How far a set of draws can be trusted."""

    GOOD = 0
    DOUBTFUL = 1
    BAD = 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Judgement of a set of draws.

    Attributes
    ----------
    status
        GOOD, DOUBTFUL or BAD: the worst of the reasons.
    reasons
        What was found wrong, each with advice; empty when nothing was.
    notes
        What the reader should know without it being wrong.
    max_rhat, min_ess
        Over the invariants and over the relabelled parameters.
    n_divergent
        Transitions that diverged, out of `n_draws`.

    References
    ----------
    Vehtari et al. (2021), doi 10.1214/20-BA1221 (R-hat, ESS); Betancourt (2016), arXiv 1604.00695 (BFMI).
    """

    status: VerdictStatus
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    max_rhat: dict[str, float]
    min_ess: dict[str, float]
    n_divergent: int
    n_draws: int

    def __str__(self) -> str:
        rhat, ess = max(self.max_rhat.values()), min(self.min_ess.values())
        head = f"{self.status.name}: R-hat at most {rhat:.4f}, ESS at least {ess:.0f}, "
        head += f"{self.n_divergent} divergences in {self.n_draws} draws"
        return "\n".join([head, *(f"  - {line}" for line in (*self.reasons, *self.notes))])


def judge(
    tree: Any,
    relabelling: Relabelling,
    *,
    explanations: tuple[Explanation, ...] = (),
    notes: tuple[str, ...] = (),
) -> Verdict:
    """Judge the draws of a tree (groups invariants, posterior, sample_stats), their explanations and relabelling."""
    max_rhat, min_ess = {}, {}
    for group in ("invariants", "posterior"):
        dataset = tree[group].to_dataset()
        diagnosed, varying = convergence(dataset), _varying(dataset)
        max_rhat[group] = _extreme(diagnosed["r_hat"], varying, np.max)
        min_ess[group] = min(_extreme(diagnosed[name], varying, np.min) for name in ("ess_bulk", "ess_tail"))
    stats = tree["sample_stats"]
    found = [
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
        n_divergent=int(stats["diverging"].sum()),
        n_draws=int(stats["diverging"].size),
    )


def convergence(dataset: Any) -> dict[str, Any]:
    """R-hat and bulk and tail effective sample size of every variable of a dataset (chain, draw, ...)."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a constant has no R-hat: it comes out as NaN and is judged as such
        return {
            "r_hat": az.rhat(dataset),
            "ess_bulk": az.ess(dataset, method="bulk"),
            "ess_tail": az.ess(dataset, method="tail"),
        }


def summary(dataset: Any, *, probability: float) -> dict[str, Any]:
    """Mean, sd, equal-tailed interval, R-hat and bulk ESS of every variable of a dataset."""
    interval = az.eti(dataset, prob=probability)
    diagnosed = convergence(dataset)
    return {
        "mean": dataset.mean(("chain", "draw")),
        "sd": dataset.std(("chain", "draw"), ddof=1),
        "lower": interval.sel(ci_bound="lower"),
        "upper": interval.sel(ci_bound="upper"),
        "r_hat": diagnosed["r_hat"],
        "ess": diagnosed["ess_bulk"],
    }


class LeaveOneOut(NamedTuple):
    """Expected log predictive density of a new point times N, estimated by leaving one out."""

    elpd: float
    standard_error: float
    effective_parameters: float
    bad_points: int


def leave_one_out(tree: Any) -> LeaveOneOut:
    """PSIS-LOO of the marginal likelihood (Vehtari, Gelman and Gabry 2017, doi 10.1007/s11222-016-9696-4)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ warns of bad points; they are counted and reported
        loo = az.loo(tree, pointwise=True)
    bad = int((np.asarray(loo.pareto_k) > loo.good_k).sum())
    return LeaveOneOut(float(loo.elpd), float(loo.se), float(loo.p), bad)


def smooth_importance_weights(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Logarithms of normalised weights with their tail smoothed, and Pareto's k; infinite k when they do not differ."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # ArviZ warns of a large k, which is reported
        log_weights, pareto_k = array_stats.psislw(log_ratios - log_ratios.max())
    log_weights = np.asarray(log_weights) - np.logaddexp.reduce(log_weights)
    return log_weights, float(pareto_k)


def _varying(dataset: Any) -> dict[str, np.ndarray]:
    """Which entries are not the same in every draw: what the prior holds fixed has nothing to diagnose."""
    high, low = dataset.max(("chain", "draw")), dataset.min(("chain", "draw"))
    return {name: ((high - low) > 1e-12 * abs(high))[name].values for name in dataset.data_vars}


def _extreme(dataset: Any, varying: dict[str, np.ndarray], reduce: Any) -> float:
    """Largest or smallest entry that varies; NaN when one is or none varies, so that it cannot pass for good."""
    entries = [values.values[varying[name]].ravel() for name, values in dataset.data_vars.items()]
    return float(reduce(np.concatenate(entries) if any(map(len, entries)) else np.array([np.nan])))


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
        return [
            (
                VerdictStatus.BAD,
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
        found.append((status, text + " Use fewer components or a tighter prior on the scales."))
    deepest = int(stats["reached_max_tree_depth"].sum())
    if deepest:
        text = f"{deepest} of {total} trajectories were cut at the largest tree depth. The posterior is badly scaled."
        found.append((VerdictStatus.DOUBTFUL, text))
    lowest = float(np.min(_bfmi(stats["energy"].values)))
    if not lowest >= SMALLEST_BFMI:
        text = f"The energy mixes slowly (BFMI {lowest:.2f}). Draw more samples, or put a tighter prior on the scales."
        found.append((VerdictStatus.DOUBTFUL, text))
    return found


def _bfmi(energy: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.diff(energy, axis=1) ** 2).mean(1) / energy.var(1, ddof=1)


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
