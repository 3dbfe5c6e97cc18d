"""Milliseconds per EM iteration against scikit-learn, gmmx and pomegranate, and how near the machine's limits that is.

The roofline is the time that N K exponentials and 4 N F K floating-point operations, F = 1 + D (D + 3) / 2, would take
on all cores: exponentials at the best rate that XLA reaches in a fused loop within the cache, one such loop for each
core; products at the best rate of a square matrix product in float64, XLA's or NumPy's. The rates are measured beside
the turns they are used for. Nothing else that a step does (logarithms, sums, copies) counts for the roofline.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import em_programs
import jax
import jax.numpy as jnp
import numpy as np
from measuring import OURS, Record, Skipped, main, measure, physical_cores, seconds

TARGETS = {
    (1_000_000, 2, 3): {"scikit-learn": 30, "gmmx": 3},
    (100_000, 10, 8): {"scikit-learn": 15, "gmmx": 3},
    (100_000, 32, 16): {"scikit-learn": 5, "gmmx": 3},
    (10_000, 2, 3): {},
}
QUICK = {(20_000, 2, 3): {"scikit-learn": 30, "gmmx": 3}, (5_000, 4, 3): {}}
ROOFLINE = 0.5


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """Each shape against the peers, then against the roofline."""
    for shape, targets in (QUICK if quick else TARGETS).items():
        before = rates()
        found = em_programs.turns(shape, list(em_programs.PROGRAMS), 1 if quick else 5, 0.1 if quick else 1.0, skipped)
        reached = [max(pair) for pair in zip(before, rates(), strict=True)]
        yield measure("EM iteration", em_programs.label(shape), "ms", found, targets=targets)
        limit = roofline(shape, *reached)
        yield measure(
            "part of the roofline",
            em_programs.label(shape),
            "of the roofline",
            {OURS: [limit / turn for turn in found[OURS]]},
            better="more",
            limit=ROOFLINE,
            roofline_ms=limit,
            exponentials_per_second=reached[0],
            flops_per_second=reached[1],
        )


def roofline(shape: em_programs.Shape, exponentials: float, operations: float) -> float:
    """Milliseconds that one step cannot fall below at these rates a second."""
    N, D, K = shape
    return 1e3 * (N * K / exponentials + 4 * N * (D * (D + 3) // 2 + 1) * K / operations)


def rates() -> tuple[float, float]:
    """Exponentials and floating-point operations of a matrix product in a second, on this machine now."""
    with jax.enable_x64(True):
        return max(exponential_rates()), max(product_rates())


def exponential_rates(loops: int = 500) -> Iterator[float]:
    """Of a fused loop over an array that stays in the cache, alone and one for each core."""
    numbers = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4416)))
    loop = jax.jit(lambda x: jax.lax.fori_loop(0, loops, lambda _, y: jnp.exp(-y), x))
    cores = physical_cores() or 1
    with ThreadPoolExecutor(cores) as pool:
        for many in {1, cores}:
            yield (
                many
                * loops
                * numbers.size
                / best(lambda many=many: list(pool.map(wait, [loop] * many, [numbers] * many)))
            )


def product_rates(size: int = 1500) -> Iterator[float]:
    """Of a square matrix product by XLA and by NumPy."""
    matrix = np.random.default_rng(1).normal(size=(size, size))
    multiply, device = jax.jit(jnp.matmul), jnp.asarray(matrix)
    yield 2 * size**3 / best(lambda: wait(multiply, device, device))
    yield 2 * size**3 / best(lambda: matrix @ matrix)


def wait(function: Callable[..., object], *arguments: object) -> None:
    """Call, and return when the result is there."""
    jax.block_until_ready(function(*arguments))


def best(function: Callable[[], object]) -> float:
    """Seconds of the fastest of seven calls, after one that compiles."""
    function()
    return min(seconds(function) for _ in range(7))


if __name__ == "__main__":
    main("em", part)
