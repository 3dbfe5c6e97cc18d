"""Float64 within a scope, and NumPy at its border.

JAX computes in float32 unless a setting of the whole process, or of a scope, says otherwise. This package changes no
setting of the process, so every computation runs in a scope; the scope belongs to a thread.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any

import jax

from bayes_gmm.errors import FitError

_process: list[int] = []
"""Identifier of the process in which JAX was first used here, once it was."""


def in_float64[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in a scoped float64 and hand its arrays out as NumPy.

    A float64 `jax.Array` that leaves the scope silently becomes float32 in the next operation;
    a NumPy array does not. A process that was forked after that is refused (`require_own_jax`).
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        require_own_jax()
        with jax.enable_x64(True):
            return jax.device_get(function(*args, **kwargs))

    return wrapper


def require_own_jax() -> None:
    """Refuse to compute in a process that was forked after JAX had run in its parent, whose threads it lacks.

    JAX would wait for them for ever. A process that is forked earlier, or spawned, has a JAX of its own.

    Raises
    ------
    FitError
        The remedy says how to start processes that can compute.
    """
    if not _process:
        _process.append(os.getpid())
    if _process[0] != os.getpid():
        raise FitError(
            "This process was forked after JAX had run in its parent, so that JAX would wait here for ever.",
            "a process of its own",
            'Start it by "spawn": multiprocessing.get_context("spawn"), or by the default backend of joblib (loky); '
            "for Dask by a LocalCluster.",
        )


def in_threads[R](threads: Executor, function: Callable[..., R], *arguments: Iterable[Any]) -> Iterator[R]:
    """Map a function over arguments in threads, each of which enters the scope of float64 for itself."""

    def call(*own: Any) -> R:
        with jax.enable_x64(True):
            return function(*own)

    return threads.map(call, *arguments)


def require_float64() -> None:
    """Refuse to go on outside the scope, where every array would silently become float32.

    Raises
    ------
    RuntimeError
        When the calling thread is not in a scope of float64.
    """
    if not jax.config.jax_enable_x64:
        raise RuntimeError("This computes in float64: call it within jax.enable_x64(True), in every thread.")
