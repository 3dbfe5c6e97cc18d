"""The posterior with uniform noise: its density, NUTS against Laplace's approximation, figures, what is refused."""

import itertools

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density
from scipy.special import logsumexp
from scipy.stats import beta, multivariate_normal

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.sites import constrain, free, n_coordinates_of
from bayes_gmm.core.precision import in_float64
from bayes_gmm.mixture.mixture import Mixture

mpl.use("agg")


def planted(seed, n_points=150, share=0.1):
    truth = Mixture.from_moments([0.4, 0.6], [[-2.0, 0.0], [2.0, 1.0]], [np.eye(2), [[1.0, 0.6], [0.6, 0.8]]])
    return truth.with_noise(share, [-12.0, -12.0], [12.0, 12.0]).sample(n_points, seed=seed)


pytestmark = pytest.mark.numpyro


@pytest.fixture(scope="module")
def table():
    return planted(1)[0]


@pytest.fixture(scope="module")
def posterior(table):
    return bg.fit_nuts(table, 2, noise=True, num_samples=500, progress=False)


@pytest.fixture(scope="module")
def comparison(posterior):
    return bg.compare(posterior.mle, posterior)


def log_likelihood(values, x, widths):
    """The log-likelihood of the seen cells by SciPy."""
    noise = float(values["noise_weight"][0])
    total = 0.0
    for row in x:
        o = np.flatnonzero(~np.isnan(row))
        parts = [np.log(noise) - np.log(widths[o]).sum()]
        names = ("weights", "means", "scales", "correlation_tril")
        for w, m, s, f in zip(*(np.asarray(values[name]) for name in names), strict=True):
            cov = (s[:, None] * f) @ (s[:, None] * f).T
            density = multivariate_normal(m[o], cov[np.ix_(o, o)]).logpdf(row[o]) if o.size else 0.0
            parts.append(np.log1p(-noise) + np.log(w) + density)
        total += logsumexp(parts)
    return total


@pytest.mark.parametrize("gaps", [False, True])
def test_potential_is_that_of_scipy_and_its_gradient_that_of_differences(table, gaps):
    x = table[:40].copy()
    if gaps:
        x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    problem = PosteriorProblem.of(x, 2, covariance_type="full", prior=None, noise=True)
    widths = np.nanmax(x, 0) - np.nanmin(x, 0)
    with jax.enable_x64(True):
        target = problem.target()
        potential, slope = jax.jit(type(target).potential), jax.jit(jax.grad(type(target).potential, argnums=1))
        at = jnp.asarray(np.random.default_rng(1).normal(size=n_coordinates_of(problem.sites)) / 2)
        values, log_prior = constrain(target.sites, at)
        expected = log_prior + log_likelihood(values, x, widths)
        np.testing.assert_allclose(-float(potential(target, at)), expected, rtol=1e-10)
        steps = 1e-5 * np.eye(len(at))
        differences = [(potential(target, at + h) - potential(target, at - h)) / 2e-5 for h in steps]
        np.testing.assert_allclose(slope(target, at), differences, rtol=1e-6, atol=1e-5)


def test_prior_of_the_weight_is_beta(table):
    problem = PosteriorProblem.of(table, 2, covariance_type="full", prior=None, noise=True)
    site = free(problem.sites)["noise_weight"]
    grid = np.linspace(0.01, 0.9, 9)
    np.testing.assert_allclose(site.log_prob(grid[:, None])[:, 0], beta(1, 9).logpdf(grid), rtol=1e-5)
    drawn = problem.sample_prior(4000, seed=0)
    assert abs(drawn.noise_weight.mean() - 0.1) < 0.01
    np.testing.assert_allclose(drawn.weights.sum(-1) + drawn.noise_weight, 1.0, atol=1e-12)
    assert "Beta" in problem.prior.in_words()["noise"]


def test_nuts_laplace_and_the_estimate_agree(posterior, table):
    laplace = bg.fit_laplace(table, 2, noise=True, start=posterior.mle)
    assert laplace.trustworthy
    by_laplace, draws = laplace.summary()["noise_weight"], posterior.draws.noise_weight
    assert abs(draws.mean() - by_laplace.mean) < 0.2 * by_laplace.sd
    assert 0.8 < draws.std() / by_laplace.sd < 1.25
    error = posterior.mle.errors()["noise_weight"]
    assert abs(draws.mean() - posterior.mle.mixture.noise_weight) < error
    np.testing.assert_allclose(draws + posterior.draws.weights.sum(-1), 1.0, atol=1e-12)
    assert "noise_weight" in repr(laplace)


def test_noise_is_no_cluster(posterior, table):
    shares, noise = posterior.responsibilities(), posterior.noise_probability()
    np.testing.assert_allclose(shares.sum(1) + noise, 1.0, atol=1e-9)
    direct = np.stack([posterior.draws.noise_probability(table[:20])]).reshape(-1, 20)
    np.testing.assert_allclose(noise[:20], direct.mean(0), atol=1e-9)
    np.testing.assert_allclose(posterior.noise_probability_sd()[:20], direct.std(0), atol=1e-7)
    labels = planted(1)[1]
    assert (posterior.predict()[labels == -1] == -1).mean() > 0.6
    assert (posterior.predict()[labels >= 0] == -1).mean() < 0.05
    sure = np.flatnonzero(noise > 0.99)[:2]
    assert posterior.co_clustering(table[sure])[0, 1] < 0.02
    assert posterior.co_clustering(table[sure])[0, 0] == 1.0
    assert posterior.relabelling.ambiguous.max() == 0.0
    ecr = bg.fit_nuts(table, 2, noise=True, num_samples=100, progress=False, start=posterior.mle, relabelling="ecr")
    assert ecr.relabelling.ambiguous.max() == 0.0


