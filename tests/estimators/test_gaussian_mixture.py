"""`GaussianMixture` fits like scikit-learn's, and has features that scikit-learn's does not have."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn.mixture
import sklearn.utils.estimator_checks
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayes_gmm as bg
from bayes_gmm.estimators import GaussianMixture

TYPES = ("full", "tied", "diag", "spherical")
STARTS = ("kmeans", "k-means++", "random", "random_from_data")
LEARNT = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture(scope="module")
def iris() -> np.ndarray:
    return bg.datasets.load("iris").values


def assert_same_fit(ours: GaussianMixture, peers: sklearn.mixture.GaussianMixture, rtol: float = 1e-7) -> None:
    assert ours.n_iter_ == peers.n_iter_
    assert ours.converged_ == peers.converged_
    # The first is left out: with starts on single points, scikit-learn's first weights do not sum to one.
    np.testing.assert_allclose(ours.lower_bounds_[1:], peers.lower_bounds_[1:], rtol=rtol)
    for name in LEARNT:
        theirs = getattr(peers, name)
        np.testing.assert_allclose(getattr(ours, name), theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


# Fits equal to scikit-learn's


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_same_seed_gives_the_same_fit(covariance_type: str, iris: np.ndarray) -> None:
    for init_params in STARTS:
        options = {"covariance_type": covariance_type, "init_params": init_params, "random_state": 3, "max_iter": 200}
        ours = GaussianMixture(3, **options).fit(iris)
        peers = sklearn.mixture.GaussianMixture(3, **options).fit(iris)
        # A start on single points has variances of 1e-6, known to six digits as differences of squares.
        rtol = 1e-7 if init_params in ("kmeans", "random") else 1e-4
        assert_same_fit(ours, peers, rtol)
        assert ours.bic(iris) == pytest.approx(peers.bic(iris), rel=rtol)
        assert ours.aic(iris) == pytest.approx(peers.aic(iris), rel=rtol)
        np.testing.assert_allclose(ours.sample(50)[0], peers.sample(50)[0], rtol=rtol)
        np.testing.assert_allclose(ours.predict_proba(iris), peers.predict_proba(iris), atol=10 * rtol)


def test_another_seed_gives_another_start(iris: np.ndarray) -> None:
    fits = [GaussianMixture(3, init_params="random", max_iter=0, random_state=seed).fit(iris) for seed in (0, 1)]
    assert not np.allclose(fits[0].means_, fits[1].means_)


def test_several_runs_take_random_numbers_as_scikit_learn_does(iris: np.ndarray) -> None:
    options = {"n_init": 4, "init_params": "random_from_data", "tol": 1e-4, "max_iter": 300, "covariance_type": "diag"}
    ours = GaussianMixture(3, random_state=np.random.RandomState(5), **options).fit(iris)
    peers = sklearn.mixture.GaussianMixture(3, random_state=np.random.RandomState(5), **options).fit(iris)
    assert_same_fit(ours, peers, rtol=1e-4)


def test_k_means_moves_empty_clusters_as_scikit_learn_does() -> None:
    """With nearly as many clusters as distinct places, some clusters become empty during the iterations."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(12, 2)), 5, axis=0) + 1e-3 * rng.normal(size=(60, 2))
    for seed in range(10):
        options = {"max_iter": 0, "random_state": seed, "covariance_type": "spherical"}
        ours = GaussianMixture(11, **options).fit(x)
        peers = sklearn.mixture.GaussianMixture(11, **options).fit(x)
        np.testing.assert_allclose(ours.means_, peers.means_, rtol=1e-9)


def test_columns_that_are_constant_or_of_any_size_are_fitted_as_by_scikit_learn() -> None:
    """Columns are accepted that only `reg_covar` makes possible to fit."""
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.normal(size=80), np.full(80, 3.0), 1e6 * rng.normal(size=80)])
    x[:40] += [8, 0, 0]
    options = {"covariance_type": "diag", "random_state": 0}
    peers = sklearn.mixture.GaussianMixture(2, **options).fit(x)
    assert_same_fit(GaussianMixture(2, **options).fit(x), peers, rtol=1e-5)


