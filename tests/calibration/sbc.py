"""Ranks of the truth among posterior draws: parameters from the prior, data from them, each sampler on all of them.

Quantities are label-invariant; the log-likelihood is one of them because, unlike the others, it also notices draws
that ignore the data.

References
----------
Talts et al. (2018), arXiv 1804.06788; Modrak et al. (2023), doi 10.1214/23-BA1404 (the log-likelihood).
"""

import warnings
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
from posterior_intervals import former_default
from recording import Row
from uniformity import DRAWS, counts_of, p_value

import bayes_gmm as bg

FAMILY_WISE_ERROR = 0.01
"""Probability that any of the quantities of one test fails by chance, by Bonferroni."""

DATA_SETS, OF_DEFAULT = 300, 100
"""Data sets of a setting, and of one whose truths come from the default prior, where sampling takes longer."""
CHAINS, MOST_SECONDS = 4, 600.0
FEWEST_EFFECTIVE = 200.0
"""Below this many effective draws every fortieth one of the chains is not nearly independent of the last."""


class Setting(NamedTuple):
    """Size of a problem, and a prior under which most posteriors have one mode."""

    n_components: int
    n_features: int
    n_points: int
    concentration: float
    spread: float
    shape: float
    covariance_type: str = "full"

    def prior(self, *, inflation: float = 1.0) -> bg.Prior:
        """Complete prior in data units; `inflation` multiplies the variances."""
        K, D = self.n_components, self.n_features
        return bg.Prior(
            weights=dist.Dirichlet(np.full(K, self.concentration)),
            means=dist.Normal(np.zeros(D), self.spread),
            variances=dist.InverseGamma(self.shape, inflation * (self.shape - 1)),
            correlations=dist.LKJCholesky(D, 2.0) if D > 1 else 0.0,
        )


SETTINGS = {
    "K=2, D=1": Setting(2, 1, 50, 5.0, 5.0, 10.0),
    "K=3, D=1": Setting(3, 1, 60, 10.0, 10.0, 20.0),
    "K=2, D=2": Setting(2, 2, 50, 5.0, 5.0, 10.0),
    "K=2, D=3": Setting(2, 3, 60, 5.0, 5.0, 10.0),
}
FEW_POINTS = Setting(2, 1, 15, 5.0, 5.0, 3.0)
"""Where the posterior is no Gaussian."""


class DefaultSetting(NamedTuple):
    """Size of a problem whose truths come from the default prior, as Old Faithful in standard units completes it.

    Many of these mixtures overlap, or have components on which there are no points: chains mix slowly there.
    """

    n_components: int
    n_features: int
    n_points: int
    covariance_type: str = "full"

    def prior(self) -> bg.Prior:
        """Complete prior."""
        return bg.Prior().for_data(self.table, self.n_components, self.covariance_type)

    def former_prior(self) -> bg.Prior:
        """Complete prior whose scales follow the variance of the same table."""
        return former_default(self.table, self.n_components).for_data(self.table, self.n_components)

    @property
    def table(self) -> np.ndarray:
        """Waiting times; for two features eruptions before them. Both have a resolution."""
        values = bg.datasets.load("faithful").values
        return ((values - values.mean(0)) / values.std(0))[:, 2 - self.n_features :]


DEFAULT_SETTINGS = {
    "default prior, K=2, D=1": DefaultSetting(2, 1, 50),
    "default prior, K=3, D=1": DefaultSetting(3, 1, 60),
    "default prior, K=2, D=2": DefaultSetting(2, 2, 50),
    "default prior, K=2, D=2, diagonal": DefaultSetting(2, 2, 50, "diag"),
    "default prior, K=3, D=2": DefaultSetting(3, 2, 60),
    "default prior, K=3, D=2, diagonal": DefaultSetting(3, 2, 60, "diag"),
}


class Calibration(NamedTuple):
    """Ranks of the truth, 0 to `DRAWS`, of each quantity and data set, and among draws shrunk to 0.7."""

    nuts: dict[str, np.ndarray]
    shrunk: dict[str, np.ndarray]
    statuses: Counter
    n_stuck: int


class LaplaceCalibration(NamedTuple):
    """The same of Laplace fits with k below 0.7, and of all fits without their weights."""

    trusted: dict[str, np.ndarray]
    unweighted: dict[str, np.ndarray]


def simulated(setting: Setting | DefaultSetting, n_data_sets: int) -> tuple[bg.Mixture, np.ndarray]:
    K, D = setting.n_components, setting.n_features
    truths = setting.prior().sample(n_data_sets, K, D, covariance_type=setting.covariance_type, seed=11)
    return truths, truths.sample(setting.n_points, seed=12)[0]


def quantities(mixtures: bg.Mixture, x: np.ndarray) -> dict[str, np.ndarray]:
    """Label-invariant functions of mixtures (S,), by name."""
    K, D = mixtures.n_components, mixtures.n_features
    weights, mean, covariance = np.sort(mixtures.weights, -1), mixtures.mean, mixtures.covariance
    places = mixtures.log_prob(np.concatenate([x, np.zeros((1, D))]))
    return {
        "log-likelihood": places[:, :-1].sum(1),
        "log density at 0": places[:, -1],
        "weight entropy": -(weights * np.log(weights)).sum(1),
        "smallest sd": np.log(mixtures.scales.min((1, 2))),
        # The sorted weights sum to one, and two of them have their entropy for a rank.
        **{f"weight {k} in order": weights[:, k] for k in range(K if K > 2 else 0)},
        **{f"mean {d}": mean[:, d] for d in range(D)},
        **{f"covariance {i}{j}": covariance[:, i, j] for i in range(D) for j in range(i + 1)},
    }


