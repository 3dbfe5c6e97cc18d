"""Checks of rows that are given besides a table or after one, batch by batch, and of weights of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from bayes_gmm.core.validation import positive_integer, real_numbers
from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.io.dataframes import from_columns, is_table, named_columns, refuse_unloaded
from bayes_gmm.io.table import Table, read_rows
from bayes_gmm.io.table_checks import LARGEST, check_numbers, check_shape, check_values, sound_rows, way_to_two_axes

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


def rows_of(
    name: str,
    x: Any,
    n_features: int,
    fewest: int = 1,
    columns: Sequence[str] | None = None,
    *,
    gaps: bool = False,
) -> Float[np.ndarray, "N {n_features}"]:
    """At least `fewest` finite points, from an array or any table with named columns.

    With the names of `columns`, those of a table are put into their order; without, its order counts. With `gaps` cells
    may be NaN, which were not seen.

    Raises
    ------
    ArgumentError
        The shape is not (N, n_features), there are fewer rows, or a number is not finite; `name` says which points.
    DataError
        A table with named columns is empty, a column holds no numbers, or the names are others than `columns`.
    """
    if isinstance(x, Table):
        refuse_errors(x, f"The {name}")
        points, names = x.values, x.columns
    elif (named := named_columns(x)) is not None:
        points, names = from_columns(named)
        check_shape(points.shape, names)
        names = names if all(isinstance(given, str) for given in named.names) else ()
    else:
        points, names = real_numbers(f"The array of {name}", x, _ROWS), ()
    if names and columns is not None:
        points = points[:, column_order(names, columns, "the fit")]
    if points.ndim != 2 or points.shape[1] != n_features or len(points) < fewest:
        raise ArgumentError(
            f"The {name} have shape {points.shape}.",
            f"rows of {n_features} features, shape (N, {n_features})",
            way_to_two_axes(points.shape) if points.ndim > 2 else _ROWS,
        )
    bad = ~(np.isfinite(points) | (np.isnan(points) & gaps)).all(1)
    if bad.any():
        row = int(bad.argmax())
        found = f"The {name} hold {'infinity' if gaps else 'NaN or infinity'}: {points[row].tolist()} in row {row}."
        raise ArgumentError(found, "finite numbers", "Drop or impute those rows.")
    return points


def refuse_errors(table: Table, what: str) -> None:
    """Refuse a table whose values have errors, where only exact ones can be used.

    Raises
    ------
    ArgumentError
        The table has errors.
    """
    if table.has_errors:
        found, remedy = f"{what} have known errors.", "Give Table.values for what was observed, without its errors."
        raise ArgumentError(found, "exact values", remedy)


def column_order(names: Sequence[str], columns: Sequence[str], owner: str) -> list[int]:
    """Where each of `columns` is among `names`; as they are where one of both has only numbered names, x1 to xD.

    Raises
    ------
    DataError
        The names are not those of the columns; `owner` says whose columns they are.

    Examples
    --------
    >>> column_order(["b", "a"], ["a", "b"], "the fit")
    [1, 0]
    """
    numbered = [[f"x{i + 1}" for i in range(len(given))] for given in (names, columns)]
    if list(names) == numbered[0] or list(columns) == numbered[1]:
        return list(range(len(names)))
    missing = [name for name in columns if name not in names]
    unexpected = [name for name in names if name not in columns]
    if missing or unexpected:
        parts = [f"{', '.join(map(repr, missing))} missing"] if missing else []
        parts += [f"{', '.join(map(repr, unexpected))} unexpected"] if unexpected else []
        found = f"Found other columns than those of {owner}: {'; '.join(parts)}."
        listed = ", ".join(map(repr, columns[:20])) + (", ..." if len(columns) > 20 else "")
        raise DataError(found, f"the columns of {owner}, {listed}", "Select these columns by name, in any order.")
    return [list(names).index(name) for name in columns]


def row_weights(sample_weight: Any, n_rows: int, table: Table | None = None) -> Float[np.ndarray, " {n_rows}"]:
    """Weight of each row, finite and not negative; one for every row where `sample_weight` is None.

    Of a table without some rows of its source, weights may be given for those of the source.

    Raises
    ------
    ArgumentError
        There is not one such weight for each row, or the squares of the largest leave float64.
    """
    if sample_weight is None:
        return np.ones(n_rows)
    refuse_unloaded(sample_weight)
    weights = real_numbers("sample_weight", sample_weight, _WEIGHTS)
    weights = weights if table is None or not weights.ndim else table.of_kept_rows(weights)
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
    weights = row_weights(sample_weight, table.n_points, table)
    if sample_weight is None:
        return weights
    try:
        check_values(table.values[weights > 0], table.columns)
    except DataError as error:
        found = f"Among the rows of positive sample_weight: {error.found}"
        raise DataError(found, error.expected, error.remedy) from None
    return weights


def check_several(batches: Any) -> Iterable[Any]:
    """The batches themselves; a single table is refused, because its rows would be taken for batches.

    Raises
    ------
    ArgumentError
        `batches` is a table, or not iterable.

    Examples
    --------
    >>> check_several([[[1.0], [2.0]], [[3.0]]])
    [[[1.0], [2.0]], [[3.0]]]
    """
    one_table = isinstance(batches, Table) or is_table(batches) or getattr(batches, "ndim", 3) <= 2
    if one_table or isinstance(batches, str) or not isinstance(batches, Iterable):
        raise ArgumentError(
            f"The batches are one {type(batches).__name__}.",
            "a list, a generator or another iterable of tables",
            "Cut a table into batches with numpy.array_split, or put it into a list.",
        )
    return batches


@contextmanager
def add_batch_number(number: int) -> Iterator[None]:
    """Add the number of the batch, counted from 1, to the message of a `DataError` inside the block."""
    try:
        yield
    except DataError as error:
        raise DataError(f"Batch {number}: {error.found}", error.expected, error.remedy) from None


def later_rows(batch: Any, columns: tuple[str, ...], missing: str = "refuse") -> tuple[NDArray[np.float64], int]:
    """Finite values (n, D) of a batch after the first, and how many rows are left out; `columns` are the first's.

    A batch without column names needs the same number of columns only. With `missing="drop"` rows with missing cells
    are left out.

    Raises
    ------
    DataError
        The batch is no table of finite numbers, or has other columns.

    Examples
    --------
    >>> later_rows([[1.8, 54]], ("eruptions", "waiting"))
    (array([[ 1.8, 54. ]]), 0)
    """
    if isinstance(batch, Table):
        refuse_errors(batch, "A stream learns from exact rows, and those of the batch")
    values, names = read_rows(batch)
    if len(names) != len(columns):
        raise DataError(
            f"Found {len(names)} columns, {', '.join(map(repr, names))}.",
            f"those of the first batch, {', '.join(map(repr, columns))}",
            "Give every batch the same columns.",
        )
    values = values[:, column_order(names, columns, "the first batch")]
    if missing == "refuse":
        check_numbers(values, columns)
        return values, 0
    kept = sound_rows(values, columns, missing, lambda row: f"in row {row}")
    sound = values if kept is None else values[kept]
    check_numbers(sound, columns)
    return sound, len(values) - len(sound)
