"""Figure of the density: its posterior mean, and how uncertain it is."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bayes_gmm.core.validation import columns_chosen, instance_of, open_probability
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.density_grids import Surface, curve, levels_of, surface
from bayes_gmm.figure_data.shown_components import Scene, bins_of, compose
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.style import (
    DASHED,
    FRAME,
    INK,
    PALE,
    TEXT,
    axes_or_new,
    counted,
    dot,
    explain_above,
    frame,
    headline,
    stroke,
)
from bayes_gmm.posterior.posterior import Posterior

_SHARES = (0.99, 0.95, 0.8, 0.5, 0.2)
_OUTLINED = (0.95, 0.5)
_RELATIVE_SDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_RUST = "#A63603"


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

    One feature: over the histogram, with the central interval at each value as a band. Two: the smallest regions that
    hold given shares of the mean density, and lines of its relative posterior sd. The maximum-likelihood density is
    dashed: its curve, or its outlines at the heights of the 95% and 50% regions.

    Parameters
    ----------
    posterior
        Draws.
    mle
        Fit to show.
    features
        One or two columns by name or index; may be left out for a table of no more.
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
    scene = compose(posterior, mle, None, None, open_probability(probability, 0.94), 0)
    ax = axes_or_new(ax)
    frame(ax)
    if len(columns) == 1:
        _curve(ax, posterior, scene, columns[0])
    else:
        _surface(ax, posterior, scene, columns)
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


def _curve(ax: Axes, posterior: Posterior, scene: Scene, feature: int) -> None:
    values, found = scene.table.values[:, feature], curve(posterior, scene, feature, scene.probability)
    bins: Any = bins_of(values)
    ax.hist(values, bins, density=True, color=PALE, edgecolor="white", linewidth=0.4, zorder=1)
    ax.fill_between(found.x, found.lower, found.upper, color="#5b8fb9", alpha=0.45, linewidth=0, zorder=2)
    ax.plot(found.x, found.mean, color="#1f4e79", linewidth=1.6, zorder=3)
    entries = {
        f"{scene.table.n_points:,} points": Patch(color=PALE),
        "posterior mean": stroke("#1f4e79", linewidth=1.6),
        f"{100 * scene.probability:g}% interval": Patch(color="#5b8fb9", alpha=0.45, linewidth=0),
    }
    if scene.mle is not None:
        ax.plot(found.x, np.exp(scene.mle.marginal([feature]).log_prob(found.x[:, None])), **DASHED, zorder=4)
        entries["maximum likelihood"] = stroke(**DASHED)
    ax.set_xlim(scene.view(feature))
    ax.set_ylim(bottom=0)
    ax.set_xlabel(scene.label(feature), **TEXT)
    ax.set_ylabel("density", **TEXT)
    explain_above(ax, _title(scene), entries)


def _surface(ax: Axes, posterior: Posterior, scene: Scene, features: list[int]) -> None:
    found = surface(posterior, scene, features)
    _regions(ax, found)
    _relative_sd(ax, found)
    crowd = np.sqrt(len(scene.points) / 500)
    style: dict[str, Any] = {"s": 2 / max(crowd, 1), "alpha": 0.35 / max(crowd, 1)}
    ax.scatter(*scene.points[:, features].T, **style, color=INK, linewidths=0, zorder=2.5)
    entries = {f"{len(scene.points):,} points": dot(INK, markersize=2), "relative posterior sd": stroke(_RUST)}
    if scene.mle is not None:
        heights = levels_of(found.mean, _OUTLINED)
        density = found.at_grid(scene.mle.marginal(features))
        style = {"colors": INK, "linewidths": 1.1, "linestyles": [DASHED["linestyle"]]}
        ax.contour(found.x, found.y, density, levels=heights, **style, zorder=4)
        entries["maximum likelihood"] = stroke(**DASHED)
    ax.set_xlabel(scene.label(features[0]), **TEXT)
    ax.set_ylabel(scene.label(features[1]), **TEXT)
    sampled = counted(len(scene.points), scene.table.n_points)
    explain_above(ax, _title(scene) + f", {sampled}" * bool(sampled), entries)


def _regions(ax: Axes, found: Surface) -> None:
    levels = [*levels_of(found.mean, _SHARES), found.mean.max() * (1 + 1e-9)]
    colors = colormaps["Blues"](np.linspace(0.12, 0.75, len(_SHARES)))
    filled = ax.contourf(found.x, found.y, found.mean, levels=levels, colors=list(colors), zorder=1)
    bar = ax.figure.colorbar(filled, ax=ax, spacing="uniform", pad=0.02, shrink=0.8)
    bar.set_ticks(levels[:-1], labels=[f"{share:.0%}" for share in _SHARES])
    bar.set_label("share of the posterior mean density inside", **TEXT)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=INK)
    bar.outline.set_edgecolor(FRAME)


def _relative_sd(ax: Axes, found: Surface) -> None:
    """Lines inside the outermost region, beyond which the relative sd is that of almost nothing."""
    outside = found.mean < levels_of(found.mean, _SHARES[:1])[0]
    relative = np.ma.masked_where(outside, found.relative_sd)
    levels = [level for level in _RELATIVE_SDS if relative.min() < level < relative.max()][-5:]
    if levels:
        lines = ax.contour(found.x, found.y, relative, levels=levels, colors=_RUST, linewidths=0.8, zorder=3)
        ax.clabel(lines, fmt=lambda level: f"{100 * level:g}%", fontsize=7)


def _title(scene: Scene) -> str:
    return headline(scene.table.name, scene.shares.shape[1]) + scene.caution