def below_truth(truth: bg.Mixture, draws: bg.Mixture, x: np.ndarray, *, shrinkage: float = 1.0) -> dict:
    """Which draws (S,) lie below the truth, for each quantity; `shrinkage` pulls them to their mean."""
    both = jax.tree.map(lambda one, many: np.concatenate([one[None], many]), truth, draws)
    values = {name: (value[0], value[1:]) for name, value in quantities(both, x).items()}
    return {
        name: value.mean() + shrinkage * (value - value.mean()) < true_value
        for name, (true_value, value) in values.items()
    }


def sampled(
    x: np.ndarray, setting: Setting | DefaultSetting, prior: bg.Prior, seed: int, **options: Any
) -> bg.Posterior:
    """The posterior by all defaults but the given ones, and ample time: no result depends on what else runs."""
    options |= {"covariance_type": setting.covariance_type, "prior": prior, "seed": seed, "max_seconds": MOST_SECONDS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.FitWarning)  # the verdict repeats it
        return bg.fit_nuts(x, setting.n_components, progress=False, **options)


def thinned(draws: bg.Mixture) -> bg.Mixture:
    """Draws (DRAWS,) at equal distances in chains (chain, draw)."""
    step = draws.log_weights.shape[1] * CHAINS // DRAWS
    return jax.tree.map(lambda leaf: leaf[:, step - 1 :: step].reshape(DRAWS, *leaf.shape[2:]), draws)


def weighted_ranks(below: dict[str, np.ndarray], weights: np.ndarray) -> dict[str, int]:
    shares = {name: float(weights @ under) for name, under in below.items()}
    return {name: min(int(share * (DRAWS + 1)), DRAWS) for name, share in shares.items()}


def collected(rows: list[dict[str, int]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


@cache
def calibration(name: str, n_data_sets: int) -> Calibration:
    """Ranks of all quantities over all data sets of a setting."""
    setting = (SETTINGS | DEFAULT_SETTINGS)[name]
    return ranks_under(setting.prior(), setting, n_data_sets)


def ranks_under(prior: bg.Prior, setting: Setting | DefaultSetting, n_data_sets: int) -> Calibration:
    """The same of fits under a prior, be it that of the truths or another one."""
    rows, statuses, n_stuck = {}, Counter(), 0
    truths, data = simulated(setting, n_data_sets)
    for i, x in enumerate(data):
        truth = jax.tree.map(lambda leaf, i=i: leaf[i], truths)
        posterior = sampled(x, setting, prior, seed=i)
        statuses[posterior.verdict.sampling.name] += 1
        n_stuck += not posterior.verdict.min_ess["invariants"] >= FEWEST_EFFECTIVE
        draws = thinned(posterior.draws)
        for kind, shrinkage in (("nuts", 1.0), ("shrunk", 0.7)):
            below = below_truth(truth, draws, x, shrinkage=shrinkage)
            rows.setdefault(kind, []).append({quantity: under.sum() for quantity, under in below.items()})
    return Calibration(*(collected(rows[kind]) for kind in ("nuts", "shrunk")), statuses, n_stuck)


@cache
def laplace_calibration(setting: Setting, n_data_sets: int) -> LaplaceCalibration:
    """Ranks of all quantities over all data sets, or those of trusted fits."""
    prior, trusted, unweighted = setting.prior(), [], []
    truths, data = simulated(setting, n_data_sets)
    for i, x in enumerate(data):
        start = bg.fit_em(x, setting.n_components)
        fit = bg.fit_laplace(x, setting.n_components, prior=prior, start=start, seed=i)
        below = below_truth(jax.tree.map(lambda leaf, i=i: leaf[i], truths), fit.draws, x)
        weights = np.exp(fit.log_weights)
        unweighted.append(weighted_ranks(below, np.full_like(weights, 1 / len(weights))))
        if fit.trustworthy:
            trusted.append(weighted_ranks(below, weights))
    return LaplaceCalibration(collected(trusted), collected(unweighted))


def rejected(ranks: dict[str, np.ndarray]) -> set[str]:
    """Quantities whose ranks are not uniform."""
    return {name for name, values in ranks.items() if p_value(values) < FAMILY_WISE_ERROR / len(ranks)}


def row(what: str, setting: str, ranks: dict[str, np.ndarray], *, noticed: int = 0) -> Row:
    """Line of the table: no quantity, or at least so many of them, should be found not to be uniform."""
    found, limit = rejected(ranks), FAMILY_WISE_ERROR / len(ranks)
    if noticed:
        return Row(what, setting, "not uniform", f"{len(found)} of {len(ranks)} quantities", len(found) >= noticed)
    smallest = min(map(p_value, ranks.values()))
    return Row(what, setting, f"uniform: no p below {limit:.4f}", f"smallest p {smallest:.4f}", not found)


def numbers(ranks: dict[str, np.ndarray]) -> dict[str, dict]:
    """What there is to know of the ranks of each quantity."""
    return {
        name: {"n": len(values), "p": p_value(values), "mean": values.mean(), "counts": counts_of(values)}
        for name, values in ranks.items()
    }


def settings(n_data_sets: int, **more: object) -> dict[str, object]:
    """How a sampler was run."""
    seeds = {"truths": 11, "data": 12, "chains": "number of the data set"}
    return {"data sets": n_data_sets, "draws compared": DRAWS, "seeds": seeds, **more}
