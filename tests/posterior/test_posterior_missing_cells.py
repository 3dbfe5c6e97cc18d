"""The posterior where cells were not seen: its density, what it says, and imputations from it."""

import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.target import Target, to_coordinates, to_mixtures

pytestmark = pytest.mark.numpyro

FAITHFUL = bg.datasets.load("faithful").values
N = np.arange(272)


def with_gaps():
    x = FAITHFUL.copy()
    x[N % 5 == 0, 1] = np.nan
    x[(N % 7 == 3) & (N % 5 != 0), 0] = np.nan
    return x


@pytest.fixture(scope="module")
def posterior():
    return bg.fit_nuts(with_gaps(), 2, progress=False)


def log_likelihoods(mixture, x):
    """Oracle (N,): the marginal density of the seen cells of each row, by SciPy."""
    found = []
    for row in x:
        o = np.flatnonzero(~np.isnan(row))
        terms = [
            np.log(w) + (multivariate_normal(m[o], c[np.ix_(o, o)]).logpdf(row[o]) if o.size else 0.0)
            for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
        ]
        found.append(logsumexp(terms))
    return np.array(found)


def test_density_is_the_prior_times_that_of_the_seen_cells():
    x = with_gaps()
    problem = PosteriorProblem.of(x, 2, covariance_type="full", prior=None)
    a = bg.Mixture.from_moments([0.4, 0.6], [[2.1, 55.0], [4.2, 79.0]], [[[0.2, 0.5], [0.5, 40.0]]] * 2)
    b = bg.Mixture.from_moments([0.3, 0.7], [[2.4, 57.0], [4.0, 81.0]], [[[0.4, 0.1], [0.1, 30.0]]] * 2)
    with jax.enable_x64(True):
        target = problem.target()
        coordinates = np.stack([to_coordinates(mixture, target.sites) for mixture in (a, b)])
        potentials = np.array([jax.jit(Target.potential)(target, at) for at in coordinates])
        mixtures, log_prior = to_mixtures(coordinates, target.sites)
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], mixtures) for i in range(2)]
    expected = [-(prior + log_likelihoods(one, x).sum()) for prior, one in zip(log_prior, each, strict=True)]
    np.testing.assert_allclose(potentials, expected, rtol=1e-11)
    dropped = [-(prior + log_likelihoods(one, FAITHFUL).sum()) for prior, one in zip(log_prior, each, strict=True)]
    assert abs(np.diff(potentials) - np.diff(dropped)) > 1


def test_draws_are_good_and_say_what_was_missing(posterior):
    assert posterior.verdict.status.name == "GOOD"
    assert "missing cells (x2 55, x1 31) in 86 of 272 rows" in repr(posterior)
    errors, sds = posterior.mle.standard_errors["means"], posterior.draws.means.std((0, 1))
    assert ((sds / errors > 0.8) & (sds / errors < 1.3)).all()
    x = with_gaps()
    np.testing.assert_allclose(posterior.responsibilities(), posterior.responsibilities(x), atol=1e-12)
    first = jax.tree.map(lambda leaf: leaf[0, 0], posterior.draws)
    pointwise = posterior.tree["log_likelihood"]["x"].values[0, 0]
    np.testing.assert_allclose(pointwise, log_likelihoods(first, x), rtol=1e-9, atol=1e-9)
    assert posterior.co_clustering(x[:20]).shape == (20, 20)


def test_imputations_spread_as_the_cells_may(posterior):
    x, gaps = with_gaps(), np.isnan(with_gaps())
    tables = posterior.impute(num=200, seed=1)
    assert tables.shape == (200, 272, 2)
    np.testing.assert_array_equal(tables[:, ~gaps], np.broadcast_to(x[~gaps], (200, (~gaps).sum())))
    mean, sd = posterior.completed()
    z = (tables[:, gaps].mean(0) - mean[gaps]) / (sd[gaps] / np.sqrt(200))
    assert np.abs(z).max() < 4.5  # two-sided 7e-6 for each of 86 cells
    np.testing.assert_allclose(tables[:, gaps].std(0) / sd[gaps], 1.0, atol=0.3)
    assert np.abs((mean - FAITHFUL)[gaps] / sd[gaps]).mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.25)
    with pytest.raises(bg.errors.ArgumentError, match="num is 10000000"):
        posterior.impute(num=10**7)


@pytest.mark.slow
def test_laplace_takes_gaps(posterior):
    laplace = bg.fit_laplace(with_gaps(), 2, num_draws=500, start=posterior.mle)
    assert laplace.trustworthy
    np.testing.assert_allclose(laplace.draws.means.mean(0), posterior.draws.means.mean((0, 1)), rtol=0.02)
