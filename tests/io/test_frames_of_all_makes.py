"""Frames whose cells are numbers in any guise are read; what is not in memory is refused with what loads it."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.io.rows import row_weights, rows_of

VALUES = np.random.default_rng(8).normal(size=(12, 2)).round(3)
FRAME = pd.DataFrame(VALUES, columns=["a", "b"])
WITH_GAP = FRAME.mask(FRAME.index.to_numpy()[:, None] == [[3, 5]] * 12)


def library(name):
    return pytest.importorskip(name)


def decimals(cast):
    return cast(FRAME.map(lambda cell: Decimal(str(cell))))


GUISES = {
    "pandas, objects": lambda: FRAME.astype(object),
    "pandas, transposed twice": lambda: FRAME.astype(object).T.T,
    "pandas, nullable": lambda: FRAME.convert_dtypes(),
    "pandas, Decimal": lambda: decimals(lambda frame: frame),
    "pandas, arrow": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "pandas, sparse": lambda: FRAME.astype(pd.SparseDtype(float)),
    "polars": lambda: library("polars").DataFrame(FRAME.to_dict("list")),
    "polars, Decimal": lambda: library("polars").DataFrame({c: list(map(Decimal, map(str, FRAME[c]))) for c in "ab"}),
    "polars, objects": lambda: library("polars").DataFrame(FRAME.to_dict("list"), schema={"a": object, "b": object}),
    "pyarrow": lambda: library("pyarrow").Table.from_pandas(FRAME),
    "pyarrow, Decimal": lambda: library("pyarrow").table({c: list(map(Decimal, map(str, FRAME[c]))) for c in "ab"}),
    "DuckDB, run": lambda: library("duckdb").from_df(FRAME).df(),
}


@pytest.mark.parametrize("make", GUISES.values(), ids=GUISES)
def test_numbers_in_any_guise_are_numbers(make):
    table = bg.as_table(make())
    np.testing.assert_array_equal(table.values, VALUES)
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(rows_of("points", make(), 2), VALUES)


def dask_frame():
    return library("dask.dataframe").from_pandas(FRAME, npartitions=3)


def dask_array():
    return library("dask.array").from_array(VALUES, chunks=4)


UNLOADED = {
    "polars, lazy": (lambda: library("polars").LazyFrame({"a": [1.0]}), r"LazyFrame, a query", r"x\.collect\(\)"),
    "DuckDB": (lambda: library("duckdb").from_df(FRAME), r"DuckDBPyRelation, a query", r"x\.df\(\)"),
    "Dask array": (dask_array, r"Array, whose values are not in memory", r"x\.compute\(\); fit_stream"),
    "Dask frame": (dask_frame, r"DataFrame, whose values are not in memory", r"x\.compute\(\)"),
    "Dask series": (lambda: dask_frame()["a"], r"Series, whose values are not in memory", r"x\.compute\(\)"),
    "xarray of chunks": (
        lambda: library("xarray").DataArray(dask_array(), dims=["n", "d"]),
        r"DataArray, whose values are not in memory",
        r"x\.compute\(\)",
    ),
}


@pytest.mark.parametrize(("make", "found", "remedy"), UNLOADED.values(), ids=UNLOADED)
def test_what_is_not_in_memory_is_refused_with_the_call_that_loads_it(make, found, remedy):
    readers = (bg.as_table, lambda x: rows_of("points", x, 2), bg.estimators.GaussianMixture().fit)
    for read in (*readers, lambda x: row_weights(x, 12)):
        with pytest.raises(DataError, match=rf"Found a {found}.*{remedy}"):
            read(make())


def test_a_dask_array_is_not_computed_to_be_refused():
    dask = library("dask")
    computed = []
    array = library("dask.array").from_delayed(dask.delayed(computed.append)(1), (12, 2), float)
    with pytest.raises(DataError, match="not in memory"):
        bg.as_table(array)
    assert not computed


REFUSED = {
    "categories": (lambda: FRAME.assign(b=pd.Categorical([1, 2] * 6)), r"'b' holds categories .*such as 1", "astype"),
    "polars, categories": (
        lambda: library("polars").DataFrame({"k": ["oak", "elm"]}, schema={"k": library("polars").Categorical}),
        r"'k' holds categories",
        "Drop",
    ),
    "nullable bool": (lambda: FRAME.assign(b=pd.array([True, None] * 6, "boolean")), r"'b' holds true and f", "Drop"),
    "objects with text": (lambda: FRAME.assign(b=[1.5, "oak"] * 6), r"'b' holds 'oak' in row 1", "numeric columns"),
    "text": (lambda: FRAME.assign(b=["oak", "elm"] * 6), r"'b' holds 'oak' in row 0", "numeric columns"),
    "pyarrow, time": (
        lambda: library("pyarrow").Table.from_pandas(FRAME.assign(b=pd.Timestamp("2024-01-02"))),
        r"'b' holds dates",
        "days since",
    ),
}


@pytest.mark.parametrize(("make", "found", "remedy"), REFUSED.values(), ids=REFUSED)
def test_columns_of_no_numbers_are_named(make, found, remedy):
    with pytest.raises(DataError, match=rf"{found}.*{remedy}"):
        bg.as_table(make())


GAPS = {
    "pandas": lambda: WITH_GAP,
    "objects": lambda: WITH_GAP.astype(object).where(WITH_GAP.notna(), None),
    "nullable": lambda: WITH_GAP.convert_dtypes(),
    "polars": lambda: library("polars").from_pandas(WITH_GAP),
    "pyarrow": lambda: library("pyarrow").Table.from_pandas(WITH_GAP),
    "array": lambda: WITH_GAP.to_numpy(),
}


@pytest.mark.parametrize("make", GAPS.values(), ids=GAPS)
def test_missing_cells_are_refused_and_their_rows_dropped_on_request(make):
    with pytest.raises(DataError, match=r'holds nan in row 3; .*: 2, in 2 of 12 rows.*missing="drop"'):
        bg.as_table(make())
    table = bg.as_table(make(), missing="drop")
    np.testing.assert_array_equal(table.values, np.delete(VALUES, [3, 5], axis=0))
    (said,) = table.left_out
    assert said.startswith("left out: 2 of 12 rows with missing cells (")
    assert said.endswith("), rows 3, 5 counted from 0")


def test_nothing_is_said_to_be_left_out_where_nothing_is():
    assert bg.as_table(FRAME, missing="drop").left_out == ()
    with pytest.raises(ArgumentError, match=r'missing is \'ignore\'.*"refuse", "drop" or "integrate"'):
        bg.as_table(FRAME, missing="ignore")


MARKED = {
    "-999": (-999.0, 2, [3, 5]),
    "9999 once": (9999.0, 1, [7]),
    "0 among positive numbers": (0.0, 2, [0, 1]),
    "any number again and again": (-55.5, 3, [0, 1, 2]),
}


@pytest.mark.parametrize(("marker", "count", "rows"), MARKED.values(), ids=MARKED)
def test_numbers_that_stand_for_missing_ones_are_doubted(marker, count, rows):
    rng = np.random.default_rng(5)
    values = np.stack([rng.normal(5, 1, 80), rng.normal(30, 4, 80)], 1)
    assert not [doubt for doubt in bg.fit_em(values, 1).doubts if "missing" in doubt]
    values[rows, 1] = marker
    doubts = [doubt for doubt in bg.fit_em(bg.Table(values, ("a", "b")), 1).doubts if "missing" in doubt]
    assert len(doubts) == 1
    assert doubts[0].startswith(f"Column 'b' holds {marker:g} in {count} rows")
    assert 'missing="drop"' in doubts[0]


@pytest.mark.parametrize("name", bg.datasets.names())
def test_measurements_are_not_doubted(name):
    from bayes_gmm.io.number_text import suspected_markers

    table = bg.datasets.load(name)
    assert suspected_markers(table.values, table.columns) == []