def test_components_much_narrower_than_the_data_keep_their_digits() -> None:
    """One far row makes the columns' spread a million times the components' widths: the centred form is used."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 6, [[1e8, 1e8]]])
    options = {"random_state": 0, "tol": 1e-8, "means_init": [[0, 0], [6, 6], [1e8, 1e8]], "max_iter": 300}
    options |= {"weights_init": [0.4, 0.4, 0.2], "precisions_init": np.tile(np.eye(2), (3, 1, 1))}
    ours = GaussianMixture(3, **options).fit(x)
    peers = sklearn.mixture.GaussianMixture(3, **options).fit(x)
    np.testing.assert_allclose(ours.means_, peers.means_, rtol=1e-6)
    np.testing.assert_allclose(ours.covariances_[:2], peers.covariances_[:2], rtol=1e-6)


# Weights of rows


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_row_of_weight_two_counts_twice(covariance_type: str, iris: np.ndarray) -> None:
    weights = np.random.default_rng(0).integers(0, 3, len(iris))
    given = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(iris)
    options = {"weights_init": given.weights_, "means_init": given.means_, "precisions_init": given.precisions_}
    estimator = GaussianMixture(3, covariance_type=covariance_type, tol=1e-9, max_iter=5000, **options)
    weighted = copy.deepcopy(estimator).fit(iris, sample_weight=weights)
    repeated = copy.deepcopy(estimator).fit(np.repeat(iris, weights, axis=0))
    unweighted = copy.deepcopy(estimator).fit(iris)
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-10)
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-5)
    assert not np.allclose(weighted.means_, unweighted.means_, rtol=1e-3)


def test_one_weight_for_all_rows_changes_nothing(iris: np.ndarray) -> None:
    one, other = (GaussianMixture(2, random_state=0).fit(iris, sample_weight=weight) for weight in (None, 3.0))
    np.testing.assert_allclose(one.means_, other.means_, rtol=1e-10)
    assert one.lower_bound_ == pytest.approx(other.lower_bound_)


# Beyond scikit-learn


@pytest.mark.parametrize(
    "covariance_type",
    ["full", "diag", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tied", "spherical", "EEV", "VEI"))],
)
def test_where_it_ends_is_a_maximum_that_fit_em_confirms(covariance_type: str, iris: np.ndarray) -> None:
    options = {"covariance_type": covariance_type, "tol": 1e-12, "reg_covar": 0, "max_iter": 20_000, "random_state": 0}
    ours = GaussianMixture(2, **options).fit(iris)
    mle = bg.fit_em(iris, 2, covariance_type=covariance_type, start=ours.mixture_)
    order = np.argsort(ours.means_[:, 0])
    assert ours.score(iris) * len(iris) == pytest.approx(mle.log_likelihood, abs=1e-5)
    assert ours.bic(iris) == pytest.approx(mle.bic(), abs=1e-4)
    errors = ours.standard_errors_
    np.testing.assert_allclose(errors["means"][order], mle.standard_errors["means"], rtol=1e-3)
    np.testing.assert_allclose(errors["weights"][order], mle.standard_errors["weights"], rtol=1e-3)


def test_standard_errors_need_the_data_which_a_pickle_does_not_carry(iris: np.ndarray) -> None:
    fitted = GaussianMixture(2, random_state=0, tol=1e-10, max_iter=2000).fit(iris)
    assert np.isfinite(fitted.standard_errors_["means"]).all()
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(iris), fitted.predict_proba(iris))
    with pytest.raises(NotFittedError):
        _ = again.standard_errors_


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_mixture_of_a_fit_is_kept_until_an_attribute_changes(
    covariance_type: str, iris: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(iris)
    before = fitted.score_samples(iris)
    with monkeypatch.context() as patch:
        patch.setattr(np.linalg, "inv", None)
        np.testing.assert_array_equal(fitted.score_samples(iris), before)
    fitted.mixture_.scale_tril[:] = np.nan  # a copy: the estimator does not change
    np.testing.assert_array_equal(fitted.score_samples(iris), before)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(iris), before)
    fitted.precisions_cholesky_ *= 2  # in place
    again.precisions_cholesky_ = 2 * again.precisions_cholesky_
    changed = fitted.score_samples(iris)
    assert not np.allclose(changed, before)
    np.testing.assert_array_equal(again.score_samples(iris), changed)
    fitted.means_[0] += 1
    assert not np.allclose(fitted.score_samples(iris), changed)


def test_a_second_fit_of_the_same_padded_shape_compiles_nothing(compilations: list[str], iris: np.ndarray) -> None:
    GaussianMixture(3, random_state=0).fit(iris).score(iris)
    compilations.clear()
    GaussianMixture(3, random_state=1, n_init=2, max_iter=20, tol=1e-2, reg_covar=1e-3).fit(iris[:140]).score(iris)
    assert compilations == []
    GaussianMixture(4, random_state=1).fit(iris)
    assert compilations


def test_collapses_are_said() -> None:
    x = np.concatenate([np.zeros((10, 2)), np.random.default_rng(0).normal(3, 1, (50, 2))])
    with pytest.raises(bg.errors.CollapseError, match="ill-defined empirical covariance"):
        GaussianMixture(2, reg_covar=0, random_state=0).fit(x)
    start = {
        "means_init": [[0, 0], [3, 3]],
        "weights_init": [0.5, 0.5],
        "precisions_init": np.tile(np.eye(2), (2, 1, 1)),
    }
    with pytest.warns(ConvergenceWarning, match="A component collapsed in the last step"):
        fitted = GaussianMixture(2, reg_covar=0, **start).fit(x)
    assert not fitted.converged_
    assert np.isfinite(fitted.precisions_).all()


# With scikit-learn's tools


@pytest.mark.wrong_types
def test_scikit_learn_finds_no_fault() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its checks include fits that do not converge
        results = sklearn.utils.estimator_checks.check_estimator(GaussianMixture(), on_skip=None)
    statuses = {result["check_name"]: result["status"] for result in results}
    assert len(statuses) >= 40
    assert {name for name, status in statuses.items() if status != "passed"} <= {"check_array_api_input"}


def test_scikit_learn_is_not_needed() -> None:
    code = """
        import sys, numpy as np
        from bayes_gmm.estimators import BayesianGaussianMixture, GaussianMixture
        mixture = GaussianMixture(2, random_state=0)
        try:
            mixture.predict([[0.0]])
        except ValueError as error:
            assert "not fitted" in str(error)
        x = np.random.default_rng(0).normal(size=(50, 2))
        loaded = [name for name in sys.modules if name.split(".")[0] == "sklearn"]
        print(mixture.fit(x).predict(x).shape, BayesianGaussianMixture(), loaded)
    """
    code = "\n".join(line.strip(" ") if not line.startswith("            ") else line[8:] for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(50,) BayesianGaussianMixture() []"


@pytest.mark.slow
def test_grid_search_over_components_and_structures(iris: np.ndarray) -> None:
    grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "tied", "EEI"]}
    search = GridSearchCV(GaussianMixture(random_state=0, max_iter=500), grid, cv=3, n_jobs=1).fit(iris)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.n_features_in_ == 4


def test_in_a_pipeline_behind_a_scaler_and_pca(iris: np.ndarray) -> None:
    pipeline = make_pipeline(StandardScaler(), PCA(2), GaussianMixture(3, random_state=0, max_iter=500))
    labels = pipeline.fit_predict(iris)
    assert set(labels) == {0, 1, 2}
    assert cross_val_score(pipeline, iris, cv=3).shape == (3,)
    assert "GaussianMixture" in pipeline._repr_html_()
    assert clone(pipeline)[-1].get_params() == pipeline[-1].get_params()


def test_parameters_are_kept_shown_and_changed() -> None:
    estimator = GaussianMixture(3, covariance_type="diag", means_init=np.zeros((3, 2)))
    assert clone(estimator).get_params()["covariance_type"] == "diag"
    assert repr(GaussianMixture(3, tol=0.1)) == "GaussianMixture(n_components=3, tol=0.1)"
    assert "means_init" in repr(estimator)
    assert estimator.set_params(tol=0.5).tol == 0.5
    assert "<pre>GaussianMixture(" in estimator._repr_html_()
    with pytest.raises(ValueError, match="Invalid parameter 'n_clusters'"):
        estimator.set_params(n_clusters=2)


def test_errors_are_ours_and_scikit_learns_and_survive_a_pickle() -> None:
    with pytest.raises(NotFittedError) as caught:
        GaussianMixture().predict([[0.0]])
    assert isinstance(caught.value, bg.BayesGMMError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (bg.errors.NotFittedError, str(caught.value))


# Tables


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_frames_bring_the_names_of_their_columns(frame: type) -> None:
    faithful = bg.datasets.load("faithful")
    table = frame({name: faithful.values[:, i] for i, name in enumerate(faithful.columns)})
    fitted = GaussianMixture(2, random_state=0).fit(table)
    assert fitted.feature_names_in_.tolist() == list(faithful.columns)
    by_array = GaussianMixture(2, random_state=0).fit(faithful.values)
    np.testing.assert_array_equal(fitted.predict_proba(table), by_array.predict_proba(faithful.values))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(faithful.values)
    swapped = frame({name: faithful.values[:, i] for i, name in [*enumerate(faithful.columns)][::-1]})
    with pytest.raises(bg.DataError, match="must be in the same order"):
        fitted.predict(swapped)


def test_float32_comes_back_as_float32(iris: np.ndarray) -> None:
    single, double = (GaussianMixture(2, random_state=0).fit(iris.astype(kind)) for kind in (np.float32, np.float64))
    assert {getattr(single, name).dtype for name in LEARNT} == {np.dtype(np.float32)}
    assert single.predict_proba(iris.astype(np.float32)).dtype == np.float32
    assert single.score_samples(iris).dtype == np.float64
    np.testing.assert_allclose(single.means_, double.means_, rtol=1e-4)


def test_lists_and_vectors_are_told_apart() -> None:
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 9.0], [2.0, 2.0]]
    assert GaussianMixture().fit(rows).means_.shape == (1, 2)
    with pytest.raises(bg.DataError, match=r"Expected 2D array, got 1D array.*Reshape your data"):
        GaussianMixture().fit([1.0, 2.0, 3.0])
