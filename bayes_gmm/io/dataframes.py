"""Tables of other libraries as named columns; an object is known by what it offers, so that none is imported for it.

Only what crosses no border but Arrow's is read by pyarrow, once such an object is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.errors import DataError
from bayes_gmm.io.table_checks import TABLE, bad_cell, check_names

_IMPUTE = "Drop or impute the rows with missing values."


class Columns(NamedTuple):
    """Columns of a table as they were read: a name, of any type, and an array of N cells for each."""

    names: tuple[Any, ...]
    cells: tuple[NDArray[Any], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns, (N, D); a table without columns has no rows."""
        return len(self.cells[0]) if self.cells else 0, len(self.cells)


def is_table(x: Any) -> bool:
    """Whether an object is one table of a kind that `named_columns` reads, or would be if it were collected."""
    return _is_lazy(x) or _reader_of(x) is not None


def named_columns(x: Any) -> Columns | None:
    """Columns of a frame (pandas, polars, pyarrow, ...), an xarray object or a structured array; None of what is none.

    Raises
    ------
    DataError
        The table is lazy or cannot be read, holds nulls or masked cells, or has two columns of one name, or one of
        several axes.

    Examples
    --------
    >>> named_columns(np.array([(1, 2.5), (2, 3.5)], dtype=[("a", int), ("b", float)])).names
    ('a', 'b')
    >>> named_columns([[1, 2.5], [2, 3.5]]) is None
    True
    """
    _refuse_masked(x)
    if _is_lazy(x):
        found = f"Found a {type(x).__name__}, a query that has not been run."
        raise DataError(found, TABLE, "Run it: give x.collect().")
    read = _reader_of(x)
    if read is None:
        return None
    return read(x)


def check_nulls(name: str, column: Any) -> None:
    """Refuse a column of polars or pyarrow with nulls, which NumPy would take for NaN."""
    count = getattr(column, "null_count", 0)
    if count() if callable(count) else count:
        row = int(np.argmax(np.asarray(column.is_null())))
        raise bad_cell(name, None, f"in row {row}", _IMPUTE)


def _reader_of(x: Any) -> Any:
    """The function that reads such a table, or None."""
    if isinstance(x, np.ndarray):
        return _from_structured if x.dtype.names else None
    if hasattr(x, "data_vars"):
        return _from_dataset
    if hasattr(x, "dims") and hasattr(x, "coords"):
        return _from_data_array if _has_names(x) else None
    if hasattr(x, "column_names"):
        return _from_arrow
    if hasattr(x, "to_numpy") and hasattr(x, "columns"):
        return _from_frame
    if hasattr(x, "null_count") or getattr(x, "ndim", 2) == 1:  # one column
        return None
    if hasattr(x, "__arrow_c_stream__") or hasattr(x, "__dataframe__"):
        return _by_protocol
    return None


def _refuse_masked(x: Any) -> None:
    if isinstance(x, np.ma.MaskedArray):
        mask, names = np.ma.getmaskarray(x), x.dtype.names
        rows = np.nonzero(mask if names is None else np.stack([mask[name] for name in names], axis=-1))[0]
        if rows.size:
            found = f"Found {len(rows)} masked values, the first in row {rows[0]}."
            raise DataError(found, "a table with nothing masked", "Drop or impute those rows.")


def _is_lazy(x: Any) -> bool:
    return hasattr(x, "collect") and not hasattr(x, "to_numpy")


def _from_structured(x: NDArray[Any]) -> Columns:
    names = x.dtype.names or ()
    if x.ndim != 1:
        found = f"Found a structured array of {x.ndim} axes, shape {x.shape}."
        raise DataError(found, "one axis of records", "Flatten it with x.ravel().")
    return _read(names, (x[name] for name in names))


def _from_frame(x: Any) -> Columns:
    """Pandas, polars, and what is like them."""
    return _read(x.columns, (x[name] for name in x.columns))


def _from_arrow(x: Any) -> Columns:
    return _read(x.column_names, (x.column(i) for i in range(x.num_columns)))


def _read(names: Iterable[Any], columns: Iterable[Any]) -> Columns:
    """Columns with names that differ, without nulls and of one axis each.

    The names are checked before the first column is asked for: of two columns of one name, pandas gives both at once.
    """
    names = tuple(names)
    check_names(names)
    cells = []
    for name, column in zip(names, columns, strict=True):
        check_nulls(str(name), column)
        cells.append(np.asarray(column))
    for name, array in zip(names, cells, strict=True):
        if array.ndim != 1:
            found = f"Column {str(name)!r} has {array.ndim} axes, shape {array.shape}."
            raise DataError(found, "columns of one number a row", "Split it into columns of one axis.")
    return Columns(names, tuple(cells))


def _from_dataset(x: Any) -> Columns:
    """Each variable of an xarray Dataset is a column along the one dimension that all share."""
    dimensions = {name: tuple(map(str, variable.dims)) for name, variable in x.data_vars.items()}
    if len({*dimensions.values()}) > 1:
        listed = ", ".join(f"{name} {axes}" for name, axes in dimensions.items())
        found = f"The variables of the Dataset have different dimensions: {listed}."
        raise DataError(found, "the same one dimension for all", "Select the variables that belong together.")
    return _read(x.data_vars, x.data_vars.values())


def _has_names(x: Any) -> bool:
    """Whether the second of an xarray DataArray's two dimensions has a coordinate made of strings."""
    names = x.coords[x.dims[1]].values.tolist() if len(x.dims) == 2 and x.dims[1] in x.coords else []
    return bool(names) and all(isinstance(name, str) for name in names)


def _from_data_array(x: Any) -> Columns:
    return _read(x.coords[x.dims[1]].values.tolist(), np.asarray(x).T)


def _by_protocol(x: Any) -> Columns:
    """What offers Arrow's stream, or the interchange protocol for data frames, and nothing else."""
    kind = type(x).__name__
    try:
        import pyarrow
        import pyarrow.interchange
    except ImportError:
        found = f"Found a {kind}, which offers its columns to Arrow only, and pyarrow is not installed."
        raise DataError(found, TABLE, "Install pyarrow, or convert it to a NumPy array.") from None
    try:
        streams = hasattr(x, "__arrow_c_stream__")
        table = pyarrow.table(x) if streams else pyarrow.interchange.from_dataframe(x)
    except Exception as error:  # whatever the other library raises
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(
            f"Found a {kind} that pyarrow cannot read: {reason}.", TABLE, "Convert it to a NumPy array."
        ) from error
    return _from_arrow(table)
