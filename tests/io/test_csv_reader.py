"""CSV files of many dialects are read; errors name the line and the column."""

import csv
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
    assert (table.name, table.source) == ("trees", str(path))


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


class BadFile(NamedTuple):
    name: str
    content: str | bytes
    found: str
    remedy: str


BAD_FILES = [
    BadFile("empty", "", r"table\.csv is empty", r"written"),
    BadFile("blank", " \n\n", r"is empty", r"written"),
    BadFile("header only", "a,b\n", r"a header and no rows", r"written"),
    BadFile("binary", b"\x89PNG\r\n\x1a\n\xff\xfe", r"not text in UTF-8", r"Export"),
    BadFile("zeros", b"a,b\n\0\0,1\n", r"binary", r"Export"),
    BadFile("UTF-16", "a,b\n1,2\n".encode("utf-16"), r"not text in UTF-8", r"Export"),
    BadFile("ragged", "a,b\n1,2\n3\n", r"line 1 has 2 cells, line 3 has 1", r"delimiter"),
    BadFile("ragged after blanks", "a,b\n\n1,2,3\n", r"line 1 has 2 .* line 3 has 3", r"one cell"),
    BadFile("text", "a,b\n1,2\n3,oak\n", r"'b' holds 'oak' on line 3 of .*csv", r"--columns"),
    BadFile("spaces", "1 2\n3 4\n5 7\n", r"'3 4' on line 2", r"comma, semicolon or tab"),
    BadFile("decimal commas", "a;b\n1,5;2\n", r"'a' holds '1,5' on line 2", r"decimals.* point"),
    BadFile("decimal commas alone", "3,6;79\n1,8;54\n", r"'3,6' holds '1,8' on line 2", r"point"),
    BadFile("empty cell", "a,b\n1,2\n,3\n", r"'a' holds '' on line 3.* missing", r"impute"),
    BadFile("NA", "a,b\n1,NA\n", r"'b' holds 'NA' on line 2.* missing", r"impute"),
    BadFile("NA at first", "1,NA\n1,2\n", r"'x2' holds 'NA' on line 1.* missing", r"impute"),
    BadFile("nan", "a,b\n1,2\n\n1,nan\n", r"'b' holds 'nan' on line 4.* missing", r"impute"),
    BadFile("inf", "a,b\n1,2\n-inf,2\n", r"'a' holds '-inf' on line 3.* finite", r"--columns"),
    BadFile("overflow", "a\n1\n1e999\n", r"'a' holds '1e999' on line 3.* finite", r"--columns"),
    BadFile("names twice", "a,a\n1,2\n", r"more than one column named 'a'", r"[Rr]ename"),
    BadFile("constant", "a,b\n1,2\n3,2\n5,2\n", r"'b' is constant, every value is 2", r"Drop"),
    BadFile("too few", "a,b\n1,2\n3,4\n", r"2 rows of 2 columns", r"more rows"),
    BadFile("endless cell", "a\n" + "1" * (csv.field_size_limit() + 1), r"line 2 \(", r"quotes"),
]


@pytest.mark.parametrize("case", BAD_FILES, ids=lambda case: case.name)
def test_bad_files_are_refused_with_line_and_column(tmp_path, case):
    with pytest.raises(DataError, match=case.found) as caught:
        read_table(written(tmp_path, case.content))
    assert pytest.raises(DataError, match=case.remedy).matches(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist.* Check the path"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
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
