"""Checks of the arguments that several public functions share."""

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from .checks import check_values
from .errors import ArgumentError, DataError
from .table import Table


def positive_integer(name: str, value: Any) -> int:
    """`value` as an int of at least 1; booleans and floats are refused."""
    try:
        number = None if isinstance(value, bool | np.bool_) else index(value)
    except TypeError:
        number = None
    if number is None or number < 1:
        raise ArgumentError(
            f"{name} is {value!r}.",
            "an integer of at least 1",
            f"Set {name} to 1 or more, without a decimal point.",
        )
    return number


def finite_numbers(name: str, value: Any, shape: tuple[int, ...], remedy: str) -> np.ndarray:
    """`value` as finite float64 numbers of a given shape."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        found = f"{name} is {value!r}.".replace("\n", " ")
        raise ArgumentError(found, f"finite numbers of shape {shape}", remedy)
    return numbers


def seed_integer(value: Any) -> int:
    """`value` as an int of at least 0: what random number generators are seeded with."""
    try:
        number = -1 if isinstance(value, bool | np.bool_) else index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 2**32:
        raise ArgumentError(
            f"seed is {value!r}.",
            "an integer from 0 to 2**32 - 1",
            "The same seed gives the same answer again.",
        )
    return number


def component_count(n_components: Any, table: Table) -> int:
    """Number of components, checked against the number of rows."""
    count = positive_integer("n_components", n_components)
    if count > table.n_points:
        raise DataError(
            f"The table has {table.n_points} rows for {count} components.",
            "at least one row for each component",
            "Lower n_components, or collect more rows.",
        )
    return count


def feature_indices(features: Any, n_features: int, n_left: int = 0) -> list[int]:
    """Different features by their indices, at least one of them, with `n_left` or more left over."""
    try:
        chosen = [None if isinstance(feature, bool | np.bool_) else index(feature) for feature in features]
    except TypeError:
        chosen = [None]
    allowed = set(range(n_features))
    if not (chosen and len(set(chosen)) == len(chosen) <= n_features - n_left and allowed.issuperset(chosen)):
        fewer = f", at most {n_features - n_left} of them" if n_left else ""
        raise ArgumentError(
            f"features is {features!r}.",
            f"a list of one or more different integers from 0 to {n_features - 1}{fewer}",
            "Features are counted from 0, also a single one comes as a list, and np.flatnonzero makes one of a mask.",
        )
    return [feature for feature in chosen if feature is not None]


def rows_of(name: str, x: Any, n_features: int) -> np.ndarray:
    """Array (N, n_features) of points."""
    points = np.asarray(x, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != n_features:
        raise ArgumentError(
            f"The {name} have shape {points.shape}.",
            f"rows of {n_features} features, shape (N, {n_features})",
            "Rows are points, also for one feature: x[:, None] turns a vector into a column.",
        )
    return points


def point_weights(sample_weight: Any, table: Table) -> np.ndarray:
    """Weight of each row (N,), all ones by default."""
    if sample_weight is None:
        return np.ones(table.n_points)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (table.n_points,):
        raise ArgumentError(
            f"sample_weight has shape {weights.shape}.",
            f"one weight for each of the {table.n_points} rows",
            "Give a vector as long as the table.",
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ArgumentError(
            "sample_weight holds negative numbers, NaN or infinity, or is zero everywhere.",
            "finite weights of at least 0, not all of them 0",
            "A weight of 0 leaves a row out; a weight of 2 counts it twice.",
        )
    try:
        check_values(table.values[weights > 0], table.columns)
    except DataError as error:
        found = f"Among the rows of positive sample_weight: {error.found}"
        raise DataError(found, error.expected, error.remedy) from None
    return weights


def columns_chosen(features: Any, columns: Sequence[str], most: int) -> list[int]:
    """Indices of one to `most` different columns, each given by name or index; a single one needs no list."""
    try:
        wanted = [features] if isinstance(features, str) or np.ndim(features) == 0 else list(features)
        chosen = [_column(feature, columns) for feature in wanted]
    except (TypeError, ValueError):
        chosen = []
    if not (chosen and len(set(chosen)) == len(chosen) <= most):
        listed = ", ".join(map(repr, columns[:20])) + (", ..." if len(columns) > 20 else "")
        number = "one" if most == 1 else f"one to {most} different ones"
        raise ArgumentError(
            f"features is {features!r}.", f"{number} of the columns {listed}", "Name columns, or count them from 0."
        )
    return chosen


def instance_of(name: str, value: Any, kinds: type | tuple[type, ...], remedy: str) -> None:
    """Refuse a value that is of none of these types."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ArgumentError(f"{name} is of type {type(value).__name__}.", expected, remedy)


def open_probability(value: Any, default: float) -> float:
    """`value` as a float strictly between 0 and 1."""
    if not (isinstance(value, float | np.floating) and 0 < value < 1):
        raise ArgumentError(f"probability is {value!r}.", "a number between 0 and 1", f"The default is {default}.")
    return float(value)


def _column(feature: Any, columns: Sequence[str]) -> int:
    if isinstance(feature, str):
        return columns.index(feature)
    number = -1 if isinstance(feature, bool | np.bool_) else index(feature)
    return range(len(columns)).index(number)
