"""Files as spreadsheets, R, pandas, instruments, databases and web sheets of several countries write them.

Each is the same small table: heights with decimals, masses above a thousand, and what each program adds.
"""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import warnings
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

import bayes_gmm as bg

HEIGHT = np.array([1.75, 0.5, 2.25, 1.5, 3.125, 0.25, 2.5, 1.0])
MASS = np.array([1250.5, 999.0, 12500.25, 870.0, 1100.75, 2345.5, 950.0, 1000.5])
VALUES = np.stack([HEIGHT, MASS], 1)
KIND = ["oak", "elm", "oak", "ash", "elm", "oak", "ash", "élan"]
DATES = [f"2024-03-{day:02d}" for day in range(1, 9)]
FRAME = pd.DataFrame({"height": HEIGHT, "mass": MASS})
WITH_TEXT = pd.DataFrame({"kind": KIND, "height": HEIGHT, "mass": MASS})


def number(value, decimal=".", thousands="", places=3):
    text = f"{value:,.{places}f}".replace(",", "T").replace(".", decimal)
    return text.replace("T", thousands)


def lines(separator, way=number, header=("height", "mass"), quote="", end="\n", extra=None, **format):
    """Text of the table: a header, and rows with the cells of `extra` in front."""
    rows = [] if header is None else [[*header]]
    for i, (a, b) in enumerate(VALUES):
        front = [] if extra is None else [extra[i]]
        rows.append([*front, way(a, **format), way(b, **format)])
    return "".join(separator.join(f"{quote}{cell}{quote}" for cell in row) + end for row in rows)


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def german(value):
    return number(value, ",", ".")


def workbook(frame, **options):
    pytest.importorskip("openpyxl")
    return saved(lambda buffer: frame.to_excel(buffer, **options))


def titled_workbook():
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Trees (2024)"
    for row in [["Survey of trees"], [], ["kind", "height", "mass"], *WITH_TEXT.values.tolist()]:
        sheet.append(row)
    book.create_sheet("empty")
    return saved(book.save)


def arrow(write):
    pyarrow = pytest.importorskip("pyarrow")
    return saved(lambda buffer: write(pyarrow, pyarrow.Table.from_pandas(WITH_TEXT), buffer))


def feather(pyarrow, table, buffer):
    import pyarrow.feather

    pyarrow.feather.write_feather(table, buffer)


def parquet(pyarrow, table, buffer):
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, buffer)


def archive(content, *names):
    def write(buffer):
        with zipfile.ZipFile(buffer, "w") as file:
            for name in names:
                file.writestr(name, content)

    return saved(write)


def sqlite(mode):
    """The table as the shell of SQLite prints it."""
    base = sqlite3.connect(":memory:")
    FRAME.to_sql("trees", base, index=False)
    rows = base.execute("select height, mass from trees").fetchall()
    base.close()
    if mode == "list":
        return "height|mass\n" + "".join(f"{a}|{b}\n" for a, b in rows)
    return "height      mass      \n----------  ----------\n" + "".join(f"{a!s:<12}{b!s:<10}\n" for a, b in rows)


def boxed():
    rule = "+--------+-----------+\n"
    rows = "".join(f"| {a:6.3f} | {b:9.3f} |\n" for a, b in VALUES)
    return f"{rule}| height | mass      |\n{rule}{rows}{rule}"


def psql():
    rows = "".join(f" {a:6.3f} | {b:9.3f}\n" for a, b in VALUES)
    return f" height |   mass    \n--------+-----------\n{rows}(8 rows)\n\n"


def campbell():
    rows = "".join(f'"{day} 00:15:00",{i},{a},{b}\n' for i, (day, (a, b)) in enumerate(zip(DATES, VALUES, strict=True)))
    return (
        '"TOA5","station","CR1000","1234","CR1000.Std.27"\n"TIMESTAMP","RECORD","height","mass"\n'
        '"TS","RN","m","kg"\n"","","Avg","Smp"\n' + rows
    )


