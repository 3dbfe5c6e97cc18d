"""Results as JSON and named arrays, and back.

Values that JSON has no type for are dictionaries with one entry, whose key is the type:

===============  ===========================================================
key              value
===============  ===========================================================
"array"          name of the array
"float"          "nan", "inf" or "-inf"
"tuple", "dict"  their items
"distribution"   the call that creates it (`distribution_serialisation`)
name of a class  its fields; for an enumeration, the name of the member
===============  ===========================================================
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any

import jax
import numpy as np
from numpyro import distributions as dist

from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.distribution_serialisation import from_call, to_call

type Arrays = dict[str, np.ndarray]


def to_json_and_arrays(value: Any, name: str, arrays: Arrays) -> Any:
    """Value called `name` as what `json.dumps` accepts; its arrays are added to `arrays`, each of them once.

    Raises
    ------
    ArgumentError
        When the value is, or contains, another object than a result, or a distribution that is not NumPyro's.

    Examples
    --------
    >>> arrays = {}
    >>> to_json_and_arrays((1.5, np.inf, np.zeros(2)), "path", arrays)
    {'tuple': [1.5, {'float': 'inf'}, {'array': 'path.2'}]}
    >>> arrays
    {'path.2': array([0., 0.])}
    """

    def convert_all(items: Mapping[str, Any]) -> dict[str, Any]:
        return {key: to_json_and_arrays(item, f"{name}.{key}", arrays) for key, item in items.items()}

    match value:
        case np.generic():
            return to_json_and_arrays(value.item(), name, arrays)
        case Enum():
            return {type(value).__name__: value.name}
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else {"float": repr(value)}
        case np.ndarray() | jax.Array():
            return {"array": _add_array(value, name, arrays)}
        case dist.Distribution():
            return {"distribution": to_json_and_arrays(to_call(value, name), name, arrays)}
        case list():
            return list(convert_all({str(number): item for number, item in enumerate(value)}).values())
        case dict():
            return {"dict": convert_all(value)}
    if names := field_names(value):
        return {type(value).__name__: convert_all({field: getattr(value, field) for field in names})}
    if isinstance(value, tuple):
        return {"tuple": to_json_and_arrays(list(value), name, arrays)}
    raise _not_plain(name, value)


def from_json_and_arrays(described: Any, arrays: Arrays, classes: Mapping[str, Any]) -> Any:
    """Inverse of `to_json_and_arrays`; `classes` are those that may be created, by their names."""

    def convert(part: Any) -> Any:
        return from_json_and_arrays(part, arrays, classes)

    if isinstance(described, list):
        return [convert(item) for item in described]
    if not isinstance(described, dict):
        return described
    ((key, content),) = described.items()
    match key:
        case "array":
            return arrays[content]
        case "float":
            return float(content)
        case "tuple":
            return tuple(convert(content))
        case "dict":
            return {name: convert(item) for name, item in content.items()}
        case "distribution":
            return from_call(convert(content))
    found = classes[key]
    return found[content] if issubclass(found, Enum) else found(**convert({"dict": content}))


def field_names(value: Any) -> tuple[str, ...]:
    """Names of the fields of a data class or a named tuple."""
    return tuple(field.name for field in fields(value)) if is_dataclass(value) else getattr(value, "_fields", ())


def _add_array(value: Any, name: str, arrays: Arrays) -> str:
    """Name under which an array is stored: that of the same array where it occurred before."""
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
