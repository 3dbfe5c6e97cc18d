"""Checks of rows and weights of rows that are given besides a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from bayes_gmm.core.validation import positive_integer, real_numbers
from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.io.dataframes import named_columns
from bayes_gmm.io.table import Table, from_columns
from bayes_gmm.io.table_checks import LARGEST, check_shape, check_values

_ROWS = "Rows are points, also for one feature: x[:, None] turns a vector into a column."
_WEIGHTS = "A weight of 0 leaves a row out; a weight of 2 counts it twice."


def component_count(n_components: Any, table: Table) -> int:
    """`n_components` as an integer from 1 to the number of rows.

    Raises
    ------
    ArgumentError
        It is not a positive integer.
    DataError
        The table has fewer rows than components.
    """
    count = positive_integer("n_components", n_components)
    if count > table.n_points:
        raise DataError(
            f"The table has {table.n_points} rows for {count} components.",
            "at least one row for each component",
            "Lower n_components, or collect more rows.",
        )
    return count


def rows_of(name: str, x: Any, n_features: int, fewest: int = 1) -> Float[np.ndarray, "N {n_features}"]:
    """At least `fewest` finite points, from an array or any table with named columns.

    Raises
    ------
    ArgumentError
        The shape is not (N, n_features), there are fewer rows, or a number is not finite; `name` says which points.
    DataError
        A table with named columns is empty, or a column holds no numbers.
    """
    named = named_columns(x)
    if named is None:
        points = real_numbers(f"The array of {name}", x, _ROWS)
    else:
        points, columns = from_columns(named)
        check_shape(points.shape, columns)
    if points.ndim != 2 or points.shape[1] != n_features or len(points) < fewest:
        raise ArgumentError(
            f"The {name} have shape {points.shape}.",
            f"rows of {n_features} features, shape (N, {n_features})",
            _ROWS,
        )
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        row = int(bad.argmax())
        found = f"The {name} hold NaN or infinity: {points[row].tolist()} in row {row}."
        raise ArgumentError(found, "finite numbers", "Drop or impute those rows.")
    return points


def row_weights(sample_weight: Any, n_rows: int) -> Float[np.ndarray, " {n_rows}"]:
    """Weight of each row, finite and not negative; one for every row where `sample_weight` is None.

    Raises
    ------
    ArgumentError
        There is not one such weight for each row, or the squares of the largest leave float64.
    """
    if sample_weight is None:
        return np.ones(n_rows)
    weights = real_numbers("sample_weight", sample_weight, _WEIGHTS)
    if weights.shape != (n_rows,):
        found = f"sample_weight has shape {weights.shape}."
        raise ArgumentError(found, f"one weight for each of the {n_rows} rows", "Give a vector as long as the table.")
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = int(bad.argmax())
        found = f"sample_weight is {weights[row]} in row {row}."
        raise ArgumentError(found, "finite weights of at least 0", _WEIGHTS)
    largest = weights.max()
    if not 1 / LARGEST <= largest <= LARGEST:
        found = f"sample_weight is at most {largest:g}." if largest else "sample_weight is zero everywhere."
        raise ArgumentError(found, f"a largest weight of {1 / LARGEST:g} to {LARGEST:g}", _WEIGHTS)
    return weights


def point_weights(sample_weight: Any, table: Table) -> Float[np.ndarray, " N"]:
    """Weight of each row of a table, after a check that the rows with positive weight can be fitted.

    Raises
    ------
    ArgumentError
        There is not one weight for each row that can be used.
    DataError
        No mixture can be fitted to the rows with positive weight.
    """
    weights = row_weights(sample_weight, table.n_points)
    if sample_weight is None:
        return weights
    try:
        check_values(table.values[weights > 0], table.columns)
    except DataError as error:
        found = f"Among the rows of positive sample_weight: {error.found}"
        raise DataError(found, error.expected, error.remedy) from None
    return weights
