"""Gradient ascent against finite differences, and against EM, which climbs the same likelihood another way."""

import inspect

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm import datasets
from bayes_gmm.errors import ArgumentError, DataError, FitError, FitWarning
from bayes_gmm.likelihood.complete_rows import prepare
from bayes_gmm.mixture.covariance_structures import STRUCTURES
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.mixture.unconstrained import SUPPORTED, from_unconstrained, to_unconstrained
from bayes_gmm.mle import gradient_ascent
from bayes_gmm.mle.fit_gradient import fit_gradient
from bayes_gmm.mle.gradient_ascent import AscentRule, Sampling, Shape
from bayes_gmm.mle.status import EMStatus

NAMES = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}


def known_labels(name):
    table = datasets.load(name)
    return (
        (table.values[:, 0] > 3).astype(int) if name == "faithful" else np.unique(table.labels, return_inverse=True)[1]
    )


def unit_data(table, weights, structure):
    """Points in unit coordinates, as rows and in blocks."""
    scaling = Scaling.whitening(table.values, weights).keeping(structure.invariance)
    return scaling.points_to_unit(table.values), prepare(table.values, weights, scaling)


def rough_start(table, n_components):
    """Mixture at a few rows with the covariance of all: many steps away from anywhere."""
    rows = np.random.default_rng(0).choice(table.n_points, n_components, replace=False)
    covariances = np.tile(np.cov(table.values.T, ddof=0), (n_components, 1, 1))
    return Mixture.from_moments(np.full(n_components, 1 / n_components), table.values[rows], covariances)


def random_theta(structure, n_components, n_features):
    """Coordinates of a mixture some tenths away from standard normal components."""
    rng = np.random.default_rng(5)
    K, D = n_components, n_features
    size = K - 1 + K * D + structure.n_parameters(K, D)
    return 0.4 * rng.normal(size=size)


# Coordinates


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize(("n_components", "n_features"), [(1, 2), (3, 1), (3, 4)])
def test_coordinates_are_as_many_as_parameters_and_return(name, n_components, n_features):
    structure = STRUCTURES[name]
    theta = random_theta(structure, n_components, n_features)
    with jax.enable_x64(True):
        mixture = from_unconstrained(jax.numpy.asarray(theta), n_components, n_features, structure)
        np.testing.assert_allclose(to_unconstrained(mixture, structure), theta, rtol=0, atol=1e-13)
        np.testing.assert_allclose(mixture.weights.sum(), 1, rtol=1e-14)


def test_start_without_the_structure_is_brought_to_the_nearest_that_has_it(faithful, faithful_mle):
    """The M-step of the start's own covariances: for one volume and no shape, their weighted mean variance."""
    structure = STRUCTURES["EII"]
    with jax.enable_x64(True):
        theta = to_unconstrained(jax.tree.map(jax.numpy.asarray, faithful_mle.mixture), structure)
        near = jax.device_get(from_unconstrained(theta, 2, 2, structure))
    weights, covariances = faithful_mle.mixture.weights, faithful_mle.mixture.covariances
    variance = weights @ np.trace(covariances, axis1=1, axis2=2) / 2
    np.testing.assert_allclose(near.covariances, np.tile(variance * np.eye(2), (2, 1, 1)), rtol=1e-12)


@pytest.mark.parametrize("name", SUPPORTED)
def test_gradient_is_that_of_finite_differences(faithful, name):
    """The reference is the centred density, which shares nothing with the kernel or its derivative."""
    structure, shape = STRUCTURES[name], Shape(2, 2, STRUCTURES[name])
    weights = np.random.default_rng(2).integers(0, 4, 272).astype(float)
    z, data = unit_data(faithful, weights, structure)
    theta = random_theta(structure, 2, 2)

    def reference(theta):
        with jax.enable_x64(True):
            mixture = jax.device_get(from_unconstrained(jax.numpy.asarray(theta), 2, 2, structure))
        return weights @ mixture.log_prob(z)

    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(gradient_ascent.log_likelihood), static_argnums=2)(
            jax.numpy.asarray(theta), data, shape
        )
    step = 1e-5
    differences = [(reference(theta + step * e) - reference(theta - step * e)) / (2 * step) for e in np.eye(len(theta))]
    # Values near 2e3 with rounding near 1e-12, over 2e-5; and a third derivative of that size times step^2.
    np.testing.assert_allclose(slope, differences, rtol=0, atol=1e-5)
    assert np.abs(differences).min() > 1e-2  # every coordinate matters


