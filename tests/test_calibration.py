"""Simulation-based calibration: parameters from the prior, data from them, ranks of the truth among posterior draws.

Where the sampler is right, the truth is one more draw of the posterior, and its rank is uniform. Quantities are
label-invariant; the log-likelihood is one of them because, unlike the others, it also notices draws that ignore the
data. Uniformity is judged by the whole distribution function at once, with a band whose coverage is simulated.
Each test of a sampler on one setting errs with a probability of at most `FAMILY_WISE_ERROR`.

No data set is left out because of its verdict. Those on which NUTS makes few effective draws are sampled again and
longer, which depends on the data alone; how many stay doubtful is printed. The Laplace fit answers for itself where
Pareto's k is below 0.7, and only there: in 9 data sets of 10, or 7 where 15 points and the prior say little.

`pytest -m slow -n0 -s tests/test_calibration.py` prints the table. Minutes on one core of two: 3 for K=2 D=1, 7 for
K=3 D=1, 6 for K=2 D=2, 3 for the wrong prior, 1 for each Laplace fit.

References
----------
Talts et al. (2018), arXiv 1804.06788; Modrak et al. (2023), doi 10.1214/23-BA1404 (the log-likelihood); Sailynoja,
Burkner and Vehtari (2022), doi 10.1007/s11222-022-10090-6 (the band).
"""

from collections import Counter
from functools import cache
from typing import NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import bayes_gmm as bg

# The maximum of the likelihood of few points is often a collapse; the posterior has none.
pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

FAMILY_WISE_ERROR = 0.01
"""Probability that any of the quantities of one test fails by chance, by Bonferroni."""

DATA_SETS = 300
DRAWS = 100
SAMPLES, MORE_SAMPLES, CHAINS = 1000, 5000, 4
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
}
FEW_POINTS = Setting(2, 1, 15, 5.0, 5.0, 3.0)
"""Where the posterior is no Gaussian."""


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


def simulated(setting: Setting) -> tuple[bg.Mixture, np.ndarray]:
    K, D = setting.n_components, setting.n_features
    truths = setting.prior().sample(DATA_SETS, K, D, seed=11)
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


def sampled(x: np.ndarray, setting: Setting, prior: bg.Prior, mle: bg.EMFit, seed: int) -> bg.Posterior:
    """Four chains, longer ones where these are worth too few independent draws."""
    for num_samples in (SAMPLES, MORE_SAMPLES):
        options = {"start": mle, "num_samples": num_samples, "num_chains": CHAINS, "progress": False, "seed": seed}
        posterior = bg.fit_nuts(x, setting.n_components, prior=prior, **options)
        if posterior.verdict.min_ess["invariants"] >= FEWEST_EFFECTIVE:
            break
    return posterior


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
def calibration(name: str) -> Calibration:
    """Ranks of all quantities over all data sets of a setting."""
    setting = SETTINGS[name]
    prior, rows, statuses, n_stuck = setting.prior(), {}, Counter(), 0
    truths, data = simulated(setting)
    for i, x in enumerate(data):
        truth = jax.tree.map(lambda leaf, i=i: leaf[i], truths)
        mle = bg.fit_em(x, setting.n_components)
        posterior = sampled(x, setting, prior, mle, seed=i)
        statuses[posterior.verdict.status.name] += 1
        n_stuck += not posterior.verdict.min_ess["invariants"] >= FEWEST_EFFECTIVE
        draws = thinned(posterior.draws)
        for kind, shrinkage in (("nuts", 1.0), ("shrunk", 0.7)):
            below = below_truth(truth, draws, x, shrinkage=shrinkage)
            rows.setdefault(kind, []).append({quantity: under.sum() for quantity, under in below.items()})
    return Calibration(*(collected(rows[kind]) for kind in ("nuts", "shrunk")), statuses, n_stuck)


@cache
def laplace_calibration(setting: Setting) -> LaplaceCalibration:
    """Ranks of all quantities over all data sets, or those of trusted fits."""
    prior, trusted, unweighted = setting.prior(), [], []
    truths, data = simulated(setting)
    for i, x in enumerate(data):
        start = bg.fit_em(x, setting.n_components)
        fit = bg.fit_laplace(x, setting.n_components, prior=prior, start=start, seed=i)
        below = below_truth(jax.tree.map(lambda leaf, i=i: leaf[i], truths), fit.draws, x)
        weights = np.exp(fit.log_weights)
        unweighted.append(weighted_ranks(below, np.full_like(weights, 1 / len(weights))))
        if fit.trustworthy:
            trusted.append(weighted_ranks(below, weights))
    return LaplaceCalibration(collected(trusted), collected(unweighted))


# The check itself


@cache
def tail_table(n_ranks: int) -> np.ndarray:
    """Two-sided tail probability of finding c of n uniform ranks at most j, (DRAWS, n + 1)."""
    probability = (np.arange(DRAWS) + 1)[:, None] / (DRAWS + 1)
    counts = np.arange(n_ranks + 1)[None]
    below = scipy.stats.binom.cdf(counts, n_ranks, probability)
    above = scipy.stats.binom.sf(counts - 1, n_ranks, probability)
    return 2 * np.minimum(below, above)


