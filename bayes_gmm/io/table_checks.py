"""Checks that a Gaussian mixture can be fitted to a table, one function per condition."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.core.validation import one_of
from bayes_gmm.errors import CellError, DataError

LARGEST = 1e150
"""Largest size of a number: its square is finite in float64, and so is the sum of 10^8 such squares."""
SPREAD_TOLERANCE = 1e-12
"""Smallest range of a column relative to its largest value: of float64's 16 digits, 4 are left for the differences."""
RANK_TOLERANCE = 1e-10
"""Singular values of the standardised columns below this share of the largest count as zero.

It lies above what rounding leaves of an exact linear combination, and below the value for columns that differ by a
millionth of their spread, to which a mixture can be fitted.
"""
_CERTAINLY_FULL_RANK = 1e-8
"""Smallest eigenvalue of the correlation matrix above which the rank needs no closer look.

It is the square of a relative singular value of 1e-4, far above `RANK_TOLERANCE` and the rounding of the matrix.
"""

WITHOUT_GAPS = ("refuse", "drop")
MISSING_CHOICES = (*WITHOUT_GAPS, "integrate")
DROP = (
    'Drop or impute those rows; missing="drop", in as_table, read_table and the fits, leaves them out, and '
    '"integrate" keeps what was seen.'
)
CHOOSE = "Correct the cell, choose columns with columns= (--columns), or leave this one out with without= (--without)."

DIAGONAL = 'fit_em with covariance_type="diag" or "spherical" (EEI, VEI, EII and the like) needs no covariances'

TABLE = "a table of numbers, N rows (points) by D columns (features)"
MISSING = {"", "na", "n/a", "nan", "nat", "none", "null", "<na>"}
REFUSED_KINDS = {
    "b": ("true and false", "Drop the column, for two values are not Gaussian."),
    "c": ("complex numbers", "Give the real and the imaginary parts as two columns."),
    "M": ("dates", "Convert them to numbers, for example to days since the first one."),
    "category": ("categories", "Drop the column, or convert it with .astype(float) where its categories are measured."),
    "m": ("time differences", "Divide them by a unit, for example np.timedelta64(1, 's')."),
}
ANY_OTHER_KIND = ("no plain numbers", "Convert them with .astype(float).")


def check_values(values: NDArray[np.float64], columns: Sequence[str]) -> None:
    """Refuse values (N, D) to which no Gaussian mixture can be fitted; cells that were not seen are NaN.

    Raises
    ------
    DataError
        The message is about the first condition that is not met.

    Examples
    --------
    >>> check_values(np.array([[1.0], [2.0]]), ["length"])
    """
    check_shape(values.shape, columns)
    check_names(columns)
    if len(values) < 2:
        _refuse_rows(values, "at least 2 rows", "")
    ends = check_numbers(_with_gaps_closed(values, columns), columns)
    _check_constant(ends, columns)
    _check_spread(ends, columns)


def check_full_rank(values: NDArray[np.float64], columns: Sequence[str], needed_for: str = "covariances") -> None:
    """Refuse values (N, D) whose covariance matrix is singular, which only diagonal and spherical structures take.

    Where cells are missing, only their number is looked at here.

    Raises
    ------
    DataError
        When there are no more rows than columns, or columns depend on each other.

    Examples
    --------
    >>> check_full_rank(np.array([[1.0, 2.0], [2.0, 5.0], [4.0, 3.0]]), ["length", "mass"])
    """
    n_points, n_features = values.shape
    if n_points <= n_features:
        _refuse_rows(values, f"at least D + 1 = {n_features + 1} rows for {needed_for}", f"; {DIAGONAL}")
    if not np.isnan(values).any():
        _check_rank(values, columns, needed_for)


def check_seen(values: NDArray[np.float64], columns: Sequence[str]) -> None:
    """Refuse values (N, D) with missing cells, which are NaN.

    Raises
    ------
    DataError
        The message names the first of them.
    """
    if np.isnan(values).any():
        _refuse_infinite(values, columns)


