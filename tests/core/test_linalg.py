"""Factors in compiled programs: LAPACK's numbers, derivatives of any order, and no number for what has no factor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist

from bayes_gmm.core.linalg import (
    cholesky_factors,
    exponential,
    invert_tril,
    log_diagonal,
    product,
    squared_distances,
    vech,
)

SIZES = [1, 2, 3, 5, 8, 9, 17]


def matrices(n_rows: int) -> np.ndarray:
    root = np.random.default_rng(n_rows).normal(size=(4, n_rows, n_rows + 2))
    return root @ root.mT + 0.1 * np.eye(n_rows)


@pytest.mark.parametrize("n_rows", SIZES)
def test_factors_inverses_and_their_parts_are_those_of_lapack(n_rows: int) -> None:
    matrix = matrices(n_rows)
    with jax.enable_x64(True):
        factors = cholesky_factors(jnp.asarray(matrix))
        expected = np.linalg.cholesky(matrix)
        np.testing.assert_allclose(factors, expected, rtol=1e-10, atol=1e-12)
        inverses = np.array([scipy.linalg.solve_triangular(one, np.eye(n_rows), lower=True) for one in expected])
        np.testing.assert_allclose(invert_tril(factors), inverses, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(log_diagonal(factors), 0.5 * np.linalg.slogdet(matrix)[1], rtol=1e-10, atol=1e-10)
        np.testing.assert_array_equal(vech(jnp.asarray(matrix)), matrix[:, *np.tril_indices(n_rows)])


@pytest.mark.parametrize("n_rows", [1, 4, 9])
def test_products_of_any_batch_are_those_of_numpy(n_rows: int) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(n_rows, n_rows)), rng.normal(size=(2, 3, n_rows, 5))
    with jax.enable_x64(True):
        np.testing.assert_allclose(product(jnp.asarray(one), jnp.asarray(other)), one @ other, rtol=1e-12, atol=1e-13)
        transposed = product(jnp.asarray(other).mT, jnp.asarray(one))
        np.testing.assert_allclose(transposed, other.mT @ one, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n_rows", [1, 3, 9])
def test_derivatives_of_factors_are_those_of_jax(n_rows: int) -> None:
    root = np.random.default_rng(0).normal(size=(n_rows, n_rows + 1))
    scale = np.random.default_rng(1).normal(size=(n_rows, n_rows))

    def total(factors: object, x: object) -> jax.Array:
        return (factors(x @ x.T + jnp.eye(n_rows)) ** 3 * scale).sum()

    with jax.enable_x64(True):
        for order in (jax.grad, jax.hessian):
            ours, theirs = (
                np.asarray(order(lambda x, factors=factors: total(factors, x))(jnp.asarray(root)))
                for factors in (cholesky_factors, jnp.linalg.cholesky)
            )
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)
            assert np.abs(ours).max() > 0.1


@pytest.mark.parametrize("n_rows", [2, 9])
def test_what_is_not_positive_definite_has_no_finite_factor(n_rows: int) -> None:
    matrix = np.eye(n_rows)
    matrix[1, 1] = -1.0
    with jax.enable_x64(True):
        assert not np.isfinite(cholesky_factors(jnp.asarray(matrix))).all()


@pytest.mark.parametrize("function", [invert_tril, log_diagonal, vech, cholesky_factors])
def test_programs_of_few_rows_neither_scatter_nor_call_lapack(function: object) -> None:
    """One such operation in the loop of a sampler doubles the time of its compilation."""

    def used(function: object) -> str:
        slope = jax.grad(lambda x: (function(x) ** 2).sum())
        return jax.jit(slope).lower(jnp.eye(3)).as_text()

    assert not {"scatter", "custom_call"} & set(used(function).replace('"', " ").replace(".", " ").split())
    assert "custom_call" in used(jnp.linalg.cholesky)


def test_exponentials_are_numpys_but_for_those_that_are_no_normal_numbers() -> None:
    """Also of infinity and what is not a number. Control: NumPy's own are not zero down to -745."""
    logs = np.array([[0.0, -1.0, -37.5, -650.0], [-720.0, -1e4, -np.inf, np.nan]])
    found, expected = exponential(logs.copy()), np.exp(logs)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], [0.0, 0.0, 0.0, np.nan])
    assert expected[1, 0] > 0


def test_squared_distances_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    points, others = 1e8 + rng.normal(size=(7, 3)), 1e8 + rng.normal(size=(5, 3))
    np.testing.assert_allclose(squared_distances(points, others), cdist(points, others, "sqeuclidean"), rtol=1e-12)
    assert not np.diagonal(squared_distances(points, points)).any()
