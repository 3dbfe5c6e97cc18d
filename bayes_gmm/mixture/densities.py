"""The density of a mixture at points, and whose each point is: in the centred form, for a batch of mixtures.

The first functions are of one mixture and one point; `at_points` evaluates them for all mixtures of a batch at all
points, by one compiled program, or at a few in NumPy.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import softmax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.linalg import LOG_2PI, log_diagonal
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.io.rows import rows_of
from bayes_gmm.mixture import numpy_density
from bayes_gmm.mixture.degrees_of_freedom import log_tail
from bayes_gmm.mixture.gaps import group_by_gaps, seen_part


def log_joint(mixture: Any, point: Float[Array, " D"]) -> Float[Array, " K"]:
    """Log joint density of one point and each label, in the centred form that never cancels."""
    # One inverse serves all points: with ten features that takes a tenth of the time of solving for each.
    whitened = (mixture.whitening @ (point[None] - mixture.means)[..., None])[..., 0]
    normaliser = log_diagonal(mixture.scale_tril) + 0.5 * point.shape[0] * LOG_2PI
    squares, degrees = (whitened**2).sum(-1), mixture.degrees_of_freedom
    tail = -0.5 * squares if degrees is None else log_tail(squares, degrees, point.shape[0])
    return mixture.log_weights - normaliser + tail


def log_prob(mixture: Any, point: Float[Array, " D"]) -> Float[Array, ""]:
    """Log density of one point with its label summed out."""
    return logsumexp(_log_joint_and_noise(mixture, point))


def responsibilities(mixture: Any, point: Float[Array, " D"]) -> Float[Array, " K"]:
    """Posterior probabilities of one point's labels, given the parameters."""
    return softmax(_log_joint_and_noise(mixture, point))[: mixture.n_components]


def noise_probability(mixture: Any, point: Float[Array, " D"]) -> Float[Array, ""]:
    """Posterior probability that one point belongs to the noise."""
    return softmax(_log_joint_and_noise(mixture, point))[mixture.n_components :].sum()


def _log_joint_and_noise(mixture: Any, point: Float[Array, " D"]) -> Float[Array, " _"]:
    """Log joint densities of one point and each label (K,), and after them that of noise where there is any."""
    joint = log_joint(mixture, point)
    return joint if mixture.noise is None else jnp.append(joint, mixture.noise.log_joint)


# A point may lie so far away that squares overflow, where no component holds it.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
@in_float64
def at_points(function: Callable[..., Any], mixture: Any, x: Any) -> Any:
    """Evaluate a function of one mixture and one point for all mixtures of a batch at all points."""
    points = rows_of("points", x, mixture.n_features, columns=mixture.columns, gaps=True)
    batch = mixture.log_weights.shape[:-1]
    if np.isnan(points).any():
        return _at_points_with_gaps(function, jax.tree.map(np.asarray, mixture), points)
    if mixture.means.size * len(points) <= _FEW:
        return _IN_NUMPY[function](numpy_density.log_joint(jax.tree.map(np.asarray, mixture), points), mixture)
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *np.shape(leaf)[len(batch) :])), mixture)
    size = min(padded_length(len(points)), TUNING.points_of_a_program)
    parts = [points[first : first + size] for first in range(0, len(points), size)]
    # All parts have one length, so that long tables share a program.
    padded = (np.pad(part, ((0, size - len(part)), (0, 0)), mode="edge") for part in parts)
    values = np.concatenate([np.asarray(_map_points(function, flat, part)) for part in padded], 1)[:, : len(points)]
    return values.reshape(*batch, *values.shape[1:])


def _shares(joint: np.ndarray) -> np.ndarray:
    return np.exp(joint - np.logaddexp.reduce(joint, axis=-1, keepdims=True))


_FEW = 2**16
"""Means times points, number by number, for which NumPy ends before a program is compiled."""

_IN_NUMPY: dict[Callable[..., Any], Callable[[np.ndarray, Any], np.ndarray]] = {
    log_joint: lambda joint, mixture: joint[..., : mixture.n_components],
    log_prob: lambda joint, mixture: np.logaddexp.reduce(joint, axis=-1),
    responsibilities: lambda joint, mixture: _shares(joint)[..., : mixture.n_components],
    noise_probability: lambda joint, mixture: _shares(joint)[..., mixture.n_components :].sum(-1),
}
"""The functions above, given the log joint densities of all points, those of noise last."""


def _at_points_with_gaps(function: Callable[..., Any], mixture: Any, points: Float[np.ndarray, "N D"]) -> Any:
    """Evaluate a function at points with missing cells: group by group of those with the same ones."""
    seen, group = group_by_gaps(points)
    found: Any = None
    for number, cells in enumerate(seen):
        rows = np.flatnonzero(group == number)
        values = at_points(function, *_seen_part(mixture, points[rows], cells))
        n_batch = mixture.log_weights.ndim - 1
        if found is None:
            found = np.empty((*values.shape[:n_batch], len(points), *values.shape[n_batch + 1 :]), values.dtype)
        found[(slice(None),) * n_batch + (rows,)] = values
    return found


def _seen_part(mixture: Any, points: Float[np.ndarray, "N D"], cells: Any) -> tuple[Any, Float[np.ndarray, "N _"]]:
    """A mixture and points whose densities are those of the seen cells.

    Those of Gaussians keep the number of columns, so that all groups share a program; t distributions of some columns
    are no factors of that of all.
    """
    if mixture.degrees_of_freedom is not None and cells.any():
        return mixture.marginal(np.flatnonzero(cells)).with_columns(None), points[:, cells]
    parts = seen_part(mixture.log_weights, mixture.means, mixture.scale_tril, cells)
    noise = None if mixture.noise is None else mixture.noise.seen_part(cells)
    names = ("log_weights", "means", "scale_tril")
    there = replace(mixture, noise=noise, degrees_of_freedom=None, **dict(zip(names, parts, strict=True)))
    return there, np.where(cells, points, 0.0)


@partial(jax.jit, static_argnums=0)
def _map_points(function: Callable[..., Any], mixtures: Any, points: Array) -> Array:
    def at_all(mixture: Any) -> Array:
        return jax.vmap(partial(function, mixture))(points)

    return jax.lax.map(at_all, mixtures)
