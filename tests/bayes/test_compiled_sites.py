"""The prior in compiled programs: densities that have their normaliser are those of NumPyro, with integrals of one."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from scipy.integrate import quad

from bayes_gmm.bayes.compiled_sites import draw, with_known_normaliser

pytestmark = pytest.mark.numpyro

KNOWN = [
    dist.Dirichlet(np.ones(1)),
    dist.Dirichlet(np.array([0.3, 2.0, 5.0])),
    dist.LKJCholesky(2, 1.0),
    dist.LKJCholesky(5, 0.7),
    dist.LKJCholesky(3, 4.0).expand((2,)),
]


@pytest.mark.parametrize("plain", KNOWN, ids=lambda plain: f"{type(plain).__name__}{plain.shape()}")
def test_density_and_draws_are_those_of_numpyro(plain: dist.Distribution) -> None:
    known, key = with_known_normaliser(plain), jax.random.key(1)
    assert known is not plain
    with jax.enable_x64(True):
        value = plain.sample(key, (9,))
        np.testing.assert_array_equal(known.sample(key, (9,)), value)
        np.testing.assert_allclose(known.log_prob(value), plain.log_prob(value), rtol=1e-6, atol=1e-12)


def test_the_density_of_one_correlation_has_the_integral_one() -> None:
    known = with_known_normaliser(dist.LKJCholesky(2, 2.5))

    def density(correlation: float) -> float:
        factor = np.array([[1.0, 0.0], [correlation, np.sqrt(1 - correlation**2)]])
        return float(np.exp(known.log_prob(factor)))

    with jax.enable_x64(True):
        total, _ = quad(density, -1, 1)
        np.testing.assert_allclose(total, 1.0, rtol=1e-6)
        known.log_normaliser += 0.1
        assert abs(quad(density, -1, 1)[0] - 1) > 0.09


def test_other_numbers_are_arguments_of_the_same_program() -> None:
    traced = []

    @jax.jit
    def density(prior: dist.Distribution, value: np.ndarray) -> jax.Array:
        traced.append(prior)
        return prior.log_prob(value)

    value = np.full(3, 1 / 3)
    for concentration in (np.ones(3), np.array([0.5, 1.5, 4.0])):
        plain = dist.Dirichlet(concentration)
        np.testing.assert_allclose(density(with_known_normaliser(plain), value), plain.log_prob(value), rtol=1e-5)
    assert len(traced) == 1


def test_other_distributions_stay_as_they_are() -> None:
    for plain in (dist.HalfNormal(2.0), dist.HalfNormal(2.0).expand((3,)), dist.Normal(0.0, 1.0)):
        assert with_known_normaliser(plain) is plain


@pytest.mark.parametrize(("dimension", "concentration"), [(2, 0.6), (3, 1.0), (4, 3.0)])
def test_draws_by_numpy_have_the_marginals_of_lkj(dimension: int, concentration: float) -> None:
    """Every correlation is that of a beta distribution with both parameters concentration + D / 2 - 1."""
    prior = with_known_normaliser(dist.LKJCholesky(dimension, concentration).expand((2,)))
    factors = draw(prior, np.random.default_rng(1), 1500)
    assert factors.shape == (1500, 2, dimension, dimension)
    correlations = (factors @ factors.mT)[..., *np.tril_indices(dimension, -1)].reshape(3000, -1)
    parameter = concentration + 0.5 * dimension - 1
    for one in correlations.T:
        assert scipy.stats.kstest((1 + one) / 2, "beta", (parameter, parameter)).pvalue > 1e-3
        assert scipy.stats.kstest((1 + one) / 2, "beta", (2 * parameter, 2 * parameter)).pvalue < 1e-6


def test_draws_by_numpy_have_the_marginals_of_dirichlet_and_others_are_left_to_their_programs() -> None:
    concentration = np.array([0.3, 2.0, 5.0])
    draws = draw(with_known_normaliser(dist.Dirichlet(concentration)), np.random.default_rng(2), 3000)
    for one, own in zip(draws.T, concentration, strict=True):
        assert scipy.stats.kstest(one, "beta", (own, concentration.sum() - own)).pvalue > 1e-3
    assert draw(dist.HalfNormal(1.0).expand((2,)), np.random.default_rng(3), 5) is None
