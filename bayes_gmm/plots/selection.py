"""Figure of model selection: each criterion over the number of components, one line for each structure."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bayes_gmm.errors import ArgumentError
from bayes_gmm.plots.style import (
    INK,
    PALETTE,
    SMALL,
    TEXT,
    axes_or_new,
    legend_line,
    style_axes,
    title_and_legend_above,
)

_LABELS = {
    "bic": "BIC, lower is better",
    "icl": "ICL, lower is better",
    "aic": "AIC, lower is better",
    "elpd_loo": "elpd_loo \N{PLUS-MINUS SIGN} standard error",
}
_HIGHER_IS_BETTER = ("elpd_loo",)

_FARTHEST = 8.0
"""Length of the axis from the best fit, in distances of the median fit from it: half of the fits take an eighth."""

_MARKERS, _LINE_STYLES = ("o", "s"), ("-", (0, (4, 1.5)))
"""Of the first seven structures, and of the next seven in the same colours: there are fourteen."""

type _Records = list[dict[str, Any]]


def plot_selection(selection: Any, *, criterion: str | None = None, ax: Axes | None = None) -> Axes | np.ndarray:
    """Plot a criterion over the number of components, one line for each covariance structure.

    The best fit is ringed and named. A fit that failed has no criterion and is a cross at the bottom; a fit that did
    not converge is hollow. Fits far worse than the median lie beyond the axis and are counted at its end.

    Parameters
    ----------
    selection
        What `select_em` returned; or any object whose `records()` are dictionaries with n_components, structure and
        criteria.
    criterion
        "bic", "icl", "aic" or "elpd_loo"; by default that of the selection, and elpd_loo below it where the records
        have it.
    ax
        Axes to draw on, when one criterion is shown; a new figure by default.

    Returns
    -------
    Axes or (2,) array of Axes
        Two axes where elpd_loo is shown too.

    Raises
    ------
    ArgumentError
        When an argument cannot be used, or no fit has the criterion.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> selection = bg.select_em(bg.datasets.load("galaxies"), range(1, 5), progress=False)
    >>> bg.plot_selection(selection).get_ylabel()
    'BIC, lower is better'
    """
    records = _records(selection)
    shown = _criteria(selection, records, criterion)
    if len(shown) == 1:
        axes = np.array([axes_or_new(ax)])
    elif ax is None:
        _, axes = plt.subplots(2, 1, sharex=True, figsize=(6.4, 7), layout="constrained")
    else:
        raise ArgumentError(
            "ax is given for two criteria.", "ax=None, or one criterion", 'For example criterion="elpd_loo".'
        )
    for one, name in zip(axes, shown, strict=True):
        _draw_criterion(one, records, name)
    axes[-1].set_xlabel("number of components", **TEXT)
    entries = _legend_entries(records, shown[0])
    title_and_legend_above(axes[0], _title(selection, records), entries, column_inches=0.85, most_columns=7)
    return axes[0] if len(shown) == 1 else axes


def _records(selection: Any) -> _Records:
    records: Any = selection.records() if callable(getattr(selection, "records", None)) else []
    if not records or not all({"n_components", "structure"} <= set(record) for record in records):
        raise ArgumentError(
            f"selection is of type {type(selection).__name__}.",
            "a Selection, or an object whose records() name n_components and structure",
            "Give what select_em returned.",
        )
    return list(records)


def _criteria(selection: Any, records: _Records, criterion: Any) -> list[str]:
    """One or two criteria to show, each known of at least one fit."""
    known = [name for name in _LABELS if np.isfinite(_values(records, name)).any()]
    if criterion is None and known:
        own = getattr(selection, "criterion", "bic")
        first = own if own in known and own != "elpd_loo" else known[0]
        return [first, "elpd_loo"] if "elpd_loo" in known and first != "elpd_loo" else [first]
    if criterion not in known:
        found = f"criterion is {criterion!r}." if known else "Every fit failed."
        expected = f"one of {', '.join(map(repr, known))}" if known else "at least one fit with a criterion"
        raise ArgumentError(found, expected, "records() lists what each fit has.")
    return [criterion]


def _values(records: _Records, name: str) -> Float[np.ndarray, " R"]:
    """One number of each record, NaN where it is missing."""
    return np.array([record.get(name, np.nan) for record in records], dtype=np.float64)


def _structures(records: _Records) -> list[str]:
    """Covariance structures in the order of their first records."""
    return list(dict.fromkeys(str(record["structure"]) for record in records))


def _draw_criterion(ax: Axes, records: _Records, name: str) -> None:
    style_axes(ax)
    structures = _structures(records)
    for index, structure in enumerate(structures):
        own = sorted((r for r in records if str(r["structure"]) == structure), key=lambda r: r["n_components"])
        _draw_structure(ax, own, name, _line_style(index), _shift(index, len(structures), name))
    _draw_crosses(ax, records, name)
    _mark_best(ax, records, name)
    _zoom(ax, _values(records, name), name)
    ax.set_xticks(sorted({int(record["n_components"]) for record in records}))
    ax.set_ylabel(_LABELS[name], **TEXT)


def _line_style(index: int) -> dict[str, Any]:
    """Colour, marker and line of a structure: seven colours, then the same with other markers and dashes."""
    lap = index // len(PALETTE) % len(_MARKERS)
    return {"color": PALETTE[index % len(PALETTE)], "marker": _MARKERS[lap], "linestyle": _LINE_STYLES[lap]}


def _draw_structure(ax: Axes, own: _Records, name: str, style: dict[str, Any], shift: float) -> None:
    """The fits of one structure as a line, which has a gap where a fit failed; with standard errors for elpd_loo."""
    counts, values = _values(own, "n_components") + shift, _values(own, name)
    ax.plot(counts, values, **style, linewidth=1.3, markersize=5, zorder=3)
    known = np.isfinite(values)
    unconverged = np.array([record.get("status") == "MAX_STEPS" for record in own]) & known
    if unconverged.any():
        hollow: dict[str, Any] = {"markerfacecolor": "white", "linestyle": "", "markersize": 5, "zorder": 4}
        ax.plot(counts[unconverged], values[unconverged], **{**style, **hollow})
    if name == "elpd_loo" and known.any():
        counts, values, errors = counts[known], values[known], np.nan_to_num(_values(own, "elpd_loo_se"))[known]
        ax.vlines(counts, values - errors, values + errors, color=style["color"], linewidth=1, alpha=0.7, zorder=2)


def _draw_crosses(ax: Axes, records: _Records, name: str) -> None:
    """Fits that failed, at the bottom; those of each structure at a height of their own."""
    failed = [record for record in records if not np.isfinite(record.get(name, np.nan))]
    structures, failed_structures = _structures(records), _structures(failed)
    for record in failed:
        structure = str(record["structure"])
        height = 0.02 + 0.03 * failed_structures.index(structure)
        color = _line_style(structures.index(structure))["color"]
        where: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
        ax.plot([record["n_components"]], [height], "x", color=color, markersize=6, markeredgewidth=1.6, **where)


def _mark_best(ax: Axes, records: _Records, name: str) -> None:
    """A ring around the best fit, and its name: below it, or above its standard error where higher is better."""
    best, structures = records[_index_of_best(_values(records, name), name)], _structures(records)
    structure = str(best["structure"])
    x = best["n_components"] + _shift(structures.index(structure), len(structures), name)
    ax.plot([x], [best[name]], "o", markersize=12, markerfacecolor="none", color=INK, zorder=5)
    higher = name in _HIGHER_IS_BETTER
    edge = best[name] + (np.nan_to_num(best.get("elpd_loo_se", 0.0)) if higher else 0.0)
    style: dict[str, Any] = {**TEXT, "ha": "center", "va": "bottom" if higher else "top", "zorder": 6}
    words = f"K = {best['n_components']}, {structure}"
    ax.annotate(words, (x, edge), (0, 9 if higher else -9), textcoords="offset points", **style)


def _index_of_best(values: Float[np.ndarray, " R"], name: str) -> int:
    return int(np.nanargmax(values) if name in _HIGHER_IS_BETTER else np.nanargmin(values))


def _shift(index: int, n_structures: int, name: str) -> float:
    """Sideways shift of a structure, so that the bars of standard errors do not hide each other."""
    return min(0.07, 0.5 / n_structures) * (index - (n_structures - 1) / 2) if name == "elpd_loo" else 0.0


def _zoom(ax: Axes, values: Float[np.ndarray, " R"], name: str) -> None:
    """Leave out fits that are far worse than the median, and say how many: one of them would flatten all others."""
    values = values[np.isfinite(values)]
    best = values[_index_of_best(values, name)]
    ax.margins(y=0.15)
    ax.autoscale_view()
    length = _FARTHEST * np.abs(np.median(values) - best)
    outside = int((np.abs(values - best) > length).sum())
    if not outside or length == 0:
        return
    higher = name in _HIGHER_IS_BETTER
    ax.set_ylim((best - length, best + 0.2 * length) if higher else (best - 0.2 * length, best + length))
    fits = "1 fit lies" if outside == 1 else f"{outside} fits lie"
    where: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "bottom" if higher else "top"}
    ax.text(0.995, 0.01 if higher else 0.99, f"{fits} beyond the axis", **SMALL, **where)


def _legend_entries(records: _Records, name: str) -> dict[str, Any]:
    """Structures, and the marks that occur; fits failed where they have no value of the criterion."""
    entries: dict[str, Any] = {
        structure: legend_line(**_line_style(index), markersize=5)
        for index, structure in enumerate(_structures(records))
    }
    mark: dict[str, Any] = {"linestyle": "", "color": INK}
    entries["best"] = Line2D([], [], marker="o", markersize=9, markerfacecolor="none", **mark)
    if np.isnan(_values(records, name)).any():
        entries["failed"] = Line2D([], [], marker="x", markersize=6, markeredgewidth=1.6, **mark)
    if any(record.get("status") == "MAX_STEPS" for record in records):
        entries["not converged"] = Line2D([], [], marker="o", markersize=5, markerfacecolor="white", **mark)
    return entries


def _title(selection: Any, records: _Records) -> str:
    tables = [fit.table for fit in getattr(selection, "fits", {}).values() if hasattr(fit, "table")]
    return f"{tables[0].name}, {len(records)} fits" if tables else f"{len(records)} fits"
