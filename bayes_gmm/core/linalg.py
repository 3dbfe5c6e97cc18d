"""Linear algebra of lower triangular factors L with Sigma = L L', for small matrices, in NumPy and in JAX alike.

What is written once for both takes leading axes and asks `namespace` which of the two its arrays belong to: short
tables are fitted in NumPy, where nothing has to be compiled first.
"""

from functools import cache, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

LOG_2PI = float(np.log(2 * np.pi))

_FEW_ROWS = 8
"""Rows up to which a compiled program factorises without LAPACK, multiplies by sums, and is cut by slices."""

_SMALLEST_LOG, _NEGLIGIBLE = -701.0, 1e-304
"""Logarithm of the smallest number that is told from zero, and what is taken off for that: no other number changes."""

_ROW_BY_ROW = 64
"""Rows up to which NumPy inverts a factor row by row."""


def namespace(*arrays: Any) -> Any:
    """The module of functions for these arrays: `jax.numpy` where JAX has made or traces one of them, else NumPy."""
    for array in arrays:
        # The second question takes ten times as long as the first.
        if not isinstance(array, np.ndarray) and isinstance(array, jax.Array):
            return jnp
    return np


def choose[T](condition: Any, one: T, other: T) -> T:
    """Leaves of `one` where a condition (...) holds, else those of `other`, whose axes begin with the same."""
    if isinstance(condition, np.ndarray):
        if condition.all():
            return one
        if not condition.any():
            return other
    chosen = partial(_chosen, condition)
    return chosen(one, other) if isinstance(one, np.ndarray) else jax.tree.map(chosen, one, other)


def _chosen(condition: Any, one: Any, other: Any) -> Any:
    """Entries of `one` (..., *rest) where the condition (...) holds, else those of `other`."""
    mask = condition[(..., *(None,) * (one.ndim - condition.ndim))]
    return namespace(condition, one, other).where(mask, one, other)


def with_entry(array: Any, number: Any, entry: Any) -> Any:
    """An array (..., S, *rest) whose entry `number` (...) along the axis of S is `entry` (..., *rest).

    One of NumPy's is changed itself: to copy what many runs remember takes longer than a step of them.
    """
    if namespace(array) is jnp:
        return array.at[number].set(entry)
    array[(*numbers_along(np.shape(number)), number)] = entry
    return array


@lru_cache(maxsize=64)
def numbers_along(shape: tuple[int, ...]) -> tuple[Int[np.ndarray, "..."], ...]:
    """Numbers along each axis of an array of this shape, for picking one entry beyond it."""
    return tuple(np.indices(shape, sparse=True))


