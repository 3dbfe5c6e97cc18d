"""Linear algebra of lower triangular factors L with Sigma = L L', for small matrices."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

LOG_2PI = float(np.log(2 * np.pi))


def invert_tril(factor: Float[Array | np.ndarray, "*batch D D"]) -> Float[Array, "*batch D D"]:
    """Inverse of a lower triangular matrix: W with W L = I, so that W' W is the precision.

    The inverse of a block matrix with A and C on the diagonal and B below A has the blocks A^-1, C^-1 and
    -C^-1 B A^-1; this doubles the size of the inverted blocks until the matrix is inverted. LAPACK's solver is not
    used, because its threads keep spinning after a call and halve the speed of the operations that follow.
    """
    n_rows = factor.shape[-1]
    size = 1 << (n_rows - 1).bit_length()
    padding = [(0, 0)] * (factor.ndim - 2) + [(0, size - n_rows)] * 2
    beyond = np.diag(np.arange(size) >= n_rows)
    padded = jnp.where(np.broadcast_to(beyond, (*factor.shape[:-2], size, size)), 1.0, jnp.pad(factor, padding))
    inverse = 1 / jnp.diagonal(padded, axis1=-2, axis2=-1)[..., None, None]
    while (half := inverse.shape[-1]) < size:
        starts = np.arange(0, size, 2 * half)[:, None, None]
        rows, columns = np.arange(half)[None, :, None], np.arange(half)[None, None, :]
        below = padded[..., starts + half + rows, starts + columns]
        upper, lower = inverse[..., 0::2, :, :], inverse[..., 1::2, :, :]
        corner = -lower @ below @ upper
        top = jnp.concatenate([upper, jnp.zeros_like(upper)], -1)
        inverse = jnp.concatenate([top, jnp.concatenate([corner, lower], -1)], -2)
    return inverse[..., 0, :n_rows, :n_rows]


def inverse_factor(factor: Float[np.ndarray, "*batch D D"]) -> Float[np.ndarray, "*batch D D"]:
    """The same inverse in NumPy, row by row: nothing is compiled, and no thread of LAPACK's goes on spinning."""
    identity = np.eye(factor.shape[-1])
    inverse = np.zeros_like(factor)
    for i in range(len(identity)):
        row = factor[..., i, :]
        known = (row[..., None, :i] @ inverse[..., :i, :])[..., 0, :]
        inverse[..., i, :] = (identity[i] - known) / row[..., i, None]
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


def log_diagonal(factor: Float[Array | np.ndarray, "*batch D D"]) -> Float[Array, "*batch"]:
    """Sum of the logarithms of the diagonal of L, which is half the log determinant of L L'."""
    return jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)


def lower_factor(root: Float[Array | np.ndarray, "*batch D M"]) -> Float[Array | np.ndarray, "*batch D D"]:
    """Lower triangular L with positive diagonal and L L' = A A', for A with M >= D columns.

    L comes from the QR decomposition of A', because forming the product A A' would lose half of the digits.
    """
    namespace = np if isinstance(root, np.ndarray) else jnp
    triangle = namespace.linalg.qr(root.mT, mode="r").mT
    return triangle * namespace.sign(namespace.diagonal(triangle, axis1=-2, axis2=-1))[..., None, :]


def vech(matrix: Float[Array | np.ndarray, "*batch D D"]) -> Float[Array | np.ndarray, "*batch V"]:
    """Lower triangle of a symmetric matrix, row by row; V = D (D + 1) / 2."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return matrix[..., rows, columns]


def unvech(vector: Float[Array, "*batch V"], n_features: int) -> Float[Array, "*batch D D"]:
    """Symmetric matrix from its lower triangle: the inverse of `vech`."""
    rows, columns = np.tril_indices(n_features)
    position = np.zeros((n_features, n_features), int)
    position[rows, columns] = position[columns, rows] = np.arange(len(rows))
    return vector[..., position]