def test_comparison_and_files_show_noise(comparison, posterior, tmp_path):
    row = comparison.rows[-1]
    assert (row.name, row.component) == ("noise weight", -1)
    np.testing.assert_allclose(row.estimate, posterior.mle.mixture.noise_weight)
    np.testing.assert_allclose(row.standard_error, posterior.mle.errors()["noise_weight"])
    np.testing.assert_allclose(row.mean, posterior.draws.noise_weight.mean())
    assert row.sd > 0
    assert np.isfinite([row.mode, row.laplace_sd, row.r_hat]).all()
    assert "\nnoise\n" in str(comparison)
    records = comparison.records("points")
    noise = np.array([record["component"] for record in records]) == -1
    np.testing.assert_array_equal(noise, posterior.predict() == -1)
    first = records[int(np.flatnonzero(noise)[0])]
    assert first["probability"] == first["noise_probability"] > 0.5
    assert "most probably noise" in comparison.hidden()[-1]
    posterior.save(tmp_path / "posterior.nc")
    again = bg.load(tmp_path / "posterior.nc")
    np.testing.assert_array_equal(again.noise_probability(), posterior.noise_probability())
    assert "Noise has a weight" in repr(again)


def test_figures_show_noise_as_crosses(comparison, posterior):
    ax = bg.plot_clusters(posterior, mle=posterior.mle)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any(word.startswith("noise (") for word in words)
    bg.plot_forest(comparison, parameters="noise weight")
    assert bg.plot_prior_posterior(posterior, parameters="noise weight").flat[0].get_xlabel() == "noise weight"
    bg.plot_uncertainty(posterior)
    bg.plot_coclustering(posterior)
    bg.plot_density(posterior, mle=posterior.mle)
    bg.plot_ppc(posterior)
    bg.plot_relabelling(posterior)


def test_model_has_the_same_density(table):
    problem = PosteriorProblem.of(table, 2, covariance_type="full", prior=None, noise=True)

    @in_float64
    def of_model(values):
        return log_density(bg.model, (table, 2), {"noise": True, "prior": problem.prior}, values)[0]

    values = {
        "weights": np.array([0.3, 0.7]),
        "means": np.array([[-2.0, 0.0], [2.0, 1.0]]),
        "scales": np.ones((2, 2)),
        "correlation_tril": np.stack([np.eye(2)] * 2),
        "noise_weight": np.array([0.1]),
    }
    log_prior = sum(float(np.sum(site.log_prob(values[name]))) for name, site in free(problem.sites).items())
    expected = log_prior + log_likelihood(values, table, np.ptp(table, axis=0))
    np.testing.assert_allclose(of_model(values), expected, rtol=1e-5)
    with pytest.raises(bg.errors.ArgumentError, match="no x"):
        bg.model(None, 2, prior=problem.prior, n_points=10, noise=True)


def test_priors_of_the_weight_are_checked(table):
    for wrong in (dist.Gamma(2.0, 2.0), dist.Normal(0.0, 1.0), 1.5, -0.1):
        with pytest.raises(bg.errors.ArgumentError, match="noise"):
            bg.fit_nuts(table, 2, noise=True, prior=bg.Prior(noise=wrong), progress=False)
    with pytest.raises(bg.errors.ArgumentError, match="there is none of"):
        bg.fit_nuts(table, 2, prior=bg.Prior(noise=dist.Beta(1.0, 4.0)), progress=False)
    with pytest.raises(bg.errors.ArgumentError, match="other noise"):
        bg.fit_nuts(table, 2, noise=True, start=bg.fit_em(table, 2, n_starts=4), progress=False)


def test_fits_with_and_without_noise_are_not_compared(posterior, table):
    with pytest.raises(bg.errors.ArgumentError, match="different noise"):
        bg.compare(bg.fit_em(table, 2, n_starts=4), posterior)


def test_six_points_by_enumeration_of_all_assignments(table):
    mixture = Mixture.from_moments([0.4, 0.6], [[-2.0, 0.0], [2.0, 1.0]], [np.eye(2), np.eye(2)])
    mixture = mixture.with_noise(0.2, [-12.0, -12.0], [12.0, 12.0])
    x = table[:6]
    joint = np.column_stack([mixture.log_joint(x), np.full(6, np.log(0.2 / 24**2))])
    labels = np.array(list(itertools.product(range(3), repeat=6)))
    every = joint[np.arange(6), labels].sum(1)
    np.testing.assert_allclose(mixture.log_prob(x).sum(), logsumexp(every), rtol=1e-12)
    weight = np.exp(every - logsumexp(every))
    np.testing.assert_allclose(mixture.noise_probability(x), weight @ (labels == 2), atol=1e-10)


def test_a_held_weight_is_not_sampled(table):
    held = PosteriorProblem.of(table, 2, covariance_type="full", prior=bg.Prior(noise=0.1), noise=True)
    given = PosteriorProblem.of(table, 2, covariance_type="full", prior=None, noise=True)
    assert n_coordinates_of(held.sites) == n_coordinates_of(given.sites) - 1
