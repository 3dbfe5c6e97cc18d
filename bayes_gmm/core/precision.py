"""Float64 within a scope, and NumPy at its border.

JAX computes in float32 unless a setting of the whole process, or of a scope, says otherwise. This package does not
change that of the process, so every computation runs in a scope; the scope belongs to a thread. The first computation
begins the cache of compiled programs.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import jax

from bayes_gmm.core.compile_cache import keep_programs
from bayes_gmm.errors import FitError

_process: list[int] = []
"""Identifier of the process in which JAX was first used here, once it was."""

_PARENT = -1
"""In place of that identifier where JAX was used in a process from which this one was forked."""

_THREADS = Path("/proc/self/task")
"""Where Linux lists the threads of this process; elsewhere processes are spawned by default."""


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

    JAX would wait for them for ever, or end the process, no matter who called it in the parent. A process that is
    forked earlier, or spawned, has a JAX of its own.

    Raises
    ------
    FitError
        The remedy says how to start processes that can compute.
    """
    if not _process:
        _process.append(_PARENT if _has_jax_of_parent() else os.getpid())
        keep_programs()
    if _process[0] != os.getpid():
        raise FitError(
            "This process was forked after JAX had run in its parent, so that JAX would wait here for ever.",
            "a process of its own",
            'Start it by "spawn": multiprocessing.get_context("spawn"), the default backend of joblib (loky), or Dask.',
        )


def _has_jax_of_parent() -> bool:
    """Whether this is a child of `multiprocessing` in which JAX is started, but has none of its threads."""
    is_started = getattr(sys.modules.get("jax._src.xla_bridge"), "backends_are_initialized", None)
    if parent_process() is None or is_started is None or not is_started():
        return False
    names = [path.read_text() for path in _THREADS.glob("*/comm")]
    return bool(names) and not any("XLA" in name for name in names)


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
    FitError
        When the process has no JAX of its own (`require_own_jax`).
    """
    require_own_jax()
    if not jax.config.jax_enable_x64:
        raise RuntimeError("This computes in float64: call it within jax.enable_x64(True), in every thread.")
