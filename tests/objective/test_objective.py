"""What an M-step gains, by SciPy's densities."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import bayes_gmm as bg
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.objective.problem import Problem

STRUCTURES = ["full", "tied", "diag", "spherical", "VEE", "EVI"]


def log_joint(mixture, x):
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    return np.stack([np.log(w) + multivariate_normal(m, c).logpdf(x) for w, m, c in parts], 1)


def setting(covariance_type, seed=0):
    """An objective, its rows, a mixture, and the responsibilities there by definition."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) * [0.5, 2.0, 1.0] + 1.5])
    objective = Problem.of(x, 2, covariance_type=covariance_type).short_objective(with_products=False)
    z = objective.data.points
    covariances = [np.diag([0.5, 1.0, 0.8]), np.diag([1.0, 0.7, 1.2])]
    mixture = Mixture.from_moments([0.4, 0.6], z[[3, 60]], covariances)
    joint = log_joint(mixture, z)
    shares = np.exp(joint - np.logaddexp.reduce(joint, 1, keepdims=True))
    return objective, z, mixture, shares


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_what_a_step_gains_is_what_known_labels_would_make_of_it(covariance_type):
    objective, z, mixture, shares = setting(covariance_type)
    statistics = objective.expect(mixture).statistics
    better = objective.maximise(statistics, near=mixture)
    expected = (shares * (log_joint(better, z) - log_joint(mixture, z))).sum()
    assert objective.gained(statistics, better, mixture) == pytest.approx(expected, rel=1e-9)
    assert objective.gained(statistics, mixture, mixture) == 0.0
    assert expected > 0.1
    # The control: shares that are not those of the mixture.
    wrong = (shares[::-1] * (log_joint(better, z) - log_joint(mixture, z))).sum()
    assert abs(wrong - expected) > 0.1


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_no_mixture_nearby_gains_as_much_as_the_step_does(covariance_type):
    objective, _, mixture, _ = setting(covariance_type)
    statistics = objective.expect(mixture).statistics
    best = objective.maximise(statistics)
    most = objective.gained(statistics, best, mixture)
    for factor in (0.9, 1.1):
        wider = Mixture(log_weights=best.log_weights, means=best.means, scale_tril=factor * best.scale_tril)
        moved = Mixture(log_weights=best.log_weights, means=factor * best.means, scale_tril=best.scale_tril)
        assert objective.gained(statistics, wider, mixture) < most - 0.1
        assert objective.gained(statistics, moved, mixture) < most


def test_a_prior_counts_in_what_is_gained():
    x = bg.datasets.load("faithful")
    with_prior, without = (Problem.of(x, 2, prior=prior).short_objective() for prior in (bg.ConjugatePrior(), None))
    mixture = Mixture.from_moments([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], np.tile(np.eye(2), (2, 1, 1)))
    statistics = without.expect(mixture).statistics
    better = without.maximise(statistics)
    difference = with_prior.gained(statistics, better, mixture) - without.gained(statistics, better, mixture)
    prior = with_prior.log_prior(better) - with_prior.log_prior(mixture)
    assert difference == pytest.approx(prior, rel=1e-9)
    assert abs(prior) > 0.01
