"""Figure of the posterior density of one or two features: its mean, and how uncertain it is."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bayes_gmm.core.validation import columns_chosen, instance_of, open_probability
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.density_grids import DensitySurface, density_curve, density_surface, highest_density_levels
from bayes_gmm.figure_data.plot_coordinates import histogram_edges
from bayes_gmm.figure_data.shown_components import ShownComponents, gaps_note, shown_components
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.style import (
    DASHED,
    FRAME,
    INK,
    PALE,
    TEXT,
    axes_or_new,
    legend_line,
    legend_marker,
    sample_words,
    style_axes,
    title_and_legend_above,
    title_start,
)
from bayes_gmm.posterior.posterior import Posterior

_SHARES = (0.99, 0.95, 0.8, 0.5, 0.2)
"""Shares of the mean density inside the filled regions."""

_OUTLINED = (0.95, 0.5)
"""Shares at whose heights the maximum-likelihood density is outlined."""

_RELATIVE_SDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Levels of the lines of relative posterior sd, round numbers evenly spaced on a log scale."""

_MOST_LINES = 5
"""More of these lines, with their labels, would hide the regions; the lines of the largest sds are kept."""

_DARK_BLUE, _BLUE, _RUST = "#1f4e79", "#5b8fb9", "#A63603"


def plot_density(
    posterior: Posterior,
    *,
    mle: EMFit | Mixture | None = None,
    features: Any = None,
    probability: float = 0.94,
    ax: Axes | None = None,
) -> Axes:
    r"""Plot the posterior mean of the density of one or two features, and how uncertain it is.

    .. math:: \bar p(x) = \frac1S \sum_s p(x \mid \theta_s)

    One feature: the mean density over the histogram, with the central interval at each value as a band. Two features:
    the smallest regions that hold given shares of the mean density, and contour lines of its relative posterior sd. The
    maximum-likelihood density is dashed: a curve, or its contours at the heights of the 95% and 50% regions.

    Parameters
    ----------
    posterior
        Posterior draws.
    mle
        Maximum-likelihood fit to show.
    features
        One or two columns by name or index; not needed for a table of one or two columns.
    probability
        Mass of the band, for one feature.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        When an argument cannot be used.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("galaxies")
    >>> posterior = bg.fit_nuts(x, n_components=3, num_samples=100, num_chains=2, progress=False)
    >>> bg.plot_density(posterior).get_xlabel()
    'velocity [1000 km/s]'
    """
    instance_of("posterior", posterior, Posterior, "Give what fit_nuts returned.")
    columns = _one_or_two(features, posterior.table.columns)
    shown = shown_components(posterior, mle, probability=open_probability(probability, 0.94))
    ax = axes_or_new(ax)
    style_axes(ax)
    if len(columns) == 1:
        _draw_curve(ax, posterior, shown, columns[0])
    else:
        _draw_surface(ax, posterior, shown, columns)
    return ax


def _one_or_two(features: Any, columns: tuple[str, ...]) -> list[int]:
    if features is None and len(columns) <= 2:
        return list(range(len(columns)))
    if features is None:
        raise ArgumentError(
            f"features is left out for a table of {len(columns)} columns.",
            f"one or two of {', '.join(columns[:20])}",
            f"For example features={list(columns[:2])!r}.",
        )
    return columns_chosen(features, columns, 2)


