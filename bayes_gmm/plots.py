"""The picture of both answers: data, ellipses of posterior draws, and the maximum-likelihood fit on top."""

from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from .em_fit import EMFit
from .errors import ArgumentError
from .mixture import Mixture
from .points import CERTAIN
from .posterior import Posterior
from .scene import Scene, abscissae, bins_of, compose, contours, weighted_densities

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
"""Colour-blind-safe colours of the components: six of Okabe and Ito's (2008), and Tol's wine."""

MOST_FEATURES = 6
"""Wider tables are shown by their first columns."""

_INK, _FRAME = "#222222", "#9a9a9a"
_DASHED: dict[str, Any] = {"color": _INK, "linestyle": (0, (4, 2)), "linewidth": 1.3}
_NUMBER: dict[str, Any] = {"color": "white", "fontsize": 8, "weight": "bold", "ha": "center", "va": "center"}
_TEXT: dict[str, Any] = {"color": _INK, "fontsize": 9, "parse_math": False}  # "$" in a name is no formula


def component_color(component: int | np.integer) -> str:
    """Colour of a component, the same in every plot; the palette repeats after seven."""
    return PALETTE[component % len(PALETTE)]


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

    A component is drawn as the ellipse that holds `probability` of it; for one feature, as its density.

    .. math:: (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k) = -2 \log(1 - p)

    Parameters
    ----------
    posterior
        Draws to show; the points take the colours of their posterior mean responsibilities.
    mle
        Fit to show. At least one of `posterior` and `mle` is needed.
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
        One for one or two features; for more, a grid of pairs whose upper triangle is empty (the first six
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
    scene = compose(posterior, mle, data, n_draws, probability, seed)
    if scene.table.n_features <= 2:
        return _single(scene, ax)
    if ax is not None:
        raise ArgumentError(
            f"ax is given for {scene.table.n_features} features.",
            "ax=None for more than two features, which need a grid of axes",
            "Leave ax out, or select two columns and fit these.",
        )
    return _grid(scene)


def _single(scene: Scene, ax: Axes | None) -> Axes:
    ax = plt.subplots(layout="constrained")[1] if ax is None else ax
    last = scene.table.n_features - 1
    _panel(ax, scene, 0, last)
    if last == 0:
        _strip_of_points(ax, scene)
    _explain_above(ax, scene)
    return ax


def _explain_above(ax: Axes, scene: Scene) -> None:
    inches = ax.get_window_extent().width / ax.figure.dpi
    entries, columns = _legend(scene), int(np.clip(inches // 1.2, 1, 4))
    rows = int(np.ceil(len(entries["labels"]) / columns))
    ax.set_title(_title(scene), loc="left", **_TEXT, pad=9 + 13 * rows)
    ax.legend(**entries, loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=columns, columnspacing=1.2)


def _grid(scene: Scene) -> np.ndarray:
    D = min(scene.table.n_features, MOST_FEATURES)
    size = 1.4 + 1.7 * D, 1.2 + 1.5 * D
    figure, axes = plt.subplots(D, D, sharex="col", figsize=size, layout="constrained", squeeze=False)
    for (row, column), ax in np.ndenumerate(axes):
        if column > row:
            ax.set_axis_off()
            continue
        _panel(ax, scene, column, row)
        ax.label_outer()
        if row == column:
            ax.set(yticks=[], ylabel="")
    figure.suptitle(_title(scene), x=0.99, ha="right", **_TEXT)
    figure.legend(**_legend(scene), loc="upper right", bbox_to_anchor=(1, 0.96))
    return axes


def _panel(ax: Axes, scene: Scene, i: int, j: int) -> None:
    """Feature j against feature i, or the density of one feature."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_FRAME)
    ax.tick_params(color=_FRAME, labelcolor=_INK, labelsize=8)
    if i == j:
        _densities(ax, scene, i)
    else:
        _ellipses(ax, scene, i, j)
        _points(ax, scene, scene.points[:, [i, j]])
        ax.set_ylim(scene.view(j))
    ax.set_xlim(scene.view(i))
    ax.set_xlabel(scene.label(i), **_TEXT)
    ax.set_ylabel("density" if i == j else scene.label(j), **_TEXT)


def _ellipses(ax: Axes, scene: Scene, i: int, j: int) -> None:
    for mixture in filter(None, (scene.mle, scene.draws)):
        curves = contours(mixture.marginal([i, j]), scene.probability)
        centres = mixture.means[..., [i, j]].reshape(-1, mixture.n_components, 2).mean(0)
        for k in range(mixture.n_components):
            if mixture is scene.mle:
                ax.plot(*curves[k].T, **_DASHED, zorder=4)
            else:
                _thin_lines(ax, curves[:, k], component_color(k))
    for k, centre in enumerate(centres):
        _number(ax, k, *centre)


def _thin_lines(ax: Axes, curves: np.ndarray, color: str) -> None:
    alpha = float(np.clip(20 / len(curves), 0.03, 0.6))
    lines = LineCollection(list(curves), colors=color, alpha=alpha, linewidths=0.7, zorder=2)
    ax.add_collection(lines, autolim=False)


def _number(ax: Axes, k: int, x: float, y: float) -> None:
    disc = {"boxstyle": "circle,pad=0.25", "facecolor": component_color(k), "edgecolor": "white"}
    ax.text(x, y, str(k), **_NUMBER, bbox=disc, zorder=6, clip_on=True)


def _points(ax: Axes, scene: Scene, xy: np.ndarray) -> None:
    """Each point in the colour of its most probable component; the uncertain ones last, in dark rings."""
    order = np.argsort(scene.uncertain, kind="stable")
    crowd = np.sqrt(len(xy))
    size, alpha = float(np.clip(180 / crowd, 2.5, 14)), float(np.clip(20 / crowd, 0.25, 0.6))
    palette = to_rgba_array([component_color(k) for k in range(scene.shares.shape[1])], alpha)
    fill = palette[scene.shares.argmax(1)[order]]
    shades = np.where(scene.uncertain[order], np.clip(50 / crowd, 0.3, 1), 0)
    rings: Any = to_rgba_array([_INK] * len(xy), shades)
    width = 0.22 * np.sqrt(size)
    x, y = xy[order].T
    ax.scatter(x, y, s=size, c=fill, edgecolors=rings, linewidths=width, zorder=3)


def _densities(ax: Axes, scene: Scene, feature: int) -> None:
    values = scene.table.values[:, feature]
    bins: Any = bins_of(values)
    ax.hist(values, bins, density=True, color="#e4e4e4", edgecolor="white", linewidth=0.4, zorder=1)
    x = abscissae(scene, feature)
    for mixture in filter(None, (scene.mle, scene.draws)):
        parts = weighted_densities(mixture, feature, x)
        components = parts.reshape(-1, *parts.shape[-2:]).mean(0)
        total = parts.sum(-2)
        if mixture is scene.mle:
            ax.plot(x, total, **_DASHED, zorder=4)
        else:
            _thin_lines(ax, np.stack(np.broadcast_arrays(x, total), axis=-1), _FRAME)
            ax.update_datalim([(x[0], np.quantile(total.max(-1), 0.9))])
    for k, density in enumerate(components):
        ax.fill_between(x, density, color=component_color(k), alpha=0.3, linewidth=0, zorder=2.5)
        ax.plot(x, density, color=component_color(k), linewidth=1.2, zorder=3)
        _number(ax, k, x[density.argmax()], density.max())


def _strip_of_points(ax: Axes, scene: Scene) -> None:
    top = ax.get_ylim()[1]
    heights = np.random.default_rng(0).uniform(-0.1, -0.02, len(scene.points)) * top
    _points(ax, scene, np.column_stack([scene.points, heights]))
    ax.set_ylim(-0.12 * top, top)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top])


def _legend(scene: Scene) -> dict[str, Any]:
    dot = partial(Line2D, [], [], linestyle="", marker="o", markersize=5)
    dots = tuple(dot(color=component_color(k)) for k in range(min(scene.shares.shape[1], 3)))
    entries: dict[str, Any] = {f"{len(scene.points):,} points": dots}
    if scene.draws is not None:
        entries["posterior draws"] = Line2D([], [], color=_FRAME, linewidth=0.8)
    if scene.mle is not None:
        entries["maximum likelihood"] = Line2D([], [], **_DASHED)
    if scene.uncertain.any():
        entries[f"uncertain (< {CERTAIN:.0%})"] = dot(color="none", markeredgecolor=_INK)
    style = {"frameon": False, "fontsize": 8, "handler_map": {tuple: HandlerTuple(None)}}
    return {"handles": list(entries.values()), "labels": list(entries), **style}


def _title(scene: Scene) -> str:
    table, shown, D = scene.table, len(scene.points), scene.table.n_features
    return (
        f"{table.name}, {scene.shares.shape[1]} components"
        + f", {100 * scene.probability:g}% ellipses" * (D > 1)
        + f", first {MOST_FEATURES} of {D} features" * (D > MOST_FEATURES)
        + f", random {shown:,} of {table.n_points:,} points" * (shown < table.n_points)
    )
