"""Which columns of a file are measurements: a rule for each kind of column that is not, and a line that says so.

====================  ==================================================================================
left out as           when
====================  ==================================================================================
empty                 every cell is missing
text                  fewer than half of its cells are numbers
dates                 its texts are dates or times, or its type is one
true and false        its cells are true or false
counts the rows       whole numbers that rise by one from row to row, from 0 or 1, or by a name such as id
index                 whole numbers without a name, or by a name such as index
identifiers           whole numbers, all different, by a name such as id or key
years                 whole numbers from 1000 to 2999, by a name such as year
codes                 whole numbers, at most ten different ones in at least thirty rows
constant              every value is the same
====================  ==================================================================================

A column of numbers in which some cell is neither a number nor missing is an error. Whole numbers that are all different
are kept under any other name, which is said as well.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.core.validation import positions
from bayes_gmm.errors import ArgumentError, CellError, DataError
from bayes_gmm.io.file_formats import FileContent
from bayes_gmm.io.number_text import MISSING_MARKERS, NumberFormat, is_date, is_missing, is_number
from bayes_gmm.io.table_checks import CHOOSE, bad_cell, check_names, missing_rows, sound_rows

_MOST_CODES = 10
_FEWEST_ROWS_OF_CODES = 30
"""Rows from which on ten different whole numbers are a scale of ten steps rather than a short table."""

_FEWEST_ROWS_THAT_COUNT = 5
"""Rows from which on whole numbers that rise by one are hardly measured."""

_FEWEST_IDENTIFIERS = 20
"""Rows from which on different whole numbers are worth a word."""

_SAMPLE = 200
"""Cells of a column of texts that are looked at before all are converted."""

_INDEX = re.compile(r"unnamed: \d+(\.\d+)?|index|level_\d|row\.?_?names?|row(_?(id|number|num|nr|no))?", re.IGNORECASE)
_IDENTIFIER = re.compile(
    r"(.*[\W_])?(id|ids|uuid|key|nr|no|num|number|nummer|numéro|code|zip|plz|index|serial|seq|sequence|record|obs|case)"
    r"|.*[a-zäöüé]I[Dd]|id[\W_].*",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(.*[\W_])?(years?|yr|jahre?|année|annee|año)([\W_].*)?", re.IGNORECASE)


class Measurements(NamedTuple):
    """Columns of numbers, and what was left out.

    Attributes
    ----------
    values : (N, D)
        The numbers.
    names, units
        One a column; units are None where there are none.
    labels
        Class of each row as text, "" where it is missing; None where no column was named.
    left_out
        A sentence for each kind of thing that was left out, and for columns that were kept in doubt.
    kept_rows
        Which rows of the file are in `values`, None where all are.
    errors : (N, D)
        Standard deviations of the errors of the values, or None where no columns were named.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    units: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    left_out: tuple[str, ...]
    kept_rows: NDArray[np.bool_] | None
    errors: NDArray[np.float64] | None = None


class _Column(NamedTuple):
    """A column as numbers, or the reason why it is none; `row` is that of a cell that is no number."""

    numbers: NDArray[np.float64] | None
    unit: str = ""
    reason: str = ""
    row: int | None = None
    cell: str = ""


def select_measurements(
    content: FileContent,
    *,
    columns: str | Sequence[str] | None = None,
    without: str | Sequence[str] = (),
    labels: str | None = None,
    missing: str = "refuse",
    errors: str | Sequence[str] = (),
) -> Measurements:
    """Measurements of a file: the named columns, or all that are no text, date, index, code or constant.

    The columns named by `errors` hold the standard deviations of their errors, one for each of them, in their order.

    Raises
    ------
    DataError
        When a cell of a column of numbers is none, a named column holds no numbers, no column is left, or cells are
        missing and `missing` is "refuse".
    ArgumentError
        When the file has no column of a given name, or there is not one column of errors for each measurement.
    """
    names = [str(name) for name in content.frame.columns]
    check_names(names)  # of all columns: a name that two columns share cannot be used to choose one
    units = dict(zip(names, content.units, strict=True)) if content.units else {}
    label_position = None if labels is None else positions(labels, names)[0]
    of_errors = positions(errors, names) if errors else []
    _refuse_shared([names[i] for i in of_errors], columns, "columns of errors")
    chosen = _chosen(names, columns, [*_listed(without), *(names[i] for i in of_errors)], label_position)
    reasons: dict[str, str] = {}
    kept: dict[str, NDArray[np.float64]] = {}
    for i in chosen:
        column = _read(content.frame.iloc[:, i], content.numbers)
        reason = _reason(names[i], column, content.nameless) if columns is None else column.reason
        if column.numbers is None and columns is not None:
            raise _no_numbers(names[i], column, content)
        if column.row is not None:
            raise _bad_cell(names[i], column, content)
        if reason:
            reasons[names[i]] = reason
        elif column.numbers is not None:
            kept[names[i]], units[names[i]] = column.numbers, column.unit or units.get(names[i], "")
    if not kept:
        raise _nothing_left(reasons)
    label_cells = None if label_position is None else _labels(content.frame.iloc[:, label_position])
    doubts = [] if columns is not None else _kept_in_doubt(kept)
    found = _without_gaps(kept, units, label_cells, content, missing, [*_sentences(reasons), *doubts])
    if not of_errors:
        return found
    sds = _errors(content, of_errors, found.names)
    return found._replace(errors=sds if found.kept_rows is None else sds[found.kept_rows])


