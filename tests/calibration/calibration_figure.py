"""The figure of the record: ranks of the truth, coverage of intervals of posterior and fit, verdicts."""

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from intervals import PARAMETERS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from proportions import ERROR
from uniformity import band, expected

INK, GREY, PALE = "#333333", "#888888", "#e6e6e6"
OF_SAMPLER = {"sbc_nuts": ("NUTS", "#0072B2"), "sbc_laplace": ("Laplace, k < 0.7", "#009E73")}
OF_BROKEN = {
    "sbc_shrunk": ("draws pulled to their mean by 0.7", "#D55E00"),
    "sbc_other_prior": ("another prior", "#CC79A7"),
    "sbc_laplace_unweighted": ("Laplace without weights", "#E69F00"),
    "sbc_prior_draws": ("data ignored", "#56B4E9"),
}
OF_DISTANCE = {2.0: "#D55E00", 3.0: "#E69F00", 5.0: "#0072B2"}
OF_STATUS = {"GOOD": "#009E73", "DOUBTFUL": "#F0C75E", "BAD": "#D55E00"}
METHODS = {
    "information": "information",
    "sandwich": "sandwich",
    "bootstrap": "bootstrap",
    "near": "information, near truth",
}
OF_POSTERIOR = {
    ("default", "posterior"): ("posterior", "#0072B2"),
    ("default", "MLE"): ("MLE", "#E69F00"),
    ("scales of all data", "posterior"): ("posterior, scales from the variance of all data", "#D55E00"),
}
"""Name and color of each prior and kind of interval."""
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY}
STYLE |= {"xtick.color": INK, "ytick.color": INK, "text.color": INK, "axes.titlesize": 10, "axes.titlelocation": "left"}

SOUND = ("sound", "two modes,")
"""How names of runs begin that nothing was done to."""

Results = list[dict[str, Any]]


def draw(results: Results) -> Figure:
    """Draw everything that there are results for."""
    with plt.rc_context(STYLE):
        fig = plt.figure(figsize=(10, 13), layout="constrained")
        top, upper, lower, bottom = fig.subfigures(4, 1, height_ratios=(1, 0.9, 0.95, 1.1))
        samplers, broken = top.subplots(1, 2, sharey=True)
        ranks(samplers, results, OF_SAMPLER, "The truth is one more draw: ranks stay in the band")
        ranks(broken, results, OF_BROKEN, "Controls: broken samplers leave it")
        samplers.set_ylabel(r"$\sqrt{n}$ (share of ranks below $-$ expected)")
        for ax, n_features in zip(upper.subplots(1, 3, sharey=True), (1, 2, 5), strict=True):
            posterior_coverage(ax, results, n_features)
        for ax, method in zip(lower.subplots(1, len(METHODS), sharey=True), METHODS, strict=True):
            coverage(ax, results, method)
        verdicts(bottom.subplots(), results)
        return fig


OF_OVERLAP = {
    ("MLE", "fit"): ("maximum likelihood: weights, means and sds", "#E69F00"),
    ("posterior", "all"): ("posterior: weights, means and sds", "#0072B2"),
    ("posterior", "density"): ("posterior: density", "#009E73"),
}
"""Name and color of each kind of interval where components overlap."""


def draw_overlap(results: Results) -> Figure:
    """Draw how often intervals hold the truth where components overlap: a panel for each K and D."""
    of_size: dict[tuple[int, int], Results] = {}
    for result in results:
        if result["name"].startswith("overlapping"):
            cell = result["settings"]["cell"]
            of_size.setdefault((cell["n_features"], cell["n_components"]), []).append(result)
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(1, len(of_size), figsize=(9, 3.4), sharey=True, layout="constrained", squeeze=False)
        for ax, ((D, K), cells) in zip(axes[0], sorted(of_size.items()), strict=True):
            overlap(ax, cells)
            ax.set_title(f"K = {K}, D = {D}")
        first = axes[0, 0]
        first.set_ylabel("share of 90 % intervals\nthat hold the truth")
        for label, color in OF_OVERLAP.values():
            first.plot([], [], color=color, marker="o", ms=3.5, label=label)
        for apart, line in OF_LINES.items():
            first.plot([], [], color=GREY, ls=line, label=f"{apart:g} sd apart")
        fig.legend(frameon=False, fontsize=9, ncols=3, loc="outside lower center")
        return fig


OF_LINES = {2.0: "-", 3.0: "--"}


def overlap(ax: Axes, cells: Results) -> None:
    """One panel: each kind of interval, for both distances."""
    ax.axhline(0.9, color=GREY, lw=0.8)
    for apart, line in OF_LINES.items():
        some = sorted(
            (one["settings"]["cell"]["n_points"], one["numbers"]["coverage"])
            for one in cells
            if one["settings"]["cell"]["apart"] == apart
        )
        for (method, what), (_, color) in OF_OVERLAP.items():
            N = [n for n, _ in some]
            values = [_share(coverage[method], what) for _, coverage in some]
            ax.plot(N, values, color=color, ls=line, marker="o", ms=3.5, lw=1.4)
    ax.set_xscale("log")
    ax.set_xticks([50, 200, 1000], ["50", "200", "1000"])
    ax.minorticks_off()
    ax.set(xlabel="points", xlim=(40, 1250), ylim=(0, 1.02))


def _share(coverage: dict[str, tuple[float, float]], what: str) -> float:
    """Coverage of one kind of quantity, or the mean of those of weights, means and sds."""
    return coverage[what][0] if what in coverage else float(np.mean([coverage[kind][0] for kind in PARAMETERS]))


def save(fig: Figure, path: Path) -> None:
    """Write it in few colours, which take a third of the space."""
    image = io.BytesIO()
    fig.savefig(image, dpi=100)
    Image.open(image).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


