"""Good tables come through unchanged; every bad one is answered with what, where and what to do."""

import datetime
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import hypothesis.extra.numpy as hypothesis_numpy
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import assume, given, settings, strategies as st

from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.table import Table, as_table

GOOD = np.random.default_rng(20240229).normal(size=(20, 3))
A, B, C = GOOD.T


def spoiled(cell, row=4, column=1):
    values = GOOD.copy()
    values[row, column] = cell
    return values


def columns(*arrays):
    return np.stack(np.broadcast_arrays(*arrays), axis=1)


def frame(**named):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(named)


def twice_named():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(GOOD, columns=["a", "b", "a"])


def masked():
    return np.ma.masked_array(GOOD, mask=np.arange(60).reshape(20, 3) % 25 == 7)


def far_off_sum():
    x, y = 10**12 + np.random.default_rng(7).integers(0, 9, size=(2, 100_000))
    return columns(x, y, x + y)


class Bad(NamedTuple):
    name: str
    make: Callable[[], object]
    found: str
    remedy: str


BAD = [
    Bad("none", lambda: None, r"one NoneType, None", r"shape \(N, D\)"),
    Bad("scalar", lambda: 3.5, r"one float, 3\.5", r"shape \(N, D\)"),
    Bad("string", lambda: "data.csv", r"one str, 'data\.csv'", r"read_table"),
    Bad("dict", lambda: {"a": [1, 2]}, r"one dict, \{'a'", r"frame"),
    Bad("lazy frame", lambda: SimpleNamespace(columns=["a"]), r"one SimpleNamespace", r"frame"),
    Bad("generator", lambda: (i for i in range(3)), r"one generator", r"shape \(N, D\)"),
    Bad("three axes", lambda: np.zeros((5, 2, 2)), r"3 axes, shape \(5, 2, 2\)", r"[Rr]eshape"),
    Bad("nothing", lambda: [], r"without rows", r"filter"),
    Bad("no rows", lambda: np.empty((0, 3)), r"without rows, shape \(0, 3\)", r"filter"),
    Bad("no columns", lambda: np.empty((4, 0)), r"without columns, shape \(4, 0\)", r"file"),
    Bad("frame of nothing", lambda: frame(), r"without columns", r"file"),
    Bad("frame without rows", lambda: frame(a=[], b=[]), r"without rows", r"filter"),
    Bad("complex", lambda: GOOD + 1j, r"'x1' holds complex numbers \(dtype complex128\)", r"real"),
    Bad("true and false", lambda: GOOD > 0, r"'x1' holds true and false", r"Drop"),
    Bad("one bool column", lambda: frame(a=A, on=A > 0), r"'on' holds true and false", r"Drop"),
    Bad(
        "dates",
        lambda: frame(a=A, day=np.arange("2020-01", "2020-01-21", dtype="M8[D]")),
        r"'day' holds dates .* such as 2020-01-01",
        r"days since",
    ),
    Bad("durations", lambda: np.arange(9).astype("m8[s]"), r"time differences", r"timedelta64"),
    Bad("objects", lambda: GOOD.astype(object), r"no plain numbers \(dtype object\)", r"astype"),
    Bad("digits as text", lambda: [["1", "2"], ["3", "5"]], r"dtype <U1\), such as 1", r"astype"),
    Bad(
        "text in a list",
        lambda: [[1, 2], [3, "red"], [5, 6]],
        r"'x2' holds 'red' in row 1",
        r"encode",
    ),
    Bad(
        "text column",
        lambda: frame(a=A, kind=["oak"] * 20),
        r"'kind' holds 'oak' in row 0, which is not a finite number",
        r"numeric columns",
    ),
    Bad(
        "date objects",
        lambda: [[1, datetime.date(2020, 1, 1)]] * 3,
        r"'x2' holds datetime\.date\(2020, 1, 1\) in row 0",
        r"encode",
    ),
    Bad("None in a cell", lambda: [[1, 2], [3, None]], r"'x2' holds None in row 1", r"impute"),
    Bad("vast integer", lambda: [[10**400], [1]], r"'x1' holds 1000.* in row 0", r"encode"),
    Bad("ragged", lambda: [[1, 2], [3, 4], [5]], r"ragged.* row 0 has 2 .* row 2 has 1", r"length"),
    Bad("ragged inside", lambda: [[1, [2]], [3, 4]], r"list that NumPy cannot read", r"length"),
    Bad("NaN", lambda: spoiled(np.nan), r"'x2' holds nan in row 4; .*: 1, in 1 of 20", r"impute"),
    Bad("infinity", lambda: spoiled(-np.inf), r"'x2' holds -inf in row 4", r"impute"),
    Bad(
        "more than float64 holds",
        lambda: spoiled(2).astype(np.longdouble) * np.longdouble("1e400"),
        r"'x1' holds -?inf in row 0",
        r"impute",
    ),
    Bad("several NaN", lambda: spoiled([np.nan] * 2, [9, 4]), r"row 4; .*: 2, in 2 of", r"isfin"),
    Bad("masked", masked, r"3 masked values, the first in row 2", r"impute"),
    Bad("sparse", lambda: scipy.sparse.csr_array(GOOD), r"sparse", r"toarray"),
    Bad("names twice", twice_named, r"more than one column named 'a'", r"[Rr]ename"),
    Bad("constant", lambda: columns(A, 3.0), r"'x2' is constant, every value is 3\.", r"Drop"),
    Bad("constants", lambda: columns(7, A, 3), r"'x1' is .* 7\. So are \['x3'\]", r"these"),
    Bad("dependent", lambda: columns(A, B, A - 2 * B, C), r"rank 3 of 4: 'x3' is a", r"'x3'"),
    Bad("twins", lambda: columns(A, B, 1e6 + 3 * A), r"rank 2 of 3: 'x3' is a lin", r"'x3'"),
    Bad("nearly twins", lambda: columns(A, A + 1e-12 * B), r"rank 1 of 2: 'x2' is", r"Drop 'x2'"),
    Bad("dependent, far off", far_off_sum, r"rank 2 of 3: 'x\d' is a", r"Drop 'x\d'"),
    Bad("wide", lambda: GOOD[:3], r"3 rows of 3 columns", r"transpose"),
    Bad("one row", lambda: [[1.0]], r"1 rows of 1 columns", r"more rows"),
    Bad("vast", lambda: 1e200 * GOOD, r"'x1' has values of size \d.*e\+2", r"another unit"),
    Bad("vast below", lambda: spoiled(-1e200), r"'x2' has values of size 1e\+200", r"another unit"),
    Bad("minute", lambda: 1e-200 * GOOD, r"'x1' has values of size \d.*e-2", r"another unit"),
    Bad("swamped", lambda: columns(A, 1e14 + B), r"'x2' varies by only .* around 1e\+14", r"offset"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_tables_are_refused_with_reasons(case):
    with pytest.raises(DataError, match=rf"(?s){case.found}.* Expected .*\. ") as caught:
        as_table(case.make())
    error = caught.value
    assert error.found.endswith(".")
    assert error.remedy.endswith(".")
    assert not error.expected.endswith(".")
    assert "\n" not in error.found
    assert pytest.raises(DataError, match=case.remedy).matches(error)


class Good(NamedTuple):
    name: str
    make: Callable[[], object]
    values: np.ndarray
    columns: tuple[str, ...] = ("x1", "x2", "x3")


def pandas_frame():
    return frame(a=A, b=B.astype(np.float32), c=np.arange(20))


def pandas_series():
    return pytest.importorskip("pandas").Series(A, name="waiting")


def polars_frame():
    return pytest.importorskip("polars").DataFrame({"a": A, "b": B, "c": np.arange(20)})


def arrow_table():
    return pytest.importorskip("pyarrow").table({"a": A, "b": B, "c": np.arange(20)})


def labelled_array():
    return pytest.importorskip("xarray").DataArray(GOOD, dims=["point", "feature"])


ABC = ("a", "b", "c")
COUNTED = columns(A, B, np.arange(20))
GOOD_TABLES = [
    Good("array", lambda: GOOD, GOOD),
    Good("Fortran order", lambda: np.asfortranarray(GOOD), GOOD),
    Good("float32", lambda: GOOD.astype(np.float32), GOOD.astype(np.float32).astype(float)),
    Good("longdouble", lambda: GOOD.astype(np.longdouble), GOOD),
    Good("big endian", lambda: GOOD.astype(">f8"), GOOD),
    Good("integers", lambda: [[1, 2], [3, 5], [8, 13]], [[1, 2], [3, 5], [8, 13]], ("x1", "x2")),
    Good("unsigned", lambda: np.array([[3], [2**64 - 1]], "u8"), [[3.0], [2.0**64]], ("x1",)),
    Good("list of rows", GOOD.tolist, GOOD),
    Good("tuple of arrays", lambda: tuple(GOOD), GOOD),
    Good("one axis", lambda: A, A[:, None], ("x1",)),
    Good("flat list", lambda: [1, 2, 4], [[1], [2], [4]], ("x1",)),
    Good("nothing masked", lambda: np.ma.masked_array(GOOD), GOOD),
    Good("JAX", lambda: jnp.array(GOOD, jnp.float32), GOOD.astype(np.float32).astype(float)),
    Good("pandas", pandas_frame, columns(A, B.astype(np.float32), np.arange(20)), ABC),
    Good("pandas series", pandas_series, A[:, None], ("waiting",)),
    Good("pandas, numbered", lambda: frame(**{"0": A}).rename(columns=int), A[:, None], ("0",)),
    Good("polars", polars_frame, COUNTED, ABC),
    Good("pyarrow", arrow_table, COUNTED, ABC),
    Good("xarray", labelled_array, GOOD),
    # The negative controls: hard, but not degenerate.
    Good("almost dependent", lambda: columns(A, A + 1e-6 * B), columns(A, A + 1e-6 * B), ABC[:0]),
    Good("small spread", lambda: columns(A, 5 + 5e-9 * B), columns(A, 5 + 5e-9 * B), ABC[:0]),
    Good("unequal units", lambda: columns(1e140 * A, 1e-140 * B), columns(1e140 * A, 1e-140 * B)),
    Good("just enough rows", lambda: GOOD[:4], GOOD[:4]),
]


@pytest.mark.parametrize("case", GOOD_TABLES, ids=lambda case: case.name)
def test_good_tables_come_through_unchanged(case):
    table = as_table(case.make())
    np.testing.assert_array_equal(table.values, case.values)
    assert table.columns == (case.columns or ("x1", "x2"))[: table.n_features]
    assert table.values.dtype == np.float64
    assert table.values.dtype.isnative
    assert table.values.flags.c_contiguous
    assert not table.values.flags.writeable


sizes = st.floats(-1e6, 1e6).map(lambda number: round(number, 3))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(hypothesis_numpy.arrays(np.float64, st.tuples(st.integers(4, 12), st.integers(1, 3)), elements=sizes))
def test_any_table_of_full_rank_comes_through_unchanged(values):
    deviations = values.std(axis=0)
    assume((deviations > 1e-3).all())
    scaled = (values - values.mean(axis=0)) / deviations
    assume(np.linalg.cond(scaled) < 1e6)
    np.testing.assert_array_equal(as_table(values).values, values)


def test_a_table_is_returned_as_it_is():
    table = as_table(GOOD)
    assert as_table(table) is table


def test_a_table_does_not_share_memory_with_what_it_came_from():
    source = GOOD.copy()
    table = as_table(source)
    source[0, 0] = 99
    assert table.values[0, 0] == GOOD[0, 0]
    with pytest.raises(ValueError, match="read-only"):
        table.values[0, 0] = 99


def test_numpy_takes_a_table_as_an_array():
    table = as_table(GOOD)
    np.testing.assert_array_equal(np.cov(table, rowvar=False), np.cov(GOOD, rowvar=False))
    assert np.asarray(table) is table.values
    assert np.asarray(table, dtype=np.float32).dtype == np.float32
    assert np.array(table).flags.writeable
    assert (len(table), table.n_points, table.n_features) == (20, 20, 3)


def test_select_keeps_the_order_asked_for_and_what_belongs_to_it():
    kinds = tuple("uv" * 10)
    table = Table(GOOD, ABC, name="trees", units=("m", "cm", "kg"), source="a wood", labels=kinds)
    chosen = table.select(["c", "a"])
    np.testing.assert_array_equal(chosen.values, GOOD[:, [2, 0]])
    assert (chosen.columns, chosen.units) == (("c", "a"), ("kg", "m"))
    assert (chosen.name, chosen.source, chosen.labels) == ("trees", "a wood", kinds)
    assert chosen.values.flags.c_contiguous
    assert table.select("b").columns == ("b",)


@pytest.mark.parametrize(("wanted", "found"), [(["a", "z"], "'z'"), ("ab", "'ab'"), ([], "names")])
def test_select_names_the_unknown_and_the_available(wanted, found):
    with pytest.raises(ArgumentError, match=found) as caught:
        Table(GOOD, ABC).select(wanted)
    assert "'a', 'b', 'c'" in caught.value.expected
    assert "'a'" not in caught.value.found


@pytest.mark.parametrize("extra", [{"units": ("m",)}, {"labels": ("oak",) * 19}])
def test_units_and_labels_must_fit(extra):
    with pytest.raises(ArgumentError, match=next(iter(extra))):
        Table(GOOD, ABC, **extra)


def test_one_name_a_column():
    with pytest.raises(DataError, match="more than one column named 'a'"):
        Table(GOOD, ("a", "b", "a"))
    with pytest.raises(DataError, match="2 column names for 3 columns"):
        Table(GOOD, ("a", "b"))


def test_a_table_prints_its_columns_with_units_and_summary():
    values = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 90.0]])
    printed = str(Table(values, ("height", "mass"), name="trees", units=("m", "kg")))
    lines = printed.splitlines()
    assert lines[0] == "trees: 3 x 2"
    assert lines[1].split() == ["mean", "sd", "min", "max"]
    assert lines[2].split() == ["height", "[m]", "3", "2.646", "1", "6"]
    assert lines[3].split() == ["mass", "[kg]", "40", "43.59", "10", "90"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert printed == repr(Table(values, ("height", "mass"), name="trees", units=("m", "kg")))
