"""`BayesianGaussianMixture`: the posterior by NUTS with scikit-learn's interface."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score

import bayes_gmm as bg
from bayes_gmm.estimators import BayesianGaussianMixture, GaussianMixture

pytestmark = pytest.mark.numpyro

SHORT = {"num_warmup": 100, "num_samples": 200, "n_init": 8}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    faithful = bg.datasets.load("faithful")
    return pd.DataFrame(faithful.values, columns=list(faithful.columns))


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> BayesianGaussianMixture:
    return BayesianGaussianMixture(2, random_state=0, **SHORT).fit(frame)


def test_learns_posterior_means_and_keeps_the_posterior(fitted: BayesianGaussianMixture, frame: pd.DataFrame) -> None:
    draws = fitted.posterior_.draws
    np.testing.assert_allclose(fitted.weights_, draws.weights.mean((0, 1)))
    np.testing.assert_allclose(fitted.means_, draws.means.mean((0, 1)))
    np.testing.assert_allclose(fitted.covariances_, draws.covariances.mean((0, 1)))
    np.testing.assert_allclose(fitted.covariances_ @ fitted.precisions_, np.tile(np.eye(2), (2, 1, 1)), atol=1e-10)
    assert fitted.converged_
    assert fitted.verdict_ is fitted.posterior_.verdict
    assert fitted.feature_names_in_.tolist() == list(frame.columns)
    assert list(fitted.posterior_.tree["posterior"]["feature"].values) == list(frame.columns)


def test_probabilities_and_densities_are_averages_over_the_draws(
    fitted: BayesianGaussianMixture, frame: pd.DataFrame
) -> None:
    rows = frame.iloc[:7]
    draws = fitted.posterior_.draws
    responsibilities = draws.responsibilities(rows.to_numpy()).mean((0, 1))
    np.testing.assert_allclose(fitted.predict_proba(rows), responsibilities, rtol=1e-6, atol=1e-9)
    log_density = draws.log_prob(rows.to_numpy()).reshape(-1, len(rows))
    expected = logsumexp(log_density, 0) - np.log(len(log_density))
    np.testing.assert_allclose(fitted.score_samples(rows), expected, rtol=1e-8)
    assert fitted.score(rows) == pytest.approx(expected.mean())
    np.testing.assert_array_equal(fitted.predict(rows), responsibilities.argmax(1))
    # Negative control: the point estimate differs.
    assert np.abs(GaussianMixture(2, random_state=0).fit(frame).score_samples(rows) - expected).max() > 1e-3


def test_draws_come_from_the_posterior_predictive_distribution(fitted: BayesianGaussianMixture) -> None:
    x, labels = (
        clone(fitted).set_params(random_state=1).fit(pd.DataFrame(fitted.posterior_.table.values)).sample(20_000)
    )
    draws = fitted.posterior_.draws
    mean, covariance = draws.mean.mean((0, 1)), draws.covariance.mean((0, 1))
    error = np.sqrt(np.diag(covariance) / len(x)) + draws.mean.std((0, 1)) / np.sqrt(200)
    assert (np.abs(x.mean(0) - mean) < 5 * error).all()
    assert np.mean(labels == 0) == pytest.approx(fitted.weights_[0], abs=5 * np.sqrt(0.25 / len(x)) + 0.005)


def test_the_same_seed_gives_the_same_draws(fitted: BayesianGaussianMixture, frame: pd.DataFrame) -> None:
    again = clone(fitted).fit(frame)
    np.testing.assert_array_equal(again.posterior_.draws.means, fitted.posterior_.draws.means)
    other = clone(fitted).set_params(random_state=1).fit(frame)
    assert not np.array_equal(other.posterior_.draws.means, fitted.posterior_.draws.means)


def test_adding_a_constant_moves_the_means_alone(fitted: BayesianGaussianMixture, frame: pd.DataFrame) -> None:
    moved = clone(fitted).fit(frame + 100)
    sd, ess = fitted.posterior_.draws.means.std((0, 1)), fitted.verdict_.min_ess["posterior"]
    assert (np.abs(moved.means_ - 100 - fitted.means_) < 5 * np.sqrt(2 / ess) * sd).all()
    assert moved.weights_ == pytest.approx(fitted.weights_, abs=0.02)


def test_a_high_concentration_makes_weights_equal(fitted: BayesianGaussianMixture, frame: pd.DataFrame) -> None:
    equal = clone(fitted).set_params(weight_concentration_prior=1000.0).fit(frame)
    assert np.abs(equal.weights_ - 0.5).max() < 0.03 < np.abs(fitted.weights_ - 0.5).max()
    with pytest.raises(bg.ArgumentError, match="concentration of the weights is -1"):
        clone(fitted).set_params(weight_concentration_prior=-1).fit(frame)


def test_clusters_that_made_the_data_are_found() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 272)
    x = rng.normal(size=(272, 2)) + 8 * labels[:, None]
    assert adjusted_rand_score(labels, BayesianGaussianMixture(2, random_state=0, **SHORT).fit_predict(x)) >= 0.95


def test_a_bad_verdict_is_a_convergence_warning(frame: pd.DataFrame) -> None:
    hurried = BayesianGaussianMixture(2, num_warmup=1, num_samples=4, n_init=8, random_state=0)
    with pytest.warns(ConvergenceWarning, match="not to be trusted"):
        hurried.fit(frame)
    assert not hurried.converged_


def test_survives_a_pickle(fitted: BayesianGaussianMixture, frame: pd.DataFrame) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(frame), fitted.predict_proba(frame))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(frame)


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", ["tied", "diag", "spherical"])
def test_covariances_have_the_shapes_of_their_type(covariance_type: str, frame: pd.DataFrame) -> None:
    bayesian = BayesianGaussianMixture(2, covariance_type=covariance_type, random_state=0, **SHORT).fit(frame)
    likely = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(frame)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(bayesian, name).shape == getattr(likely, name).shape
    assert adjusted_rand_score(bayesian.predict(frame), likely.predict(frame)) > 0.95
