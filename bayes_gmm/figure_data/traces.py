"""How well chains mix, one scalar quantity at a time: R-hat, effective sample sizes and ranks."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.mcmc.mixing import bulk_ess, split_r_hat, tail_ess

_STEPS = 10
"""Points of the curve of effective sample size over draws; each takes an ESS of all quantities."""

_FEWEST_DRAWS = 8
"""The ESS is estimated from the halves of each chain, and four draws of a half are the least that have one."""

_CONSTANT = 1e-12
"""A quantity that varies by less than this share of its size differs between draws by rounding alone."""

MOST_DRAWS = 1000
"""Most points of a trace: more could not be told apart on a screen."""


class Traces(NamedTuple):
    """Named scalar quantities (Q) and their values (Q, chain, draw)."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "Q chain draw"]

    @property
    def r_hat(self) -> Float[np.ndarray, " Q"]:
        """Rank-normalised split R-hat; NaN of a quantity that does not vary."""
        return split_r_hat(self.values)

    @property
    def ess(self) -> Float[np.ndarray, " Q"]:
        """The smaller of bulk and tail effective sample size."""
        return smallest_ess(self.values)

    @property
    def worst(self) -> int:
        """Index of the quantity with the largest R-hat."""
        return int(np.argmax(np.nan_to_num(self.r_hat, nan=0.0)))


def varying_traces(dataset: Any) -> Traces:
    """Every scalar that varies in an xarray Dataset with dimensions chain and draw, named after its coordinates."""
    scalars = [
        (name, values) for name, values in _scalars(dataset) if np.ptp(values) > _CONSTANT * np.abs(values).max()
    ]
    return Traces(tuple(name for name, _ in scalars), np.stack([values for _, values in scalars]))


def smallest_ess(values: Float[np.ndarray, "Q chain draw"]) -> Float[np.ndarray, " Q"]:
    """The smaller of bulk and tail effective sample size of each quantity."""
    return np.minimum(bulk_ess(values), tail_ess(values))


def ess_evolution(
    values: Float[np.ndarray, "Q chain draw"],
) -> tuple[Int[np.ndarray, " T"], Float[np.ndarray, "T Q"]]:
    """How the effective sample sizes grow: numbers of draws of all chains, and the ESS of the draws up to each."""
    _, n_chains, n_draws = values.shape
    first = min(max(n_draws // _STEPS, _FEWEST_DRAWS), n_draws)
    lengths = np.unique(np.linspace(first, n_draws, _STEPS).round().astype(int))
    return lengths * n_chains, np.stack([smallest_ess(values[..., :length]) for length in lengths])


def rank_counts(values: Float[np.ndarray, "chain draw"], n_bins: int) -> Int[np.ndarray, "chain bins"]:
    """Histogram of each chain's ranks among the draws of all chains, in equal bins; flat where chains agree."""
    ranks = np.argsort(np.argsort(values, axis=None, kind="stable")).reshape(values.shape)
    bins = ranks * n_bins // values.size
    return np.stack([np.bincount(chain, minlength=n_bins) for chain in bins])


def trace_stride(n_draws: int) -> int:
    """Step between the draws that a trace shows, so that a chain has at most `MOST_DRAWS` points."""
    return -(-n_draws // MOST_DRAWS)


def _scalars(dataset: Any) -> Iterator[tuple[str, Float[np.ndarray, "chain draw"]]]:
    for name, variable in dataset.data_vars.items():
        array = variable.transpose("chain", "draw", ...)
        dimensions = array.dims[2:]
        for index in np.ndindex(array.shape[2:]):
            labels = [str(array[dimension].values[i]) for dimension, i in zip(dimensions, index, strict=True)]
            yield name + f"[{', '.join(labels)}]" * bool(labels), array.values[(slice(None), slice(None), *index)]
