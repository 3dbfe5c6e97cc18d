"""Tables of other libraries as named columns.

Objects are recognised by their attributes, so that no other library is imported. Objects that can only be read
through Arrow's protocols are the exception: pyarrow reads them, and is imported when there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.errors import DataError
from bayes_gmm.io.table_checks import TABLE, bad_cell, check_names

_IMPUTE = "Drop or impute the rows with missing values."


class Columns(NamedTuple):
    """Columns of a table before their types are checked: for each a name, of any type, and an array of N cells."""

    names: tuple[Any, ...]
    cells: tuple[NDArray[Any], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns, (N, D); a table without columns has no rows."""
        return len(self.cells[0]) if self.cells else 0, len(self.cells)


def is_table(x: Any) -> bool:
    """Whether an object is a table that `named_columns` reads, or a lazy table, which it refuses."""
    return _is_lazy(x) or _reader_of(x) is not None


def named_columns(x: Any) -> Columns | None:
    """Columns of a data frame (pandas, polars, pyarrow, ...), xarray object or structured array, otherwise None.

    Raises
    ------
    DataError
        The table is lazy or cannot be read, contains nulls or masked cells, has two columns with the same name, or a
        column with several axes.

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
    """Refuse a column of polars or pyarrow that has nulls, which NumPy would convert to NaN."""
    count = getattr(column, "null_count", 0)
    if count() if callable(count) else count:
        row = int(np.argmax(np.asarray(column.is_null())))
        raise bad_cell(name, None, f"in row {row}", _IMPUTE)


def _reader_of(x: Any) -> Callable[[Any], Columns] | None:
    """Function that reads tables of the kind of `x`, or None where `x` is not a table."""
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
    if hasattr(x, "null_count") or getattr(x, "ndim", 2) == 1:  # a single column, which `from_array` reads
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
    """Columns of data frames with the attributes `columns` and `to_numpy`, such as those of pandas and polars."""
    return _read(x.columns, (x[name] for name in x.columns))


def _from_arrow(x: Any) -> Columns:
    return _read(x.column_names, (x.column(i) for i in range(x.num_columns)))


def _read(names: Iterable[Any], columns: Iterable[Any]) -> Columns:
    """Columns after checks that the names differ, and that the columns have no nulls and one axis each.

    The names are checked before the first column is requested, because pandas returns both of two columns with the same
    name.
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
    """Variables of an xarray Dataset, which must all have the same single dimension."""
    dimensions = {name: tuple(map(str, variable.dims)) for name, variable in x.data_vars.items()}
    if len({*dimensions.values()}) > 1:
        listed = ", ".join(f"{name} {axes}" for name, axes in dimensions.items())
        found = f"The variables of the Dataset have different dimensions: {listed}."
        raise DataError(found, "the same one dimension for all", "Select the variables that belong together.")
    return _read(x.data_vars, x.data_vars.values())


def _has_names(x: Any) -> bool:
    """Whether an xarray DataArray has two dimensions, and the second has a coordinate of strings."""
    names = x.coords[x.dims[1]].values.tolist() if len(x.dims) == 2 and x.dims[1] in x.coords else []
    return bool(names) and all(isinstance(name, str) for name in names)


def _from_data_array(x: Any) -> Columns:
    return _read(x.coords[x.dims[1]].values.tolist(), np.asarray(x).T)


def _by_protocol(x: Any) -> Columns:
    """Columns of an object with Arrow's stream protocol, or else the data frame interchange protocol."""
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
    except Exception as error:  # the other library may raise anything
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(
            f"Found a {kind} that pyarrow cannot read: {reason}.", TABLE, "Convert it to a NumPy array."
        ) from error
    return _from_arrow(table)
