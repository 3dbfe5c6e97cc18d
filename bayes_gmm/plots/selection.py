"""The picture of model selection: each criterion over the number of components, one line a structure."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bayes_gmm.errors import ArgumentError
from bayes_gmm.plots.style import INK, PALETTE, SMALL, TEXT, axes_or_new, explain_above, frame, stroke

_LABELS = {
    "bic": "BIC, lower is better",
    "icl": "ICL, lower is better",
    "aic": "AIC, lower is better",
    "elpd_loo": "elpd_loo \N{PLUS-MINUS SIGN} standard error",
}
_HIGHER_IS_BETTER = ("elpd_loo",)
_REACH = 8.0
"""How far the axis goes from the best, in distances of the median."""

_SHAPES, _STROKES = ("o", "s"), ("-", (0, (4, 1.5)))

type _Records = list[dict[str, Any]]


def plot_selection(selection: Any, *, criterion: str | None = None, ax: Axes | None = None) -> Axes | np.ndarray:
    """Plot a criterion over the number of components, one line for each covariance structure.

    The best is ringed and named. A fit that failed has no criterion: a cross at the bottom says so. One that had not
    converged is hollow. Fits far worse than the median lie beyond the axis, and are counted there.

    Parameters
    ----------
    selection
        What `select_em` returned; or anything with `records()`, dictionaries with n_components, structure and criteria.
    criterion
        "bic", "icl", "aic" or "elpd_loo"; by default that of the selection, and below it, where the records have it,
        elpd_loo.
    ax
        Axes to draw on, when one criterion is shown; a new figure by default.

    Returns
    -------
    Axes or (2,) array of Axes
        Two where elpd_loo is shown too.

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
    title = _title(selection, records)
    if len(shown) == 1:
        ax = axes_or_new(ax)
        _panel(ax, records, shown[0])
        explain_above(ax, title, _entries(records, shown), each=0.85, most=7)
        return ax
    if ax is not None:
        raise ArgumentError(
            "ax is given for two criteria.", "ax=None, or one criterion", 'For example criterion="elpd_loo".'
        )
    _, axes = plt.subplots(2, 1, sharex=True, figsize=(6.4, 7), layout="constrained")
    for one, name in zip(axes, shown, strict=True):
        _panel(one, records, name)
    axes[0].set_xlabel("")
    explain_above(axes[0], title, _entries(records, shown), each=0.85, most=7)
    return axes


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
    """The criteria to show, each of which some fit has."""
    known = [name for name in _LABELS if np.isfinite(_values(records, name)).any()]
    if criterion is None and known:
        own = getattr(selection, "criterion", "bic")
        first = own if own in known and own != "elpd_loo" else known[0]
        return list(dict.fromkeys([first, *("elpd_loo" for name in known if name == "elpd_loo")]))
    if criterion not in known:
        found = f"criterion is {criterion!r}." if known else "Every fit failed."
        expected = f"one of {', '.join(map(repr, known))}" if known else "at least one fit with a criterion"
        raise ArgumentError(found, expected, "records() lists what each fit has.")
    return [criterion]


def _values(records: _Records, name: str) -> np.ndarray:
    return np.array([record.get(name, np.nan) for record in records], dtype=np.float64)


def _structures(records: _Records) -> list[str]:
    return list(dict.fromkeys(str(record["structure"]) for record in records))


def _panel(ax: Axes, records: _Records, name: str) -> None:
    frame(ax)
    structures = _structures(records)
    for place, structure in enumerate(structures):
        own = sorted((r for r in records if str(r["structure"]) == structure), key=lambda r: r["n_components"])
        _line(ax, own, name, place, _shift(place, len(structures), name))
    _crosses(ax, records, name)
    _best(ax, records, name)
    _zoom(ax, _values(records, name), name)
    ax.set_xticks(sorted({int(record["n_components"]) for record in records}))
    ax.set_xlabel("number of components", **TEXT)
    ax.set_ylabel(_LABELS[name], **TEXT)


def _style(place: int) -> dict[str, Any]:
    """Colour, marker and line of a structure: seven colours, then the same with other markers and dashes."""
    lap = place // len(PALETTE) % len(_SHAPES)
    return {"color": PALETTE[place % len(PALETTE)], "marker": _SHAPES[lap], "linestyle": _STROKES[lap]}