def _errors(content: FileContent, places: Sequence[int], columns: Sequence[str]) -> NDArray[np.float64]:
    """Standard deviations (N, D) of the errors of the columns."""
    if len(places) != len(columns):
        raise ArgumentError(
            f"Found {len(places)} columns of errors for {len(columns)} measurements, {', '.join(map(repr, columns))}.",
            "one column of errors for each measurement, in their order",
            "Choose the measurements with columns= (--columns).",
        )
    sds = []
    for i in places:
        name, column = str(content.frame.columns[i]), _read(content.frame.iloc[:, i], content.numbers)
        if column.numbers is None:
            raise _no_numbers(name, column, content)
        if column.row is not None:
            raise _bad_cell(name, column, content)
        sds.append(column.numbers)
    return np.stack(sds, axis=1)


def _refuse_shared(others: str | Sequence[str], columns: str | Sequence[str] | None, where: str) -> None:
    shared = [name for name in _listed(others) if columns is not None and name in _listed(columns)]
    if shared:
        both = ", ".join(map(repr, sorted(shared)))
        raise ArgumentError(
            f"{both} is both in columns and in {where}.", "a column in one of them", "Leave out the other."
        )


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _chosen(
    names: Sequence[str], columns: str | Sequence[str] | None, without: str | Sequence[str], labels: int | None
) -> list[int]:
    _refuse_shared(without, columns, "without")
    left = set(positions(without, names)) if without else set()
    wanted = list(range(len(names))) if columns is None else positions(columns, names)
    if columns is None and labels is not None:
        left.add(labels)
    return [i for i in wanted if i not in left]


def _read(cells: Any, numbers: NumberFormat) -> _Column:
    """A column of a pandas frame as numbers, or what it is instead."""
    kind = getattr(cells.dtype, "kind", "O")
    if kind in "iuf":
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        return _Column(values) if not np.isnan(values).all() else _Column(None, reason="empty")
    other = {"b": "true and false", "M": "dates", "m": "time differences", "c": "complex numbers"}
    if kind in other or str(cells.dtype) == "category":
        return _Column(None, reason=other.get(kind, "categories"))
    known = cells.dropna()
    for reason, kinds in _OBJECTS.items():
        if len(known) and all(isinstance(cell, kinds) for cell in known.iloc[:_SAMPLE]):
            return _Column(None, reason=reason)
    if len(known) and all(_is_real(cell) for cell in known):
        return _Column(np.array([float(cell) if _is_real(cell) else np.nan for cell in cells]))
    return _read_texts(cells, numbers)


_OBJECTS = {
    "true and false": (bool, np.bool_),
    "dates": (datetime.date, datetime.time, np.datetime64),
    "time differences": (datetime.timedelta, np.timedelta64),
    "lists": (list, tuple, dict, np.ndarray, bytes),
}


def _is_real(cell: Any) -> bool:
    return isinstance(cell, Real | Decimal) and not isinstance(cell, bool | np.bool_)


