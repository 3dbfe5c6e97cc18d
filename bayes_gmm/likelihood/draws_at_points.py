r"""Responsibilities of the components of many draws for many points, summed over the points or over the draws.

An array of points x draws x components would fill gigabytes, so the sums are taken while the responsibilities are
computed: a few draws at a time, by matrix products of features and natural parameters (`linear_form`).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.likelihood import deconvolution, heavy_tails, measurement_errors
from bayes_gmm.likelihood.linear_form import Assignment, features, natural, soft
from bayes_gmm.likelihood.missing_cells import seen_natural
from bayes_gmm.mixture.degrees_of_freedom import refuse_errors_beside_tails, without_infinite_degrees
from bayes_gmm.mixture.gaps import group_by_gaps
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import sides_where_unseen
from bayes_gmm.mixture.scaling import Scaling


class GapsAtPoints(NamedTuple):
    """Cells that were seen in each group of points (G, D), and the group of each point (N,); padding is of group 0."""

    seen: Bool[Any, "G D"]
    group: Int[Any, " N"]


class ErrorsAtPoints(NamedTuple):
    """Lower triangles (N, V) of the covariances of the points' errors, and which cells were seen (N, D)."""

    covariances: Float[Any, "N V"]
    seen: Bool[Any, "N D"]


class DrawsAtPoints(NamedTuple):
    """Draws and points in unit coordinates, padded to lengths that share compiled programs.

    Attributes
    ----------
    natural : (S, K, F)
        Natural parameters of the draws, those of noise after those of the components; padding repeats the last draw.
        Those of t distributions are more (`heavy_tails`).
    points : (N, D)
        Points; padding is zero, and so are cells that were not seen.
    n_draws, n_points
        Numbers of draws and of points without the padding.
    gaps
        Which cells were seen, or None where all were.
    log_widths : (D,)
        Where there is noise, logarithms of the sides of its box, else None.
    errors
        Errors of the points, with the cells that were seen, or None where there are none.
    """

    natural: Float[Any, "S K F"]
    points: Float[Any, "N D"]
    n_draws: int
    n_points: int
    gaps: GapsAtPoints | None = None
    log_widths: Float[Any, " D"] | None = None
    errors: ErrorsAtPoints | None = None

    def log_joint(self, eta: Float[Array, "K _"], phi: Float[Array, "F N"]) -> Float[Array, "K N"]:
        """Log joint densities of a draw and the points, of which phi are the features."""
        if self.errors is not None:
            seen, errors = jnp.asarray(self.errors.seen).T, jnp.asarray(self.errors.covariances).T
            return deconvolution.log_joint(eta, jnp.asarray(self.points).T, seen, errors, self.log_widths)
        if self.gaps is None:
            return self._of_complete_rows(eta, phi)
        of_group = partial(seen_natural, log_widths=self.log_widths)
        of_groups = jax.vmap(of_group, (None, 0))(eta, jnp.asarray(self.gaps.seen))
        of_points = of_groups[jnp.asarray(self.gaps.group)]
        if eta.shape[1] == len(phi):
            return jnp.einsum("nkf,fn->kn", of_points, phi)
        return jax.vmap(lambda eta, phi: self._of_complete_rows(eta, phi[:, None])[:, 0], (0, 1), 1)(of_points, phi)

    def _of_complete_rows(self, eta: Float[Array, "K _"], phi: Float[Array, "F N"]) -> Float[Array, "K N"]:
        if eta.shape[1] == len(phi):
            return eta @ phi
        return heavy_tails.log_joint(eta, phi, n_noise=int(self.log_widths is not None)).log_joint

    def of_components(self, shares: Float[Array, "_ N"]) -> Float[Array, "K N"]:
        """Shares of the components alone, without those of noise."""
        return shares if self.log_widths is None else shares[:-1]


def at_points(
    draws: Mixture,
    x: Float[np.ndarray, "N D"],
    scaling: Scaling | None = None,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> DrawsAtPoints:
    """Bring draws with leading axes (flattened to S) and points (N, D) to unit coordinates, and pad both.

    The unit coordinates are those of the points, unless others are given. Where points have missing (NaN) cells each
    column has its own. `errors` are covariances of the points' known errors.
    """
    draws = without_infinite_degrees(draws)
    refuse_errors_beside_tails(draws.degrees_of_freedom, has_errors=errors is not None)
    n_batch = draws.log_weights.ndim - 1
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[n_batch:])), draws)
    n_draws, scaling = len(flat.log_weights), scaling or Scaling.whitening(x, np.ones(len(x)))
    gaps = known = None
    cells = ~np.isnan(x)
    if not cells.all():
        seen, group = group_by_gaps(x)
        scaling, gaps = scaling.keeping("columns"), GapsAtPoints(seen, _pad(group, mode="constant"))
        x = np.where(cells, x, scaling.center)
    if errors is not None:
        covariances = measurement_errors.unit_errors(scaling, errors, cells)
        known = ErrorsAtPoints(_pad(covariances, mode="constant"), _pad(cells, mode="constant"))
    unit = scaling.to_unit(flat)
    padded = jax.tree.map(partial(_pad, mode="edge"), unit)
    points = _pad(scaling.points_to_unit(x), mode="constant")
    return DrawsAtPoints(_naturals(padded), points, n_draws, len(x), gaps, _log_widths(unit, cells), known)


