r"""Coordinates of a mixture without constraints, for methods that follow a gradient.

Log odds of the weights against the last component, the means, and the Cholesky factors L, of which the diagonal
enters by its logarithm: every real vector is a mixture, and every mixture of the structure is one vector.

Only structures whose components share the whole covariance or nothing of it have such coordinates in closed form:

=======  ====================  =============  =================
letters  factor                shared (E)     one each (V)
=======  ====================  =============  =================
. I I    exp(s) I              EII            VII
. . I    diag(exp(s))          EEI            VVI
. . .    lower triangular      EEE            VVV
=======  ====================  =============  =================

References
----------
Pinheiro and Bates (1996), doi 10.1007/BF00140873: the log-Cholesky parametrisation.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture

SUPPORTED = ("VVV", "EEE", "VVI", "EEI", "VII", "EII")
"""Structures that have unconstrained coordinates."""


def to_unconstrained(mixture: Mixture, structure: Structure) -> Float[Array, " P"]:
    """Coordinates of the mixture that is nearest within the structure: an M-step on its own covariances."""
    K, D = mixture.n_components, mixture.n_features
    weights = mixture.weights
    covariances = structure.estimate(weights, weights[:, None, None] * mixture.scatters)
    factors = jnp.linalg.cholesky(covariances[: _groups(structure, K)])
    odds = mixture.log_weights[:-1] - mixture.log_weights[-1:]
    rows, columns = _entries(structure, D)
    entries = factors[:, rows, columns]
    entries = jnp.where(rows == columns, jnp.log(jnp.abs(entries)), entries)
    return jnp.concatenate([odds, mixture.means.ravel(), entries.ravel()])


def from_unconstrained(theta: Float[Array, " P"], n_components: int, n_features: int, structure: Structure) -> Mixture:
    """Mixture at unconstrained coordinates: the inverse of `to_unconstrained`."""
    K, D = n_components, n_features
    odds, means, entries = jnp.split(theta, [K - 1, K - 1 + K * D])
    return Mixture(
        log_weights=jax.nn.log_softmax(jnp.append(odds, 0.0)),
        means=means.reshape(K, D),
        scale_tril=_factors(entries.reshape(_groups(structure, K), -1), K, D, structure),
    )


def _factors(entries: Float[Array, "G E"], n_components: int, n_features: int, structure: Structure) -> Array:
    """Cholesky factors (K, D, D) from their free entries."""
    rows, columns = _entries(structure, n_features)
    entries = jnp.where(rows == columns, jnp.exp(entries), entries)
    if structure.name.endswith("II"):
        factors = entries[:, :, None] * jnp.eye(n_features)[None]
    else:
        factors = jnp.zeros((len(entries), n_features, n_features)).at[:, rows, columns].set(entries)
    return jnp.broadcast_to(factors, (n_components, n_features, n_features))


def _groups(structure: Structure, n_components: int) -> int:
    return n_components if structure.name.startswith("V") else 1


def _entries(structure: Structure, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the free entries of a factor."""
    if structure.name.endswith("II"):
        return np.array([0]), np.array([0])
    if structure.name.endswith("I"):
        return np.arange(n_features), np.arange(n_features)
    return np.tril_indices(n_features)
