"""Good tables are read unchanged; the error about a bad one says what is wrong, where, and what to do about it."""

import datetime
import subprocess
import sys
import textwrap
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import hypothesis.extra.numpy as hypothesis_numpy
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.sparse
from hypothesis import assume, given, settings, strategies as st

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError, DataError
from bayes_gmm.estimators import GaussianMixture
from bayes_gmm.io.rows import later_rows, rows_of
from bayes_gmm.io.table import Table, as_table, read_rows

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


def arrow():
    return pytest.importorskip("pyarrow")


def polars():
    return pytest.importorskip("polars")


def xarray():
    return pytest.importorskip("xarray")


def records(values=GOOD):
    return np.rec.fromarrays(list(values.T), names=["a", "b", "c"])


class Streaming:
    """A table that can be read only through Arrow's stream protocol."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class Interchanging:
    """A table that can be read only through the data frame interchange protocol."""

    def __init__(self, table):
        self.table = table

    def __dataframe__(self, nan_as_null=False, allow_copy=True):
        return self.table.__dataframe__(nan_as_null, allow_copy)


def with_null(library):
    return library({"a": [*A], "b": [*B[:7], None, *B[8:]]})


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
    Bad("polars, lazy", lambda: polars_frame().lazy(), r"LazyFrame, a query", r"collect\(\)"),
    Bad("polars, null", lambda: with_null(polars().DataFrame), r"'b' holds nan in row 7; .*: 1, in 1 of 20", r"impute"),
    Bad("polars, integer null", lambda: polars().DataFrame({"n": [1, None, 3]}), r"'n' holds nan in row 1", r"impute"),
    Bad("polars, series", lambda: polars().Series("b", [1.0, 2, None]), r"'b' holds nan in row 2", r"impute"),
    Bad("polars, text", lambda: polars().DataFrame({"k": ["oak", "elm"]}), r"'k' holds 'oak' in row 0", r"numeric"),
    Bad(
        "polars, dates", lambda: polars().DataFrame({"k": [datetime.date(2020, 1, 1)] * 2}), r"'k' holds dates", r"days"
    ),
    Bad("polars, lists", lambda: polars().DataFrame({"k": [[1, 2], [3, 4]]}), r"'k'", r"\w"),
    Bad("pyarrow, null", lambda: with_null(arrow().table), r"'b' holds nan in row 7; .*: 1, in 1 of 20", r"impute"),
    Bad("pyarrow, integer null", lambda: arrow().table({"n": [1, None, 3]}), r"'n' holds nan in row 1", r"impute"),
    Bad("pyarrow, batch", lambda: arrow().RecordBatch.from_pydict({"n": [1, None]}), r"'n' holds nan in", r"impute"),
    Bad("pyarrow, one array", lambda: arrow().array([1.0, None]), r"'x1' holds nan in row 1", r"impute"),
    Bad("pyarrow, twice", lambda: arrow().table([A, B], ["a", "a"]), r"more than one column named 'a'", r"[Rr]ename"),
    Bad("pandas, integer null", lambda: frame(n=[1, 2, None]).astype("Int64"), r"'n' holds nan in row 2", r"impute"),
    Bad("stream, null", lambda: Streaming(with_null(arrow().table)), r"'b' holds nan in row 7", r"impute"),
    Bad("stream of no table", lambda: Streaming(arrow().chunked_array([A])), r"Streaming that pyarrow cann", r"NumPy"),
    Bad("xarray, three", lambda: xarray().DataArray(np.zeros((5, 2, 2))), r"3 axes", r"[Rr]eshape"),
    Bad(
        "xarray, two dimensions",
        lambda: xarray().Dataset({"a": ("n", A), "b": ("m", B)}),
        r"different dimensions: a \('n',\), b \('m',\)",
        r"belong",
    ),
    Bad("xarray, wide", lambda: xarray().Dataset({"a": (("n", "m"), GOOD)}), r"'a' has 2 axes", r"Split"),
    Bad("xarray, NaN", lambda: xarray().Dataset({"a": ("n", [1, np.nan, 2])}), r"'a' holds nan in row 1", r"impute"),
    Bad("xarray, empty", lambda: xarray().Dataset(), r"without columns", r"file"),
    Bad("structured, NaN", lambda: records(spoiled(np.nan)), r"'b' holds nan in row 4", r"impute"),
    Bad("structured, text", lambda: np.array([(1.0, "oak")] * 3, "f8,U3"), r"'f1' holds 'oak' in row 0", r"encode"),
    Bad("structured, wide", lambda: np.zeros(3, "f8,(2,)f8"), r"'f1' has 2 axes, shape \(3, 2\)", r"Split"),
    Bad("structured, two axes", lambda: records().reshape(4, 5), r"structured array of 2 axes", r"ravel"),
    Bad(
        "structured, masked",
        lambda: np.ma.array(np.zeros(3, "f8,f8"), mask=[(0, 0), (0, 1), (0, 0)]),
        r"1 masked values, the first in row 1",
        r"impute",
    ),
    Bad("set", lambda: {1.0, 2.0}, r"one set", r"shape \(N, D\)"),
    Bad("JAX, NaN", lambda: jnp.array(spoiled(np.nan)), r"'x2' holds nan in row 4", r"impute"),
    Bad("JAX, complex", lambda: jnp.array(GOOD + 1j), r"complex", r"real"),
    Bad("generator", lambda: (i for i in range(3)), r"one generator", r"shape \(N, D\)"),
    Bad(
        "three axes",
        lambda: np.zeros((5, 2, 2)),
        r"3 axes, shape \(5, 2, 2\)",
        r"5 x 2 pixels of 2 channels: x\.reshape\(-1, 2\)",
    ),
    Bad(
        "channels first", lambda: np.zeros((3, 8, 9)), r"3 axes", r"3 channels of 8 x 9 pixels: x\.reshape\(3, -1\)\.T"
    ),
    Bad(
        "four axes",
        lambda: np.zeros((2, 8, 9, 3)),
        r"4 axes",
        r"x\.reshape\(-1, x\.shape\[-1\]\) makes points of the last",
    ),
    Bad("three axes, none of channels", lambda: np.zeros((5, 3, 4)), r"3 axes", r"of the last axis .* of the first"),
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
    Bad("several NaN", lambda: spoiled([np.nan] * 2, [9, 4]), r"row 4; .*: 2, in 2 of", r'missing="drop"'),
    Bad("masked", masked, r"3 masked values, the first in row 2", r"impute"),
    Bad("sparse", lambda: scipy.sparse.csr_array(GOOD), r"sparse", r"toarray"),
    Bad("names twice", twice_named, r"more than one column named 'a'", r"[Rr]ename"),
    Bad("constant", lambda: columns(A, 3.0), r"'x2' is constant, every value is 3\.", r"Drop"),
    Bad("constants", lambda: columns(7, A, 3), r"'x1' is .* 7\. So are \['x3'\]", r"these"),
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


SINGULAR = [
    Bad("dependent", lambda: columns(A, B, A - 2 * B, C), r"rank 3 of 4: 'x3' is a", r"'x3'"),
    Bad("twins", lambda: columns(A, B, 1e6 + 3 * A), r"rank 2 of 3: 'x3' is a lin", r"'x3'"),
    Bad("nearly twins", lambda: columns(A, A + 1e-12 * B), r"rank 1 of 2: 'x2' is", r"Drop 'x2'"),
    Bad("dependent, far off", far_off_sum, r"rank 2 of 3: 'x\d' is a", r"Drop 'x\d'"),
    Bad("wide", lambda: GOOD[:3], r"3 rows of 3 columns", r"transpose"),
]


@pytest.mark.parametrize("case", SINGULAR, ids=lambda case: case.name)
def test_singular_tables_are_refused_where_covariances_are_fitted(case):
    for verb in (bg.fit_em, bg.fit_laplace):
        with pytest.raises(DataError, match=rf"(?s){case.found}.* Expected .*\. ") as caught:
            verb(case.make(), 1)
        assert pytest.raises(DataError, match=case.remedy).matches(caught.value)
        assert 'covariance_type="diag"' in caught.value.remedy


def test_a_diagonal_structure_fits_more_columns_than_rows():
    """In closed form for one component; for two, groups that lie ten sds apart are found."""
    rng = np.random.default_rng(19)
    groups = np.repeat([0, 1], 20)
    x = rng.normal(size=(40, 60)) + 1.5 * groups[:, None]
    one = bg.fit_em(x, 1, covariance_type="diag")
    np.testing.assert_allclose(one.mixture.scales[0], x.std(0), rtol=1e-9)
    density = -0.5 * len(x) * (np.log(2 * np.pi * x.var(0)) + 1).sum()
    np.testing.assert_allclose(one.log_likelihood, density, rtol=1e-12)
    two = bg.fit_em(x, 2, covariance_type="spherical", n_starts=8)
    np.testing.assert_array_equal(two.mixture.predict(x), groups)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(two.mixture.predict(rng.permutation(x)), groups)


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
    return polars().DataFrame({"a": A, "b": B, "c": np.arange(20)})


def arrow_table():
    return arrow().table({"a": A, "b": B, "c": np.arange(20)})


def labelled_array(**coordinates):
    return xarray().DataArray(GOOD, dims=["point", "feature"], coords=coordinates)


def dataset():
    return xarray().Dataset({"a": ("point", A), "b": ("point", B), "c": ("point", np.arange(20))})


def chunked_arrow_table():
    return arrow().concat_tables([arrow_table().slice(0, 7), arrow_table().slice(7)])


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
    Good("polars, float32", lambda: polars().DataFrame({"a": A.astype("f4")}), A.astype("f4")[:, None], ("a",)),
    Good("polars series", lambda: polars().Series("waiting", A), A[:, None], ("waiting",)),
    Good("polars series without a name", lambda: polars().Series(A), A[:, None], ("x1",)),
    Good("pyarrow, in chunks", chunked_arrow_table, COUNTED, ABC),
    Good("pyarrow batch", lambda: arrow_table().to_batches()[0], COUNTED, ABC),
    Good("pyarrow column", lambda: arrow_table()["a"], A[:, None], ("x1",)),
    Good("pyarrow reader", lambda: chunked_arrow_table().to_reader(), COUNTED, ABC),
    Good("stream", lambda: Streaming(arrow_table()), COUNTED, ABC),
    Good("interchange", lambda: Interchanging(arrow_table()), COUNTED, ABC),
    Good("xarray", labelled_array, GOOD),
    Good("xarray, named", lambda: labelled_array(feature=["b", "c", "a"]), GOOD, ("b", "c", "a")),
    Good("xarray, numbered", lambda: labelled_array(feature=[10, 20, 30]), GOOD),
    Good("xarray, one axis", lambda: xarray().DataArray(A, dims=["n"], name="waiting"), A[:, None], ("waiting",)),
    Good("xarray dataset", dataset, COUNTED, ABC),
    Good(
        "structured",
        lambda: np.array([*zip(A, range(20), strict=True)], [("u", "f8"), ("v", "i2")]),
        columns(A, np.arange(20)),
        ("u", "v"),
    ),
    Good("records", records, GOOD, ABC),
    Good("records, nothing masked", lambda: np.ma.array(records()), GOOD, ABC),
    # Negative controls: nearly degenerate tables that can be fitted.
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


@pytest.mark.numpyro
@pytest.mark.parametrize("make", [pandas_frame, polars_frame, arrow_table, dataset, records, Streaming])
def test_column_names_travel_to_fits_and_draws(make):
    table = make(arrow_table()) if make is Streaming else make()
    mle = bg.fit_em(table, 1)
    assert mle.table.columns == ABC
    prior = bg.prior_predictive(table, 1, num_draws=2)
    assert tuple(prior["prior"].coords["feature"].values) == ABC
    assert tuple(prior["observed_data"].coords["feature"].values) == ABC
    axes = bg.plot_ellipses(mle=mle)
    assert {ax.get_xlabel() for ax in axes.flat} >= {*ABC}
    plt.close(axes.flat[0].figure)
    later = GaussianMixture(random_state=0).fit(table)
    assert tuple(later.feature_names_in_) == ABC
    assert later.means_ == pytest.approx(mle.mixture.means)


def test_estimators_do_not_name_what_has_no_names():
    for x in (GOOD, labelled_array(), jnp.array(GOOD)):
        assert not hasattr(GaussianMixture(random_state=0).fit(x), "feature_names_in_")


def test_estimators_ask_for_two_axes_as_scikit_learn_does():
    for x in (A, A.tolist(), frame(a=A)["a"], polars().Series(A), arrow().array(A)):
        with pytest.raises(DataError, match=r"Expected 2D array, got 1D array instead.*reshape\(-1, 1\)"):
            GaussianMixture().fit(x)


def test_without_pyarrow_its_protocols_are_refused_in_words(monkeypatch):
    streaming, interchanging = Streaming(arrow_table()), Interchanging(arrow_table())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for x in (streaming, interchanging):
        with pytest.raises(DataError, match=r"pyarrow is not installed.*Install pyarrow"):
            as_table(x)


def test_tables_import_no_library():
    code = """
        import sys, numpy as np, bayes_gmm as bg
        x = np.random.default_rng(0).normal(size=(9, 2))
        for table in (x, x.tolist(), x[:, 0], np.rec.fromarrays(list(x.T))):
            bg.as_table(table)
        assert not {"pandas", "polars", "pyarrow", "xarray", "jax"} & set(sys.modules)
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.wrong_types
def test_one_table_of_any_library_is_not_a_stream_of_batches():
    for table in (pandas_frame(), polars_frame(), polars_frame().lazy(), arrow_table(), dataset(), records(), GOOD):
        with pytest.raises(ArgumentError, match="batches are one"):
            bg.fit_stream(table, 1)


