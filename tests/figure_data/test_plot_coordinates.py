"""Ellipses hold their probability, density curves miss no component, histograms of rounded data show no comb."""

import numpy as np
import pytest
from matplotlib.path import Path
from scipy.stats import binom, chi2, norm

import bayes_gmm as bg
from bayes_gmm.figure_data.plot_coordinates import (
    component_ellipses,
    density_abscissae,
    histogram_edges,
    weighted_component_densities,
)
from bayes_gmm.figure_data.shown_components import shown_components


def squared_distances(points: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    offsets = points - mean
    return np.einsum("nd,nd->n", offsets, np.linalg.solve(covariance, offsets.T).T)


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_ellipses_are_closed_and_lie_at_the_quantile_of_chi_squared(
    two_features: bg.Mixture, probability: float
) -> None:
    ellipses = component_ellipses(two_features, probability)
    for ellipse, mean, covariance in zip(ellipses, two_features.means, two_features.covariances, strict=True):
        np.testing.assert_allclose(squared_distances(ellipse, mean, covariance), chi2.ppf(probability, 2), rtol=1e-10)
        np.testing.assert_allclose(ellipse[0], ellipse[-1], atol=1e-12)


@pytest.mark.parametrize("probability", [0.3, 0.7, 0.95])
def test_ellipses_hold_their_probability_of_simulated_points(two_features: bg.Mixture, probability: float) -> None:
    n_points = 40_000
    for k, ellipse in enumerate(component_ellipses(two_features, probability)):
        points = np.random.default_rng(k).multivariate_normal(
            two_features.means[k], two_features.covariances[k], n_points
        )
        inside = Path(ellipse).contains_points(points).sum()
        # The polygon of 72 vertices is smaller than its ellipse by a share of 1.3e-3.
        assert binom.ppf(1e-4, n_points, probability - 0.002) <= inside <= binom.ppf(1 - 1e-4, n_points, probability)
        # Negative control: so many points tell an ellipse of another probability.
        assert not binom.ppf(1e-4, n_points, probability + 0.02) <= inside


def test_ellipses_of_draws_are_those_of_each(posterior: bg.Posterior) -> None:
    ellipses = component_ellipses(posterior.draws, 0.8)
    assert ellipses.shape == (2, 50, 2, 73, 2)
    mean, covariance = posterior.draws.means[1, 7, 0], posterior.draws.covariances[1, 7, 0]
    np.testing.assert_allclose(squared_distances(ellipses[1, 7, 0], mean, covariance), chi2.ppf(0.8, 2), rtol=1e-9)


def test_component_densities_are_weighted_gaussians(posterior: bg.Posterior) -> None:
    x = np.linspace(-4, 8, 101)
    found = weighted_component_densities(posterior.draws, 1, x)
    assert found.shape == (2, 50, 2, 101)
    means, sds = posterior.draws.means[..., 1, None], np.sqrt(posterior.draws.covariances[..., 1, 1, None])
    np.testing.assert_allclose(found, posterior.draws.weights[..., None] * norm.pdf(x, means, sds), rtol=1e-10)
    of_mixtures = np.exp(posterior.draws.marginal([1]).log_prob(x[:, None]))
    np.testing.assert_allclose(found.sum(-2), of_mixtures, rtol=1e-9)


def test_abscissae_do_not_miss_a_narrow_component() -> None:
    mixture = bg.Mixture.from_moments([0.5, 0.5], [[0.0], [50.0]], [[[1e-6]], [[100.0]]])
    shown = shown_components(None, mixture, data=mixture.sample(500, seed=0)[0])
    x = density_abscissae(shown, 0)
    assert (np.diff(x) > 0).all()
    assert np.trapezoid(weighted_component_densities(mixture, 0, x).sum(0), x) == pytest.approx(1, abs=0.01)
    even = np.linspace(x[0], x[-1], len(x))
    assert abs(np.trapezoid(weighted_component_densities(mixture, 0, even).sum(0), even) - 1) > 0.1


def test_abscissae_reach_from_limit_to_limit_and_around_the_median_draw(posterior: bg.Posterior) -> None:
    shown = shown_components(posterior, None, n_draws=100)
    x = density_abscissae(shown, 0)
    low, high = shown.limits(0)
    assert {low, high} <= set(x)
    means, scales = (np.median(part[..., 0], axis=(0, 1)) for part in (posterior.draws.means, posterior.draws.scales))
    for mean, scale in zip(means, scales, strict=True):
        assert np.isclose(x, mean + 5 * scale).any()
        assert (np.abs(x - mean) < 1e-9).any()


@pytest.mark.parametrize("values", [np.arange(40) % 7, np.r_[0, 1e-9, 1], np.random.default_rng(2).random(5000)])
def test_bins_are_few_and_hold_everything(values: np.ndarray) -> None:
    edges = histogram_edges(values.astype(float))
    assert len(edges) < 65
    assert np.histogram(values, edges)[0].sum() == len(values)


@pytest.mark.parametrize(("column", "step"), [("waiting", 1.0), ("sepal_width", 0.1)])
def test_bins_of_rounded_data_hold_equally_many_distinct_values(column: str, step: float) -> None:
    table = bg.datasets.load("faithful" if column == "waiting" else "iris")
    values = table.values[:, table.columns.index(column)]
    grid = np.arange(round(values.min() / step), round(values.max() / step) + 1) * step
    edges = histogram_edges(values)
    np.testing.assert_allclose(np.diff(edges) / step, round(np.diff(edges)[0] / step), rtol=1e-9)
    # No value lies on an edge, where rounding would decide its bin.
    np.testing.assert_allclose((edges - values.min()) / step % 1, 0.5, atol=1e-9)
    counts = np.histogram(grid, edges)[0]
    assert len(set(counts[:-1])) == 1
    # Negative control: as many bins of equal width between the ends of the data hold unequal numbers of values.
    assert len(set(np.histogram(grid, np.linspace(values.min(), values.max(), len(edges) + 3))[0])) > 1


def test_rounded_uniform_data_show_no_comb() -> None:
    values = np.repeat(np.arange(0.0, 23.0), 40)
    edges = histogram_edges(values)
    assert set(np.histogram(values, edges)[0]) == {40}
    assert len(set(np.histogram(values, 48)[0])) > 1
