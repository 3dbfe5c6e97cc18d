r"""The Gaussian around the mode of the posterior, and flags on parameters whose draws differ from it.

A mode with an error bar stands for this Gaussian. For a parameter v(theta), and H the Hessian of minus the log
posterior density at the mode,

.. math:: v(\theta) \approx N\big(v(\hat\theta), \; \nabla v^\top H^{-1} \nabla v\big).

A parameter is flagged where an end of its interval by this Gaussian lies more than half a posterior sd from that end by
the draws, or where one of the two sds is more than 1.5 times the other.
"""

from operator import itemgetter
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import ndtri

from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.modes import WORTH_A_MENTION
from bayes_gmm.bayes.target import to_mixtures
from bayes_gmm.core.precision import in_float64
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.posterior.arviz_tree import parameters
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.relabelling import match

FARTHEST_END = 0.5
"""Posterior sds by which an end of both intervals may differ without a flag."""

WIDEST = 1.5
"""Ratio of the larger to the smaller sd up to which there is no flag."""

_STEP = 1e-4
"""Step of central differences in units of the posterior sd: their error is of the order of its square."""

_APART = 2.0
"""Sds of the Gaussian beyond which another mode counts as the reason of a flag."""

_NEAR = 2.0
"""Posterior sds within which the boundary of a parameter's range counts as the reason of a flag."""

_SKEWED = 0.4
"""Skewness above which it counts as the reason of a flag; a gamma distribution of shape 25 has this much."""

_CONSTANT = 1e-12
"""Range of the draws, relative to their size, up to which a parameter varies by rounding alone."""


class Gaussian(NamedTuple):
    """Values at the mode and sds around it, by the names of the parameters."""

    mode: dict[str, Float[np.ndarray, "..."]]
    sd: dict[str, Float[np.ndarray, "..."]]


@in_float64
def gaussian_at_mode(posterior: Posterior) -> Gaussian | None:
    """Gaussian around the mode with most mass, under the labels of the draws; None when no proper mode was found."""
    if not posterior.modes.trustworthy:
        return None
    around = jax.tree.map(itemgetter(0), posterior.modes.around)
    order, sites = _orders(posterior)[0], as_arrays(posterior.problem.sites)

    def at(coordinates: Float[np.ndarray, "S P"]) -> dict[str, Float[np.ndarray, "S ..."]]:
        return _parameters(to_mixtures(coordinates, sites)[0].permute(order), posterior)

    columns = _STEP * around.factor.T
    mode, ahead, behind = at(around.mode[None]), at(around.mode + columns), at(around.mode - columns)
    slopes = {name: (ahead[name] - behind[name]) / (2 * _STEP) for name in mode}
    sds = {name: np.asarray(np.sqrt((slope**2).sum(0))) for name, slope in slopes.items()}
    return Gaussian({name: np.asarray(values[0]) for name, values in mode.items()}, sds)


def flags(posterior: Posterior, gaussian: Gaussian | None, probability: float) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Why the draws of each parameter differ from the Gaussian, empty where they do not: arrays of texts by name."""
    draws = _draws(posterior)
    if gaussian is None:
        return {name: np.full(values.shape[2:], "") for name, values in draws.items()}
    others = _other_modes(posterior)
    found = {}
    for name, chains in draws.items():
        values = chains.reshape(-1, *chains.shape[2:])
        mode, sd = gaussian.mode[name], gaussian.sd[name]
        elsewhere = (np.abs(others[name] - mode) > _APART * sd).any(0)
        reason = np.select(
            [elsewhere, _near_boundary(name, values), np.abs(_skewness(values)) > _SKEWED],
            ["second mode", "boundary", "skew"],
            "tails",
        )
        found[name] = np.where(_disagree(values, mode, sd, probability), reason, "")
    return found


def _parameters(mixtures: Mixture, posterior: Posterior) -> dict[str, Float[np.ndarray, "S ..."]]:
    return parameters(mixtures, posterior.table.columns)


def _draws(posterior: Posterior) -> dict[str, Float[np.ndarray, "chain draw ..."]]:
    """Draws of each parameter by name."""
    return {str(name): variable.values for name, variable in posterior.tree["posterior"].to_dataset().items()}


def _disagree(
    values: Float[np.ndarray, "S *parameter"],
    mode: Float[np.ndarray, "*parameter"],
    sd: Float[np.ndarray, "*parameter"],
    probability: float,
) -> Bool[np.ndarray, "*parameter"]:
    """Whether the interval or the sd of the draws is far from that of the Gaussian; False for a constant."""
    ends = np.quantile(values, [(1 - probability) / 2, (1 + probability) / 2], axis=0)
    reach = ndtri((1 + probability) / 2) * sd
    apart = np.abs(ends - np.stack([mode - reach, mode + reach])).max(0)
    varying, spread = np.ptp(values, axis=0) > _CONSTANT * np.abs(values).max(0), values.std(0)
    unequal = np.maximum(spread, sd) > WIDEST * np.minimum(spread, sd)
    return np.asarray(varying & (unequal | (apart > FARTHEST_END * spread)))


def _near_boundary(name: str, values: Float[np.ndarray, "S *parameter"]) -> Bool[np.ndarray, "*parameter"]:
    """Whether the boundary of the range of a parameter lies within two posterior sds of its posterior mean."""
    center, reach = values.mean(0), _NEAR * values.std(0)
    if name == "means":
        return np.zeros(center.shape, bool)
    if name in ("weights", "noise_weight"):
        return np.asarray((center < reach) | (1 - center < reach))
    return center < reach if name in ("scales", "degrees_of_freedom") else 1 - np.abs(center) < reach


def _skewness(values: Float[np.ndarray, "S *parameter"]) -> Float[np.ndarray, "*parameter"]:
    offsets = values - values.mean(0)
    spread = values.std(0)
    return np.asarray((offsets**3).mean(0) / np.where(spread > 0, spread, 1.0) ** 3)


def _orders(posterior: Posterior) -> Int[np.ndarray, "M K"]:
    """Permutation of each mode that gives it the labels of the draws."""
    modes, K = posterior.modes.mixtures, posterior.draws.n_components
    if not posterior.problem.exchangeable:
        return np.tile(np.arange(K), (len(modes.log_weights), 1))
    each = (jax.tree.map(itemgetter(m), modes) for m in range(len(modes.log_weights)))
    return np.array([match(mode, posterior.mle.mixture, posterior.table.values) for mode in each])


def _other_modes(posterior: Posterior) -> dict[str, Float[np.ndarray, "others ..."]]:
    """Parameters at all modes with some share of the mass except the first, and posterior means of each explanation.

    Explanations count where there is more than one.
    """
    others = np.flatnonzero(posterior.modes.share[1:] > WORTH_A_MENTION) + 1
    mixtures = jax.tree.map(lambda leaf: leaf[others], posterior.modes.mixtures.permute(_orders(posterior)))
    several = posterior.explanations if len(posterior.explanations) > 1 else ()
    found = {}
    at_modes = _parameters(mixtures, posterior)
    for name, chains in _draws(posterior).items():
        of_groups = [chains[list(group.chains)].mean((0, 1)) for group in several]
        found[name] = np.concatenate([at_modes[name], np.reshape(of_groups, (-1, *chains.shape[2:]))])
    return found
