"""Whatever the table: a fit that is one, or a named error; drawn by hypothesis over sizes, scales, ties and weights."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import event, given, settings, strategies as st
from numpy.random import Generator, default_rng

import bayes_gmm as bg
from bayes_gmm.errors import BayesGMMError, ConvergenceWarning, FitWarning
from bayes_gmm.estimators import GaussianMixture

# A program is compiled for each of these shapes and structures: few, so that the time goes into tables.
SHAPES = [(1, 1, 1), (7, 1, 2), (30, 2, 1), (30, 2, 3), (60, 2, 2)]
MORE_SHAPES = [*itertools.product([1, 2, 5, 12, 33, 60], [1, 2, 4], [1, 2, 5])]
STRUCTURES = ["full", "spherical"]
MORE_STRUCTURES = ["full", "tied", "diag", "spherical", "EII", "VEI", "EVE", "VEV"]
EXPONENTS = [0, 0, 0, 6, -6, 60, -60, 139, -139]
OFFSETS = [0, 0, 0, 1e2, 1e5, 1e9, 1e12]


def clusters(rng: Generator, n_points: int, n_features: int) -> np.ndarray:
    """Points of a few clusters of different widths, some of them narrow, some points far away."""
    labels = rng.integers(3, size=n_points)
    centers = rng.normal(size=(3, n_features)) * rng.choice([0, 1, 10, 1e4])
    widths = 10.0 ** rng.uniform(-3, 1, size=(3, 1))
    return centers[labels] + widths[labels] * rng.normal(size=(n_points, n_features))


def tied(rng: Generator, x: np.ndarray) -> np.ndarray:
    """Rounded values, repeated rows, or neither."""
    kind = rng.integers(4)
    if kind == 0:
        return np.round(x)
    if kind == 1:
        return x[rng.integers(max(len(x) // 3, 1), size=len(x))]
    if kind == 2:
        return np.where(rng.random(x.shape) < 0.5, np.round(x, 1), x)
    return x


@st.composite
def tables(draw: st.DrawFn, n_points: int, n_features: int) -> np.ndarray:
    rng = default_rng(draw(st.integers(0, 2**32 - 1)))
    x = tied(rng, clusters(rng, n_points, n_features))
    x = x + draw(st.sampled_from(OFFSETS)) * max(x.std(), 1e-3)
    scales = draw(st.lists(st.sampled_from(EXPONENTS), min_size=n_features, max_size=n_features))
    x = x * 10.0 ** np.array(scales)
    kind = draw(st.sampled_from([np.float64, np.float64, np.float32, np.int64]))
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(kind)


@st.composite
def weights_of(draw: st.DrawFn, n_points: int) -> np.ndarray | None:
    rng = default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = {
        "none": None,
        "zeros": rng.integers(3, size=n_points),
        "counts": rng.integers(1, 9, size=n_points),
        "ratios": 10.0 ** rng.uniform(-12, 12, size=n_points),
        "tiny": np.full(n_points, 1e-100),
        "huge": np.full(n_points, 1e100),
    }
    return kinds[draw(st.sampled_from(["none", "none", *kinds]))]


def answered(call):
    """The answer and whether it came with a warning of ours; None where a named error was raised. Nothing else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = call()
        except BayesGMMError:
            return None, True
    assert {warning.category for warning in caught} <= {FitWarning, ConvergenceWarning}, [
        str(w.message) for w in caught
    ]
    return answer, bool(caught)


def check_fit(fit: bg.EMFit, warned: bool) -> None:
    usable = fit.status in (bg.EMStatus.CONVERGED, bg.EMStatus.MAX_STEPS)
    assert warned == (fit.status is not bg.EMStatus.CONVERGED)
    if not usable:
        with pytest.raises(BayesGMMError, match=fit.status.name):
            fit.check()
        return
    mixture, x, total = fit.mixture, fit.table.values, fit.sample_weight.sum()
    assert np.isfinite(fit.log_likelihood)
    assert mixture.weights.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_array_equal(mixture.covariances, mixture.covariances.mT)
    assert np.isfinite(mixture.means).all()
    assert (np.diagonal(mixture.scale_tril, axis1=1, axis2=2) > 0).all()
    np.testing.assert_allclose(fit.responsibilities().sum(1), 1, atol=1e-9)
    # The kernel's price is cancellation: eps |z|^2 over the squared width of the narrowest component (`kernel`).
    farthest = (fit.problem.scaling.points_to_unit(x) ** 2).sum(1).max()
    narrowest = np.linalg.svd(fit.problem.scaling.to_unit(mixture).scale_tril, compute_uv=False).min()
    rounding = total * max(1e-9, np.finfo(float).eps * farthest / narrowest**2)
    assert (np.diff(fit.path) >= -rounding).all()
    summed = fit.sample_weight @ mixture.log_prob(x)
    assert fit.log_likelihood == pytest.approx(summed, rel=1e-9, abs=1e-9 * total)


