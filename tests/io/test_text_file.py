"""CSV files of many dialects are read; errors name the line and the column."""

import csv
import gzip
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.io.table import read_table

GOOD = np.random.default_rng(20240229).normal(size=(20, 3))


def written(folder: Path, content: str | bytes, name="table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "a,b,c"])
def test_what_numpy_writes_is_read_back(tmp_path, delimiter, header):
    path = tmp_path / "trees.csv"
    header = header.replace(",", delimiter)
    np.savetxt(path, GOOD, delimiter=delimiter, header=header, comments="")
    table = read_table(path)
    np.testing.assert_array_equal(table.values, GOOD)
    assert table.columns == (("a", "b", "c") if header else ("x1", "x2", "x3"))
    assert table.name == "trees"
    assert table.source.startswith(f"{path} (UTF-8, separated by ")


TWO = [[1.5, 2], [3, 5], [8, 13]]
READABLE = {
    "byte order mark": b"\xef\xbb\xbfa,b\n1.5,2\n3,5\n8,13\n",
    "quotes": '"a","b"\n"1.5","2"\n3,"5"\n8,13\n',
    "Windows lines": "a,b\r\n1.5,2\r\n3,5\r\n8,13\r\n",
    "old Mac lines": "a,b\r1.5,2\r3,5\r8,13\r",
    "no last newline": "a,b\n1.5,2\n3,5\n8,13",
    "blank lines": "\n\na,b\n1.5,2\n  \n3,5\n\n8,13\n\n",
    "blanks about cells": "a, b\n 1.5, 2\n3 ,5\n8,\t13\n",
    "quotes after blanks": 'a, "b"\n1.5, "2"\n3, "5"\n8, 13\n',
    "exponents and signs": "a,b\n15e-1,+2\n.3E1,5.\n8,13\n",
}


@pytest.mark.parametrize("content", READABLE.values(), ids=READABLE.keys())
def test_files_as_they_come_are_read(tmp_path, content):
    table = read_table(str(written(tmp_path, content)))
    np.testing.assert_array_equal(table.values, TWO)
    assert table.columns == ("a", "b")


def test_chosen_columns_are_kept_in_the_order_asked_for(tmp_path):
    path = written(tmp_path, 'a,kind,"b, long"\n1.5,oak,2\n3,NA,5\n8,,13\n')
    table = read_table(path, columns=["b, long", "a"])
    assert table.columns == ("b, long", "a")
    np.testing.assert_array_equal(table.values, np.array(TWO)[:, ::-1])
    assert read_table(path, columns="a").n_features == 1


def test_a_name_that_two_columns_share_cannot_be_chosen(tmp_path):
    with pytest.raises(DataError, match="more than one column named 'a'"):
        read_table(written(tmp_path, "a,a,b\n1,2,0\n2,5,1\n4,1,0\n"), columns=["a", "b"])


def test_a_column_without_a_name_gets_one(tmp_path):
    assert read_table(written(tmp_path, ",b\n1,2\n2,5\n4,1\n")).columns == ("x1", "b")


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "a,b\n1,2\n")
    return buffer.getvalue()


class BadFile(NamedTuple):
    name: str
    content: str | bytes
    found: str
    remedy: str


