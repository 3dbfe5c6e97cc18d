"""The E-step for diagonal covariances is that for any, without the products of different columns."""

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood.blocks import blocks
from bayes_gmm.likelihood.centred_form import expected_moments, expected_variances
from bayes_gmm.mixture.scaling import Scaling


@pytest.mark.parametrize("n_features", [1, 4])
def test_diagonal_moments_are_those_of_the_general_form(n_features):
    rng = np.random.default_rng(6)
    x, weights = rng.normal(size=(70, n_features)), rng.uniform(0, 2, 70)
    covariances = np.stack([np.diag(rng.uniform(0.5, 2, n_features)) for _ in range(3)])
    mixture = bg.Mixture.from_moments([0.2, 0.3, 0.5], rng.normal(size=(3, n_features)), covariances)
    data = blocks(x, weights, Scaling(center=np.zeros(n_features), factor=np.eye(n_features)))
    general, diagonal = (in_float64(jax.jit(form))(mixture, data) for form in (expected_moments, expected_variances))
    np.testing.assert_allclose(diagonal.log_likelihood, general.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(diagonal.log_likelihood, weights @ mixture.log_prob(x), rtol=1e-12)
    for one, other in zip(diagonal.moments[:2], general.moments[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    variances = np.diagonal(general.moments.covariances, axis1=1, axis2=2)
    np.testing.assert_allclose(np.diagonal(diagonal.moments.covariances, axis1=1, axis2=2), variances, rtol=1e-10)
    if n_features > 1:  # the correlations, which the diagonal form leaves out, are there to be left out
        assert np.abs(general.moments.covariances - diagonal.moments.covariances).max() > 0.01
