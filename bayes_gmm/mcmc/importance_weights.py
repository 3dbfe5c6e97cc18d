r"""Importance weights whose largest are smoothed by a Pareto distribution, and points left out by such weights.

The largest ratios are taken to exceed a cutoff by draws from a generalised Pareto distribution with shape k,

.. math:: F(x) = 1 - \left(1 + \frac{k x}{\sigma}\right)^{-1/k},

and are replaced by its quantiles. Moments of the weights below the order 1/k exist; where k is large they are not to be
trusted.

References
----------
Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25, 72; k and sigma: Zhang and Stephens (2009),
doi 10.1198/tech.2009.08017; leaving one out: Vehtari, Gelman and Gabry (2017), doi 10.1007/s11222-016-9696-4.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_FEWEST = 5
"""Fewest ratios to which a tail is fitted."""

_FIXED_TAIL = 225
"""Effective number of ratios up to which the largest fifth are the tail."""

_PRIOR_RATIOS, _PRIOR_SHAPE = 10, 0.5
"""Weight, in ratios, of what is known of k beforehand, and its value there: it steadies fits to few ratios."""


class SmoothedWeights(NamedTuple):
    """Logarithms of importance weights that sum to one, and the shape k of the tail before it was smoothed.

    k is minus infinity when the largest ratios are all equal, which leaves nothing to smooth, and infinity when there
    are too few ratios to tell.
    """

    log_weights: Float[np.ndarray, " S"]
    pareto_k: float


def smooth_importance_weights(log_ratios: Float[np.ndarray, " S"], relative_ess: float = 1.0) -> SmoothedWeights:
    """Normalise importance ratios, and replace the largest by quantiles of the Pareto distribution fitted to them.

    `relative_ess` is the effective sample size of the draws by their number.
    """
    size = tail_length(len(log_ratios), relative_ess)
    if size < _FEWEST:
        return SmoothedWeights(_normalised(log_ratios), np.inf)
    return smoothed_tail(log_ratios, size)


def tail_length(n_ratios: int, relative_ess: float) -> int:
    """How many of so many ratios are the tail."""
    if not n_ratios * relative_ess > _FIXED_TAIL:
        return n_ratios // 5
    return int(3 * np.sqrt(n_ratios / relative_ess))


def smoothed_tail(log_ratios: Float[np.ndarray, " S"], size: int) -> SmoothedWeights:
    """Weights whose `size` largest are smoothed."""
    shifted = log_ratios - log_ratios.max()
    order = np.argsort(shifted)
    tail, cutoff = order[-size:], np.exp(shifted[order[-size - 1]])
    if shifted[tail[-1]] - shifted[tail[0]] < np.finfo(float).tiny:
        return SmoothedWeights(_normalised(shifted), -np.inf)
    k, sigma = pareto_shape_and_scale(np.exp(shifted[tail]) - cutoff)
    if np.isfinite(k) and sigma > 0:
        log_beyond = np.log1p(-(np.arange(size) + 0.5) / size)
        excess = np.expm1(-k * log_beyond) / k if k else -log_beyond
        shifted[tail] = np.minimum(np.log(cutoff + sigma * excess), shifted[tail[-1]])
    return SmoothedWeights(_normalised(shifted), np.inf if np.isnan(k) else k)


@np.errstate(divide="ignore", invalid="ignore")
def pareto_shape_and_scale(excesses: Float[np.ndarray, " S"]) -> tuple[float, float]:
    """Shape k and scale sigma of a generalised Pareto distribution, from rising excesses; NaN where they are not one's.

    The posterior mean of b = -k / sigma under a weak prior, by a sum over a grid; the profile likelihood of b has k as
    the mean of log(1 - b x).
    """
    size, largest, quartile = len(excesses), excesses[-1], excesses[int(len(excesses) / 4 + 0.5) - 1]
    if quartile <= excesses[0]:
        return np.nan, np.nan
    n_grid = 30 + int(np.sqrt(size))
    grid = 1 / largest + (1 - np.sqrt(n_grid / (np.arange(n_grid) + 0.5))) / (3 * quartile)
    shapes = np.log1p(-grid[:, None] * excesses).mean(1)
    log_profile = size * (np.log(-grid / shapes) - shapes - 1)
    weights = np.exp(log_profile - np.logaddexp.reduce(log_profile))
    weights = np.where(weights < 10 * np.finfo(float).eps, 0.0, weights)
    b = float(weights @ grid / weights.sum())
    shape = float(np.log1p(-b * excesses).mean())
    return (size * shape + _PRIOR_RATIOS * _PRIOR_SHAPE) / (size + _PRIOR_RATIOS), -shape / b


class LeftOut(NamedTuple):
    """Log predictive density of each point by the draws without it, and the shape k of its weights."""

    elpd: Float[np.ndarray, " N"]
    pareto_k: Float[np.ndarray, " N"]


def leave_each_out(log_likelihood: Float[np.ndarray, "S N"], relative_ess: float) -> LeftOut:
    """Pareto-smoothed leave-one-out densities from the log-likelihood of each draw at each point.

    Raises
    ------
    ValueError
        When the draws do not differ at a point.
    """
    elpd, shapes = np.empty(log_likelihood.shape[1]), np.empty(log_likelihood.shape[1])
    for point, own in enumerate(np.ascontiguousarray(log_likelihood.T)):
        log_weights, shapes[point] = smooth_importance_weights(-own, relative_ess)
        if shapes[point] == -np.inf:
            raise ValueError("for the largest are all equal")
        elpd[point] = np.logaddexp.reduce(log_weights + own)
    return LeftOut(elpd, shapes)


def largest_good_k(n_draws: int) -> float:
    """Shape of the tail up to which weights of so many draws are to be trusted."""
    return min(1 - 1 / np.log10(max(n_draws, 2)), 0.7)


def _normalised(log_weights: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    return log_weights - np.logaddexp.reduce(log_weights)
