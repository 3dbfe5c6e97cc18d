"""Float64 in a scope, and NumPy at its border."""

import functools
from collections.abc import Callable

import jax


def in_float64[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in a scoped float64 and hand its arrays out as NumPy.

    A float64 `jax.Array` that leaves the scope silently becomes float32 in the next operation;
    a NumPy array does not.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            return jax.device_get(function(*args, **kwargs))

    return wrapper