def _read_texts(cells: Any, numbers: NumberFormat) -> _Column:
    """A column of texts; it is one of numbers where at least half of those that are there are numbers."""
    texts = cells.where(cells.isna(), cells.astype(str)).astype("str").str.strip()
    known = texts[texts.notna() & ~texts.isin(MISSING_MARKERS)]
    if known.empty:
        return _Column(None, reason="empty")
    sample = [str(cell) for cell in known.iloc[:: max(len(known) // _SAMPLE, 1)]]
    if not any(is_number(cell, numbers) for cell in sample):
        return _Column(None, reason=_kind_of_texts(sample))
    are_numbers = known.str.fullmatch(numbers.pattern) | known.str.fullmatch(r"[+-]?inf(inity)?", case=False)
    if 2 * are_numbers.sum() < len(known):
        return _Column(None, reason=_kind_of_texts(sample))
    values = np.full(len(texts), np.nan)
    values[texts.index.get_indexer(known.index[are_numbers])] = numbers.plain(known[are_numbers]).astype(float)
    row, cell = None, ""
    if not are_numbers.all():
        first = known.index[~are_numbers][0]
        row, cell = int(texts.index.get_loc(first)), str(known[first])
    units = {unit for text in known.unique()[:_SAMPLE] for unit in re.findall(r"[%‰€$£¥]", text)}
    return _Column(values, unit=units.pop() if len(units) == 1 else "", row=row, cell=cell)


def _kind_of_texts(sample: Sequence[str]) -> str:
    if {cell.lower() for cell in sample} <= {"true", "false"}:
        return "true and false"
    return "dates" if 10 * sum(map(is_date, sample)) >= 9 * len(sample) else "text"


def _reason(name: str, column: _Column, nameless: Sequence[str]) -> str:
    """Why a column of numbers is no measurement, by its values and its name, or an empty text."""
    if column.numbers is None or column.row is not None:
        return column.reason
    low, high = np.nanmin(column.numbers), np.nanmax(column.numbers)
    if low == high:
        return f"constant, every value is {low:g}" if len(column.numbers) > 1 else ""
    if column.unit or not (np.isfinite(low) and np.isfinite(high)) or not _are_whole(column.numbers[:_SAMPLE]):
        return ""
    x = column.numbers[~np.isnan(column.numbers)]
    if len(x) < _FEWEST_ROWS_THAT_COUNT or not _are_whole(x):
        return ""
    different = np.unique(x)
    checks: dict[str, Callable[[], bool]] = {
        "counts the rows": lambda: _counts(x, column.numbers) and (x[0] in (0, 1) or _named_like(name, _IDENTIFIER)),
        "index": lambda: name in nameless or _named_like(name, _INDEX),
        "identifiers": lambda: len(different) == len(x) and _named_like(name, _IDENTIFIER),
        "years": lambda: _named_like(name, _YEAR) and bool(x.min() >= 1000 and x.max() < 3000),
    }
    for reason, holds in checks.items():
        if holds():
            return reason
    are_codes = len(different) <= _MOST_CODES and len(x) >= _FEWEST_ROWS_OF_CODES
    return f"codes, {len(different)} different whole numbers" if are_codes else ""


def _are_whole(x: NDArray[np.float64]) -> bool:
    return bool(((x == np.round(x)) | np.isnan(x)).all())


def _counts(x: NDArray[np.float64], numbers: NDArray[np.float64] | None) -> bool:
    return numbers is not None and len(x) == len(numbers) and bool((np.diff(x) == 1).all())


def _named_like(name: str, pattern: re.Pattern[str]) -> bool:
    return pattern.fullmatch(name.strip()) is not None


def _kept_in_doubt(kept: dict[str, NDArray[np.float64]]) -> list[str]:
    """A line on columns of whole numbers that are all different, which may number the rows' subjects."""
    doubtful = [
        name
        for name, x in kept.items()
        if len(x) >= _FEWEST_IDENTIFIERS and _are_whole(x[:_SAMPLE]) and _are_whole(x) and len(np.unique(x)) == len(x)
    ]
    return [f"kept, though all values are different whole numbers: {', '.join(doubtful)}"] if doubtful else []


def _labels(cells: Any) -> tuple[str, ...]:
    texts = [
        f"{cell:g}" if isinstance(cell, float | np.floating) and cell == cell and cell == round(cell) else cell
        for cell in cells.tolist()
    ]
    return tuple("" if cell is None or cell != cell or is_missing(str(cell)) else str(cell) for cell in texts)


def _without_gaps(
    kept: dict[str, NDArray[np.float64]],
    units: dict[str, str],
    labels: tuple[str, ...] | None,
    content: FileContent,
    missing: str,
    sentences: list[str],
) -> Measurements:
    """The columns side by side; rows with missing cells are refused or left out."""
    names = tuple(kept)
    values = np.stack(list(kept.values())).T  # column by column, which is several times as fast here
    rows = sound_rows(values, names, missing, content.place)
    if rows is not None:
        sentences.append(missing_rows(values, names, rows))
        labels = labels if labels is None else tuple(label for label, keep in zip(labels, rows, strict=True) if keep)
        values = values[rows]
    given = tuple(units.get(name, "") for name in names)
    sentences += [f"left out: {remark}" for remark in content.remarks]
    return Measurements(values, names, given if any(given) else None, labels, tuple(sentences), rows)


def _sentences(reasons: dict[str, str]) -> list[str]:
    return [f"left out: {', '.join(f'{name} ({reason})' for name, reason in reasons.items())}"] if reasons else []


def _bad_cell(name: str, column: _Column, content: FileContent) -> CellError:
    return bad_cell(name, column.cell, content.place(column.row or 0), CHOOSE)


def _no_numbers(name: str, column: _Column, content: FileContent) -> CellError:
    cells = content.frame[name].dropna()
    example = f", such as {str(cells.iloc[0])!r} {content.place(int(cells.index[0]))}" if len(cells) else ""
    found = f"Column {name!r} holds {column.reason or 'no numbers'}{example}."
    return CellError(
        found, "numbers in every column that is named", "Choose columns of numbers with columns= (--columns)."
    )


def _nothing_left(reasons: dict[str, str]) -> DataError:
    held = ", ".join(f"{name} ({reason})" for name, reason in reasons.items())
    found = f"The file has no column of measurements: {held}." if held else "The file has no column that is left."
    return DataError(
        found, "at least one column of numbers", "Name a column with columns= (--columns) to use it as it is."
    )
