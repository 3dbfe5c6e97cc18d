"""The resolution of columns, found from tied values; hyperplanes; and what the floor does for the posterior."""

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.resolution import resolutions
from bayes_gmm.bayes.sites import assemble, constrain, disassemble, unconstrain
from bayes_gmm.core.hyperplanes import largest_hyperplane

pytestmark = pytest.mark.numpyro

RNG = np.random.default_rng(0)
CONTINUOUS = RNG.normal(size=(300, 2))


def found(x: np.ndarray, *, correlated: bool = True) -> np.ndarray:
    return resolutions(x, np.ones(len(x)), correlated=correlated)


@pytest.mark.parametrize(("name", "expected"), [("iris", [0.1] * 4), ("galaxies", [0.0]), ("faithful", [0.016, 1.0])])
def test_resolution_of_the_bundled_tables(name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(found(bg.datasets.load(name).values), expected, rtol=1e-9)


ROUNDED = {
    "galaxies to a half": (np.round(2 * bg.datasets.load("galaxies").values) / 2, 0.5),
    "counts": (RNG.poisson(4.0, size=(200, 1)).astype(float), 1.0),
    "whole minutes": (np.round(bg.datasets.load("faithful").values[:, :1]), 1.0),
    "a third, not exact in binary": (RNG.integers(0, 30, size=(200, 1)) / 3, 1 / 3),
    "nought and one": (RNG.integers(0, 2, size=(50, 1)).astype(float), 1.0),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_columns_give_their_step(name: str) -> None:
    x, step = ROUNDED[name]
    np.testing.assert_allclose(found(x), [step], rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-9, 1e9, -3.0])
def test_the_resolution_goes_with_the_unit(unit: float) -> None:
    x = bg.datasets.load("iris").values
    np.testing.assert_allclose(found(x * unit + 1e3 * unit), found(x) * abs(unit), rtol=1e-8)


def test_no_ties_no_resolution() -> None:
    assert found(CONTINUOUS).tolist() == [0.0, 0.0]


def test_rows_of_weight_two_tie_with_themselves() -> None:
    weights = np.where(np.arange(len(CONTINUOUS)) < 100, 2.0, 1.0)
    repeated = np.concatenate([CONTINUOUS, CONTINUOUS[:100]])
    by_weight = resolutions(CONTINUOUS, weights, correlated=True)
    np.testing.assert_array_equal(by_weight, found(repeated))
    assert (by_weight > 0).all()


def test_a_column_that_repeats_another_in_half_of_the_rows_is_floored() -> None:
    x = np.column_stack([CONTINUOUS, RNG.normal(size=300)])
    x[:150, 1] = x[:150, 0]
    both = found(x)
    assert ((0 < both[:2]) & (both[:2] < 1e-5)).all()
    assert both[2] == 0
    assert found(x, correlated=False).tolist() == [0.0, 0.0, 0.0]


def test_hyperplanes_are_found() -> None:
    iris = bg.datasets.load("iris").values
    assert largest_hyperplane(iris, np.ones(150)).weight == 22
    assert largest_hyperplane(CONTINUOUS, np.ones(300)).weight == 2
    plane = largest_hyperplane(np.c_[CONTINUOUS, CONTINUOUS.sum(1) + (np.arange(300) > 60)], np.full(300, 3.0))
    assert plane.weight == 3 * 239


def problem(x: np.ndarray, covariance_type: str, **options: object) -> PosteriorProblem:
    return PosteriorProblem.of(x, 2, covariance_type=covariance_type, prior=None, **options)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EEI", "EII"])
def test_no_component_is_narrower_than_the_resolution(covariance_type: str) -> None:
    x = bg.datasets.load("iris").values[:, 2:]
    drawn = problem(x, covariance_type).sample_prior(2000, seed=0)
    least = np.linalg.eigvalsh(drawn.covariances).min()
    assert least == pytest.approx(0.1**2 / 12, rel=1e-3)  # some of the draws lie on the floor
    assert least > 0.1**2 / 12 * (1 - 1e-9)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EEI", "EII"])
def test_taking_apart_and_assembling_above_the_floor_are_inverse(covariance_type: str) -> None:
    x = bg.datasets.load("iris").values
    mixture = bg.fit_em(x, 2, covariance_type=covariance_type).mixture
    with jax.enable_x64(True):
        sites = as_arrays(problem(x, covariance_type).sites)
        again = jax.device_get(assemble(constrain(sites, unconstrain(sites, disassemble(mixture, sites)))[0]))
    np.testing.assert_allclose(again.covariances, mixture.covariances, rtol=1e-9, atol=1e-12)


def test_a_collapsed_start_is_lifted_above_the_floor() -> None:
    x = bg.datasets.load("iris").values[:, :2]
    flat = np.array([[1.0, 1.0], [1.0, 1.0]]) + 1e-12 * np.eye(2)
    mixture = bg.Mixture.from_moments([0.5, 0.5], [[5.0, 3.0], [6.0, 3.0]], [flat, np.eye(2)])
    with jax.enable_x64(True):
        sites = as_arrays(problem(x, "full").sites)
        coordinates = unconstrain(sites, disassemble(mixture, sites))
        again = jax.device_get(assemble(constrain(sites, coordinates)[0]))
    assert np.isfinite(coordinates).all()
    # Only the direction in which the component has no extent is changed, by some variances of the floor.
    assert np.abs(again.covariances - mixture.covariances).max() < 2 * 0.1**2 / 12


LATTICES = {
    "iris": (bg.datasets.load("iris").values, (1e-3, 1e-4, 1e-5)),
    "lattice": (np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), -1).reshape(-1, 2), (1e-2, 1e-3, 1e-4)),
    "repeats itself": (
        np.column_stack([CONTINUOUS[:, 0], np.where(np.arange(300) < 150, *CONTINUOUS.T)]),
        (1e-6, 1e-7, 3e-8),
    ),
}
"""Tables, and widths of a component across the hyperplane that lie around the floor."""