class File(NamedTuple):
    name: str
    make: Callable[[], str | bytes]
    left_out: tuple[str, ...] = ()
    found: str = ""
    columns: tuple[str, ...] = ("height", "mass")


COUNT = [str(i) for i in range(8)]
FILES = [
    # Excel
    File("excel us.csv", lambda: "\ufeff" + lines(",", end="\r\n"), (), "UTF-8, separated by commas"),
    File("excel us, thousands.csv", lambda: lines(",", quote='"', thousands=","), (), "commas between thousands"),
    File("excel german.csv", lambda: lines(";", decimal=",", end="\r\n"), (), "semicolons, decimal commas"),
    File("excel german, thousands.csv", lambda: lines(";", german), (), "decimal commas, points between thousands"),
    File(
        "excel german, ansi.csv",
        lambda: lines(";", extra=KIND, header=("Größe", "height", "mass"), decimal=",").encode("cp1252"),
        ("Größe (text)",),
        "Windows-1252",
    ),
    File("excel french.csv", lambda: lines(";", decimal=",", thousands="\u202f"), (), "spaces between thousands"),
    File(
        "excel french, old.csv", lambda: lines(";", decimal=",", thousands="\xa0").encode("cp1252"), (), "Windows-1252"
    ),
    File("excel swiss.csv", lambda: lines(";", thousands="\u2019"), (), "apostrophes between thousands"),
    File("excel unicode text.txt", lambda: lines("\t", end="\r\n").encode("utf-16"), (), "UTF-16, separated by tabs"),
    File("excel hint.csv", lambda: "sep=;\r\n" + lines(";", decimal=",", end="\r\n"), (), "semicolons"),
    File("excel hint, commas.csv", lambda: "sep=,\n" + lines(","), (), "commas"),
    File("excel title.csv", lambda: "Trees of 2024,\n,\n" + lines(","), (), ""),
    File(
        "excel empty columns.csv",
        lambda: lines(",", end=",,\n", header=("height", "mass")),
        ("x3 (empty)", "x4 (empty)"),
    ),
    File(
        "excel errors.csv",
        lambda: lines(",", extra=["#N/A", "#DIV/0!"] * 4, header=("ratio", "height", "mass")),
        ("ratio (empty)",),
    ),
    File("excel tab.txt", lambda: lines("\t", german), (), "tabs, decimal commas"),
    File("workbook.xlsx", lambda: workbook(WITH_TEXT, index=False), ("kind (text)",), "Excel, sheet 'Sheet1'"),
    File("workbook with index.xlsx", lambda: workbook(FRAME), ("x1 (counts the rows)",)),
    File("workbook with title.xlsx", titled_workbook, ("kind (text)",), "rows above the table skipped"),
    File("a workbook called.csv", lambda: workbook(WITH_TEXT, index=False), ("kind (text)",), "Excel"),
    # Google Sheets
    File("sheets us.csv", lambda: lines(",", end="\r\n")),
    File("sheets german.csv", lambda: lines(",", german, quote='"'), (), "decimal commas"),
    File(
        "sheets currency.csv",
        lambda: lines(",", lambda value: f'"${number(value, ".", ",")}"'),
        (),
        "commas between thousands",
    ),
    File(
        "sheets check boxes.csv",
        lambda: lines(",", extra=["TRUE", "FALSE"] * 4, header=("done", "height", "mass")),
        ("done (true and false)",),
    ),
    File(
        "sheets dates.csv",
        lambda: lines(",", extra=[f"3/{i + 1}/2024" for i in range(8)], header=("day", "height", "mass")),
        ("day (dates)",),
    ),
    File("sheets.tsv", lambda: lines("\t", end="\r\n")),
    # R
    File(
        "R write.csv.csv",
        lambda: lines(",", extra=[f'"{i}"' for i in range(1, 9)], header=('""', '"height"', '"mass"')),
        ("x1 (counts the rows)",),
    ),
    File(
        "R write.csv, filtered.csv",
        lambda: lines(",", extra=[f'"{i * i + 3}"' for i in range(8)], header=('""', '"height"', '"mass"')),
        ("x1 (index)",),
    ),
    File(
        "R write.csv2.csv",
        lambda: lines(";", decimal=",", extra=[f'"{i}"' for i in range(1, 9)], header=('""', '"height"', '"mass"')),
        ("x1 (counts the rows)",),
        "decimal commas",
    ),
    File(
        "R write.table.txt",
        lambda: lines(" ", extra=[f'"{i}"' for i in range(1, 9)], header=('"height"', '"mass"')),
        ("x1 (counts the rows)",),
        "blanks",
    ),
    File(
        "R write.table, names.txt",
        lambda: lines(" ", extra=[f'"{kind} {i}"' for i, kind in enumerate(KIND)], header=('"height"', '"mass"')),
        ("x1 (text)",),
    ),
    File(
        "R factors.csv",
        lambda: lines(",", extra=[f'"{kind}"' for kind in KIND], header=('"kind"', '"height"', '"mass"')),
        ("kind (text)",),
    ),
    File(
        "readr.tsv", lambda: lines("\t", extra=["NA", *KIND[1:]], header=("kind", "height", "mass")), ("kind (text)",)
    ),
    File(
        "data.table.csv",
        lambda: lines(",", extra=["TRUE", "FALSE"] * 4, header=("ok", "height", "mass")),
        ("ok (true and false)",),
    ),
    # pandas, NumPy, polars, JSON
    File("pandas.csv", lambda: FRAME.to_csv(), ("x1 (counts the rows)",)),
    File(
        "pandas twice.csv",
        lambda: FRAME.rename_axis("Unnamed: 0").reset_index().to_csv(),
        ("x1 (counts the rows)", "Unnamed: 0 (counts the rows)"),
    ),
    File("pandas dates.csv", lambda: FRAME.set_index(pd.DatetimeIndex(DATES)).to_csv(), ("x1 (dates)",)),
    File(
        "pandas.csv.gz", lambda: gzip.compress(WITH_TEXT.to_csv(index=False).encode()), ("kind (text)",), "gzip, UTF-8"
    ),
    File("pandas.csv.bz2", lambda: bz2.compress(FRAME.to_csv(index=False).encode()), (), "bzip2"),
    File("pandas.csv.xz", lambda: lzma.compress(FRAME.to_csv(index=False).encode()), (), "xz"),
    File("pandas.zip", lambda: archive(FRAME.to_csv(index=False), "a.csv"), (), "zip"),
    File("pandas.parquet", lambda: arrow(parquet), ("kind (text)",), "Parquet"),
    File("pandas.feather", lambda: arrow(feather), ("kind (text)",), "Feather"),
    File("pandas lines.jsonl", lambda: WITH_TEXT.to_json(orient="records", lines=True), ("kind (text)",), "JSON lines"),
    File("pandas records.json", lambda: json.dumps(WITH_TEXT.to_dict("records")), ("kind (text)",), "JSON"),
    File(
        "pandas markdown.md",
        lambda: "| height | mass |\n|---:|---:|\n" + "".join(f"| {a} | {b} |\n" for a, b in VALUES),
        ("x1 (empty)", "x4 (empty)"),
    ),
    File(
        "numpy savetxt.txt",
        lambda: saved(lambda f: np.savetxt(f, VALUES, header="height mass")),
        (),
        "blanks, comments after #",
    ),
    File(
        "numpy savetxt.csv",
        lambda: saved(lambda f: np.savetxt(f, VALUES, delimiter=",", header="height,mass", fmt="%.3f")),
        (),
        "comments after #",
    ),
    File("numpy bare.txt", lambda: saved(lambda f: np.savetxt(f, VALUES)), (), "no header", ("x1", "x2")),
    File(
        "polars.csv",
        lambda: lines(",", extra=[day + "T12:30:00.000000" for day in DATES], header=("time", "height", "mass")),
        ("time (dates)",),
    ),
    # Data loggers and instruments
    File("logger units.csv", lambda: lines(",").replace("\n", "\nm,kg\n", 1), (), "line 2 read as units"),
    File(
        "logger preamble.csv",
        lambda: (
            "Serial: 20417\nStation: north\n\n"
            + lines(",", extra=[f"{d} 10:00" for d in DATES], header=("Date Time", "height", "mass"))
        ),
        ("Date Time (dates)",),
        "above the table skipped",
    ),
    File("logger campbell.dat", campbell, ("TIMESTAMP (dates)", "RECORD (counts the rows)"), "line 3 read as units"),
    File(
        "logger german.csv",
        lambda: lines(
            ";", decimal=",", extra=[f"{i + 1:02d}.03.2024 07:00" for i in range(8)], header=("Zeit", "height", "mass")
        ),
        ("Zeit (dates)",),
        "decimal commas",
    ),
    File(
        "logger time of day.tsv",
        lambda: lines("\t", extra=[f"0{i}:30" for i in range(8)], header=("time", "height", "mass")),
        ("time (dates)",),
    ),
    File("logger comments.dat", lambda: "% made by a probe\n% channel 3\n" + lines("\t"), (), "comments after %"),
    File("logger trailing commas.csv", lambda: lines(",", end=",\n"), ("x3 (empty)",)),
    File("logger exponents.txt", lambda: lines("   ", lambda value: f"{value:.6E}"), (), "blanks"),
    File(
        "logger constant.csv",
        lambda: lines(",", extra=["21.5"] * 8, header=("battery", "height", "mass")),
        ("battery (constant, every value is 21.5)",),
    ),
    # SQL tools
    File("sqlite list.txt", lambda: sqlite("list"), (), "bars"),
    File("sqlite columns.txt", lambda: sqlite("column"), (), "blanks"),
    File("psql.txt", psql, ("the last line, '(8 rows)'",), "bars"),
    File(
        "psql copy.tsv",
        lambda: lines("\t", extra=["\\N", *KIND[1:]], header=("kind", "height", "mass")),
        ("kind (text)",),
    ),
    File("mysql box.txt", boxed, ("x1 (empty)", "x4 (empty)"), "bars"),
    File(
        "mysql batch.tsv",
        lambda: lines("\t", extra=["NULL", *KIND[1:]], header=("kind", "height", "mass")),
        ("kind (text)",),
    ),
    File("sqlcmd.csv", lambda: lines(",").replace("\n", "\n------,----\n", 1), (), "commas"),
    File(
        "bigquery identifiers.csv",
        lambda: lines(",", extra=[str(7919 * i % 1009) for i in range(1, 9)], header=("customer_id", "height", "mass")),
        ("customer_id (identifiers)",),
    ),
    File(
        "snowflake upper.csv",
        lambda: lines(",", quote='"', header=("HEIGHT", "MASS")),
        (),
        "commas",
        ("HEIGHT", "MASS"),
    ),
    File(
        "census years.csv",
        lambda: lines(",", extra=[str(2010 + i % 3) for i in range(8)], header=("year", "height", "mass")),
        ("year (years)",),
    ),
    File("spectra.csv", lambda: lines(",", header=("40000", "45000")), (), "commas", ("40000", "45000")),
]


def test_there_are_sixty_files_or_more():
    assert len(FILES) >= 60
    assert len({file.name for file in FILES}) == len(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_exported_file_is_read_as_what_it_says(file, tmp_path):
    content = file.make()
    path = tmp_path / file.name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = bg.read_table(path)
    assert table.columns == file.columns
    np.testing.assert_allclose(table.values, VALUES, rtol=1e-12)
    assert table.source.startswith(f"{path} (")
    assert file.found in table.source
    assert [str(warning.message) for warning in caught] == list(table.left_out)
    said = " ".join(table.left_out)
    for reason in file.left_out:
        assert reason in said
    assert bool(file.left_out) == bool(table.left_out)


def test_a_wrong_number_in_a_file_is_noticed(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(lines(";", decimal=",").replace("12500,250", "12500,251"))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(bg.read_table(path).values, VALUES, rtol=1e-12)
