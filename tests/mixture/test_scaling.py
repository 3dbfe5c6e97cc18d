"""Unit coordinates: the map whitens, is undone by its inverse, and keeps every density."""

import jax
import numpy as np
import pytest

from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def correlated_points(n_features, offset=0.0, n_points=60):
    """Points of correlated features with units a thousand apart, and a weight for each."""
    rng = np.random.default_rng(n_features)
    units = np.logspace(-1, 2, n_features)
    x = rng.normal(size=(n_points, n_features)) @ rng.normal(size=(n_features, n_features)) * units + offset
    return x, rng.integers(0, 4, n_points) + 0.5


def random_mixture(n_features, batch=()):
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(*batch, 3, n_features, n_features + 2))
    means = rng.normal(size=(*batch, 3, n_features))
    return Mixture.from_moments(rng.dirichlet(np.ones(3), size=batch), means, roots @ roots.mT)


@pytest.mark.parametrize("n_features", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_whitening_gives_mean_zero_and_identity_covariance(n_features, weighted):
    x, weights = correlated_points(n_features)
    weights = weights if weighted else np.ones(len(x))
    z = Scaling.whitening(x, weights).points_to_unit(x)
    np.testing.assert_allclose(np.average(z, axis=0, weights=weights), 0, atol=1e-13)
    covariance = np.atleast_2d(np.cov(z.T, aweights=weights, ddof=0))
    np.testing.assert_allclose(covariance, np.eye(n_features), atol=1e-12)


def test_whitening_without_the_weights_is_another_one():
    x, weights = correlated_points(2)
    z = Scaling.whitening(x, np.ones(len(x))).points_to_unit(x)
    assert np.abs(np.cov(z.T, aweights=weights, ddof=0) - np.eye(2)).max() > 0.01


@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_factor_is_the_cholesky_factor_of_the_covariance(n_features):
    x, weights = correlated_points(n_features)
    expected = np.linalg.cholesky(np.atleast_2d(np.cov(x.T, aweights=weights, ddof=0)))
    # Compared in units of the data: the columns differ by a factor of a thousand.
    units = np.sqrt((expected**2).sum(1))[:, None]
    factor = Scaling.whitening(x, weights).factor
    np.testing.assert_allclose(factor / units, expected / units, atol=1e-12)
    assert (np.triu(factor, 1) == 0).all()


def test_offset_of_a_million_costs_no_more_than_the_data_lost_by_it():
    """Data of spread 1 at 1e6 are rounded by 1e-10 themselves; raw second moments would lose 1e-4."""
    x, weights = correlated_points(2)
    x = x / x.std(0)
    near = Scaling.whitening(x, weights).points_to_unit(x)
    far = Scaling.whitening(x + 1e6, weights).points_to_unit(x + 1e6)
    np.testing.assert_allclose(far, near, atol=1e-8)
    np.testing.assert_allclose(np.cov(far.T, aweights=weights, ddof=0), np.eye(2), atol=1e-8)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_mixture_to_unit_coordinates_and_back_is_the_same(batch):
    scaling, mixture = Scaling.whitening(*correlated_points(3, offset=10.0)), random_mixture(3, batch)
    back = scaling.to_data(scaling.to_unit(mixture))
    for ours, original in zip(jax.tree.leaves(back), jax.tree.leaves(mixture), strict=True):
        np.testing.assert_allclose(ours, original, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("direction", ["to_unit", "to_data"])
def test_triangular_factors_stay_triangular_with_positive_diagonal(direction):
    scaling = Scaling.whitening(*correlated_points(3))
    factors = np.asarray(getattr(scaling, direction)(random_mixture(3)).scale_tril)
    assert (np.triu(factors, 1) == 0).all()
    assert (np.diagonal(factors, axis1=-2, axis2=-1) > 0).all()


def test_moments_are_mapped_as_those_of_an_affine_map():
    scaling, unit = Scaling.whitening(*correlated_points(3)), random_mixture(3)
    data = scaling.to_data(unit)
    np.testing.assert_array_equal(data.weights, unit.weights)
    for k in range(3):
        np.testing.assert_allclose(data.means[k], scaling.center + scaling.factor @ unit.means[k], rtol=1e-12)
        expected = scaling.factor @ unit.covariances[k] @ scaling.factor.T
        np.testing.assert_allclose(data.covariances[k], expected, rtol=1e-11)


@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_log_density_changes_by_the_log_volume(n_features):
    x, weights = correlated_points(n_features)
    scaling, unit = Scaling.whitening(x, weights), random_mixture(n_features)
    expected = unit.log_prob(scaling.points_to_unit(x)) - scaling.log_volume
    np.testing.assert_allclose(scaling.to_data(unit).log_prob(x), expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(scaling.log_volume, np.linalg.slogdet(scaling.factor)[1], rtol=1e-12)
