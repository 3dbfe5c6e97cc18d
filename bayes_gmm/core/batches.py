"""Many evaluations of one compiled program, a batch at a time, shared among threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from bayes_gmm.core.precision import in_threads
from bayes_gmm.core.tuning import n_cores

BATCH = 256
"""Particles or proposals of one call: programs are compiled for this length."""


def in_batches(program: Callable[[Any], Any], parts: Sequence[Any], size: int) -> Any:
    """The first `size` rows of what a program gives for each part, joined, in NumPy."""
    with ThreadPoolExecutor(n_cores()) as threads:
        found = list(in_threads(threads, lambda part: jax.device_get(program(part)), parts))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:size], *found)


def split(rows: np.ndarray) -> list[np.ndarray]:
    """Rows in parts of `BATCH`, the last one filled up with its last row."""
    padded = np.pad(rows, ((0, -len(rows) % BATCH), *[(0, 0)] * (rows.ndim - 1)), mode="edge")
    return np.split(padded, len(padded) // BATCH)
