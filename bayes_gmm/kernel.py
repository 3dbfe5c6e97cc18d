r"""The one kernel from which EM and NUTS are both built.

A Gaussian's log density is linear in phi(x) = [1, x, vech(x x')], so with natural parameters eta

.. math:: \ell(\eta) = \sum_n w_n \log \sum_k \exp(\eta_k^\top \phi(x_n)), \qquad
          \frac{\partial \ell}{\partial \eta_k} = \sum_n w_n r_{nk} \phi(x_n).

The gradient *is* the E-step (Fisher's identity, in the unnormalised form: the normaliser sits in the
coefficient of the feature 1). One pass over the data yields both; EM follows it by an M-step, NUTS
differentiates it. Expanding the square cancels, with a relative error near eps (|x| / sd)^2, so the points are
always in unit coordinates (`scaling`), and components narrower than a floor are not trusted (`em`).

References
----------
Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x; Fisher's identity: Cappe, Moulines and
Ryden (2005), Inference in Hidden Markov Models, doi 10.1007/0-387-28982-8, section 10.1.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .compiled import padded_length
from .linalg import LOG_2PI, invert_tril, log_diagonal, unvech, vech
from .mixture import Mixture
from .scaling import Scaling


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Weighted points in unit coordinates, in blocks of points that fit the processor's cache.

    Attributes
    ----------
    points : (M, D, B)
        M blocks of B points; a feature of a block is contiguous. Padding repeats zeros.
    weights : (M, B)
        Weight of each point; zero for padding.
    """

    points: Any
    weights: Any


def blocks(z: np.ndarray, sample_weight: np.ndarray) -> Blocks:
    """Cut points (N, D) and their weights (N,) into blocks."""
    size = _block_size(*z.shape)
    count = -(-len(z) // size)
    padding = count * size - len(z)
    points = np.pad(z, ((0, padding), (0, 0))).reshape(count, size, z.shape[1])
    weights = np.pad(sample_weight, (0, padding)).reshape(count, size)
    return Blocks(points=np.ascontiguousarray(points.transpose(0, 2, 1)), weights=weights)


class UnitData(NamedTuple):
    """Weighted data in unit coordinates: as rows (N, D), the map to them, and the blocks for the kernel."""

    points: np.ndarray
    sample_weight: np.ndarray
    scaling: Scaling
    blocks: Blocks

    @classmethod
    def of(cls, x: np.ndarray, sample_weight: np.ndarray, invariance: str = "affine") -> "UnitData":
        """Bring points (N, D) with weights (N,) to unit coordinates (`Scaling.of`) and cut them into blocks."""
        scaling = Scaling.of(x, sample_weight, invariance)
        points = scaling.points_to_unit(x)
        return cls(points, sample_weight, scaling, blocks(points, sample_weight))


def features(points: Float[Array, "D B"]) -> Float[Array, "F B"]:
    """Sufficient statistics phi(x) = [1, x, vech(x x')] of each point; F = 1 + D + D (D + 1) / 2."""
    return jnp.concatenate([jnp.ones_like(points[:1]), points, _squares(points)])


def natural(mixture: Mixture) -> Float[Array, "K F"]:
    r"""Natural parameters: eta_k with \(\eta_k^\top \phi(x) = \log \pi_k + \log N(x | \mu_k, \Sigma_k)\)."""
    whitening = invert_tril(mixture.scale_tril)
    precision = whitening.mT @ whitening
    linear = (precision @ mixture.means[..., None])[..., 0]
    normaliser = log_diagonal(whitening) - 0.5 * mixture.n_features * LOG_2PI
    constant = mixture.log_weights + normaliser - 0.5 * (linear * mixture.means).sum(-1)
    # An off-diagonal element of the precision appears twice in x' P x.
    multiplicity = vech(np.eye(mixture.n_features) - 2.0) / 2
    return jnp.concatenate([constant[..., None], linear, vech(precision) * multiplicity[None]], -1)


def expected_statistics(eta: Float[Array, "K F"], data: Blocks) -> tuple[Float[Array, ""], Float[Array, "K F"]]:
    """Marginal log-likelihood and expected statistics sum_n w_n r_nk phi(x_n), in one pass."""
    block_statistics = _thin_block if data.points.shape[1] <= 2 else _wide_block
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], data)

    def add_block(total: Any, block: Blocks) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, block_statistics(eta, block)), None

    if len(data.points) == 1:
        total = block_statistics(eta, first)
    else:
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(block_statistics, eta, first))
        total = lax.scan(add_block, zero, data)[0]
    # The barrier keeps the final transpose from being folded into every block's matrix products.
    value, statistics = lax.optimization_barrier(total)
    return value, jnp.concatenate(statistics).T


