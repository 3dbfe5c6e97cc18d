"""The drop-in classes take what scikit-learn's take: parameters, attributes set by hand, batches, routed weights."""

import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.mixture import BayesianGaussianMixture as Theirs, GaussianMixture as TheirMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError, DataError, FitWarning, NotFittedError
from bayes_gmm.estimators import BayesianGaussianMixture, GaussianMixture

pytestmark = [pytest.mark.numpyro, pytest.mark.wrong_types]

X = np.random.default_rng(1).permutation(bg.datasets.load("faithful").values)


@pytest.mark.parametrize(("ours", "theirs"), [(BayesianGaussianMixture, Theirs), (GaussianMixture, TheirMixture)])
def test_every_parameter_of_the_constructor_there_is_one_here(ours, theirs):
    known = inspect.signature(ours).parameters
    for name, parameter in inspect.signature(theirs).parameters.items():
        assert name in known
        taken = ours(**{name: parameter.default})
        assert taken.get_params()[name] == parameter.default
        assert getattr(sklearn.base.clone(taken), name) == parameter.default


REFUSED = {
    "weight_concentration_prior_type": ("dirichlet_process", "weight_concentration_prior, such as 1 / n_components"),
    "mean_prior": ([0.0, 0.0], r"Prior\(means=numpyro"),
    "mean_precision_prior": (0.8, r"Prior\(means=numpyro"),
    "degrees_of_freedom_prior": (4, r"Prior\(scales="),
    "covariance_prior": ([[1.0, 0.0], [0.0, 1.0]], r"Prior\(scales="),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parts_of_their_prior_are_refused_with_what_takes_their_place(name):
    value, instead = REFUSED[name]
    with pytest.raises(ArgumentError, match=rf"{name} is .*{instead}"):
        BayesianGaussianMixture(2, **{name: value}).fit(X)


def test_parameters_without_effect_are_named_once():
    few = {"num_warmup": 10, "num_samples": 10, "num_chains": 1}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = BayesianGaussianMixture(2, max_iter=500, tol=1e-4, random_state=0, **few).fit(X)
    said = [str(warning.message) for warning in caught if warning.category is FitWarning]
    assert any("tol, max_iter without effect" in text and "num_samples" in text for text in said)
    assert fitted.n_iter_ == 20


def test_batches_lead_to_the_fit_of_all_rows():
    whole = GaussianMixture(2, random_state=0, tol=1e-8, max_iter=1000, reg_covar=0).fit(X)
    batched = GaussianMixture(2, random_state=0)
    for _ in range(4):
        for batch in np.array_split(X, 4):
            assert batched.partial_fit(batch) is batched
    assert batched.n_iter_ == 16
    assert batched.score(X) > whole.score(X) - 0.01
    assert batched.score(X) < whole.score(X) + 1e-9
    order = np.argsort(whole.means_[:, 0])
    np.testing.assert_allclose(batched.means_, whole.means_[order], rtol=0.02)
    with pytest.raises(DataError, match="expecting 2 features"):
        batched.partial_fit(X[:, :1])
    assert pickle.loads(pickle.dumps(batched)).score(X) == batched.score(X)
    assert batched.fit(X[:50]).n_iter_ != 17


def test_batches_of_a_frame_keep_its_names():
    frame = pd.DataFrame(X, columns=["eruptions", "waiting"])
    mixture = GaussianMixture(2, random_state=0).partial_fit(frame)
    assert list(mixture.feature_names_in_) == ["eruptions", "waiting"]
    with pytest.raises(DataError, match="same order"):
        mixture.partial_fit(frame[["waiting", "eruptions"]])


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_attributes_set_by_hand_are_a_fit(kind):
    learnt = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    for name in ("covariances_", "precisions_", "precisions_cholesky_"):
        by_hand = GaussianMixture(2, covariance_type=kind)
        for known in ("weights_", "means_", name):
            setattr(by_hand, known, getattr(learnt, known))
        np.testing.assert_allclose(by_hand.score_samples(X), learnt.score_samples(X), rtol=1e-9)


@pytest.mark.parametrize("missing", ["weights_", "covariances_"])
def test_an_attribute_that_is_missing_is_named(missing):
    by_hand = GaussianMixture(2)
    for name, value in {"weights_": [0.5, 0.5], "means_": X[:2], "covariances_": np.tile(np.eye(2), (2, 1, 1))}.items():
        if name != missing:
            setattr(by_hand, name, value)
    with pytest.raises(NotFittedError, match=f"no {missing}"):
        by_hand.predict(X)


def test_weights_are_routed_to_the_fit():
    weights = np.where(X[:, 0] < 3, 5.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        mixture = GaussianMixture(2, random_state=0).set_fit_request(sample_weight=True)
        routed = make_pipeline(scaler, sklearn.base.clone(mixture)).fit(X, sample_weight=weights)[-1]
        without = make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)).fit(X)[-1]
    direct = GaussianMixture(2, random_state=0).fit(StandardScaler().fit_transform(X), sample_weight=weights)
    np.testing.assert_allclose(routed.weights_, direct.weights_)
    assert abs(routed.weights_.max() - without.weights_.max()) > 0.01


def test_the_output_of_a_transform_that_there_is_not_cannot_be_chosen():
    mixture = GaussianMixture(2)
    with pytest.raises(bg.ArgumentError, match="GaussianMixture has no transform"):
        mixture.set_output(transform="pandas")
    assert mixture.set_output() is mixture
    make_pipeline(StandardScaler(), mixture).set_output(transform="pandas")


def test_a_posterior_cannot_be_set_by_hand():
    by_hand = BayesianGaussianMixture(2)
    by_hand.weights_, by_hand.means_, by_hand.covariances_ = np.array([0.5, 0.5]), X[:2], np.tile(np.eye(2), (2, 1, 1))
    with pytest.raises(NotFittedError, match="means_, but no posterior_"):
        by_hand.predict(X)


def test_weights_reach_the_posterior():
    x, weights = X[::8, :1], np.where(X[::8, 0] < 3, 3.0, 1.0)
    options = {"num_warmup": 20, "num_samples": 20, "num_chains": 2, "n_init": 2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = BayesianGaussianMixture(1, **options).fit(x, sample_weight=weights)
    weighted = np.average(x[:, 0], weights=weights)
    assert abs(mixture.means_[0, 0] - weighted) < abs(x.mean() - weighted) / 2
    with pytest.raises(bg.ArgumentError, match="sample_weight"):
        BayesianGaussianMixture(1, **options).fit(x, sample_weight=weights[1:])
