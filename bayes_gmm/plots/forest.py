"""Figure of a comparison: each maximum-likelihood estimate against its posterior, on one axis."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.assessment.compare import Comparison
from bayes_gmm.assessment.parameter_comparison import PROBABILITY, Row
from bayes_gmm.core.validation import instance_of, positive_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.shown_components import explanations_note
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.parameter_names import ALL_LABELS
from bayes_gmm.plots.style import (
    DASHED,
    FRAME,
    INK,
    PALE,
    SMALL,
    TEXT,
    axes_or_new,
    component_color,
    legend_line,
    legend_marker,
    style_axes,
    title_and_legend_above,
    title_start,
)

KINDS = ALL_LABELS

_FLAG_COLOR = "#A63603"

_OFFSET = 0.17
"""Distance of the posterior and of the estimate from the middle of their row, of height one."""

_FARTHEST = 8.0
"""Posterior sds up to which the axis follows an estimate; one farther off would squeeze all intervals."""

_ROUNDING = 1e-12
"""Draws of a value that vary by less than this share of its size differ by rounding alone."""

_FLAGGED = 1e6
"""Added to the difference of flagged rows, in sds, so that they come before all others."""


def plot_forest(
    comparison: Comparison,
    *,
    parameters: str | Sequence[str] = KINDS,
    n_rows: int = 36,
    ax: Axes | None = None,
) -> Axes:
    r"""Plot the maximum-likelihood estimate with two standard errors against the posterior mean and its interval.

    .. math:: (\hat\theta \pm 2 \,\mathrm{se} - E[\theta]) / \mathrm{sd}[\theta], \qquad
              ([\theta_{lower}, \theta_{upper}] - E[\theta]) / \mathrm{sd}[\theta]

    All rows share one axis of posterior sds, so that parameters in different units can be compared. The posterior mean
    and sd in units of the data stand at the right, with the flags of the comparison. A parameter that the prior holds
    fixed is shown by its value alone.

    Parameters
    ----------
    comparison
        What `compare` returned.
    parameters
        Which kinds to show: "weight", "mean", "sd", "correlation", "noise weight", or several of them; of t
        distributions "scale" in place of "sd", and "degrees of freedom".
    n_rows
        Most rows to show; where there are more, those are shown in which estimate and posterior differ most.
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
    >>> mle = bg.fit_em(x, n_components=3)
    >>> posterior = bg.fit_nuts(x, n_components=3, start=mle, num_samples=100, num_chains=2, progress=False)
    >>> ax = bg.plot_forest(bg.compare(mle, posterior), parameters="mean")
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['mean[0, velocity]', 'mean[1, velocity]', 'mean[2, velocity]']
    """
    instance_of("comparison", comparison, Comparison, "Give what compare(mle, posterior) returned.")
    kinds = kinds_of(parameters)
    asked = _grouped(comparison.rows, kinds)
    if not asked:
        found = f"The comparison has no parameter of the kinds {', '.join(kinds)}."
        raise ArgumentError(found, "kinds that it has", "One feature has no correlations.")
    rows = _most_different(asked, positive_integer("n_rows", n_rows))
    ax = axes_or_new(ax, figsize=(7.2, 1.3 + 0.2 * len(rows)))
    style_axes(ax)
    limit = _limit(rows)
    for place, row in enumerate(rows):
        _draw_row(ax, row, place, limit)
    _draw_names(ax, rows, comparison.posterior.table)
    ax.set_xlim(-limit, limit)
    ax.axvline(0, color=FRAME, linewidth=0.8, zorder=1)
    ax.set_xlabel("posterior sds from the posterior mean", **TEXT)
    _draw_title_and_legend(ax, comparison, rows, len(asked))
    return ax


def kinds_of(parameters: Any) -> tuple[str, ...]:
    """Kinds of parameters that were asked for, in the order of `KINDS`.

    Raises
    ------
    ArgumentError
        When `parameters` is not one or more of `KINDS`.
    """
    asked = [parameters] if isinstance(parameters, str) else parameters
    kinds = list(asked) if isinstance(asked, Sequence) else [None]
    if not kinds or any(kind not in KINDS for kind in kinds):
        expected = f"one or more of {', '.join(map(repr, KINDS))}"
        raise ArgumentError(f"parameters is {parameters!r}.", expected, 'For example parameters=("mean", "sd").')
    return tuple(kind for kind in KINDS if kind in kinds)


def _grouped(rows: Sequence[Row], kinds: tuple[str, ...]) -> list[Row]:
    """Rows of these kinds, sorted by kind, feature and component."""
    features = list(dict.fromkeys(row.feature for row in rows))
    asked = [row for row in rows if row.parameter in kinds]
    return sorted(asked, key=lambda row: (KINDS.index(row.parameter), features.index(row.feature), row.component))


def _most_different(rows: list[Row], most: int) -> list[Row]:
    """The rows that are flagged or whose two intervals differ most, in the order in which they came."""
    differences = np.array([_difference(row) + _FLAGGED * bool(row.flag) for row in rows])
    chosen = np.argsort(-differences, kind="stable")[:most]
    return [rows[place] for place in np.sort(chosen)]


def _difference(row: Row) -> float:
    """Distance between the ends of the two intervals, or between the estimates, in posterior sds."""
    if _is_held(row):
        return 0.0
    if np.isnan(row.standard_error):
        return 2 * abs(row.shift)
    ends = row.estimate - 2 * row.standard_error - row.lower, row.estimate + 2 * row.standard_error - row.upper
    return float(np.abs(ends).sum() / row.sd)


def _is_held(row: Row) -> bool:
    """Whether the prior holds the parameter fixed, so that its draws differ by rounding alone."""
    size = 1.0 if row.parameter in ("weight", "correlation") else abs(row.mean)
    return row.sd <= _ROUNDING * size


def _draw_row(ax: Axes, row: Row, place: int, limit: float) -> None:
    """Posterior above, maximum likelihood below; an estimate beyond the axis becomes an arrow with its distance."""
    color = component_color(row.component)
    ax.plot([0], [place - _OFFSET], "o", color=color, markersize=4.5, zorder=4)
    if _is_held(row):
        return
    lower, upper, estimate = (np.array([row.lower, row.upper, row.estimate]) - row.mean) / row.sd
    ax.plot([lower, upper], [place - _OFFSET] * 2, color=color, linewidth=2.2, solid_capstyle="butt", zorder=3)
    if abs(estimate) > limit:
        side = np.sign(estimate)
        ax.plot([0.98 * side * limit], [place + _OFFSET], marker=">" if side > 0 else "<", color=color, markersize=5)
        where: Any = {"ha": "right" if side > 0 else "left", "va": "center"}
        ax.text(
            0.95 * side * limit, place + _OFFSET, f"{estimate:.0f}".replace("-", "\N{MINUS SIGN}"), **SMALL, **where
        )
        return
    half_width = 2 * row.standard_error / row.sd
    ax.plot([estimate - half_width, estimate + half_width], [place + _OFFSET] * 2, **_dashed(color), zorder=2)
    ax.plot([estimate], [place + _OFFSET], "o", color=color, markerfacecolor="white", markersize=4.5, zorder=4)


def _dashed(color: str) -> dict[str, Any]:
    return {**DASHED, "color": color, "linestyle": (0, (2.5, 1.5))}


def _limit(rows: list[Row]) -> float:
    """End of the axis in posterior sds: it holds all posterior intervals, and estimates up to eight sds away."""
    varying = [row for row in rows if not _is_held(row)]
    ends = [np.abs([row.lower - row.mean, row.upper - row.mean]).max() / row.sd for row in varying]
    estimates = [abs(row.shift) + 2 * np.nan_to_num(row.standard_error / row.sd) for row in varying]
    return float(1.08 * max([2.5, *ends, *np.minimum(estimates, _FARTHEST)]))


def _draw_names(ax: Axes, rows: list[Row], table: Table) -> None:
    """Name at the left; posterior mean and sd in units of the data, and the flag, at the right."""
    places = np.arange(len(rows))
    ax.set_yticks(places, [row.name for row in rows], **SMALL)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params("y", length=0)
    ax.spines["left"].set_visible(False)
    right = ax.secondary_yaxis("right")
    right.set_yticks(places, [_value_words(row, table) for row in rows], **SMALL)
    right.tick_params("y", length=0)
    right.spines["right"].set_visible(False)
    for row, text in zip(rows, right.get_yticklabels(), strict=True):
        text.set_color(_FLAG_COLOR if row.flag else INK)
    for place, (above, below) in enumerate(pairwise(rows)):
        if (above.parameter, above.feature) != (below.parameter, below.feature):
            ax.axhline(place + 0.5, color=PALE, linewidth=0.8, zorder=0)


def _value_words(row: Row, table: Table) -> str:
    has_unit = table.units is not None and row.parameter in ("mean", "sd", "scale")
    unit = f" [{table.units[table.columns.index(row.feature)]}]" if table.units and has_unit else ""
    flag = f"  ({row.flag})" if row.flag else ""
    if _is_held(row):
        return f"held at {row.mean:.4g}{unit}{flag}"
    digits = int(np.clip(1 - np.floor(np.log10(row.sd)), 0, 8))
    mean = f"{row.mean:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{mean} \N{PLUS-MINUS SIGN} {row.sd:.{digits}f}{unit}{flag}"


def _draw_title_and_legend(ax: Axes, comparison: Comparison, rows: list[Row], n_asked: int) -> None:
    table, K = comparison.posterior.table, comparison.posterior.draws.n_components
    without = sum(np.isnan(row.standard_error) for row in rows)
    hollow: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "markersize": 4.5}
    interval = legend_line(INK, linewidth=2.2, marker="o", markersize=4.5)
    entries = {f"posterior mean and {PROBABILITY:.0%} interval": interval}
    if without < len(rows):
        entries["maximum likelihood \N{PLUS-MINUS SIGN} 2 standard errors"] = legend_line(**_dashed(INK), **hollow)
    if without:
        entries[f"no standard error ({without} of {len(rows)})"] = legend_marker(INK, **hollow)
    chosen = f", {len(rows)} of {n_asked} parameters: where the two differ most" * (len(rows) < n_asked)
    title = title_start(table.name, K) + chosen + explanations_note(comparison.posterior)
    title_and_legend_above(ax, title, entries, column_inches=4.0)
