"""Predictive checks count what they say, and find data of another shape."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import bayes_gmm as bg
from bayes_gmm.figure_data.predictive_checks import replications, shape_statistics


def with_replications(posterior_of: Callable, posterior: bg.Posterior, observed: np.ndarray) -> bg.Posterior:
    """A posterior of a standard Gaussian, with observed data (N, 2), and 2 x 40 replications of them."""
    drawn = np.random.default_rng(1).normal(size=(2, len(observed), 40, 2))
    predictive = xr.Dataset({"x": (("chain", "point", "draw", "feature"), drawn)})
    tree = xr.DataTree.from_dict({"posterior_predictive": predictive})
    return posterior_of(posterior.draws, bg.as_table(observed), tree=tree)


def test_shape_statistics_are_skewness_and_kurtosis() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=500)
    found = shape_statistics(values, np.ones(500))
    assert found["skewness"] == pytest.approx(scipy.stats.skew(values), rel=1e-12)
    assert found["kurtosis"] == pytest.approx(scipy.stats.kurtosis(values, fisher=False), rel=1e-12)
    assert shape_statistics(5 - 3 * values, np.ones(500))["skewness"] == pytest.approx(-found["skewness"], rel=1e-9)


def test_replications_are_counted_bin_by_bin(posterior_of: Callable, posterior: bg.Posterior) -> None:
    observed = np.random.default_rng(3).normal(size=(150, 2))
    check = replications(with_replications(posterior_of, posterior, observed), 1)
    width = np.diff(check.edges)
    counts = np.histogram(observed[:, 1], check.edges)[0]
    np.testing.assert_allclose(check.observed, counts / (150 * width), rtol=1e-9)
    assert check.replicated.shape == (80, len(counts))
    drawn = np.random.default_rng(1).normal(size=(2, 150, 40, 2))[1, :, 7, 1]
    inside = (drawn >= check.edges[0]) & (drawn <= check.edges[-1])
    assert (check.replicated[40 + 7] * width).sum() == pytest.approx(inside.mean(), rel=1e-12)
    statistics = scipy.stats.skew(np.random.default_rng(1).normal(size=(2, 150, 40, 2))[..., 1], axis=1)
    assert check.p_values["skewness"] == pytest.approx((statistics >= scipy.stats.skew(observed[:, 1])).mean())


def test_data_of_another_shape_are_found(posterior_of: Callable, posterior: bg.Posterior) -> None:
    rng = np.random.default_rng(4)
    observed = np.column_stack([rng.normal(size=200), rng.exponential(size=200)])
    pretended = with_replications(posterior_of, posterior, observed)
    same, other = (replications(pretended, feature).p_values for feature in (0, 1))
    assert 0.02 < same["skewness"] < 0.98
    assert 0.02 < same["kurtosis"] < 0.98
    assert other == {"skewness": 0.0, "kurtosis": 0.0}


def test_a_row_of_weight_two_is_a_row_twice(posterior_of: Callable, posterior: bg.Posterior) -> None:
    observed, times = np.random.default_rng(5).normal(size=(60, 2)), np.arange(60) % 4
    repeated = with_replications(posterior_of, posterior, np.repeat(observed, times, axis=0))
    weighted = with_replications(posterior_of, posterior, observed)
    weighted.problem.row_weights = times.astype(float)
    drawn = weighted.tree["posterior_predictive"]["x"]
    repeated.tree["posterior_predictive"]["x"] = drawn.isel(point=np.repeat(np.arange(60), times))
    one, other = (replications(each, 0) for each in (weighted, repeated))
    assert one.p_values == other.p_values
    ignored = posterior_of(posterior.draws, bg.as_table(observed), tree=weighted.tree)
    assert replications(ignored, 0).p_values != one.p_values
