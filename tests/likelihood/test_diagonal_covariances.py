"""Diagonal covariances: fewer statistics, of which every number is that of the full ones."""

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.core.linalg import diagonal_matrices
from bayes_gmm.likelihood import complete_rows, linear_form, short_tables
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.objective.problem import Problem

N_COMPONENTS, N_POINTS = 3, 300


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def rows(n_features):
    rng = np.random.default_rng(n_features)
    return rng.normal(size=(N_POINTS, n_features)), rng.integers(0, 3, N_POINTS).astype(float)


def uncorrelated(n_features):
    rng = np.random.default_rng(5)
    shape = (N_COMPONENTS, n_features)
    variances = diagonal_matrices(rng.uniform(0.2, 2.0, shape))
    return Mixture.from_moments(rng.dirichlet(np.ones(N_COMPONENTS)), rng.normal(size=shape), variances)


def kept(n_features):
    """Places of [1, x, x^2] among the full statistics."""
    triangle = list(zip(*np.tril_indices(n_features), strict=True))
    squares = [1 + n_features + triangle.index((i, i)) for i in range(n_features)]
    return np.array([*range(1 + n_features), *squares])


@pytest.mark.parametrize("prepare", [complete_rows.prepare, short_tables.prepare])
@pytest.mark.parametrize("assignment", [linear_form.soft, linear_form.hard])
@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_statistics_are_some_of_the_full_ones(prepare, assignment, n_features):
    mixture, places = uncorrelated(n_features), kept(n_features)
    few, full = (prepare(*rows(n_features), diagonal=diagonal) for diagonal in (True, False))
    assert few.n_statistics == len(places) == 1 + 2 * n_features
    np.testing.assert_allclose(few.natural(mixture), full.natural(mixture)[:, places], rtol=1e-12)
    found, expected = few.expected_at(mixture, assignment), full.expected_at(mixture, assignment)
    assert float(found.value) == pytest.approx(float(expected.value), rel=1e-13)
    np.testing.assert_allclose(found.statistics, np.asarray(expected.statistics)[:, places], rtol=1e-11, atol=1e-12)


def test_moments_and_statistics_are_inverse_to_one_another():
    rng = np.random.default_rng(0)
    variances = diagonal_matrices(rng.uniform(0.2, 2.0, (N_COMPONENTS, 4)))
    moments = Moments(rng.uniform(1.0, 9.0, N_COMPONENTS), rng.normal(size=(N_COMPONENTS, 4)), variances)
    data = complete_rows.prepare(*rows(4), diagonal=True)
    for found, expected in zip(data.moments(data.statistics(moments)), moments, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("prepare", [complete_rows.prepare, short_tables.prepare])
def test_curvature_and_scores_are_some_of_the_full_ones(prepare):
    mixture, places = uncorrelated(2), kept(2)
    few, full = (prepare(*rows(2), diagonal=diagonal) for diagonal in (True, False))
    eta, of_full = np.asarray(few.natural(mixture)), np.asarray(full.natural(mixture))
    np.testing.assert_allclose(
        few.curvature(eta), np.asarray(full.curvature(of_full))[:, places][..., places], rtol=1e-10, atol=1e-9
    )
    rows_of_full = (np.arange(N_COMPONENTS)[:, None] * of_full.shape[1] + places).ravel()
    products = np.asarray(full.score_products(of_full))[np.ix_(rows_of_full, rows_of_full)]
    np.testing.assert_allclose(few.score_products(eta), products, rtol=1e-10, atol=1e-9)


LABELS = np.where(np.arange(150) % 50 < 10, np.arange(150) // 50, -1)
CASES = {
    "diag": {},
    "spherical": {"covariance_type": "spherical"},
    "VEI": {"covariance_type": "VEI"},
    "weights and prior": {"prior": bg.ConjugatePrior(), "sample_weight": np.arange(150) % 3 + 1.0},
    "labels": {"labels": LABELS},
    "held weights and a mean": {"fixed": {"weights": "equal", "means": {0: [5.0, 3.4, 1.5, 0.25]}}},
    "hard": {"assignment": "hard"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("short", [True, False])
def test_em_ends_where_it_does_with_products(monkeypatch, case, short):
    x, options = bg.datasets.load("iris"), {"covariance_type": "diag"} | CASES[case]
    monkeypatch.setattr(Problem, "is_short", property(lambda _: short))
    few = bg.fit_em(x, 3, n_starts=4, seed=1, **options)
    assert few.problem.needs_no_products
    monkeypatch.setattr(Problem, "needs_no_products", property(lambda _: False))
    full = bg.fit_em(x, 3, n_starts=4, seed=1, **options)
    np.testing.assert_allclose(few.start_log_likelihoods, full.start_log_likelihoods, rtol=1e-8)
    # Where components have names by what is held, which of two equal starts is the best is a matter of rounding.
    ends = [fit.mixture.permute(np.argsort(fit.mixture.means[:, 0])) for fit in (few, full)]
    np.testing.assert_allclose(ends[0].means, ends[1].means, rtol=1e-6)
    np.testing.assert_allclose(ends[0].covariances, ends[1].covariances, rtol=1e-5, atol=1e-12)


def test_of_a_start_with_correlations_the_variances_count():
    x = bg.datasets.load("iris")
    start = bg.fit_em(x, 3).mixture
    fit = bg.fit_em(x, 3, covariance_type="diag", start=start)
    variances = np.diagonal(start.covariances, axis1=1, axis2=2)
    begun = Mixture.from_moments(start.weights, start.means, diagonal_matrices(variances))
    assert fit.path[0] == pytest.approx(float(begun.log_prob(x.values).sum()), rel=1e-12)
    assert (np.diff(fit.path) >= -1e-9).all()


def test_held_correlations_are_respected():
    x = bg.datasets.load("faithful")
    held = np.array([[0.07, 0.4], [0.4, 34.0]])
    fit = bg.fit_em(x, 2, covariance_type="diag", fixed={"covariances": {0: held}})
    assert not fit.problem.needs_no_products
    np.testing.assert_allclose(fit.mixture.covariances[0], held, rtol=1e-9)


def test_nothing_of_the_size_of_products_is_kept_of_a_wide_table():
    x = np.random.default_rng(0).normal(size=(40, 70))
    problem = Problem.of(x, 2, covariance_type="diag")
    assert problem.objective(with_products=False).known.shape == (2, 141)
    assert problem.objective().known.shape == (2, 1 + 70 + 70 * 71 // 2)


@pytest.mark.numpyro
@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "EEI"])
def test_posterior_density_is_that_with_products(monkeypatch, covariance_type):
    from bayes_gmm.bayes.posterior_problem import PosteriorProblem
    from bayes_gmm.bayes.target import to_coordinates

    x = bg.datasets.load("iris")
    mixture = bg.fit_em(x, 2, covariance_type=covariance_type).mixture
    problem = PosteriorProblem.of(x, 2, covariance_type=covariance_type, prior=None)
    found = []
    for few in (True, False):
        monkeypatch.setattr(PosteriorProblem, "_needs_no_products", property(lambda _, few=few: few))
        target = problem.target()
        assert target.data.diagonal is few
        at = np.asarray(to_coordinates(mixture, target.sites)) + 0.1
        found.append(jax.jit(jax.value_and_grad(target.potential))(at))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-8, atol=1e-8)
