"""Compiled programs: few shapes, so that many tables share them, and an early start of the compiler."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np
from tqdm import tqdm


def padded_length(length: int) -> int:
    """Smallest allowed length that holds `length` rows, so that nearby sizes share one compilation.

    Multiples of 32 up to 256, then eight steps to each doubling: at most one row in eight is padding.
    """
    step = max(32, 2 ** int(np.ceil(np.log2(max(length, 1))) - 4))
    return -(-length // step) * step


def strongly_typed(traced: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of a result once it is in NumPy, which knows no weak types."""
    return jax.ShapeDtypeStruct(traced.shape, traced.dtype)


ON_ONE_CORE = (
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"} if jax.__version_info__ >= (0, 12) else {}
)
"""Options of programs of which several run at once, each in a thread: that their parts do not look for other cores.

XLA hands parts of a program that could run side by side to threads of its own, which costs more than small parts take.
"""

_MOMENT = 0.5
"""Seconds after which a bar appears, and between which it is drawn anew."""

type Programs = Iterable[Callable[[], Any]]
"""Functions that compile one program each, for arguments of known shapes."""


class CompilingAhead:
    """Programs that a thread compiles while this one computes: a first fit waits longest for the compiler.

    XLA compiles without holding Python's lock, and a program that is compiled already costs a look into JAX's cache. An
    error in the thread is not raised here: the call that needs the program meets it again.
    """

    def __init__(self, programs: Programs) -> None:
        threads = ThreadPoolExecutor(1)  # one thread keeps their order: what is needed first is compiled first
        self._compiled = [threads.submit(self._compile, program) for program in programs]
        threads.shutdown(wait=False)

    def wait(self, *, progress: bool = False) -> None:
        """Return when all are compiled; call this before the first use, or a program is compiled twice.

        With `progress` a bar shows how many are, where that takes longer than a moment.
        """
        total, left = len(self._compiled), set(self._compiled)
        look = {"bar_format": "{desc}, {n_fmt} of {total_fmt} programs done, {elapsed}", "leave": False}
        with tqdm(total=total, desc="compiling", disable=not progress, delay=_MOMENT, **look) as bar:
            while left:
                left = wait(left, timeout=_MOMENT, return_when=FIRST_COMPLETED).not_done
                bar.update(total - len(left) - bar.n)
                bar.refresh()

    @staticmethod
    def _compile(program: Callable[[], Any]) -> None:
        with jax.enable_x64(True):  # the scope of float64 belongs to a thread
            program()
