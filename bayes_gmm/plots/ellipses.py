"""Figure of draws and the fit over the points: one feature as densities, two as ellipses, more as a grid of pairs."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.legend_handler import HandlerTuple

from bayes_gmm.clustering.point_assignments import CERTAIN
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.plot_coordinates import (
    component_ellipses,
    density_abscissae,
    histogram_edges,
    mixture_density,
    weighted_component_densities,
)
from bayes_gmm.figure_data.shown_components import ShownComponents, gaps_note, shown_components
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import noise_share
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.style import (
    DASHED,
    FRAME,
    INK,
    MOST_FEATURES,
    PALE,
    TEXT,
    axes_or_new,
    component_color,
    draw_component_number,
    legend_arguments,
    legend_line,
    legend_marker,
    sample_words,
    style_axes,
    title_and_legend_above,
    title_start,
)
from bayes_gmm.posterior.posterior import Posterior

_LEGEND: dict[str, Any] = {"handler_map": {tuple: HandlerTuple(None)}}
"""Lets one entry of a legend show the points of several components side by side."""


def plot_ellipses(
    posterior: Posterior | None = None,
    *,
    mle: EMFit | Mixture | None = None,
    data: Any = None,
    ax: Axes | None = None,
    n_draws: int = 100,
    probability: float = 0.9,
    seed: int = 0,
) -> Axes | np.ndarray:
    r"""Plot the data, posterior draws of each component and the maximum-likelihood fit, dashed.

    A component is drawn as the ellipse that holds `probability` of its mass; for one feature, as its density.

    .. math:: (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k) = -2 \log(1 - p)

    Parameters
    ----------
    posterior
        Posterior draws to show; the points are coloured by their posterior mean responsibilities.
    mle
        Maximum-likelihood fit to show. At least one of `posterior` and `mle` is needed.
    data : (N, D)
        Points to show; by default those that were fitted.
    ax
        Axes to draw on, for one or two features; a new figure by default.
    n_draws
        Posterior draws to show, evenly spaced over all of them.
    probability
        Mass of a component inside its ellipse.
    seed
        Seed of the random sample of rows that stands for a table of more than 20 000.

    Returns
    -------
    Axes or (D, D) array of Axes
        One pair of axes for one or two features; for more, a grid of pairs whose upper triangle is empty (the first six
        features of a wider table).

    Raises
    ------
    ArgumentError
        When neither fit is given, the fits and the data disagree, or another argument cannot be used.
    DataError
        When `data` is not a table of numbers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> ax = bg.plot_ellipses(mle=bg.fit_em(bg.datasets.load("faithful"), n_components=2))
    >>> ax.get_xlabel()
    'eruptions [min]'
    """
    shown = shown_components(posterior, mle, data=data, n_draws=n_draws, probability=probability, seed=seed)
    return single_or_grid(shown, ax)


def single_or_grid(shown: ShownComponents, ax: Axes | None) -> Axes | np.ndarray:
    """One pair of axes for one or two features, a grid of pairs for more.

    Raises
    ------
    ArgumentError
        When `ax` is given for more than two features.
    """
    if shown.table.n_features <= 2:
        return _single(shown, list(range(shown.table.n_features)), ax)
    if ax is not None:
        raise ArgumentError(
            f"ax is given for {shown.table.n_features} features.",
            "ax=None for more than two features, which need a grid of axes",
            "Leave ax out, or select two columns and fit these.",
        )
    return grid_of_first(shown)


def grid_of_first(shown: ShownComponents) -> np.ndarray:
    """Grid of pairs of the first features, at most `MOST_FEATURES`."""
    return grid(shown, list(range(min(shown.table.n_features, MOST_FEATURES))))


def grid(shown: ShownComponents, features: list[int]) -> np.ndarray:
    """Grid (F, F) of axes, each chosen feature against each; the upper triangle holds the legend."""
    if len(features) == 1:
        return np.array([[_single(shown, features, None)]])
    F = len(features)
    size = 1.4 + 1.7 * F, 1.2 + 1.5 * F
    figure, axes = plt.subplots(F, F, sharex="col", figsize=size, layout="constrained", squeeze=False)
    for (row, column), ax in np.ndenumerate(axes):
        if column > row:
            ax.set_axis_off()
            continue
        _panel(ax, shown, features[column], features[row])
        ax.label_outer()
        if row == column:
            ax.set(yticks=[], ylabel="")
    figure.suptitle(_title(shown, features), x=0.99, ha="right", **TEXT)
    legend = legend_arguments(_legend_entries(shown))
    figure.legend(**legend, **_LEGEND, loc="upper right", bbox_to_anchor=(1, 0.96))
    return axes


def _single(shown: ShownComponents, features: list[int], ax: Axes | None) -> Axes:
    ax = axes_or_new(ax)
    _panel(ax, shown, features[0], features[-1])
    if len(features) == 1:
        _draw_points_below(ax, shown, features[0])
    title_and_legend_above(ax, _title(shown, features), _legend_entries(shown), **_LEGEND)
    return ax


def _panel(ax: Axes, shown: ShownComponents, i: int, j: int) -> None:
    """Feature j against feature i, or the density of one feature where both are the same."""
    style_axes(ax)
    if i == j:
        _draw_densities(ax, shown, i)
    else:
        _draw_ellipses(ax, shown, i, j)
        _draw_points(ax, shown, shown.points[:, [i, j]])
        ax.set_ylim(shown.limits(j))
    ax.set_xlim(shown.limits(i))
    ax.set_xlabel(shown.column_label(i), **TEXT)
    ax.set_ylabel("density" if i == j else shown.column_label(j), **TEXT)


def _draw_points(ax: Axes, shown: ShownComponents, xy: Float[np.ndarray, "M 2"]) -> None:
    """Each point in the colour of its most probable component, noise as grey crosses; uncertain ones in dark rings.

    The more points there are, the smaller and the more transparent they are, so that the ellipses stay visible.
    """
    components = shown.components
    order = np.argsort(shown.uncertain, kind="stable")
    order = order[components[order] >= 0]
    crowding = np.sqrt(len(xy))
    size, alpha = float(np.clip(180 / crowding, 2.5, 14)), float(np.clip(20 / crowding, 0.25, 0.6))
    palette = to_rgba_array([component_color(k) for k in range(shown.n_components)], alpha)
    fill = palette[components[order]]
    ring_alpha = np.where(shown.uncertain[order], np.clip(50 / crowding, 0.3, 1), 0)
    rings: Any = to_rgba_array([INK] * len(order), ring_alpha)
    x, y = xy[order].T
    ax.scatter(x, y, s=size, c=fill, edgecolors=rings, linewidths=0.22 * np.sqrt(size), zorder=3)
    crosses = xy[components < 0]
    if len(crosses):
        ax.scatter(
            crosses[:, 0], crosses[:, 1], s=1.6 * size, c=FRAME, marker="x", linewidths=0.3 * np.sqrt(size), zorder=3
        )


def _draw_points_below(ax: Axes, shown: ShownComponents, feature: int) -> None:
    """The points of one feature in a strip below zero density, at random heights so that they overlap less."""
    top = ax.get_ylim()[1]
    heights = np.random.default_rng(0).uniform(-0.1, -0.02, len(shown.points)) * top
    _draw_points(ax, shown, np.column_stack([shown.points[:, feature], heights]))
    ax.set_ylim(-0.12 * top, top)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top])


def _draw_ellipses(ax: Axes, shown: ShownComponents, i: int, j: int) -> None:
    """Ellipses of the fit dashed and of the draws in colour; numbers at the means of the draws, or of the fit alone."""
    if shown.mle is not None:
        for ellipse in component_ellipses(shown.mle.without_noise().marginal([i, j]), shown.probability):
            ax.plot(*ellipse.T, **DASHED, zorder=4)
    if shown.draws is not None:
        ellipses = component_ellipses(shown.draws.without_noise().marginal([i, j]), shown.probability)
        for k in range(shown.draws.n_components):
            if shown.averaged:
                ax.plot(*ellipses[0, k].T, color=component_color(k), linewidth=1.8, zorder=3.5)
            else:
                _draw_thin_lines(ax, ellipses[:, k], component_color(k))
    means = _numbered(shown).means[..., [i, j]]
    for k, centre in enumerate(means.reshape(-1, *means.shape[-2:]).mean(0)):
        draw_component_number(ax, k, *centre)


def _numbered(shown: ShownComponents) -> Any:
    """The mixture whose components bear the numbers: the draws, or the fit where there are none."""
    return shown.mle if shown.draws is None else shown.draws


def _draw_thin_lines(ax: Axes, curves: Float[np.ndarray, "S G 2"], color: str) -> None:
    """One curve for each draw, the more transparent the more there are; they do not widen the axes."""
    alpha = float(np.clip(20 / len(curves), 0.03, 0.6))
    lines = LineCollection(list(curves), colors=color, alpha=alpha, linewidths=0.7, zorder=2)
    ax.add_collection(lines, autolim=False)


def _draw_densities(ax: Axes, shown: ShownComponents, feature: int) -> None:
    """Histogram, densities of the whole mixtures, and densities of the components, which bear the numbers."""
    _draw_histogram(ax, shown, feature)
    x = density_abscissae(shown, feature)
    if shown.mle is not None:
        ax.plot(x, mixture_density(shown.mle, feature, x), **DASHED, zorder=4)
    if shown.draws is not None:
        _draw_totals(ax, shown, x, mixture_density(shown.draws, feature, x))
    parts = weighted_component_densities(_numbered(shown), feature, x)
    for k, density in enumerate(parts.reshape(-1, *parts.shape[-2:]).mean(0)):
        if not shown.averaged:
            ax.fill_between(x, density, color=component_color(k), alpha=0.3, linewidth=0, zorder=2.5)
        ax.plot(x, density, color=component_color(k), linewidth=1.2, zorder=3)
        draw_component_number(ax, k, x[density.argmax()], density.max())


def _draw_totals(
    ax: Axes, shown: ShownComponents, x: Float[np.ndarray, " G"], totals: Float[np.ndarray, "S G"]
) -> None:
    """Densities of the whole mixture under each of the draws, or under their mean."""
    if shown.averaged:
        ax.plot(x, totals[0], color=FRAME, linewidth=1.8, zorder=2.8)
        return
    _draw_thin_lines(ax, np.stack(np.broadcast_arrays(x, totals), axis=-1), FRAME)
    # The axes hold the peaks of nine draws in ten: a single wild draw would flatten all others.
    ax.update_datalim([(x[0], np.quantile(totals.max(-1), 0.9))])


def _draw_histogram(ax: Axes, shown: ShownComponents, feature: int) -> None:
    """All values; where the draws are averaged, the points by component, each counted by its responsibilities."""
    values = shown.table.seen(feature)
    edges = histogram_edges(values).tolist()
    style: dict[str, Any] = {"density": True, "edgecolor": "white", "linewidth": 0.4, "zorder": 1}
    if not shown.averaged:
        ax.hist(values, edges, color=PALE, **style)
        return
    shares, seen = shown.responsibilities, ~np.isnan(shown.points[:, feature])
    if (shown.components < 0).any():
        shares = np.column_stack([shares, noise_share(shares)])
    n_parts = shares.shape[1]
    colors = [component_color(k if k < shown.n_components else -1) for k in range(n_parts)]
    style |= {"weights": list(shares[seen].T), "color": colors, "alpha": 0.35}
    ax.hist([shown.points[seen, feature]] * n_parts, edges, stacked=True, **style)


def _title(shown: ShownComponents, features: list[int]) -> str:
    """The table, the number of components, and what is left out."""
    table, D, F = shown.table, shown.table.n_features, len(features)
    which = "first " * (features == list(range(F)) and F > 1)
    sampled = sample_words(len(shown.points), table.n_points)
    return (
        title_start(table.name, shown.n_components)
        + f", {100 * shown.probability:g}% ellipses" * (F > 1)
        + f", {which}{F} of {D} features" * (F < D)
        + f", {sampled}" * bool(sampled)
        + gaps_note(table)
        + shown.explanations_note
    )


def _legend_entries(shown: ShownComponents) -> dict[str, Any]:
    """Handles by label; the points are shown in the colours of at most three components."""
    dots = tuple(legend_marker(component_color(k)) for k in range(min(shown.n_components, 3)))
    entries: dict[str, Any] = {f"{len(shown.points):,} points": dots}
    if shown.draws is not None and shown.averaged:
        entries["posterior mean"] = legend_line(FRAME, linewidth=1.8)
    elif shown.draws is not None:
        entries["posterior draws"] = legend_line(FRAME, linewidth=0.8)
    if shown.mle is not None:
        entries["maximum likelihood"] = legend_line(**DASHED)
    if noise := int((shown.components < 0).sum()):
        entries[f"noise ({noise:,} points)"] = legend_marker(FRAME, marker="x")
    if shown.uncertain.any():
        entries[f"uncertain (< {CERTAIN:.0%})"] = legend_marker("none", markeredgecolor=INK)
    return entries
