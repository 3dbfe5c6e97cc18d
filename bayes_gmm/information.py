"""Standard errors of the maximum-likelihood fit, from the observed information."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import kernel
from .compiled import in_float64
from .errors import FitError
from .kernel import Blocks
from .mixture import Mixture
from .scaling import Scaling

REPORTED = ("weights", "means", "scales", "correlations", "covariances")
"""Properties of a mixture that have standard errors."""

_DIRECTIONS_AT_ONCE = 64


def hessian(function: Callable[[Array], Array], at: Float[Array, " P"]) -> Float[Array, "P P"]:
    """Matrix of second derivatives, a bounded number of directions at a time."""
    gradient = jax.grad(function)
    along = lambda direction: jax.jvp(gradient, (at,), (direction,))[1]  # noqa: E731
    rows = jax.lax.map(along, jnp.eye(len(at)), batch_size=min(_DIRECTIONS_AT_ONCE, len(at)))
    return (rows + rows.T) / 2


@in_float64
def standard_errors(mixture: Mixture, data: Blocks, scaling: Scaling) -> dict[str, np.ndarray]:
    r"""Standard errors of weights, means, scales, correlations and covariances, in data units.

    .. math:: \mathrm{se}(g(\hat\theta))^2 = \nabla g^\top \, [-\nabla^2 \ell(\hat\theta)]^{-1} \, \nabla g

    Parameters
    ----------
    mixture
        A maximum of the likelihood, in data units.
    data, scaling
        The data in unit coordinates, and those coordinates.

    Raises
    ------
    FitError
        When the information is not positive definite: the likelihood is flat in some direction, or this is no maximum.

    References
    ----------
    Efron and Hinkley (1978), doi 10.1093/biomet/65.3.457; Louis (1982), doi 10.1111/j.2517-6161.1982.tb01203.x.
    """
    information, jacobians = _information(mixture, data, scaling)
    eigenvalues, vectors = np.linalg.eigh(np.asarray(information))
    if not eigenvalues[0] > 1e-10 * eigenvalues[-1]:
        raise FitError(
            f"The information matrix has eigenvalues from {eigenvalues[0]:.2g} to {eigenvalues[-1]:.2g}: "
            "the likelihood does not determine all parameters.",
            "a positive definite matrix",
            "Use fewer components, let the fit converge, or look at the posterior instead.",
        )
    root = vectors / np.sqrt(eigenvalues)
    return {name: np.sqrt(((np.asarray(jacobian) @ root) ** 2).sum(-1)) for name, jacobian in jacobians.items()}


@jax.jit
def _information(mixture: Mixture, data: Blocks, scaling: Scaling) -> tuple[Array, dict[str, Array]]:
    unit = scaling.to_unit(mixture)
    at = _coordinates(unit)
    rebuild = partial(_rebuild, like=unit)
    information = -hessian(lambda theta: kernel.log_likelihood(kernel.natural(rebuild(theta)), data), at)
    return information, jax.jacfwd(lambda theta: _reported(scaling.to_data(rebuild(theta))))(at)


def _reported(mixture: Mixture) -> dict[str, Array]:
    return {name: getattr(mixture, name) for name in REPORTED}


def _coordinates(mixture: Mixture) -> Float[Array, " P"]:
    """Log odds against the last component, means, lower triangles: as many as free parameters."""
    rows, columns = np.tril_indices(mixture.n_features)
    odds = mixture.log_weights[:-1] - mixture.log_weights[-1]
    return jnp.concatenate([odds, mixture.means.ravel(), mixture.scale_tril[:, rows, columns].ravel()])


def _rebuild(coordinates: Float[Array, " P"], like: Mixture) -> Mixture:
    K, D = like.n_components, like.n_features
    rows, columns = np.tril_indices(D)
    odds, means, triangles = jnp.split(coordinates, [K - 1, K - 1 + K * D])
    scale_tril = jnp.zeros((K, D, D)).at[:, rows, columns].set(triangles.reshape(K, -1))
    log_weights = jax.nn.log_softmax(jnp.append(odds, 0.0))
    return Mixture(log_weights=log_weights, means=means.reshape(K, D), scale_tril=scale_tril)
