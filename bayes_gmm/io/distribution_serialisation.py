"""NumPyro distributions as the calls that create them, and back.

A call consists of the name of a class and its arguments: numbers, arrays and other calls. Only distributions and
transforms of NumPyro itself are called, and the package's own distributions, which `can_be_saved` marks. Before a call
is written, its result is compared with the original, so that no distribution is saved that would be read as another
one.
"""

import inspect
from typing import Any

import jax
import numpy as np
from numpyro import distributions as dist
from numpyro.distributions import transforms

from bayes_gmm.errors import ArgumentError

_PARTS = dist.Distribution | transforms.Transform
_STORED_AS = {"base_distribution": "base_dist", "validate_args": "_validate_args"}
"""Attributes that store an argument under another name."""
_DERIVED = ("covariance_matrix", "precision_matrix")
"""Arguments that are left out, because a MultivariateNormal always stores `scale_tril` as well."""
_OWN: dict[str, Any] = {}
"""The package's own distributions by their names."""


def can_be_saved[D: type](distribution: D) -> D:
    """Mark a class as one of the package's own distributions, which files may name."""
    _OWN[distribution.__name__] = distribution
    return distribution


def to_call(distribution: Any, name: str = "the distribution") -> dict[str, Any]:
    """Call that creates a distribution, and whether it is to be made in float64; `name` is used in the error.

    Raises
    ------
    ArgumentError
        When the distribution is not one of NumPyro's, or does not store all arguments that it was created with.

    Examples
    --------
    >>> to_call(dist.HalfNormal(2.0).expand([2]))["call"]
    {'name': 'ExpandedDistribution', 'arguments': {'base_dist': {'name': 'HalfNormal', 'arguments': {'scale': 2.0}}, \
'batch_shape': (2,)}}
    """
    call = _call(distribution)
    for float64 in (False, True):
        try:
            if _identical(_make(call, float64), distribution):
                return {"float64": float64, "call": call}
        except (ArgumentError, TypeError, ValueError):
            continue
    raise ArgumentError(
        f"{name} is a {type(distribution).__name__} that cannot be made again, and so not be written to a file.",
        "a distribution of numpyro.distributions that keeps the arguments it was made with",
        "Put one with transforms in its place and fit again; the draws alone are saved by tree.to_netcdf(path).",
    )


def from_call(call: dict[str, Any]) -> Any:
    """Distribution that a call of `to_call` creates.

    Raises
    ------
    ArgumentError
        When NumPyro has no distribution or transform with a name in the call.
    """
    return _make(call["call"], call["float64"])


def _call(part: Any) -> Any:
    if isinstance(part, list):
        return [_call(item) for item in part]
    if not isinstance(part, _PARTS):
        return np.asarray(part) if isinstance(part, jax.Array) else part
    return {"name": type(part).__name__, "arguments": {name: _call(value) for name, value in _arguments(part).items()}}


def _arguments(part: Any) -> dict[str, Any]:
    """Arguments that a distribution or transform stores and that are not the defaults."""
    kept = vars(part)
    if isinstance(part, dist.Distribution):
        kept = kept | {"batch_shape": part.batch_shape, "event_shape": part.event_shape}
    found = {}
    for name, parameter in inspect.signature(type(part)).parameters.items():
        stored = _STORED_AS.get(name, name)
        if stored in kept and name not in _DERIVED and kept[stored] is not parameter.default:
            found[name] = kept[stored]
    return found


def _make(call: Any, float64: bool) -> Any:
    with jax.enable_x64(float64):
        return _called(call)


def _called(call: Any) -> Any:
    if isinstance(call, list):
        return [_called(item) for item in call]
    if not isinstance(call, dict):
        return call
    arguments = {name: _called(value) for name, value in call["arguments"].items()}
    return lkj_cholesky(**arguments) if call["name"] == "LKJCholesky" else _class(call["name"])(**arguments)


def lkj_cholesky(dimension: int, concentration: Any = 1.0, sample_method: str = "onion", **options: Any) -> Any:
    """NumPyro's LKJ distribution of Cholesky factors, made by one program: step by step it is a dozen of them."""
    made = _lkj_cholesky(dimension, concentration, sample_method, **options)
    made.concentration = concentration  # as it was given, where the program has made it an array
    return made


_lkj_cholesky = jax.jit(dist.LKJCholesky, static_argnames=("dimension", "sample_method", "validate_args"))


def _class(name: str) -> Any:
    found = _OWN.get(name) or getattr(dist, name, None) or getattr(transforms, name, None)
    if isinstance(found, type) and issubclass(found, _PARTS):
        return found
    raise ArgumentError(
        f"NumPyro has no distribution or transform {name}.",
        "one of numpyro.distributions",
        "Take another one, or the version of NumPyro that has it.",
    )


def _identical(one: Any, other: Any) -> bool:
    """Whether two distributions have the same structure, types and numbers, bit for bit."""
    (leaves, *shape), (others, *its_shape) = (jax.tree.flatten(part) for part in (one, other))
    return shape == its_shape and list(map(_bits, leaves)) == list(map(_bits, others))


def _bits(leaf: Any) -> tuple[Any, ...]:
    array = np.asarray(leaf)
    return array.dtype, array.shape, array.tobytes()
