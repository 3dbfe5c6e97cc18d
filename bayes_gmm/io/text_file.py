"""Tables in text files, read by pandas; errors name the line and the column."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from typing import Any

from bayes_gmm.io.file_formats import FileContent, Source
from bayes_gmm.io.number_text import MISSING_MARKERS, is_number
from bayes_gmm.io.text_dialect import WHITESPACE, Dialect, Record, encoding_of, find_dialect, split_records

_LONGEST_FOOTER = 5
"""Most lines below a table that are no rows of it."""

_ENCODINGS = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "cp1252": "Windows-1252", "latin-1": "Latin-1"}


def read_text(source: Source, header: bool | None = None) -> FileContent:
    """Cells of a text; `header` says whether there are names above the rows.

    Raises
    ------
    DataError
        When the file is no text, is empty, or has rows of different lengths.
    """
    text = _Text(source, header)
    try:
        frame = text.read(None)
    except UnicodeDecodeError:
        text.encoding = "cp1252" if text.encoding == "utf-8" else "latin-1"
        frame = text.read(None)
    return text.content(frame)


class _Text:
    """A text file with its dialect."""

    def __init__(self, source: Source, header: bool | None) -> None:
        self.source = source
        head = source.head
        try:
            self.encoding = encoding_of(head)
            text = head.decode(self.encoding, errors="ignore" if not source.is_whole else "strict")
        except UnicodeDecodeError:
            self.encoding, text = "latin-1", head.decode("latin-1")
        except ValueError as error:
            raise source.unfit(str(error), "Export the table as CSV in UTF-8.") from None
        if not source.is_whole and text.count("\n") > 1:
            text = text[: text.rindex("\n") + 1]
        if not text.strip():
            raise source.unfit("is empty", "Check how the file was written.")
        try:
            self.dialect: Dialect = find_dialect(text, header=header)
        except ValueError as error:
            raise source.unfit(str(error), "Check how the file was written.") from None
        except csv.Error as error:
            raise source.unfit(f"cannot be read ({error})", "Check the quotes.") from error

    def open(self) -> io.TextIOWrapper:
        """The text, at its first row."""
        stream = io.TextIOWrapper(self.source.open(), self.encoding, newline=None)
        for _ in range(self.dialect.n_lines_above):
            stream.readline()
        return stream

    def records(self) -> Iterator[Record]:
        """All rows with the numbers of their lines."""
        with self.open() as stream:
            first = self.dialect.n_lines_above + 1
            yield from split_records(stream, self.dialect.separator, self.dialect.comment, first)

    def read(self, n_rows: int | None) -> Any:
        """Frame of the rows, or of the first `n_rows`."""
        import pandas

        dialect = self.dialect
        with self.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # columns of mixed types are looked at cell by cell anyway
            try:
                return pandas.read_csv(
                    stream,
                    sep=r"\s+" if dialect.separator == WHITESPACE else dialect.separator,
                    header=None,
                    names=list(range(dialect.n_columns)),
                    index_col=False,
                    nrows=n_rows,
                    decimal=dialect.numbers.decimal,
                    comment=dialect.comment[:1] or None,
                    na_values=list(MISSING_MARKERS),
                    skipinitialspace=dialect.blanks_before_cells,
                )
            except pandas.errors.EmptyDataError:
                return pandas.DataFrame()
            except pandas.errors.ParserError as error:
                return self._read_without_footer(error, n_rows)

    def content(self, frame: Any) -> FileContent:
        """The frame with names and all that is known about it."""
        if frame.empty:
            raise self.source.unfit("has a header and no rows", "Check how the file was written.")
        frame, footer = self._without_footer(frame)
        self._check_short_rows(frame)
        dialect = self.dialect
        names = [name or f"x{i + 1}" for i, name in enumerate(dialect.names or [""] * dialect.n_columns)]
        nameless = tuple(name for name, given in zip(names, dialect.names, strict=False) if not given)
        encoding = _ENCODINGS.get(self.encoding, "UTF-16" if "16" in self.encoding else self.encoding)
        found = ", ".join(filter(None, (self.source.compression, encoding, dialect.in_words)))
        frame = frame.set_axis(names, axis=1)
        return FileContent(frame, found, self.place, dialect.numbers, dialect.units, nameless, tuple(footer))

    def place(self, row: int) -> str:
        """The line of a row, in words."""
        for number, record in enumerate(self.records()):
            if number == row:
                return f"on line {record.line} of {self.source.path}"
        return f"in row {row} of {self.source.path}"

    def _read_without_footer(self, error: Exception, n_rows: int | None) -> Any:
        """The rows above a few last lines of text that have more cells than the rows."""
        records = self._all_records(error)
        longer = [i for i, record in enumerate(records) if len(record.cells) > self.dialect.n_columns]
        first = longer[0] if longer else 0
        if n_rows is not None or not self._is_footer(records[first:]) or not longer:
            raise self._ragged(records, first) from error
        return self.read(first)

    def _all_records(self, error: Exception) -> list[Record]:
        try:
            return list(self.records())
        except csv.Error:
            what = f"cannot be read ({str(error).strip().rpartition('C error: ')[2]})"
            raise self.source.unfit(what, "Check the quotes.") from error

    def _ragged(self, records: list[Record], row: int) -> Exception:
        found = records[row]
        usual = next((r for r in records if len(r.cells) == self.dialect.n_columns), found)
        what = (
            f"has ragged rows: line {usual.line} has {self.dialect.n_columns} cells, "
            f"line {found.line} has {len(found.cells)}"
        )
        return self.source.unfit(what, "Give every row one cell a column, with one separator.")

    def _is_footer(self, records: list[Record]) -> bool:
        return len(records) <= _LONGEST_FOOTER and not any(is_number(record.cells[0]) for record in records)

    def _without_footer(self, frame: Any) -> tuple[Any, list[str]]:
        """The frame without last lines of one text each, such as a count of the rows, and what they were."""
        footer: list[str] = []
        while frame.shape[1] > 1 and len(frame) > 1 and len(footer) < _LONGEST_FOOTER:
            first, *others = frame.iloc[-1]
            if not isinstance(first, str) or is_number(first) or not all(cell != cell for cell in others):
                break
            footer.insert(0, f"the last line, {first!r}")
            frame = frame.iloc[:-1]
        return frame, footer

    def _check_short_rows(self, frame: Any) -> None:
        """Refuse rows with fewer cells than the others, which pandas fills up."""
        last = frame[frame.shape[1] - 1]
        if frame.shape[1] == 1 or not last.isna().any() or last.isna().all():
            return
        records = list(self.records())[: len(frame)]
        for row, record in enumerate(records):
            if len(record.cells) < self.dialect.n_columns:
                raise self._ragged(records, row)