def ranks(ax: Axes, results: Results, kinds: dict[str, tuple[str, str]], title: str) -> None:
    """Differences of distribution functions, scaled so that one band serves all sample sizes."""
    lines = [(kind, one) for result in results if (kind := _kind(result["name"], kinds)) for one in _curves(result)]
    if not lines:
        return
    n = max(size for _, (size, _) in lines)
    low, high = band(n, ERROR / 5)
    ax.fill_between(expected(), np.sqrt(n) * (low - expected()), np.sqrt(n) * (high - expected()), color=PALE, lw=0)
    for kind, (size, curve) in lines:
        ax.plot(expected(), np.sqrt(size) * (curve - expected()), color=kinds[kind][1], lw=0.9, alpha=0.75)
    for name, color in kinds.values():
        ax.plot([], [], color=color, label=name)
    ax.set(title=title, xlabel="rank of the truth, as a share", xlim=(0, 1))
    ax.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)


def _kind(name: str, kinds: dict[str, Any]) -> str | None:
    """The longest of all kinds with which a name begins, if it is one of these."""
    found = max((kind for kind in (*OF_SAMPLER, *OF_BROKEN) if name.startswith(kind)), key=len, default=None)
    return found if found in kinds else None


def _curves(result: dict[str, Any]) -> list[tuple[int, np.ndarray]]:
    """Sample size and distribution function of each quantity."""
    return [(one["n"], np.cumsum(one["counts"])[:-1] / one["n"]) for one in result["numbers"].values()]


def posterior_coverage(ax: Axes, results: Results, n_features: int) -> None:
    """Coverage of the sds of two components against their distance."""
    ax.axhline(0.9, color=GREY, lw=0.8)
    for ((prior, method), (name, color)), shift in zip(OF_POSTERIOR.items(), (0.96, 1.04, 1.0), strict=True):
        found = sorted(
            (result["settings"]["cell"]["places"][1], *result["numbers"][prior]["coverage"][method]["sds"])
            for result in results
            if result["name"].startswith("posterior") and prior in result["numbers"]
            if result["settings"]["cell"]["weights"] == [0.5, 0.5]
            if result["settings"]["cell"]["n_features"] == n_features
        )
        if found:
            apart, mean, error = np.array(found).T
            ax.errorbar(apart * shift, mean, 2 * error, color=color, marker="o", ms=3.5, lw=1.3, elinewidth=0.8)
        if n_features == 1:
            ax.plot([], [], color=color, marker="o", ms=3.5, label=name)
    ax.set_xscale("log")
    ax.set_xticks([5, 20, 100, 1000], ["5", "20", "100", "1000"])
    ax.minorticks_off()
    ax.set(title=f"Two components, D = {n_features}", xlabel="distance in sds", xlim=(3.5, 1400), ylim=(-0.02, 1.02))
    if n_features == 1:
        ax.set_ylabel("share of 90 % intervals of sds\nthat hold the truth")
        ax.legend(frameon=False, fontsize=8, loc="center right")


def coverage(ax: Axes, results: Results, method: str) -> None:
    """Mean coverage of all parameters against the sample size; D = 1."""
    cells = [result for result in results if "apart" in result["settings"] and result["settings"]["n_features"] == 1]
    ax.axhline(0.9, color=GREY, lw=0.8)
    for (apart, color), shift in zip(OF_DISTANCE.items(), (0.94, 1.0, 1.06), strict=True):
        for K, line in ((2, "-"), (3, "--")):
            some = [
                cell for cell in cells if (cell["settings"]["apart"], cell["settings"]["n_components"]) == (apart, K)
            ]
            found = sorted((cell["settings"]["n_points"], *cell["numbers"][method]["coverage"]["all"]) for cell in some)
            if found:
                N, mean, error = np.array(found).T
                ax.errorbar(
                    N * shift, mean, 2 * error, color=color, ls=line, marker="o", ms=3.5, lw=1.3, elinewidth=0.8
                )
    for apart, color in OF_DISTANCE.items():
        ax.plot([], [], color=color, marker="o", ms=3.5, label=f"{apart:g} sd apart")
    for K, line in ((2, "-"), (3, "--")):
        ax.plot([], [], color=GREY, ls=line, label=f"K = {K}")
    ax.set_xscale("log")
    ax.set_xticks([50, 200, 1000], ["50", "200", "1000"])
    ax.minorticks_off()
    ax.set(title=METHODS[method], xlabel="points", ylim=(0, 1.02))
    if method == "information":
        ax.set_ylabel("share of 90 % intervals that hold the truth")
    if method == "near":
        ax.legend(frameon=False, fontsize=8, loc="lower right")


def verdicts(ax: Axes, results: Results) -> None:
    """Shares of the statuses, sound runs first."""
    found = [item for result in results if result["name"].startswith("verdict") for item in result["numbers"].items()]
    if not found:
        return
    found.sort(key=lambda item: not item[0].startswith(SOUND))
    for place, (_, one) in enumerate(found):
        total, left = one["n"], 0.0
        for status, color in OF_STATUS.items():
            share = one["statuses"][status] / total
            ax.barh(place, share, left=left, color=color, height=0.72, label=status if place == 0 else None)
            if share > 0.04:
                ax.text(left + share / 2, place, one["statuses"][status], ha="center", va="center", fontsize=8)
            left += share
    n_sound = sum(name.startswith(SOUND) for name, _ in found)
    ax.axhline(n_sound - 0.5, color=INK, lw=0.8)
    ax.set_yticks(range(len(found)), [name for name, _ in found])
    ax.set(
        ylim=(len(found) - 0.4, -0.6),
        xlim=(0, 1),
        xticks=[],
        title="Verdicts: failures are below the line",
    )
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.tick_params("y", length=0)
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
