"""`missing="drop"`: the remedy that the error about a missing cell names, in every function that takes a table."""

import jax
import numpy as np
import pandas as pd
import pytest

import bayes_gmm as bg
from bayes_gmm.estimators import GaussianMixture
from bayes_gmm.io.rows import row_weights

pytestmark = pytest.mark.numpyro

FULL = bg.datasets.load("faithful").values[::3]
X = FULL.copy()
X[[4, 17], [1, 0]] = np.nan
KEPT = np.isfinite(X).all(1)
COMPLETE = FULL[KEPT]
SAID = "left out: 2 of 91 rows with missing cells (x1 1, x2 1), rows 4, 17 counted from 0"


VERBS = {
    "fit_em": lambda x, **missing: bg.fit_em(x, 2, n_starts=4, **missing).mixture,
    "fit_gradient": lambda x, **missing: bg.fit_gradient(x, 1, **missing).mixture,
    "fit_laplace": lambda x, **missing: bg.fit_laplace(x, 1, num_draws=20, **missing).draws,
    "fit_stream": lambda x, **missing: bg.fit_stream([x, x[::-1]], 2, **missing).mixture,
    "select_em": lambda x, **missing: bg.select_em(x, [1, 2], progress=False, n_starts=4, **missing).best.mixture,
    "likelihood_ratio_test": lambda x, **missing: (
        bg.likelihood_ratio_test(x, 1, n_replicates=1, progress=False, n_starts=4, **missing).statistic
    ),
    "prior_predictive": lambda x, **missing: bg.prior_predictive(x, 2, num_draws=2, **missing)["prior"][
        "means"
    ].to_numpy(),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_missing_cell_can_be_refused_and_the_remedy_gives_the_answer_of_the_complete_rows(verb):
    with pytest.raises(bg.DataError, match="row 4") as refused:
        verb(X, missing="refuse")
    assert 'missing="drop"' in refused.value.remedy
    assert jax.tree.all(jax.tree.map(np.array_equal, verb(X, missing="drop"), verb(COMPLETE)))
    with pytest.raises(bg.ArgumentError, match="missing is 'impute'"):
        verb(X, missing="impute")


def test_a_stream_of_rows_refuses_what_it_cannot_integrate():
    with pytest.raises(bg.DataError, match="row 4"):
        bg.fit_stream([X], 1)
    with pytest.raises(bg.ArgumentError, match=r"missing is .integrate.*refuse.*drop"):
        bg.fit_stream([X], 1, missing="integrate")


def test_fit_nuts_passes_it_on_to_the_problem_that_fit_laplace_has_too():
    with pytest.raises(bg.DataError, match="row 4"):
        bg.fit_nuts(X, 1, missing="refuse", progress=False)
    with pytest.raises(bg.ArgumentError, match="missing is 'impute'"):
        bg.fit_nuts(X, 1, missing="impute", progress=False)


def test_what_was_left_out_is_said():
    fit = bg.fit_em(X, 1, missing="drop")
    assert fit.table.left_out == (SAID,)
    assert SAID in repr(fit)
    np.testing.assert_array_equal(fit.table.kept_rows, KEPT)
    stream = bg.fit_stream([X, X[:10]], 1, missing="drop")
    assert (stream.n_points, stream.n_left_out) == (98, 3)
    assert "3 rows with missing cells left out" in repr(stream)


def test_weights_labels_and_starts_of_all_rows_lose_those_of_the_rows_that_are_left_out():
    weights, labels = np.linspace(1, 2, len(X)), np.where(FULL[:, 1] > 65, 1, 0)
    labels[20:] = -1
    start = np.where(FULL[:, 0] > 3, 1, 0)
    given = {"sample_weight": weights, "labels": labels, "start": start}
    by_hand = bg.fit_em(COMPLETE, 2, **{name: values[KEPT] for name, values in given.items()})
    dropped = bg.fit_em(X, 2, missing="drop", **given)
    assert dropped.log_likelihood == by_hand.log_likelihood
    shifted = bg.fit_em(COMPLETE, 2, **{name: values[:-2] for name, values in given.items()})
    assert abs(shifted.log_likelihood - by_hand.log_likelihood) > 0.01
    shares = np.eye(2)[start]
    assert bg.fit_em(X, 2, missing="drop", start=shares).log_likelihood == pytest.approx(
        bg.fit_em(COMPLETE, 2, start=shares[KEPT]).log_likelihood, rel=1e-12
    )
    table = bg.as_table(X, missing="drop")
    np.testing.assert_array_equal(row_weights(weights, table.n_points, table), weights[KEPT])
    np.testing.assert_array_equal(row_weights(weights[KEPT], table.n_points, table), weights[KEPT])
    with pytest.raises(bg.ArgumentError, match=r"sample_weight has shape \(90,\)"):
        bg.fit_em(X, 2, missing="drop", sample_weight=weights[1:])


def test_a_file_and_a_saved_fit_tell_the_rows(tmp_path):
    pd.DataFrame(X, columns=["a", "b"]).to_csv(tmp_path / "gaps.csv", index=False)
    with pytest.warns(bg.DataWarning, match="2 of 91 rows"):
        table = bg.read_table(tmp_path / "gaps.csv", missing="drop")
    np.testing.assert_array_equal(table.kept_rows, KEPT)
    assert bg.as_table(COMPLETE).kept_rows is None
    bg.fit_em(table, 1).save(tmp_path / "fit.nc")
    loaded = bg.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(loaded.table.kept_rows, KEPT)
    assert loaded.table.left_out == table.left_out


def test_an_estimator_takes_a_table_without_the_rows_with_gaps():
    table = bg.as_table(pd.DataFrame(X, columns=["a", "b"]), missing="drop")
    fitted = GaussianMixture(2, random_state=0).fit(table)
    np.testing.assert_array_equal(fitted.means_, GaussianMixture(2, random_state=0).fit(COMPLETE).means_)
    assert fitted.feature_names_in_.tolist() == ["a", "b"]
    assert np.abs(GaussianMixture(2, random_state=0).fit(X).means_ - fitted.means_).max() > 1e-3  # gaps are kept
