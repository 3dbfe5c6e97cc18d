"""What all figures share: the colours, the axes in and out, frames, titles and legends."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from bayes_gmm.errors import ArgumentError

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
"""Colour-blind-safe colours of the components: six of Okabe and Ito's (2008), and Tol's wine."""

MOST_FEATURES = 6
"""Wider tables are shown by their first columns."""

INK, FRAME, PALE = "#222222", "#9a9a9a", "#e4e4e4"
DASHED: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.3}
TEXT: dict[str, Any] = {"color": INK, "fontsize": 9, "parse_math": False}  # "$" in a name is no formula
SMALL: dict[str, Any] = {**TEXT, "fontsize": 8}
_NUMBER: dict[str, Any] = {"color": "white", "fontsize": 8, "weight": "bold", "ha": "center", "va": "center"}


def component_color(component: int | np.integer) -> str:
    """Colour of a component, the same in every plot; the palette repeats after seven."""
    return PALETTE[component % len(PALETTE)]


def chain_color(chain: int, n_chains: int) -> str:
    """Colour of a chain, from dark to light: unlike those of the components, which it is not to be taken for."""
    return to_hex(colormaps["viridis"](0.05 + 0.8 * chain / max(n_chains - 1, 1)))


def axes_or_new(ax: Any, **figure: Any) -> Axes:
    """The given axes, or those of a new figure."""
    if ax is None:
        return plt.subplots(layout="constrained", **figure)[1]
    if not isinstance(ax, Axes):
        remedy = "Leave ax out, or take one from plt.subplots()."
        raise ArgumentError(f"ax is of type {type(ax).__name__}.", "one matplotlib Axes", remedy)
    return ax


def refuse_axes(ax: Any, for_what: str, remedy: str) -> None:
    """One pair of axes is not enough for a grid."""
    if ax is not None:
        expected = f"ax=None for {for_what}, which need a grid of axes"
        raise ArgumentError("ax is given for a grid.", expected, remedy)


def frame(ax: Axes) -> None:
    """Two thin grey lines and small ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FRAME)
    ax.tick_params(color=FRAME, labelcolor=INK, labelsize=8)


def number(ax: Axes, k: int, x: float, y: float) -> None:
    """A component's number in a disc of its colour."""
    disc = {"boxstyle": "circle,pad=0.25", "facecolor": component_color(k), "edgecolor": "white"}
    ax.text(x, y, str(k), **_NUMBER, bbox=disc, zorder=6, clip_on=True)


def dot(color: Any, **style: Any) -> Line2D:
    """A round marker for a legend."""
    return Line2D([], [], **{"color": color, "linestyle": "", "marker": "o", "markersize": 5, **style})


def stroke(color: Any = FRAME, **style: Any) -> Line2D:
    """A line for a legend."""
    return Line2D([], [], **{"color": color, "linewidth": 1.3, **style})


def legend_style(entries: dict[str, Any]) -> dict[str, Any]:
    """Handles and labels of a legend without a frame."""
    return {"handles": list(entries.values()), "labels": list(entries), "frameon": False, "fontsize": 8}


def explain_above(
    ax: Axes, title: str, entries: dict[str, Any], *, each: float = 1.2, most: int = 4, **style: Any
) -> None:
    """Title, and below it a legend as wide as the axes, both above the data; its columns take `each` inches."""
    inches = ax.get_window_extent().width / ax.figure.dpi
    columns = int(np.clip(inches // each, 1, most))
    rows = int(np.ceil(len(entries) / columns))
    ax.set_title(title, loc="left", **TEXT, pad=9 + 13 * rows)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 0.99), "ncols": columns, "columnspacing": 1.2}
    ax.legend(**legend_style(entries), **place, **style)


def headline(name: str, n_components: int) -> str:
    """Such as "faithful, 2 components"."""
    return f"{name}, {n_components} component{'s' * (n_components != 1)}"


def counted(shown: int, total: int, what: str = "points") -> str:
    """Says that only some are shown, such as "random 20,000 of 1,000,000 points"; empty when all are."""
    return f"random {shown:,} of {total:,} {what}" if shown < total else ""
