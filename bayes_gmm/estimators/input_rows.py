"""Rows given to an estimator: any table; errors use scikit-learn's messages, which its users and tools know."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.errors import CellError, DataError
from bayes_gmm.io.dataframes import Columns, from_array, from_columns, named_columns
from bayes_gmm.io.rows import refuse_errors
from bayes_gmm.io.table import Table
from bayes_gmm.io.table_checks import check_numbers, way_to_two_axes

_ROWS = "an array or a frame of numbers, rows (points) by columns (features)"


class Rows(NamedTuple):
    """Values, column names where all are strings (else None), and the type in which results are returned."""

    values: Float[np.ndarray, "N D"]
    names: np.ndarray | None
    dtype: np.dtype[Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, x1 to xD where there are none."""
        numbered = tuple(f"x{i + 1}" for i in range(self.values.shape[1]))
        return numbered if self.names is None else tuple(self.names)


def read(x: Any, owner: str, *, fewest: int = 1) -> Rows:
    """Rows of an array, a list or a frame, NaN where a cell was not seen; `owner` is the name of the estimator.

    Raises
    ------
    DataError
        When `x` does not have two axes, has fewer than `fewest` rows, or a cell that is neither a finite real number
        nor NaN.
    """
    if isinstance(x, Table):
        refuse_errors(x, f"{owner} takes exact rows, and these")
    named = _of_table(x) if isinstance(x, Table) else named_columns(x)
    if named is None:
        x = x if hasattr(x, "shape") else _as_array(x)
        _check_shape(x, owner, fewest)
        values, columns = from_array(_as_numbers(x))
    else:
        _check_counts(named.shape, owner, fewest)
        values, columns = from_columns(named)
    check_numbers(values, columns, gaps=True)
    return Rows(np.ascontiguousarray(values), _names(named), _result_type(x))


def check_names(rows: Rows, fitted: np.ndarray | None, owner: str) -> None:
    """Compare names of columns with those of the fit; a warning is given where only one of the two has names.

    Raises
    ------
    DataError
        When both have names, and the names or their order differ.
    """
    if rows.names is None or fitted is None:
        if rows.names is not None:
            warnings.warn(f"X has feature names, but {owner} was fitted without feature names", stacklevel=4)
        elif fitted is not None:
            text = f"X does not have valid feature names, but {owner} was fitted with feature names"
            warnings.warn(text, stacklevel=4)
        return
    if np.array_equal(rows.names, fitted):
        return
    parts = [
        _listed("Feature names unseen at fit time:", set(rows.names) - set(fitted)),
        _listed("Feature names seen at fit time, yet now missing:", set(fitted) - set(rows.names)),
    ]
    found = "".join(parts) or "Feature names must be in the same order as they were in fit.\n"
    raise DataError(
        f"The feature names should match those that were passed during fit.\n{found}",
        f"the columns {', '.join(map(str, fitted[:10]))}",
        "Select them by name, in this order.",
    )


def _of_table(table: Table) -> Columns | None:
    """Columns of a Table, unless its names only number them."""
    numbered = tuple(f"x{i + 1}" for i in range(table.n_features))
    return None if table.columns == numbered else Columns(table.columns, tuple(table.values.T))


def _as_array(x: Any) -> Any:
    try:
        return np.asarray(x)
    except ValueError:  # a ragged list; `from_array` raises the error about it
        return x


def _as_numbers(x: Any) -> Any:
    """`x` itself, or an array of Python objects converted to float64."""
    if not (isinstance(x, np.ndarray) and x.dtype == object):
        return x
    try:
        return x.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise CellError(f"A cell is no number: {error}.", "a number in every cell", "Drop or encode it.") from None


def _check_shape(x: Any, owner: str, fewest: int) -> None:
    shape = getattr(x, "shape", None)
    if shape is None or hasattr(x, "nnz"):
        return
    if getattr(getattr(x, "dtype", None), "kind", "") == "c":
        raise DataError("Complex data not supported.", _ROWS, "Give the real and the imaginary parts as two columns.")
    if len(shape) != 2:
        raise DataError(
            f"Expected 2D array, got {len(shape)}D array instead, of shape {shape}.",
            _ROWS,
            way_to_two_axes(shape)
            if len(shape) > 2
            else "Reshape your data either using array.reshape(-1, 1) if it has a single feature, or "
            "array.reshape(1, -1) if it is a single sample.",
        )
    _check_counts(shape, owner, fewest)


def _check_counts(shape: tuple[int, int], owner: str, fewest: int) -> None:
    n_samples, n_features = shape
    if n_features < 1:
        found = f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required by {owner}."
        raise DataError(found, _ROWS, "Check the selection that left no column.")
    if n_samples < fewest:
        found = f"Found array with {n_samples} sample(s) (shape={shape}) while a minimum of {fewest} is required"
        raise DataError(f"{found} by {owner}.", _ROWS, "Give more rows.")


def _names(named: Columns | None) -> np.ndarray | None:
    names = [] if named is None else list(named.names)
    strings = [isinstance(name, str) for name in names]
    if any(strings) and not all(strings):
        raise CellError(
            "Feature names are only supported if all input features have string names, but some names are no strings.",
            "names that are all strings",
            "Convert them, for example by X.columns = X.columns.astype(str).",
        )
    return np.array(names, dtype=object) if names and all(strings) else None


def _result_type(x: Any) -> np.dtype[Any]:
    """float32 for a float32 array or a data frame of float32 columns only, else float64."""
    dtypes = getattr(x, "dtypes", None)
    kinds = [getattr(x, "dtype", None)] if dtypes is None else list(dtypes)
    single = all(str(kind).lower() == "float32" for kind in kinds)
    return np.dtype(np.float32 if single else np.float64)


def _listed(head: str, names: set[Any], most: int = 5) -> str:
    if not names:
        return ""
    shown = sorted(map(str, names))
    lines = [f"- {name}\n" for name in shown[:most]] + (["- ...\n"] if len(shown) > most else [])
    return f"{head}\n{''.join(lines)}"
