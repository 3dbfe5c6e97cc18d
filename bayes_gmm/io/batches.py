"""Checks of a stream of tables, one batch at a time; error messages name the number of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.io.dataframes import is_table
from bayes_gmm.io.table import Table, read_rows
from bayes_gmm.io.table_checks import check_numbers


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


def later_rows(batch: Any, columns: tuple[str, ...]) -> NDArray[np.float64]:
    """Finite values (n, D) of a batch after the first; `columns` are those of the first.

    A batch without column names needs the same number of columns only.

    Raises
    ------
    DataError
        The batch is no table of finite numbers, or has other columns.

    Examples
    --------
    >>> later_rows([[1.8, 54]], ("eruptions", "waiting"))
    array([[ 1.8, 54. ]])
    """
    values, names = read_rows(batch)
    unnamed = tuple(f"x{i + 1}" for i in range(len(columns)))
    if names not in (columns, unnamed):
        raise DataError(
            f"Found {len(names)} columns, {', '.join(map(repr, names))}.",
            f"those of the first batch, {', '.join(map(repr, columns))}",
            "Give every batch the same columns in the same order.",
        )
    check_numbers(values, columns)
    return values