BAD_FILES = [
    BadFile("empty", "", r"table\.csv is empty", r"written"),
    BadFile("blank", " \n\n", r"is empty", r"written"),
    BadFile("comments only", "# a\n# b\n", r"is empty but for comments", r"written"),
    BadFile("header only", "a,b\n", r"a header and no rows", r"written"),
    BadFile("image", b"\x89PNG\r\n\x1a\n\xff\xfe", r"is an image", r"Export"),
    BadFile("binary", b"a,b\n\x01\x02,1\n", r"binary, not text", r"UTF-8"),
    BadFile("zeros", b"a,b\n\0\0,1\n", r"binary", r"Export"),
    BadFile("ragged", "a,b\n1,2\n3\n7,8\n", r"line 2 has 2 cells, line 3 has 1", r"separator"),
    BadFile("longer", "a,b\n\n1,2\n3,4\n5,6,7\n8,9\n", r"line 3 has 2 .* line 5 has 3", r"one cell"),
    BadFile("text", "a,b\n1,2\n3,oak\n", r"'b' holds 'oak' on line 3 of .*csv", r"--columns.*--without"),
    BadFile("mixed decimals", "a;b\n1,5;2,5\n2.5;3,5\n4,5;1,5\n", r"'a' holds '2\.5' on line 3", r"--columns"),
    BadFile("empty cell", "a,b\n1,2\n,3\n4,7\n", r"'a' holds a missing value on line 3.*\(a 1", r'missing="drop"'),
    BadFile("NA", "a,b\n1,NA\n2,5\n7,9\n", r"'b' holds a missing value on line 2", r"impute"),
    BadFile("NA at first", "1,NA\n1,2\n5,9\n", r"'x2' holds a missing value on line 1", r"impute"),
    BadFile("nan", "a,b\n1,2\n\n7,nan\n5,9\n", r"'b' holds a missing value on line 4", r"impute"),
    BadFile("inf", "a,b\n1,2\n-inf,2\n", r"'a' holds '-inf' on line 3.* finite", r"--columns"),
    BadFile("overflow", "a\n1\n1e999\n", r"'a' holds 'inf' on line 3.* finite", r"--columns"),
    BadFile("names twice", "a,a\n1,2\n", r"more than one column named 'a'", r"[Rr]ename"),
    BadFile("too few", "1,2\n", r"1 rows of 2 columns|no column of meas", r"rows|--columns"),
    BadFile("nothing left", "a,b\noak,1\nelm,1\n", r"a \(text\), b \(constant, every value is 1\)", r"--columns"),
    BadFile("endless cell", "a\n" + "1" * (csv.field_size_limit() + 1), r"field limit", r"quotes"),
    BadFile("damaged gzip", gzip.compress(b"a,b\n1,2\n" * 99)[:-20], r"is damaged", r"again"),
    BadFile("several in a zip", zipped("a.csv", "b.csv"), r"archive of 2 files", r"Unpack"),
    BadFile("damaged Parquet", b"PAR1" + bytes(range(128, 256)) + b"PAR1", r"damaged Parquet", r"again"),
    BadFile("old Excel", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), r"before 2007", r"xlsx"),
    BadFile("JSON", b'{"a": [1, 2]}', r"no column of measurements: a \(lists\)", r"--columns"),
    BadFile("JSON list", b"[1, 2]", r"no list of records", r"one record a line"),
    BadFile("web page", b"<!DOCTYPE html><table>", r"is a web page", r"CSV"),
]


@pytest.mark.parametrize("case", BAD_FILES, ids=lambda case: case.name)
def test_bad_files_are_refused_with_line_and_column(tmp_path, case):
    with pytest.raises(DataError, match=case.found) as caught:
        read_table(written(tmp_path, case.content), missing="refuse")
    assert pytest.raises(DataError, match=case.remedy).matches(caught.value)


def test_a_table_with_gaps_in_every_row_names_the_column_to_leave_out(tmp_path):
    path = written(tmp_path, "a,b\n1.5,\n,2.5\n3.5,\n,4.5\n,5.5\n")
    with pytest.raises(DataError, match=r"Every row has a missing cell: .*a 3, b 2.*without='a'"):
        read_table(path, missing="drop")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist.* Check the path"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    def deny(path, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        read_table(tmp_path / "secret.csv")


def test_unknown_columns_of_a_file_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ArgumentError, match=r"no column 'z'.* one or more of 'a', 'b'"):
        read_table(written(tmp_path, "a,b\n1,2\n"), columns=["a", "z"])


def test_a_hundred_thousand_rows_come_back_exactly(tmp_path):
    values = np.random.default_rng(1).normal(size=(100_000, 3))
    np.savetxt(tmp_path / "big.csv", values, delimiter=",", header="a,b,c", comments="")
    table = read_table(tmp_path / "big.csv")
    np.testing.assert_array_equal(table.values, values)
