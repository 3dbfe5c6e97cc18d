"""The picture of both answers: data, ellipses of posterior draws, and the maximum-likelihood fit on top."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from .arguments import positive_integer, seed_integer
from .comparison import CERTAIN
from .em_fit import EMFit
from .errors import ArgumentError
from .mixture import Mixture
from .posterior import Posterior
from .table import Table, as_table

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
"""Colour-blind-safe colours of the components: six of Okabe and Ito's (2008), and Tol's wine."""

MOST_POINTS = 20_000
"""Larger tables are shown by a random sample of this many rows."""

MOST_FEATURES = 6
"""Wider tables are shown by their first columns."""

_INK, _FRAME = "#222222", "#9a9a9a"
_DASHED: dict[str, Any] = {"color": _INK, "linestyle": (0, (4, 2)), "linewidth": 1.3}


def component_color(component: int) -> str:
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

    References
    ----------
    Colours: Okabe and Ito (2008), https://jfly.uni-koeln.de/color/.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> ax = bg.plot_ellipses(mle=bg.fit_em(bg.datasets.load("faithful"), n_components=2))
    >>> ax.get_xlabel()
    'eruptions [min]'
    """
    scene = _scene(posterior, mle, data, n_draws, probability, seed)
    if scene.table.n_features <= 2:
        return _single(scene, ax)
    if ax is not None:
        raise ArgumentError(
            f"ax is given for {scene.table.n_features} features.",
            "ax=None for more than two features, which need a grid of axes",
            "Leave ax out, or select two columns and fit these.",
        )
    return _grid(scene)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scene:
    """What is shown: the points (M, D) with their responsibilities (M, K), and both answers."""

    table: Table
    points: np.ndarray
    shares: np.ndarray
    draws: Mixture | None
    mle: Mixture | None
    probability: float

    @property
    def uncertain(self) -> np.ndarray:
        return np.asarray(self.shares.max(1) < CERTAIN)

    def label(self, feature: int) -> str:
        name = _plain(self.table.columns[feature])
        return f"{name} [{_plain(self.table.units[feature])}]" if self.table.units else name

    def view(self, feature: int) -> tuple[float, float]:
        """Limits that come from the data alone, so that a few wild draws do not shrink everything else."""
        low, high = self.table.values[:, feature].min(), self.table.values[:, feature].max()
        margin = 0.1 * (high - low)
        return float(low - margin), float(high + margin)


def _scene(
    posterior: Posterior | None, mle: Any, data: Any, n_draws: int, probability: float, seed: int
) -> _Scene:
    _check(posterior, mle, data, probability)
    table = as_table(data) if data is not None else (posterior or mle).table
    draws = _thinned(posterior.draws, positive_integer("n_draws", n_draws)) if posterior else None
    single = _single_mixture(mle) if mle is not None else None
    _check_features(table, draws, single)
    shown = _sample_of_rows(table, seed_integer(seed))
    shares = _shares(posterior, single, shown)
    return _Scene(
        table=table, points=shown.values, shares=shares, draws=draws, mle=single, probability=probability
    )


def _sample_of_rows(table: Table, seed: int) -> Table:
    if table.n_points <= MOST_POINTS:
        return table
    rows = np.random.default_rng(seed).choice(table.n_points, MOST_POINTS, replace=False)
    return Table(table.values[rows], table.columns)


def _thinned(draws: Mixture, n_draws: int) -> Mixture:
    total = int(np.prod(draws.log_weights.shape[:2]))
    chosen = np.linspace(0, total - 1, min(n_draws, total)).round().astype(int)
    thinned: Mixture = jax.tree.map(lambda leaf: leaf.reshape(total, *leaf.shape[2:])[chosen], draws)
    return thinned


def _single_mixture(mle: EMFit | Mixture) -> Mixture:
    mixture: Mixture = jax.tree.map(np.asarray, mle.mixture if isinstance(mle, EMFit) else mle)
    if mixture.means.ndim != 2 or not np.isfinite(mixture.scale_tril).all():
        raise ArgumentError(
            f"mle is {mixture!r}, batched or not finite.",
            "one mixture of finite numbers",
            "Draws go in as posterior; for a fit that failed, see its status.",
        )
    return mixture


def _shares(posterior: Posterior | None, mle: Mixture | None, shown: Table) -> np.ndarray:
    if posterior is None:
        return np.empty((0, 0)) if mle is None else mle.responsibilities(shown.values)
    same = posterior if shown is posterior.table else replace(posterior, table=shown)
    return same.responsibilities()


