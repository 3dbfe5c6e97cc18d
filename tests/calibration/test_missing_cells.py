"""Intervals where cells are missing at random hold the truth about as often as they say; complete rows do not."""

import numpy as np
import pytest
from scipy.stats import binom, norm

import bayes_gmm as bg

LEVEL, DATA_SETS, N_POINTS = 0.9, 200, 400
TRUTH = bg.Mixture.from_moments(
    [0.4, 0.6], [[0.0, 0.0], [4.0, 2.0]], [[[1.0, 0.5], [0.5, 1.0]], [[1.0, -0.3], [-0.3, 1.0]]]
)


def with_gaps(seed: int) -> np.ndarray:
    """Rows 60 % of which lack the second column, those with the largest first one mostly: 30 % of the cells."""
    x = TRUTH.sample(N_POINTS, seed=seed)[0]
    disturbed = x[:, 0] + np.random.default_rng(seed).normal(size=N_POINTS)
    x[np.argsort(disturbed)[-int(0.6 * N_POINTS) :], 1] = np.nan
    return x


def held(missing: str, data_sets: int = DATA_SETS) -> dict[str, np.ndarray]:
    """Whether intervals of estimate plus or minus hold the truth, by parameter: (data set, ...)."""
    found: dict[str, list] = {name: [] for name in ("weights", "means", "scales")}
    for seed in range(data_sets):
        fit = bg.fit_em(with_gaps(seed), 2, start=TRUTH, missing=missing)
        for name, inside in found.items():
            reach = norm.ppf((1 + LEVEL) / 2) * fit.errors()[name]
            inside.append(np.abs(getattr(fit.mixture, name) - getattr(TRUTH, name)) <= reach)
    return {name: np.array(inside) for name, inside in found.items()}


@pytest.mark.slow
def test_intervals_with_gaps_hold_the_truth_and_those_of_complete_rows_do_not() -> None:
    """Two-sided binomial limits, 1e-4 for all ten parameters together; the weights of complete rows are biased."""
    low, high = binom.ppf([5e-6, 1 - 5e-6], DATA_SETS, LEVEL) / DATA_SETS
    for inside in held("integrate").values():
        assert ((inside.mean(0) >= low - 0.02) & (inside.mean(0) <= high + 0.02)).all()  # 0.02 for finite samples
    assert (held("drop")["weights"].mean(0) < 0.1).all()