def _draw_curve(ax: Axes, posterior: Posterior, shown: ShownComponents, feature: int) -> None:
    values = shown.table.seen(feature)
    curve = density_curve(posterior, shown, feature, shown.probability)
    histogram: dict[str, Any] = {"density": True, "color": PALE, "edgecolor": "white", "linewidth": 0.4, "zorder": 1}
    ax.hist(values, histogram_edges(values).tolist(), **histogram)
    ax.fill_between(curve.x, curve.lower, curve.upper, color=_BLUE, alpha=0.45, linewidth=0, zorder=2)
    ax.plot(curve.x, curve.mean, color=_DARK_BLUE, linewidth=1.6, zorder=3)
    entries = {
        f"{shown.table.n_points:,} points": Patch(color=PALE),
        "posterior mean": legend_line(_DARK_BLUE, linewidth=1.6),
        f"{100 * shown.probability:g}% interval": Patch(color=_BLUE, alpha=0.45, linewidth=0),
    }
    if shown.mle is not None:
        ax.plot(curve.x, np.exp(shown.mle.marginal([feature]).log_prob(curve.x[:, None])), **DASHED, zorder=4)
        entries["maximum likelihood"] = legend_line(**DASHED)
    ax.set_xlim(shown.limits(feature))
    ax.set_ylim(bottom=0)
    ax.set_xlabel(shown.column_label(feature), **TEXT)
    ax.set_ylabel("density", **TEXT)
    title_and_legend_above(ax, _title(shown), entries)


def _draw_surface(ax: Axes, posterior: Posterior, shown: ShownComponents, features: list[int]) -> None:
    surface = density_surface(posterior, shown, features)
    _draw_regions(ax, surface)
    _draw_relative_sd(ax, surface)
    crowding = max(np.sqrt(len(shown.points) / 500), 1)  # Beyond 500 points, more are drawn smaller and paler.
    style: dict[str, Any] = {"s": 2 / crowding, "alpha": 0.35 / crowding, "color": INK, "linewidths": 0, "zorder": 2.5}
    ax.scatter(*shown.points[:, features].T, **style)
    entries = {
        f"{len(shown.points):,} points": legend_marker(INK, markersize=2),
        "relative posterior sd": legend_line(_RUST),
    }
    if shown.mle is not None:
        density = surface.density_of(shown.mle.marginal(features))
        levels = highest_density_levels(surface.mean, _OUTLINED)
        style = {"colors": INK, "linewidths": 1.1, "linestyles": [DASHED["linestyle"]], "zorder": 4}
        ax.contour(surface.x, surface.y, density, levels=levels, **style)
        entries["maximum likelihood"] = legend_line(**DASHED)
    ax.set_xlabel(shown.column_label(features[0]), **TEXT)
    ax.set_ylabel(shown.column_label(features[1]), **TEXT)
    sampled = sample_words(len(shown.points), shown.table.n_points)
    title_and_legend_above(ax, _title(shown) + f", {sampled}" * bool(sampled), entries)


def _draw_regions(ax: Axes, surface: DensitySurface) -> None:
    """Highest-density regions, filled, with a colour bar that names their shares."""
    levels = [*highest_density_levels(surface.mean, _SHARES), surface.mean.max() * (1 + 1e-9)]
    colors = colormaps["Blues"](np.linspace(0.12, 0.75, len(_SHARES)))
    filled = ax.contourf(surface.x, surface.y, surface.mean, levels=levels, colors=list(colors), zorder=1)
    bar = ax.figure.colorbar(filled, ax=ax, spacing="uniform", pad=0.02, shrink=0.8)
    bar.set_ticks(levels[:-1], labels=[f"{share:.0%}" for share in _SHARES])
    bar.set_label("share of the posterior mean density inside", **TEXT)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=INK)
    bar.outline.set_edgecolor(FRAME)


def _draw_relative_sd(ax: Axes, surface: DensitySurface) -> None:
    """Contour lines of the relative sd inside the outermost region; outside it the density itself is negligible."""
    outside = surface.mean < highest_density_levels(surface.mean, _SHARES[:1])[0]
    relative = np.ma.masked_where(outside, surface.relative_sd)
    levels = [level for level in _RELATIVE_SDS if relative.min() < level < relative.max()][-_MOST_LINES:]
    if levels:
        lines = ax.contour(surface.x, surface.y, relative, levels=levels, colors=_RUST, linewidths=0.8, zorder=3)
        ax.clabel(lines, fmt=lambda level: f"{100 * level:g}%", fontsize=7)


def _title(shown: ShownComponents) -> str:
    return title_start(shown.table.name, shown.n_components) + gaps_note(shown.table) + shown.explanations_note