def _log_widths(unit: Mixture, seen: Bool[np.ndarray, "N D"]) -> Float[np.ndarray, " D"] | None:
    """Logarithms of the sides of the box that all draws share, which matter where there are gaps."""
    if unit.noise is None:
        return None
    return sides_where_unseen(jax.tree.map(lambda leaf: np.asarray(leaf)[0], unit.noise), seen)


def log_volumes(x: Float[np.ndarray, "N D"], scaling: Scaling) -> Float[Any, "*N"]:
    """By how much log densities at points are higher in the coordinates of `at_points`; one number where all agree."""
    if not np.isnan(x).any():
        return scaling.log_volume
    return ~np.isnan(x) @ np.log(scaling.keeping("columns").factor.diagonal())


@in_float64
def agreements(
    draws: DrawsAtPoints, reference: Float[np.ndarray, "N J"], assignment: Assignment = soft
) -> Float[np.ndarray, "S J K"]:
    r"""Sums over the points of a reference (rows) times the responsibilities of each draw's components (columns).

    .. math:: A_{s,jk} = \sum_n g_{nj} \, r^{(s)}_{nk}

    Parameters
    ----------
    draws
        S draws at N points.
    reference : (N, J)
        Weights of the responsibilities: assignments, or logarithms of assignments.
    assignment
        `soft` for responsibilities, `hard` for the most probable component alone.

    Returns
    -------
    np.ndarray, (S, J, K)
        Exact but for rounding: no point is left out.
    """
    padded = _pad(reference, mode="constant")  # zeros, so that a padded point adds nothing
    sums = _agreements(draws, padded, assignment)
    return np.asarray(sums)[: draws.n_draws].mT


@in_float64
def mean_shares(draws: DrawsAtPoints, permutations: Int[np.ndarray, "S K"]) -> Float[np.ndarray, "N K"]:
    r"""Mean over the draws of the responsibilities (N, K), with the components of each draw permuted.

    .. math:: \bar r_{nk} = \frac{1}{S} \sum_s r^{(s)}_{n \rho_s(k)}
    """
    orders = _pad(permutations, mode="edge")
    n_rows, n_components = draws.natural.shape[1], orders.shape[1]
    orders = np.pad(orders, ((0, 0), (0, n_rows - n_components)), constant_values=n_components)  # noise stays last
    permuted = np.take_along_axis(draws.natural, orders[..., None], 1)
    return np.asarray(_mean_shares(draws._replace(natural=permuted)))[:, : draws.n_points].T


def _pad(rows: np.ndarray, mode: Any) -> np.ndarray:
    return np.pad(rows, ((0, padded_length(len(rows)) - len(rows)), *[(0, 0)] * (rows.ndim - 1)), mode=mode)


def _naturals(draws: Mixture) -> Any:
    return natural(draws) if draws.degrees_of_freedom is None else _naturals_of_tails(draws)


@in_float64
@jax.jit
def _naturals_of_tails(draws: Mixture) -> Any:
    return jax.vmap(heavy_tails.natural)(draws)


@partial(jax.jit, static_argnums=2)
def _agreements(here: DrawsAtPoints, reference: Float[Array, "N J"], assignment: Assignment) -> Float[Array, "S K J"]:
    phi, ones = features(here.points.T), jnp.ones(len(here.points))

    def of_draw(eta: Array) -> Array:
        return here.of_components(assignment(here.log_joint(eta, phi), ones)[1]) @ reference

    return lax.map(of_draw, here.natural, batch_size=TUNING.draws_at_once)


@jax.jit
def _mean_shares(here: DrawsAtPoints) -> Float[Array, "K N"]:
    phi, ones = features(here.points.T), jnp.ones(len(here.points))

    def add(number: Any, total: Array) -> Array:
        return total + here.of_components(soft(here.log_joint(here.natural[number], phi), ones)[1])

    nothing = here.of_components(jnp.zeros((here.natural.shape[1], len(here.points))))
    return lax.fori_loop(0, here.n_draws, add, nothing) / here.n_draws