def check_numbers(values: NDArray[np.float64], columns: Sequence[str], *, gaps: bool = False) -> NDArray[np.float64]:
    """Smallest and largest value of each column (2, D); numbers that are not finite, or their squares, are refused.

    Rows that are given after a fit must meet these two conditions only. With `gaps` cells may be NaN, not seen.

    Raises
    ------
    DataError
        The message is about the first condition that is not met.
    """
    ends = np.stack([values.min(axis=0), values.max(axis=0)])
    if gaps and np.isnan(ends).any():
        seen = np.where(np.isnan(values), 0.0, values)
        ends = np.stack([seen.min(axis=0), seen.max(axis=0)])
    if not np.isfinite(ends).all():
        _refuse_infinite(values, columns)
    _check_size(ends, columns)
    return ends


def check_shape(shape: tuple[int, ...], columns: Sequence[str]) -> None:
    """Refuse a shape that is not (N, D) with N, D > 0, and any other number of column names than D."""
    check_axes(shape)
    if 0 in shape:
        what = "columns" if shape[1] == 0 else "rows"
        found = f"Found a table without {what}, shape {shape}."
        raise DataError(found, TABLE, "Check the file, or the filter that left nothing.")
    if len(columns) != shape[1]:
        found = f"Found {len(columns)} column names for {shape[1]} columns."
        raise DataError(found, "one name a column", "Name every column once.")


def check_axes(shape: tuple[int, ...]) -> None:
    """Refuse an array that does not have two axes."""
    if len(shape) != 2:
        found = f"Found an array of {len(shape)} axes, shape {shape}."
        raise DataError(found, TABLE, way_to_two_axes(shape))


def way_to_two_axes(shape: tuple[int, ...]) -> str:
    """What an array of other than two axes most likely is, and how it becomes a table.

    Examples
    --------
    >>> way_to_two_axes((480, 640, 3))
    'Most likely 480 x 640 pixels of 3 channels: x.reshape(-1, 3) makes each pixel a point.'
    """
    if len(shape) == 3:
        first, second, last = shape
        if last <= min(first, second):
            pixels = f"{first} x {second} pixels of {last} channels"
            return f"Most likely {pixels}: x.reshape(-1, {last}) makes each pixel a point."
        if first < min(second, last):
            pixels = f"{first} channels of {second} x {last} pixels"
            return f"Most likely {pixels}: x.reshape({first}, -1).T makes each pixel a point."
    if len(shape) > 2:
        return (
            "x.reshape(-1, x.shape[-1]) makes points of the last axis (pixels by channels, say), "
            "x.reshape(len(x), -1) a point of each entry of the first."
        )
    return "Reshape it to two axes: x[:, None] is one feature."


def check_names(columns: Iterable[object]) -> None:
    """Refuse two columns with the same name."""
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        found = f"Found more than one column named {twice[0]!r}."
        raise DataError(found, "column names that differ", "Rename or drop one of them.")


def check_kinds(columns: Sequence[NDArray[Any]], names: Sequence[str]) -> None:
    """Refuse columns whose type is not an integer or floating-point type."""
    for name, column in zip(names, columns, strict=True):
        if column.dtype.kind in "OSUT":
            _check_cells(name, column.tolist())
    for name, column in zip(names, columns, strict=True):
        if column.dtype.kind not in "iuf":
            refuse_kind(name, column.dtype.kind, column.dtype, column[0])


def refuse_kind(name: str, kind: str, dtype: Any, example: Any) -> NoReturn:
    """Refuse a column of a type that holds no numbers, by NumPy's letter for it, or "category".

    Raises
    ------
    DataError
        Always.
    """
    what, remedy = REFUSED_KINDS.get(kind, ANY_OTHER_KIND)
    found = f"Column {name!r} holds {what} (dtype {dtype}), such as {example}."
    raise DataError(found, "integers or floating-point numbers", remedy)


def _check_cells(name: str, cells: Sequence[object]) -> None:
    for row, cell in enumerate(cells):
        if not is_number(cell):
            remedy = "Keep the numeric columns only, or encode this one as numbers."
            raise bad_cell(name, cell, f"in row {row}", remedy)