def _line(ax: Axes, own: _Records, name: str, place: int, shift: float) -> None:
    """One structure; the line has a gap where a fit failed."""
    counts, values = _values(own, "n_components") + shift, _values(own, name)
    style = _style(place)
    ax.plot(counts, values, **style, linewidth=1.3, markersize=5, zorder=3)
    running = np.array([record.get("status") == "MAX_STEPS" for record in own]) & np.isfinite(values)
    hollow: dict[str, Any] = {"markerfacecolor": "white", "linestyle": "", "markersize": 5, "zorder": 4}
    if running.any():
        ax.plot(counts[running], values[running], **{**style, **hollow})
    if name == "elpd_loo":
        known = np.isfinite(values)
        _errors(ax, counts[known], values[known], np.nan_to_num(_values(own, "elpd_loo_se"))[known], style["color"])


def _errors(ax: Axes, counts: np.ndarray, values: np.ndarray, errors: np.ndarray, color: str) -> None:
    if len(counts):
        ax.vlines(counts, values - errors, values + errors, color=color, linewidth=1, alpha=0.7, zorder=2)


def _crosses(ax: Axes, records: _Records, name: str) -> None:
    """At the bottom, those of each structure at a height of their own."""
    failed = [record for record in records if not np.isfinite(record.get(name, np.nan))]
    structures, lines = _structures(records), _structures(failed)
    for record in failed:
        structure = str(record["structure"])
        height = 0.02 + 0.03 * lines.index(structure)
        color = _style(structures.index(structure))["color"]
        where: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
        ax.plot([record["n_components"]], [height], "x", color=color, markersize=6, markeredgewidth=1.6, **where)


def _best(ax: Axes, records: _Records, name: str) -> None:
    best, structures = records[_place_of_best(_values(records, name), name)], _structures(records)
    structure = str(best["structure"])
    x = best["n_components"] + _shift(structures.index(structure), len(structures), name)
    ax.plot([x], [best[name]], "o", markersize=12, markerfacecolor="none", color=INK, zorder=5)
    higher = name in _HIGHER_IS_BETTER
    edge = best[name] + (np.nan_to_num(best.get("elpd_loo_se", 0.0)) if higher else 0.0)
    style: dict[str, Any] = {**TEXT, "ha": "center", "va": "bottom" if higher else "top", "zorder": 6}
    words = f"K = {best['n_components']}, {structure}"
    ax.annotate(words, (x, edge), (0, 9 if higher else -9), textcoords="offset points", **style)


def _place_of_best(values: np.ndarray, name: str) -> int:
    return int(np.nanargmax(values) if name in _HIGHER_IS_BETTER else np.nanargmin(values))


def _shift(place: int, count: int, name: str) -> float:
    """Sideways, so that the bars of standard errors do not hide each other."""
    return min(0.07, 0.5 / count) * (place - (count - 1) / 2) if name == "elpd_loo" else 0.0


def _zoom(ax: Axes, values: np.ndarray, name: str) -> None:
    """Leave out what is hopeless, and say so: otherwise one bad structure flattens all others."""
    values = values[np.isfinite(values)]
    best = values[_place_of_best(values, name)]
    ax.margins(y=0.15)
    ax.autoscale_view()
    reach = _REACH * np.abs(np.median(values) - best)
    outside = int((np.abs(values - best) > reach).sum())
    if not outside or reach == 0:
        return
    low, high = (best - reach, best + 0.2 * reach) if name in _HIGHER_IS_BETTER else (best - 0.2 * reach, best + reach)
    ax.set_ylim(low, high)
    where: dict[str, Any] = {"ha": "right", "va": "bottom" if name in _HIGHER_IS_BETTER else "top"}
    y = 0.01 if name in _HIGHER_IS_BETTER else 0.99
    fits = "1 fit lies" if outside == 1 else f"{outside} fits lie"
    ax.text(0.995, y, f"{fits} beyond the axis", transform=ax.transAxes, **SMALL, **where)


def _entries(records: _Records, shown: list[str]) -> dict[str, Any]:
    entries: dict[str, Any] = {
        structure: stroke(**_style(place), markersize=5) for place, structure in enumerate(_structures(records))
    }
    mark: dict[str, Any] = {"linestyle": "", "color": INK}
    entries["best"] = Line2D([], [], marker="o", markersize=9, markerfacecolor="none", **mark)
    if np.isnan(_values(records, shown[0])).any():
        entries["failed"] = Line2D([], [], marker="x", markersize=6, markeredgewidth=1.6, **mark)
    if any(record.get("status") == "MAX_STEPS" for record in records):
        entries["not converged"] = Line2D([], [], marker="o", markersize=5, markerfacecolor="white", **mark)
    return entries


def _title(selection: Any, records: _Records) -> str:
    tables = [fit.table for fit in getattr(selection, "fits", {}).values() if hasattr(fit, "table")]
    return f"{tables[0].name}, {len(records)} fits" if tables else f"{len(records)} fits"
