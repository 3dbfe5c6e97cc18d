r"""Responsibilities of the components of many draws for many points, summed over the points or over the draws.

An array of points x draws x components would fill gigabytes, so the sums are taken while the responsibilities are
computed: a few draws at a time, in threads. For complete rows of Gaussian components these are matrix products of
features and natural parameters (`linear_form`) in NumPy, as fast as a compiled program and without the wait for one;
gaps, known errors and heavy tails have one program, that of the log joint densities.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from itertools import batched
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.linalg import exponential
from bayes_gmm.core.precision import in_float64, in_threads
from bayes_gmm.core.row_products import rows_product
from bayes_gmm.core.tuning import TUNING, n_cores
from bayes_gmm.likelihood import deconvolution, heavy_tails, linear_form, measurement_errors
from bayes_gmm.likelihood.linear_form import Assignment, features, natural, soft
from bayes_gmm.likelihood.missing_cells import seen_natural
from bayes_gmm.likelihood.moments import features_of_rows, n_statistics
from bayes_gmm.mixture.degrees_of_freedom import refuse_errors_beside_tails, without_infinite_degrees
from bayes_gmm.mixture.gaps import group_by_gaps
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import sides_where_unseen
from bayes_gmm.mixture.scaling import Scaling


class GapsAtPoints(NamedTuple):
    """Cells that were seen in each group of points (G, D), and the group of each point (N,)."""

    seen: Bool[Any, "G D"]
    group: Int[Any, " N"]


class ErrorsAtPoints(NamedTuple):
    """Lower triangles (N, V) of the covariances of the points' errors, and which cells were seen (N, D)."""

    covariances: Float[Any, "N V"]
    seen: Bool[Any, "N D"]


class _Points(NamedTuple):
    """Points (N, D) in unit coordinates, and what is known of them: see `DrawsAtPoints`."""

    points: Float[Any, "N D"]
    gaps: GapsAtPoints | None
    log_widths: Float[Any, " D"] | None
    errors: ErrorsAtPoints | None

    @property
    def padded(self) -> "_Points":
        """As many points as share a compiled program; padding is zero, seen like the first group of points."""
        pad = partial(_pad, size=padded_length(len(self.points)))
        gaps = None if self.gaps is None else self.gaps._replace(group=pad(self.gaps.group))
        errors = None if self.errors is None else ErrorsAtPoints(*map(pad, self.errors))
        return self._replace(points=pad(self.points), gaps=gaps, errors=errors)

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


