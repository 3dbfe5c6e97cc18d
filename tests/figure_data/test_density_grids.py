"""Densities on grids are those of the draws, and the regions above the levels hold the shares they should."""

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.figure_data.density_grids import density_curve, density_surface, highest_density_levels
from bayes_gmm.figure_data.shown_components import shown_components

SHARES = (0.99, 0.95, 0.8, 0.5, 0.2)


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    """Density of a Gaussian of two correlated features on a fine grid that holds nearly all of it."""
    mixture = bg.Mixture.from_moments([1.0], [[0.5, -1.0]], [[[1.0, 0.5], [0.5, 0.8]]])
    x, y = np.linspace(-5, 6, 300), np.linspace(-6, 4, 300)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return np.exp(mixture.log_prob(points)).reshape(300, 300)


def test_levels_of_a_gaussian_fall_with_the_share(gaussian: np.ndarray) -> None:
    # Inside the ellipse with probability p the density exceeds (1 - p) times its peak.
    peak = 1 / (2 * np.pi * np.sqrt(0.8 - 0.25))
    levels = highest_density_levels(gaussian, SHARES)
    np.testing.assert_allclose(levels / peak, 1 - np.array(SHARES), atol=2e-3)


def test_region_above_a_level_is_the_smallest_that_holds_the_share(gaussian: np.ndarray) -> None:
    for share, level in zip(SHARES, highest_density_levels(gaussian, SHARES), strict=True):
        assert gaussian[gaussian >= level].sum() >= share * gaussian.sum()
        assert gaussian[gaussian > level].sum() < share * gaussian.sum()
        # Negative control: that share of the cells holds another share of the density.
        quantile = np.quantile(gaussian, 1 - share)
        assert abs(gaussian[gaussian >= quantile].sum() / gaussian.sum() - share) > 0.005


def test_level_of_all_is_within_the_grid(gaussian: np.ndarray) -> None:
    (level,) = highest_density_levels(gaussian, (1.0,))
    assert gaussian.min() <= level < 1e-6


def test_surface_is_mean_and_relative_sd_of_the_draws(posterior: bg.Posterior, two_features: bg.Mixture) -> None:
    surface = density_surface(posterior, shown_components(posterior, two_features), [1, 0])
    rows, columns = np.array([0, 40, 60, 119]), np.array([10, 50, 70, 100])
    points = np.column_stack([surface.y[rows], surface.x[columns]])
    densities = np.exp(posterior.draws.log_prob(points)).reshape(100, 4)
    np.testing.assert_allclose(surface.mean[rows, columns], densities.mean(0), rtol=1e-8)
    relative_sd = densities.std(0) / densities.mean(0)
    np.testing.assert_allclose(surface.relative_sd[rows, columns], relative_sd, rtol=1e-6)
    of_mixture = surface.density_of(two_features.marginal([1, 0]))
    np.testing.assert_allclose(of_mixture[rows, columns], np.exp(two_features.log_prob(points)), rtol=1e-10)


def test_surface_holds_the_mass_and_reaches_a_fifth_of_the_range_beyond_the_data(posterior: bg.Posterior) -> None:
    surface = density_surface(posterior, shown_components(posterior, None), [0, 1])
    cell = (surface.x[1] - surface.x[0]) * (surface.y[1] - surface.y[0])
    assert surface.mean.sum() * cell == pytest.approx(1, abs=0.005)
    values = posterior.table.values[:, 1]
    assert surface.y[0] == pytest.approx(values.min() - 0.2 * np.ptp(values), rel=1e-12)
    assert surface.y[-1] == pytest.approx(values.max() + 0.2 * np.ptp(values), rel=1e-12)


def test_curve_is_mean_and_quantiles_of_the_draws(posterior: bg.Posterior) -> None:
    curve = density_curve(posterior, shown_components(posterior, None), 1, probability=0.8)
    densities = np.exp(posterior.draws.marginal([1]).log_prob(curve.x[:, None])).reshape(100, -1)
    expected = densities.mean(0), *np.quantile(densities, [0.1, 0.9], axis=0)
    for found, values in zip(curve[1:], expected, strict=True):
        np.testing.assert_allclose(found, values, rtol=1e-8, atol=1e-14)
    assert np.trapezoid(curve.mean, curve.x) == pytest.approx(1, abs=0.005)