def check_em(data: st.DataObject, shapes: list, structures: list) -> None:
    n_points, n_features, n_components = data.draw(st.sampled_from(shapes))
    x, weights = data.draw(tables(n_points, n_features)), data.draw(weights_of(n_points))
    options = {"covariance_type": data.draw(st.sampled_from(structures)), "sample_weight": weights}
    fit, warned = answered(lambda: bg.fit_em(x, n_components, n_starts=4, max_steps=200, **options))
    event("an error" if fit is None else fit.status.name)
    if fit is not None:
        check_fit(fit, warned)


def check_estimator(data: st.DataObject, shapes: list, structures: list) -> None:
    n_points, n_features, n_components = data.draw(st.sampled_from(shapes))
    x, weights = data.draw(tables(n_points, n_features)), data.draw(weights_of(n_points))
    kind = data.draw(st.sampled_from(structures))
    mixture = GaussianMixture(n_components, covariance_type=kind, random_state=0)
    fitted, warned = answered(lambda: mixture.fit(x, sample_weight=weights))
    event("an error" if fitted is None else "a fit")
    if fitted is None:
        return
    assert warned == (not mixture.converged_)
    assert mixture.weights_.sum() == pytest.approx(1, abs=1e-5)
    assert np.isfinite(mixture.means_).all()
    assert np.isfinite(mixture.lower_bound_)
    assert np.isfinite(mixture.score_samples(x)).all()
    np.testing.assert_allclose(mixture.predict_proba(x).sum(1), 1, atol=1e-5)


def check_moments(data: st.DataObject, exponent: int) -> None:
    K, D = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    rng = default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = 10.0**exponent
    factors = np.tril(rng.normal(size=(K, D, D)), -1) + np.eye(D) * rng.uniform(0.5, 2, size=(K, D, 1))
    weights, means = rng.dirichlet(np.ones(K)), scale * rng.normal(size=(K, D))
    covariances = scale**2 * (factors @ factors.mT)
    mixture = bg.Mixture.from_moments(weights, means, covariances)
    np.testing.assert_allclose(mixture.weights, weights, rtol=1e-12)
    np.testing.assert_array_equal(mixture.means, means)
    np.testing.assert_allclose(mixture.covariances, covariances, rtol=1e-9, atol=1e-12 * scale**2)
    spoils = {
        "sum": (weights * 1.1, means, covariances),
        "sign": (weights - 1, means, covariances),
        "NaN": (weights, means * np.nan, covariances),
        "indefinite": (weights, means, -covariances),
        "lopsided": (weights, means, covariances + scale**2 * np.triu(np.ones((D, D)), 1)),
        "shape": (weights, means[:, :-1], covariances),
    }
    for name, spoiled in spoils.items():
        if not (name == "lopsided" and D == 1):
            with pytest.raises(BayesGMMError):
                bg.Mixture.from_moments(*spoiled)


few = settings(derandomize=True, deadline=None, max_examples=80, database=None)
many = settings(derandomize=True, deadline=None, max_examples=1500, database=None)


@few
@given(st.data())
def test_em_gives_a_valid_fit_or_a_named_error(data):
    check_em(data, SHAPES, STRUCTURES)


@few
@given(st.data())
def test_the_estimator_gives_a_valid_fit_or_a_named_error(data):
    check_estimator(data, SHAPES, STRUCTURES)


@few
@given(st.data(), st.sampled_from(EXPONENTS))
def test_valid_moments_come_back_and_others_are_refused(data, exponent):
    check_moments(data, exponent)


@pytest.mark.slow
@many
@given(st.data())
def test_em_gives_a_valid_fit_or_a_named_error_for_more_shapes_and_structures(data):
    check_em(data, MORE_SHAPES, MORE_STRUCTURES)


@pytest.mark.slow
@many
@given(st.data())
def test_the_estimator_gives_a_valid_fit_or_a_named_error_for_more_shapes_and_structures(data):
    check_estimator(data, MORE_SHAPES, MORE_STRUCTURES)
