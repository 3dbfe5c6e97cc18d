"""The picture of a comparison: each parameter's estimate against its posterior, on one axis."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.assessment.compare import Comparison
from bayes_gmm.assessment.parameter_comparison import PROBABILITY, Row
from bayes_gmm.core.validation import instance_of, positive_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.shown_components import caution
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.parameter_names import LABELS
from bayes_gmm.plots.style import (
    DASHED,
    FRAME,
    INK,
    PALE,
    SMALL,
    TEXT,
    axes_or_new,
    component_color,
    dot,
    explain_above,
    frame,
    headline,
    stroke,
)

KINDS = tuple(LABELS.values())

_WARNING = "#A63603"
_APART = 0.17
_FARTHEST = 8.0
_ROUNDING = 1e-12


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

    All rows share one axis of posterior sds, so that parameters in different units can be compared; the posterior mean
    and sd in units of the data stand at the right. What is flagged in the comparison is marked there. Of a parameter
    that the prior holds the value alone is shown.

    Parameters
    ----------
    comparison
        What `compare` returned.
    parameters
        Which kinds to show: "weight", "mean", "sd", "correlation", or several of them.
    n_rows
        The most rows; where there are more, those in which the two differ most.
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
    frame(ax)
    limit = _limit(rows)
    for place, row in enumerate(rows):
        _row(ax, row, place, limit)
    _names(ax, rows, comparison.posterior.table)
    ax.set_xlim(-limit, limit)
    ax.axvline(0, color=FRAME, linewidth=0.8, zorder=1)
    ax.set_xlabel("posterior sds from the posterior mean", **TEXT)
    _explain(ax, comparison, rows, len(asked))
    return ax


def kinds_of(parameters: Any) -> tuple[str, ...]:
    """Kinds of parameters, in the order of `KINDS`."""
    asked = [parameters] if isinstance(parameters, str) else parameters
    kinds = list(asked) if isinstance(asked, Sequence) else [None]
    if not kinds or any(kind not in KINDS for kind in kinds):
        expected = f"one or more of {', '.join(map(repr, KINDS))}"
        raise ArgumentError(f"parameters is {parameters!r}.", expected, 'For example parameters=("mean", "sd").')
    return tuple(kind for kind in KINDS if kind in kinds)


def _grouped(rows: Sequence[Row], kinds: tuple[str, ...]) -> list[Row]:
    """Rows of these kinds; those that differ in the component alone are neighbours."""
    features = list(dict.fromkeys(row.feature for row in rows))
    asked = [row for row in rows if row.parameter in kinds]
    return sorted(asked, key=lambda row: (KINDS.index(row.parameter), features.index(row.feature), row.component))


def _most_different(rows: list[Row], most: int) -> list[Row]:
    """Rows in which the two intervals differ most, flagged ones before others; in their order."""
    differences = np.array([_difference(row) + 1e6 * bool(row.flag) for row in rows])
    chosen = np.argsort(-differences, kind="stable")[:most]
    return [rows[place] for place in np.sort(chosen)]


def _difference(row: Row) -> float:
    """How far the ends of the two intervals, or the estimates, lie apart, in posterior sds."""
    if _held(row):
        return 0.0
    if np.isnan(row.standard_error):
        return 2 * abs(row.shift)
    ends = row.estimate - 2 * row.standard_error - row.lower, row.estimate + 2 * row.standard_error - row.upper
    return float(np.abs(ends).sum() / row.sd)


def _held(row: Row) -> bool:
    """Whether the prior held it, so that its draws differ by rounding alone."""
    size = 1.0 if row.parameter in ("weight", "correlation") else abs(row.mean)
    return row.sd <= _ROUNDING * size


def _row(ax: Axes, row: Row, place: int, limit: float) -> None:
    """Posterior above, maximum likelihood below; an estimate out of sight becomes an arrow with its distance."""
    color = component_color(row.component)
    ax.plot([0], [place - _APART], "o", color=color, markersize=4.5, zorder=4)
    if _held(row):
        return
    lower, upper, estimate = (np.array([row.lower, row.upper, row.estimate]) - row.mean) / row.sd
    ax.plot([lower, upper], [place - _APART] * 2, color=color, linewidth=2.2, solid_capstyle="butt", zorder=3)
    if abs(estimate) > limit:
        side = np.sign(estimate)
        ax.plot([0.98 * side * limit], [place + _APART], marker=">" if side > 0 else "<", color=color, markersize=5)
        where: Any = {"ha": "right" if side > 0 else "left", "va": "center"}
        ax.text(0.95 * side * limit, place + _APART, f"{estimate:.0f}".replace("-", "\N{MINUS SIGN}"), **SMALL, **where)
        return
    reach = 2 * row.standard_error / row.sd
    ax.plot([estimate - reach, estimate + reach], [place + _APART] * 2, **_dashed(color), zorder=2)
    ax.plot([estimate], [place + _APART], "o", color=color, markerfacecolor="white", markersize=4.5, zorder=4)


def _dashed(color: str) -> dict[str, Any]:
    return {**DASHED, "color": color, "linestyle": (0, (2.5, 1.5))}


def _limit(rows: list[Row]) -> float:
    """How far the axis goes: it holds all intervals, and estimates up to eight sds away."""
    varying = [row for row in rows if not _held(row)]
    ends = [np.abs([row.lower - row.mean, row.upper - row.mean]).max() / row.sd for row in varying]
    reaches = [abs(row.shift) + 2 * np.nan_to_num(row.standard_error / row.sd) for row in varying]
    return float(1.08 * max([2.5, *ends, *np.minimum(reaches, _FARTHEST)]))


def _names(ax: Axes, rows: list[Row], table: Table) -> None:
    """Name at the left; posterior mean and sd in units of the data, and what is flagged, at the right."""
    places = np.arange(len(rows))
    ax.set_yticks(places, [row.name for row in rows], **SMALL)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params("y", length=0)
    ax.spines["left"].set_visible(False)
    right = ax.secondary_yaxis("right")
    right.set_yticks(places, [_numbers(row, table) for row in rows], **SMALL)
    right.tick_params("y", length=0)
    right.spines["right"].set_visible(False)
    for row, text in zip(rows, right.get_yticklabels(), strict=True):
        text.set_color(_WARNING if row.flag else INK)
    for place, (above, below) in enumerate(pairwise(rows)):
        if (above.parameter, above.feature) != (below.parameter, below.feature):
            ax.axhline(place + 0.5, color=PALE, linewidth=0.8, zorder=0)


def _numbers(row: Row, table: Table) -> str:
    has_unit = table.units is not None and row.parameter in ("mean", "sd")
    unit = f" [{table.units[table.columns.index(row.feature)]}]" if table.units and has_unit else ""
    flag = f"  ({row.flag})" if row.flag else ""
    if _held(row):
        return f"held at {row.mean:.4g}{unit}{flag}"
    digits = int(np.clip(1 - np.floor(np.log10(row.sd)), 0, 8))
    mean = f"{row.mean:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{mean} \N{PLUS-MINUS SIGN} {row.sd:.{digits}f}{unit}{flag}"


def _explain(ax: Axes, comparison: Comparison, rows: list[Row], n_asked: int) -> None:
    table, K = comparison.posterior.table, comparison.posterior.draws.n_components
    without = sum(np.isnan(row.standard_error) for row in rows)
    hollow: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "markersize": 4.5}
    entries = {f"posterior mean and {PROBABILITY:.0%} interval": stroke(INK, linewidth=2.2, marker="o", markersize=4.5)}
    if without < len(rows):
        entries["maximum likelihood \N{PLUS-MINUS SIGN} 2 standard errors"] = stroke(**_dashed(INK), **hollow)
    if without:
        entries[f"no standard error ({without} of {len(rows)})"] = dot(INK, **{**hollow, "markersize": 4.5})
    chosen = f", {len(rows)} of {n_asked} parameters: where the two differ most" * (len(rows) < n_asked)
    explain_above(ax, headline(table.name, K) + chosen + caution(comparison.posterior), entries, each=4.0)