def is_number(cell: Any) -> bool:
    """Whether Python's `float` accepts a cell, as it also does NaN and infinity."""
    try:
        float(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _with_gaps_closed(values: NDArray[np.float64], columns: Sequence[str]) -> NDArray[np.float64]:
    """Values with some seen value of its column in each missing cell, which changes no extreme of a column."""
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    check_columns_seen(values, columns)
    return np.where(gaps, values[(~gaps).argmax(axis=0), np.arange(len(columns))], values)


def check_columns_seen(values: NDArray[np.float64], columns: Sequence[str]) -> None:
    """Refuse a column no cell of which was seen."""
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if empty.size:
        found = f"Column {columns[empty[0]]!r} holds no value at all."
        raise DataError(found, "columns some cells of which were seen", "Drop the column.")


def bad_cell(column: str, cell: object, where: str, remedy: str) -> CellError:
    """Error about a cell that is missing or not a number; `remedy` is what to do about the latter."""
    what = "not a finite number"
    if str(cell).strip().lower() in MISSING:
        what, remedy = "a missing value", DROP
    found = f"Column {column!r} holds {reprlib.repr(cell)} {where}, which is {what}."
    return CellError(found, "a finite number in every cell", remedy)


def _refuse_infinite(values: NDArray[np.float64], columns: Sequence[str]) -> NoReturn:
    bad = ~np.isfinite(values)
    row, column = map(int, np.argwhere(bad)[0])
    cell, n_rows = values[row, column], bad.any(axis=1).sum()
    found = (
        f"Column {columns[column]!r} holds {cell} in row {row};"
        f" NaN or infinite cells: {bad.sum()}, in {n_rows} of {len(values)} rows."
    )
    remedy = (
        DROP if np.isnan(values[bad]).all() else "Drop or impute those rows; x[np.isfinite(x).all(axis=1)] drops them."
    )
    raise CellError(found, "a finite number in every cell", remedy)


def one_of_missing(missing: Any, choices: tuple[str, ...] = MISSING_CHOICES) -> None:
    """Refuse what is no way to treat missing cells."""
    kept = ', "integrate" keeps what was seen of them' * ("integrate" in choices)
    one_of("missing", missing, choices, f'"drop" leaves rows with missing cells out{kept}.')


def sound_rows(
    values: NDArray[np.float64], columns: Sequence[str], missing: str, place: Callable[[int], str]
) -> NDArray[np.bool_] | None:
    """Which rows (N,) are kept, or None where all are: "drop" keeps those with every cell, "integrate" all of them.

    Raises
    ------
    DataError
        When cells are missing and are refused, no row has all cells, or a number is infinite. `place` says in words
        where a row is.
    """
    ends = values.min(axis=0), values.max(axis=0)
    if np.isfinite(ends).all():
        return None
    infinite = np.isinf(values)
    if infinite.any():
        row, column = map(int, np.argwhere(infinite)[0])
        raise bad_cell(columns[column], str(values[row, column]), place(row), CHOOSE)
    gaps = np.isnan(values)
    if not gaps.any() or missing == "integrate":
        return None
    rows = ~gaps.any(axis=1)
    if missing == "refuse":
        row, column = map(int, np.argwhere(gaps)[0])
        found = f"Column {columns[column]!r} holds a missing value {place(row)}; {_blame(gaps, columns)}."
        raise CellError(found, "a finite number in every cell", DROP)
    if not rows.any():
        worst = columns[int(gaps.sum(axis=0).argmax())]
        found = f"Every row has a missing cell: {_blame(gaps, columns)}."
        raise DataError(
            found, "rows with all cells", f"Leave out the column with most gaps: without={worst!r} (--without)."
        )
    return rows


def missing_rows(values: NDArray[np.float64], columns: Sequence[str], kept: NDArray[np.bool_]) -> str:
    """A sentence on the rows that are left out, those that are not `kept`."""
    dropped = np.flatnonzero(~kept)
    plural = "s" if len(dropped) > 1 else ""
    listed = f", row{plural} {', '.join(map(str, dropped))} counted from 0" if len(dropped) <= 10 else ""
    return f"left out: {len(dropped)} of {len(kept)} rows with {_blame(np.isnan(values), columns)}{listed}"


def gaps_in_words(values: NDArray[np.float64], columns: Sequence[str]) -> str:
    """A sentence on missing cells that are kept and integrated out, or an empty text where there are none."""
    gaps = np.isnan(values)
    if not gaps.any():
        return ""
    return (
        f"{_blame(gaps, columns)} in {int(gaps.any(axis=1).sum())} of {len(values)} rows, taken as missing at random "
        "and integrated out"
    )


def _blame(gaps: NDArray[np.bool_], columns: Sequence[str]) -> str:
    """How many cells are missing in which columns, those with most first."""
    counts = gaps.sum(axis=0)
    order = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    listed = ", ".join(f"{columns[i]} {counts[i]}" for i in order[:6]) + (", ..." if len(order) > 6 else "")
    return f"missing cells ({listed})"


def _check_size(ends: NDArray[np.float64], columns: Sequence[str]) -> None:
    for name, size in zip(columns, np.abs(ends).max(axis=0), strict=True):
        if size > LARGEST or 0 < size < 1 / LARGEST:
            found = f"Column {name!r} has values of size {size:g}, whose squares leave float64."
            expected = f"values of size {1 / LARGEST:g} to {LARGEST:g}"
            raise DataError(found, expected, "Express the column in another unit.")


def _refuse_rows(values: NDArray[np.float64], expected: str, otherwise: str) -> NoReturn:
    found = f"Found {values.shape[0]} rows of {values.shape[1]} columns."
    remedy = f"Give more rows or fewer columns; points are rows (transpose with x.T if not){otherwise}."
    raise DataError(found, expected, remedy)


def _check_constant(ends: NDArray[np.float64], columns: Sequence[str]) -> None:
    constant = np.flatnonzero(ends[0] == ends[1]).tolist()
    if constant:
        first, *others = (columns[i] for i in constant)
        found = f"Column {first!r} is constant, every value is {ends[0, constant[0]]:g}."
        if others:
            found += f" So are {reprlib.repr(others)}."
        remedy = "Drop the column." if not others else "Drop these columns."
        raise DataError(found, "columns whose values vary", remedy)


def _check_spread(ends: NDArray[np.float64], columns: Sequence[str]) -> None:
    spread, size = ends[1] - ends[0], np.abs(ends).max(axis=0)
    swamped = np.flatnonzero(spread < np.maximum(SPREAD_TOLERANCE * size, 1 / LARGEST))
    if swamped.size:
        i = swamped[0]
        found = f"Column {columns[i]!r} varies by only {spread[i]:g} around {ends[0, i]:g}."
        expected = f"a spread above {SPREAD_TOLERANCE:g} of the values' size"
        remedy = "Subtract the offset where the column is made, before float64 rounds it away."
        raise DataError(found, expected, remedy)


def _check_rank(values: NDArray[np.float64], columns: Sequence[str], needed_for: str) -> None:
    centred = values - values.mean(axis=0)
    centred -= centred.mean(axis=0)  # because the mean of values with a large offset is rounded itself
    products = centred.T @ centred
    lengths = np.sqrt(np.diag(products))
    # The eigenvalues nearly always suffice and cost little; only QR resolves small singular values.
    if np.linalg.eigvalsh(products / np.outer(lengths, lengths))[0] > _CERTAINLY_FULL_RANK:
        return
    triangle = np.linalg.qr(centred / lengths, mode="r")
    sizes = np.linalg.svd(triangle, compute_uv=False)
    rank = int((sizes > RANK_TOLERANCE * sizes[0]).sum())
    if rank < len(columns):
        culprit = columns[int(np.abs(np.diag(triangle)).argmin())]
        found = f"The columns have rank {rank} of {len(columns)}: {culprit!r} is a linear combination of the others."
        raise DataError(found, f"linearly independent columns for {needed_for}", f"Drop {culprit!r}; {DIAGONAL}.")
