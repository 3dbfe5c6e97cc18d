"""Profile intervals end where the likelihood, maximised over the rest, has fallen by half a chi-squared quantile."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from scipy.stats import norm

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError, FitError


def profile_by_scipy(x, weight, start):
    """Log-likelihood of two normals in one dimension, maximised over means and sds by BFGS."""

    def negative(theta):
        means, log_sds = theta[:2], theta[2:]
        joint = norm.logpdf(x[:, None], means, np.exp(log_sds)) + np.log([weight, 1 - weight])
        return -logsumexp(joint, axis=1).sum()

    return -minimize(negative, start, options={"gtol": 1e-8}).fun


def test_ends_are_where_an_independent_profile_has_fallen_far_enough():
    x = np.random.default_rng(0).permutation(np.r_[np.random.default_rng(1).normal(size=60), 3 + np.zeros(40)])
    x[x == 3] = np.random.default_rng(2).normal(3, 1, 40)
    fit = bg.fit_em(x[:, None], 2)
    start = np.r_[fit.mixture.means[:, 0], np.log(fit.mixture.scales[:, 0])]
    lower, upper = bg.profile_interval(fit, 0)
    falls = [fit.log_likelihood - profile_by_scipy(x, weight, start) for weight in (lower, upper)]
    # Half the 95% quantile of chi-squared with one degree of freedom; 1e-6 in log odds times a slope of a few nats.
    np.testing.assert_allclose(falls, 1.920729410347062, atol=2e-5)
    halfway = fit.log_likelihood - profile_by_scipy(x, (lower + fit.mixture.weights[0]) / 2, start)
    assert halfway < 1  # negative control: inside the interval the fall is smaller


@pytest.mark.slow
def test_ends_of_a_fit_with_gaps_are_where_a_held_weight_costs_enough(faithful):
    x = faithful.values.copy()
    x[::5, 1] = np.nan
    fit = bg.fit_em(x, 2, n_starts=4)

    def fall(weight):
        held = bg.fit_em(x, 2, start=fit.mixture, fixed={"weights": [weight, 1 - weight]}, tol=1e-12)
        return fit.log_likelihood - held.mixture.log_prob(x).sum()

    lower, upper = bg.profile_interval(fit, 0)
    np.testing.assert_allclose([fall(lower), fall(upper)], 1.920729410347062, atol=2e-5)
    assert fall((lower + fit.mixture.weights[0]) / 2) < 1  # negative control


def test_interval_is_near_that_of_the_standard_error_where_data_are_many(faithful_mle):
    lower, upper = bg.profile_interval(faithful_mle, 0)
    weight, error = faithful_mle.mixture.weights[0], faithful_mle.standard_errors["weights"][0]
    log_odds = np.log(weight / (1 - weight)) + np.array([-1.96, 1.96]) * error / (weight * (1 - weight))
    np.testing.assert_allclose([lower, upper], expit(log_odds), atol=0.1 * error)
    other = bg.profile_interval(faithful_mle, 1)
    np.testing.assert_allclose(other, [1 - upper, 1 - lower], atol=1e-6)
    narrow = bg.profile_interval(faithful_mle, 0, level=0.5)
    assert lower < narrow[0] < weight < narrow[1] < upper


def test_weight_that_is_held_or_alone_has_no_interval(faithful, faithful_mle):
    held = bg.fit_em(faithful, 3, fixed={"weights": {0: 0.3}}, n_starts=4)
    with pytest.raises(ArgumentError, match="whose weight is not held"):
        bg.profile_interval(held, 0)
    with pytest.raises(FitError, match="no free parameter"):
        bg.profile_interval(bg.fit_em(faithful, 1), 0)
    with pytest.raises(ArgumentError, match="component is 2"):
        bg.profile_interval(faithful_mle, 2)
    with pytest.raises(ArgumentError, match="level is 95"):
        bg.profile_interval(faithful_mle, 0, level=95.0)


def test_component_that_need_not_be_there_has_no_lower_end():
    """Two normals fitted to data of one: a weight near 0 loses almost no likelihood."""
    x = np.random.default_rng(3).normal(size=(200, 1))
    fit = bg.fit_em(x, 2, n_starts=8)
    smaller = int(fit.mixture.weights.argmin())
    with pytest.raises(FitError):
        bg.profile_interval(fit, smaller)
