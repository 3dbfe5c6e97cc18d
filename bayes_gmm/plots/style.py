"""Style that all figures share: colours, axes, titles and legends."""

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
"""Most features of a grid of axes; of a wider table the first ones are shown."""

INK, FRAME, PALE = "#222222", "#9a9a9a", "#e4e4e4"
"""Greys: of text and data, of frames and secondary lines, and of areas in the background."""

DASHED: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.3}
"""Lines of the maximum-likelihood fit."""

# Names of tables and columns may contain "$", which would start a formula.
TEXT: dict[str, Any] = {"color": INK, "fontsize": 9, "parse_math": False}
SMALL: dict[str, Any] = {**TEXT, "fontsize": 8}

_NUMBER: dict[str, Any] = {"color": "white", "fontsize": 8, "weight": "bold", "ha": "center", "va": "center"}


def component_color(component: int | np.integer) -> str:
    """Colour of a component, the same in every plot; the palette repeats after seven, and noise, -1, is grey."""
    return FRAME if component < 0 else PALETTE[component % len(PALETTE)]


def chain_color(chain: int, n_chains: int) -> str:
    """Colour of a chain, from dark to light; unlike the colours of components, so that nobody confuses the two."""
    return to_hex(colormaps["viridis"](0.05 + 0.8 * chain / max(n_chains - 1, 1)))


def axes_or_new(ax: Any, **figure: Any) -> Axes:
    """The given axes, or those of a new figure.

    Raises
    ------
    ArgumentError
        When `ax` is neither None nor matplotlib Axes.
    """
    if ax is None:
        return plt.subplots(layout="constrained", **figure)[1]
    if not isinstance(ax, Axes):
        remedy = "Leave ax out, or take one from plt.subplots()."
        raise ArgumentError(f"ax is of type {type(ax).__name__}.", "one matplotlib Axes", remedy)
    return ax


def axes_in_rows(count: int, *, height: float = 2.5) -> np.ndarray:
    """New axes in rows of at most three, four in two rows, each so many inches high; those left over are invisible."""
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    size = (6.4, 4.6) if count == 1 else (1 + 3.2 * columns, 0.9 + height * rows)
    _, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return axes


def style_axes(ax: Axes) -> None:
    """Draw thin grey lines at the left and below alone, with small ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FRAME)
    ax.tick_params(color=FRAME, labelcolor=INK, labelsize=8)


def draw_component_number(ax: Axes, component: int, x: float, y: float) -> None:
    """Draw a component's number in a disc of its colour."""
    disc = {"boxstyle": "circle,pad=0.25", "facecolor": component_color(component), "edgecolor": "white"}
    ax.text(x, y, str(component), **_NUMBER, bbox=disc, zorder=6, clip_on=True)


def legend_marker(color: Any, **style: Any) -> Line2D:
    """A round marker for a legend."""
    return Line2D([], [], **{"color": color, "linestyle": "", "marker": "o", "markersize": 5, **style})


def legend_line(color: Any = FRAME, **style: Any) -> Line2D:
    """A line for a legend."""
    return Line2D([], [], **{"color": color, "linewidth": 1.3, **style})


def legend_arguments(entries: dict[str, Any]) -> dict[str, Any]:
    """Arguments of matplotlib's `legend` for handles by label: small, without a frame."""
    return {"handles": list(entries.values()), "labels": list(entries), "frameon": False, "fontsize": 8}


def title_and_legend_above(
    ax: Axes, title: str, entries: dict[str, Any], *, column_inches: float = 1.2, most_columns: int = 4, **style: Any
) -> None:
    """Put a title and, below it, a legend as wide as the axes above the data.

    The legend has as many columns of `column_inches` as fit, at most `most_columns`; the title makes room for its rows.
    """
    inches = ax.get_window_extent().width / ax.figure.dpi
    columns = int(np.clip(inches // column_inches, 1, most_columns))
    rows = int(np.ceil(len(entries) / columns))
    ax.set_title(title, loc="left", **TEXT, pad=9 + 13 * rows)  # A row of the legend is 13 points high.
    place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 0.99), "ncols": columns, "columnspacing": 1.2}
    ax.legend(**legend_arguments(entries), **place, **style)


def title_start(name: str, n_components: int) -> str:
    """Start of a title: name of the table and number of components, such as "faithful, 2 components"."""
    return f"{name}, {n_components} component{'s' * (n_components != 1)}"


def sample_words(shown: int, total: int) -> str:
    """Words for a random sample, such as "random 20,000 of 1,000,000 points"; empty when all points are shown."""
    return f"random {shown:,} of {total:,} points" if shown < total else ""
