"""Tables of other libraries as named columns, and their numbers.

Frames of all makes are read by narwhals, which imports no library that is not loaded already. Objects that can only be
read through Arrow's protocols are read by pyarrow. What is not in memory is never loaded: it is refused, with the call
that loads it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Sized
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.errors import DataError
from bayes_gmm.io.table_checks import TABLE, check_axes, check_kinds, check_names, refuse_kind

_TO_RUN = {"dask": "x.compute()", "duckdb": "x.df()", "ibis": "x.execute()", "pyspark": "x.toPandas()"}
"""Call that runs a query of a library; of others it is `x.collect()`."""


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
    return _to_run(x) != "" or _reader_of(x) is not None


def named_columns(x: Any) -> Columns | None:
    """Columns of a data frame (pandas, polars, pyarrow, ...), xarray object or structured array, otherwise None.

    Missing cells of columns of numbers are NaN.

    Raises
    ------
    DataError
        The table is lazy or cannot be read, contains masked cells, has two columns with the same name, or a column with
        several axes or of categories, dates, or true and false.

    Examples
    --------
    >>> named_columns(np.array([(1, 2.5), (2, 3.5)], dtype=[("a", int), ("b", float)])).names
    ('a', 'b')
    >>> named_columns([[1, 2.5], [2, 3.5]]) is None
    True
    """
    _refuse_masked(x)
    refuse_unloaded(x)
    read = _reader_of(x)
    return None if read is None else read(x)


def refuse_unloaded(x: Any) -> None:
    """Refuse what is not in memory: a query that has not been run, or chunks of Dask, also within xarray.

    Raises
    ------
    DataError
        The remedy is the call that loads it.
    """
    if call := _to_run(x):
        chunked = callable(getattr(x, "__dask_graph__", None))
        what = "whose values are not in memory" if chunked else "a query that has not been run"
        stream = "; fit_stream takes the parts of a larger one one by one" if chunked else ""
        raise DataError(f"Found a {type(x).__name__}, {what}.", TABLE, f"Run it: give {call}{stream}.")


def _to_run(x: Any) -> str:
    """The call that loads a lazy object into memory, or "" where it is in memory."""
    graph = getattr(x, "__dask_graph__", None)
    if callable(graph):
        return "x.compute()" if graph() is not None else ""
    library = type(x).__module__.partition(".")[0]
    if library in _TO_RUN and not hasattr(x, "to_numpy"):
        return _TO_RUN[library]
    return "x.collect()" if hasattr(x, "collect") and not hasattr(x, "to_numpy") else ""


def _reader_of(x: Any) -> Callable[[Any], Columns] | None:
    """Function that reads tables of the kind of `x`, or None where `x` is not a table."""
    if isinstance(x, np.ndarray):
        return _from_structured if x.dtype.names else None
    if isinstance(x, list | tuple | dict | set | str | float | int):
        return None
    if hasattr(x, "data_vars"):
        return _from_dataset
    if hasattr(x, "dims") and hasattr(x, "coords"):
        return _from_data_array if _has_names(x) else None
    offers = any(hasattr(x, name) for name in ("to_numpy", "__arrow_c_stream__", "__dataframe__"))
    if hasattr(x, "column_names") or (hasattr(x, "columns") and offers):
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


def _from_structured(x: NDArray[Any]) -> Columns:
    names = x.dtype.names or ()
    if x.ndim != 1:
        found = f"Found a structured array of {x.ndim} axes, shape {x.shape}."
        raise DataError(found, "one axis of records", "Flatten it with x.ravel().")
    return _read(names, (x[name] for name in names))


def _from_frame(x: Any) -> Columns:
    """Columns of a frame; the names are checked first, because narwhals reads no two columns with the same name."""
    import narwhals.stable.v2 as narwhals

    check_names(x.columns if hasattr(x, "columns") and not hasattr(x, "column_names") else x.column_names)
    frame = narwhals.from_native(x, eager_only=True, pass_through=True)
    if isinstance(frame, narwhals.DataFrame):
        columns = list(frame.iter_columns())
        return Columns(tuple(column.name for column in columns), tuple(map(_cells, columns)))
    if hasattr(x, "column_names"):  # pyarrow's batches
        return _read(x.column_names, (x.column(i) for i in range(x.num_columns)))
    return _read(x.columns, (x[name] for name in x.columns)) if hasattr(x, "to_numpy") else _by_protocol(x)


def _cells(column: Any) -> NDArray[Any]:
    """Cells of a column of narwhals; of numbers and of objects that are numbers as float, NaN where missing."""
    import narwhals.stable.v2 as narwhals

    if column.dtype.is_decimal():  # Python rounds decimals correctly, pyarrow only nearly
        return _as_numbers(np.array(column.to_list(), dtype=object))
    if column.dtype.is_numeric():
        return np.asarray((column.cast(narwhals.Float64) if column.is_null().any() else column).to_numpy())
    for kind, code in ((narwhals.Boolean, "b"), (narwhals.Categorical, "category"), (narwhals.Enum, "category")):
        if column.dtype == kind:
            known = column.drop_nulls()
            refuse_kind(str(column.name), code, column.dtype, known[0] if len(known) else None)
    cells = np.asarray(column.to_numpy())
    return _as_numbers(cells) if cells.dtype == object else cells


def _as_numbers(cells: NDArray[Any]) -> NDArray[Any]:
    """Objects as float where all are numbers or missing, else as they are."""
    held = cells.tolist()
    if not all(_is_real(cell) or cell is None or str(cell) == "<NA>" for cell in held):
        return cells
    return np.array([float(cell) if _is_real(cell) else np.nan for cell in held])


def _is_real(cell: Any) -> bool:
    return isinstance(cell, Real | Decimal) and not isinstance(cell, bool | np.bool_)


def _read(names: Iterable[Any], columns: Iterable[Any]) -> Columns:
    """Columns after checks that the names differ, and that the columns have one axis each."""
    names = tuple(names)
    check_names(names)
    cells = tuple(np.asarray(column) for column in columns)
    for name, array in zip(names, cells, strict=True):
        if array.ndim != 1:
            found = f"Column {str(name)!r} has {array.ndim} axes, shape {array.shape}."
            raise DataError(found, "columns of one number a row", "Split it into columns of one axis.")
    return Columns(names, cells)


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
    return _from_frame(table)


def from_columns(columns: Columns) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Values (N, D) and names of columns; callers check whether there are rows and columns.

    Raises
    ------
    DataError
        A column does not hold numbers.

    Examples
    --------
    >>> from_columns(Columns(("a", 2), (np.array([1, 2]), np.array([0.5, 1.5]))))
    (array([[1. , 0.5],
           [2. , 1.5]]), ('a', '2'))
    """
    names = tuple(map(str, columns.names))
    if 0 in columns.shape:
        return np.empty(columns.shape), names
    check_kinds(columns.cells, names)
    return _as_float64(np.stack(columns.cells, axis=1)), names