def most_extreme(counts: np.ndarray) -> np.ndarray:
    """Smallest tail probability along the empirical distribution functions of counts (..., DRAWS + 1) of ranks."""
    table = tail_table(int(counts.reshape(-1, DRAWS + 1)[0].sum()))
    return table[np.arange(DRAWS), np.cumsum(counts, -1)[..., :-1]].min(-1)


@cache
def reference_distribution(n_ranks: int, n_simulations: int = 100_000) -> np.ndarray:
    """The same of simulated uniform ranks, sorted: what the band is simultaneous by."""
    rng = np.random.default_rng(1)
    uniform = np.full(DRAWS + 1, 1 / (DRAWS + 1))
    parts = [most_extreme(rng.multinomial(n_ranks, uniform, size=10_000)) for _ in range(n_simulations // 10_000)]
    return np.sort(np.concatenate(parts))


def p_value(ranks: np.ndarray) -> float:
    """Probability of uniform ranks whose distribution function leaves a wider band than that of these."""
    reference = reference_distribution(len(ranks))
    found = most_extreme(np.bincount(ranks, minlength=DRAWS + 1))
    return float((1 + np.searchsorted(reference, found, side="right")) / (1 + len(reference)))


def rejected(ranks: dict[str, np.ndarray]) -> set[str]:
    """Quantities whose ranks are not uniform."""
    return {name for name, values in ranks.items() if p_value(values) < FAMILY_WISE_ERROR / len(ranks)}


def show(title: str, ranks: dict[str, np.ndarray]) -> None:
    print(f"\n{title}")
    expected = (np.arange(DRAWS + 1) + 1) / (DRAWS + 1)
    for name, values in ranks.items():
        found = np.cumsum(np.bincount(values, minlength=DRAWS + 1)) / len(values)
        furthest = np.abs(found - expected).max()
        print(
            f"  {name:20} p {p_value(values):8.5f}   mean rank {values.mean():5.1f}   largest deviation {furthest:.3f}"
        )


def test_the_band_has_the_coverage_it_claims() -> None:
    rng = np.random.default_rng(5)
    values = np.array([p_value(rng.integers(0, DRAWS + 1, DATA_SETS)) for _ in range(4000)])
    for level in (0.5, 0.1, 0.01):
        # At most the level, for the smallest tail probability has few values.
        error = np.sqrt(level * (1 - level) / len(values))
        assert 0.8 * level - 4 * error < np.mean(values <= level) < level + 4 * error


# The samplers


@pytest.mark.parametrize("name", SETTINGS)
def test_nuts_is_calibrated(name: str) -> None:
    found = calibration(name)
    statuses = ", ".join(f"{count} {status}" for status, count in found.statuses.items())
    show(f"NUTS, {name}: {statuses}; {found.n_stuck} below {FEWEST_EFFECTIVE:.0f} effective draws", found.nuts)
    assert len(found.nuts["log-likelihood"]) == DATA_SETS
    assert rejected(found.nuts) == set()


@pytest.mark.parametrize("setting", [*SETTINGS.values(), FEW_POINTS], ids=[*SETTINGS, "15 points"])
def test_laplace_fit_is_calibrated_where_it_says_so(setting: Setting) -> None:
    ranks = laplace_calibration(setting).trusted
    n_trusted = len(ranks["log-likelihood"])
    show(f"Laplace, {setting}: {n_trusted} of {DATA_SETS} with Pareto k below 0.7", ranks)
    assert n_trusted > 80  # fewer would notice little
    assert rejected(ranks) == set()


# Negative controls


@pytest.mark.parametrize("name", SETTINGS)
def test_draws_with_too_little_spread_are_noticed(name: str) -> None:
    found = calibration(name)
    show(f"NUTS shrunk to 0.7, {name}", found.shrunk)
    assert rejected(found.shrunk) == set(found.shrunk)


def test_gaussians_without_their_weights_are_noticed() -> None:
    """With many points the Gaussians, over all labellings, are nearly right by themselves; with few they are not."""
    ranks = laplace_calibration(FEW_POINTS).unweighted
    show("Laplace without weights, 15 points", ranks)
    assert rejected(ranks)


def test_a_fit_with_another_prior_is_noticed() -> None:
    setting = SETTINGS["K=2, D=1"]
    truths, data = simulated(setting)
    rows = []
    for i, x in enumerate(data):
        draws = thinned(sampled(x, setting, setting.prior(inflation=2.0), bg.fit_em(x, 2), seed=i).draws)
        below = below_truth(jax.tree.map(lambda leaf, i=i: leaf[i], truths), draws, x)
        rows.append({quantity: under.sum() for quantity, under in below.items()})
    ranks = collected(rows)
    show("NUTS with twice the variances in the prior, K=2, D=1", ranks)
    assert "log-likelihood" in rejected(ranks)


def test_only_the_log_likelihood_notices_draws_that_ignore_the_data() -> None:
    setting = SETTINGS["K=2, D=1"]
    truths, data = simulated(setting)
    rows = []
    for i, x in enumerate(data):
        draws = setting.prior().sample(DRAWS, 2, 1, seed=100 + i)
        below = below_truth(jax.tree.map(lambda leaf, i=i: leaf[i], truths), draws, x)
        rows.append({quantity: under.sum() for quantity, under in below.items()})
    ranks = collected(rows)
    show("Draws of the prior, K=2, D=1", ranks)
    assert rejected(ranks) == {"log-likelihood"}
