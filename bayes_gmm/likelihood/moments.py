"""Counts, means and covariances of components, and the sufficient statistics that say the same."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.core.linalg import diagonal_matrices, unvech, vech


class Moments(NamedTuple):
    """Moments of the points that components are responsible for: what an M-step is made of.

    Attributes
    ----------
    counts : (..., K)
        Weighted number of points.
    means : (..., K, D)
        Their mean.
    covariances : (..., K, D, D)
        Their covariance, with the count as divisor.
    """

    counts: Float[Any, "*batch K"]
    means: Float[Any, "*batch K D"]
    covariances: Float[Any, "*batch K D D"]

    def without_empty(self) -> "Moments":
        """The moments with zeros in place of the undefined mean and covariance of a component without points."""
        found = self.counts > 0
        means = jnp.where(found[:, None], self.means, 0.0)
        return Moments(self.counts, means, jnp.where(found[:, None, None], self.covariances, 0.0))


def n_statistics(n_features: int, *, diagonal: bool = False) -> int:
    """Number F of sufficient statistics of a point with D features: 1 + D + D (D + 1) / 2; 1 + 2 D without products."""
    return 1 + n_features + (n_features if diagonal else n_features * (n_features + 1) // 2)


def moments_of(
    statistics: Float[Array | np.ndarray, "*batch K F"], n_features: int, *, diagonal: bool = False
) -> Moments:
    """Moments of weighted sums of the statistics [1, x, vech(x x')], or [1, x, x^2], one row for each component."""
    portions = statistics[..., 1:] / statistics[..., :1]
    means, squares = portions[..., :n_features], portions[..., n_features:]
    if diagonal:
        return Moments(statistics[..., 0], means, diagonal_matrices(squares - means**2))
    covariances = unvech(squares, n_features) - means[..., :, None] * means[..., None, :]
    return Moments(statistics[..., 0], means, covariances)


def features_of_rows(points: Float[np.ndarray, "*batch D"], *, diagonal: bool = False) -> Float[np.ndarray, "*batch F"]:
    """Sufficient statistics [1, x, vech(x x')] of each row, or [1, x, x^2]."""
    n_features = points.shape[-1]
    features = np.ones((*points.shape[:-1], n_statistics(n_features, diagonal=diagonal)))
    features[..., 1 : 1 + n_features] = points
    squares = features[..., 1 + n_features :]
    if diagonal:
        np.square(points, out=squares)
        return features
    for i in range(n_features):  # by columns, which are gathered in a quarter of the time that all pairs would take
        first = i * (i + 1) // 2
        np.multiply(points[..., i : i + 1], points[..., : i + 1], out=squares[..., first : first + i + 1])
    return features


def places_of_squares(n_features: int, *, diagonal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries of x x' that are statistics."""
    return (np.arange(n_features),) * 2 if diagonal else np.tril_indices(n_features)


def statistics_of(moments: Moments, *, diagonal: bool = False) -> Float[np.ndarray, "*batch K F"]:
    """Statistics that have these moments: the inverse of `moments_of`, in NumPy."""
    counts, means, covariances = moments
    if diagonal:
        squares = np.diagonal(covariances, axis1=-2, axis2=-1) + means**2
    else:
        squares = np.asarray(vech(covariances + means[..., :, None] * means[..., None, :]))
    return counts[..., None] * np.concatenate([np.ones_like(means[..., :1]), means, squares], -1)
