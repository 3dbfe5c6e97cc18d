"""What the first lines of a text file tell: encoding, separator, comment lines, where the names and the rows are."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bayes_gmm.io.number_text import NumberFormat, is_missing, is_number, number_format

WHITESPACE = " "
"""Separator that stands for blanks in any number."""

_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", WHITESPACE: "blanks"}
"""In the order in which they are tried: a comma may also be in a number, a blank in a text."""

_COMMENTS = ("#", "%", "//")
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MOST_RECORDS = 200
"""Rows that are looked at; what lies below them is held against what they show."""
_SHARE_OF_ONE_WIDTH = 0.9
"""Share of the lines that must have the same number of cells under the separator of a table."""

_HINT = re.compile(r'"?sep=(.)"?[\s;,]*')
"""First line by which spreadsheets are told the separator."""

_LONGEST_UNIT = 12
"""Longest text below a name that is taken for its unit."""

_FAR_FROM_ROWS = 5
"""Fewest rows below a first line of numbers for it to be told from them."""


class Record(NamedTuple):
    """One row of cells, and the number of its last line, counted from 1."""

    line: int
    cells: list[str]


class Dialect(NamedTuple):
    """How a table is written in a text.

    Attributes
    ----------
    separator
        What separates the cells; `WHITESPACE` for any number of blanks.
    blanks_before_cells
        Whether a separator is followed by a blank somewhere, which costs pandas half of its time more to skip.
    comment
        What lines without cells begin with, or "".
    numbers
        The format of the numbers.
    names
        Names of the columns, "" where a column has none; none at all where there is no header.
    units
        Units in a line below the names, or none.
    n_columns
        Number of cells of a row.
    n_lines_above
        Number of lines above the first row.
    remarks
        Sentences on lines that are neither names nor rows.
    """

    separator: str
    blanks_before_cells: bool
    comment: str
    numbers: NumberFormat
    names: tuple[str, ...]
    units: tuple[str, ...]
    n_columns: int
    n_lines_above: int
    remarks: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """The dialect as a phrase."""
        separated = f"separated by {_SEPARATORS[self.separator]}" if self.n_columns > 1 else "one column"
        comments = f"comments after {self.comment}" if self.comment else ""
        header = "" if self.names else "no header"
        return ", ".join(filter(None, (separated, self.numbers.in_words, comments, header, *self.remarks)))


def encoding_of(head: bytes) -> str:
    """Encoding of a text by its first bytes: by its byte-order mark, else UTF-8, else Windows-1252.

    Raises
    ------
    ValueError
        When the bytes are no text.

    Examples
    --------
    >>> encoding_of("größe".encode("cp1252")), encoding_of("größe".encode())
    ('cp1252', 'utf-8')
    """
    for mark, name in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return name
    zeros = head.count(0)
    if zeros and zeros >= 0.4 * len(head):
        return "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", head):
        raise ValueError("is binary, not text")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def split_records(lines: Iterator[str], separator: str, comment: str, first_line: int = 1) -> Iterator[Record]:
    """Rows of cells of lines, without blank lines and comments; blanks about the cells are taken away."""
    number = first_line - 1

    def counted() -> Iterator[str]:
        nonlocal number
        for line in lines:
            number += 1
            if line.strip() and not (comment and line.lstrip().startswith(comment)):
                yield " ".join(line.split()) if separator == WHITESPACE else line

    for cells in csv.reader(counted(), delimiter=separator, skipinitialspace=True):
        yield Record(number, [cell.strip() for cell in cells])


def find_dialect(text: str, *, header: bool | None = None) -> Dialect:
    r"""Dialect of a text, or of its first lines; `header` says whether there are names above the rows.

    Raises
    ------
    ValueError
        When there are only comments.
    csv.Error
        When the quotes do not fit.

    Examples
    --------
    >>> dialect = find_dialect("length;mass\n3,6;79\n1,8;54\n")
    >>> dialect.separator, dialect.numbers.decimal, dialect.names
    (';', ',', ('length', 'mass'))
    """
    lines = text.splitlines(keepends=True)
    hint = _HINT.fullmatch(lines[0])
    n_hints = 1 if hint else 0
    comment = _comment(lines)
    separator = hint[1] if hint else _separator(lines, comment)
    found = _records(lines[n_hints:], separator, comment, n_hints + 1)
    if not found:
        raise ValueError("is empty but for comments")
    width = _usual_width(found)
    start = _first_of_table(found, width)
    above, records = found[:start], found[start:]
    n_heads = _number_of_heads(records, width, header)
    heads, rows = records[:n_heads], records[n_heads:]
    names, units, remarks = _names_and_units(heads, rows, width)
    if not heads and header is None and comment:
        names = _names_in_a_comment(lines, separator, comment, width)
    if above:
        remarks = (f"{above[-1].line - n_hints} lines above the table skipped", *remarks)
    return Dialect(
        separator=separator,
        blanks_before_cells=separator + WHITESPACE in text,
        comment=comment,
        numbers=number_format((cell for record in rows for cell in record.cells), separator),
        names=names,
        units=units,
        n_columns=width,
        n_lines_above=_skip_rules(lines, heads[-1].line if heads else above[-1].line if above else n_hints),
        remarks=remarks,
    )


def _first_of_table(records: Sequence[Record], width: int) -> int:
    """Position of the first record as wide as most; R's header of one name fewer comes before the first row."""
    start = next(i for i, record in enumerate(records) if len(record.cells) == width)
    is_names = start == 1 and len(records[0].cells) == width - 1 and _number_of_heads(records[1:], width, None) == 0
    return 0 if is_names else start


