"""Figure of groups: one small panel for each, with its values and the components of its fit."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.assessment.fit_em_groups import GroupFits
from bayes_gmm.core.export import counted
from bayes_gmm.core.validation import columns_chosen, instance_of
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.group_panels import MOST_PANELS, GroupPanels, group_bars, group_curves, group_panels
from bayes_gmm.figure_data.plot_coordinates import component_ellipses
from bayes_gmm.figure_data.shown_components import column_label
from bayes_gmm.plots.style import DASHED, FRAME, PALE, SMALL, TEXT, component_color, style_axes

_MASS = 0.9
"""Mass of a component inside its ellipse."""


def plot_groups(groups: GroupFits, *, features: Any = None, names: Iterable[Any] | None = None) -> np.ndarray:
    """Plot each group of rows in a small panel of its own, on common axes, with the components of its fit.

    One feature is a histogram with the densities of the components, times their weights, and their sum dashed; two are
    points with ellipses that hold 90 % of each component. A group without a fit is shown in grey.

    Parameters
    ----------
    groups
        What `fit_em_groups` returned.
    features
        One or two columns, by name or number; by default the first two, or the only one.
    names
        Groups to show, by default the first sixty.

    Returns
    -------
    (rows, columns) array of Axes
        Panels row by row; those after the last group are switched off.

    Raises
    ------
    ArgumentError
        When an argument cannot be used.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import numpy as np, bayes_gmm as bg
    >>> x = bg.datasets.load("faithful")
    >>> groups = bg.fit_em_groups(x, np.repeat(["early", "late"], 136), 2, progress=False)
    >>> bg.plot_groups(groups).shape
    (1, 2)
    """
    instance_of("groups", groups, GroupFits, "Give what fit_em_groups returned.")
    table = groups.table
    chosen = list(range(min(table.n_features, 2))) if features is None else columns_chosen(features, table.columns, 2)
    panels = group_panels(groups, _named(groups, names), chosen)
    rows, columns = panels.shape
    size = 0.6 + 1.5 * columns, 0.7 + 1.35 * rows
    figure, axes = plt.subplots(
        rows, columns, sharex=True, sharey=len(chosen) == 2, figsize=size, layout="constrained", squeeze=False
    )
    for name, ax in zip(panels.names, axes.flat, strict=False):
        style_axes(ax)
        _draw_group(ax, groups, name, chosen, panels)
    for ax in axes.flat[len(panels.names) :]:
        ax.set_axis_off()
    left = len(groups) - len(panels.names)
    title = f"{len(panels.names)} of {len(groups)} groups" if left else f"{len(groups)} groups"
    ellipses = f", {100 * _MASS:g}% ellipses" * (len(chosen) == 2)
    figure.suptitle(title + ellipses, x=0.01, ha="left", **TEXT)
    figure.supxlabel(column_label(table, chosen[0]), **TEXT)
    figure.supylabel(column_label(table, chosen[1]) if len(chosen) == 2 else "density", **TEXT)
    return axes


def _named(groups: GroupFits, names: Any) -> list[Any]:
    if names is None:
        return list(groups.rows)[:MOST_PANELS]
    chosen = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in chosen if name not in groups.rows]
    if unknown or not 0 < len(chosen) <= MOST_PANELS:
        found = f"names holds {unknown[0]!r}, which is no group." if unknown else f"names holds {len(chosen)} groups."
        known = ", ".join(map(str, list(groups.rows)[:20]))
        raise ArgumentError(found, f"1 to {MOST_PANELS} among {known}", "Leave names out for the first sixty.")
    return chosen


def _draw_group(ax: Axes, groups: GroupFits, name: Any, features: list[int], panels: GroupPanels) -> None:
    draw = _draw_points if len(features) == 2 else _draw_densities
    draw(ax, groups, name, features, panels)
    ax.set_xlim(*panels.limits[0])
    ax.set_title(f"{name}, {counted(len(groups.rows[name]), 'point')}", loc="left", pad=3, **SMALL)
    if name not in groups.fits:
        ax.text(0.5, 0.5, "no fit", transform=ax.transAxes, ha="center", va="center", **{**SMALL, "color": FRAME})


def _draw_densities(ax: Axes, groups: GroupFits, name: Any, features: list[int], panels: GroupPanels) -> None:
    bars = group_bars(groups, name, features[0])
    ax.stairs(bars.heights, bars.edges, fill=True, color=PALE, zorder=1)
    ax.set_yticks([])
    if name not in groups.fits:
        return
    x, densities = group_curves(groups, name, features[0], panels.limits[0])
    for k, density in enumerate(densities):
        ax.fill_between(x, density, color=component_color(k), alpha=0.3, linewidth=0, zorder=2)
        ax.plot(x, density, color=component_color(k), linewidth=1, zorder=3)
    if len(densities) > 1:
        ax.plot(x, densities.sum(0), **{**DASHED, "linewidth": 0.9}, zorder=4)


def _draw_points(ax: Axes, groups: GroupFits, name: Any, features: list[int], panels: GroupPanels) -> None:
    values = groups.values(name)[:, features]
    color: Any = FRAME
    if name in groups.fits:
        fit = groups[name]
        color = [component_color(k) for k in fit.mixture.predict(fit.table.values)]
        for k, ellipse in enumerate(component_ellipses(fit.mixture.without_noise().marginal(features), _MASS)):
            ax.plot(*ellipse.T, color=component_color(k), linewidth=1.2, zorder=4)
    size = float(np.clip(120 / np.sqrt(len(values)), 2, 10))
    ax.scatter(values[:, 0], values[:, 1], s=size, c=color, alpha=0.5, linewidths=0, zorder=3)
    ax.set_ylim(*panels.limits[1])
