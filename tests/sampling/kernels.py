"""Distributions with exact draws, and what a kernel makes of such draws: they must stay draws of the distribution."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from bayes_gmm.sampling.kernel import ChainState, Kernel, Point
from bayes_gmm.sampling.step_size import Tuning, untuned

N_CHAINS = 2000
"""Chains: a Kolmogorov-Smirnov distance has a standard deviation of about .5 / sqrt(2000) = .011 under the null."""


class Distribution(NamedTuple):
    """A potential, exact draws (S, P) of it, and functions of draws whose distribution functions are known."""

    potential: Callable[[Any], Any]
    draws: Callable[[np.random.Generator, int], np.ndarray]
    known: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]]


COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.5]])
PRECISION = np.linalg.inv(COVARIANCE)
normal, chi2 = scipy.stats.norm.cdf, scipy.stats.chi2.cdf

NORMAL = Distribution(
    lambda q: 0.5 * q @ PRECISION @ q,
    lambda rng, size: rng.multivariate_normal(np.zeros(3), COVARIANCE, size),
    {
        "first": (lambda q: q[:, 0], normal),
        "last": (lambda q: q[:, 2] / np.sqrt(0.5), normal),
        "energy": (lambda q: np.einsum("si,ij,sj->s", q, PRECISION, q), partial(chi2, df=3)),
    },
)
"""Correlated normal distribution."""

FUNNEL = Distribution(
    lambda q: 0.5 * q[0] ** 2 + 0.5 * (q[1] ** 2 + q[2] ** 2) * jnp.exp(-q[0]) + q[0],
    lambda rng, size: (
        np.exp(np.outer(v := rng.standard_normal(size), [0, 0.5, 0.5]))
        * np.column_stack([v, rng.standard_normal((size, 2))])
    ),
    {
        "width": (lambda q: q[:, 0], normal),
        "scaled": (lambda q: q[:, 1] * np.exp(-q[:, 0] / 2), normal),
        "radius": (lambda q: (q[:, 1] ** 2 + q[:, 2] ** 2) * np.exp(-q[:, 0]), partial(chi2, df=2)),
    },
)
"""Two normal coordinates whose logarithmic variance is the first: no step size suits all of it."""

BANANA = Distribution(
    lambda q: 0.5 * q[0] ** 2 + 0.5 * ((q[1] - q[0] ** 2) / 0.5) ** 2,
    lambda rng, size: np.column_stack([x := rng.standard_normal(size), x**2 + 0.5 * rng.standard_normal(size)]),
    {
        "first": (lambda q: q[:, 0], normal),
        "second": (lambda q: (q[:, 1] - q[:, 0] ** 2) / 0.5, normal),
        "across": (lambda q: q[:, 0] ** 2 + ((q[:, 1] - q[:, 0] ** 2) / 0.5) ** 2, partial(chi2, df=2)),
    },
)
"""A bent ridge."""

DISTRIBUTIONS = {"normal": NORMAL, "funnel": FUNNEL, "banana": BANANA}


def state_at(offset: Any, key: Any, step: float) -> ChainState:
    """A chain at some coordinates, whose step size is given."""
    offset = jnp.asarray(offset)
    return ChainState(Point(offset, jnp.array(jnp.nan), jnp.zeros_like(offset)), key, jnp.array(0), untuned(step))


def moved(
    kernel: Kernel,
    distribution: Distribution,
    offsets: np.ndarray,
    step: float,
    length: int = 5,
    tuning: Any = (0, 0.8),
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Where chains (S, P) are after some transitions, and what was observed (S, length, ...)."""

    @jax.jit
    def advanced(offset: Any, key: Any) -> Any:
        slope_at = jax.value_and_grad(distribution.potential)
        return kernel.advance(slope_at, state_at(offset, key, step), length, Tuning(*tuning), length)

    keys = np.random.default_rng(8).integers(2**63, size=len(offsets)).astype(np.uint64)
    with jax.enable_x64(True):
        states, seen = jax.device_get(jax.vmap(advanced)(offsets, keys))
    return states.point.offset, seen


def smallest_p(distribution: Distribution, offsets: np.ndarray) -> float:
    """Smallest p-value of Kolmogorov and Smirnov over the functions of known distribution, times their number."""
    found = [scipy.stats.kstest(function(offsets), cdf).pvalue for function, cdf in distribution.known.values()]
    return min(found) * len(found)


def p_after(kernel: Kernel, distribution: Distribution, step: float, **options: Any) -> float:
    """P-value of the hypothesis that exact draws stay draws of the distribution."""
    start = distribution.draws(np.random.default_rng(3), N_CHAINS)
    return smallest_p(distribution, moved(kernel, distribution, start, step, **options)[0])
