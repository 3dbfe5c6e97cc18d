"""The marginally uniform prior of correlations: its formula, its normalisation, its marginals, and what it is not."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import bayes_gmm as bg
from bayes_gmm.bayes.marginally_uniform_cholesky import MarginallyUniformCholesky
from bayes_gmm.io.distribution_serialisation import from_call, to_call

pytestmark = pytest.mark.numpyro


def factors(prior: dist.Distribution, n_draws: int) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(prior.sample(jax.random.key(0), (n_draws,)))


def log_density(prior: dist.Distribution, value: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(prior.log_prob(value))


def test_with_two_columns_it_is_lkj_of_concentration_one() -> None:
    value = factors(dist.LKJCholesky(2, 1.0), 50)
    ours, theirs = (log_density(prior, value) for prior in (MarginallyUniformCholesky(2), dist.LKJCholesky(2, 1.0)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("dimension", [3, 5])
def test_density_of_the_matrix_is_the_formula_of_barnard_mcculloch_and_meng(dimension: int) -> None:
    """Differences of log densities, with the volume of the map from factor to matrix taken from LKJ(1), flat in R."""
    value = factors(dist.LKJCholesky(dimension, 1.0), 20)
    of_matrix = log_density(MarginallyUniformCholesky(dimension), value) - log_density(
        dist.LKJCholesky(dimension, 1.0), value
    )
    matrices = value @ value.mT
    minors = np.array([[np.linalg.det(np.delete(np.delete(r, d, 0), d, 1)) for d in range(len(r))] for r in matrices])
    # Their equation 8 with nu = D + 1, in principal minors.
    power = 0.5 * dimension * (dimension - 1) - 1
    expected = power * np.log(np.linalg.det(matrices)) - 0.5 * (dimension + 1) * np.log(minors).sum(1)
    np.testing.assert_allclose(of_matrix - of_matrix[0], expected - expected[0], rtol=1e-8, atol=1e-8)


def test_density_integrates_to_one() -> None:
    """The mean of the density of LKJ(3), which falls faster everywhere, over this one, for draws of this one."""
    value = factors(MarginallyUniformCholesky(3), 40_000)
    ratio = np.exp(log_density(dist.LKJCholesky(3, 3.0), value) - log_density(MarginallyUniformCholesky(3), value))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
    assert ratio.std() / np.sqrt(len(ratio)) < 0.01


@pytest.mark.parametrize("dimension", [2, 3, 6])
def test_every_correlation_is_uniform(dimension: int) -> None:
    value = factors(MarginallyUniformCholesky(dimension), 4000)
    matrices = value @ value.mT
    rows, columns = np.tril_indices(dimension, -1)
    smallest = min(
        scipy.stats.kstest(matrices[:, i, j], "uniform", (-1, 2)).pvalue for i, j in zip(rows, columns, strict=True)
    )
    assert smallest > 0.001 / len(rows)


def test_the_test_of_uniformity_rejects_lkj() -> None:
    value = factors(dist.LKJCholesky(3, 1.0), 4000)
    assert scipy.stats.kstest((value @ value.mT)[:, 1, 0], "uniform", (-1, 2)).pvalue < 1e-6


def test_it_is_chosen_by_name_saved_and_sampled() -> None:
    x = bg.datasets.load("iris")
    prior = bg.Prior(correlations="marginally uniform")
    sites = prior.for_data(x.values, 2).sites(2, 4)
    assert sites["correlation_tril"].batch_shape == (2,)
    assert isinstance(from_call(to_call(sites["correlation_tril"])).base_dist, MarginallyUniformCholesky)
    draws = prior.for_data(x.values, 2).sample(10, 2, 4, seed=0)
    assert np.isfinite(draws.covariances).all()
    with pytest.raises(bg.ArgumentError, match="prior of correlations is 'marginal'"):
        bg.Prior(correlations="marginal").for_data(x.values, 2).sites(2, 4)
