"""The figure of speed: our ratio to each peer with its spread and target, and growth with the size."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from measuring import OURS, Record

COLOURS = {
    "scikit-learn": "#4477aa",
    "gmmx": "#ccbb44",
    "pomegranate": "#aa3377",
    "NumPyro": "#ee6677",
    "PyStan": "#228833",
    "PyMC + nutpie": "#66ccee",
}
OUR_COLOUR, INK = "#222222", "#444444"

GROUPS = {
    ("em", "EM iteration"): "EM iteration (N, D, K)",
    ("mle", "20 starts to the maximum"): "20 starts to the maximum",
    ("nuts", "whole fit"): "posterior, whole call (ESS/s)",
    ("nuts", "sampling"): "posterior, sampling alone (ESS/s)",
    ("wait", "fit_em"): "fit_em of Old Faithful",
    ("wait", "fit_nuts"): "fit_nuts of Old Faithful",
    ("memory", "peak memory"): "peak memory (N, D, K)",
}
SWEEPS = {
    "N": "points N (D = 2, K = 3)",
    "K": "components K (N = 100 000, D = 4)",
    "D": "features D (N = 20 000, K = 4)",
}

STYLE = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
}


def rows(records: dict[str, Record]) -> list[tuple[str, list[Record]]]:
    """Group titles and their measures that have peers to draw."""
    found = []
    for (part, what), title in GROUPS.items():
        own = [entry for entry in records.get(part, {}).get("measures", []) if entry["what"] == what]
        own = [entry for entry in own if set(entry["ratios"]) & set(COLOURS)]
        found += [(title, own)] if own else []
    return found


def draw(records: dict[str, Record], path: Path) -> None:
    """Write the figure."""
    sweeps = [entry for entry in records.get("scaling", {}).get("measures", []) if entry["what"] == "exponent"]
    groups = rows(records)
    lines = sum(len(own) + 1 for _, own in groups)
    with mpl.rc_context(STYLE):
        picture = plt.figure(figsize=(10, max(0.235 * lines + 1.2, 5.2)), layout="constrained")
        grid = picture.add_gridspec(max(len(sweeps), 1), 2, width_ratios=(2.1, 1))
        if groups:
            ratios(picture.add_subplot(grid[:, 0]), groups)
        for row, entry in enumerate(sweeps):
            growth(picture.add_subplot(grid[row, 1]), entry)
        picture.savefig(path, dpi=100, metadata={"Software": None})
        plt.close(picture)


def ratios(axes: Axes, groups: list[tuple[str, list[Record]]]) -> None:
    """A line for each case: points are ratios of medians, bars their spread, ticks the targets."""
    height, labels = 0.0, []
    for title, own in groups:
        axes.text(0.0, height, title, transform=axes.get_yaxis_transform(), weight="bold", va="center", ha="left")
        height += 1
        for entry in own:
            axes.axhline(height, color="#eeeeee", linewidth=0.8, zorder=0)
            line(axes, height, entry)
            labels.append((height, entry["case"].replace("first fit of a process", "first fit")))
            height += 1
    axes.axvline(1, color=INK, linewidth=1)
    axes.set(xscale="log", ylim=(height - 0.3, -0.8), title="How many times better than each peer  (left of 1: worse)")
    axes.set_yticks([at for at, _ in labels], [text for _, text in labels])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    low = min(axes.get_xlim()[0], 0.5)
    axes.axvspan(low, 1, color="#f6e3e3", zorder=-1, linewidth=0)
    axes.set_xlim(left=low)
    legend(axes, groups)


def line(axes: Axes, height: float, entry: Record) -> None:
    """Peers of one case, a little apart."""
    peers = [name for name in COLOURS if name in entry["ratios"]]
    for offset, name in zip((0.0, 0.22, -0.22), peers, strict=False):
        found, target = entry["ratios"][name], entry["targets"].get(name)
        at, colour = height + offset, COLOURS[name]
        axes.plot([found["low"], found["high"]], [at, at], color=colour, linewidth=2.2, alpha=0.45)
        axes.plot(
            found["ratio"], at, "o", color=colour, markersize=5, markerfacecolor=colour if met(found) else "white"
        )
        if target is not None:
            axes.plot(target, at, "|", color=colour, markersize=9, markeredgewidth=1.8)


def met(found: Record) -> bool:
    """No target is missed."""
    return found["met"] is not False


def legend(axes: Axes, groups: list[tuple[str, list[Record]]]) -> None:
    """Peers that are drawn, and what the marks are."""
    drawn = {name for _, own in groups for entry in own for name in entry["ratios"]}
    marks = [
        mpl.lines.Line2D([], [], color=COLOURS[name], marker="o", lw=2, label=name) for name in COLOURS if name in drawn
    ]
    marks.append(mpl.lines.Line2D([], [], color=INK, marker="|", ms=9, mew=1.8, lw=0, label="target"))
    marks.append(mpl.lines.Line2D([], [], color=INK, marker="o", mfc="white", lw=0, label="target missed"))
    axes.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.4, -0.045), ncols=4, frameon=False)


def growth(axes: Axes, entry: Record) -> None:
    """Milliseconds of an iteration over one size, with the fitted exponents."""
    for name, pairs in entry["more"]["points"].items():
        colour = OUR_COLOUR if name == OURS else COLOURS[name]
        power = entry["more"]["fitted"].get(name)
        text = f"{name}: {entry['case']}$^{{{power['exponent']:.2f}}}$" if power else name
        axes.plot(*zip(*pairs, strict=True), "o-", color=colour, markersize=4, linewidth=1.4, label=text)
    axes.set(xscale="log", yscale="log", xlabel=SWEEPS[entry["case"]])
    axes.set_ylim(top=12 * axes.get_ylim()[1])
    if entry["case"] != "N":
        sizes = [size for size, _ in entry["more"]["points"][OURS]]
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
    axes.set_title("ms per EM iteration")
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.legend(frameon=False, fontsize=8, handlelength=1.2, loc="upper left")
