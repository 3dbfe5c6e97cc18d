r"""Points that belong to no Gaussian: a component of constant density over a box around the data.

.. math:: p(x) = \frac{\pi_0}{V} + \sum_k \pi_k \, N(x \mid \mu_k, \Sigma_k), \qquad \pi_0 + \sum_k \pi_k = 1.

The volume V is known before the fit, so that the weight is all that there is to find. The box is what the points of the
noise are drawn from; its density counts everywhere, so that a new point far outside belongs to the noise rather than
to the Gaussian that is nearest (where such points lie the density of the mixture does not integrate to one). Of a row
with gaps it is the density over the sides of the box that were seen; of a row with known errors that of what was
observed, whatever the errors.

References
----------
Banfield and Raftery (1993), doi 10.2307/2532201; Fraley and Raftery (1998), doi 10.1093/comjnl/41.8.578.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.core.validation import finite_numbers, one_of
from bayes_gmm.errors import ArgumentError, DataError

KINDS = ("box", "principal box")

_ROUNDING = 1e-9
"""Size of an edge along another column, relative to that column's own edge, which is none but for rounding."""

_REMEDY = 'noise=True takes the box of the data; noise="principal box" one along their principal axes.'


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Noise:
    """Uniform noise over a box, possibly a batch of them.

    Attributes
    ----------
    log_weight : (...)
        Logarithm of the share of the noise.
    log_volume : (...)
        Logarithm of the volume of the box, in the units of the data.
    corner : (..., D)
        A corner of the box.
    edges : (..., D, D)
        The edges that begin there, one in each column.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    log_weight: Annotated[Any, "*batch"]
    log_volume: Annotated[Any, "*batch"]
    corner: Annotated[Any, "*batch D"]
    edges: Annotated[Any, "*batch D D"]

    @property
    def log_joint(self) -> Float[Any, "*batch"]:
        """Logarithm of weight times density."""
        return self.log_weight - self.log_volume

    @property
    def mean(self) -> Float[Any, "*batch D"]:
        """Middle of the box."""
        return self.corner + 0.5 * self.edges.sum(-1)

    @property
    def covariance(self) -> Float[Any, "*batch D D"]:
        """Covariance of points spread evenly over the box."""
        return self.edges @ self.edges.mT / 12

    @property
    def log_widths(self) -> Float[Any, "*batch D"]:
        """Logarithms of the lengths of the sides of a box whose sides are those of the columns."""
        return np.log(np.diagonal(self.edges, axis1=-2, axis2=-1))

    @property
    def along_columns(self) -> bool:
        """Whether each side of the box belongs to one column, but for rounding by changes of coordinates."""
        sizes = np.abs(np.asarray(self.edges))
        own = np.diagonal(sizes, axis1=-2, axis2=-1)[..., None]
        return bool((np.where(np.eye(sizes.shape[-1], dtype=bool), 0.0, sizes) <= _ROUNDING * own).all())

    def with_log_weight(self, log_weight: Any) -> "Noise":
        """The same box with another weight."""
        return replace(self, log_weight=log_weight)

    def marginal(self, features: Any) -> "Noise":
        """Noise of some of the columns.

        Raises
        ------
        ArgumentError
            When the box does not lie along the columns, so that the density of some of them is not constant.
        """
        self.require_columns("the density of some of the columns")
        edges = self.edges[..., np.asarray(features)[:, None], features]
        log_volume = np.log(np.diagonal(edges, axis1=-2, axis2=-1)).sum(-1)
        return replace(self, log_volume=log_volume, corner=self.corner[..., features], edges=edges)

    def seen_part(self, seen: Bool[np.ndarray, " D"]) -> "Noise":
        """Noise whose density at any row is that of the seen cells of a row."""
        self.require_columns("the density of rows with gaps")
        return replace(self, log_volume=self.log_volume - unseen_volume(self.log_widths, seen))

    def repeated(self, batch: tuple[int, ...]) -> "Noise":
        """The same noise for each mixture of a batch."""
        return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (*batch, *np.shape(leaf))), self)

    def given(self, shares: Float[np.ndarray, "*batch M"], features: Sequence[int]) -> "Noise":
        """Noise (..., M) of some of the columns, given M rows of the others of which it has these shares."""
        n_batch = shares.ndim - 1

        def repeat(leaf: Any) -> np.ndarray:
            leaf = np.asarray(leaf)
            return np.broadcast_to(np.expand_dims(leaf, n_batch), (*shares.shape, *leaf.shape[n_batch:]))

        with np.errstate(divide="ignore"):
            return jax.tree.map(repeat, self.marginal(features)).with_log_weight(np.log(shares))

    def require_columns(self, what: str) -> None:
        """Refuse a box that does not lie along the columns."""
        if not self.along_columns:
            raise ArgumentError(
                f"The noise fills a box along the principal axes, and {what} is asked for.",
                "a box along the columns, of which every part has a constant density",
                'Fit with noise="box".',
            )

    def sample(self, uniform: Float[np.ndarray, "*batch N D"]) -> Float[np.ndarray, "*batch N D"]:
        """Points of the box at coordinates between 0 and 1 along its edges."""
        return self.corner[..., None, :] + uniform @ self.edges.mT


def noise_box(
    noise: Any, x: Float[np.ndarray, "N D"], sample_weight: Float[np.ndarray, " N"], columns: Sequence[str]
) -> Noise | None:
    """The box that a user asks for, with a weight of zero; None for no noise.

    Parameters
    ----------
    noise
        False or None; True or "box" for the smallest box along the columns that holds all rows; "principal box" for
        that along the principal axes of the standardised columns; a density, in one over the units of all columns, to
        which the box of the data is blown up or shrunk; or the `Noise` of another fit, whose box is taken.

    Raises
    ------
    ArgumentError
        When it is none of these, or the density is not a positive number.
    DataError
        When a column is constant, or a cell was not seen and the box lies along principal axes.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [2.0, 5.0], [1.0, 2.0]])
    >>> round(float(np.exp(noise_box(True, x, np.ones(3), ["a", "b"]).log_volume)), 6)
    8.0
    """
    if noise is None or (isinstance(noise, bool | np.bool_) and not noise):
        return None
    rows = x[sample_weight > 0]
    if isinstance(noise, Noise) and np.shape(noise.corner) == x.shape[1:]:
        return noise.with_log_weight(np.float64(-np.inf))
    if isinstance(noise, str):
        one_of("noise", noise, KINDS, _REMEDY)
        return _along_columns(rows, columns) if noise == "box" else _along_principal_axes(rows, columns)
    box = _along_columns(rows, columns)
    if isinstance(noise, bool | np.bool_):
        return box
    log_volume = -np.log(_density(noise))
    growth = np.exp((log_volume - box.log_volume) / x.shape[1])
    edges = growth * box.edges
    corner = box.mean - 0.5 * edges.sum(-1)
    if not (np.isfinite(edges).all() and np.isfinite(corner).all()):
        raise ArgumentError(f"noise is {noise}, whose box is infinite.", "the density of a finite box", _REMEDY)
    return replace(box, log_volume=np.float64(log_volume), corner=corner, edges=edges)


def box_from(low: Any, high: Any, weight: Any, n_features: int) -> Noise:
    """Noise of a weight from 0 to below 1 over the box along the columns from `low` to `high`, (D,) each.

    Raises
    ------
    ArgumentError
        When the weight is none, or the box is not finite with `low` below `high`.
    """
    remedy = "Give the smallest and the largest value of each column."
    share = finite_numbers("The weight of the noise", weight, (), "It is a share of all points, such as 0.1.")
    if not 0 <= share < 1:
        raise ArgumentError(f"The weight of the noise is {share}.", "a number from 0 to below 1", "For example 0.1.")
    corner, top = (finite_numbers(name, value, (n_features,), remedy) for name, value in (("low", low), ("high", high)))
    if not (top > corner).all():
        raise ArgumentError(f"The box goes from {corner.tolist()} to {top.tolist()}.", "low below high", remedy)
    widths = top - corner
    with np.errstate(divide="ignore"):
        log_weight = np.log(share)
    return Noise(log_weight=log_weight, log_volume=np.log(widths).sum(), corner=corner, edges=np.diag(widths))


def _density(noise: Any) -> float:
    try:
        density = float(noise)
    except (TypeError, ValueError):
        density = np.nan
    if not (np.isfinite(density) and density > 0):
        expected = 'a positive finite density, True, False, "box" or "principal box"'
        raise ArgumentError(f"noise is {noise!r:.100}.", expected, _REMEDY)
    return density


def _along_columns(x: Float[np.ndarray, "N D"], columns: Sequence[str]) -> Noise:
    low, high = np.nanmin(x, 0), np.nanmax(x, 0)
    return _box(low, np.diag(high - low), high - low, [repr(name) for name in columns])


def _along_principal_axes(x: Float[np.ndarray, "N D"], columns: Sequence[str]) -> Noise:
    if np.isnan(x).any():
        raise DataError(
            "The box along the principal axes says nothing of rows with cells that were not seen.",
            "rows whose every cell was seen",
            'Use noise="box", which does.',
        )
    center, sds = x.mean(0), x.std(0)
    if not sds.all():
        return _along_columns(x, columns)  # which names the constant column
    z = (x - center) / sds
    axes = np.linalg.svd(z, full_matrices=False)[2].T
    scores = z @ axes
    low, widths = scores.min(0), np.ptp(scores, axis=0)
    names = [f"principal axis {number}" for number in range(len(widths))]
    box = _box(center + sds * (axes @ low), sds[:, None] * axes * widths, widths, names)
    return replace(box, log_volume=np.log(widths).sum() + np.log(sds).sum())


def _box(corner: np.ndarray, edges: np.ndarray, widths: np.ndarray, names: Sequence[str]) -> Noise:
    with np.errstate(divide="ignore"):
        log_volume = np.log(widths).sum()
    if not np.isfinite(log_volume):
        flat = names[int(np.argmin(widths))]
        found = f"The data have a range of {widths.min():g} in {flat}, so that their box has no volume."
        raise DataError(found, "columns that vary", "Leave that column out, or give the density of the noise.")
    return Noise(log_weight=np.float64(-np.inf), log_volume=np.float64(log_volume), corner=corner, edges=edges)


def same_box(one: Noise | None, other: Noise | None) -> bool:
    """Whether both are noise over the same box, or neither is noise."""
    if one is None or other is None:
        return one is other
    pairs = ((getattr(one, name), getattr(other, name)) for name in ("log_volume", "corner", "edges"))
    return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def most_probable(shares: Float[np.ndarray, "*batch N K"]) -> Int[np.ndarray, "*batch N"]:
    """Component with the largest share of each point, (..., N); -1 where what is left for the noise is larger.

    Examples
    --------
    >>> most_probable(np.array([[0.9, 0.1], [0.2, 0.1]]))
    array([ 0, -1])
    """
    return np.where(noise_share(shares) > shares.max(-1), -1, shares.argmax(-1))


def noise_share(shares: Float[np.ndarray, "*batch N K"]) -> Float[np.ndarray, "*batch N"]:
    """What the shares of all components leave for the noise; zero, but for rounding, where there is none."""
    return np.maximum(1.0 - shares.sum(-1), 0.0)


def sides_where_unseen(noise: Noise, seen: Bool[np.ndarray, "... D"]) -> Float[np.ndarray, " D"]:
    """Logarithms of the sides of the box, which matter where a cell was not seen; zeros where every cell was.

    Raises
    ------
    ArgumentError
        When a cell was not seen, and the box does not lie along the columns.
    """
    if seen.all():
        return np.zeros(seen.shape[-1])
    noise.require_columns("the density of rows with gaps")
    return np.asarray(noise.log_widths)


def unseen_volume(log_widths: Float[Any, "*batch D"], seen: Bool[Any, "... D"]) -> Float[Any, "..."]:
    """Logarithm of the volume of the sides that were not seen: by so much the density of the seen cells is higher."""
    return (log_widths * ~seen).sum(-1)
