"""Mixtures of t distributions: SciPy's density, moments of samples, conditionals by quadrature, and words."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_t, t as student_t

import bayes_gmm as bg
from bayes_gmm.mixture.degrees_of_freedom import binet, log_gamma_ratio, log_tail
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.numpy_density import log_joint

WEIGHTS, DEGREES = np.array([0.3, 0.7]), np.array([2.5, 12.0])
MEANS = np.array([[0.0, 1.0, -1.0], [3.0, 0.0, 2.0]])
SCATTERS = np.array([[[1.0, 0.3, 0.0], [0.3, 2.0, 0.5], [0.0, 0.5, 1.5]], np.diag([0.5, 1.0, 2.0])])


@pytest.fixture(scope="module")
def mixture():
    return Mixture.from_scatters(WEIGHTS, MEANS, SCATTERS, DEGREES)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).normal(scale=5.0, size=(40, 3))


def joint_of(x, features=slice(None)):
    parts = zip(WEIGHTS, MEANS, SCATTERS, DEGREES, strict=True)
    own = [(w, m[features], s[features][:, features], nu) for w, m, s, nu in parts]
    return np.stack([np.log(w) + multivariate_t(m, s, nu).logpdf(x) for w, m, s, nu in own], 1)


def test_density_is_scipys(mixture, points):
    expected = joint_of(points)
    np.testing.assert_allclose(mixture.log_joint(points), expected, rtol=1e-12)
    np.testing.assert_allclose(log_joint(mixture, points), expected, rtol=1e-12)
    np.testing.assert_allclose(mixture.log_prob(points), logsumexp(expected, axis=1), rtol=1e-12)
    wrong = Mixture.from_scatters(WEIGHTS, MEANS, SCATTERS, DEGREES + 0.01)
    assert np.abs(wrong.log_joint(points) - expected).max() > 1e-3


def test_parts_of_points_have_the_density_of_the_marginal(mixture, points):
    np.testing.assert_allclose(
        mixture.marginal([2, 0]).log_prob(points[:, [2, 0]]),
        logsumexp(joint_of(points[:, [2, 0]], [2, 0]), 1),
        rtol=1e-12,
    )
    gaps = points.copy()
    gaps[:20, 1] = np.nan
    expected = np.concatenate([joint_of(gaps[:20, [0, 2]], [0, 2]), joint_of(gaps[20:])])
    np.testing.assert_allclose(mixture.log_joint(gaps), expected, rtol=1e-12)


def test_conditional_density_is_that_of_all_over_that_of_the_known(mixture, points):
    known = points[:5, [1]]
    given = mixture.condition([1], known)
    x = np.random.default_rng(1).normal(size=(7, 2))
    for m, value in enumerate(known):
        rows = np.stack([x[:, 0], np.full(7, value[0]), x[:, 1]], 1)
        expected = mixture.log_prob(rows) - mixture.marginal([1]).log_prob([value])
        found = jax.tree.map(lambda leaf, m=m: leaf[m], given).log_prob(x)
        np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_array_equal(given.degrees_of_freedom, np.tile(DEGREES + 1, (5, 1)))


def test_samples_have_the_distribution(mixture):
    x, labels = mixture.sample(20_000, seed=3)
    for k in range(2):
        own = (x[labels == k, 1] - MEANS[k, 1]) / np.sqrt(SCATTERS[k, 1, 1])
        assert kstest(own, student_t(DEGREES[k]).cdf).pvalue > 1e-3
        assert kstest(own, student_t(DEGREES[1 - k]).cdf).pvalue < 1e-6
    np.testing.assert_allclose(np.bincount(labels) / len(x), WEIGHTS, atol=0.01)


def test_scatters_and_covariances_are_two_things(mixture):
    np.testing.assert_allclose(mixture.scatters, SCATTERS, rtol=1e-12)
    np.testing.assert_allclose(mixture.covariances, SCATTERS * (DEGREES / (DEGREES - 2))[:, None, None], rtol=1e-12)
    variance = quad(lambda x: x**2 * student_t(12.0).pdf(x), -np.inf, np.inf)[0]
    np.testing.assert_allclose(mixture.covariances[1, 0, 0], 0.5 * variance, rtol=1e-7)
    deviations = np.sqrt(np.diagonal(mixture.covariances, axis1=1, axis2=2))
    np.testing.assert_allclose(mixture.standard_deviations, deviations, rtol=1e-12)
    assert (mixture.scales < deviations).all()
    x = mixture.marginal([0]).sample(400_000, seed=5)[0]
    heavier = Mixture.from_scatters(WEIGHTS, MEANS, SCATTERS, [6.0, 12.0])
    np.testing.assert_allclose(heavier.covariance, np.cov(heavier.sample(400_000, seed=5)[0].T), rtol=0.1, atol=0.05)
    np.testing.assert_allclose(mixture.mean[0], x.mean(), atol=0.02)
    gaussian = Mixture.from_moments(WEIGHTS, MEANS, SCATTERS)
    np.testing.assert_array_equal(gaussian.scatters, gaussian.covariances)
    np.testing.assert_array_equal(gaussian.scales, gaussian.standard_deviations)
    assert np.isnan(Mixture.from_scatters([1.0], [[0.0]], [[[1.0]]], 1.5).covariances).all()


def test_infinite_degrees_of_freedom_are_gaussians_bit_for_bit(points):
    infinite = Mixture.from_scatters(WEIGHTS, MEANS, SCATTERS, np.inf)
    gaussian = Mixture.from_moments(WEIGHTS, MEANS, SCATTERS)
    np.testing.assert_array_equal(infinite.log_prob(points), gaussian.log_prob(points))
    np.testing.assert_array_equal(infinite.covariances, gaussian.covariances)
    np.testing.assert_array_equal(infinite.sample(50, seed=1)[0], gaussian.sample(50, seed=1)[0])
    known = points[:3, [1]]
    np.testing.assert_array_equal(infinite.condition([1], known).mean, gaussian.condition([1], known).mean)
    large = Mixture.from_scatters(WEIGHTS, MEANS, SCATTERS, 1e12)
    np.testing.assert_allclose(large.log_prob(points), gaussian.log_prob(points), atol=1e-8)


@pytest.mark.parametrize("x", [0.5, 3.0, 15.999, 16.001, 400.0, 1e6])
def test_binets_function_is_his_integral(x):
    exact = 2 * quad(lambda t: np.arctan(t / x) / np.expm1(2 * np.pi * t), 0, 6, epsabs=0, epsrel=1e-13)[0]
    assert abs(float(binet(np.float64(x))) - exact) < 5e-15 + 1e-12 * exact


@pytest.mark.parametrize("degrees", [0.7, 5.0, 31.5, 1e4, 1e8])
def test_constant_of_the_density_keeps_its_digits_near_the_gaussian(degrees):
    """With two features it vanishes, with four it is log(1 + 2 / nu): gamma(x + 1) = x gamma(x)."""
    assert abs(float(log_gamma_ratio(np.float64(degrees), 2))) < 2e-15
    exact = np.log1p(2 / degrees)
    assert abs(float(log_gamma_ratio(np.float64(degrees), 4)) - exact) < 4e-15
    assert np.isfinite(log_tail(np.array([0.0, 1.0, 50.0]), np.float64(degrees), 3)).all()


def test_permuting_selecting_and_naming_keep_the_tails(mixture, points):
    swapped = mixture.permute([1, 0])
    np.testing.assert_array_equal(swapped.degrees_of_freedom, DEGREES[::-1])
    np.testing.assert_allclose(swapped.log_prob(points), mixture.log_prob(points), rtol=1e-12)
    np.testing.assert_array_equal(mixture.first(1).degrees_of_freedom, DEGREES[:1])
    noisy = mixture.with_noise(0.1, [-50.0] * 3, [50.0] * 3)
    expected = np.logaddexp(np.log(0.9) + mixture.log_prob(points), np.log(0.1) - 3 * np.log(100.0))
    np.testing.assert_allclose(noisy.log_prob(points), expected, rtol=1e-12)
    np.testing.assert_array_equal(noisy.without_noise().degrees_of_freedom, DEGREES)
    assert repr(mixture) == "Mixture(2 t components, 3 features)"
    assert mixture.n_parameters == 21
    assert Mixture.from_scatters(WEIGHTS, MEANS, SCATTERS, 4.0).n_parameters == 20


def test_what_is_no_mixture_of_t_distributions_is_refused(mixture):
    for degrees in (0.0, -1.0, np.nan, "many", [1.0, 2.0, 3.0], [np.inf, 2.0], [[1.0, 2.0]]):
        with pytest.raises(bg.ArgumentError, match="degrees of freedom"):
            Mixture.from_scatters(WEIGHTS, MEANS, SCATTERS, degrees)
    for question in (bg.entropy, bg.entropy_bounds):
        with pytest.raises(bg.ArgumentError, match="t distributions"):
            question(mixture)
