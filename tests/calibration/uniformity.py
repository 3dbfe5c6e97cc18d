"""Are ranks uniform? The whole distribution function at once, with a band whose coverage is simulated.

References
----------
Sailynoja, Burkner and Vehtari (2022), doi 10.1007/s11222-022-10090-6.
"""

from functools import cache

import numpy as np
import scipy.stats

DRAWS = 100
"""Ranks are 0 to `DRAWS`."""


@cache
def tail_table(n_ranks: int) -> np.ndarray:
    """Two-sided tail probability of finding c of n uniform ranks at most j, (DRAWS, n + 1)."""
    probability = expected()[:, None]
    counts = np.arange(n_ranks + 1)[None]
    below = scipy.stats.binom.cdf(counts, n_ranks, probability)
    above = scipy.stats.binom.sf(counts - 1, n_ranks, probability)
    return 2 * np.minimum(below, above)


def expected() -> np.ndarray:
    """Probability (DRAWS,) that a uniform rank is at most 0, 1, ..."""
    return (np.arange(DRAWS) + 1) / (DRAWS + 1)


def counts_of(ranks: np.ndarray) -> np.ndarray:
    """How often each rank occurs (DRAWS + 1,)."""
    return np.bincount(ranks, minlength=DRAWS + 1)


def most_extreme(counts: np.ndarray) -> np.ndarray:
    """Smallest tail probability along the empirical distribution functions of counts (..., DRAWS + 1) of ranks."""
    table = tail_table(int(counts.reshape(-1, DRAWS + 1)[0].sum()))
    return table[np.arange(DRAWS), np.cumsum(counts, -1)[..., :-1]].min(-1)


@cache
def reference_distribution(n_ranks: int, n_simulations: int = 100_000) -> np.ndarray:
    """The same of simulated uniform ranks, sorted: what the band is simultaneous by."""
    rng = np.random.default_rng(1)
    uniform = np.full(DRAWS + 1, 1 / (DRAWS + 1))
    parts = [most_extreme(rng.multinomial(n_ranks, uniform, size=10_000)) for _ in range(n_simulations // 10_000)]
    return np.sort(np.concatenate(parts))


def p_value(ranks: np.ndarray) -> float:
    """Probability of uniform ranks whose distribution function leaves a wider band than that of these."""
    reference = reference_distribution(len(ranks))
    found = most_extreme(counts_of(ranks))
    return float((1 + np.searchsorted(reference, found, side="right")) / (1 + len(reference)))


def band(n_ranks: int, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Both ends (DRAWS,) of the band that distribution functions of uniform ranks leave with that probability."""
    pointwise = float(np.quantile(reference_distribution(n_ranks, 20_000), error))
    tails = pointwise / 2, 1 - pointwise / 2
    low, high = (scipy.stats.binom.ppf(tail, n_ranks, expected()) / n_ranks for tail in tails)
    return low, high
