"""What a file is, by its first bytes, and the readers of all formats but text: Parquet, Feather, Excel, JSON."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import json
import lzma
import sys
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from bayes_gmm.errors import DataError
from bayes_gmm.io.number_text import NumberFormat

STANDARD_INPUT = Path("-")
"""Path that stands for standard input."""

TABLE_FILE = "a table of numbers: text such as CSV, Excel, Parquet, Feather, or JSON lines"

_SIZE_OF_HEAD = 1 << 18
"""Bytes that are looked at before a file is read."""

_COMPRESSIONS: dict[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ": ("xz", lzma.open),
}


def _open_plain(file: Any) -> Any:
    return file if isinstance(file, io.BytesIO) else file.open("rb")


_AS_CSV = "Export the table as CSV."
_OTHER_FORMATS = {
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of the format before 2007", "Save it as .xlsx or as CSV."),
    b"\x89HDF": ("an HDF5 or netCDF file", "Open it with xarray.open_dataset, and give the Dataset."),
    b"CDF": ("a netCDF file", "Open it with xarray.open_dataset, and give the Dataset."),
    b"SQLite format 3": ("an SQLite database", "Read it with pandas.read_sql, and give the frame."),
    b"\x93NUMPY": ("a NumPy array", "Load it with numpy.load, and give the array."),
    b"RDX": ("data of R", "Write it in R with write.csv."),
    b"X\n\0\0\0": ("data of R", "Write it in R with write.csv."),
    b"<stata_dta>": ("a Stata file", "Read it with pandas.read_stata, and give the frame."),
    b"$FL2": ("an SPSS file", "Read it with pandas.read_spss, and give the frame."),
    b"(\xb5/\xfd": ("compressed by Zstandard", "Unpack it with unzstd."),
    b"\x89PNG": ("an image", _AS_CSV),
    b"\xff\xd8\xff": ("an image", _AS_CSV),
    b"%PDF": ("a PDF document", _AS_CSV),
    b"<!DOCTYPE": ("a web page", "Download the table itself, as CSV."),
    b"<html": ("a web page", "Download the table itself, as CSV."),
    b"<?xml": ("an XML document", _AS_CSV),
    b"\x80\x04\x95": ("a pickle, which can run code", "Load it yourself, and give the frame."),
    b"\x80\x05\x95": ("a pickle, which can run code", "Load it yourself, and give the frame."),
}


class FileContent(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    frame
        The cells, a pandas DataFrame.
    found
        What was found out about the file, as a phrase.
    place
        Function that tells the place of a cell in words, by its row, counted from 0.
    numbers
        Format of the numbers in columns of text.
    units
        Units of the columns, or none.
    nameless
        Names that were given to columns without one, beside others that have names.
    remarks
        What was left out of the rows, as phrases.
    """

    frame: Any
    found: str
    place: Callable[[int], str]
    numbers: NumberFormat = NumberFormat()
    units: tuple[str, ...] = ()
    nameless: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class Source:
    """A file or standard input, unpacked where it is compressed, that can be opened again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.compression = ""
        self._open: Callable[[Any], Any] = _open_plain
        start = self._peek(8)
        for mark, (name, opener) in _COMPRESSIONS.items():
            if start.startswith(mark):
                self.compression, self._open = name, opener
        if start.startswith(b"PK\x03\x04") and (member := self._only_member()):
            self.compression, self._open = "zip", lambda file: zipfile.ZipFile(file).open(member)

    @cached_property
    def head(self) -> bytes:
        """The first bytes, unpacked; whole lines where it is a text."""
        return self._peek(_SIZE_OF_HEAD)

    @property
    def is_whole(self) -> bool:
        """Whether the head is all there is."""
        return len(self.head) < _SIZE_OF_HEAD

    def open(self) -> Any:
        """The unpacked bytes as a new stream.

        Raises
        ------
        DataError
            When the file cannot be read.
        """
        try:
            return self._open(io.BytesIO(self._input) if self.path == STANDARD_INPUT else self.path)
        except FileNotFoundError:
            raise self.unfit("does not exist", f"Check the path; a relative one starts at {Path.cwd()}.") from None
        except IsADirectoryError:
            raise self.unfit("is a folder", "Give the path of a file in it.") from None
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            raise self.unfit(what, "Check the path, and that the file may be read.") from error

    def read(self) -> bytes:
        """All unpacked bytes."""
        with self.open() as stream:
            content: bytes = stream.read()
            return content

    def unfit(self, what: str, remedy: str) -> DataError:
        """Error about the file as a whole."""
        return DataError(f"The file {self.path} {what}.", TABLE_FILE, remedy)

    @cached_property
    def _input(self) -> bytes:
        return sys.stdin.buffer.read()

    def _peek(self, size: int) -> bytes:
        with self.open() as stream:
            try:
                head: bytes = stream.read(size)
                return head
            except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile) as error:
                raise self.unfit(f"is damaged ({error})", "Copy or download it again.") from error

    def _only_member(self) -> str:
        """The one file in a zip archive, or "" where it has several, as a workbook does."""
        try:
            with self.open() as stream, zipfile.ZipFile(stream) as archive:
                members = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
        except zipfile.BadZipFile as error:
            raise self.unfit(f"is damaged ({error})", "Copy or download it again.") from error
        if len(members) > 1 and not {"[Content_Types].xml", "mimetype"} & set(members):
            raise self.unfit(f"is an archive of {len(members)} files", "Unpack it, and give one of the files.")
        return members[0] if len(members) == 1 else ""


def read_other_format(source: Source) -> FileContent | None:
    """Content of a file that is no plain text, or None where it may be one.

    Raises
    ------
    DataError
        When the file is of a format that cannot be read, or the library that reads it is not installed.
    """
    head = source.head
    for mark, (what, remedy) in _OTHER_FORMATS.items():
        if head.startswith(mark):
            raise source.unfit(f"is {what}", remedy)
    if head.startswith(b"PK\x03\x04"):
        return _read_workbook(source)
    if head.startswith(b"PAR1"):
        return _read_arrow(source, "Parquet", "pyarrow.parquet", "read_table")
    if head.startswith((b"ARROW1", b"FEA1")):
        return _read_arrow(source, "Feather", "pyarrow.feather", "read_table")
    return _read_json(source) if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[")) else None


def _read_arrow(source: Source, kind: str, module: str, function: str) -> FileContent:
    read = getattr(_required(source, kind, module, "pyarrow"), function)
    try:
        table = read(io.BytesIO(source.read()))
    except Exception as error:  # pyarrow may raise anything about a damaged file
        reason = str(error).partition("\n")[0].rstrip(".")
        raise source.unfit(f"is damaged {kind} ({reason})", "Write it again.") from error
    return FileContent(table.to_pandas(), kind, _in_row)


def _read_workbook(source: Source) -> FileContent:
    """The first sheet of an Excel workbook that has cells; its names are in the first row with most of the cells."""
    kind = "an Excel workbook"
    with zipfile.ZipFile(io.BytesIO(source.read())) as archive:
        if "xl/workbook.xml" not in archive.namelist():
            raise source.unfit("is an archive of another program", "Save the table as .xlsx or as CSV.")
    _required(source, kind, "openpyxl", "openpyxl")
    import pandas

    try:
        sheets = pandas.read_excel(
            io.BytesIO(source.read()), sheet_name=None, header=None, dtype=object, engine="openpyxl"
        )
    except Exception as error:  # openpyxl may raise anything about a damaged file
        raise source.unfit(f"is {kind} that cannot be read ({error})", "Save it again, or as CSV.") from error
    filled = {name: cells.dropna(how="all") for name, cells in sheets.items() if not cells.dropna(how="all").empty}
    if not filled:
        raise source.unfit("is empty", "Check how the file was written.")
    name, cells = next(iter(filled.items()))
    found = f"Excel, sheet {name!r}" + (f", the first of {len(filled)}" if len(filled) > 1 else "")
    return _with_names(cells.dropna(axis=1, how="all"), found)


def _with_names(cells: Any, found: str) -> FileContent:
    """Cells of a sheet, below the row with the names, or numbered columns where the first row holds numbers."""
    filled = cells.notna().sum(axis=1)
    first = int((filled >= max(filled.max() - 1, 1)).to_numpy().argmax())
    head, lines = list(cells.iloc[first]), cells.index + 1
    is_head = any(isinstance(cell, str) for cell in head) and not any(_is_real(cell) for cell in head)
    body = cells.iloc[first + is_head :]
    names = [f"x{i + 1}" for i in range(len(head))]
    if is_head:
        names = [
            name if cell != cell or cell is None else str(cell).strip() for name, cell in zip(names, head, strict=True)
        ]
    nameless = [name for name, cell in zip(names, head, strict=True) if is_head and not isinstance(cell, str)]
    frame = body.set_axis(names, axis=1).reset_index(drop=True)
    skipped = f"{first} rows above the table skipped"
    found = ", ".join([found, *([skipped] if first else []), *([] if is_head else ["no header"])])
    rows = lines[first + is_head :]
    place = lambda row: f"in row {rows[row]} of the sheet"  # noqa: E731
    return FileContent(frame.infer_objects(), found, place, nameless=tuple(nameless))


def _is_real(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell


def _read_json(source: Source) -> FileContent | None:
    """Records as JSON, one a line or in one list."""
    import pandas

    text = source.read().decode("utf-8-sig", errors="replace").strip()
    try:
        records = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    except json.JSONDecodeError:
        return None
    if not all(isinstance(record, dict) for record in records) or not records:
        raise source.unfit("is JSON, but no list of records", 'Write one record a line: {"a": 1.5, "b": 2}.')
    kind = "JSON" if text.startswith("[") else "JSON lines"
    return FileContent(
        pandas.DataFrame.from_records(records), kind, lambda row: f"in record {row + 1} of {source.path}"
    )


def _required(source: Source, kind: str, module: str, library: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        remedy = f"Install {library}, for example by pip install 'bayes_gmm[files]', or export the table as CSV."
        raise source.unfit(f"is {kind}, and {library} is not installed", remedy) from None


def _in_row(row: int) -> str:
    return f"in row {row}"
