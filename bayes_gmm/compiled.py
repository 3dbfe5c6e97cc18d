"""What every compiled function needs: float64 in a scope, NumPy at the border, few distinct shapes."""

import functools
from collections.abc import Callable

import jax
import numpy as np


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


def padded_length(length: int) -> int:
    """Smallest allowed length that holds `length` rows, so that nearby sizes share one compilation.

    Multiples of 32 up to 256, then eight steps to each doubling: at most one row in eight is padding.
    """
    step = max(32, 2 ** int(np.ceil(np.log2(max(length, 1))) - 4))
    return -(-length // step) * step