# L-BFGS


@pytest.mark.parametrize("covariance_type", NAMES)
@pytest.mark.parametrize("name", ["faithful", pytest.param("iris", marks=pytest.mark.slow)])
def test_lbfgs_reaches_the_optimum_of_em_from_the_same_start(name, covariance_type):
    table, labels = datasets.load(name), known_labels(name)
    K = len(np.unique(labels))
    expected = bg.fit_em(table, K, covariance_type=covariance_type, start=labels, tol=1e-10)
    fit = fit_gradient(table, K, covariance_type=covariance_type, start=labels, tol=1e-9)
    assert fit.status is EMStatus.CONVERGED
    assert fit.structure.name == NAMES[covariance_type]
    np.testing.assert_allclose(fit.log_likelihood, expected.log_likelihood, rtol=0, atol=1e-6)
    spread = table.values.std(0)
    np.testing.assert_allclose(fit.mixture.weights, expected.mixture.weights, rtol=0, atol=1e-4)
    np.testing.assert_allclose(fit.mixture.means / spread, expected.mixture.means / spread, rtol=0, atol=1e-4)
    products = spread[:, None] * spread
    np.testing.assert_allclose(
        fit.mixture.covariances / products, expected.mixture.covariances / products, rtol=0, atol=1e-4
    )


def test_path_rises_and_passes_count_every_trial_of_the_line_search(faithful):
    fit = fit_gradient(faithful, 2, start=rough_start(faithful, 2))
    assert fit.path.shape == fit.passes.shape == (fit.n_steps + 1,)
    assert fit.path[-1] - fit.path[0] > 100
    assert np.diff(fit.path).min() > -1e-9
    np.testing.assert_allclose(fit.path[0], rough_start(faithful, 2).log_prob(faithful.values).sum(), rtol=1e-12)
    np.testing.assert_allclose(fit.path[-1], fit.log_likelihood, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.log_likelihood, fit.mixture.log_prob(faithful.values).sum(), rtol=1e-14)
    assert fit.passes[0] == 1
    assert np.diff(fit.passes).min() >= 1
    assert np.diff(fit.passes).max() > 1  # a search that never tries twice counts nothing
    assert 0 <= fit.remaining < 1e-8
    assert (np.diff(fit.mixture.means[:, 0]) > 0).all()


def test_loose_tol_leaves_about_as_much_to_gain(faithful, faithful_mle):
    loose, tight = (fit_gradient(faithful, 2, start=rough_start(faithful, 2), tol=tol) for tol in (1e-2, 1e-9))
    assert loose.n_steps < tight.n_steps
    # The promise is that of a model of the curvature from ten steps: right to an order of magnitude.
    assert 1e-9 < faithful_mle.log_likelihood - loose.log_likelihood < 0.1


def test_default_start_finds_the_known_fit(faithful, faithful_mle):
    fit = fit_gradient(faithful, 2)
    np.testing.assert_allclose(fit.log_likelihood, faithful_mle.log_likelihood, rtol=0, atol=1e-6)
    assert "GradientFit: 2 components, 272 points" in repr(fit)
    assert fit.check() is fit


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
def test_one_feature_and_one_component(covariance_type):
    x = datasets.load("galaxies").values
    fit = fit_gradient(x, 1, covariance_type=covariance_type)
    np.testing.assert_allclose(fit.mixture.means[0], x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(fit.mixture.covariances[0], np.var(x), rtol=1e-4)


def test_integer_weights_are_repeated_rows(faithful):
    start, weights = rough_start(faithful, 2), np.random.default_rng(1).integers(0, 4, 272)
    weighted = fit_gradient(faithful, 2, start=start, sample_weight=weights)
    repeated = fit_gradient(np.repeat(faithful.values, weights, axis=0), 2, start=start)
    np.testing.assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=0, atol=1e-7)
    np.testing.assert_allclose(weighted.path[:5], repeated.path[:5], rtol=1e-9)


