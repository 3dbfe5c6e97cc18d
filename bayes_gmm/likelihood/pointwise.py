"""Densities of many draws of a mixture at many points: draw by draw, averaged, and as a credible band.

Thousands of draws at thousands of points are matrix products (`draws_at_points`). Memory is bounded: where a result
would hold a number for each draw and point, the points are taken in parts.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.likelihood.draws_at_points import at_points, log_volumes
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


@in_float64
def log_densities(
    draws: Mixture,
    x: Float[np.ndarray, "N D"],
    scaling: Scaling,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> Float[np.ndarray, "*batch N"]:
    """Log density of each draw at each point, (..., N), which may have known errors of these covariances."""
    here = at_points(draws, x, scaling, errors)
    values = here.of_each_draw(_log_sums) - log_volumes(x, scaling)
    return values.reshape(*draws.log_weights.shape[:-1], len(x))


def log_predictive_density(
    draws: Mixture,
    x: Float[np.ndarray, "N D"],
    scaling: Scaling,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> Float[np.ndarray, " N"]:
    """Log of the density averaged over all draws, (N,)."""
    n_draws, found = _number(draws), []
    for rows in _in_parts(len(x), n_draws):
        part = log_densities(draws, x[rows], scaling, None if errors is None else errors[rows])
        found.append(np.logaddexp.reduce(part.reshape(n_draws, -1), axis=0))
    return np.concatenate(found) - np.log(n_draws)


class DensityBand(NamedTuple):
    """Mean over the draws of the density at each point, and the ends of its central interval, (N,) each."""

    mean: Float[np.ndarray, " N"]
    lower: Float[np.ndarray, " N"]
    upper: Float[np.ndarray, " N"]


def density_band(draws: Mixture, x: Float[np.ndarray, "N D"], scaling: Scaling, probability: float) -> DensityBand:
    """Density at each point: its mean over the draws and the central interval of this probability."""
    tails = [(1 - probability) / 2, (1 + probability) / 2]
    found = []
    n_draws = _number(draws)
    for rows in _in_parts(len(x), n_draws):
        densities = np.exp(log_densities(draws, x[rows], scaling)).reshape(n_draws, -1)
        found.append([densities.mean(0), *np.quantile(densities, tails, axis=0)])
    return DensityBand(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def thinned(draws: Mixture, n_draws: int) -> Mixture:
    """At most `n_draws` of the draws, evenly apart, with one leading axis."""
    total, batch = _number(draws), draws.log_weights.ndim - 1
    chosen = np.linspace(0, total - 1, min(n_draws, total)).round().astype(int)
    return jax.tree.map(lambda leaf: np.reshape(leaf, (total, *leaf.shape[batch:]))[chosen], draws)


def _number(draws: Mixture) -> int:
    return int(np.prod(draws.log_weights.shape[:-1]))


def _in_parts(n_points: int, n_draws: int) -> list[slice]:
    size = max(1, TUNING.numbers_at_once // n_draws)
    return [slice(start, start + size) for start in range(0, n_points, size)]


def _log_sums(log_joint: Float[np.ndarray, "B K N"]) -> Float[np.ndarray, "B N"]:
    top = log_joint.max(1)
    return top + np.log(np.exp(log_joint - top[:, None]).sum(1))
