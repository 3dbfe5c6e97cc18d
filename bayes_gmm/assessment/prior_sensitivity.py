r"""How much each parameter depends on each part of the prior, from the draws alone.

Where a part of the prior is raised to a power alpha near one (`prior_densities` says relative to what), the draws with
weights p_alpha / p stand for the new posterior. Two numbers come from this.

*Sensitivity*: the change of a parameter's marginal distribution with log2 alpha, in the cumulative Jensen-Shannon
distance (`mcmc.power_scaling`). Above 0.05 the part counts as informative; for a normal posterior that is a mean
that moves by some 0.3 posterior sds when the power is doubled. Kallioinen and others (2024) recommend this limit, and
unlike the change of the mean the distance also sees a change of the spread.

*Shift*: how far the whole prior has moved the posterior mean. With h the sum of the parts' log densities and the
cumulants a = Cov(theta, h) and b = E[(theta - E theta) (h - E h)^2], the mean at the power alpha is

.. math:: m(\alpha) \approx m(1) + \frac{a (\alpha - 1)}{1 - \frac{b}{2a} (\alpha - 1)},

which has the right first two derivatives at one, and is exact where the mean is a ratio of linear functions of alpha:
normal means, inverse-gamma variances and Dirichlet weights. The shift is m(1) - m(0), in posterior sds. What the
posterior mean differs from the maximum-likelihood estimate beyond it, the likelihood itself says by its shape.

References
----------
Kallioinen, Paananen, Buerkner and Vehtari (2024), doi 10.1007/s11222-023-10366-5.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayes_gmm.mcmc.power_scaling import sensitivity

INFORMATIVE = 0.05
"""Sensitivity from which a part of the prior matters, by Kallioinen and others (2024)."""

_MOST_DRAWS = 4000
"""Draws from which sensitivities are computed: more would not make them sharper than they are read."""

_CONSTANT = 1e-9
"""Range of a log density, in nats, up to which it varies by rounding alone."""

_SMALL_SHIFT = 0.2
"""Posterior sds: smaller shifts are taken to first order, since the third cumulant is then all Monte Carlo error."""

_STRONGEST = 0.9
"""Share of the prior in the information beyond which the extrapolation to no prior is not trusted, and cut."""


class PriorSensitivity(NamedTuple):
    """What the prior does to each parameter, by the names of the parameters.

    Attributes
    ----------
    of_part
        Sensitivity to each part of the prior that is not held, by its name: "weights", "means", "scales" or
        "correlations".
    shift
        Posterior mean less that without the prior, in posterior sds.
    """

    of_part: dict[str, dict[str, Float[np.ndarray, "..."]]]
    shift: dict[str, Float[np.ndarray, "..."]]


def prior_sensitivity(draws: xr.Dataset, log_prior: xr.Dataset) -> PriorSensitivity:
    """Sensitivity of every parameter to each part of the prior, and the shift of its posterior mean by all of them.

    Parameters
    ----------
    draws
        Parameters by name, (chain, draw, ...), as in the group "posterior" of a tree.
    log_prior
        Log density of each part of the prior at the draws (`Posterior.log_prior`).
    """
    every = -(-draws.sizes["chain"] * draws.sizes["draw"] // _MOST_DRAWS)
    draws, log_prior = (dataset.isel(draw=slice(None, None, every)) for dataset in (draws, log_prior))
    densities = _by_name(log_prior)
    return PriorSensitivity(
        of_part={part: _sensitivities(_by_name(draws), values) for part, values in densities.items()},
        shift=shifts(_by_name(draws), np.sum(list(densities.values()), axis=0)),
    )


def _sensitivities(
    draws: dict[str, Float[np.ndarray, "chain draw ..."]], log_density: Float[np.ndarray, "chain draw"]
) -> dict[str, Float[np.ndarray, "..."]]:
    """Sensitivity of every parameter to one part; none to a part that is constant, as its measure itself is."""
    if np.ptp(log_density) < _CONSTANT:
        return {name: np.zeros(values.shape[2:]) for name, values in draws.items()}
    quantities = [np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0) for values in draws.values()]
    found = np.split(
        sensitivity(np.concatenate(quantities), log_density), np.cumsum([len(part) for part in quantities])[:-1]
    )
    return {name: own.reshape(values.shape[2:]) for (name, values), own in zip(draws.items(), found, strict=True)}


def _by_name(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    return {str(name): variable.values for name, variable in dataset.items()}


def shifts(
    draws: dict[str, Float[np.ndarray, "chain draw ..."]], log_prior: Float[np.ndarray, "chain draw"]
) -> dict[str, Float[np.ndarray, "..."]]:
    """By how many posterior sds the prior has moved the mean of each parameter; 0 for a constant."""
    h = (log_prior - log_prior.mean()).ravel()
    found = {}
    for name, chains in draws.items():
        values = chains.reshape(h.size, *chains.shape[2:])
        offsets, sd = values - values.mean(0), values.std(0)
        standardised = np.moveaxis(offsets / np.where(sd > 0, sd, 1.0), 0, -1)
        first, second = (standardised * h).mean(-1), (standardised * h**2).mean(-1)
        large = np.abs(first) > _SMALL_SHIFT
        curvature = np.where(large, second / np.where(large, 2 * first, 1.0), 0.0)
        found[name] = np.asarray(first / np.maximum(1 + curvature, 1 - _STRONGEST))
    return found
