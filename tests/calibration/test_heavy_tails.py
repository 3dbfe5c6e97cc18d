"""How often 90 % intervals hold the truth where components are t distributions: as such, and as Gaussians.

Two clusters with scatters of one, 6 apart, with 4 degrees of freedom. The control is the plain fit, whose covariances
are those of the points, outliers among them, and are held against the covariances of the truth, which exist.
"""

from functools import cache

import numpy as np
import pytest
from proportions import ERROR, covered, mean_and_error, unlike
from recording import Record, Row

import bayes_gmm as bg
from bayes_gmm.mixture.mixture import Mixture

pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore::bayes_gmm.FitWarning")]

LEVEL, DATA_SETS, N_POINTS = 0.9, 200, 400
OF_POSTERIOR = 60
"""Data sets whose posterior is sampled."""

TRUTH = Mixture.from_scatters([0.4, 0.6], [[0.0, 0.0], [6.0, 0.0]], [np.eye(2)] * 2, 4.0)


def data(seed: int) -> np.ndarray:
    return TRUTH.sample(N_POINTS, seed=seed)[0]


@cache
def by_likelihood(seed: int) -> np.ndarray:
    """Whether the interval of each mean and scale, and of the log degrees of freedom, holds the truth."""
    fit = bg.fit_em(data(seed), 2, components="t", n_starts=8)
    errors, nu = fit.errors(), fit.mixture.degrees_of_freedom[0]
    hits = [
        covered(getattr(fit.mixture, name), errors[name], getattr(TRUTH, name), LEVEL) for name in ("means", "scales")
    ]
    of_log = errors["degrees_of_freedom"][0] / nu
    tail = covered(np.log(nu), of_log if np.isfinite(of_log) else np.inf, np.log(4.0), LEVEL)
    return np.concatenate([*map(np.ravel, hits), np.ravel(tail)])


@cache
def as_gaussians(seed: int) -> np.ndarray:
    fit = bg.fit_em(data(seed), 2, n_starts=8)
    errors = fit.errors()
    truth = {"means": TRUTH.means, "scales": TRUTH.standard_deviations}
    return np.concatenate(
        [np.ravel(covered(getattr(fit.mixture, name), errors[name], truth[name], LEVEL)) for name in truth]
    )


@cache
def by_posterior(seed: int) -> np.ndarray:
    posterior = bg.fit_nuts(data(seed), 2, components="t", num_samples=500, num_chains=2, progress=False)
    found = []
    for name in ("means", "scales", "degrees_of_freedom"):
        draws, truth = np.asarray(getattr(posterior.draws, name)), getattr(TRUTH, name)
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=(0, 1))
        found.append(np.ravel((low <= truth) & (truth <= high))[: 1 if name == "degrees_of_freedom" else None])
    return np.concatenate(found)


def test_intervals_cover_with_heavy_tails_and_not_without(record: Record) -> None:
    n = record.number(DATA_SETS)
    hits = {
        "maximum likelihood": np.array([by_likelihood(seed) for seed in range(n)]),
        "posterior": np.array([by_posterior(seed) for seed in range(record.number(OF_POSTERIOR))]),
        "control: maximum likelihood of Gaussians": np.array([as_gaussians(seed) for seed in range(n)]),
    }
    lines, numbers = [], {}
    for name, found in hits.items():
        mean, error = mean_and_error(found)
        at_nominal = unlike(found, LEVEL)
        is_control = name.startswith("control")
        holds = at_nominal < ERROR if is_control else at_nominal > ERROR
        expected = "not 90 %" if is_control else "90 %"
        what = f"{name}: {LEVEL:.0%} intervals where components have 4 degrees of freedom"
        tails = "" if is_control else f", degrees of freedom {found[:, -1].mean():.0%}"
        values = f"{100 * mean:.0f}±{100 * error:.0f} %{tails}"
        lines.append(Row(what, f"{N_POINTS} points, {len(found)} data sets", expected, values, holds))
        numbers[name] = {"mean": mean, "error": error, "by parameter": found.mean(0), "p of all at nominal": at_nominal}
    record("heavy_tails", lines, {"level": LEVEL, "data sets": n, "seeds": "number of the data set"}, numbers)
    assert all(line.holds for line in lines)
