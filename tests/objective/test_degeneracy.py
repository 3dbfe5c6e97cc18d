"""What ends a fit is named: the columns, values and rows that leave a component without a covariance."""

import warnings

import numpy as np
import pandas as pd
import pytest

import bayes_gmm as bg
from bayes_gmm.estimators import GaussianMixture
from bayes_gmm.objective.degeneracy import degenerate_groups

RNG = np.random.default_rng(3)
CODE = np.repeat([0.0, 3.0], 30)
HEIGHT = RNG.normal(size=60) + CODE
FRAME = pd.DataFrame({"height": HEIGHT, "mass": RNG.normal(size=60), "code": CODE})
NAMED = r"holds (\d+ rows|rows? [\d, ]+), in which 'code' is [03]"
STARTS = CODE.astype(int) // 3
SHARES = np.eye(2)[STARTS]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.s_[:30], "Component 0 holds 30 rows, in which 'code' is 0."),
        (np.s_[4:6], "Component 0 holds rows 4, 5, in which 'code' is 0."),
        (np.s_[7:8], "Component 0 holds only row 7 for 3 columns."),
        (np.s_[29:31], "Component 0 holds only rows 29, 30 for 3 columns."),
        (np.s_[:0], "Component 0 has no row that it claims."),
    ],
)
def test_a_group_of_rows_without_a_covariance_is_named(rows, said):
    shares = np.tile([0.0, 1.0], (60, 1))
    shares[rows] = [1.0, 0.0]
    assert said in degenerate_groups(shares, FRAME.to_numpy(), list(FRAME))


def test_columns_that_depend_on_each_other_within_a_group_only_are_named():
    x = FRAME.to_numpy().copy()
    x[:30, 2] = x[:30, 0] - 2 * x[:30, 1]
    x[30:, 2] = RNG.normal(size=30)
    (said,) = degenerate_groups(SHARES, x, list(FRAME))
    assert said.startswith("Component 0 holds 30 rows, in which the columns 'mass', ")
    assert {"'height'", "'code'", "'mass'"} <= set(said.replace(",", " ").split())
    x[3, 2] += 0.1
    assert degenerate_groups(SHARES, x, list(FRAME)) == ()


def test_a_gradient_that_collapsed_names_them():
    start = bg.Mixture.from_moments(
        [0.5, 0.5], [[0.0, 0.0, 0.0], [3.0, 0.0, 3.0]], np.tile(np.diag([1.0, 1.0, 0.1]), (2, 1, 1))
    )
    with pytest.warns(bg.FitWarning, match=NAMED):
        fit = bg.fit_gradient(FRAME, 2, start=start)
    assert fit.status.failed
    with pytest.raises(bg.FitError, match=NAMED):
        fit.check()


def test_a_stream_that_collapsed_names_them_and_the_batch():
    rng = np.random.default_rng(5)
    first = pd.DataFrame(rng.normal(size=(200, 2)) + np.repeat([[0, 0], [9, 9]], 100, axis=0), columns=["a", "b"])
    second = first[100:].assign(b=lambda frame: np.where(frame.index == 150, -9.0, frame["b"]))
    flat = first.assign(b=np.where(np.arange(200) < 100, 0.0, first["b"]))
    stream = [first, *[flat] * 300]
    with pytest.warns(bg.FitWarning, match=r"In the next batch: Component 0 holds 100 rows, in which 'b' is 0\."):
        fit = bg.fit_stream(stream, 2)
    with pytest.raises(bg.FitError, match=r"in which 'b' is 0\."):
        fit.check()
    assert bg.fit_stream([first, second], 2).degeneracies == ()


def test_an_estimator_that_collapsed_names_them():
    with pytest.raises(bg.errors.CollapseError, match=NAMED):
        GaussianMixture(2, reg_covar=0, random_state=0).fit(FRAME)
    with pytest.raises(bg.errors.FitError, match=NAMED):
        GaussianMixture(2, random_state=0).partial_fit(FRAME)


def test_an_estimator_that_collapses_on_the_way_names_them_in_its_warning():
    x = np.concatenate([RNG.normal(size=(40, 1)), np.full((6, 1), 9.0)])
    frame = pd.DataFrame(x, columns=["depth"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GaussianMixture(
            2, reg_covar=0, random_state=0, means_init=[[0.0], [9.0]], precisions_init=[[[1.0]], [[1.0]]]
        ).fit(frame)
    said = " ".join(str(warning.message) for warning in caught)
    assert "Component 1 holds rows 40, 41, 42, 43, 44, 45, in which 'depth' is 9." in said


def test_what_else_ends_without_an_answer_names_a_few_of_many():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selection = bg.select_em(FRAME, [20], progress=False, n_starts=2)
    with pytest.raises(bg.FitError, match=r"All 1 fits collapsed\. Component 0 holds .* more components\. Expected"):
        selection.best  # noqa: B018
    with pytest.raises(bg.FitError, match=r"does not determine all parameters\. Component 0 holds"):
        selection.fits[20, "full"].errors()
    with pytest.raises(bg.FitError, match=r"EM on the first batch of 60 points ended COLLAPSED\. Component 0 holds"):
        bg.fit_stream([FRAME], 20)


def test_a_class_code_among_the_measurements_is_named():
    iris = bg.datasets.load("iris")
    code = np.unique(iris.labels, return_inverse=True)[1].astype(float)
    table = bg.Table(np.column_stack([iris.values, code]), (*iris.columns, "species_code"))
    with pytest.warns(bg.FitWarning, match=r"Component \d holds \d+ rows, in which 'species_code' is [012]"):
        fit = bg.fit_em(table, 3, n_starts=2)
    with pytest.raises(bg.FitError, match="species_code"):
        fit.check()
