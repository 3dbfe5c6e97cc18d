"""The posterior of rows with known errors: its density, its draws, and what is asked of it, against SciPy."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayes_gmm as bg
from bayes_gmm.assessment.leave_one_out import leave_one_out
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.sites import assemble, free
from bayes_gmm.bayes.target import Target, to_coordinates, to_mixtures
from bayes_gmm.clustering.co_clustering import co_clustering
from bayes_gmm.io.table import as_table
from bayes_gmm.likelihood.true_rows import log_joint_with_errors, true_rows

pytestmark = pytest.mark.numpyro

FAITHFUL = bg.datasets.load("faithful").values
N = np.arange(272)
SDS = np.stack([0.1 * (1 + N % 3), 2.0 * (1 + N % 2)], 1)
TABLE = as_table(FAITHFUL, errors=SDS)


@pytest.fixture(scope="module")
def posterior():
    return bg.fit_nuts(FAITHFUL, 2, errors=SDS, num_samples=800, progress=False)


def log_joint(mixture, rows, values=FAITHFUL):
    """Oracle (n, K), by SciPy."""
    parts = list(zip(mixture.weights, mixture.means, mixture.covariances, strict=True))

    def of_row(n):
        o = ~np.isnan(values[n])
        totals = [(c + np.diag(SDS[n] ** 2))[np.ix_(o, o)] for _, _, c in parts]
        densities = [
            multivariate_normal(m[o], total).logpdf(values[n, o])
            for (_, m, _), total in zip(parts, totals, strict=True)
        ]
        return [np.log(w) + density for (w, _, _), density in zip(parts, densities, strict=True)]

    return np.array([of_row(n) for n in rows])


def first(posterior, draw=0):
    return jax.tree.map(lambda leaf: leaf[0, draw], posterior.draws)


def test_density_is_the_prior_times_that_of_what_was_observed():
    problem = PosteriorProblem.of(TABLE, 2, covariance_type="full", prior=None)
    a = bg.Mixture.from_moments([0.4, 0.6], [[2.1, 55.0], [4.2, 79.0]], [[[0.2, 0.5], [0.5, 40.0]]] * 2)
    b = bg.Mixture.from_moments([0.3, 0.7], [[2.4, 57.0], [4.0, 81.0]], [[[0.4, 0.1], [0.1, 30.0]]] * 2)
    with jax.enable_x64(True):
        target = problem.target()
        coordinates = np.stack([to_coordinates(mixture, target.sites) for mixture in (a, b)])
        potentials = np.array([jax.jit(Target.potential)(target, at) for at in coordinates])
        mixtures, log_prior = to_mixtures(coordinates, target.sites)
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], mixtures) for i in range(2)]
    totals = [logsumexp(log_joint(one, N), axis=1).sum() for one in each]
    np.testing.assert_allclose(potentials, [-(p + t) for p, t in zip(log_prior, totals, strict=True)], rtol=1e-11)
    np.testing.assert_allclose([problem.log_densities(one).sum() for one in each], totals, rtol=1e-11)
    plain = [one.log_prob(FAITHFUL).sum() for one in each]
    assert abs(np.diff(plain) - np.diff(totals)) > 1


@pytest.mark.parametrize("with_noise", [False, True])
def test_the_numpyro_model_has_the_same_density(with_noise):
    values = FAITHFUL.copy()
    values[::7, 1] = np.nan
    problem = PosteriorProblem.of(values, 2, covariance_type="full", prior=None, noise=with_noise, errors=SDS)
    parameters = {
        "weights": np.array([0.4, 0.6]),
        "means": np.array([[2.1, 55.0], [4.2, 79.0]]),
        "scales": np.array([[0.4, 6.0], [0.5, 5.0]]),
        "correlation_tril": np.stack([np.eye(2)] * 2),
    } | ({"noise_weight": np.array([0.1])} if with_noise else {})
    sites = problem.sites
    sampled = free(sites)
    with jax.enable_x64(True):
        given = {"prior": problem.prior, "noise": with_noise, "errors": SDS}
        found, trace = log_density(bg.model, (values, 2), given, parameters)
        exact = log_density(bg.model, (values, 2), given | {"errors": None}, parameters)[0]
        held = {name: site for name, site in sites.items() if name not in sampled}
        mixture = jax.tree.map(np.asarray, assemble(held | parameters))
        log_prior = sum(float(site.log_prob(parameters[name]).sum()) for name, site in sampled.items())
    joint = log_joint(mixture, N, values)
    if with_noise:
        sides = np.log(np.nanmax(values, 0) - np.nanmin(values, 0))
        joint = np.column_stack([joint, np.log(0.1) - (~np.isnan(values)) @ sides])
    np.testing.assert_allclose(found, log_prior + logsumexp(joint, axis=1).sum(), rtol=1e-10)
    assert trace["x"]["fn"].batch_shape == N.shape
    assert abs(float(found) - float(exact)) > 1


def test_draws_are_good_and_are_those_of_the_true_values(posterior):
    assert posterior.verdict.status.name == "GOOD"
    assert "known errors" in repr(posterior)
    mle = posterior.mle
    assert mle.log_likelihood == pytest.approx(-1143.0365553, abs=1e-6)
    np.testing.assert_allclose(posterior.draws.means.mean((0, 1)), mle.mixture.means, rtol=0.01)
    np.testing.assert_allclose(posterior.draws.scales.mean((0, 1)), mle.mixture.scales, rtol=0.05)
    plain = bg.fit_em(FAITHFUL, 2, start=mle.mixture).mixture.scales
    assert (np.abs(posterior.draws.scales.mean((0, 1)) / plain - 1) > 0.08).any()


def test_densities_shares_and_true_values_are_averages_over_draws(posterior):
    logs = posterior.log_likelihoods()
    expected = logsumexp(log_joint(first(posterior, 7), N), axis=1)
    np.testing.assert_allclose(logs[0, 7], expected, rtol=1e-10)
    np.testing.assert_array_equal(posterior.tree["log_likelihood"]["x"].values, logs)
    few = [first(posterior, draw) for draw in range(3)]
    shares = np.stack([np.exp(j - logsumexp(j, axis=1, keepdims=True)) for j in (log_joint(one, N) for one in few)])
    together = co_clustering(
        jax.tree.map(lambda *leaves: np.stack(leaves), *few),
        FAITHFUL,
        posterior.problem.scaling,
        TABLE.error_covariances,
    )
    np.testing.assert_allclose(together[0, 1:], np.einsum("sk,smk->m", shares[:, 0], shares[:, 1:]) / 3, atol=1e-10)
    assert np.abs(posterior.responsibilities() - shares.mean(0)).max() < 0.3
    mean, sd = posterior.denoised()
    by_one = true_rows(first(posterior), TABLE)
    assert np.abs(mean - by_one.mean).max() < by_one.sd.max()
    assert (sd < SDS).mean() > 0.9  # not where a row may belong to either component
    with pytest.raises(bg.errors.ArgumentError, match="denoised"):
        posterior.impute()
    with pytest.raises(bg.errors.ArgumentError, match="denoised"):
        posterior.completed()


def test_replicates_have_the_errors_and_leaving_one_out_uses_them(posterior):
    replicated = posterior.tree["posterior_predictive"]["x"].values
    # Truth and errors are independent: variances add, and the noisier rows vary more.
    for rows in (N % 2 == 0, N % 2 == 1):
        expected = posterior.draws.covariance[..., 1, 1].mean() + (SDS[rows, 1] ** 2).mean()
        assert replicated[..., rows, 1].var() == pytest.approx(expected, rel=0.06)
    loo = leave_one_out(posterior)
    assert loo.effective_parameters == pytest.approx(11, abs=3)
    assert loo.elpd + loo.effective_parameters == pytest.approx(posterior.mle.log_likelihood, abs=3)


def test_laplace_agrees_with_the_draws(posterior):
    fit = bg.fit_laplace(TABLE, 2, start=posterior.mle)
    assert fit.trustworthy
    means, sd = posterior.draws.means.mean((0, 1)), posterior.draws.means.std((0, 1))
    drawn = fit.resample(4000).means
    np.testing.assert_array_less(np.abs(drawn.mean(0) - means), 0.15 * sd)
    np.testing.assert_allclose(drawn.std(0), sd, rtol=0.15)


def test_a_saved_posterior_has_its_errors_and_comparison_and_figures_take_them(posterior, tmp_path):
    posterior.save(tmp_path / "posterior.nc")
    loaded = bg.load(tmp_path / "posterior.nc")
    np.testing.assert_array_equal(loaded.table.errors, SDS)
    np.testing.assert_array_equal(loaded.responsibilities(), posterior.responsibilities())
    comparison = bg.compare(posterior.mle, posterior)
    np.testing.assert_allclose(comparison.points.mle_responsibilities, posterior.mle.responsibilities())
    assert max(abs(row.shift) for row in comparison.rows) < 0.5
    import matplotlib.pyplot as plt

    bg.plot_ellipses(posterior, mle=posterior.mle)
    bg.plot_uncertainty(posterior)
    plt.close("all")


def test_an_em_fit_of_other_errors_is_no_start(posterior):
    plain = bg.fit_em(FAITHFUL, 2, start=posterior.mle.mixture)
    with pytest.raises(bg.errors.ArgumentError, match="same table"):
        bg.fit_nuts(TABLE, 2, start=plain, progress=False)


def test_the_default_scale_prior_is_that_of_the_true_values():
    def median(errors):
        problem = PosteriorProblem.of(FAITHFUL, 2, covariance_type="full", prior=None, errors=errors)
        return problem.prior.describe().partition("median=[")[2].partition("]")[0]

    def expected(variances):
        return ", ".join(f"{value:.4g}" for value in np.sqrt(variances) / 10)

    variances = FAITHFUL.var(0)
    assert median(None).split() == expected(variances).split()
    found = np.array(median(SDS).split(","), float)
    np.testing.assert_allclose(found, np.sqrt(variances - (SDS**2).mean(0)) / 10, rtol=1e-3)
    found = np.array(median(SDS * 100).split(","), float)
    np.testing.assert_allclose(found, np.sqrt(variances / 100) / 10, rtol=1e-3)


def test_tied_values_make_no_posterior_improper_where_every_row_has_errors(recwarn):
    prior = bg.Prior(scales=dist.HalfNormal(5.0))
    noisy = PosteriorProblem.of(TABLE, 2, covariance_type="full", prior=prior)
    assert not noisy.tie_warnings
    assert not recwarn
    with pytest.warns(bg.errors.FitWarning):
        PosteriorProblem.of(FAITHFUL, 2, covariance_type="full", prior=prior)


def test_batched_densities_know_gaps_beside_errors():
    x = FAITHFUL.copy()
    x[::4, 1] = np.nan
    table = as_table(x, missing="integrate", errors=SDS)
    mixture = bg.Mixture.from_moments([0.4, 0.6], [[2.1, 55.0], [4.2, 79.0]], [[[0.2, 0.5], [0.5, 40.0]]] * 2)
    from bayes_gmm.likelihood.pointwise import log_densities
    from bayes_gmm.mixture.scaling import Scaling

    one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], mixture)
    found = log_densities(one, *table.observed()[:1], Scaling.whitening(x, np.ones(272)), table.error_covariances)
    expected = logsumexp(log_joint_with_errors(mixture, x, table.error_covariances), axis=1)
    np.testing.assert_allclose(found[0], expected, rtol=1e-10)
