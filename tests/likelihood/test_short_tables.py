"""Short tables in NumPy: mixtures of a batch as by the compiled program, and EM that ends where the compiled does."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.likelihood import complete_rows, linear_form, short_tables
from bayes_gmm.likelihood.expansion import expand, in_numpy
from bayes_gmm.likelihood.linear_form import natural
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.objective.problem import Problem


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(2)
    return rng.normal(size=(37, 2)) * [1.0, 2.0], rng.integers(0, 3, 37).astype(float)


def mixtures(count):
    rng = np.random.default_rng(5)
    roots = rng.normal(size=(count, 3, 2, 2))
    weights = rng.dirichlet(np.ones(3), count)
    covariances = roots @ roots.mT + 0.3 * np.eye(2)
    return Mixture.from_moments(weights, rng.normal(size=(count, 3, 2)), covariances)


def one(batch, number):
    return jax.tree.map(lambda leaf: leaf[number], batch)


@pytest.mark.parametrize("assignment", [linear_form.soft, linear_form.hard])
def test_batch_has_the_statistics_of_the_compiled_form(rows, assignment):
    batch, blocks = mixtures(4), complete_rows.prepare(*rows)
    value, statistics = short_tables.prepare(*rows).expected_at(batch, assignment)
    assert isinstance(value, np.ndarray)
    assert isinstance(statistics, np.ndarray)
    for number in range(4):
        expected = blocks.expected_at(one(batch, number), assignment)
        np.testing.assert_allclose(value[number], expected.value, rtol=1e-13)
        np.testing.assert_allclose(statistics[number], expected.statistics, rtol=1e-12, atol=1e-12)


def test_curvature_scores_and_volume_are_those_of_the_compiled_form(rows):
    eta, blocks, short = natural(one(mixtures(1), 0)), complete_rows.prepare(*rows), short_tables.prepare(*rows)
    np.testing.assert_allclose(short.curvature(eta), blocks.curvature(eta), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(short.score_products(eta), blocks.score_products(eta), rtol=1e-11, atol=1e-11)
    scaling = Scaling.whitening(*rows)
    assert short.log_volume(scaling) == pytest.approx(float(blocks.log_volume(scaling)), rel=1e-13)
    assert short.log_likelihood(eta) == pytest.approx(float(blocks.log_likelihood(eta)), rel=1e-13)


def test_expansion_predicts_the_likelihood_nearby_to_third_order(rows):
    data, rng = complete_rows.prepare(*rows), np.random.default_rng(0)
    eta, direction = natural(one(mixtures(1), 0)), rng.normal(size=(3, 6))
    value, statistics, curvature = expand(data, eta)
    errors = []
    for size in (1e-2, 1e-3):
        change = size * direction
        predicted = value + (statistics * change).sum() + 0.5 * np.einsum("kf,kflg,lg->", change, curvature, change)
        errors.append(abs(predicted - float(data.log_likelihood(eta + change))))
    assert errors[0] > 1e-6
    assert errors[1] < 2e-3 * errors[0]


def test_long_tables_stay_compiled(rows):
    x = np.tile(rows[0], (4000, 1))
    assert isinstance(in_numpy(complete_rows.prepare(*rows)), short_tables.ShortTable)
    assert isinstance(in_numpy(complete_rows.prepare(x, np.ones(len(x)))), complete_rows.CompleteRows)


CASES = {
    "full": {},
    "VEV": {"covariance_type": "VEV"},
    "weights and prior": {"prior": bg.ConjugatePrior(), "sample_weight": np.arange(150) % 3 + 1.0},
    "labels and fixed": {
        "labels": np.where(np.arange(150) % 50 < 10, np.arange(150) // 50, -1),
        "fixed": {"weights": "equal"},
    },
    "hard": {"assignment": "hard", "covariance_type": "tied"},
}


@pytest.mark.parametrize("case", CASES)
def test_em_in_numpy_ends_where_the_compiled_program_does(monkeypatch, case):
    x = bg.datasets.load("iris")
    fits = []
    for short in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(Problem, "is_short", property(lambda problem, short=short: short))
            fits.append(bg.fit_em(x, 3, n_starts=6, seed=1, **CASES[case]))
    mine, compiled = fits
    np.testing.assert_array_equal(mine.start_statuses, compiled.start_statuses)
    np.testing.assert_allclose(mine.start_log_likelihoods, compiled.start_log_likelihoods, rtol=1e-8)
    np.testing.assert_allclose(mine.mixture.means, compiled.mixture.means, rtol=1e-6)
    assert mine.log_likelihood == pytest.approx(compiled.log_likelihood, rel=1e-11)


def test_the_case_is_short():
    """The control: without a patch, iris is fitted in NumPy, and a hundred times as long a table is not."""
    x = bg.datasets.load("iris")
    problem = Problem.of(x, 3)
    assert problem.is_short
    assert not replace(problem, table=bg.as_table(np.tile(x.values, (100, 1)))).is_short
