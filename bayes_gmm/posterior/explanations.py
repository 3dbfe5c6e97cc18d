"""Groups of chains that agree on label-invariant quantities: each group is one explanation of the data."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

SEPARATED = 1.0
"""Two chains found different explanations when their means of some invariant differ by more standard deviations."""

_APART = 3.0
"""Ratio of the distance of two modes to that of most draws from the nearest from which the modes stand apart."""

_LEAST_MASS = 0.02
"""Share of the draws from which a mode that stands apart is an explanation."""

_ROUNDING = 1e-12
"""Smallest standard deviation, relative to the size of the quantity: a constant is known up to rounding."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a group of chains that agree found of the posterior.

    Attributes
    ----------
    chains
        Numbers of the chains.
    share
        Share of the draws that are of these chains, which is not the share of the posterior's mass.
    log_likelihood, log_posterior
        Means over the draws; the log posterior density is taken in unconstrained coordinates.
    weights
        Posterior means of the weights, in descending order.
    mode_share
        Share of the posterior's mass: by Laplace's approximation, of the modes at which these chains started; where
        chains move between explanations, by their draws.
    mass_error
        Monte Carlo standard error of that share where it is by draws, otherwise NaN.
    """

    chains: tuple[int, ...]
    share: float
    log_likelihood: float
    log_posterior: float
    weights: tuple[float, ...]
    mode_share: float
    mass_error: float = np.nan

    def __str__(self) -> str:
        chains = ", ".join(map(str, self.chains))
        weights = ", ".join(f"{weight:.2f}" for weight in self.weights)
        if not np.isnan(self.mass_error):
            return (
                f"{self.mode_share:.2f} +- {self.mass_error:.2f} of mass (log-likelihood {self.log_likelihood:.1f}, "
                f"weights {weights})"
            )
        return (
            f"chains {chains}: log-likelihood {self.log_likelihood:.2f}, weights {weights}; "
            f"Laplace's share of the mass {self.mode_share:.0%}"
        )


def explain(
    tree: Any, mode_of_chain: Int[np.ndarray, " chain"], mode_shares: Float[np.ndarray, " M"]
) -> tuple[Explanation, ...]:
    """Group the chains that agree, largest group first.

    Parameters
    ----------
    tree
        Draws as `posterior_tree` makes them: the groups invariants and sample_stats are used.
    mode_of_chain : (chain,)
        Number of the mode at which each chain started.
    mode_shares : (M,)
        Share of the posterior's mass of each mode.
    """
    groups = sorted(_linked(_distances(tree["invariants"].to_dataset())), key=len, reverse=True)
    return tuple(_explanation(tree, group, mode_of_chain, mode_shares) for group in groups)


def explain_by_modes(
    tree: Any,
    log_densities: Float[np.ndarray, "chain draw n"],
    of_modes: Float[np.ndarray, "M n"],
) -> tuple[Explanation, ...]:
    """Group the draws of chains that move between modes by the mode that they resemble most, largest group first.

    Parameters
    ----------
    tree
        Draws as `posterior_tree` makes them.
    log_densities : (chain, draw, n)
        Log density of each draw at some points.
    of_modes : (M, n)
        That of each mode at the same points.

    Notes
    -----
    Modes count as different explanations where their densities differ much more than those of most draws and the mode
    nearest to them: a second top of one ridge is no explanation of its own.
    """
    distances = np.stack([np.abs(log_densities - mode).mean(-1) for mode in of_modes], -1)
    kept = _standing_apart(distances, of_modes)
    nearest = kept[distances[..., kept].argmin(-1)]
    counts = {mode: (nearest == mode) for mode in kept}
    found = [_of_draws(tree, chosen) for chosen in counts.values() if chosen.mean() >= _LEAST_MASS]
    return tuple(sorted(found, key=lambda explanation: -explanation.share)) if len(found) > 1 else ()


def _standing_apart(
    distances: Float[np.ndarray, "chain draw M"], of_modes: Float[np.ndarray, "M n"]
) -> Int[np.ndarray, " kept"]:
    """Numbers of the modes, the first one always, that stand apart from those kept before them."""
    usual = float(np.median(distances.min(-1)))
    kept: list[int] = []
    for number, mode in enumerate(of_modes):
        if all(np.abs(mode - of_modes[other]).mean() > _APART * usual for other in kept):
            kept.append(number)
    return np.array(kept)


def _of_draws(tree: Any, chosen: Bool[np.ndarray, "chain draw"]) -> Explanation:
    """Explanation that some draws of all chains make up, with its mass."""
    invariants = tree["invariants"].to_dataset()
    mass = float(chosen.mean())
    return Explanation(
        chains=tuple(range(len(chosen))),
        share=mass,
        log_likelihood=float(invariants["log_likelihood"].values[chosen].mean()),
        log_posterior=float(tree["sample_stats"]["lp"].values[chosen].mean()),
        weights=tuple(map(float, invariants["sorted_weights"].values[chosen].mean(0)[::-1])),
        mode_share=mass,
        mass_error=_error_of_mean(chosen),
    )


def _error_of_mean(values: Shaped[np.ndarray, "chain draw"]) -> float:
    """Monte Carlo standard error of the mean of chains, from batches of a twentieth of each."""
    size = max(1, values.shape[1] // 20)
    batches = values[:, : values.shape[1] // size * size].reshape(values.shape[0], -1, size).mean(-1)
    return float(batches.std(ddof=1) / np.sqrt(batches.size))


def _explanation(
    tree: Any, chains: list[int], mode_of_chain: Int[np.ndarray, " chain"], mode_shares: Float[np.ndarray, " M"]
) -> Explanation:
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


def _distances(dataset: Any) -> Float[np.ndarray, "chain chain"]:
    """Largest difference of two chains' means over all invariants, in units of the larger of their two sds."""
    largest = np.zeros((dataset.sizes["chain"],) * 2)
    for values in np.concatenate(list(scalars(dataset))):
        # Squares of very small values underflow: distant points may share a component with probability 1e-200.
        unit = values / (np.abs(values).max() or 1.0)
        means, sds = unit.mean(1), np.maximum(unit.std(1), _ROUNDING)
        apart = np.abs(means[:, None] - means[None]) / np.maximum(sds[:, None], sds[None])
        largest = np.maximum(largest, np.where(np.isnan(apart), np.inf, apart))
    np.fill_diagonal(largest, 0.0)
    return largest


def scalars(dataset: Any) -> Iterator[Shaped[np.ndarray, "Q chain draw"]]:
    """The Q scalar entries of each variable of a dataset."""
    for variable in dataset.data_vars.values():
        yield entries(variable.transpose("chain", "draw", ...).values)


def entries(values: Shaped[np.ndarray, "chain draw ..."]) -> Shaped[np.ndarray, "Q chain draw"]:
    """The Q scalar entries of one quantity."""
    return np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0)


def _linked(distances: Float[np.ndarray, "chain chain"]) -> list[list[int]]:
    """Groups of chains by single linkage: each is within the limit of some other chain of its group."""
    groups: list[list[int]] = []
    for chain in range(len(distances)):
        near = [group for group in groups if (distances[chain, group] <= SEPARATED).any()]
        groups = [group for group in groups if group not in near] + [sorted([chain, *itertools.chain(*near)])]
    return groups