def log_normalised(logits: Float[Array | np.ndarray, "*batch K"]) -> Any:
    """Logarithms of weights that sum to one, proportional to the exponentials."""
    if namespace(logits) is jnp:
        return jax.nn.log_softmax(logits)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def exponential(logs: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Exponentials of numbers of 0 and less, in place; those below 1e-304 are zero.

    NumPy's own takes ten times as long where its result is too small for a normal number.
    """
    np.exp(np.maximum(logs, _SMALLEST_LOG, out=logs), out=logs)
    return np.maximum(np.subtract(logs, _NEGLIGIBLE, out=logs), 0.0, out=logs)


def squared_distances(points: Float[np.ndarray, "N D"], others: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "N M"]:
    """Squared distances of points from others, zero for equal points; SciPy's take a fifth of a second to load."""
    total = np.zeros((len(points), len(others)))
    for one, other in zip(points.T, others.T, strict=True):
        total += (one[:, None] - other) ** 2
    return total


def product(one: Any, other: Any) -> Any:
    """The matrix product; of few rows by a sum, for a loop that calls a library compiles in twice the time."""
    if namespace(one, other) is np or one.shape[-1] > _FEW_ROWS:
        return one @ other
    rank = max(one.ndim, other.ndim)
    one, other = (jnp.reshape(part, (1,) * (rank - part.ndim) + part.shape) for part in (one, other))
    return (one[..., :, :, None] * other[..., None, :, :]).sum(-2)


def invert_tril(factor: Any) -> Any:
    """Inverse of a lower triangular matrix: W with W L = I, so that W' W is the precision.

    The inverse of a block matrix with A and C on the diagonal and B below A has the blocks A^-1, C^-1 and
    -C^-1 B A^-1; this doubles the size of the inverted blocks until the matrix is inverted. LAPACK's solver is not
    used, because its threads keep spinning after a call and halve the speed of the operations that follow.
    """
    if namespace(factor) is np:
        return inverse_factor(factor)
    n_rows = factor.shape[-1]
    size = 1 << (n_rows - 1).bit_length()
    padding = [(0, 0)] * (factor.ndim - 2) + [(0, size - n_rows)] * 2
    beyond = np.diag(np.arange(size) >= n_rows)
    padded = jnp.where(np.broadcast_to(beyond, (*factor.shape[:-2], size, size)), 1.0, jnp.pad(factor, padding))
    inverse = 1 / _diagonal_blocks(padded, 1)
    while (half := inverse.shape[-1]) < size:
        below = _diagonal_blocks(padded, 2 * half)[..., half:, :half]
        upper, lower = inverse[..., 0::2, :, :], inverse[..., 1::2, :, :]
        corner = -product(product(lower, below), upper)
        top = jnp.concatenate([upper, jnp.zeros_like(upper)], -1)
        inverse = jnp.concatenate([top, jnp.concatenate([corner, lower], -1)], -2)
    return inverse[..., 0, :n_rows, :n_rows]


def _diagonal_blocks(matrix: Any, size: int) -> Float[Array, "*batch M B B"]:
    """Blocks of this size along the diagonal, by a sum: picked by their numbers they would cost the compiler a second.

    The derivative of picking entries by their numbers scatters, which XLA compiles slowly.
    """
    count = matrix.shape[-1] // size
    cut = matrix.reshape(*matrix.shape[:-2], count, size, count, size)
    identity = np.eye(count) if count <= _FEW_ROWS else jnp.eye(count)  # large constants are slow to compile
    chosen = identity.reshape(*[1] * (matrix.ndim - 2), count, 1, count, 1)
    return (cut * chosen).sum(-2)


def inverse_factor(factor: Float[np.ndarray, "*batch D D"]) -> Float[np.ndarray, "*batch D D"]:
    """The same inverse in NumPy: of small blocks row by row, so that no thread of LAPACK's goes on spinning."""
    n_rows, inverse = factor.shape[-1], np.zeros_like(factor)
    if n_rows > _ROW_BY_ROW:
        half = n_rows // 2
        upper, lower = inverse_factor(factor[..., :half, :half]), inverse_factor(factor[..., half:, half:])
        inverse[..., :half, :half], inverse[..., half:, half:] = upper, lower
        inverse[..., half:, :half] = -lower @ (factor[..., half:, :half] @ upper)
        return inverse
    for i in range(n_rows):
        pivot = 1 / factor[..., i, i]
        inverse[..., i, i] = pivot
        if i:
            known = factor[..., i, None, :i] @ inverse[..., :i, :i]
            inverse[..., i, :i] = known[..., 0, :] * -pivot[..., None]
    return inverse


def cholesky(matrix: Float[Array, "D D"], least: float = 0.0) -> Float[Array, "D D"]:
    """Lower triangular L with L L' = A; NaN where A is not positive definite, unless its diagonal is at least `least`.

    It eliminates column by column. LAPACK is not used, for the reason given in `invert_tril`.
    """
    rows = jnp.arange(len(matrix))

    def eliminate(number: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        remaining, factor = state
        pivot = remaining[number, number] if not least else jnp.maximum(remaining[number, number], least**2)
        column = jnp.where(rows == number, jnp.sqrt(pivot), remaining[:, number] / jnp.sqrt(pivot))
        column = jnp.where(rows >= number, column, 0.0)
        return remaining - column[:, None] * column[None], factor.at[:, number].set(column)

    return lax.fori_loop(0, len(matrix), eliminate, (matrix, jnp.zeros_like(matrix)))[1]


def cholesky_factors(matrices: Any) -> Any:
    """Lower triangular L with L L' = A; not finite where A is not positive definite."""
    if namespace(matrices) is jnp:
        return _cholesky(matrices)
    try:
        return np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return _factors_or_nan(matrices)


@jax.custom_jvp
def _cholesky(matrices: Float[Array, "*batch D D"]) -> Float[Array, "*batch D D"]:
    """Of few rows column by column: a program that calls LAPACK is compiled in twice the time."""
    n_rows = matrices.shape[-1]
    if n_rows > _FEW_ROWS:
        return jnp.linalg.cholesky(matrices)
    remaining, columns = matrices, []
    for number in range(n_rows):
        column = remaining[..., :, number] / jnp.sqrt(remaining[..., number, None, number])
        columns.append(jnp.where(np.broadcast_to(np.arange(n_rows) >= number, column.shape), column, 0.0))
        remaining = remaining - columns[-1][..., :, None] * columns[-1][..., None, :]
    return jnp.stack(columns, -1)


@_cholesky.defjvp
def _cholesky_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    r"""With W = L^-1 the derivative is L tril(W dA W'), its diagonal halved: products, where JAX solves equations."""
    factors, n_rows = _cholesky(*primals), primals[0].shape[-1]
    whitening = invert_tril(factors)
    change = 0.5 * (tangents[0] + tangents[0].mT)
    inner = product(product(whitening, change), whitening.mT)
    halved = np.broadcast_to(np.tri(n_rows) - 0.5 * np.eye(n_rows), inner.shape)
    return factors, product(factors, inner * halved)


def _factors_or_nan(matrices: Float[np.ndarray, "*batch D D"]) -> Float[np.ndarray, "*batch D D"]:
    remaining, factors = matrices.copy(), np.zeros_like(matrices)
    for number in range(matrices.shape[-1]):
        pivots = remaining[..., number, number]
        column = remaining[..., number:, number] / np.sqrt(np.where(pivots > 0, pivots, np.nan))[..., None]
        factors[..., number:, number] = column
        remaining[..., number:, number:] -= column[..., :, None] * column[..., None, :]
    return factors


def eigenvectors(matrices: Float[Array | np.ndarray, "*batch D D"]) -> Any:
    """Eigenvectors of symmetric matrices in columns, by rising eigenvalue; not finite where a matrix is not."""
    if namespace(matrices) is jnp:
        return jnp.linalg.eigh(matrices)[1]
    finite = np.isfinite(matrices).all((-2, -1), keepdims=True)
    return np.where(finite, np.linalg.eigh(np.where(finite, matrices, 0.0))[1], np.nan)


def log_diagonal(factor: Float[Array | np.ndarray, "*batch D D"]) -> Any:
    """Sum of the logarithms of the diagonal of L, which is half the log determinant of L L'."""
    if namespace(factor) is np:
        return np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
    return jnp.log(_diagonal_blocks(factor, 1)).sum((-3, -2, -1))


def diagonal_matrices(entries: Float[Array | np.ndarray, "*batch D"]) -> Any:
    """Matrices (..., D, D) with these diagonals."""
    return entries[..., None] * namespace(entries).eye(entries.shape[-1])[(None,) * (entries.ndim - 1)]


def diagonal_of(matrices: Float[Array | np.ndarray, "*batch D D"]) -> Any:
    """Diagonals (..., D) of matrices; in JAX by a sum, since the derivative of picking them out scatters."""
    if namespace(matrices) is np:
        return np.diagonal(matrices, axis1=-2, axis2=-1)
    return (matrices * jnp.eye(matrices.shape[-1])[(None,) * (matrices.ndim - 2)]).sum(-1)


def square(factor: Any) -> Any:
    """L L' of lower triangular factors (..., D, D); of diagonal ones in NumPy without the product."""
    if namespace(factor) is np and _is_diagonal(factor):
        return diagonal_matrices(diagonal_of(factor) ** 2)
    return factor @ factor.mT


def stretched(factor: Any, matrices: Any) -> Any:
    """A factor (D, D) times matrices (..., D, D); of a diagonal one in NumPy without the product."""
    if namespace(factor, matrices) is np and _is_diagonal(factor):
        return diagonal_of(factor)[:, None] * matrices
    return factor @ matrices


def _is_diagonal(matrices: Float[np.ndarray, "*batch D D"]) -> bool:
    return bool(np.count_nonzero(matrices) == np.count_nonzero(diagonal_of(matrices)))


def lower_factor(root: Float[Array | np.ndarray, "*batch D M"]) -> Float[Array | np.ndarray, "*batch D D"]:
    """Lower triangular L with positive diagonal and L L' = A A', for A with M >= D columns.

    L comes from the QR decomposition of A', because forming the product A A' would lose half of the digits.
    """
    xp = namespace(root)
    triangle = xp.linalg.qr(root.mT, mode="r").mT
    return triangle * xp.sign(xp.diagonal(triangle, axis1=-2, axis2=-1))[..., None, :]


def vech(matrix: Float[Array | np.ndarray, "*batch D D"]) -> Float[Array | np.ndarray, "*batch V"]:
    """Lower triangle of a symmetric matrix, row by row; V = D (D + 1) / 2."""
    if namespace(matrix) is jnp and matrix.shape[-1] <= _FEW_ROWS:
        return jnp.concatenate([matrix[..., row, : row + 1] for row in range(matrix.shape[-1])], -1)
    rows, columns = _lower_triangle(matrix.shape[-1])
    return matrix[..., rows, columns]


def unvech(vector: Float[Array | np.ndarray, "*batch V"], n_features: int) -> Any:
    """Symmetric matrix from its lower triangle: the inverse of `vech`."""
    return vector[..., _places_in_vech(n_features)]


@cache
def _lower_triangle(n_features: int) -> tuple[Int[np.ndarray, " V"], Int[np.ndarray, " V"]]:
    """Rows and columns of the lower triangle, row by row."""
    return np.tril_indices(n_features)


@cache
def _places_in_vech(n_features: int) -> Int[np.ndarray, "D D"]:
    """Where the entries of a symmetric matrix stand in its lower triangle."""
    rows, columns = _lower_triangle(n_features)
    places = np.zeros((n_features, n_features), int)
    places[rows, columns] = places[columns, rows] = np.arange(len(rows))
    return places
