"""When a component is too narrow to be believed: one threshold for every way of maximising the likelihood.

The likelihood has no upper bound where a component shrinks onto a few points (Kiefer and Wolfowitz 1956,
doi 10.1214/aoms/1177728066), so a search that leads there has ended without an answer, and says so.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayes_gmm.core.linalg import namespace
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import most_probable
from bayes_gmm.mixture.scaling import Scaling

SMALLEST_SCALE = 1e-4
"""Standard deviation below which a component is degenerate, relative to the spread of the data in their narrowest
direction. The linear form still has seven digits there, since it loses a factor of the inverse square."""

NO_SPREAD = 1e-5
"""Standard deviation, in unit coordinates, that stands for none where the errors of the rows allow a component of no
spread: its square is what rounding leaves of a variance."""

type Sentences = tuple[str, ...]

_CONSTANT = 1e-6
"""Spread of a component's rows in a direction, relative to that of all rows, which is none but for rounding."""

_MOST_LISTED = 8
"""Most rows or columns that a sentence lists, and most components that have a sentence."""


def narrowest_allowed(scaling: Scaling, whitening: Scaling) -> float:
    """Standard deviation of a degenerate component, in the coordinates of `scaling`, for data of that `whitening`."""
    spread = np.linalg.solve(scaling.factor, whitening.factor)
    return SMALLEST_SCALE * float(np.linalg.svd(spread, compute_uv=False)[-1])


def narrowest_scales(mixture: Mixture) -> Float[Array | np.ndarray, "*batch K"]:
    """Lower bounds, tight to a factor sqrt(D), of the components' standard deviations in every direction."""
    squares = (mixture.whitening**2).sum((-2, -1))
    return 1 / namespace(squares).sqrt(squares)


def is_sound(mixture: Mixture, smallest_scale: Float[Array, ""] | float) -> Bool[Array, ""]:
    """Whether every component has points, and a standard deviation above the smallest in every direction."""
    # A comparison with NaN is false.
    wide = (narrowest_scales(mixture) > smallest_scale).all()
    return wide & jnp.isfinite(mixture.log_weights).all() & jnp.isfinite(mixture.means).all()


def degenerate_components(mixture: Mixture, values: Float[np.ndarray, "N D"], columns: Sequence[str]) -> Sentences:
    """A sentence for each component whose rows leave a covariance undefined: which columns, values or rows it is.

    Each row counts for its most probable component. Its rows are too few, hold one value in a column, or lie on a line
    or plane. Nothing is said of a mixture that is not finite.
    """
    return degenerate_groups(np.asarray(mixture.responsibilities(values)), values, columns)


def degenerate_groups(
    shares: Float[np.ndarray, "N K"], values: Float[np.ndarray, "N D"], columns: Sequence[str]
) -> Sentences:
    """The same for rows with shares (N, K) of each component.

    Examples
    --------
    >>> heights, shares = np.array([[1.5], [1.5], [1.8], [1.7]]), np.repeat(np.eye(2), 2, axis=0)
    >>> degenerate_groups(shares, heights, ["height"])
    ("Component 0 holds rows 0, 1, in which 'height' is 1.5.",)
    """
    if not np.isfinite(shares).all():
        return ()
    labels = most_probable(shares)
    members = [np.flatnonzero(labels == k) for k in range(shares.shape[1])]
    found = [(k, _degeneracy(rows, values, columns)) for k, rows in enumerate(members)]
    said = [f"Component {k} {what}." for k, what in found if what]
    more = len(said) - _MOST_LISTED
    return (*said[:_MOST_LISTED], *([f"It is the same with {more} more components."] if more > 0 else []))


def rows_in_words(rows: np.ndarray) -> str:
    """The numbers of a few rows, or how many there are.

    Examples
    --------
    >>> rows_in_words(np.array([3, 17])), rows_in_words(np.arange(40))
    ('rows 3, 17', '40 rows')
    """
    if len(rows) > _MOST_LISTED:
        return f"{len(rows)} rows"
    return f"row{'' if len(rows) == 1 else 's'} {', '.join(map(str, rows))}"


def _degeneracy(rows: np.ndarray, values: np.ndarray, columns: Sequence[str]) -> str:
    """What is wrong with the rows of a component, or an empty text."""
    if not len(rows):
        return "has no row that it claims"
    x, spread = values[rows], np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
    if len(rows) == 1:
        return f"holds only {rows_in_words(rows)} for {len(columns)} column{'s' * (len(columns) > 1)}"
    seen = ~np.isnan(x)
    low, high = np.where(seen, x, np.inf).min(0), np.where(seen, x, -np.inf).max(0)
    constant = np.flatnonzero(seen.any(0) & (high - low <= _CONSTANT * spread))
    if len(constant):
        held = ", ".join(f"{columns[j]!r} is {low[j]:g}" for j in constant[:_MOST_LISTED])
        return f"holds {rows_in_words(rows)}, in which {held}"
    if len(rows) <= len(columns):
        return f"holds only {rows_in_words(rows)} for {len(columns)} columns"
    if not seen.all():
        return ""
    sizes, directions = np.linalg.svd((x - x.mean(0)) / spread, full_matrices=False)[1:]
    if sizes[-1] > _CONSTANT * np.sqrt(len(rows)):
        return ""
    together = [columns[j] for j in np.argsort(-np.abs(directions[-1])) if abs(directions[-1, j]) > 0.1]
    listed = ", ".join(map(repr, together[:_MOST_LISTED]))
    return f"holds {rows_in_words(rows)}, in which the columns {listed} are linearly dependent"