def _single(scene: _Scene, ax: Axes | None) -> Axes:
    ax = plt.subplots(layout="constrained")[1] if ax is None else ax
    last = scene.table.n_features - 1
    _panel(ax, scene, 0, last)
    if last == 0:
        _strip_of_points(ax, scene)
    ax.set_title(_title(scene), loc="left", fontsize=10, color=_INK, pad=22)
    ax.legend(**_legend(scene), loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=4, columnspacing=1.2)
    return ax


def _grid(scene: _Scene) -> np.ndarray:
    D = min(scene.table.n_features, MOST_FEATURES)
    size = 1.4 + 1.7 * D, 1.2 + 1.5 * D
    figure, axes = plt.subplots(D, D, sharex="col", figsize=size, layout="constrained", squeeze=False)
    grid: np.ndarray = np.asarray(axes)
    for row, column in np.ndindex(D, D):
        if column > row:
            grid[row, column].set_axis_off()
        else:
            _panel(grid[row, column], scene, column, row)
            grid[row, column].label_outer()
    figure.suptitle(_title(scene), x=0.99, ha="right", fontsize=10, color=_INK)
    figure.legend(**_legend(scene), loc="upper right", bbox_to_anchor=(1, 0.96))
    return grid


def _panel(ax: Axes, scene: _Scene, i: int, j: int) -> None:
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
    ax.set_xlabel(scene.label(i), color=_INK, fontsize=9)
    ax.set_ylabel("density" if i == j else scene.label(j), color=_INK, fontsize=9)


def _ellipses(ax: Axes, scene: _Scene, i: int, j: int) -> None:
    for mixture in filter(None, (scene.mle, scene.draws)):
        centres = mixture.means[..., [i, j]].reshape(-1, mixture.n_components, 2).mean(0)
    if scene.draws is not None:
        contours = _contours(scene.draws.marginal([i, j]), scene.probability)
        for k in range(scene.draws.n_components):
            _thin_lines(ax, contours[:, k], component_color(k))
    if scene.mle is not None:
        for contour in _contours(scene.mle.marginal([i, j]), scene.probability):
            ax.plot(*contour.T, **_DASHED, zorder=4)
    for k, (x, y) in enumerate(centres):
        _number(ax, k, x, y)


def _contours(mixture: Mixture, probability: float) -> np.ndarray:
    """Closed contours (..., K, 73, 2) that hold `probability` of each component."""
    angles = np.linspace(0, 2 * np.pi, 73)
    circle = np.sqrt(-2 * np.log1p(-probability)) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.asarray(mixture.means[..., None, :] + circle @ mixture.scale_tril.mT)


def _thin_lines(ax: Axes, curves: np.ndarray, color: str) -> None:
    alpha = float(np.clip(20 / len(curves), 0.03, 0.6))
    lines = LineCollection(list(curves), colors=color, alpha=alpha, linewidths=0.7, zorder=2)
    ax.add_collection(lines, autolim=False)


def _number(ax: Axes, k: int, x: float, y: float) -> None:
    disc = {"boxstyle": "circle,pad=0.25", "facecolor": component_color(k), "edgecolor": "white"}
    ax.text(
        x,
        y,
        str(k),
        color="white",
        fontsize=8,
        fontweight="bold",
        ha="center",
        va="center",
        bbox=disc,
        zorder=6,
        clip_on=True,
    )


def _points(ax: Axes, scene: _Scene, xy: np.ndarray) -> None:
    order = np.argsort(scene.uncertain, kind="stable")
    crowd = np.sqrt(len(xy))
    size, alpha = np.clip(180 / crowd, 2.5, 14), float(np.clip(20 / crowd, 0.25, 0.6))
    colors = [component_color(k) for k in scene.shares.argmax(1)[order]]
    dots = ax.scatter(*xy[order].T, float(size), to_rgba_array(colors, alpha), zorder=3)
    dots.set_linewidths(0.22 * np.sqrt(size))
    ring, none = to_rgba(_INK, float(np.clip(50 / crowd, 0.4, 1))), to_rgba(_INK, 0)
    dots.set_edgecolors([ring if uncertain else none for uncertain in scene.uncertain[order]])


def _densities(ax: Axes, scene: _Scene, feature: int) -> None:
    values = scene.table.values[:, feature]
    ax.hist(values, _bins(values), density=True, color="#e4e4e4", edgecolor="white", linewidth=0.4, zorder=1)
    x = np.union1d(np.linspace(*scene.view(feature), 400), np.quantile(values, np.linspace(0, 1, 200)))
    for mixture in filter(None, (scene.mle, scene.draws)):
        parts = _weighted_densities(mixture, feature, x)
        components = parts.reshape(-1, *parts.shape[-2:]).mean(0)
        if mixture is scene.mle:
            ax.plot(x, parts.sum(0), **_DASHED, zorder=4)
        else:
            curves = parts.sum(1)
            _thin_lines(ax, np.stack(np.broadcast_arrays(x, curves), axis=-1), _FRAME)
    for k, density in enumerate(components):
        ax.fill_between(x, density, color=component_color(k), alpha=0.3, linewidth=0, zorder=2.5)
        ax.plot(x, density, color=component_color(k), linewidth=1.2, zorder=3)
        _number(ax, k, x[density.argmax()], density.max())


