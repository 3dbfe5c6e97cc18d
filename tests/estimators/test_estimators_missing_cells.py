"""scikit-learn's interface takes rows with gaps: the fit is the maximum that fit_em finds, and so are predictions."""

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.estimators import GaussianMixture

FAITHFUL, N = bg.datasets.load("faithful").values, np.arange(272)
X = FAITHFUL.copy()
X[N % 5 == 0, 1] = np.nan
X[(N % 7 == 3) & (N % 5 != 0), 0] = np.nan


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_fit_is_the_maximum_of_the_likelihood_of_the_seen_cells(covariance_type):
    options = {"tol": 1e-11, "reg_covar": 0, "max_iter": 2000, "random_state": 0}
    fitted = GaussianMixture(2, covariance_type=covariance_type, **options).fit(X)
    fit = bg.fit_em(X, 2, covariance_type=covariance_type, n_starts=4)
    assert 272 * fitted.score(X) == pytest.approx(fit.log_likelihood, abs=1e-5)
    assert 272 * fitted.lower_bound_ == pytest.approx(fit.log_likelihood, abs=1e-5)
    np.testing.assert_array_equal(np.bincount(fitted.predict(X)).max(), np.bincount(fit.mixture.predict(X)).max())
    assert abs(272 * fitted.score(FAITHFUL) - fit.log_likelihood) > 100  # other rows have another likelihood


def test_scikit_learn_is_told_and_infinity_and_streams_are_refused():
    assert GaussianMixture().__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(bg.DataError, match="holds inf in row 0"):
        GaussianMixture(2).fit(np.where(np.isnan(X), np.inf, X))
    with pytest.raises(bg.DataError, match="holds nan in row 0"):
        GaussianMixture(2).partial_fit(X)


def test_complete_rows_are_fitted_as_before():
    """The log-likelihood that scikit-learn 1.7 gives with the same options."""
    from sklearn.mixture import GaussianMixture as Theirs

    options = {"tol": 1e-6, "random_state": 0, "max_iter": 500}
    ours, theirs = GaussianMixture(2, **options).fit(FAITHFUL), Theirs(2, **options).fit(FAITHFUL)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-8)
