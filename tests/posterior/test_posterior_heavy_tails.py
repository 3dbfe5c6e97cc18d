"""The posterior with heavy tails: its density, NUTS against Laplace's approximation, tables, figures and files."""

import itertools

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density
from scipy.special import logsumexp
from scipy.stats import gamma, multivariate_t

import bayes_gmm as bg
from bayes_gmm.assessment.parameter_shifts import plain_fit
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.shifted_gamma import ShiftedGamma
from bayes_gmm.bayes.sites import constrain, free, n_coordinates_of
from bayes_gmm.likelihood.pointwise import log_predictive_density
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.posterior.starting_fit import starting_fit

mpl.use("agg")

pytestmark = pytest.mark.numpyro

TRUTH = Mixture.from_scatters([0.4, 0.6], [[-3.0, 0.0], [3.0, 1.0]], [np.eye(2), [[1.0, 0.6], [0.6, 0.8]]], 4.0)


@pytest.fixture(scope="module")
def table():
    return TRUTH.sample(200, seed=1)[0]


@pytest.fixture(scope="module")
def posterior(table):
    return bg.fit_nuts(table, 2, components="t", num_samples=500, progress=False)


@pytest.fixture(scope="module")
def comparison(posterior):
    return bg.compare(posterior.mle, posterior)


def log_likelihood(values, x):
    """The log-likelihood by SciPy."""
    degrees = np.broadcast_to(np.asarray(values["degrees_of_freedom"]), 2)
    names = ("weights", "means", "scales", "correlation_tril")
    parts = zip(*(np.asarray(values[name]) for name in names), degrees, strict=True)
    total, parts = 0.0, list(parts)
    for seen in np.unique(~np.isnan(x), axis=0):
        rows, o = x[(~np.isnan(x) == seen).all(1)][:, seen], np.flatnonzero(seen)
        joint = [
            np.log(w) + multivariate_t(m[o], ((s[:, None] * f) @ (s[:, None] * f).T)[np.ix_(o, o)], nu).logpdf(rows)
            for w, m, s, f, nu in parts
        ]
        total += logsumexp(joint, axis=0).sum()
    return total


