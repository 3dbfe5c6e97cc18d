"""Panels of points under both answers: one feature as densities, two as ellipses, more as a grid of pairs."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.legend_handler import HandlerTuple

from bayes_gmm.clustering.point_assignments import CERTAIN
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.shown_components import Scene, abscissae, bins_of, contours, weighted_densities
from bayes_gmm.plots.style import (
    DASHED,
    FRAME,
    INK,
    MOST_FEATURES,
    PALE,
    TEXT,
    axes_or_new,
    component_color,
    counted,
    dot,
    explain_above,
    frame,
    headline,
    legend_style,
    number,
    stroke,
)


def single(scene: Scene, features: list[int], ax: Axes | None) -> Axes:
    """One or two features on one pair of axes."""
    ax = axes_or_new(ax)
    panel(ax, scene, features[0], features[-1])
    if len(features) == 1:
        _strip_of_points(ax, scene, features[0])
    explain_above(ax, title(scene, features), entries(scene), **_LEGEND)
    return ax


def grid(scene: Scene, features: list[int]) -> np.ndarray:
    """Each chosen feature against each; the upper triangle holds the legend."""
    if len(features) == 1:
        return np.array([[single(scene, features, None)]])
    D = len(features)
    size = 1.4 + 1.7 * D, 1.2 + 1.5 * D
    figure, axes = plt.subplots(D, D, sharex="col", figsize=size, layout="constrained", squeeze=False)
    for (row, column), ax in np.ndenumerate(axes):
        if column > row:
            ax.set_axis_off()
            continue
        panel(ax, scene, features[column], features[row])
        ax.label_outer()
        if row == column:
            ax.set(yticks=[], ylabel="")
    figure.suptitle(title(scene, features), x=0.99, ha="right", **TEXT)
    figure.legend(**legend_style(entries(scene)), **_LEGEND, loc="upper right", bbox_to_anchor=(1, 0.96))
    return axes


def panel(ax: Axes, scene: Scene, i: int, j: int) -> None:
    """Feature j against feature i, or the density of one feature."""
    frame(ax)
    if i == j:
        _densities(ax, scene, i)
    else:
        _ellipses(ax, scene, i, j)
        points(ax, scene, scene.points[:, [i, j]])
        ax.set_ylim(scene.view(j))
    ax.set_xlim(scene.view(i))
    ax.set_xlabel(scene.label(i), **TEXT)
    ax.set_ylabel("density" if i == j else scene.label(j), **TEXT)


def points(ax: Axes, scene: Scene, xy: np.ndarray) -> None:
    """Each point in the colour of its most probable component; the uncertain ones last, in dark rings."""
    order = np.argsort(scene.uncertain, kind="stable")
    crowd = np.sqrt(len(xy))
    size, alpha = float(np.clip(180 / crowd, 2.5, 14)), float(np.clip(20 / crowd, 0.25, 0.6))
    palette = to_rgba_array([component_color(k) for k in range(scene.shares.shape[1])], alpha)
    fill = palette[scene.shares.argmax(1)[order]]
    shades = np.where(scene.uncertain[order], np.clip(50 / crowd, 0.3, 1), 0)
    rings: Any = to_rgba_array([INK] * len(xy), shades)
    width = 0.22 * np.sqrt(size)
    x, y = xy[order].T
    ax.scatter(x, y, s=size, c=fill, edgecolors=rings, linewidths=width, zorder=3)


def title(scene: Scene, features: list[int]) -> str:
    """The data, the number of components, and what is left out."""
    table, D, F = scene.table, scene.table.n_features, len(features)
    which = "first " * (features == list(range(F)) and F > 1)
    sampled = counted(len(scene.points), table.n_points)
    return (
        headline(table.name, scene.shares.shape[1])
        + f", {100 * scene.probability:g}% ellipses" * (F > 1)
        + f", {which}{F} of {D} features" * (F < D)
        + f", {sampled}" * bool(sampled)
        + scene.caution
    )


def entries(scene: Scene) -> dict[str, Any]:
    """What the legend tells apart."""
    dots = tuple(dot(component_color(k)) for k in range(min(scene.shares.shape[1], 3)))
    found: dict[str, Any] = {f"{len(scene.points):,} points": dots}
    if scene.averaged and scene.draws is not None:
        found["posterior mean"] = stroke(FRAME, linewidth=1.8)
    elif scene.draws is not None:
        found["posterior draws"] = stroke(FRAME, linewidth=0.8)
    if scene.mle is not None:
        found["maximum likelihood"] = stroke(**DASHED)
    if scene.uncertain.any():
        found[f"uncertain (< {CERTAIN:.0%})"] = dot("none", markeredgecolor=INK)
    return found


_LEGEND: dict[str, Any] = {"handler_map": {tuple: HandlerTuple(None)}}


def _ellipses(ax: Axes, scene: Scene, i: int, j: int) -> None:
    for mixture in filter(None, (scene.mle, scene.draws)):
        curves = contours(mixture.marginal([i, j]), scene.probability)
        centres = mixture.means[..., [i, j]].reshape(-1, mixture.n_components, 2).mean(0)
        for k in range(mixture.n_components):
            if mixture is scene.mle:
                ax.plot(*curves[k].T, **DASHED, zorder=4)
            elif scene.averaged:
                ax.plot(*curves[0, k].T, color=component_color(k), linewidth=1.8, zorder=3.5)
            else:
                _thin_lines(ax, curves[:, k], component_color(k))
    for k, centre in enumerate(centres):
        number(ax, k, *centre)


def _thin_lines(ax: Axes, curves: np.ndarray, color: str) -> None:
    alpha = float(np.clip(20 / len(curves), 0.03, 0.6))
    lines = LineCollection(list(curves), colors=color, alpha=alpha, linewidths=0.7, zorder=2)
    ax.add_collection(lines, autolim=False)


def _densities(ax: Axes, scene: Scene, feature: int) -> None:
    _histogram(ax, scene, feature)
    x = abscissae(scene, feature)
    for mixture in filter(None, (scene.mle, scene.draws)):
        parts = weighted_densities(mixture, feature, x)
        components = parts.reshape(-1, *parts.shape[-2:]).mean(0)
        if mixture is scene.mle:
            ax.plot(x, parts.sum(-2), **DASHED, zorder=4)
        else:
            _totals(ax, scene, x, parts.sum(-2))
    for k, density in enumerate(components):
        if not scene.averaged:
            ax.fill_between(x, density, color=component_color(k), alpha=0.3, linewidth=0, zorder=2.5)
        ax.plot(x, density, color=component_color(k), linewidth=1.2, zorder=3)
        number(ax, k, x[density.argmax()], density.max())


def _totals(ax: Axes, scene: Scene, x: np.ndarray, totals: np.ndarray) -> None:
    """Densities of the whole mixture under each of the draws, or under their mean."""
    if scene.averaged:
        ax.plot(x, totals[0], color=FRAME, linewidth=1.8, zorder=2.8)
        return
    _thin_lines(ax, np.stack(np.broadcast_arrays(x, totals), axis=-1), FRAME)
    ax.update_datalim([(x[0], np.quantile(totals.max(-1), 0.9))])


def _histogram(ax: Axes, scene: Scene, feature: int) -> None:
    """All values; where the draws are averaged, the points by component, each counted by its responsibilities."""
    values = scene.table.values[:, feature]
    bins: Any = bins_of(values)
    style: dict[str, Any] = {"density": True, "edgecolor": "white", "linewidth": 0.4, "zorder": 1}
    if not scene.averaged:
        ax.hist(values, bins, color=PALE, **style)
        return
    K = scene.shares.shape[1]
    parts = [scene.points[:, feature]] * K
    colors = [component_color(k) for k in range(K)]
    ax.hist(parts, bins, weights=list(scene.shares.T), stacked=True, color=colors, alpha=0.35, **style)


def _strip_of_points(ax: Axes, scene: Scene, feature: int) -> None:
    top = ax.get_ylim()[1]
    heights = np.random.default_rng(0).uniform(-0.1, -0.02, len(scene.points)) * top
    points(ax, scene, np.column_stack([scene.points[:, feature], heights]))
    ax.set_ylim(-0.12 * top, top)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top])


def single_or_grid(scene: Scene, ax: Axes | None) -> Axes | np.ndarray:
    """One pair of axes for one or two features, a grid of pairs for more."""
    if scene.table.n_features <= 2:
        return single(scene, list(range(scene.table.n_features)), ax)
    if ax is not None:
        raise ArgumentError(
            f"ax is given for {scene.table.n_features} features.",
            "ax=None for more than two features, which need a grid of axes",
            "Leave ax out, or select two columns and fit these.",
        )
    return grid_of_first(scene)


def grid_of_first(scene: Scene) -> np.ndarray:
    """Grid of the first features of a wide table."""
    return grid(scene, list(range(min(scene.table.n_features, MOST_FEATURES))))
