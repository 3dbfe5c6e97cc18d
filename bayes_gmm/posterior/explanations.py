"""Chains that found different explanations of the data, told apart by what no relabelling can change."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SEPARATED = 1.0
"""Chains whose means of some invariant differ by more than this many standard deviations tell different stories."""

_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a group of chains that agree found.

    Attributes
    ----------
    chains
        Numbers of the chains.
    share
        Share of all draws: of the chains, not of the posterior's mass.
    log_likelihood, log_posterior
        Means over the draws; the log posterior density is that of unconstrained coordinates.
    weights
        Posterior means of the weights, in descending order.
    mode_share
        Share of the mass that Laplace's approximation gives the modes from which these chains began.
    """

    chains: tuple[int, ...]
    share: float
    log_likelihood: float
    log_posterior: float
    weights: tuple[float, ...]
    mode_share: float

    def __str__(self) -> str:
        chains = ", ".join(map(str, self.chains))
        weights = ", ".join(f"{weight:.2f}" for weight in self.weights)
        return (
            f"chains {chains}: log-likelihood {self.log_likelihood:.2f}, weights {weights}; "
            f"Laplace's share of the mass {self.mode_share:.0%}"
        )


def explain(tree: Any, mode_of_chain: np.ndarray, mode_shares: np.ndarray) -> tuple[Explanation, ...]:
    """Group the chains of a tree (groups invariants and sample_stats), largest group first.

    Parameters
    ----------
    tree
        As `posterior_tree` makes it.
    mode_of_chain : (C,)
        The mode from which each chain began.
    mode_shares : (M,)
        Share of the mass of each mode.
    """
    groups = sorted(_linked(_distances(tree["invariants"].to_dataset())), key=len, reverse=True)
    return tuple(_explanation(tree, group, mode_of_chain, mode_shares) for group in groups)


def _explanation(tree: Any, chains: list[int], mode_of_chain: np.ndarray, mode_shares: np.ndarray) -> Explanation:
    invariants = tree["invariants"].to_dataset().isel(chain=chains)
    weights = invariants["sorted_weights"].mean(("chain", "draw")).values[::-1]
    return Explanation(
        chains=tuple(chains),
        share=len(chains) / len(mode_of_chain),
        log_likelihood=float(invariants["log_likelihood"].mean()),
        log_posterior=float(tree["sample_stats"]["lp"].values[chains].mean()),
        weights=tuple(map(float, weights)),
        mode_share=float(mode_shares[np.unique(mode_of_chain[chains])].sum()),
    )


def _distances(dataset: Any) -> np.ndarray:
    """Largest difference of chain means over all invariants, (C, C), in units of the larger of the two chains' sds."""
    largest = np.zeros((dataset.sizes["chain"],) * 2)
    for values in np.concatenate(list(scalars(dataset))):
        # The probability that points far apart belong together may be 1e-200, and its square zero.
        unit = values / (np.abs(values).max() or 1.0)
        means, sds = unit.mean(1), np.maximum(unit.std(1), _ROUNDING)
        apart = np.abs(means[:, None] - means[None]) / np.maximum(sds[:, None], sds[None])
        largest = np.maximum(largest, np.where(np.isnan(apart), np.inf, apart))
    np.fill_diagonal(largest, 0.0)
    return largest


def scalars(dataset: Any) -> Iterator[np.ndarray]:
    """The entries of each variable, (Q, chain, draw)."""
    for variable in dataset.data_vars.values():
        values = variable.transpose("chain", "draw", ...).values
        yield np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0)


def _linked(distances: np.ndarray) -> list[list[int]]:
    """Groups of chains that are linked by distances below the limit."""
    groups: list[list[int]] = []
    for chain in range(len(distances)):
        near = [group for group in groups if (distances[chain, group] <= SEPARATED).any()]
        groups = [group for group in groups if group not in near] + [sorted([chain, *itertools.chain(*near)])]
    return groups