@jax.custom_jvp
def log_likelihood(eta: Float[Array, "K F"], data: Blocks) -> Float[Array, ""]:
    """Marginal log-likelihood sum_n w_n log p(x_n), whose gradient in eta costs no second pass."""
    return expected_statistics(eta, data)[0]


@log_likelihood.defjvp
def _log_likelihood_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, statistics = expected_statistics(*primals)
    return value, (statistics * tangents[0]).sum()


def moments(statistics: Float[Array, "K F"], n_features: int) -> tuple[Array, Array, Array]:
    """Weighted counts (K,), means (K, D) and covariances (K, D, D) of statistics: the M-step's raw material."""
    counts, sums, squares = jnp.split(statistics, [1, 1 + n_features], axis=-1)
    means = sums / counts
    covariances = unvech(squares / counts, n_features) - means[..., :, None] * means[..., None, :]
    return counts[..., 0], means, covariances


def _thin_block(eta: Array, block: Blocks) -> tuple[Array, tuple[Array, ...]]:
    """Log-likelihood and statistics (F, K) of a block with one or two features: too thin for matrix products."""
    phi = [*features(block.points)]
    logits = jnp.stack([sum(c * f for c, f in zip(row[1:], phi[1:], strict=True)) + row[0] for row in eta])
    value, shares = _soften(lax.optimization_barrier(logits), block.weights)
    stacked = lax.optimization_barrier(jnp.stack(phi))
    return value, (jnp.stack([stacked @ share for share in shares], 1),)


def _wide_block(eta: Array, block: Blocks) -> tuple[Array, tuple[Array, ...]]:
    """The same by matrix products, one for each kind of feature, which saves putting them together."""
    linear = 1 + block.points.shape[0]
    squares = _squares(block.points)
    logits = eta[:, linear:] @ squares + (eta[:, 1:linear] @ block.points + eta[:, :1])
    value, shares = _soften(logits, block.weights)
    return value, (shares.sum(1)[None], block.points @ shares.T, squares @ shares.T)


def _squares(points: Float[Array, "D B"]) -> Float[Array, "V B"]:
    rows, columns = np.tril_indices(points.shape[0])
    return points[rows] * points[columns]


def _soften(logits: Float[Array, "K B"], weights: Float[Array, " B"]) -> tuple[Array, Array]:
    """Weighted sum of log-sum-exps over components, and weighted responsibilities."""
    top = logits.max(0)
    # Alone in its loop the exponential compiles to the widest vector instructions: half the time.
    joint = jnp.exp(lax.optimization_barrier(logits - top[None]))
    density = joint.sum(0)
    return jnp.dot(top + jnp.log(density), weights), joint * (weights / density)[None]


def _block_size(n_points: int, n_features: int) -> int:
    """Points per block: as measured, and an odd multiple of 64 so that rows do not collide in the cache."""
    n_statistics = 1 + n_features + n_features * (n_features + 1) // 2
    target = 4352 if n_features <= 2 else 8352 if n_statistics <= 256 else 2112
    if n_points < 2 * target:
        return padded_length(n_points)
    size = -(-n_points // (n_points // target))
    return 64 * (-(-size // 64) | 1)
