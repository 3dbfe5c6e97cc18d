"""Matrix products of many rows, in slices so small that BLAS makes each of them on the core that asks.

Larger products wake the threads of BLAS. They go on spinning after each, which slows down what other threads do
meanwhile; here several climbs run side by side, and what a product takes is short.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

_MOST_OPERATIONS, _MOST_WITH_A_VECTOR = 2**18, 9216
"""Multiplications up to which OpenBLAS uses one thread, between matrices and between a matrix and a vector."""

_FEWEST_ROWS = 8
"""Rows of a slice at least; where that is too many the columns are cut as well."""

_MOST_ROWS = 1024
"""Rows of a slice at most."""


def rows_product(
    rows: Float[np.ndarray, "*batch N F"], matrix: Float[np.ndarray, "*#batch F K"]
) -> Float[np.ndarray, "*batch N K"]:
    """Rows times a matrix."""
    (*batch, n_rows, width), n_columns = rows.shape, matrix.shape[-1]
    product = np.empty((*batch, n_rows, n_columns))
    if n_columns > (most := max(1, _most_operations(n_columns) // (_FEWEST_ROWS * width))):
        for start in range(0, n_columns, most):
            product[..., start : start + most] = rows_product(rows, matrix[..., start : start + most])
        return product
    size, whole = _slices(n_rows, width, n_columns)
    if whole:
        sliced = rows[..., :whole, :].reshape(*batch, -1, size, width)
        product[..., :whole, :] = (sliced @ matrix[..., None, :, :]).reshape(*batch, whole, n_columns)
    product[..., whole:, :] = rows[..., whole:, :] @ matrix
    return product


def cross_product(
    first: Float[np.ndarray, "*batch N K"], second: Float[np.ndarray, "*batch N F"]
) -> Float[np.ndarray, "*batch K F"]:
    """Sums over rows of products of one's columns with the other's."""
    *batch, n_rows, n_columns = first.shape
    size, whole = _slices(n_rows, second.shape[-1], n_columns)
    total = first[..., whole:, :].mT @ second[..., whole:, :]
    if whole:
        one, other = (part[..., :whole, :].reshape(*batch, -1, size, part.shape[-1]) for part in (first, second))
        total += (one.mT @ other).sum(-3)
    return total


def weighted_sums(values: Float[np.ndarray, "*batch N"], weights: Float[np.ndarray, "*#batch N"]) -> Any:
    """Sums of values times weights along the last axis, without BLAS, which would use many threads for them."""
    return np.einsum("...n,...n->...", values, weights)


def _slices(n_rows: int, width: int, n_columns: int) -> tuple[int, int]:
    """Rows of a slice, and of all whole slices together."""
    size = min(max(_most_operations(n_columns) // (width * n_columns), _FEWEST_ROWS), _MOST_ROWS)
    return size, n_rows // size * size


def _most_operations(n_columns: int) -> int:
    return _MOST_OPERATIONS if n_columns > 1 else _MOST_WITH_A_VECTOR
