"""Coordinates in which an order of the components is a rotation: densities, folds, and the odds of one weight."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.sites import constrain, disassemble, n_coordinates_of, reorder, unconstrain
from bayes_gmm.bayes.target import Target
from bayes_gmm.sampling.label_symmetry import Symmetry, constrain_symmetric, unconstrain_symmetric

pytestmark = pytest.mark.numpyro

STRUCTURES = ["full", "tied", "diag", "spherical", "EEI"]
IRIS = bg.datasets.load("iris").values[:, 1:]


def problem(covariance_type: str, prior: bg.Prior | None = None) -> tuple[Target, Symmetry]:
    found = PosteriorProblem.of(IRIS, 3, covariance_type=covariance_type, prior=prior)
    with jax.enable_x64(True):
        return found.target(), Symmetry.of(found.sites)


def some_coordinates(target: Target, size: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (n_coordinates_of(target.sites),) if size is None else (size, n_coordinates_of(target.sites))
    return rng.normal(size=shape)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_parameters_and_coordinates_are_inverse(covariance_type: str) -> None:
    target, _ = problem(covariance_type)
    with jax.enable_x64(True):
        mixture = bg.fit_em(IRIS, 3, covariance_type=covariance_type).mixture
        values = disassemble(mixture, target.sites)
        coordinates = unconstrain_symmetric(target.sites, values)
        again, _ = constrain_symmetric(target.sites, coordinates)
    for name, value in values.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_log_density_differs_from_that_of_the_other_coordinates_by_the_volume(covariance_type: str) -> None:
    """The oracle is the determinant of the map from these coordinates to those of `sites`."""
    target, _ = problem(covariance_type)
    with jax.enable_x64(True):
        at = jnp.asarray(some_coordinates(target))

        def to_others(coordinates: jax.Array) -> jax.Array:
            return unconstrain(target.sites, constrain_symmetric(target.sites, coordinates)[0])

        _, ours = constrain_symmetric(target.sites, at)
        _, theirs = constrain(target.sites, to_others(at))
        _, volume = jnp.linalg.slogdet(jax.jacobian(to_others)(at))
    assert float(ours) == pytest.approx(float(theirs + volume), abs=1e-9)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_an_order_permutes_parameters_and_keeps_lengths_and_density(covariance_type: str) -> None:
    target, symmetry = problem(covariance_type)
    at = some_coordinates(target)
    with jax.enable_x64(True):
        values, log_prior = constrain_symmetric(target.sites, jnp.asarray(at))
        for order in map(np.array, itertools.permutations(range(3))):
            moved = symmetry.reorder(at, order)
            others, other_log_prior = constrain_symmetric(target.sites, jnp.asarray(moved))
            expected = reorder(values, order)
            for name in others:
                np.testing.assert_allclose(others[name], expected[name], atol=1e-12)
            assert float(other_log_prior) == pytest.approx(float(log_prior), abs=1e-9)
            assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(at))


def test_the_fold_is_the_nearest_of_all_orders_and_the_same_for_all() -> None:
    target, symmetry = problem("full")
    points, pivot = some_coordinates(target, 20), np.random.default_rng(1).normal(size=n_coordinates_of(target.sites))
    covariance = symmetry.average(np.cov(np.random.default_rng(2).normal(size=(200, len(pivot))).T))
    precision = np.linalg.inv(covariance)
    folded = symmetry.fold(points, precision @ pivot)

    def distance(point: np.ndarray) -> float:
        return float((point - pivot) @ precision @ (point - pivot))

    for point, found in zip(points, folded, strict=True):
        others = [symmetry.reorder(point, np.array(order)) for order in itertools.permutations(range(3))]
        assert distance(found) == pytest.approx(min(map(distance, others)))
        for other in others:
            np.testing.assert_allclose(symmetry.fold(other, precision @ pivot), found, atol=1e-12)
    with jax.enable_x64(True):
        compiled = jax.jit(symmetry.fold)(jnp.asarray(points), jnp.asarray(precision @ pivot))
    np.testing.assert_allclose(compiled, folded, atol=1e-12)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_the_averaged_covariance_is_the_mean_over_all_orders(covariance_type: str) -> None:
    target, symmetry = problem(covariance_type)
    points = some_coordinates(target, 300) @ np.diag(np.linspace(0.1, 3.0, n_coordinates_of(target.sites)))
    covariance = np.cov(points.T)
    total = np.zeros_like(covariance)
    for order in itertools.permutations(range(3)):
        rows = np.broadcast_to(np.array(order), (len(covariance), 3))
        total += symmetry.reorder(symmetry.reorder(covariance, rows).T.copy(), rows)
    averaged = symmetry.average(covariance)
    np.testing.assert_allclose(averaged, total / 6, atol=1e-12)
    assert not np.allclose(averaged, covariance)


def test_a_prior_that_names_components_has_one_order() -> None:
    named = bg.Prior(means=dist.Normal(np.arange(3.0)[:, None], 1.0))
    target, symmetry = problem("full", named)
    points = some_coordinates(target, 20)
    assert not symmetry.exchangeable
    assert symmetry.log_orders == 0
    np.testing.assert_allclose(symmetry.fold(points, points[0]), points, atol=1e-12)
    np.testing.assert_array_equal(symmetry.average(np.cov(points.T)), np.cov(points.T))


def test_one_component_is_taken_out_and_put_back() -> None:
    target, symmetry = problem("full")
    with jax.enable_x64(True):
        at = jnp.asarray(some_coordinates(target))
        block = symmetry.component(at, 1)
        np.testing.assert_allclose(symmetry.with_component(at, 1, block), at, atol=1e-12)
        changed = symmetry.with_component(at, 1, block + 0.3)
        before, after = (jax.device_get(constrain_symmetric(target.sites, part)[0]) for part in (at, changed))
    odds = [float(values["weights"][1] / (1 - values["weights"][1])) for values in (before, after)]
    assert odds[1] == pytest.approx(odds[0] * np.exp(0.3))
    np.testing.assert_allclose(after["weights"][0] / after["weights"][2], before["weights"][0] / before["weights"][2])
    np.testing.assert_allclose(after["means"][[0, 2]], before["means"][[0, 2]])


def test_for_fixed_proportions_the_density_of_the_log_odds_is_that_of_the_coordinates() -> None:
    """The volume of (log odds, proportions of the others) in log-ratios does not depend on the log odds."""
    basis = Symmetry.of(PosteriorProblem.of(IRIS, 3, covariance_type="full", prior=None).sites).basis

    def log_ratios(log_odds: jax.Array, share: jax.Array) -> jax.Array:
        rest = -jax.nn.softplus(log_odds)
        logs = jnp.stack([rest + jnp.log(share), -jax.nn.softplus(-log_odds), rest + jnp.log1p(-share)])
        return logs @ basis

    with jax.enable_x64(True):
        volumes = []
        for log_odds in (-8.0, -1.0, 0.5, 4.0):
            jacobian = jax.jacobian(log_ratios, (0, 1))(jnp.asarray(log_odds), jnp.asarray(0.3))
            volumes.append(float(jnp.abs(jnp.linalg.det(jnp.stack(jacobian, 1)))))
    np.testing.assert_allclose(volumes, volumes[0], rtol=1e-10)
