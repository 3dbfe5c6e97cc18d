"""Rows with their gaps closed from near rows, for starts of EM alone: what is fitted never sees these cells.

A missing cell is taken from the row that is nearest in the cells that both have, among rows that have it. Such a row
lies in the same cluster, where a mean over all rows would lie between clusters.
"""

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.objective.problem import Problem

_MOST_DONORS = 4096
"""Random rows among which a near one is looked for."""

_ROWS_AT_ONCE = 256
"""Rows whose distances to all donors are held at a time."""


def unit_points_without_gaps(problem: Problem, rows: Int[np.ndarray, " R"] | None = None) -> Float[np.ndarray, "R D"]:
    """Some rows, or all, in unit coordinates, with their gaps closed."""
    chosen = slice(None) if rows is None else rows
    values, scaling = problem.table.values, problem.scaling
    if not problem.table.has_gaps:
        return scaling.points_to_unit(values[chosen])
    units = np.diag(scaling.factor)
    rng = np.random.default_rng(0)
    usable = np.flatnonzero(problem.sample_weight)
    donors = rng.choice(usable, min(len(usable), _MOST_DONORS), replace=False)
    return close_gaps((values[chosen] - scaling.center) / units, (values[donors] - scaling.center) / units)


def rows_without_gaps(x: Float[np.ndarray, "N D"], scaling: Scaling) -> Float[np.ndarray, "N D"]:
    """Rows in data units with their gaps closed, distances being measured in the units of the columns."""
    if not np.isnan(x).any():
        return x
    units = np.diag(scaling.factor)
    z = (x - scaling.center) / units
    donors = np.random.default_rng(0).choice(len(x), min(len(x), _MOST_DONORS), replace=False)
    return np.where(np.isnan(x), scaling.center + units * close_gaps(z, z[donors]), x)


def close_gaps(z: Float[np.ndarray, "R D"], donors: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "R D"]:
    """Rows with each missing cell from the nearest donor that has it; zero, the mean, where no donor has it.

    Examples
    --------
    >>> close_gaps(np.array([[0.9, np.nan]]), np.array([[0.0, 5.0], [1.0, 7.0]]))
    array([[0.9, 7. ]])
    """
    filled = np.where(np.isnan(z), 0.0, z)
    with_gaps = np.flatnonzero(np.isnan(z).any(1))
    for start in range(0, len(with_gaps), _ROWS_AT_ONCE):
        rows = with_gaps[start : start + _ROWS_AT_ONCE]
        distances = _distances(z[rows], donors)
        for column in range(z.shape[1]):
            empty, having = np.flatnonzero(np.isnan(z[rows, column])), np.flatnonzero(~np.isnan(donors[:, column]))
            if having.size:
                filled[rows[empty], column] = donors[having[distances[empty][:, having].argmin(1)], column]
    return filled


def _distances(z: Float[np.ndarray, "R D"], donors: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "R M"]:
    """Mean squared differences (R, M) over the cells that were seen in both; large where there are none."""
    seen, theirs = (~np.isnan(z)).astype(float), (~np.isnan(donors)).astype(float)
    own, other = np.where(seen > 0, z, 0.0), np.where(theirs > 0, donors, 0.0)
    squares = own**2 @ theirs.T + seen @ (other**2).T - 2 * own @ other.T
    shared = seen @ theirs.T
    return np.where(shared > 0, squares / np.maximum(shared, 1.0), np.finfo(float).max)
