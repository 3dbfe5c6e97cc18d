"""`Table`: named columns to which a mixture can be fitted. All data enter the package as a `Table`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bayes_gmm.core.error_bars import checked_errors, error_covariances, errors_in_words
from bayes_gmm.core.validation import any_array, file_path, positions
from bayes_gmm.errors import ArgumentError, DataWarning
from bayes_gmm.io.dataframes import from_array, from_columns, named_columns
from bayes_gmm.io.file_formats import STANDARD_INPUT, Source, read_other_format
from bayes_gmm.io.measurements import select_measurements
from bayes_gmm.io.table_checks import (
    check_seen,
    check_shape,
    check_values,
    gaps_in_words,
    missing_rows,
    one_of_missing,
    sound_rows,
)
from bayes_gmm.io.text_file import read_text

_COMPRESSED = re.compile(r"\.(gz|bz2|xz|zip)$")


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """N points with D named features: non-degenerate, read-only float64 `values` (N, D), finite or not seen (NaN).

    `units` has one entry per column, `labels` the known class of each row, "" where it is not known; either may be
    None. `labels_from` is the name of the column that they come from. `left_out` has a sentence for whatever of the
    source is not in the table, and `kept_rows` tells which of its rows are, None where all are. `errors` are the known
    errors of the values, standard deviations (N, D) or covariances (N, D, D), or None.
    NumPy functions accept a Table in place of its values. `as_table` makes a Table of other kinds of tables.

    Raises
    ------
    DataError
        No Gaussian mixture can be fitted to the values.
    ArgumentError
        There is not one unit per column, or not one label per row; or the errors cannot be used.

    Examples
    --------
    >>> table = Table(np.array([[1.8, 54], [3.6, 79], [3.3, 74]]), ("eruptions", "waiting"))
    >>> table.n_points, table.n_features
    (3, 2)
    """

    values: NDArray[np.float64]
    columns: tuple[str, ...]
    name: str = "data"
    units: tuple[str, ...] | None = None
    source: str = ""
    caveats: str = ""
    labels: tuple[str, ...] | None = None
    labels_from: str = ""
    left_out: tuple[str, ...] = ()
    kept_rows: NDArray[np.bool_] | None = None
    errors: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        given = np.asarray(self.values, dtype=np.float64)
        check_values(given, self.columns)
        values = np.array(given, order="C")
        _check_length("units", self.units, len(self.columns))
        _check_length("labels", self.labels, len(values))
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
        if self.errors is not None:
            object.__setattr__(self, "errors", checked_errors(self.errors, values, self.columns))

    @property
    def n_points(self) -> int:
        """The number of rows, N."""
        return len(self.values)

    @property
    def n_features(self) -> int:
        """The number of columns, D."""
        return len(self.columns)

    @property
    def has_gaps(self) -> bool:
        """Whether some cells were not seen."""
        return bool(np.isnan(self.values).any())

    @property
    def gaps(self) -> str:
        """A sentence on the cells that were not seen, by column; empty where all were."""
        return gaps_in_words(self.values, self.columns)

    @property
    def has_errors(self) -> bool:
        """Whether the errors of some values are known and not zero."""
        return self.errors is not None and bool(self.errors.any())

    @property
    def is_exact(self) -> bool:
        """Whether every cell was seen, and without an error."""
        return not (self.has_gaps or self.has_errors)

    @property
    def error_covariances(self) -> NDArray[np.float64] | None:
        """Covariances (N, D, D) of the errors, or None where there are none."""
        return error_covariances(self.errors) if self.errors is not None and self.has_errors else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on what was left out of the source, on the cells that were not seen, and on errors."""
        return (*self.left_out, *filter(None, [self.gaps, errors_in_words(self.errors, self.values, self.columns)]))

    def has_values_of(self, other: Table) -> bool:
        """Whether the values, the cells that were not seen, and the errors are those of another table."""
        (values, errors), (others, theirs) = self.observed(), other.observed()
        same = errors is theirs or (errors is not None and theirs is not None and np.array_equal(errors, theirs))
        return same and np.array_equal(values, others, equal_nan=True)

    def observed(self, chosen: Any = slice(None)) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Values (n, D) of some rows, or all, and covariances (n, D, D) of their errors, None where there are none."""
        errors = self.error_covariances
        return self.values[chosen], errors if errors is None else errors[chosen]

    def rows(self, chosen: NDArray[Any]) -> Table:
        """Some of the rows, by their numbers or by true and false, with their labels and errors."""
        labels = None if self.labels is None else tuple(np.array(self.labels, dtype=object)[chosen])
        errors = None if self.errors is None else self.errors[chosen]
        return replace(self, values=self.values[chosen], labels=labels, errors=errors, kept_rows=None)

    def seen(self, feature: int) -> NDArray[np.float64]:
        """Values of a column in the rows where it was seen."""
        values = self.values[:, feature]
        return values[~np.isnan(values)]

    def of_kept_rows(self, entries: NDArray[Any]) -> NDArray[Any]:
        """Entries (N, ...) of the rows of this table, of an array that has one for each of them or of its source's."""
        source = self.kept_rows
        return entries if source is None or len(entries) != len(source) else entries[source]

    def __len__(self) -> int:
        return self.n_points

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def select(self, columns: str | Sequence[str]) -> Table:
        """Table of the named columns only, in the given order.

        Raises
        ------
        ArgumentError
            The table has no column of that name.

        Examples
        --------
        >>> table = Table(np.array([[1.8, 54], [3.6, 79], [3.3, 74]]), ("eruptions", "waiting"))
        >>> table.select("waiting").columns
        ('waiting',)
        """
        chosen = positions(columns, self.columns)
        names = tuple(self.columns[i] for i in chosen)
        units = tuple(self.units[i] for i in chosen) if self.units else None
        errors = self.errors if self.errors is None else self.errors[:, chosen]
        errors = errors[:, :, chosen] if errors is not None and errors.ndim == 3 else errors
        return replace(self, values=self.values[:, chosen], columns=names, units=units, errors=errors)

    def __repr__(self) -> str:
        units = self.units or ("",) * self.n_features
        heads = [f"{c} [{u}]" if u else c for c, u in zip(self.columns, units, strict=True)]
        width = max(map(len, heads))
        lines = [f"{self.name}: {self.n_points} x {self.n_features}"]
        lines += [" " * width + "".join(f"{s:>11}" for s in ("mean", "sd", "min", "max"))]
        for head, row in zip(heads, column_summary(self), strict=True):
            lines += [f"{head:<{width}}" + "".join(f"{number:>11.4g}" for number in row)]
        return "\n".join([*lines, *self.remarks])


