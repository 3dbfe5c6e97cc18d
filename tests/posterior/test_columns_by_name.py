"""Points that come with names are put into the order of the fit, or refused, by every method that takes points."""

import pickle

import numpy as np
import pandas as pd
import pytest

import bayes_gmm as bg
from bayes_gmm.errors import DataError

pytestmark = pytest.mark.numpyro

X = bg.datasets.load("faithful")
FRAME = pd.DataFrame(X.values[:40], columns=list(X.columns))
SWAPPED = FRAME[["waiting", "eruptions"]]

METHODS = {
    "posterior.log_prob": lambda mle, posterior, x: posterior.log_prob(x),
    "posterior.predict": lambda mle, posterior, x: posterior.predict(x),
    "posterior.responsibilities": lambda mle, posterior, x: posterior.responsibilities(x),
    "posterior.responsibilities_sd": lambda mle, posterior, x: posterior.responsibilities_sd(x),
    "posterior.density": lambda mle, posterior, x: posterior.density(x).upper,
    "posterior.log_likelihoods": lambda mle, posterior, x: posterior.log_likelihoods(x),
    "posterior.co_clustering": lambda mle, posterior, x: posterior.co_clustering(x),
    "draws.log_joint": lambda mle, posterior, x: posterior.draws.log_joint(x)[0, :5],
    "compare, x_test": lambda mle, posterior, x: bg.compare(mle, posterior, x_test=x).scores.held_out.posterior,
    "mixture.log_prob": lambda mle, posterior, x: mle.mixture.log_prob(x),
    "mixture.predict": lambda mle, posterior, x: mle.mixture.predict(x),
    "mixture.log_joint": lambda mle, posterior, x: mle.mixture.log_joint(x),
    "permuted": lambda mle, posterior, x: mle.mixture.permute([1, 0]).responsibilities(x),
    "marginal": lambda mle, posterior, x: mle.mixture.marginal([0]).log_prob(x[["eruptions"]]),
    "pickled": lambda mle, posterior, x: pickle.loads(pickle.dumps(mle.mixture)).log_prob(x),
    "stream": lambda mle, posterior, x: bg.fit_stream([X.values[:136], X.values[136:]], 1).mixture.means,
}
OTHERS = {
    "missing": (FRAME[["eruptions"]], "'waiting' missing"),
    "unexpected": (FRAME.assign(height=1.0), "'height' unexpected"),
    "renamed": (FRAME.rename(columns={"waiting": "pause"}), "'waiting' missing; 'pause' unexpected"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_columns_in_another_order_give_the_same_answer(method, faithful_mle, faithful_posterior) -> None:
    expected = method(faithful_mle, faithful_posterior, FRAME)
    np.testing.assert_array_equal(method(faithful_mle, faithful_posterior, SWAPPED), expected)


@pytest.mark.parametrize(("frame", "found"), OTHERS.values(), ids=OTHERS)
def test_a_missing_or_unexpected_column_is_named(frame, found, faithful_mle, faithful_posterior) -> None:
    asked = (faithful_posterior.log_prob, faithful_posterior.predict, faithful_posterior.density)
    for ask in (*asked, faithful_mle.mixture.predict, faithful_posterior.draws.log_prob):
        with pytest.raises(DataError, match=found) as caught:
            ask(frame)
        assert "'eruptions', 'waiting'" in caught.value.expected


def test_arrays_and_numbered_columns_have_no_names_to_compare(faithful_mle) -> None:
    expected = faithful_mle.mixture.log_prob(FRAME)
    for unnamed in (FRAME.to_numpy(), bg.as_table(FRAME.to_numpy()), FRAME.set_axis([0, 1], axis=1)):
        np.testing.assert_array_equal(faithful_mle.mixture.log_prob(unnamed), expected)
    without_names = bg.fit_em(X.values, 1, n_starts=1).mixture
    np.testing.assert_array_equal(without_names.log_prob(FRAME), without_names.log_prob(FRAME.to_numpy()))
    assert not np.allclose(without_names.log_prob(SWAPPED), without_names.log_prob(FRAME))


def test_names_survive_saving_and_the_estimator(tmp_path, faithful_mle) -> None:
    faithful_mle.save(tmp_path / "mle.nc")
    expected = faithful_mle.mixture.log_prob(FRAME)
    np.testing.assert_array_equal(bg.load(tmp_path / "mle.nc").mixture.log_prob(SWAPPED), expected)
    estimator = bg.estimators.GaussianMixture(2, random_state=0).fit(FRAME)
    np.testing.assert_array_equal(estimator.mixture_.log_prob(SWAPPED), estimator.mixture_.log_prob(FRAME))


def test_a_regression_takes_its_values_by_name() -> None:
    table = bg.Table(np.random.default_rng(3).normal(size=(60, 3)), ("a", "b", "c"))
    mixture = bg.fit_em(table, 1).mixture
    given = pd.DataFrame({"a": [0.1, 2.0], "c": [1.0, -1.0]})
    expected = mixture.condition([0, 2], given)
    assert expected.columns == ("b",)
    np.testing.assert_array_equal(mixture.condition([0, 2], given[["c", "a"]]).mean, expected.mean)
    with pytest.raises(DataError, match="'c' missing; 'b' unexpected"):
        mixture.condition([0, 2], given.rename(columns={"c": "b"}))
