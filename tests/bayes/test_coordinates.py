"""The maps to weights and correlations: NumPyro's values, volumes by differentiation, and the edge."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import biject_to, constraints

from bayes_gmm.bayes.coordinates import transform_of

pytestmark = pytest.mark.numpyro

SIMPLEX, FACTORS = constraints.simplex, constraints.corr_cholesky
CASES = [(SIMPLEX, 1), (SIMPLEX, 2), (SIMPLEX, 6), (FACTORS, 1), (FACTORS, 3), (FACTORS, 10)]


def coordinates(size: int, n_rows: int = 7) -> np.ndarray:
    return 1.5 * np.random.default_rng(size).normal(size=(n_rows, size))


@pytest.mark.parametrize(("support", "size"), CASES)
def test_values_and_volumes_are_those_of_numpyro(support: Any, size: int) -> None:
    ours, theirs, x = transform_of(support), biject_to(support), coordinates(size)
    with jax.enable_x64(True):
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-12, atol=1e-14)
        volumes = [one.log_abs_det_jacobian(x, theirs(x)) for one in (ours, theirs)]
        np.testing.assert_allclose(*volumes, rtol=1e-10)
        np.testing.assert_allclose(ours.inv(ours(x)), x, rtol=1e-9)
    assert ours.inverse_shape(ours.forward_shape(x.shape)) == x.shape


def free_part(support: Any, values: Any) -> Any:
    """As many values as there are coordinates: all weights but one, or the entries below the diagonal."""
    return values[:-1] if support is SIMPLEX else values[np.tril_indices(len(values), -1)]


@pytest.mark.parametrize(("support", "size"), CASES)
def test_the_volume_is_the_determinant_of_the_derivative(support: Any, size: int) -> None:
    ours = transform_of(support)
    with jax.enable_x64(True):
        for x in coordinates(size, 3):
            jacobian = jax.jacobian(lambda one: free_part(support, ours(one)))(jnp.asarray(x))
            _, expected = np.linalg.slogdet(np.asarray(jacobian))
            np.testing.assert_allclose(ours.log_abs_det_jacobian(x, ours(x)), expected, rtol=1e-9)
            assert abs(ours.log_abs_det_jacobian(x + 0.1, None) - expected) > 1e-3


@pytest.mark.parametrize(("support", "size"), CASES)
def test_values_far_out_are_still_weights_and_factors_with_a_finite_volume(support: Any, size: int) -> None:
    ours = transform_of(support)
    with jax.enable_x64(True):
        for x in (np.full(size, 300.0), np.full(size, -300.0)):
            value, volume = ours(x), ours.log_abs_det_jacobian(x, None)
            slope = jax.grad(lambda one: ours.log_abs_det_jacobian(one, None))(x)
            np.testing.assert_allclose((value if support is SIMPLEX else value**2).sum(-1), 1.0, rtol=1e-12)
            assert np.isfinite(volume)
            assert np.isfinite(slope).all()


@pytest.mark.parametrize("narrowness", [1e-3, 1e-5, 1e-6, 1e-8])
def test_a_component_narrow_in_one_direction_keeps_its_digits(narrowness: float) -> None:
    rng = np.random.default_rng(3)
    factors = np.tile(np.eye(3), (20, 1, 1))
    for row in (1, 2):
        direction = rng.normal(size=(20, row))
        direction *= np.sqrt(1 - narrowness**2) / np.linalg.norm(direction, axis=1, keepdims=True)
        factors[:, row, :row], factors[:, row, row] = direction, narrowness
    errors = {}
    with jax.enable_x64(True):
        for name, one in (("ours", transform_of(FACTORS)), ("NumPyro's", biject_to(FACTORS))):
            back = np.asarray(one(one.inv(factors)))[:, [1, 2], [1, 2]]
            errors[name] = np.abs(back / narrowness - 1).max()
    assert errors["ours"] < 1e-13
    if narrowness == 1e-6:
        assert errors["NumPyro's"] > 1e-6  # the remainder as one less the squares before it


def test_other_values_have_the_map_of_numpyro() -> None:
    assert transform_of(constraints.positive) == biject_to(constraints.positive)