def column_summary(table: Table) -> NDArray[np.float64]:
    """Mean, standard deviation (N - 1), minimum and maximum of the seen cells of each column, (D, 4)."""
    x = table.values
    if table.has_gaps:
        return np.stack([np.nanmean(x, 0), np.nanstd(x, 0, ddof=1), np.nanmin(x, 0), np.nanmax(x, 0)], axis=1)
    return np.stack([x.mean(0), x.std(0, ddof=1), x.min(0), x.max(0)], axis=1)


def as_table(x: Any, *, missing: str = "refuse", errors: Any = None) -> Table:
    """Any (N, D) table of numbers as a `Table`; an array of one axis is N points of one feature.

    `x` is a Table (which is returned itself), an array (NumPy, JAX), a list of rows, or an object with named columns: a
    data frame (pandas, polars, pyarrow, or any that narwhals, Arrow's stream or the interchange protocol reads), an
    xarray DataArray (N, D) or Dataset, or a structured array. Columns without names are called x1 to xD. What is not in
    memory, a query or chunks of Dask, is refused. With `missing="drop"` rows with missing cells are left out, which
    `Table.left_out` says and `Table.kept_rows` tells; with "integrate" they stay, NaN where a cell was not seen.
    Columns of text are always refused. `errors` are known errors of the values, (N, D) standard deviations or (N, D, D)
    covariances, of the rows given or of those that are left, in place of the errors that a Table may have already.

    Raises
    ------
    DataError
        `x` is not a table of numbers, or no mixture can be fitted to it (missing
        values, constant or linearly dependent columns, fewer than D + 1 rows).
    ArgumentError
        `missing` is not "refuse", "drop" or "integrate", or the errors cannot be used.

    Examples
    --------
    >>> as_table([[1.8, 54], [3.6, 79], [3.3, 74]]).columns
    ('x1', 'x2')
    """
    table = _as_table(x, missing)
    if errors is None:
        return table
    given = any_array("errors", errors, "one for each cell", "Give an array of the shape of the table.")
    return replace(table, errors=table.of_kept_rows(given))


def _as_table(x: Any, missing: str) -> Table:
    one_of_missing(missing)
    if isinstance(x, Table):
        return x if missing == "integrate" or not x.has_gaps else _without_gaps(x, missing)
    if missing != "refuse" and isinstance(x, np.ma.MaskedArray) and x.dtype.names is None:
        x = np.ma.filled(x.astype(np.float64), np.nan)
    values, names = _values_and_names(x)
    if missing == "refuse":
        check_seen(values, names)
    if missing != "drop" or not np.isnan(values).any():
        return Table(values, names)
    rows = sound_rows(values, names, missing, lambda row: f"in row {row}")
    left_out = () if rows is None else (missing_rows(values, names, rows),)
    return Table(values if rows is None else values[rows], names, left_out=left_out, kept_rows=rows)