# Adam


def test_adam_comes_as_near_as_its_noise_lets_it(faithful, faithful_mle):
    """Rates that fall to zero as a cosine leave a noise of a small part of a standard error.

    Were the end an average of its last passes, it would be off by sqrt(272 / (passes 272)) standard errors, hence below
    the maximum by P / 2 / passes nats: 11 / 2 / 188 = 0.03 for 200 minibatches of 256. Three times that is allowed.
    """
    fit = fit_gradient(faithful, 2, method="adam", start=known_labels("faithful"), max_steps=200, learning_rate=0.01)
    assert fit.status is EMStatus.MAX_STEPS
    assert fit.n_steps == 200
    np.testing.assert_allclose(fit.passes[-1], 200 * 256 / 272)
    assert fit.path.shape == fit.passes.shape == (101,)
    assert 0 < faithful_mle.log_likelihood - fit.log_likelihood < 0.1
    np.testing.assert_allclose(fit.path[-1], fit.log_likelihood, rtol=0, atol=1e-9)


def test_adam_climbs_from_afar_and_fewer_steps_do_not_do(faithful, faithful_mle):
    start = rough_start(faithful, 2)
    long, short = (fit_gradient(faithful, 2, method="adam", start=start, max_steps=n) for n in (2000, 20))
    assert faithful_mle.log_likelihood - long.log_likelihood < 0.1
    assert faithful_mle.log_likelihood - short.log_likelihood > 10


def test_minibatches_are_drawn_with_the_weights():
    """Frequencies of 20 000 draws are within four binomial standard errors; of weight zero there is none."""
    weights = np.array([1.0, 0.0, 3.0, 6.0, 0.0])
    points = np.pad(np.arange(5.0)[:, None], ((0, 27), (0, 0)), constant_values=-1)
    cumulative = np.pad(np.cumsum(weights), (0, 27), mode="edge")
    with jax.enable_x64(True):
        sampling = Sampling(0, points, cumulative, 1.0, 1, 1.0)
        drawn = np.asarray(gradient_ascent._draw(jax.numpy.array(3), sampling, 20_000).points).ravel()
    shares = np.array([(drawn == value).mean() for value in range(5)])
    expected = weights / 10
    assert (np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000)).all()
    assert shares[1] == shares[4] == 0
    np.testing.assert_allclose(shares.sum(), 1)


def test_same_seed_gives_the_same_fit_bit_for_bit(faithful):
    first, again, other = (
        fit_gradient(faithful, 2, method="adam", start=known_labels("faithful"), max_steps=50, seed=seed)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.path, again.path)
    np.testing.assert_array_equal(first.mixture.means, again.mixture.means)
    assert not np.array_equal(first.path, other.path)


# Ends that are no maximum


def clusters_and_a_repeated_row():
    return np.vstack([np.random.default_rng(0).normal(size=(60, 2)), np.full((30, 2), 20.0)])


def test_collapse_is_reported_and_nothing_is_nan():
    x = clusters_and_a_repeated_row()
    with pytest.warns(FitWarning, match="lbfgs ended COLLAPSED.*fewer components"):
        fit = fit_gradient(x, 2)
    assert fit.status is EMStatus.COLLAPSED
    assert np.isfinite(fit.path).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fit.mixture))
    assert fit.mixture.scales.min() > 1e-4
    with pytest.raises(FitError, match="COLLAPSED"):
        fit.check()


