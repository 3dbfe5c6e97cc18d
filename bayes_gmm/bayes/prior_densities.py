r"""The log density of each part of the prior at mixtures, relative to a measure that carries no information.

To raise a part of the prior to a power says something only relative to a measure: what is left at the power zero. Here
it is Jeffreys' prior of that part by itself, which keeps its form under changes of location, of unit and of axes,

.. math:: \prod_{kd} d\mu_{kd}, \qquad \prod_{kd} d \log v_{kd}, \qquad
          \prod_k |R_k|^{-(D+1)/2} \, dR_k, \qquad \prod_k \pi_k^{-1/2} \, d\pi,

that is flat in means and in logarithms of scales; of the correlations what |Sigma|^{-(D+1)/2} dSigma, Jeffreys' prior
of a covariance matrix, leaves beside flat log scales; and Dirichlet(1/2) weights. So with p the density of a part and m
that of its measure, the prior of power alpha is

.. math:: p_\alpha(\theta) \propto m(\theta) \left( \frac{p(\theta)}{m(\theta)} \right)^{\alpha},

the prior itself at one and without information at zero. LKJ(1), flat in R, is informative in this sense: relative to
the measure it is |R|^{(D+1)/2}, the more the more columns there are. Relative to dR it would look flat, though it draws
correlations to zero. Degrees of freedom, whose logarithms are flat without information, count with the scales. Priors
of a family of exponential form stay in it: an InverseGamma(a, b) of variances becomes InverseGamma(alpha a, alpha b), a
Normal sd is divided by sqrt(alpha).

References
----------
Kallioinen, Paananen, Buerkner and Vehtari (2024), doi 10.1007/s11222-023-10366-5; Jeffreys' priors: Yang and Berger
(1994), doi 10.1214/aos/1176325625.
"""

from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.sites import Sites, disassemble, free
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.mixture.mixture import Mixture

PRIOR_PARTS = ("weights", "means", "scales", "correlations")
"""Parts of the prior, by the names of the reported parameters that they are about."""

_PART = {
    "variances": "scales",
    "correlation_tril": "correlations",
    "noise_weight": "weights",
    "degrees_of_freedom": "scales",
}
"""Part to which a parameter of the model belongs whose name is another."""


@in_float64
def log_prior_densities(mixtures: Mixture, sites: Sites) -> dict[str, Float[np.ndarray, "*batch"]]:
    """Log densities of the parts of the prior that have a distribution, relative to their measures, up to constants.

    Mixtures are taken apart by `disassemble`, so that scales which lie within a thousandth of the floor count as ten
    hundredths of it.
    """
    batch, size = mixtures.log_weights.shape[:-1], TUNING.draws_of_a_program
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[len(batch) :])), mixtures)
    n_draws, arrays = len(flat.log_weights), as_arrays(sites)
    # Every program is of `size` draws; the numbers of the last ones stand again where draws are missing.
    blocks = [np.minimum(np.arange(start, start + size), n_draws - 1) for start in range(0, n_draws, size)]
    found = [jax.device_get(_of_draws(jax.tree.map(itemgetter(block), flat), arrays)) for block in blocks]
    return {part: np.concatenate([each[part] for each in found])[:n_draws].reshape(batch) for part in found[0]}


@jax.jit
def _of_draws(mixtures: Mixture, sites: Sites) -> dict[str, Float[Array, " S"]]:
    return jax.vmap(lambda mixture: _of_one(mixture, sites))(mixtures)


def _of_one(mixture: Mixture, sites: Sites) -> dict[str, Float[Array, ""]]:
    values = disassemble(mixture, sites)
    found: dict[str, Float[Array, ""]] = {}
    for name, site in free(sites).items():
        relative = site.log_prob(values[name]).sum() - _log_measure(name, values[name])
        found[_part(name)] = found.get(_part(name), 0.0) + relative
    return found


def _part(name: str) -> str:
    return _PART.get(name, name)


def _log_measure(name: str, value: Float[Any, "..."]) -> Any:
    """Log density of the measure without information, in the variables in which the prior's density is."""
    if name == "degrees_of_freedom":
        return -jnp.log(value).sum()
    if name == "noise_weight":  # Jeffreys' prior of one share
        return -0.5 * (jnp.log(value) + jnp.log1p(-value)).sum()
    match _part(name):
        case "weights":
            return -0.5 * jnp.log(value).sum()
        case "scales":
            return -jnp.log(value).sum()
        case "correlations":
            # Density of the Cholesky factor: |R|^{-(D+1)/2} times the volume prod_d L_dd^(D-d) of the map to R.
            powers = jnp.arange(value.shape[-1]) + 2.0
            return -(powers * jnp.log((value * np.eye(value.shape[-1])).sum(-1))).sum()
    return jnp.zeros(())
