"""How well chains mix, quantity by quantity: what the verdict sums up, kept apart for pictures."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats

from bayes_gmm.posterior.diagnostics import quietly, split_r_hat

_TAILS = (0.05, 0.95)
_STEPS = 10
_FEWEST_DRAWS = 8

MOST_DRAWS = 1000
"""Points of a trace; more than that cannot be told apart on a screen."""


class Traces(NamedTuple):
    """Named scalar quantities (Q) and their values (Q, chain, draw)."""

    names: tuple[str, ...]
    values: np.ndarray

    @property
    def r_hat(self) -> np.ndarray:
        """Rank-normalised split R-hat of each (Q,); NaN of what does not vary."""
        return r_hats(self.values)

    @property
    def ess(self) -> np.ndarray:
        """Smaller of bulk and tail effective sample size of each (Q,)."""
        return smallest_ess(self.values)

    @property
    def worst(self) -> int:
        """The one with the largest R-hat."""
        return int(np.argmax(np.nan_to_num(self.r_hat, nan=0.0)))


def traces_of(dataset: Any) -> Traces:
    """All scalars of a dataset with dimensions chain and draw, that vary, named after their coordinates."""
    found = [(name, values) for name, values in _scalars(dataset) if np.ptp(values) > 1e-12 * np.abs(values).max()]
    return Traces(tuple(name for name, _ in found), np.stack([values for _, values in found]))


def r_hats(values: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat of quantities (Q, chain, draw)."""
    with quietly():
        return split_r_hat(values)


def smallest_ess(values: np.ndarray) -> np.ndarray:
    """Smaller of bulk and tail effective sample size of quantities (Q, chain, draw)."""
    with quietly():
        bulk = array_stats.ess(values, method="bulk")
        tail = array_stats.ess(values, method="tail", prob=_TAILS)
    return np.minimum(np.atleast_1d(bulk), np.atleast_1d(tail))


def ess_evolution(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws of all chains (T,) up to some points, and the effective sample sizes (T, Q) of the draws until then."""
    _, n_chains, n_draws = values.shape
    first = min(max(n_draws // _STEPS, _FEWEST_DRAWS), n_draws)
    until = np.unique(np.linspace(first, n_draws, _STEPS).round().astype(int))
    return until * n_chains, np.stack([smallest_ess(values[..., :count]) for count in until])


def rank_counts(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Draws of each chain (chain, n_bins) by their rank among the draws of all chains, in even bins."""
    ranks = np.argsort(np.argsort(values, axis=None, kind="stable")).reshape(values.shape)
    bins = ranks * n_bins // values.size
    return np.stack([np.bincount(chain, minlength=n_bins) for chain in bins])


def _scalars(dataset: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name, variable in dataset.data_vars.items():
        own = variable.transpose("chain", "draw", ...)
        dimensions = own.dims[2:]
        for index in np.ndindex(own.shape[2:]):
            labels = [str(own[dimension].values[i]) for dimension, i in zip(dimensions, index, strict=True)]
            yield name + f"[{', '.join(labels)}]" * bool(labels), own.values[(slice(None), slice(None), *index)]


def stride(n_draws: int) -> int:
    """Of how many draws a trace shows one, so that a chain is drawn with at most `MOST_DRAWS` points."""
    return -(-n_draws // MOST_DRAWS)
