"""Checks of the arguments that several public functions share."""

from __future__ import annotations

import inspect
import os
import reprlib
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import wraps
from numbers import Real
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from bayes_gmm.errors import ArgumentError, UnknownArgumentError

MOST_STEPS = 10**6
"""Of each step a fit keeps the log-likelihood, in memory that is set aside beforehand."""


_MEANT = {
    **dict.fromkeys(("family", "distribution", "component_distribution"), 'components, "gaussian" or "t"'),
    **dict.fromkeys(("df", "nu", "dof"), "degrees_of_freedom"),
    **dict.fromkeys(("n_init", "n_restarts"), "n_starts"),
    **dict.fromkeys(("max_iter", "n_iter"), "max_steps"),
    **dict.fromkeys(("random_state", "rng"), "seed"),
    **dict.fromkeys(("weights", "weights_init", "means_init", "init_params"), "start, a Mixture, labels or shares"),
    **dict.fromkeys(("outliers", "trim", "alpha"), "noise, which takes outliers"),
    **dict.fromkeys(("K", "k", "n_clusters"), "n_components"),
}
"""What the names of other packages are called here."""


def names_its_arguments[**P, T](verb: Callable[P, T]) -> Callable[P, T]:
    """A function that answers an argument that it does not have with the one that may be meant.

    Examples
    --------
    >>> names_its_arguments(lambda seed=0: seed)(random_state=1)
    Traceback (most recent call last):
        ...
    bayes_gmm.errors.UnknownArgumentError: There is no argument random_state. Expected arguments among seed. Take seed.
    """
    known = inspect.signature(verb).parameters

    @wraps(verb)
    def checked(*args: P.args, **options: P.kwargs) -> T:
        if unknown := [name for name in options if name not in known]:
            near = get_close_matches(unknown[0], known, 1)
            meant = _MEANT.get(unknown[0]) or (near[0] if near else "")
            remedy = f"Take {meant}." if meant.split(",")[0] in known else "Leave it out."
            found = f"There is no argument {', '.join(unknown)}."
            raise UnknownArgumentError(found, f"arguments among {', '.join(known)}", remedy)
        return verb(*args, **options)

    return checked


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


def number_of_steps(name: str, value: Any) -> int:
    """`value` as an int from 1 to a million."""
    number = positive_integer(name, value)
    if number > MOST_STEPS:
        raise ArgumentError(f"{name} is {number}.", f"at most {MOST_STEPS}", "The log-likelihood of each step is kept.")
    return number


def any_array(name: str, value: Any, expected: str, remedy: str) -> np.ndarray:
    """`value` as an array of one axis or more; what is ragged or a single thing is refused."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        array = np.array(None)
    if array.ndim == 0:
        raise ArgumentError(f"{name} is one {type(value).__name__}, {reprlib.repr(value)}.", expected, remedy)
    return array


def real_numbers(name: str, value: Any, remedy: str) -> np.ndarray:
    """`value` as an array of float64, which may hold NaN; text, dates, complex and ragged numbers are refused."""
    try:
        numbers = np.asarray(value)
        numbers = np.asarray(value, dtype=np.float64) if numbers.dtype.kind == "O" else numbers
    except (TypeError, ValueError, RuntimeError, OverflowError):
        numbers = np.array("")
    if numbers.dtype.kind not in "biuf":
        of_type = "" if numbers.dtype == "<U1" else f" of type {numbers.dtype}"
        found = f"{name} is a {type(value).__name__}{of_type}, {reprlib.repr(value)}.".replace("\n", " ")
        raise ArgumentError(found, "real numbers", remedy)
    return numbers.astype(np.float64, copy=False)


def real_number(
    name: str,
    value: Any,
    *,
    least: float = -np.inf,
    above: float = -np.inf,
    most: float = np.inf,
    expected: str,
    remedy: str,
) -> float:
    """`value` as a finite float of at least `least`, above `above` and at most `most`; booleans are refused.

    Raises
    ------
    ArgumentError
        When it is no real number, or out of range: `expected` and `remedy` go into the message.

    Examples
    --------
    >>> real_number("tol", 1, least=0.0, expected="a finite number, 0 or more", remedy="The default is 1e-8.")
    1.0
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not (is_number and np.isfinite(float(value)) and max(least, above) <= float(value) <= most and value != above):
        raise ArgumentError(f"{name} is {value!r}.", expected, remedy)
    return float(value)


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


def open_probability(value: Any, default: float, name: str = "probability") -> float:
    """`value` as a float strictly between 0 and 1."""
    if not (isinstance(value, float | np.floating) and 0 < value < 1):
        raise ArgumentError(f"{name} is {value!r}.", "a probability between 0 and 1", f"The default is {default}.")
    return float(value)


def one_of(name: str, value: Any, allowed: Iterable[str], remedy: str) -> None:
    """Refuse what is none of the allowed texts."""
    allowed = list(allowed)
    if not (isinstance(value, str) and value in allowed):
        expected = " or ".join(filter(None, (", ".join(f'"{text}"' for text in allowed[:-1]), f'"{allowed[-1]}"')))
        raise ArgumentError(f"{name} is {value!r}.", expected, remedy)


def flag(name: str, value: Any) -> bool:
    """`value` as a bool: a text would be true whatever it says."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name} is {value!r}.", "True or False", f"Leave {name} out for its default.")
    return bool(value)


def _column(feature: Any, columns: Sequence[str]) -> int:
    if isinstance(feature, str):
        return columns.index(feature)
    number = -1 if isinstance(feature, bool | np.bool_) else index(feature)
    return range(len(columns)).index(number)


def file_path(name: str, value: Any) -> Path:
    """`value` as a path; numbers, None and names that no file can have are refused."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise ArgumentError(
            f"{name} is {reprlib.repr(value)}.", "the path of a file", "Give a string or a pathlib.Path."
        )
    return Path(value)


def positions(wanted: str | Sequence[str], available: Sequence[str]) -> list[int]:
    """Where the wanted names are among those available."""
    wanted = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
    unknown = [name for name in wanted if name not in available]
    if unknown or not wanted:
        found = f"Found no column {', '.join(map(repr, unknown))}." if unknown else "Found no names."
        expected = f"one or more of {', '.join(map(repr, available))}"
        raise ArgumentError(found, expected, "Choose among these columns.")
    return [available.index(name) for name in wanted]
