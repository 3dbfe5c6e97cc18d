"""Strict JAX: a broadcast between ranks must be written out. Shapes are checked by jaxtyping (pyproject.toml)."""

import ctypes
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import jaxtyping
import matplotlib
import pytest

import bayes_gmm as bg
from bayes_gmm.core import linalg

matplotlib.use("Agg")


MOST_MAPS = 25_000
"""Memory maps at which compiled programs are let go: each holds some, and a process may have 65 530."""

MOST_MEMORY = 2.0
"""Gigabytes at which they are let go as well: the programs of one posterior hold up to half a gigabyte."""


UNTYPED = (linalg.namespace, linalg.choose, linalg._chosen, linalg.with_entry)
"""Called for every array of every step, with nothing to check: their arguments may be anything."""
for function in UNTYPED:
    function.__no_type_check__ = True


def pytest_configure(config: pytest.Config) -> None:
    """Compile quickly, and each program once.

    Most of the time of the fast tests is XLA's. Their programs are optimised less, and kept on disk for the modules and
    processes to come, all workers alike; what is compiled by commands and notebooks, and by tests marked slow, is what
    a user gets.
    """
    shared = getattr(config, "workerinput", {}).get("programs")
    config.programs = shared or tempfile.mkdtemp(prefix="bayes_gmm_programs_")
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": config.programs, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    jax.config.update("jax_compilation_cache_dir", config.programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_disable_most_optimizations", "not slow" in config.option.markexpr)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where the programs are."""
    node.workerinput["programs"] = node.config.programs


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.programs, ignore_errors=True)


@contextmanager
def promoted_ranks(mode: str) -> Iterator[None]:
    """JAX's own context is of one thread, and programs are compiled in several."""
    before = jax.config.jax_numpy_rank_promotion
    jax.config.update("jax_numpy_rank_promotion", mode)
    yield
    jax.config.update("jax_numpy_rank_promotion", before)


@pytest.fixture(autouse=True)
def strict_ranks(request: pytest.FixtureRequest) -> Iterator[None]:
    """NumPyro's own distributions promote ranks, so tests that call them are marked `numpyro`."""
    with promoted_ranks("allow" if request.node.get_closest_marker("numpyro") else "raise"):
        yield


@pytest.fixture(autouse=True)
def checked_types(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of wrong argument types, marked `wrong_types`, must reach the package's own checks."""
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("wrong_types") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def gigabytes() -> float:
    """Memory of this process; zero where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except OSError:
        return 0.0


def memory_maps() -> int:
    """Number of memory maps of this process; zero where the system does not tell."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


def let_programs_go() -> None:
    """Drop what is compiled, and give its memory back."""
    jax.clear_caches()
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Let compiled programs go where they fill the memory: to load them again takes longer than to keep them."""
    yield
    if gigabytes() > MOST_MEMORY:
        let_programs_go()


@pytest.fixture(autouse=True, scope="module")
def few_programs_at_a_time() -> Iterator[None]:
    """Let compiled programs go where they have become many."""
    yield
    if memory_maps() > MOST_MAPS:
        let_programs_go()


@pytest.fixture(scope="session")
def faithful() -> bg.Table:
    """Old Faithful, 272 x 2."""
    return bg.datasets.load("faithful")


@pytest.fixture(scope="session")
def faithful_mle(faithful: bg.Table) -> bg.EMFit:
    """The best fit with two components."""
    return bg.fit_em(faithful, 2)


@pytest.fixture(scope="session")
def faithful_posterior(faithful: bg.Table, faithful_mle: bg.EMFit) -> bg.Posterior:
    """Four chains of a thousand draws under the default prior."""
    with promoted_ranks("allow"):
        return bg.fit_nuts(faithful, 2, start=faithful_mle, progress=False)


@pytest.fixture(scope="session")
def _compilation_events() -> list[str]:
    events: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        if event.endswith("backend_compile_duration"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events


@pytest.fixture
def compilations(_compilation_events: list[str]) -> list[str]:
    """Grows by one entry for each program that XLA compiles."""
    _compilation_events.clear()
    return _compilation_events