def test_adam_below_the_smallest_scale_is_a_collapse():
    """On its own it hardly gets there: a component narrower than a step is left again by the next one."""
    x = clusters_and_a_repeated_row()
    start = Mixture.from_moments([2 / 3, 1 / 3], [[0.0, 0.0], [20.0, 20.0]], [np.eye(2), 1e-9 * np.eye(2)])
    with pytest.warns(FitWarning, match="adam ended COLLAPSED"):
        fit = fit_gradient(x, 2, method="adam", start=start, learning_rate=1e-6)
    assert np.isfinite(fit.path).all()
    np.testing.assert_allclose(fit.mixture.means, start.means, rtol=0, atol=1e-4)


def test_steps_that_run_out_are_warned_of(faithful):
    with pytest.warns(FitWarning, match="MAX_STEPS.*raise max_steps"):
        fit = fit_gradient(faithful, 2, max_steps=2, start=rough_start(faithful, 2))
    assert fit.n_steps == 2
    assert fit.check() is fit


def test_climb_that_is_not_finite_says_so(faithful):
    _, data = unit_data(faithful, np.ones(272), STRUCTURES["VVV"])
    shape, rule = Shape(2, 2, STRUCTURES["VVV"]), AscentRule(1e-8, 10, 1e-4)
    theta = np.full(11, np.nan)
    with jax.enable_x64(True):
        climb = gradient_ascent.ascend_lbfgs(theta, data, rule, shape=shape, path_length=32)
    assert EMStatus(int(climb.status)) is EMStatus.NONFINITE


# Arguments, compilation, precision


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[({"n_components": value}, "n_components is") for value in (0, 2.0, True)],
        *[({"method": value}, "method is .*lbfgs") for value in ("sgd", "LBFGS", None)],
        *[({"batch_size": value}, "batch_size is") for value in (0, 1.5)],
        *[({"learning_rate": value}, "learning_rate is") for value in (0, -1.0, float("nan"), "fast")],
        *[({"max_steps": value}, "max_steps is") for value in (0, 10.0)],
        *[({"tol": value}, "tol is") for value in (-1e-9, float("inf"), True)],
        *[({"seed": value}, "seed is") for value in (-1, 1.5)],
        *[({"covariance_type": value}, "covariance_type is") for value in ("foo", "")],
        *[({"covariance_type": value}, "VVV, EEE, VVI, EEI, VII, EII.*fit_em") for value in ("EVE", "VEE", "EVV")],
        ({"start": "kmeans"}, "start"),
        ({"start": Mixture.from_moments([1.0], [[0.0, 0.0]], [np.eye(2)])}, "starting mixture"),
        ({"sample_weight": np.ones(271)}, "sample_weight"),
    ],
    ids=repr,
)
def test_bad_arguments_are_refused_by_name(faithful, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        inspect.unwrap(fit_gradient)(faithful, **{"n_components": 2, **arguments})


def test_tables_that_cannot_be_fitted_are_refused():
    with pytest.raises(DataError, match="nan"):
        fit_gradient([[1.0], [np.nan]], 1, missing="refuse")
    with pytest.raises(DataError, match="3 rows for 4 components"):
        fit_gradient([[1.0], [2.0], [4.0]], 4)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_second_fit_of_the_same_padded_shape_compiles_nothing(faithful, compilations, method):
    options = {"method": method, "start": rough_start(faithful, 2), "max_steps": 500, "batch_size": 64}
    fit_gradient(faithful, 2, **options)
    compilations.clear()
    other = faithful.values[:-3] * [2.0, 0.5]  # a slightly shorter table of the same padded length
    fit_gradient(other, 2, **{**options, "tol": 1e-5, "seed": 8, "learning_rate": 0.01, "max_steps": 501})
    assert compilations == []
    fit_gradient(faithful, 3, **{**options, "start": rough_start(faithful, 3)})  # the control
    assert compilations


def test_fit_leaves_jax_in_float32_and_answers_in_float64(faithful):
    fit = fit_gradient(faithful, 2)
    assert not jax.config.jax_enable_x64
    arrays = [*jax.tree.leaves(fit.mixture), fit.path, fit.passes]
    assert {(type(array), array.dtype) for array in arrays} == {(np.ndarray, np.dtype(np.float64))}