def _bins(values: np.ndarray) -> np.ndarray:
    """Edges of bins that all hold as many of the distinct values, so that rounded data show no comb."""
    step = np.diff(np.unique(values)).min()
    width = np.ptp(values) / np.clip(2 * np.sqrt(len(values)), 10, 60)
    width = step * max(1, round(width / step))
    return np.arange(values.min() - step / 2, values.max() + width, width)


def _weighted_densities(mixture: Mixture, feature: int, x: np.ndarray) -> np.ndarray:
    """Densities of one feature, pi_k N(x | mu_k, sigma_k^2), (..., K, G)."""
    means, scales = mixture.means[..., [feature]], mixture.scales[..., [feature]]
    bells = np.exp(-0.5 * ((x - means) / scales) ** 2) / (np.sqrt(2 * np.pi) * scales)
    return np.asarray(mixture.weights[..., None] * bells)


def _strip_of_points(ax: Axes, scene: _Scene) -> None:
    top = ax.get_ylim()[1]
    heights = np.random.default_rng(0).uniform(-0.1, -0.02, len(scene.points)) * top
    _points(ax, scene, np.column_stack([scene.points, heights]))
    ax.set_ylim(-0.12 * top, top)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top])


def _legend(scene: _Scene) -> dict[str, Any]:
    total, shown = scene.table.n_points, len(scene.points)
    colors = [component_color(k) for k in range(min(scene.shares.shape[1], 3))]
    dots = tuple(_dot(color=color) for color in colors)
    entries: list[tuple[Any, str]] = [
        (dots, f"{total:,} points" if shown == total else f"random {shown:,} of {total:,}")
    ]
    if scene.draws is not None:
        entries += [(Line2D([], [], color=_FRAME, linewidth=0.8), "posterior draws")]
    if scene.mle is not None:
        entries += [(Line2D([], [], **_DASHED), "maximum likelihood")]
    if scene.uncertain.any():
        entries += [(_dot(color="none", markeredgecolor=_INK), f"uncertain (< {CERTAIN:.0%})")]
    handles, labels = zip(*entries, strict=True)
    style = {"frameon": False, "fontsize": 8, "handler_map": {tuple: HandlerTuple(None)}}
    return {"handles": handles, "labels": labels, **style}


def _dot(**options: Any) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", markersize=5, **options)


def _title(scene: _Scene) -> str:
    table = scene.table
    parts = [_plain(table.name), f"{scene.shares.shape[1]} components"]
    if table.n_features > 1:
        parts += [f"{100 * scene.probability:g}% ellipses"]
    if table.n_features > MOST_FEATURES:
        parts += [f"first {MOST_FEATURES} of {table.n_features} features"]
    return ", ".join(parts)


def _plain(text: str) -> str:
    """Keep matplotlib from reading a formula into a name with dollar signs."""
    return text.replace("$", r"\$")


def _check(posterior: Any, mle: Any, data: Any, probability: float) -> None:
    call = "Give what the fits returned: plot_ellipses(posterior, mle=mle)."
    if posterior is None and mle is None:
        raise ArgumentError("Neither posterior nor mle is given.", "at least one of them", call)
    if not (isinstance(posterior, Posterior | None) and isinstance(mle, EMFit | Mixture | None)):
        found = f"posterior is of type {type(posterior).__name__} and mle of type {type(mle).__name__}."
        raise ArgumentError(found, "a Posterior, and an EMFit or a Mixture", call)
    if posterior is None and data is None and isinstance(mle, Mixture):
        raise ArgumentError("mle is a Mixture, which holds no data.", "the points", "Give data=, a table.")
    if not (isinstance(probability, float) and 0 < probability < 1):
        found = f"probability is {probability!r}."
        raise ArgumentError(found, "a number between 0 and 1", "The default is 0.9.")


def _check_features(table: Table, *mixtures: Mixture | None) -> None:
    for mixture in filter(None, mixtures):
        if mixture.n_features != table.n_features:
            raise ArgumentError(
                f"The data have {table.n_features} features and a mixture has {mixture.n_features}.",
                "fits and data of the same features",
                "Select the columns that were fitted.",
            )
