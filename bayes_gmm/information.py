"""Standard errors of the maximum-likelihood fit, from the observed information."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import kernel
from .compiled import in_float64
from .covariance import Structure
from .errors import FitError
from .kernel import Blocks
from .linalg import unvech, vech
from .mixture import Mixture
from .scaling import Scaling

REPORTED = ("weights", "means", "scales", "correlations", "covariances")
"""Properties of a mixture that have standard errors."""

_DIRECTIONS_AT_ONCE = 64


def hessian(function: Callable[[Array], Array], at: Float[Array, " P"]) -> Float[Array, "P P"]:
    """Matrix of second derivatives, a bounded number of directions at a time."""
    gradient = jax.grad(function)

    def along(direction: Array) -> Array:
        return jax.jvp(gradient, (at,), (direction,))[1]

    rows = jax.lax.map(along, jnp.eye(len(at)), batch_size=min(_DIRECTIONS_AT_ONCE, len(at)))
    return (rows + rows.T) / 2


@in_float64
def standard_errors(mixture: Mixture, data: Blocks, scaling: Scaling, structure: Structure) -> dict[str, np.ndarray]:
    r"""Standard errors of weights, means, scales, correlations and covariances, in data units.

    .. math:: \mathrm{se}(g(\hat\theta))^2 = \nabla g^\top \, [-\nabla^2 \ell(\hat\theta)]^{-1} \, \nabla g

    in as many coordinates theta as there are free parameters.

    Parameters
    ----------
    mixture
        A maximum of the likelihood, in data units.
    data, scaling
        The data in unit coordinates, and those coordinates.
    structure
        What ties the covariances together.

    Raises
    ------
    FitError
        When the information is not positive definite: the likelihood is flat in some direction, or this is no maximum.

    References
    ----------
    Efron and Hinkley (1978), doi 10.1093/biomet/65.3.457; Louis (1982), doi 10.1111/j.2517-6161.1982.tb01203.x.
    """
    unit = scaling.to_unit(mixture)
    tangents = _tangents(unit, structure)
    information, jacobians = _information(unit, tangents, data, scaling, structure)
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


def _tangents(mixture: Mixture, structure: Structure) -> np.ndarray:
    """Orthonormal directions (K V, P) in which the covariances can move within their structure."""
    size = mixture.n_components * mixture.n_features * (mixture.n_features + 1) // 2
    rank = structure.n_parameters(mixture.n_components, mixture.n_features)
    if rank == size:
        return np.eye(size)
    return np.linalg.svd(np.asarray(_projection(mixture, structure)))[0][:, :rank]


@partial(jax.jit, static_argnums=1)
def _projection(mixture: Mixture, structure: Structure) -> Array:
    """Jacobian of the map from covariances to the nearest ones that have the structure."""
    within = partial(_within, mixture.weights, mixture.n_features, structure)
    return jax.jacfwd(lambda flat: vech(within(flat)).ravel())(vech(mixture.covariances).ravel())


def _within(weights: Array, n_features: int, structure: Structure, flat: Array) -> Array:
    covariances = unvech(flat.reshape(len(weights), -1), n_features)
    return structure.estimate(weights, weights[:, None, None] * covariances)


@partial(jax.jit, static_argnums=4)
def _information(
    unit: Mixture, tangents: Array, data: Blocks, scaling: Scaling, structure: Structure
) -> tuple[Array, dict[str, Array]]:
    """Observed information in the free coordinates, and the derivatives of what is reported.

    By the chain rule through the natural parameters: the data enter through the kernel's gradient and Hessian alone,
    and the rest, which may hold iterations, is differentiated forwards.
    """
    rebuild = partial(_rebuild, at=unit, tangents=tangents, structure=structure)
    origin = jnp.zeros(unit.n_components - 1 + unit.means.size + tangents.shape[1])

    def natural(theta: Array) -> Array:
        return kernel.natural(rebuild(theta)).ravel()

    def log_likelihood(flat: Array) -> Array:
        return kernel.log_likelihood(flat.reshape(unit.n_components, -1), data)

    eta = natural(origin)
    slope, curvature = jax.grad(log_likelihood)(eta), hessian(log_likelihood, eta)
    jacobian = jax.jacfwd(natural)(origin)
    bend = jax.jacfwd(jax.jacfwd(lambda theta: slope @ natural(theta)))(origin)
    information = -(jacobian.T @ curvature @ jacobian + bend)
    return information, jax.jacfwd(lambda theta: _reported(scaling.to_data(rebuild(theta))))(origin)


def _reported(mixture: Mixture) -> dict[str, Array]:
    return {name: getattr(mixture, name) for name in REPORTED}


def _rebuild(theta: Float[Array, " P"], at: Mixture, tangents: Array, structure: Structure) -> Mixture:
    """Mixture at free coordinates: changes of the log odds against the last component, means and covariances."""
    K, D = at.n_components, at.n_features
    odds, shifts, steps = jnp.split(theta, [K - 1, K - 1 + K * D])
    flat = jnp.ravel(vech(at.covariances)) + tangents @ steps
    return Mixture(
        log_weights=jax.nn.log_softmax(at.log_weights + jnp.append(odds, 0.0)),
        means=at.means + shifts.reshape(K, D),
        scale_tril=jnp.linalg.cholesky(_within(at.weights, D, structure, flat)),
    )