@pytest.mark.parametrize("degrees", ["common", pytest.param("per component", marks=pytest.mark.slow)])
def test_potential_is_that_of_scipy_and_its_gradient_that_of_differences(table, degrees):
    x = table[:40]
    problem = PosteriorProblem.of(x, 2, covariance_type="full", prior=None, components="t", degrees_of_freedom=degrees)
    assert free(problem.sites)["degrees_of_freedom"].shape() == ((1,) if degrees == "common" else (2,))
    with jax.enable_x64(True):
        target = problem.target()
        potential, slope = jax.jit(type(target).potential), jax.jit(jax.grad(type(target).potential, argnums=1))
        at = jnp.asarray(np.random.default_rng(1).normal(size=n_coordinates_of(problem.sites)) / 2)
        values, log_prior = constrain(target.sites, at)
        np.testing.assert_allclose(-float(potential(target, at)), log_prior + log_likelihood(values, x), rtol=1e-10)
        steps = 1e-5 * np.eye(len(at))
        differences = [(potential(target, at + h) - potential(target, at - h)) / 2e-5 for h in steps]
        np.testing.assert_allclose(slope(target, at), differences, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("gaps", [False, True])
def test_the_numpyro_model_has_the_same_density(table, gaps):
    x = table[:30].copy()
    if gaps:
        x[::3, 1] = np.nan
    problem = PosteriorProblem.of(x, 2, covariance_type="full", prior=None, components="t")
    with jax.enable_x64(True):
        target = problem.target()
        at = jnp.asarray(np.random.default_rng(2).normal(size=n_coordinates_of(problem.sites)) / 2)
        values, _ = constrain(target.sites, at)
        own = {name: values[name] for name in free(target.sites)}
        found, trace = log_density(bg.model, (x, 2), {"components": "t", "prior": problem.prior}, own)
        prior = sum(site.log_prob(own[name]).sum() for name, site in free(target.sites).items())
        np.testing.assert_allclose(found, prior + log_likelihood(values, x), rtol=1e-6)
        _, log_prior = constrain(target.sites, at)
        np.testing.assert_allclose(-target.potential(at), log_prior + log_likelihood(values, x), rtol=1e-10)
    assert trace["degrees_of_freedom"]["value"].shape == (1,)
    assert "scatters" in trace
    assert "covariances" not in trace


def test_prior_of_the_degrees_of_freedom_is_a_gamma_above_one(table):
    problem = PosteriorProblem.of(table, 2, covariance_type="full", prior=None, components="t")
    site, grid = free(problem.sites)["degrees_of_freedom"], np.array([1.01, 2.0, 11.0, 40.0, 300.0])
    np.testing.assert_allclose(site.log_prob(grid[:, None])[:, 0], gamma(2, scale=10).logpdf(grid - 1), rtol=1e-5)
    assert site.log_prob(np.array([0.99])) == -np.inf
    drawn = problem.sample_prior(4000, seed=0)
    assert abs(drawn.degrees_of_freedom[:, 0].mean() - 21) < 1
    assert (drawn.degrees_of_freedom[:, 0] == drawn.degrees_of_freedom[:, 1]).all()
    assert "ShiftedGamma(concentration=2, rate=0.1, least=1)" in repr(problem.prior)
    assert ShiftedGamma(2.0, 0.1, 1.0).variance == pytest.approx(200.0)


def test_nuts_laplace_and_the_truth_agree(posterior, table):
    laplace = bg.fit_laplace(table, 2, components="t", start=posterior.mle)
    assert posterior.verdict.status.name == "GOOD"
    by_laplace, draws = laplace.summary()["degrees_of_freedom"], posterior.draws.degrees_of_freedom
    assert abs(draws.mean() - by_laplace.mean[0]) < 0.2 * by_laplace.sd[0]
    low, high = np.quantile(draws, [0.01, 0.99])
    assert low < 4.0 < high
    assert "degrees of freedom in common" in repr(posterior)
    means = posterior.draws.means.mean((0, 1))
    assert (np.abs(means - TRUTH.means) < 4 * posterior.draws.means.std((0, 1))).all()


def test_scatters_and_covariances_are_told_apart_in_the_comparison(posterior, comparison):
    rows = {row.name: row for row in comparison.rows}
    assert "scale[0, x1]" in rows
    assert not any(name.startswith("sd") for name in rows)
    tails = rows["degrees of freedom"]
    assert tails.component == -1
    assert tails.mean == pytest.approx(posterior.draws.degrees_of_freedom.mean())
    assert tails.standard_error == posterior.mle.errors()["degrees_of_freedom"][0]
    assert "all components" in str(comparison)
    assert {"degrees_of_freedom", "scales"} <= set(posterior.tree["posterior"])
    assert "mean_log_degrees_of_freedom" in posterior.tree["invariants"]
    assert np.isfinite(posterior.tree["invariants"]["mixture_covariance"]).all()


def test_shifts_against_the_plain_fit_are_those_of_standard_deviations(posterior, comparison):
    shifts = {row.name: row for row in comparison.shifts.rows}
    mixture = posterior.mle.mixture
    assert shifts["sd[0, x1]"].value == pytest.approx(mixture.standard_deviations[0, 0])
    assert shifts["sd[0, x1]"].value > mixture.scales[0, 0]
    error = posterior.mle.errors()["covariances"][0, 0, 0] / (2 * mixture.standard_deviations[0, 0])
    assert shifts["sd[0, x1]"].sd == pytest.approx(error)
    assert "with heavy tails" in comparison.shifts.about


def test_responsibilities_are_those_of_the_draws(posterior, table):
    direct = posterior.draws.responsibilities(table[:10]).reshape(-1, 10, 2)
    np.testing.assert_allclose(posterior.responsibilities()[:10], direct.mean(0), atol=1e-9)
    np.testing.assert_allclose(posterior.responsibilities_sd()[:10], direct.std(0), atol=1e-7)
    density = posterior.draws.log_prob(table[:3])
    found = log_predictive_density(posterior.draws, table[:3], posterior.problem.scaling)
    np.testing.assert_allclose(np.exp(found), np.exp(density).mean((0, 1)), rtol=1e-9)


def test_a_saved_posterior_is_the_same(posterior, tmp_path):
    posterior.save(tmp_path / "posterior.nc")
    loaded = bg.load(tmp_path / "posterior.nc")
    np.testing.assert_array_equal(loaded.draws.degrees_of_freedom, posterior.draws.degrees_of_freedom)
    assert loaded.problem.degrees_of_freedom == "common"
    assert repr(loaded.problem.prior) == repr(posterior.problem.prior)
    assert repr(loaded.mle) == repr(posterior.mle)


@pytest.mark.slow
def test_figures_show_the_tails(posterior, comparison):
    axes = bg.plot_prior_posterior(posterior)
    titles = " ".join(text.get_text() for ax in np.ravel(axes) for text in [ax.title, ax.xaxis.label])
    assert "degrees of freedom" in titles
    assert "scale" in titles
    labels = [text.get_text() for text in bg.plot_forest(comparison).get_yticklabels()]
    assert any("degrees of freedom" in label for label in labels)
    assert bg.plot_ellipses(posterior, mle=posterior.mle) is not None


@pytest.mark.slow
def test_held_degrees_of_freedom_have_no_posterior(table):
    held = bg.fit_nuts(table, 2, components="t", degrees_of_freedom=4.0, num_samples=100, num_chains=2, progress=False)
    assert (held.draws.degrees_of_freedom == 4.0).all()
    assert "degrees_of_freedom" not in free(held.problem.sites)


def test_what_does_not_go_together_is_refused(posterior, table):
    plain = PosteriorProblem.of(table, 2, covariance_type="full", prior=None)
    with pytest.raises(bg.ArgumentError, match="other Gaussians"):
        starting_fit(plain, posterior.mle, 0, progress=False)
    with pytest.raises(bg.ArgumentError, match="One of the EM fit and the posterior"):
        bg.compare(plain_fit(posterior.mle), posterior)
    with pytest.raises(bg.ArgumentError, match="degrees of freedom"):
        bg.Prior(degrees_of_freedom=dist.Gamma(2.0, 0.1)).for_data(table, 2)
    errors = np.ones_like(table)
    with pytest.raises(bg.ArgumentError, match="known errors"):
        PosteriorProblem.of(table, 2, covariance_type="full", prior=None, components="t", errors=errors)
    own = bg.Prior(degrees_of_freedom=dist.LogNormal(2.0, 0.5))
    problem = PosteriorProblem.of(table, 2, covariance_type="full", prior=own, components="t")
    assert "LogNormal" in repr(problem.prior)
    assert list(itertools.chain(free(problem.sites)))[1] == "degrees_of_freedom"
