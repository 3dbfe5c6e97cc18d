"""Points that share an oblique hyperplane.

D points always do; more of them share one where values are rounded: petals and sepals of iris, in steps of 0.1 cm, have
22.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.linalg import squared_distances

_SUBSETS = 4000
"""Sets of D points that are tried: a hyperplane with half of the points is found for up to D = 8."""

_ON_IT = 1e-9
"""Distance from a hyperplane, in sds of the columns, that is taken for rounding."""

_NOUGHT = 1e-6
"""Part of a normal, or of the size of a set of points, that is taken for zero."""

_FEW_POINTS = 1000
"""Points up to which all distances are made sooner than SciPy's tree is loaded."""

_MOST_POINTS = 4000
"""Points among which is searched; of longer tables a part is taken at random."""


class Hyperplane(NamedTuple):
    """Total weight of the points on it, and its unit normal (D,), where columns have unit sds."""

    weight: float
    normal: Float[np.ndarray, " D"]


def largest_hyperplane(x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]) -> Hyperplane:
    """Oblique hyperplane with most points among those through D points drawn at random, half of them near one another.

    Oblique ones involve two columns at least: the others are tied values. The search has a fixed seed, and may miss
    hyperplanes that hold a small part of the points.
    """
    rng = np.random.default_rng(0)
    rows, first = np.unique(x, axis=0, return_inverse=True)
    counts = np.bincount(first.ravel(), weights)
    if len(rows) > _MOST_POINTS:
        chosen = rng.choice(len(rows), _MOST_POINTS, replace=False)
        rows, counts = rows[chosen], counts[chosen]
    D = x.shape[1]
    unit = (rows - rows.mean(0)) / x.std(0)
    corners = unit[_subsets(unit, rng)]
    edges = corners[:, 1:] - corners[:, :1]
    _, sizes, axes = np.linalg.svd(edges)
    normals = np.where(np.abs(axes[:, -1]) > _NOUGHT, axes[:, -1], 0.0)
    usable = (sizes[:, -1] > _NOUGHT * sizes[:, 0]) & ((normals != 0).sum(1) > 1)
    normals, offsets = normals[usable], (normals[usable] * corners[usable, 0]).sum(1)
    best = Hyperplane(0.0, np.zeros(D))
    for part in np.array_split(np.arange(len(normals)), max(1, len(unit) * len(normals) // 10**7)):
        totals = counts @ (np.abs(unit @ normals[part].T - offsets[part]) < _ON_IT)
        if totals.size and totals.max() > best.weight:
            best = Hyperplane(float(totals.max()), normals[part[totals.argmax()]])
    return best


def _subsets(unit: Float[np.ndarray, "N D"], rng: np.random.Generator) -> np.ndarray:
    """Sets of D different points (S, D): half of any, half of a point and some of its nearest neighbours."""
    N, D = unit.shape
    anywhere = rng.integers(N, size=(_SUBSETS // 2, D))
    anchors = rng.integers(N, size=_SUBSETS // 2)
    near = _neighbours(unit, anchors, max(1, min(N - 1, 3 * D)))
    places = np.argsort(rng.random(near.shape), axis=1)[:, : D - 1]
    close = np.column_stack([anchors, np.take_along_axis(near, places, 1)])
    return np.concatenate([anywhere, close])


def _neighbours(
    unit: Float[np.ndarray, "N D"], anchors: Int[np.ndarray, " A"], count: int
) -> Int[np.ndarray, "A count"]:
    """So many nearest neighbours of some of the points."""
    if len(unit) > _FEW_POINTS:
        from scipy.spatial import cKDTree

        return cKDTree(unit).query(unit[anchors], count + 1)[1][:, 1:]
    distances = squared_distances(unit[anchors], unit)
    distances[np.arange(len(anchors)), anchors] = np.inf
    return np.argpartition(distances, count - 1, axis=1)[:, :count]
