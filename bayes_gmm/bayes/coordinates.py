r"""The maps from unconstrained coordinates to parameters, in few operations, with the change of volume.

A compiler's time goes with the number of operations. The maps to weights and to Cholesky factors of correlations are
NumPyro's,

.. math:: y_i = z_i \prod_{j<i} (1 - z_j), \quad z_i = \frac{1}{1 + e^{-x_i} (K - i)}, \qquad
          L_{ij} = \tanh x_{ij} \prod_{l<j} \operatorname{sech} x_{il},

with sums of logarithms in place of products, and these as one product with a matrix of zeros and ones. So nothing has
to be kept from the edge by hand either.

Scales and correlations are bent coordinates of a covariance matrix whose axes are oblique: where the ratio of its
largest and smallest variance is large, they turn and shear as soon as one moves. Relative to a factor F of some
covariance matrix they are straight near it (`relative_to`),

.. math:: \Sigma = F S F^\top, \qquad S = \mathrm{diag}(s) L L^\top \mathrm{diag}(s),

where s = 1 and L = I give back that matrix, and for a diagonal F they are what they were.

References
----------
Stan Reference Manual, chapter on transforms.
"""

from collections.abc import Collection
from functools import cache
from math import isqrt
from typing import Any

import numpy as np
from jaxtyping import Float
from numpyro import distributions as dist

from bayes_gmm.core.linalg import diagonal_of, namespace, product


def transform_of(support: Any) -> Any:
    """The map from unconstrained coordinates to these values, with the change of volume that it makes."""
    if isinstance(support, type(dist.constraints.simplex)):
        return StickBreaking()
    if isinstance(support, type(dist.constraints.corr_cholesky)):
        return CorrelationCholesky()
    return dist.biject_to(support)


def are_logarithms(support: Any) -> bool:
    """Whether the unconstrained coordinates of these values are their logarithms."""
    return getattr(support, "base_constraint", support) is dist.constraints.positive


class StickBreaking(dist.transforms.StickBreakingTransform):  # type: ignore[misc]
    """Weights (..., K) from coordinates (..., K - 1)."""

    def __call__(self, x: Float[Any, "*batch fractions"]) -> Float[Any, "*batch K"]:
        """Weights at some coordinates."""
        return namespace(x).exp(_log_weights(x)[0])

    def log_abs_det_jacobian(
        self, x: Float[Any, "*batch fractions"], y: Any, intermediates: Any = None
    ) -> Float[Any, "*batch"]:
        """Logarithm of the volume of weights, but for the last, for a volume of coordinates."""
        log_weights, log_left = _log_weights(x)
        return log_weights[..., :-1].sum(-1) + log_left.sum(-1)


def _log_weights(
    x: Float[Any, "*batch fractions"],
) -> tuple[Float[Any, "*batch K"], Float[Any, "*batch fractions"]]:
    """Logarithms of the weights, and of what each fraction leaves of the stick."""
    n_fractions = x.shape[-1]
    shifted = x - np.broadcast_to(np.log(n_fractions - np.arange(n_fractions)), x.shape)
    log_left = -_softplus(shifted)
    earlier = np.triu(np.ones((n_fractions, n_fractions + 1)), 1)
    own = _combined(shifted + log_left, np.eye(n_fractions, n_fractions + 1))
    return own + _combined(log_left, earlier), log_left


