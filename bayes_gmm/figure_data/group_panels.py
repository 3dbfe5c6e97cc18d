"""Small multiples of groups: which groups are shown, in how many rows and columns, on which common axes."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.assessment.fit_em_groups import GroupFits
from bayes_gmm.figure_data.plot_coordinates import histogram_edges, weighted_component_densities

MOST_PANELS = 60
"""Groups that one figure shows at most: more would be too small to read."""

_MOST_COLUMNS = 8

_MARGIN = 0.06
"""Share of the range of the data that is left free at each end of the common axes."""

_ABSCISSAE = 200
"""Values at which the density of a panel an inch and a half wide is drawn."""

_PER_COMPONENT = np.linspace(-4, 4, 33)


class Bars(NamedTuple):
    """A histogram of densities: edges (B + 1,) and heights (B,)."""

    edges: Float[np.ndarray, " edges"]
    heights: Float[np.ndarray, " B"]


class Curves(NamedTuple):
    """Densities of the components (K, G), times their weights, at values x (G,)."""

    x: Float[np.ndarray, " G"]
    densities: Float[np.ndarray, "K G"]


class GroupPanels(NamedTuple):
    """Groups that are shown, shape of the grid of panels, and limits (F, 2) of the features, the same for all."""

    names: list[Any]
    shape: tuple[int, int]
    limits: Float[np.ndarray, "F 2"]


def group_panels(groups: GroupFits, chosen: list[Any], features: list[int]) -> GroupPanels:
    """What a figure of these groups has in common."""
    columns = int(min(_MOST_COLUMNS, max(2, np.ceil(np.sqrt(1.5 * len(chosen)))), len(chosen)))
    values = np.concatenate([groups.values(name)[:, features] for name in chosen])
    low, high = np.nanmin(values, 0), np.nanmax(values, 0)
    margin = _MARGIN * (high - low)
    return GroupPanels(chosen, (-(-len(chosen) // columns), columns), np.stack([low - margin, high + margin], 1))


def group_bars(groups: GroupFits, name: Any, feature: int) -> Bars:
    """Histogram of one feature of a group."""
    values = groups.values(name)[:, feature]
    values = values[~np.isnan(values)]
    if not values.size:
        return Bars(np.array([0.0, 1.0]), np.zeros(1))
    edges = histogram_edges(values) if np.ptp(values) > 0 else np.array([values[0] - 0.5, values[0] + 0.5])
    return Bars(edges, np.histogram(values, edges, density=True)[0])


def group_curves(groups: GroupFits, name: Any, feature: int, limits: Float[np.ndarray, " 2"]) -> Curves:
    """Densities of the components of a group's fit: at even distances, and more around each component."""
    mixture = groups[name].mixture
    around = mixture.means[:, feature, None] + mixture.scales[:, feature, None] * _PER_COMPONENT
    x = np.unique(np.concatenate([np.linspace(limits[0], limits[1], _ABSCISSAE), around.ravel().clip(*limits)]))
    return Curves(x, weighted_component_densities(mixture, feature, x))
