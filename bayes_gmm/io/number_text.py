"""Numbers as people and programs write them: decimal comma, thousands, percent, currency, and markers of gaps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING_MARKERS = (
    *(
        "",
        "NA",
        "N/A",
        "n/a",
        "NaN",
        "nan",
        "NAN",
        "-nan",
        "-NaN",
        "NaT",
        "None",
        "none",
        "NULL",
        "null",
        "Null",
        "<NA>",
    ),
    *("#N/A", "#N/A N/A", "#NA", "#NV", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "#WERT!", "#ZAHL!"),
    *("#VALEUR!", "#NOMBRE!", "\\N", ".", "?", "-", "--", "---", "n.a.", "N.A.", "k.A.", "n.d.", "na", "n. a."),
    *("missing", "Missing", "MISSING", "\u2013", "\u2014"),
)
"""Cells that stand for a missing value in what spreadsheets, R, SAS, SQL tools and people write."""

_SIGN, _EXPONENT = r"[+\-\u2212]?", r"(?:[eE][+\-]?\d+)?"
_UNIT = r"[%\u2030\u20ac$\u00a3\u00a5]"
_SPACES = " \u00a0\u202f\u2009"


class NumberFormat(NamedTuple):
    """How the numbers of a text are written: the decimal mark, and the marks between thousands, "" for none."""

    decimal: str = "."
    thousands: str = ""

    @property
    def pattern(self) -> str:
        """Regular expression of a number, with its unit before or behind: a percent sign or a currency."""
        mark = re.escape(self.decimal)
        groups = rf"\d{{1,3}}(?:[{re.escape(self.thousands)}]\d{{3}})+|" if self.thousands else ""
        digits = rf"(?:(?:{groups}\d+)(?:{mark}\d*)?|{mark}\d+)"
        return rf"{_SIGN}(?:{_UNIT}[{_SPACES}]?)?{_SIGN}{digits}{_EXPONENT}(?:[{_SPACES}]?{_UNIT})?"

    @property
    def in_words(self) -> str:
        """What is unusual about it, or an empty text."""
        marks = {".": "points", ",": "commas", "'\u2019": "apostrophes", _SPACES: "spaces"}
        parts = ["decimal commas"] if self.decimal == "," else []
        return ", ".join(parts + ([f"{marks[self.thousands]} between thousands"] if self.thousands else []))

    def plain(self, cells: Any) -> Any:
        """Texts of numbers in this format, a pandas Series, as Python writes them, without their unit."""
        dropped = re.escape(self.thousands + _SPACES) + _UNIT[1:-1]
        cells = cells.str.replace(rf"[{dropped}]", "", regex=True).str.replace("\u2212", "-", regex=False)
        return cells if self.decimal == "." else cells.str.replace(self.decimal, ".", regex=False)


_THOUSANDS = ("", ",", ".", _SPACES, "'\u2019")
_FORMATS = [NumberFormat(mark, thousands) for thousands in _THOUSANDS for mark in ".," if mark != thousands]


@cache
def _compiled(way: NumberFormat) -> re.Pattern[str]:
    return re.compile(way.pattern)


def number_format(cells: Iterable[str], separator: str) -> NumberFormat:
    """The format in which most cells are numbers; of several the simplest.

    "1,234" alone is a thousand where commas separate the cells as well, which then are quoted; elsewhere it is a
    fraction.

    Examples
    --------
    >>> number_format(["3,6", "1.234,5"], ";")
    NumberFormat(decimal=',', thousands='.')
    """
    cells = [cell for cell in cells if any(mark in cell for mark in ".,'\u2019" + _SPACES)]
    formats = sorted(_FORMATS, key=lambda way: way.decimal == "," and separator == ",")
    counts = {way: sum(_compiled(way).fullmatch(cell) is not None for cell in cells) for way in formats}
    return max(formats, key=counts.__getitem__)


def is_number(cell: str, way: NumberFormat | None = None) -> bool:
    """Whether a cell is a number in a format, by default in any of them; infinity is one."""
    cell = cell.strip()
    ways = _FORMATS if way is None else [way]
    return cell.lower().lstrip("+-") in ("inf", "infinity") or any(_compiled(one).fullmatch(cell) for one in ways)


def is_missing(cell: str) -> bool:
    """Whether a cell is a marker of a missing value."""
    return cell.strip() in MISSING_MARKERS


_DATE = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?"
    r"|\d{1,2}[-/. ]\s?(?:\d{1,2}|[^\W\d]{3,9})[-/. ]\s?\d{2,4}|[^\W\d]{3,9} \d{1,2}, \d{4})"
    r"(?:[T ,]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s?(?:[AaPp][Mm])?\s?(?:Z|UTC|[+\-]\d{2}:?\d{2})?)?"
    r"|\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AaPp][Mm])?"
)


def is_date(cell: str) -> bool:
    """Whether a cell is a date or a time of day, in one of the usual orders.

    Examples
    --------
    >>> is_date("2024-02-29 07:30"), is_date("29.02.2024"), is_date("3.5")
    (True, True, False)
    """
    return _DATE.fullmatch(cell.strip()) is not None


_AGREED_MARKERS = {*(float("9" * digits) for digits in range(2, 8)), 99.9, 999.9, 9999.9, 7777.0, 8888.0, 1e20, 1e30}
_FEWEST_REPETITIONS = 3
"""Times that a value occurs far from all others before it is doubted, where it is none that is agreed upon."""
_FEWEST_OTHER_VALUES = 5


def suspected_markers(values: NDArray[np.float64], columns: Sequence[str]) -> list[str]:
    """A sentence for each value that seems to stand for a missing one: one far from all others, again and again.

    That is the smallest or largest value of a column, which is repeated, and farther from the next than all others are
    from each other, or an agreed one such as -999 once; or zeros below positive numbers, farther from the next than
    the quartiles of these are apart.

    Examples
    --------
    >>> depths = np.array([[3.1], [2.4], [2.9], [-999.0], [3.3], [2.2], [-999.0]])
    >>> suspected_markers(depths, ["depth"])[0].partition(",")[0]
    "Column 'depth' holds -999 in 2 rows"
    """
    sentences = []
    for name, column in zip(columns, values.T, strict=True):
        x = column[~np.isnan(column)]
        for marker in (x.min(), x.max()):
            rest = x[x != marker]
            if len(np.unique(rest)) >= _FEWEST_OTHER_VALUES and _is_marker(marker, len(x) - len(rest), rest):
                sentences.append(
                    f"Column {name!r} holds {marker:g} in {len(x) - len(rest)} rows, far from the other values "
                    f"({rest.min():g} to {rest.max():g}): does it stand for a missing value? Then make it NaN, and "
                    'leave those rows out with missing="drop".'
                )
    return sentences


def _is_marker(value: float, count: int, rest: NDArray[np.float64]) -> bool:
    gap = np.abs(rest - value).min()
    if value == 0:
        return bool(count >= 2 and rest.min() > 0 and gap > np.subtract(*np.percentile(rest, [75, 25])))
    agreed = abs(value) in _AGREED_MARKERS
    return bool((count >= _FEWEST_REPETITIONS or agreed) and gap > np.ptp(rest))