def _comment(lines: Sequence[str]) -> str:
    """Mark of comment lines: what the first line begins with, or any line where it is a number sign."""
    first = next((line.lstrip() for line in lines if line.strip()), "")
    return next((mark for mark in _COMMENTS if first.startswith(mark)), "")


def _records(lines: Sequence[str], separator: str, comment: str, first_line: int = 1) -> list[Record]:
    kept: list[Record] = []
    for record in split_records(iter(lines), separator, comment, first_line):
        if any(record.cells) and not _is_rule(record.cells):
            kept.append(record)
        if len(kept) == _MOST_RECORDS:
            break
    return kept


def _is_rule(cells: Sequence[str]) -> bool:
    """Whether a line is drawn, as databases do between names and rows."""
    line = "".join(cells)
    return re.fullmatch(r"[-+=|: ]*(?:--|==)[-+=|: ]*", line) is not None and not all(map(is_missing, cells))


def _skip_rules(lines: Sequence[str], n_lines: int) -> int:
    """Number of lines above the first row, drawn ones included."""
    while n_lines < len(lines) and _is_rule(re.split("[,;]", lines[n_lines].strip())):
        n_lines += 1
    return n_lines


def _separator(lines: Sequence[str], comment: str) -> str:
    for separator in _SEPARATORS:
        try:
            widths = Counter(len(record.cells) for record in _records(lines, separator, comment))
        except csv.Error:
            continue
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        if width > 1 and count >= min(_SHARE_OF_ONE_WIDTH * widths.total(), max(widths.total() - 8, 2)):
            return separator
    return ","


def _usual_width(records: Sequence[Record]) -> int:
    """The most frequent number of cells, of several the largest."""
    widths = Counter(len(record.cells) for record in records)
    return max(widths, key=lambda width: (widths[width], width))


def _number_of_heads(records: Sequence[Record], width: int, header: bool | None) -> int:
    """How many lines of names, units and descriptions there are above the first row."""
    if header is not None:
        return int(header)
    numeric = [j for j in range(width) if _is_numeric([r.cells[j] for r in records[1:] if len(r.cells) > j])]
    if not numeric:
        return int(any(cell and not is_number(cell) for cell in records[0].cells))
    n_heads = 0
    while n_heads < min(len(records), 5) and _is_head(records[n_heads].cells, numeric, width):
        n_heads += 1
    return n_heads or int(_is_line_of_numbered_names(records, width))


def _is_numeric(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if not is_missing(cell)]
    return bool(known) and 2 * sum(map(is_number, known)) >= len(known)


def _is_head(cells: Sequence[str], numeric: Sequence[int], width: int) -> bool:
    """Whether no cell of a column of numbers is one, and some is a text."""
    if len(cells) == width - 1:  # R leaves out the name of the row names
        cells = ["", *cells]
    held = [cells[j] for j in numeric]
    return not any(map(is_number, held)) and not all(map(is_missing, held))


def _is_line_of_numbered_names(records: Sequence[Record], width: int) -> bool:
    """Whether the first line names columns by whole numbers, such as wavelengths or years.

    They rise from left to right, and lie far outside of what the rows hold.
    """
    first, rows = records[0].cells, [record.cells for record in records[1:] if len(record.cells) == width]
    names = [cell for cell in first if cell]
    if len(rows) < _FAR_FROM_ROWS or width < 2 or not all(re.fullmatch(r"\d+", cell) for cell in names):
        return False
    numbers = [int(cell) for cell in names]
    values = [
        float(cell) for row in rows for cell in row if re.fullmatch(NumberFormat().pattern, cell) and "%" not in cell
    ]
    if numbers != sorted(set(numbers)) or len(numbers) < 2 or not values:
        return False
    low, high = min(values), max(values)
    return all(not low - (high - low) <= number <= high + (high - low) for number in numbers)


def _names_and_units(
    heads: Sequence[Record], rows: Sequence[Record], width: int
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names, units and remarks of the lines above the rows; the names are the first line with the most cells."""
    if not heads:
        return (), (), ()
    filled = [sum(map(bool, record.cells)) for record in heads]
    position = filled.index(max(filled))
    names, below = heads[position].cells, heads[position + 1 :]
    if len(names) == width - 1:  # rows end in a separator, or begin with their own names, as those of R
        ends = [record.cells[-1] for record in rows if len(record.cells) == width]
        names = ["", *names] if any(ends) else [*names, ""]
    are_units = bool(below) and all(len(cell) <= _LONGEST_UNIT for cell in below[0].cells)
    remarks = tuple(
        f"line {record.line} {'read as units' if are_units and record is below[0] else 'skipped: no numbers'}"
        for record in heads
        if record is not heads[position]
    )
    return tuple(names), tuple(below[0].cells) if are_units and len(below[0].cells) == width else (), remarks


def _names_in_a_comment(lines: Sequence[str], separator: str, comment: str, width: int) -> tuple[str, ...]:
    """Names in the last comment line above the rows, as NumPy writes them, or none."""
    above: list[str] = []
    for line in lines:
        if line.strip() and not line.lstrip().startswith(comment):
            break
        above += [line.lstrip().removeprefix(comment).strip()] if line.strip() else []
    for text in above[-1:]:
        cells = next(split_records(iter([text]), separator, ""), Record(0, [])).cells
        if len(cells) == width and not any(map(is_number, cells)) and width > 1:
            return tuple(cells)
    return ()