@pytest.mark.parametrize("name", LATTICES)
@pytest.mark.parametrize("floor", [True, False])
@pytest.mark.filterwarnings("ignore:The prior of:bayes_gmm.FitWarning")
def test_the_likelihood_is_bounded_by_the_floor_alone(name: str, floor: bool) -> None:
    """A component that shrinks onto the hyperplane with most points, ever narrower."""
    x = LATTICES[name][0]
    plane = largest_hyperplane(x, np.ones(len(x)))
    normal = plane.normal / x.std(0)
    normal /= np.linalg.norm(normal)
    along = x @ normal
    values, counts = np.unique(along.round(9), return_counts=True)
    on_it = np.abs(along - values[counts.argmax()]) < 1e-8
    assert on_it.sum() == plane.weight
    potentials = []
    with jax.enable_x64(True):
        one = problem(x, "full")
        if not floor:
            one = PosteriorProblem.of(x, 2, covariance_type="full", prior=_without_floor(one))
        target = one.target()
        for width in LATTICES[name][1] if floor else (1e-2, 1e-3, 1e-4):
            squeezed = _keeping_only(np.cov(x.T), normal, width)
            mixture = bg.Mixture.from_moments(
                [0.5, 0.5], np.stack([x[on_it].mean(0), x.mean(0)]), np.stack([squeezed, np.cov(x.T)])
            )
            coordinates = unconstrain(target.sites, disassemble(mixture, target.sites))
            potentials.append(float(target.potential(coordinates)))
    falls = -np.diff(potentials)
    if floor:
        assert potentials[-1] > min(potentials) - 1
        assert falls[-1] < 1
    else:
        assert (falls > 0.5 * (plane.weight - x.shape[1]) * np.log(10)).all()


def _keeping_only(covariance: np.ndarray, normal: np.ndarray, width: float) -> np.ndarray:
    """Covariance within the hyperplane, and an sd of `width` across it."""
    within = np.eye(len(normal)) - np.outer(normal, normal)
    return within @ covariance @ within + width**2 * np.outer(normal, normal)


def _without_floor(one: PosteriorProblem) -> bg.Prior:
    parts = {name: getattr(one.prior, name) for name in ("weights", "means", "scales", "correlations")}
    return bg.Prior(**parts, resolution=0.0)