sizes = st.floats(-1e6, 1e6).map(lambda number: round(number, 3))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(hypothesis_numpy.arrays(np.float64, st.tuples(st.integers(4, 12), st.integers(1, 3)), elements=sizes))
def test_any_table_of_full_rank_comes_through_unchanged(values):
    deviations = values.std(axis=0)
    assume((deviations > 1e-3).all())
    scaled = (values - values.mean(axis=0)) / deviations
    assume(np.linalg.cond(scaled) < 1e6)
    np.testing.assert_array_equal(as_table(values).values, values)


EMPTY = {
    "text": lambda: np.empty((0, 2), "U3"),
    "complex": lambda: np.empty((0, 2), complex),
    "mixed frame": lambda: frame(a=np.empty(0), day=np.empty(0, "M8[s]")),
    "polars": lambda: polars().DataFrame({"a": [], "b": []}),
    "records": lambda: np.empty(0, "f8,U2"),
}


@pytest.mark.parametrize("make", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("read", [as_table, read_rows, lambda x: later_rows(x, ("a", "b"))])
def test_a_table_without_rows_is_refused_before_its_types_are_looked_at(make, read):
    with pytest.raises(DataError, match=r"without rows, shape \(0, 2\)"):
        read(make())


def test_points_without_rows_are_refused():
    with pytest.raises(DataError, match=r"without rows, shape \(0, 2\)"):
        rows_of("points", frame(a=[], b=[]), 2)
    with pytest.raises(ArgumentError, match=r"points have shape \(0, 2\)"):
        rows_of("points", np.empty((0, 2)), 2)


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


def test_the_way_out_of_three_axes_makes_each_pixel_a_point():
    image = np.random.default_rng(0).normal(size=(6, 7, 3))
    for array in (image, np.moveaxis(image, -1, 0)):
        with pytest.raises(DataError) as refused:
            as_table(array)
        code = refused.value.remedy.partition(": ")[2].partition(" makes")[0]
        np.testing.assert_array_equal(as_table(eval(code, {"x": array})).values, image.reshape(42, 3))