type _OfLogJoint = Callable[[Float[np.ndarray, "B K N"]], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawsAtPoints:
    """Draws and points in unit coordinates.

    Attributes
    ----------
    natural : (S, K, F)
        Natural parameters of the draws, those of noise after those of the components. Those of t distributions are
        more (`heavy_tails`).
    points : (N, D)
        Points; cells that were not seen are zero.
    gaps
        Which cells were seen, or None where all were.
    log_widths : (D,)
        Where there is noise, logarithms of the sides of its box, else None.
    errors
        Errors of the points, with the cells that were seen, or None where there are none.
    """

    natural: Float[np.ndarray, "S K F"]
    points: Float[np.ndarray, "N D"]
    gaps: GapsAtPoints | None = None
    log_widths: Float[np.ndarray, " D"] | None = None
    errors: ErrorsAtPoints | None = None

    @property
    def n_draws(self) -> int:
        """S, the number of draws."""
        return len(self.natural)

    def of_each_draw(self, function: _OfLogJoint) -> Float[np.ndarray, "S ..."]:
        """What a function of the log joint densities of a few draws gives for each, for all of them."""
        return np.concatenate(list(self._each_block(function)))

    def mean_over_draws(self, function: _OfLogJoint) -> Float[np.ndarray, "..."]:
        """Mean of what a function gives, which sums over a few draws; the order of sums is that of the draws."""
        return reduce(np.add, self._each_block(function)) / self.n_draws

    def _each_block(self, function: _OfLogJoint) -> Iterator[np.ndarray]:
        size = self._draws_of_a_block
        blocks = [self.natural[start : start + size] for start in range(0, self.n_draws, size)]
        with ThreadPoolExecutor(n_cores()) as threads:
            # The first comes alone, lest each thread compile the program; later no more are held than threads.
            for some in (blocks[:1], *batched(blocks[1:], n_cores())):
                yield from in_threads(threads, lambda block: function(self._log_joint(block)), some)

    def of_components(self, shares: Any) -> Any:
        """Shares (..., K, N) of the components alone, without those of noise."""
        return shares if self.log_widths is None else shares[..., :-1, :]

    @property
    def _draws_of_a_block(self) -> int:
        """A power of two, so that nearby numbers of points share a program."""
        numbers = self.natural.shape[1] * padded_length(len(self.points))
        return 1 << max(0, (TUNING.numbers_of_a_block // numbers).bit_length() - 1)

    @property
    def _are_gaussians_at_complete_rows(self) -> bool:
        is_gaussian = self.natural.shape[2] == n_statistics(self.points.shape[1])
        return self.gaps is None and self.errors is None and is_gaussian

    @cached_property
    def _features(self) -> Float[np.ndarray, "N F"]:
        return features_of_rows(self.points)

    @cached_property
    def _padded(self) -> _Points:
        return _Points(self.points, self.gaps, self.log_widths, self.errors).padded

    def _log_joint(self, etas: Float[np.ndarray, "B K F"]) -> Float[np.ndarray, "B K N"]:
        if self._are_gaussians_at_complete_rows:
            flat = rows_product(etas.reshape(-1, etas.shape[2]), self._features.T)
            return flat.reshape(*etas.shape[:2], len(self.points))
        padded = _pad(etas, size=self._draws_of_a_block, mode="edge")
        return np.asarray(_log_joint(padded, self._padded))[: len(etas), :, : len(self.points)]


def shares_of(log_joint: Float[np.ndarray, "*batch K N"], assignment: Assignment = soft) -> Any:
    """Responsibilities (..., K, N), or with `hard` assignment ones for the most probable component."""
    if assignment is linear_form.hard:
        most_probable = log_joint.argmax(-2)[..., None, :]
        return (most_probable == np.arange(log_joint.shape[-2])[:, None]).astype(float)
    joint = exponential(log_joint - log_joint.max(-2, keepdims=True))
    joint /= joint.sum(-2, keepdims=True)
    return joint


def at_points(
    draws: Mixture,
    x: Float[np.ndarray, "N D"],
    scaling: Scaling | None = None,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> DrawsAtPoints:
    """Bring draws with leading axes (flattened to S) and points (N, D) to unit coordinates.

    The unit coordinates are those of the points, unless others are given. Where points have missing (NaN) cells each
    column has its own. `errors` are covariances of the points' known errors.
    """
    draws = without_infinite_degrees(draws)
    refuse_errors_beside_tails(draws.degrees_of_freedom, has_errors=errors is not None)
    n_batch = draws.log_weights.ndim - 1
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[n_batch:])), draws)
    scaling = scaling or Scaling.whitening(x, np.ones(len(x)))
    gaps = known = None
    cells = ~np.isnan(x)
    if not cells.all():
        seen, group = group_by_gaps(x)
        scaling, gaps = scaling.keeping("columns"), GapsAtPoints(seen, group)
        x = np.where(cells, x, scaling.center)
    if errors is not None:
        covariances = measurement_errors.unit_errors(scaling, errors, cells)
        known = ErrorsAtPoints(covariances, cells)
    unit = scaling.to_unit(flat)
    return DrawsAtPoints(
        natural=_naturals(unit),
        points=scaling.points_to_unit(x),
        gaps=gaps,
        log_widths=_log_widths(unit, cells),
        errors=known,
    )


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

    def of_block(log_joint: Float[np.ndarray, "B _ N"]) -> Float[np.ndarray, "B K J"]:
        shares = draws.of_components(shares_of(log_joint, assignment))
        return rows_product(shares.reshape(-1, shares.shape[2]), reference).reshape(*shares.shape[:2], -1)

    return draws.of_each_draw(of_block).mT


@in_float64
def mean_shares(draws: DrawsAtPoints, permutations: Int[np.ndarray, "S K"]) -> Float[np.ndarray, "N K"]:
    r"""Mean over the draws of the responsibilities (N, K), with the components of each draw permuted.

    .. math:: \bar r_{nk} = \frac{1}{S} \sum_s r^{(s)}_{n \rho_s(k)}
    """
    n_rows, n_components = draws.natural.shape[1], permutations.shape[1]
    noise_last = ((0, 0), (0, n_rows - n_components))
    orders = np.pad(permutations, noise_last, constant_values=n_components)
    permuted = replace(draws, natural=np.take_along_axis(draws.natural, orders[..., None], 1))
    return draws.of_components(permuted.mean_over_draws(lambda log_joint: shares_of(log_joint).sum(0))).T


def _pad(rows: np.ndarray, *, size: int, mode: Any = "constant") -> np.ndarray:
    return np.pad(rows, ((0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)), mode=mode)


def _naturals(draws: Mixture) -> Any:
    return natural(draws) if draws.degrees_of_freedom is None else _naturals_of_tails(draws)


@in_float64
@jax.jit
def _naturals_of_tails(draws: Mixture) -> Any:
    return jax.vmap(heavy_tails.natural)(draws)


@jax.jit
def _log_joint(etas: Float[Array, "B K _"], points: _Points) -> Float[Array, "B K N"]:
    phi = features(jnp.asarray(points.points).T)
    return lax.map(lambda eta: points.log_joint(eta, phi), etas)
