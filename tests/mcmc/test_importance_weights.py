"""Smoothed weights, their shapes and leave-one-out densities are ArviZ's; shapes are those of Pareto distributions."""

import arviz_stats as azs
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base.array import array_stats
from scipy.stats import genpareto

from bayes_gmm.mcmc.importance_weights import (
    largest_good_k,
    leave_each_out,
    pareto_shape_and_scale,
    smooth_importance_weights,
)


def log_ratios(kind: str, size: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    drawn = {
        "light": rng.normal(size=size),
        "heavy": 2 * rng.exponential(size=size),
        "bounded": -rng.exponential(size=size),
    }
    return drawn[kind]


@pytest.mark.parametrize("kind", ["light", "heavy", "bounded"])
@pytest.mark.parametrize(("size", "relative_ess"), [(40, 1.0), (300, 0.5), (4000, 1.0), (4000, 1.7)])
def test_weights_and_shapes_are_those_of_arviz(kind: str, size: int, relative_ess: float) -> None:
    given = log_ratios(kind, size)
    expected, shape = array_stats.psislw(-given, r_eff=relative_ess)
    found = smooth_importance_weights(given.copy(), relative_ess)
    np.testing.assert_allclose(found.log_weights, expected, rtol=1e-10, atol=1e-10)
    assert found.pareto_k == pytest.approx(float(shape), rel=1e-9)
    assert abs(found.log_weights - (given - np.logaddexp.reduce(given))).max() > 1e-4  # those that are not smoothed


@pytest.mark.parametrize("shape", [0.2, 0.7, 1.1])
def test_shapes_are_those_of_pareto_distributions(shape: float) -> None:
    """The prior of k pulls by a hundredth; the standard error is (1 + k) / sqrt(n)."""
    size = 5000
    excesses = np.sort(genpareto.rvs(shape, scale=2.0, size=size, random_state=5))
    found, scale = pareto_shape_and_scale(excesses)
    assert found == pytest.approx(shape, abs=4 * (1 + shape) / np.sqrt(size) + 10 * 0.6 / size)
    assert scale == pytest.approx(2.0, rel=0.15)


def test_ratios_are_not_changed_in_place() -> None:
    given = log_ratios("heavy", 500)
    kept = given.copy()
    smooth_importance_weights(given)
    np.testing.assert_array_equal(given, kept)


@pytest.mark.parametrize("size", [1, 9, 24])
def test_too_few_ratios_are_not_trusted(size: int) -> None:
    found = smooth_importance_weights(np.random.default_rng(6).normal(size=size))
    assert found.pareto_k == np.inf
    assert np.exp(found.log_weights).sum() == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_points_left_out_are_those_of_arviz() -> None:
    rng = np.random.default_rng(7)
    mean = rng.normal(scale=0.3, size=(4, 500))
    mean[:, 1::2] = mean[:, ::2]  # an effective sample size of half
    x = np.append(rng.normal(size=30), [4.0, -9.0])
    log_likelihood = -0.5 * (x - mean[..., None]) ** 2
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"mean": (("chain", "draw"), mean)}),
            "log_likelihood": xr.Dataset({"x": (("chain", "draw", "point"), log_likelihood)}),
        }
    )
    expected = azs.loo(tree, pointwise=True)
    relative = float(azs.ess(xr.Dataset({"mean": (("chain", "draw"), mean)}), method="mean")["mean"]) / mean.size
    found = leave_each_out(log_likelihood.reshape(-1, len(x)), relative)
    np.testing.assert_allclose(found.elpd, expected.elpd_i, rtol=1e-10)
    np.testing.assert_allclose(found.pareto_k, expected.pareto_k, rtol=1e-8)
    assert largest_good_k(mean.size) == pytest.approx(expected.good_k)
    assert abs(leave_each_out(log_likelihood.reshape(-1, len(x)), 1.0).pareto_k - found.pareto_k).max() > 1e-3


def test_weights_that_do_not_differ_are_equal_and_trusted() -> None:
    log_weights, pareto_k = smooth_importance_weights(np.zeros(100))
    np.testing.assert_allclose(log_weights, -np.log(100), rtol=1e-12)
    assert pareto_k == -np.inf


def test_too_few_weights_to_judge_are_not_trusted() -> None:
    log_weights, pareto_k = smooth_importance_weights(np.array([0.0, -1.0, -2.0]))
    assert pareto_k == np.inf
    assert np.logaddexp.reduce(log_weights) == pytest.approx(0)


def test_heavy_tails_have_a_large_k_and_light_ones_a_small() -> None:
    """Importance ratios that follow a Pareto distribution of shape k are found to have shape k."""
    uniform = np.random.default_rng(0).random(20_000)
    for k in (0.3, 0.9):
        assert smooth_importance_weights(-k * np.log(uniform))[1] == pytest.approx(k, abs=0.15)


def test_draws_that_do_not_differ_leave_no_point_out() -> None:
    with pytest.raises(ValueError, match="all equal"):
        leave_each_out(np.zeros((100, 2)), 1.0)
