"""Rows with gaps: groups, densities of the seen cells, one Gaussian, and what the missing cells may be."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.gaps import fit_one_gaussian, group_by_gaps, seen_moments
from bayes_gmm.mixture.imputation import completed_rows, draw_missing
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

MIXTURE = Mixture.from_moments(
    [0.4, 0.6], [[0.0, 0.0, 1.0], [3.0, -2.0, 0.0]], [np.diag([1.0, 2.0, 0.5]) + 0.3, np.eye(3) + 0.8]
)


def rows(n_points=200, share=0.3, seed=0):
    x = MIXTURE.sample(n_points, seed=seed)[0]
    x[np.random.default_rng(seed).random(x.shape) < share] = np.nan
    return x


def log_density(mean, covariance, x):
    """Oracle (N,): the marginal Gaussian of the seen cells of each row."""
    seen = [np.flatnonzero(~np.isnan(row)) for row in x]
    return np.array(
        [
            multivariate_normal(mean[o], covariance[np.ix_(o, o)]).logpdf(row[o]) if o.size else 0.0
            for row, o in zip(x, seen, strict=True)
        ]
    )


def test_rows_with_the_same_gaps_are_one_group():
    x = rows()
    seen, group = group_by_gaps(x)
    np.testing.assert_array_equal(seen[group], ~np.isnan(x))
    assert len({tuple(cells) for cells in seen}) == len(seen) == 8


def test_densities_are_those_of_the_seen_cells():
    x = rows()
    joint = np.stack(
        [
            np.log(w) + log_density(m, c, x)
            for w, m, c in zip(MIXTURE.weights, MIXTURE.means, MIXTURE.covariances, strict=True)
        ],
        1,
    )
    np.testing.assert_allclose(MIXTURE.log_joint(x), joint, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(MIXTURE.log_prob(x), logsumexp(joint, axis=1), rtol=1e-12, atol=1e-12)
    shares = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(MIXTURE.responsibilities(x), shares, atol=1e-12)
    np.testing.assert_array_equal(MIXTURE.predict(x), joint.argmax(1))
    with pytest.raises(ArgumentError, match="infinity"):
        MIXTURE.log_prob(np.where(np.isnan(x), np.inf, x))


def test_one_gaussian_is_the_maximum_of_its_likelihood():
    x, weights = rows(seed=1), np.random.default_rng(2).random(200)
    mean, covariance = fit_one_gaussian(x, weights)
    best = weights @ log_density(mean, covariance, x)
    rng = np.random.default_rng(3)
    for size in (1e-3, 1e-2):
        for _ in range(10):
            shift, root = size * rng.normal(size=3), np.eye(3) + size * rng.normal(size=(3, 3))
            assert weights @ log_density(mean + shift, root @ covariance @ root.T, x) < best
    columns = seen_moments(x, weights)
    np.testing.assert_allclose(columns.mean, [np.average(c[~np.isnan(c)], weights=weights[~np.isnan(c)]) for c in x.T])
    assert abs(columns.mean - mean).max() > 1e-3  # columns by themselves are another answer


def test_one_gaussian_of_complete_rows_is_their_mean_and_covariance():
    x = rows(share=0.0)
    mean, covariance = fit_one_gaussian(x, np.ones(200))
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(covariance, np.cov(x.T, ddof=0), rtol=1e-9)
    complete, scaling = Scaling.whitening(x, np.ones(200)), Scaling(center=mean, factor=np.linalg.cholesky(covariance))
    np.testing.assert_allclose(complete.factor, scaling.factor, rtol=1e-8)


def test_missing_cells_have_the_mean_and_spread_of_their_draws():
    x = np.array([[0.5, np.nan, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3, [1.0, 2.0, 3.0]])
    mean, sd = completed_rows(MIXTURE, x)
    draws = draw_missing(MIXTURE, np.tile(x, (4000, 1)), seed=1).reshape(4000, 4, 3)
    error = sd / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - mean) <= 4.5 * error + 1e-12).all()
    np.testing.assert_allclose(draws.std(0), sd, rtol=0.06, atol=1e-12)
    np.testing.assert_array_equal(sd == 0, ~np.isnan(x))
    np.testing.assert_array_equal(draws[0][~np.isnan(x)], x[~np.isnan(x)])
    np.testing.assert_allclose(mean[2], MIXTURE.mean)


def test_regression_on_the_seen_cells_by_hand():
    mixture = Mixture.from_moments([1.0], [[0.0, 1.0]], [[[1.0, 0.5], [0.5, 2.0]]])
    mean, sd = completed_rows(mixture, np.array([[2.0, np.nan]]))
    np.testing.assert_allclose(mean, [[2.0, 2.0]])
    np.testing.assert_allclose(sd, [[0.0, np.sqrt(1.75)]])