def from_array(x: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Values (N, D) of an array or nested list, and the names x1 to xD; callers check whether there are rows.

    An array of one axis is one column, and keeps its name if it has one.

    Raises
    ------
    DataError
        `x` is not an array of one or two axes, or does not hold numbers.

    Examples
    --------
    >>> from_array([1, 2, 4])[0].shape
    (3, 1)
    """
    array = _as_array(x)
    names = tuple(f"x{i + 1}" for i in range(1 if array.ndim == 1 else array.shape[1]))
    if array.ndim == 1:
        array = array[:, None]
        names = (x.name,) if isinstance(getattr(x, "name", None), str) and x.name else names
    check_axes(array.shape)
    if 0 in array.shape:
        return np.empty(array.shape), names
    check_kinds(list(array.T), names)
    return _as_float64(array), names


def _as_float64(array: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # larger numbers of a wider type become infinite, which is refused later
        return np.asarray(array, dtype=np.float64)


def _as_array(x: Any) -> NDArray[Any]:
    if hasattr(x, "nnz") and hasattr(x, "toarray"):
        raise DataError("Found a sparse matrix.", TABLE, "Make it dense with x.toarray().")
    try:
        array = np.asarray(x)
    except (TypeError, ValueError, RuntimeError) as error:
        remedy = "Give an array of shape (N, D), or a list of rows of one length."
        raise DataError(_describe_unreadable(x, error), TABLE, remedy) from error
    if array.ndim == 0:
        remedy = "Give an array of shape (N, D) or a frame; for a CSV file use read_table."
        remedy = "Put it into a frame: pandas.DataFrame(x)." if isinstance(x, dict) else remedy
        raise DataError(f"Found one {type(x).__name__}, {reprlib.repr(x)}.", TABLE, remedy)
    return array


def _describe_unreadable(x: Any, error: Exception) -> str:
    if isinstance(x, list | tuple):
        lengths = [len(row) if isinstance(row, Sized) else 1 for row in x]
        for row, length in enumerate(lengths):
            if length != lengths[0]:
                return f"Found ragged rows: row 0 has {lengths[0]} values, row {row} has {length}."
    reason = str(error).partition("\n")[0].rstrip(".")
    return f"Found a {type(x).__name__} that NumPy cannot read: {reason}."
