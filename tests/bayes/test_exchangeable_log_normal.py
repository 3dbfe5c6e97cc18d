"""The exchangeable log-normal distribution against SciPy's multivariate normal, its draws, and its marginals."""

import jax
import numpy as np
import pytest
import scipy.stats
from numpyro.distributions import biject_to

from bayes_gmm.bayes.exchangeable_log_normal import ExchangeableLogNormal
from bayes_gmm.io.distribution_serialisation import from_call, to_call

pytestmark = pytest.mark.numpyro

MEDIAN = np.array([0.1, 30.0])


def by_scipy(scales: np.ndarray, median: np.ndarray, common: float, own: float) -> float:
    """Columns are independent; the logarithms of one are normal with one variance and one covariance."""
    C = len(scales)
    covariance = own**2 * np.eye(C) + common**2 * np.ones((C, C))
    logarithms = np.log(scales)
    parts = [
        scipy.stats.multivariate_normal.logpdf(logarithms[:, d], np.full(C, np.log(center)), covariance)
        for d, center in enumerate(median)
    ]
    return float(np.sum(parts) - logarithms.sum())


@pytest.mark.parametrize("n_components", [1, 2, 5])
@pytest.mark.parametrize(("common", "own"), [(2.0, 1.0), (0.3, 1.7)])
def test_density_is_that_of_a_normal_with_the_level_integrated_out(
    n_components: int, common: float, own: float
) -> None:
    scales = np.random.default_rng(0).lognormal(0.0, 2.0, size=(n_components, 2)) * MEDIAN
    with jax.enable_x64(True):
        ours = float(ExchangeableLogNormal(n_components, MEDIAN, common, own).log_prob(scales))
    assert ours == pytest.approx(by_scipy(scales, MEDIAN, common, own), rel=1e-13)
    assert ours != pytest.approx(by_scipy(scales, MEDIAN, common * 1.01, own), rel=1e-6)


def test_one_component_less_leaves_the_same_density() -> None:
    """By quadrature over the scale that is left out: no hyperparameter depends on the number of components."""
    kept = np.array([[0.02], [0.4]])
    grid = np.linspace(-14.0, 10.0, 4001)
    with jax.enable_x64(True):
        three, two = (ExchangeableLogNormal(n, np.array([0.1])) for n in (3, 2))
        added = [np.concatenate([kept, [[np.exp(z)]]]) for z in grid]
        density = np.exp([float(three.log_prob(scales)) + z for z, scales in zip(grid, added, strict=True)])
        np.testing.assert_allclose(np.trapezoid(density, grid), np.exp(float(two.log_prob(kept))), rtol=1e-10)


def test_draws_have_the_moments_of_the_density() -> None:
    n_draws = 20_000
    with jax.enable_x64(True):
        draws = np.log(ExchangeableLogNormal(3, MEDIAN).sample(jax.random.key(0), (n_draws,)) / MEDIAN)
    assert draws.shape == (n_draws, 3, 2)
    error = np.sqrt(5 / n_draws)
    assert np.abs(draws.mean(0)).max() < 4 * error
    found = np.cov(draws.reshape(n_draws, 6), rowvar=False)
    expected = np.kron(np.eye(3) + 4.0, np.eye(2))
    # The variance of a sample covariance is (s_ii s_jj + s_ij^2) / n, at most 50 / n.
    assert np.abs(found - expected).max() < 4.5 * np.sqrt(50 / n_draws)


def test_support_is_mapped_by_the_exponential() -> None:
    transform = biject_to(ExchangeableLogNormal(2, MEDIAN).support)
    np.testing.assert_allclose(transform(np.zeros((2, 2))), np.ones((2, 2)))
    assert not ExchangeableLogNormal(2, MEDIAN).support(np.array([[1.0, -1.0], [1.0, 1.0]]))


def test_it_is_written_and_read() -> None:
    prior = ExchangeableLogNormal(3, MEDIAN, own=1.5)
    again = from_call(to_call(prior))
    assert isinstance(again, ExchangeableLogNormal)
    assert (again.n_components, again.common, again.own) == (3, 2.0, 1.5)
    np.testing.assert_array_equal(again.median, MEDIAN)
