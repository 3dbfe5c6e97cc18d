r"""How much the distribution of each quantity changes where a density is raised to a power near one.

The distance of two distribution functions P and Q is that of cumulative Jensen and Shannon,

.. math:: d^2 = \frac{\int P \log_2 \frac{2 P}{P + Q} + Q \log_2 \frac{2 Q}{P + Q} \, \mathrm{d}x}
                     {\int P + Q \, \mathrm{d}x},

the larger one of a quantity and of its negative, and the sensitivity is its slope in the logarithm of the power.

References
----------
Kallioinen, Paananen, Buerkner and Vehtari (2024), doi 10.1007/s11222-023-10366-5; the distance: Nguyen and Vreeken
(2015), doi 10.1007/978-3-319-23525-7_11.
"""

import numpy as np
from jaxtyping import Float

from bayes_gmm.mcmc.importance_weights import smoothed_tail, tail_length
from bayes_gmm.mcmc.mixing import tail_ess

_POWERS = (0.99, 1.01)
"""Powers between which the slope is taken."""

_FEWEST = 5
"""Fewest ratios in a tail."""


def sensitivity(
    values: Float[np.ndarray, "Q chain draw"], log_density: Float[np.ndarray, "chain draw"]
) -> Float[np.ndarray, " Q"]:
    """Change of the distribution of each quantity with log2 of the power of a density; NaN of one that is constant."""
    flat = values.reshape(len(values), -1)
    ordered = [_with_gaps(flat), _with_gaps(-flat)]
    slopes = []
    for power in _POWERS:
        weights = _scaled_weights(log_density, power)
        distances = np.maximum(*(_distance(gaps, weights[order]) for order, gaps in ordered))
        slopes.append(distances / abs(np.log2(power)))
    return np.mean(slopes, 0)


def _scaled_weights(log_density: Float[np.ndarray, "chain draw"], power: float) -> Float[np.ndarray, " S"]:
    """Weights of the draws for another power, with their largest smoothed."""
    n_draws = log_density.size
    relative_ess = tail_ess(log_density.reshape(1, 1, -1))[0] / n_draws  # end to end, as ArviZ has them
    size = min(max(_FEWEST, min(tail_length(n_draws, relative_ess), n_draws // 2)), n_draws - 1)
    return np.exp(smoothed_tail((power - 1) * log_density.ravel(), size).log_weights)


def _with_gaps(values: Float[np.ndarray, "Q S"]) -> tuple[np.ndarray, Float[np.ndarray, "Q gaps"]]:
    """Order of the draws of each quantity, and the gaps between them."""
    order = np.argsort(values, axis=1)
    return order, np.diff(np.take_along_axis(values, order, 1), axis=1)


@np.errstate(invalid="ignore")
def _distance(gaps: Float[np.ndarray, "Q gaps"], weights: Float[np.ndarray, "Q S"]) -> Float[np.ndarray, " Q"]:
    """Distance between ordered draws as they are and with weights, each quantity with its own."""
    n_draws = weights.shape[1]
    p = np.linspace(1 / n_draws, 1 - 1 / n_draws, n_draws - 1)
    q = (np.cumsum(weights, 1) / weights.sum(1, keepdims=True))[:, :-1]
    log_mean = _log2((p + q) / 2)
    area_p, area_q = gaps @ p, (gaps * q).sum(1)
    surplus = (area_q - area_p) / (2 * np.log(2))
    one = (gaps * (p * (_log2(p) - log_mean))).sum(1) + surplus
    other = (gaps * (q * (_log2(q) - log_mean))).sum(1) - surplus
    return np.sqrt((np.maximum(one, 0) + np.maximum(other, 0)) / (area_p + area_q))


def _log2(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Logarithms, of zero zero: it is multiplied by that zero."""
    return np.log2(values, out=np.zeros_like(values), where=values != 0)
