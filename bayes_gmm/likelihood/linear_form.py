r"""The likelihood in the form that is linear in the sufficient statistics: the kernel from which EM and NUTS are built.

A Gaussian's log density is linear in phi(x) = [1, x, vech(x x')], so with natural parameters eta

.. math:: \ell(\eta) = \sum_n w_n \log \sum_k \exp(\eta_k^\top \phi(x_n)), \qquad
          \frac{\partial \ell}{\partial \eta_k} = \sum_n w_n r_{nk} \phi(x_n).

The gradient *is* the E-step (Fisher's identity, in the unnormalised form: the normaliser sits in the
coefficient of the feature 1). One pass over the data yields both; EM follows it by an M-step, NUTS
differentiates it. Expanding the square cancels, with a relative error near eps (|x| / sd)^2, so the points are
always in unit coordinates (`scaling`), and components narrower than a floor are not trusted (`degeneracy`).

References
----------
Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x; Fisher's identity: Cappe, Moulines and
Ryden (2005), Inference in Hidden Markov Models, doi 10.1007/0-387-28982-8, section 10.1.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float64

from bayes_gmm.core.linalg import LOG_2PI, diagonal_of, log_diagonal, namespace, product, vech
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.likelihood.blocks import Blocks
from bayes_gmm.mixture.mixture import Mixture

type Natural = Float64[Array | np.ndarray, "K F"]
"""Natural parameters of the components, and of noise after them."""


class Expectation(NamedTuple):
    """What an E-step finds in one pass over the data: a sum over points, so that parts of the data add.

    Attributes
    ----------
    value
        Marginal log-likelihood; with hard assignment the classification log-likelihood.
    statistics : (K, F)
        Expected sufficient statistics, sum_n w_n r_nk phi(x_n).
    """

    value: Any
    statistics: Float64[Array | np.ndarray, "*batch K F"]


def features(points: Float[Array, "D B"], *, diagonal: bool = False) -> Float[Array, "F B"]:
    """Sufficient statistics phi(x) = [1, x, vech(x x')] of each point; for diagonal covariances [1, x, x^2]."""
    return jnp.concatenate([jnp.ones_like(points[:1]), points, _squares(points, diagonal=diagonal)])


def natural(mixture: Mixture) -> Float[Array | np.ndarray, "*batch K F"]:
    r"""Natural parameters: eta_k with \(\eta_k^\top \phi(x) = \log \pi_k + \log N(x | \mu_k, \Sigma_k)\).

    Noise is one more row, with a constant alone.
    """
    whitening = mixture.whitening
    xp = namespace(whitening, mixture.means, mixture.log_weights)
    precision = product(whitening.mT, whitening)
    linear = product(precision, mixture.means[..., None])[..., 0]
    normaliser = log_diagonal(whitening) - 0.5 * mixture.n_features * LOG_2PI
    constant = mixture.log_weights + normaliser - 0.5 * (linear * mixture.means).sum(-1)
    eta = xp.concatenate([constant[..., None], linear, vech(precision) * _multiplicity(mixture.n_features)], -1)
    if mixture.noise is None:
        return eta
    of_noise = xp.zeros_like(eta[..., 0, :])
    of_noise = xp.where(np.arange(eta.shape[-1]) == 0, mixture.noise.log_joint[..., None], of_noise)
    return xp.concatenate([eta, of_noise[..., None, :]], -2)


@cache
def _multiplicity(n_features: int) -> Float[np.ndarray, "1 V"]:
    """Factors of the precision's lower triangle, an off-diagonal element of which appears twice in x' P x."""
    return np.asarray(vech(np.eye(n_features) - 2.0))[None] / 2


def diagonal_natural(mixture: Mixture) -> Float[Array | np.ndarray, "*batch K F"]:
    r"""The same for diagonal covariances and phi(x) = [1, x, x^2]."""
    scales, xp = diagonal_of(mixture.scale_tril), namespace(mixture.scale_tril, mixture.means, mixture.log_weights)
    precisions = 1 / scales**2
    linear = precisions * mixture.means
    constant = mixture.log_weights - xp.log(scales).sum(-1) - 0.5 * mixture.n_features * LOG_2PI
    return xp.concatenate(
        [(constant - 0.5 * (linear * mixture.means).sum(-1))[..., None], linear, -0.5 * precisions], -1
    )


type Assignment = Callable[[Array, Array], tuple[Array, Array]]
"""From log joint densities (K, B) and weights (B,) to the block's objective and the weighted shares (K, B)."""


def soft(logits: Float[Array, "K B"], weights: Float[Array, " B"]) -> tuple[Float[Array, ""], Float[Array, "K B"]]:
    """Weighted log densities with the labels summed out, and weighted responsibilities."""
    top = logits.max(0)
    # Alone in its loop the exponential compiles to the widest vector instructions: half the time.
    joint = jnp.exp(lax.optimization_barrier(logits - top[None]))
    density = joint.sum(0)
    return jnp.dot(top + jnp.log(density), weights), joint * (weights / density)[None]


def hard(logits: Float[Array, "K B"], weights: Float[Array, " B"]) -> tuple[Float[Array, ""], Float[Array, "K B"]]:
    """Weighted log joint densities with the most probable labels, each point whole in its most probable component."""
    shares = jax.nn.one_hot(logits.argmax(0), len(logits), dtype=logits.dtype, axis=0) * weights[None]
    return jnp.dot(logits.max(0), weights), shares


def expected_statistics(eta: Natural, data: Blocks, assignment: Assignment = soft) -> Expectation:
    """E-step: marginal log-likelihood and expected statistics sum_n w_n r_nk phi(x_n), in one pass.

    With `hard` assignment the classification likelihood, in which labels are maximised over rather than summed out.
    """
    points, weights = jnp.asarray(data.points), jnp.asarray(data.weights)
    eta = lax.optimization_barrier(eta)
    n_blocks, n_features, n_rows = points.shape
    is_thin = n_features <= TUNING.thin_features and len(eta) <= TUNING.thin_components
    is_small = eta.size <= TUNING.few_coefficients and n_blocks * n_rows <= TUNING.few_rows
    of_block = _thin_block if is_thin or is_small else _wide_block
    block_statistics = partial(of_block, eta, assignment=assignment, diagonal=data.diagonal)

    def add_block(number: Any, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, block_statistics(points[number], weights[number]))

    if len(points) == 1:
        total = block_statistics(points[0], weights[0])
    else:
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(block_statistics, points[0], weights[0]))
        total = lax.fori_loop(data.first, data.stop, add_block, zero)
    # The barrier keeps the final transpose from being folded into every block's matrix products.
    value, statistics = lax.optimization_barrier(total)
    return Expectation(value, jnp.concatenate(statistics).T)


@jax.custom_jvp
def log_likelihood(eta: Natural, data: Blocks) -> Float64[Array, ""]:
    """Marginal log-likelihood sum_n w_n log p(x_n), whose gradient in eta costs no second pass."""
    return expected_statistics(eta, data).value


@log_likelihood.defjvp
def _log_likelihood_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, statistics = expected_statistics(*primals)
    return value, (statistics * tangents[0]).sum()


def curvature(eta: Natural, data: Blocks) -> Float64[Array, "K F K F"]:
    r"""Hessian of the log-likelihood: sum_n w_n (r_nk [k = l] - r_nk r_nl) phi(x_n) phi(x_n)', by matrix products."""
    points, weights = jnp.asarray(data.points), jnp.asarray(data.weights)
    size = eta.size

    def add_block(number: Any, total: Array) -> Array:
        phi = features(points[number], diagonal=data.diagonal)
        shares = jax.nn.softmax(eta @ phi, axis=0)
        weighted = shares * weights[number][None]
        own = (weighted[:, None] * phi[None]) @ phi.T
        within = jnp.eye(len(eta))[:, None, :, None] * own[:, :, None, :]
        return total + within.reshape(size, size) - _products_of_scores(shares, phi, weights[number])

    total = lax.fori_loop(data.first, data.stop, add_block, jnp.zeros((size, size)))
    return total.reshape(*eta.shape, *eta.shape)


def score_products(eta: Natural, data: Blocks) -> Float64[Array, "KF KF"]:
    """Sum of w_n s_n s_n' over the points, where s_n = r_nk phi(x_n) is the score of a point in natural parameters."""
    points, weights = jnp.asarray(data.points), jnp.asarray(data.weights)

    def add_block(number: Any, total: Array) -> Array:
        phi = features(points[number], diagonal=data.diagonal)
        shares = jax.nn.softmax(eta @ phi, axis=0)
        return total + _products_of_scores(shares, phi, weights[number])

    return lax.fori_loop(data.first, data.stop, add_block, jnp.zeros((eta.size, eta.size)))


def _products_of_scores(
    shares: Float[Array, "K B"], phi: Float[Array, "F B"], weights: Float[Array, " B"]
) -> Float[Array, "KF KF"]:
    scores = (shares[:, None] * phi[None]).reshape(-1, phi.shape[1])
    return (scores * weights[None]) @ scores.T


def _thin_block(
    eta: Any, points: Float[Array, "D B"], weights: Float[Array, " B"], assignment: Assignment, *, diagonal: bool
) -> tuple[Array, tuple[Array, ...]]:
    """Value and statistics (F, K) of a block with few features, by sums of products instead of matrix products."""
    phi = [*features(points, diagonal=diagonal)]
    logits = jnp.stack([sum(c * f for c, f in zip(row[1:], phi[1:], strict=True)) + row[0] for row in eta])
    value, shares = assignment(lax.optimization_barrier(logits), weights)
    stacked = lax.optimization_barrier(jnp.stack(phi))
    return value, (jnp.stack([stacked @ share for share in shares], 1),)


def _wide_block(
    eta: Any, points: Float[Array, "D B"], weights: Float[Array, " B"], assignment: Assignment, *, diagonal: bool
) -> tuple[Array, tuple[Array, ...]]:
    """Value and statistics of a block by one matrix product for each kind of feature, so that none are concatenated."""
    linear = 1 + points.shape[0]
    squares = _squares(points, diagonal=diagonal)
    logits = eta[:, linear:] @ squares + (eta[:, 1:linear] @ points + eta[:, :1])
    value, shares = assignment(logits, weights)
    return value, (shares.sum(1)[None], points @ shares.T, squares @ shares.T)


def _squares(points: Float[Array, "D B"], *, diagonal: bool = False) -> Float[Array, "V B"]:
    if diagonal:
        return points**2
    if len(points) <= TUNING.thin_features:
        return jnp.concatenate([points[i : i + 1] * points[: i + 1] for i in range(len(points))])
    rows, columns = np.tril_indices(points.shape[0])
    return points[rows] * points[columns]
