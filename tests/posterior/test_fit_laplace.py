"""Weighted draws from Gaussians agree with exact posteriors where Pareto's k is small, and are doubted elsewhere."""

import arviz as az
import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import bayes_gmm as bg

pytestmark = pytest.mark.numpyro


@pytest.fixture(scope="module")
def faithful_laplace(faithful: bg.Table, faithful_mle: bg.EMFit) -> bg.LaplaceFit:
    return bg.fit_laplace(faithful, 2, start=faithful_mle, num_draws=20_000)


def test_weighted_draws_agree_with_nuts(faithful_laplace: bg.LaplaceFit, faithful_posterior: bg.Posterior) -> None:
    assert faithful_laplace.trustworthy
    for name, (mean, sd) in faithful_laplace.summary().items():
        draws = faithful_posterior.tree["posterior"][name]
        error = np.hypot(az.mcse(draws).values, sd / np.sqrt(faithful_laplace.effective_sample_size))
        assert (np.abs(mean - draws.mean(("chain", "draw")).values) < 4.5 * error).all(), name
        # A standard deviation from n effective draws is off by 1 / sqrt(2 n), more for heavy tails.
        np.testing.assert_allclose(sd, draws.std(("chain", "draw")).values, rtol=0.12)


def test_the_comparison_would_notice_unweighted_draws_of_a_skewed_posterior() -> None:
    """With 12 points the Gaussian in unconstrained coordinates is far from the posterior, and weights correct it."""
    x = np.random.default_rng(0).normal(size=(12, 1))
    prior = bg.Prior(weights=[1.0], means=dist.Normal(0.0, 10.0), variances=dist.InverseGamma(2.0, 1.0))
    fit = bg.fit_laplace(x, 1, prior=prior, num_draws=20_000)
    variances = fit.draws.scales[:, 0, 0] ** 2
    mean, _ = fit.expectation(lambda draws: draws.scales[:, 0, 0] ** 2)
    # Given the mean, the variance is inverse-gamma; the mean is integrated out on a grid.
    grid = np.linspace(-3, 3, 4001)
    rates = 1.0 + 0.5 * ((x - grid[None]) ** 2).sum(0)
    density = scipy.stats.norm(0, 10).pdf(grid) * rates**-8.0
    exact = float((density * rates / 7).sum() / density.sum())
    error = np.sqrt((np.exp(2 * fit.log_weights) * (variances - mean) ** 2).sum())
    assert fit.trustworthy
    assert abs(mean - exact) < 4 * error
    assert abs(variances.mean() - exact) > 6 * error


def test_evidence_of_a_conjugate_model_is_exact() -> None:
    x = np.random.default_rng(0).normal(1.0, 1.0, size=(30, 2))
    prior = bg.Prior(means=dist.Normal(0.0, 2.0), scales=1.0, correlations=0.0, weights=[1.0])
    fit = bg.fit_laplace(x, 1, prior=prior, num_draws=100)
    marginal = scipy.stats.multivariate_normal(np.zeros(30), np.eye(30) + 4.0)
    assert fit.log_evidence == pytest.approx(marginal.logpdf(x.T).sum(), rel=1e-10)


def test_a_posterior_far_from_gaussian_is_not_trusted() -> None:
    fit = bg.fit_laplace(np.random.default_rng(0).normal(size=(80, 1)), 2)
    assert not fit.trustworthy
    assert "Use fit_nuts" in repr(fit)
    assert "means" not in repr(fit)


def test_resampled_draws_have_the_weighted_moments(faithful_laplace: bg.LaplaceFit) -> None:
    mean, sd = faithful_laplace.expectation(lambda draws: draws.means)
    drawn = faithful_laplace.resample(20_000, seed=1).means
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * sd.max() / np.sqrt(20_000))
    assert faithful_laplace.tree["posterior"]["means"].dims == ("chain", "draw", "component", "feature")


def test_weights_are_normalised_and_seeds_decide(faithful: bg.Table, faithful_mle: bg.EMFit) -> None:
    one, same, other = (bg.fit_laplace(faithful, 2, start=faithful_mle, seed=seed, num_draws=200) for seed in (0, 0, 1))
    assert np.logaddexp.reduce(one.log_weights) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(one.draws.means, same.draws.means)
    assert (one.draws.means != other.draws.means).any()
    assert all(isinstance(leaf, np.ndarray) and leaf.dtype == np.float64 for leaf in jax.tree.leaves(one.draws))


@pytest.mark.wrong_types
@pytest.mark.parametrize(("argument", "value"), [("num_draws", 0), ("seed", -1), ("n_components", 1.5)])
def test_bad_arguments_are_named(argument: str, value: object, faithful: bg.Table) -> None:
    with pytest.raises(bg.ArgumentError, match=f"^{argument} is {value}"):
        bg.fit_laplace(faithful, **({"n_components": 2} | {argument: value}))
