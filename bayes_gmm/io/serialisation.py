"""A result taken apart into what JSON can say and named arrays, and put together again.

What JSON has no word for is a dictionary of one entry, whose key says what to make of its value:

===============  ===========================================================
key              value
===============  ===========================================================
"array"          name of the array
"float"          "nan", "inf" or "-inf"
"tuple", "dict"  their items
"distribution"   the call that makes it (`distributions`)
name of a class  its fields, or the name of a member of an enumeration
===============  ===========================================================
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.distribution_serialisation import from_call, to_call

type Arrays = dict[str, np.ndarray]


def take_apart(value: Any, name: str, arrays: Arrays) -> Any:
    """What JSON can say of a value called `name`; its arrays are added to `arrays`, each once.

    Raises
    ------
    ArgumentError
        When it is, or holds, what cannot be described: other objects than results, or a distribution that is not
        NumPyro's.

    Examples
    --------
    >>> arrays = {}
    >>> take_apart((1.5, np.inf, np.zeros(2)), "path", arrays)
    {'tuple': [1.5, {'float': 'inf'}, {'array': 'path.2'}]}
    >>> arrays
    {'path.2': array([0., 0.])}
    """

    def each(items: Mapping[str, Any]) -> dict[str, Any]:
        return {key: take_apart(item, f"{name}.{key}", arrays) for key, item in items.items()}

    match value:
        case np.generic():
            return take_apart(value.item(), name, arrays)
        case Enum():
            return {type(value).__name__: value.name}
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else {"float": repr(value)}
        case np.ndarray() | jax.Array():
            return {"array": _kept(value, name, arrays)}
        case dist.Distribution():
            return {"distribution": take_apart(to_call(value, name), name, arrays)}
        case list():
            return list(each({str(number): item for number, item in enumerate(value)}).values())
        case dict():
            return {"dict": each(value)}
    if names := field_names(value):
        return {type(value).__name__: each({field: getattr(value, field) for field in names})}
    if isinstance(value, tuple):
        return {"tuple": take_apart(list(value), name, arrays)}
    raise _not_plain(name, value)


def put_together(described: Any, arrays: Arrays, classes: Mapping[str, Any]) -> Any:
    """The inverse of `take_apart`, given the classes that may occur by their names."""

    def together(part: Any) -> Any:
        return put_together(part, arrays, classes)

    if isinstance(described, list):
        return [together(item) for item in described]
    if not isinstance(described, dict):
        return described
    ((key, content),) = described.items()
    match key:
        case "array":
            return arrays[content]
        case "float":
            return float(content)
        case "tuple":
            return tuple(together(content))
        case "dict":
            return {name: together(item) for name, item in content.items()}
        case "distribution":
            return from_call(together(content))
    found = classes[key]
    return found[content] if issubclass(found, Enum) else found(**together({"dict": content}))


def field_names(value: Any) -> tuple[str, ...]:
    """Names of the fields of a data class or a named tuple."""
    return tuple(field.name for field in fields(value)) if is_dataclass(value) else getattr(value, "_fields", ())


def _kept(value: Any, name: str, arrays: Arrays) -> str:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise _not_plain(name, value)
    name = next((known for known, other in arrays.items() if other is array), name)
    arrays[name] = array
    return name


def _not_plain(name: str, value: Any) -> ArgumentError:
    return ArgumentError(
        f"{name} is a {type(value).__name__}, which cannot be written to a file.",
        "numbers, text, arrays of numbers, or distributions of NumPyro",
        "Fit again with one of these in its place.",
    )
