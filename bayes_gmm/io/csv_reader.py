"""Reader of CSV files, whose errors name the line and the column."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.core.validation import positions
from bayes_gmm.errors import DataError
from bayes_gmm.io.dataframes import Columns
from bayes_gmm.io.table_checks import MISSING, bad_cell, check_names, is_number

STANDARD_INPUT = Path("-")
"""Path that stands for standard input."""


def read_columns(path: Path, wanted: str | Sequence[str] | None = None) -> Columns:
    """Names and numbers of the wanted columns, by default of all; no two columns of the file share a name.

    Raises
    ------
    DataError
        The file cannot be read, or a wanted cell is no finite number.
    ArgumentError
        The file has no column of a wanted name.

    Examples
    --------
    >>> from bayes_gmm import datasets
    >>> folder = Path(datasets.__file__).parent
    >>> names, (waiting,) = read_columns(folder / "faithful.csv", "waiting")
    >>> names, waiting.shape
    (('waiting',), (272,))
    """
    names, lines, rows = _parse(path, _read_text(path))
    check_names(names)  # of all columns: a name that two columns share cannot be used to choose one
    chosen = range(len(names)) if wanted is None else positions(wanted, names)
    cells = list(zip(*rows, strict=True))
    numbers = tuple(_as_numbers(path, names[i], lines, cells[i]) for i in chosen)
    return Columns(tuple(names[i] for i in chosen), numbers)


def _read_text(path: Path) -> str:
    try:
        text = (sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        remedy = f"Check the path; a relative one starts at {Path.cwd()}."
        raise _unfit(path, "does not exist", remedy) from None
    except IsADirectoryError:
        raise _unfit(path, "is a folder", "Give the path of a file in it.") from None
    except UnicodeDecodeError:
        raise _unfit(path, "is not text in UTF-8", "Export the table as CSV in UTF-8.") from None
    except OSError as error:
        remedy = "Check the path, and that the file may be read."
        raise _unfit(path, f"cannot be read ({error.strerror})", remedy) from error
    if "\0" in text:
        raise _unfit(path, "is binary, not text", "Export the table as CSV in UTF-8.")
    if not text.strip():
        raise _unfit(path, "is empty", "Check how the file was written.")
    return text


def _unfit(path: Path, what: str, remedy: str) -> DataError:
    return DataError(f"The file {path} {what}.", "a CSV file of numbers", remedy)


def _parse(path: Path, text: str) -> tuple[list[str], list[int], list[list[str]]]:
    """Names of the columns, and for each row the number of its last line and its cells."""
    lines, rows = _split(path, text)
    _check_rectangular(path, lines, rows)
    names = [f"x{i + 1}" for i in range(len(rows[0]))]
    if not _is_header(rows[0]):
        return names, lines, rows
    if len(rows) == 1:
        raise _unfit(path, "has a header and no rows", "Check how the file was written.")
    names = [cell.strip() or name for cell, name in zip(rows[0], names, strict=True)]
    return names, lines[1:], rows[1:]


def _split(path: Path, text: str) -> tuple[list[int], list[list[str]]]:
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, delimiter=_delimiter(text), skipinitialspace=True)
    lines, rows = [], []
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                lines.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        what = f"cannot be read on line {reader.line_num} ({error})"
        raise _unfit(path, what, "Check the quotes on and before that line.") from error
    return lines, rows


def _delimiter(text: str) -> str:
    first = next(filter(str.strip, io.StringIO(text, newline="")))
    return max("\t;,", key=lambda delimiter: len(next(csv.reader([first], delimiter=delimiter))))


def _check_rectangular(path: Path, lines: Sequence[int], rows: Sequence[Sequence[str]]) -> None:
    width = len(rows[0])
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            what = f"has ragged rows: line {lines[0]} has {width} cells, line {line} has {len(row)}"
            raise _unfit(path, what, "Give every row one cell a column, with one delimiter.")


def _is_header(row: Sequence[str]) -> bool:
    return any(not is_number(cell) and cell.strip().lower() not in MISSING for cell in row)


def _as_numbers(path: Path, name: str, lines: Sequence[int], cells: Sequence[str]) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(cells, dtype=np.float64)
    except ValueError:
        numbers = np.array([float(cell) if is_number(cell) else np.nan for cell in cells])
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        remedy = (
            "Choose the numeric columns with columns= (--columns);"
            " separate cells by comma, semicolon or tab, and write decimals with a point."
        )
        raise bad_cell(name, cells[bad[0]], f"on line {lines[bad[0]]} of {path}", remedy)
    return numbers
