"""Figure of the uncertainty of each point's component."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from bayes_gmm.clustering.point_assignments import CERTAIN
from bayes_gmm.core.validation import columns_chosen, instance_of, positive_integer, seed_integer
from bayes_gmm.figure_data.point_uncertainty import PointUncertainty, point_uncertainty
from bayes_gmm.figure_data.shown_components import column_label, explanations_note, gaps_note
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.style import (
    FRAME,
    SMALL,
    TEXT,
    axes_or_new,
    component_color,
    legend_line,
    legend_marker,
    sample_words,
    style_axes,
    title_and_legend_above,
)
from bayes_gmm.posterior.posterior import Posterior

_MOST_NAMED = 60
"""Most points of a ranking that are named by their rows: more names would overlap."""

_NAMED_ON_MAP = 5
"""Points that a map names by their rows; more names would hide the points."""

_MARKER_AREA = 46.0
_SMALLEST_AREA, _LARGEST_AREA = 3.0, 320.0
"""Areas of discs in square points: of a ranking, and of a map for an uncertainty of zero and of one."""

_NEGLIGIBLE = 1e-3
"""Points whose uncertainty plus sd is below this are as good as certain, and left out of the ranking."""

_VISIBLE = 10 * _NEGLIGIBLE
"""Uncertainty plus sd from which a ring on the map can be told from its disc."""

_NAME: dict[str, Any] = {**SMALL, "zorder": 4, "path_effects": [withStroke(linewidth=2.5, foreground="white")]}


def plot_uncertainty(
    posterior: Posterior | EMFit,
    *,
    features: Any = None,
    n_points: int = 50,
    ax: Axes | None = None,
    seed: int = 0,
) -> Axes:
    r"""Plot how uncertain the component of each point is, with the posterior sd of that uncertainty.

    .. math:: u_n = 1 - \max_k \bar r_{nk}, \qquad \bar r_{nk} = \frac1S \sum_s p(z_n = k \mid x_n, \theta_s)

    Without `features`, the most uncertain points are ranked and named by their rows. Each is filled with the colour of
    its most probable component and ringed with that of the second; points with u + sd below 0.001 are left out. With
    one feature, u of all points is plotted over its values. With two, each point is a disc whose area grows with u, in
    a ring whose area grows with u + sd.

    Parameters
    ----------
    posterior
        Posterior draws; or an EM fit, whose uncertainty has no sd.
    features
        One or two columns by name or index; None for the ranking.
    n_points
        Most points that the ranking shows.
    ax
        Axes to draw on; a new figure by default.
    seed
        Seed of the random sample of rows that stands for a table of more than 20 000.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        When an argument cannot be used.

    References
    ----------
    Scrucca et al. (2016), doi 10.32614/RJ-2016-021 (the uncertainty of mclust).

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> ax = bg.plot_uncertainty(bg.fit_em(bg.datasets.load("iris"), n_components=3), n_points=10)
    >>> ax.get_ylabel()
    'uncertainty, 1 - max p(component | point)'
    """
    instance_of("posterior", posterior, (Posterior, EMFit), "Give what fit_nuts or fit_em returned.")
    most = positive_integer("n_points", n_points)
    columns = None if features is None else columns_chosen(features, posterior.table.columns, 2)
    points, ax = point_uncertainty(posterior, seed_integer(seed)), axes_or_new(ax)
    style_axes(ax)
    if columns is None:
        _draw_ranking(ax, posterior, points, min(most, len(points.rows)))
    elif len(columns) == 1:
        _draw_over_values(ax, posterior, points, columns[0])
    else:
        _draw_map(ax, posterior, points, columns)
    return ax


def _draw_ranking(ax: Axes, fit: Posterior | EMFit, points: PointUncertainty, most: int) -> None:
    """The most uncertain points in order; those that are certain under all draws are left out."""
    shown = int(np.clip((points.upper >= _NEGLIGIBLE).sum(), 1, most))
    top = points.first(shown)
    places = np.arange(shown)
    _draw_bars(ax, places, top, area=_MARKER_AREA)
    ax.set_xlim(-0.8, shown - 0.2)
    ax.set_xlabel("points, most uncertain first", **TEXT)
    if shown <= _MOST_NAMED:
        ax.set_xticks(places, [str(row) for row in top.rows], rotation=90, fontsize=7)
        ax.tick_params("x", length=0)
        ax.set_xlabel("row of the table (from 0), most uncertain first", **TEXT)
    sampled = sample_words(len(points.rows), fit.table.n_points)
    which = f"{shown} most uncertain of {sampled or f'{fit.table.n_points:,} points'}"
    _draw_title_and_legend(ax, fit, points, which, _bar_entries(points))


def _draw_over_values(ax: Axes, fit: Posterior | EMFit, points: PointUncertainty, column: int) -> None:
    _draw_bars(ax, fit.table.values[points.rows, column], points, area=_MARKER_AREA * _area_scale(points))
    ax.set_xlabel(column_label(fit.table, column), **TEXT)
    _draw_title_and_legend(ax, fit, points, "", _bar_entries(points))


def _draw_bars(
    ax: Axes, x: Float[np.ndarray, " M"] | Int[np.ndarray, " M"], points: PointUncertainty, area: float
) -> None:
    """Uncertainty at places x (M,), in discs of an area in square points, with a bar of one sd to each side."""
    colors = [component_color(k) for k in points.component]
    rings = [component_color(k) for k in points.runner_up]
    diameter = np.sqrt(area)
    if points.sd is not None:
        width = min(1.2, 0.2 * diameter)
        ax.vlines(x, points.lower, points.upper, colors=colors, linewidth=width, alpha=0.6, zorder=2)
    ax.scatter(x, points.uncertainty, s=area, c=colors, edgecolors=rings, linewidths=0.24 * diameter, zorder=3)
    ax.axhline(1 - CERTAIN, color=FRAME, linewidth=0.8, linestyle=":", zorder=1)
    ax.set_ylim(0, max(1.08 * points.upper.max(), 1.2 * (1 - CERTAIN)))
    ax.set_ylabel("uncertainty, 1 - max p(component | point)", **TEXT)


def _draw_map(ax: Axes, fit: Posterior | EMFit, points: PointUncertainty, columns: list[int]) -> None:
    xy = fit.table.values[np.ix_(points.rows, columns)]
    x, y = xy.T
    colors, scale = to_rgba_array([component_color(k) for k in points.component]), _area_scale(points)
    ax.scatter(x, y, s=_disc_area(points.uncertainty, scale), c=colors, alpha=0.55, linewidths=0, zorder=3)
    visible = points.upper > _VISIBLE
    if points.sd is not None:
        ring: Any = {"facecolors": "none", "edgecolors": colors[visible], "linewidths": 0.8 * np.sqrt(scale)}
        ax.scatter(x[visible], y[visible], s=_disc_area(points.upper[visible], scale), **ring, zorder=3)
    if scale == 1:
        named = xy[visible] / [np.ptp(fit.table.seen(column)) for column in columns]
        for place in _places_to_name(named):
            ax.annotate(str(points.rows[place]), xy[place], (8, 6), textcoords="offset points", **_NAME)
    ax.set_xlabel(column_label(fit.table, columns[0]), **TEXT)
    ax.set_ylabel(column_label(fit.table, columns[1]), **TEXT)
    discs: dict[str, Any] = {
        f"uncertainty {u}": legend_marker(FRAME, markersize=np.sqrt(_disc_area(u, scale)), mew=0) for u in (0.1, 0.5)
    }
    ring_entry = _sd_entry(points, legend_marker("none", markeredgecolor=FRAME, markersize=8))
    _draw_title_and_legend(ax, fit, points, "", discs | ring_entry)


def _bar_entries(points: PointUncertainty) -> dict[str, Any]:
    ring = {"ring: next most probable": legend_marker("white", markeredgecolor=FRAME)}
    return ring | _sd_entry(points, legend_line(FRAME, linewidth=1.2))


def _sd_entry(points: PointUncertainty, handle: Line2D) -> dict[str, Any]:
    return {} if points.sd is None else {"posterior sd": handle}


def _area_scale(points: PointUncertainty) -> float:
    """Factor of all areas: one for up to 500 points, smaller for more, so that the ink stays about the same."""
    return float(np.clip(500 / len(points.rows), 0.03, 1))


def _disc_area(uncertainty: float | Float[np.ndarray, " M"], scale: float) -> Any:
    """Area of a disc in square points; what is certain keeps a dot of the smallest area."""
    return _SMALLEST_AREA * np.sqrt(scale) + _LARGEST_AREA * scale * uncertainty


def _places_to_name(xy: Float[np.ndarray, "M 2"]) -> list[int]:
    """Places of the first few points that are far enough apart for their names, in units of the range of the data."""
    chosen: list[int] = []
    for place in range(min(len(xy), 4 * _NAMED_ON_MAP)):
        across, up = np.abs(xy[chosen] - xy[place]).T
        if len(chosen) < _NAMED_ON_MAP and ((across > 0.06) | (up > 0.05)).all():
            chosen.append(place)
    return chosen


def _draw_title_and_legend(
    ax: Axes, fit: Posterior | EMFit, points: PointUncertainty, which: str, entries: dict[str, Any]
) -> None:
    components = {f"component {k}": legend_marker(component_color(k)) for k in np.unique(points.component)[:7]}
    which = which or sample_words(len(points.rows), fit.table.n_points)
    uncertain = int((points.uncertainty > 1 - CERTAIN).sum())
    title = f"{fit.table.name}" + f", {which}" * bool(which) + f", {uncertain:,} above {1 - CERTAIN:.1f}"
    note = gaps_note(fit.table) + (explanations_note(fit) if isinstance(fit, Posterior) else "")
    title_and_legend_above(ax, title + note, components | entries)
