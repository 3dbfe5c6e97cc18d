"""How often 90 % intervals hold the truth where one point in ten was thrown into a box: with noise, and without.

Two clusters of sd 1 that lie 5 sds apart, of whose points a tenth lies anywhere in a box of 30 by 30. The control is
the plain fit, which calls the outliers members of the clusters. The box of the fit is that of the data, which is a
little smaller than the true one.
"""

from functools import cache

import numpy as np
import pytest
from proportions import ERROR, covered, mean_and_error, unlike
from recording import Record, Row

import bayes_gmm as bg
from bayes_gmm.mixture.mixture import Mixture

pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore::bayes_gmm.FitWarning")]

LEVEL, DATA_SETS, N_POINTS, SHARE = 0.9, 200, 400, 0.1
OF_POSTERIOR = 60
"""Data sets whose posterior is sampled."""

TRUTH = Mixture.from_moments([0.4, 0.6], [[0.0, 0.0], [5.0, 0.0]], [np.eye(2)] * 2)
TRUTH = TRUTH.with_noise(SHARE, [-12.5, -15.0], [17.5, 15.0])


def data(seed: int) -> np.ndarray:
    return TRUTH.sample(N_POINTS, seed=seed)[0]


@cache
def by_likelihood(seed: int, *, noise: bool) -> np.ndarray:
    """Whether the interval of each mean and sd, and of the weight of noise where that is fitted, holds the truth."""
    fit = bg.fit_em(data(seed), 2, noise=noise, n_starts=16)
    errors = fit.errors()
    names = ["means", "scales", *(["noise_weight"] if noise else [])]
    hits = [covered(getattr(fit.mixture, name), errors[name], getattr(TRUTH, name), LEVEL) for name in names]
    return np.concatenate([np.ravel(hit) for hit in hits])


@cache
def by_posterior(seed: int) -> np.ndarray:
    posterior = bg.fit_nuts(data(seed), 2, noise=True, num_samples=500, num_chains=2, progress=False)
    found = []
    for name in ("means", "scales", "noise_weight"):
        draws = np.asarray(getattr(posterior.draws, name))
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=(0, 1))
        truth = getattr(TRUTH, name)
        found.append(np.ravel((low <= truth) & (truth <= high)))
    return np.concatenate(found)


def test_intervals_cover_with_noise_and_not_without(record: Record) -> None:
    n = record.number(DATA_SETS)
    hits = {
        "maximum likelihood": np.array([by_likelihood(seed, noise=True) for seed in range(n)]),
        "posterior": np.array([by_posterior(seed) for seed in range(record.number(OF_POSTERIOR))]),
        "control: maximum likelihood without noise": np.array([by_likelihood(seed, noise=False) for seed in range(n)]),
    }
    lines, numbers = [], {}
    for name, found in hits.items():
        mean, error = mean_and_error(found)
        at_nominal = unlike(found, LEVEL)
        is_control = name.startswith("control")
        holds = at_nominal < ERROR if is_control else at_nominal > ERROR
        expected = "not 90 %" if is_control else "90 %"
        what = f"{name}: {LEVEL:.0%} intervals where {SHARE:.0%} are outliers"
        values = f"{100 * mean:.0f}±{100 * error:.0f} %" + ("" if is_control else f", noise {found[:, -1].mean():.0%}")
        lines.append(Row(what, f"{N_POINTS} points, {len(found)} data sets", expected, values, holds))
        numbers[name] = {"mean": mean, "error": error, "by parameter": found.mean(0), "p of all at nominal": at_nominal}
    record("noise_coverage", lines, {"level": LEVEL, "data sets": n, "seeds": "number of the data set"}, numbers)
    assert all(line.holds for line in lines)