class CorrelationCholesky(dist.transforms.CorrCholeskyTransform):  # type: ignore[misc]
    """Cholesky factors (..., D, D) of correlation matrices from coordinates (..., D (D - 1) / 2)."""

    def __call__(self, x: Float[Any, "*batch V"]) -> Float[Any, "*batch D D"]:
        """Factors at some coordinates."""
        xp, (own, earlier, identity) = namespace(x), _entries(x.shape[-1])
        shape = (*x.shape[:-1], *identity.shape)
        fractions = _combined(xp.tanh(x), own).reshape(shape) + np.broadcast_to(identity, shape)
        return fractions * xp.exp(_combined(_log_sech(x), earlier)).reshape(shape)

    def log_abs_det_jacobian(self, x: Float[Any, "*batch V"], y: Any, intermediates: Any = None) -> Any:
        """Logarithm of the volume of the factors' entries below the diagonal for a volume of coordinates."""
        own, earlier, _ = _entries(x.shape[-1])
        # An entry is the fraction of what the earlier ones leave; its own derivative is the square of sech.
        return _combined(_log_sech(x), (2 + earlier @ own.sum(0))[:, None])[..., 0]

    def _inverse(self, y: Float[Any, "*batch D D"]) -> Float[Any, "*batch V"]:
        xp, below = namespace(y), (..., *np.tril_indices(y.shape[-1], -1))
        # What an entry leaves is the sum of the squares after it: one less those before it would cancel near the edge.
        left = product(xp.asarray(y * y), np.tril(np.ones(y.shape[-2:]), -1))
        return xp.arcsinh(y[below] / xp.sqrt(left[below]))


def relative_to(factors: Any, values: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    r"""Scales s' (or variances) and correlation factors L' of F S F' from those of S, for lower triangular F (C, D, D).

    With them the logarithm of the change of volume (...), of which both parts go through M = diag(s) L,

    .. math:: \left| \frac{\partial M}{\partial (s, L)} \right| = \prod_i \frac{s_i^{i - 1}}{L_{ii}}, \qquad
              \left| \frac{\partial (F M)}{\partial M} \right| = \prod_i F_{ii}^i.
    """
    spread, tril = spread_of(values), values["correlation_tril"]
    xp, of_variances = namespace(tril), spread == "variances"
    scales = xp.sqrt(values[spread]) if of_variances else values[spread]
    whole = product(factors, scales[..., None] * tril)
    new_scales = xp.sqrt((whole**2).sum(-1))
    new_tril = whole / new_scales[..., None]
    log_ratio, log_factors = xp.log(new_scales) - xp.log(scales), xp.log(diagonal_of(factors))
    place = np.arange(scales.shape[-1])
    log_volume = xp.log(diagonal_of(new_tril)) - xp.log(diagonal_of(tril))
    log_volume -= np.broadcast_to(place - of_variances, log_ratio.shape) * log_ratio
    of_factors = (np.broadcast_to(place + 1, log_factors.shape) * log_factors).sum()
    changed = {spread: new_scales**2 if of_variances else new_scales, "correlation_tril": new_tril}
    return changed, log_volume.sum((-2, -1)) + of_factors


def spread_of(names: Collection[str]) -> str:
    """Which parameters stand for the spread of the components: "variances", or else "scales"."""
    return "variances" if "variances" in names else "scales"


@cache
def _entries(n_pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The place (V, D D) of each coordinate, the places after it in its row, and the diagonal (D, D).

    The places after it are those to the diagonal, which take what it leaves.
    """
    D = (1 + isqrt(1 + 8 * n_pairs)) // 2
    rows, columns = np.tril_indices(D, -1)
    place = np.arange(D)
    in_row = place[:, None] == rows[:, None, None]
    own = in_row & (place == columns[:, None, None])
    after = in_row & (place > columns[:, None, None]) & (place <= rows[:, None, None])
    return own.reshape(n_pairs, -1).astype(float), after.reshape(n_pairs, -1).astype(float), np.eye(D)


def _combined(x: Any, matrix: Float[np.ndarray, "V W"]) -> Float[Any, "*batch W"]:
    """The vectors x times a matrix."""
    return product(x[..., None, :], matrix)[..., 0, :]


def _log_sech(x: Any) -> Any:
    xp, size = namespace(x), abs(x)
    return np.log(2.0) - size - xp.log1p(xp.exp(-2 * size))


def _softplus(x: Any) -> Any:
    xp = namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-abs(x)))