def read_rows(x: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Values (N, D) and column names of what `as_table` accepts, checked only to be a table of numbers.

    Raises
    ------
    DataError
        `x` is not a table of numbers, or has no rows or no columns.
    """
    values, names = _values_and_names(x)
    check_shape(values.shape, names)
    return values, names


def read_table(
    path: str | os.PathLike[str],
    columns: str | Sequence[str] | None = None,
    *,
    without: str | Sequence[str] = (),
    labels: str | None = None,
    missing: str = "integrate",
    errors: str | Sequence[str] = (),
    header: bool | None = None,
) -> Table:
    r"""Measurements in a file, as a `Table` that is named after the file.

    Text in columns (CSV and the like, compressed or not) is read by pandas; separator, quotes, decimal mark, marks of
    thousands, encoding, comment lines and the line of the names are found out, and told in `Table.source`. Parquet and
    Feather need pyarrow, Excel needs openpyxl (``pip install 'bayes_gmm[files]'``); JSON has a record a line.

    What is no measurement is left out, with a `DataWarning` and in `Table.left_out`: text, dates, true and false,
    columns that count the rows or repeat an index, constant ones, identifiers (different whole numbers by a name such
    as id), and codes (at most ten different whole numbers in thirty rows or more, or years). Other columns of different
    whole numbers are kept, and named.

    Parameters
    ----------
    path
        The file, or "-" for standard input.
    columns
        Names of the columns to read, whatever the rules above say of them.
    without
        Names of columns to leave out.
    labels
        Name of a column with the known class of each row, for `Table.labels`; it is no measurement.
    missing
        What to do about missing cells: "integrate" keeps their rows, with NaN, for the fits to integrate out; "drop"
        leaves out the rows, which is said as well; "refuse" raises.
    errors
        Names of the columns with the standard deviations of the errors, in the order of the measurements, none of
        which they are.
    header
        Whether there are names above the rows of a text; found out by default.

    Raises
    ------
    DataError
        The file cannot be read, has a cell that is no number in a column of numbers, or no mixture can be fitted to its
        table.
    ArgumentError
        The file has no column of a given name, or an argument cannot be used.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "geysers.csv"
    ...     _ = path.write_text("place;minutes\nnorth;3,6\nnorth;1,8\nsouth;3,3\n")
    ...     read_table(path, columns="minutes").values.tolist()
    [[3.6], [1.8], [3.3]]
    """
    path = file_path("path", path)
    one_of_missing(missing)
    source = Source(path)
    content = read_other_format(source) or read_text(source, header)
    found = content.found.replace("(", "[").replace(")", "]")
    chosen = select_measurements(
        content, columns=columns, without=without, labels=labels, missing=missing, errors=errors
    )
    del content
    for sentence in chosen.left_out:
        warnings.warn(sentence, DataWarning, stacklevel=2)
    return Table(
        chosen.values,
        chosen.names,
        name="table" if path == STANDARD_INPUT else _COMPRESSED.sub("", path.name).rpartition(".")[0] or path.stem,
        units=chosen.units,
        source=f"{path} ({found})",
        labels=chosen.labels,
        labels_from=labels or "",
        left_out=chosen.left_out,
        kept_rows=chosen.kept_rows,
        errors=chosen.errors,
    )


def _check_length(what: str, entries: Sized | None, n_expected: int) -> None:
    if entries is not None and len(entries) != n_expected:
        found = f"Found {len(entries)} {what}."
        raise ArgumentError(found, f"{n_expected} {what} or None", f"Give {n_expected} {what}.")


def _without_gaps(table: Table, missing: str) -> Table:
    """Rows of a table whose every cell was seen; refused where gaps are."""
    values, columns = table.values, table.columns
    if missing == "refuse":
        check_seen(values, columns)
    rows = np.asarray(sound_rows(values, columns, missing, lambda row: f"in row {row}"))
    left_out = (*table.left_out, missing_rows(values, columns, rows))
    return replace(table.rows(rows), left_out=left_out, kept_rows=rows)


def _values_and_names(x: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if isinstance(x, Table):
        return x.values, x.columns
    columns = named_columns(x)
    return from_array(x) if columns is None else from_columns(columns)
