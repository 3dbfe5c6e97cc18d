"""Figure of the points that could belong elsewhere: how uncertain the component of each is."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.patheffects import withStroke

from bayes_gmm.clustering.point_assignments import CERTAIN
from bayes_gmm.core.validation import columns_chosen, instance_of, positive_integer, seed_integer
from bayes_gmm.figure_data.point_uncertainty import Doubt, doubt_of
from bayes_gmm.figure_data.shown_components import caution, label
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.style import (
    FRAME,
    SMALL,
    TEXT,
    axes_or_new,
    component_color,
    counted,
    dot,
    explain_above,
    frame,
    stroke,
)
from bayes_gmm.posterior.posterior import Posterior

_MOST_NAMED = 60
_NAMED_ON_MAP = 5
_SMALLEST, _LARGEST = 3.0, 320.0
_NEGLIGIBLE = 1e-3
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

    The most uncertain points stand in order, named by their rows: filled with the colour of the most probable
    component, ringed with that of the next; points with u + sd below 0.001 are left out. With `features` all points
    are shown where they lie: for one feature u over its values, for two a disc of area u in a ring of area u + sd.

    Parameters
    ----------
    posterior
        Draws; or an EM fit, whose uncertainty has no sd.
    features
        One or two columns by name or index, for the map; None for the ranking.
    n_points
        The most points that the ranking shows.
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
    doubt, ax = doubt_of(posterior, seed_integer(seed)), axes_or_new(ax)
    frame(ax)
    if columns is None:
        _ranking(ax, posterior, doubt, min(most, len(doubt.rows)))
    elif len(columns) == 1:
        _over_values(ax, posterior, doubt, columns[0])
    else:
        _map(ax, posterior, doubt, columns)
    return ax


def _ranking(ax: Axes, fit: Posterior | EMFit, doubt: Doubt, most: int) -> None:
    """The most uncertain points; those that are certain under all draws are left out."""
    shown = int(np.clip((doubt.reach >= _NEGLIGIBLE).sum(), 1, most))
    top = doubt.first(shown)
    places = np.arange(shown)
    _bars(ax, places, top, size=46.0)
    ax.set_xlim(-0.8, shown - 0.2)
    ax.set_xlabel("points, most uncertain first", **TEXT)
    if shown <= _MOST_NAMED:
        ax.set_xticks(places, [str(row) for row in top.rows], rotation=90, fontsize=7)
        ax.tick_params("x", length=0)
        ax.set_xlabel("row of the table (from 0), most uncertain first", **TEXT)
    sampled = counted(len(doubt.rows), fit.table.n_points)
    which = f"{shown} most uncertain of {sampled or f'{fit.table.n_points:,} points'}"
    _explain(ax, fit, doubt, which, _RINGED | _sd(doubt, stroke(FRAME, linewidth=1.2)))


def _over_values(ax: Axes, fit: Posterior | EMFit, doubt: Doubt, column: int) -> None:
    _bars(ax, fit.table.values[doubt.rows, column], doubt, size=46 * _room(doubt))
    ax.set_xlabel(label(fit.table, column), **TEXT)
    _explain(ax, fit, doubt, "", _RINGED | _sd(doubt, stroke(FRAME, linewidth=1.2)))


def _bars(ax: Axes, x: np.ndarray, doubt: Doubt, size: float) -> None:
    """Uncertainty, with a bar of one sd to each side that stays a probability."""
    colors = [component_color(k) for k in doubt.component]
    rings = [component_color(k) for k in doubt.runner_up]
    lower, upper = np.maximum(doubt.uncertainty - doubt.spread, 0), doubt.reach
    if doubt.sd is not None:
        ax.vlines(x, lower, upper, colors=colors, linewidth=min(1.2, 0.2 * np.sqrt(size)), alpha=0.6, zorder=2)
    ax.scatter(x, doubt.uncertainty, s=size, c=colors, edgecolors=rings, linewidths=0.24 * np.sqrt(size), zorder=3)
    ax.axhline(1 - CERTAIN, color=FRAME, linewidth=0.8, linestyle=":", zorder=1)
    ax.set_ylim(0, max(1.08 * upper.max(), 1.2 * (1 - CERTAIN)))
    ax.set_ylabel("uncertainty, 1 - max p(component | point)", **TEXT)


def _map(ax: Axes, fit: Posterior | EMFit, doubt: Doubt, columns: list[int]) -> None:
    xy = fit.table.values[np.ix_(doubt.rows, columns)]
    x, y = xy.T
    colors, room = to_rgba_array([component_color(k) for k in doubt.component]), _room(doubt)
    ax.scatter(x, y, s=_area(doubt.uncertainty, room), c=colors, alpha=0.55, linewidths=0, zorder=3)
    doubted = doubt.reach > 10 * _NEGLIGIBLE
    if doubt.sd is not None:
        ring: Any = {"facecolors": "none", "edgecolors": colors[doubted], "linewidths": 0.8 * np.sqrt(room)}
        ax.scatter(x[doubted], y[doubted], s=_area(doubt.reach[doubted], room), **ring, zorder=3)
    if room == 1:
        for place in _apart(xy[doubted] / np.ptp(fit.table.values[:, columns], axis=0)):
            ax.annotate(str(doubt.rows[place]), xy[place], (8, 6), textcoords="offset points", **_NAME)
    ax.set_xlabel(label(fit.table, columns[0]), **TEXT)
    ax.set_ylabel(label(fit.table, columns[1]), **TEXT)
    discs: dict[str, Any] = {
        f"uncertainty {u}": dot(FRAME, markersize=np.sqrt(_area(u, room)), mew=0) for u in (0.1, 0.5)
    }
    _explain(ax, fit, doubt, "", discs | _sd(doubt, dot("none", markeredgecolor=FRAME, markersize=8)))


_RINGED = {"ring: next most probable": dot("white", markeredgecolor=FRAME)}


def _sd(doubt: Doubt, handle: Any) -> dict[str, Any]:
    return {} if doubt.sd is None else {"posterior sd": handle}


def _room(doubt: Doubt) -> float:
    """One for a few hundred points, less for many."""
    return float(np.clip(500 / len(doubt.rows), 0.03, 1))


def _area(uncertainty: Any, room: float) -> Any:
    return _SMALLEST * np.sqrt(room) + _LARGEST * room * uncertainty


def _apart(xy: np.ndarray) -> list[int]:
    """A few of the first points (M, 2), of those too close for their names the first."""
    chosen: list[int] = []
    for place in range(min(len(xy), 4 * _NAMED_ON_MAP)):
        across, up = np.abs(xy[chosen] - xy[place]).T
        if len(chosen) < _NAMED_ON_MAP and ((across > 0.06) | (up > 0.05)).all():
            chosen.append(place)
    return chosen


def _explain(ax: Axes, fit: Posterior | EMFit, doubt: Doubt, which: str, extra: dict[str, Any]) -> None:
    components = {f"component {k}": dot(component_color(k)) for k in np.unique(doubt.component)[:7]}
    which = which or counted(len(doubt.rows), fit.table.n_points)
    uncertain = int((doubt.uncertainty > 1 - CERTAIN).sum())
    title = f"{fit.table.name}" + f", {which}" * bool(which) + f", {uncertain:,} above {1 - CERTAIN:.1f}"
    explain_above(ax, title + (caution(fit) if isinstance(fit, Posterior) else ""), components | extra)
