"""When a component is too narrow to be believed: one threshold for every way of maximising the likelihood.

The likelihood has no upper bound where a component shrinks onto a few points (Kiefer and Wolfowitz 1956,
doi 10.1214/aoms/1177728066), so a search that leads there has ended without an answer, and says so.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayes_gmm.core.linalg import invert_tril
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

SMALLEST_SCALE = 1e-4
"""Standard deviation below which a component is degenerate, relative to the spread of the data in their narrowest
direction. The linear form still has seven digits there, since it loses a factor of the inverse square."""


_CONSTANT = 1e-6
"""Spread of a component's rows in a direction, relative to that of all rows, which is none but for rounding."""

_MOST_LISTED = 8
"""Most rows or columns that a sentence lists."""


def narrowest_allowed(scaling: Scaling, whitening: Scaling) -> float:
    """Standard deviation of a degenerate component, in the coordinates of `scaling`, for data of that `whitening`."""
    spread = np.linalg.solve(scaling.factor, whitening.factor)
    return SMALLEST_SCALE * float(np.linalg.svd(spread, compute_uv=False)[-1])


def narrowest_scales(mixture: Mixture) -> Float[Array, " K"]:
    """Lower bounds, tight to a factor sqrt(D), of the components' standard deviations in every direction."""
    return 1 / jnp.sqrt((invert_tril(mixture.scale_tril) ** 2).sum((-2, -1)))


def is_sound(mixture: Mixture, smallest_scale: Float[Array, ""] | float) -> Bool[Array, ""]:
    """Whether every component has points, and a standard deviation above the smallest in every direction."""
    # A comparison with NaN is false.
    wide = (narrowest_scales(mixture) > smallest_scale).all()
    return wide & jnp.isfinite(mixture.log_weights).all() & jnp.isfinite(mixture.means).all()


def degenerate_components(mixture: Mixture, table: Table) -> tuple[str, ...]:
    """A sentence for each component whose rows leave a covariance undefined: which columns, values or rows it is.

    Each row counts for its most probable component. Its rows are too few, hold one value in a column, or lie on a line
    or plane. Nothing is said of a mixture that is not finite.
    """
    shares = np.asarray(mixture.responsibilities(table.values))
    if not np.isfinite(shares).all():
        return ()
    labels = shares.argmax(1)
    members = [np.flatnonzero(labels == k) for k in range(mixture.n_components)]
    found = [(k, _degeneracy(rows, table)) for k, rows in enumerate(members)]
    return tuple(f"Component {k} {what}." for k, what in found if what)


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


def _degeneracy(rows: np.ndarray, table: Table) -> str:
    """What is wrong with the rows of a component, or an empty text."""
    if not len(rows):
        return "has no row that it claims"
    x, spread = table.values[rows], np.ptp(table.values, axis=0)
    constant = np.flatnonzero(np.ptp(x, axis=0) <= _CONSTANT * spread)
    if len(constant):
        held = ", ".join(f"{table.columns[j]!r} is {x[0, j]:g}" for j in constant[:_MOST_LISTED])
        return f"holds {rows_in_words(rows)}, in which {held}"
    if len(rows) <= table.n_features:
        return f"holds only {rows_in_words(rows)} for {table.n_features} columns"
    sizes, directions = np.linalg.svd((x - x.mean(0)) / spread, full_matrices=False)[1:]
    if sizes[-1] > _CONSTANT * np.sqrt(len(rows)):
        return ""
    together = [table.columns[j] for j in np.argsort(-np.abs(directions[-1])) if abs(directions[-1, j]) > 0.1]
    listed = ", ".join(map(repr, together[:_MOST_LISTED]))
    return f"holds {rows_in_words(rows)}, in which the columns {listed} are linearly dependent"
