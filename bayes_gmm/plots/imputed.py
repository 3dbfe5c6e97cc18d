"""Figure of missing cells: what the others of their row tell of them, beside the values that were seen."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.core.export import counted
from bayes_gmm.core.validation import columns_chosen, instance_of, positive_integer, seed_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.imputed_cells import ImputedCells, imputed_cells
from bayes_gmm.figure_data.shown_components import column_label
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.style import (
    FRAME,
    MOST_FEATURES,
    PALETTE,
    SMALL,
    TEXT,
    axes_in_rows,
    legend_arguments,
    legend_line,
    legend_marker,
    style_axes,
)
from bayes_gmm.posterior.posterior import Posterior

_IMPUTED = PALETTE[1]


def plot_imputed(posterior: Posterior | EMFit, *, features: Any = None, num: int = 20, seed: int = 0) -> np.ndarray:
    """Plot the missing cells of each column against the column that tells most of it, over the seen values.

    A bar is the mean of a missing cell with one sd to each side, and the pale dots are `num` imputations of it. It
    stands at the seen value of the other column, in an open ring at its mean where that was not seen either.

    Parameters
    ----------
    posterior
        What `fit_nuts` or `fit_em` returned. Of the latter the spread is that of the cells alone, as if the estimate
        were the truth.
    features
        Up to six columns with missing cells, by name or index; by default the first six.
    num
        Number of imputations of each cell.
    seed
        Seed of the imputations.

    Returns
    -------
    (rows, columns) array of Axes

    Raises
    ------
    ArgumentError
        No cell of these columns is missing, there is one column only, or an argument cannot be used.

    References
    ----------
    Abayomi, Gelman and Levy (2008), doi 10.1111/j.1467-9876.2007.00613.x (diagnostics of multiple imputation).

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("faithful").values.copy()
    >>> x[::5, 1] = float("nan")
    >>> bg.plot_imputed(bg.fit_em(x, n_components=2)).shape
    (1, 1)
    """
    instance_of("posterior", posterior, (Posterior, EMFit), "Give what fit_nuts or fit_em returned.")
    table, columns = posterior.table, _columns(posterior, features)
    cells = imputed_cells(posterior, columns, positive_integer("num", num), seed_integer(seed))
    axes = axes_in_rows(len(columns), height=2.9)
    for ax, of_column in zip(axes.flat, cells, strict=False):
        _draw(ax, of_column)
        ax.set_xlabel(column_label(table, of_column.beside), **TEXT)
        ax.set_ylabel(column_label(table, of_column.column), **TEXT)
        ax.set_title(f"{counted(len(of_column.mean), 'missing cell')} of {table.n_points:,}", loc="left", **SMALL)
    of = "the posterior" if isinstance(posterior, Posterior) else "the estimate"
    entries = {
        "seen": legend_marker(FRAME, markersize=4),
        "missing: mean ± sd": legend_line(_IMPUTED, marker="o", markersize=4),
        f"{counted(num, 'imputation')} under {of}": legend_marker(_IMPUTED, markersize=3, alpha=0.35, mew=0),
    }
    if not all(of_column.at_seen.all() for of_column in cells):
        entries["neither was seen"] = legend_marker("white", markeredgecolor=_IMPUTED, markersize=4)
    figure = axes.flat[0].figure
    figure.suptitle(f"{table.name}, missing cells given the others of their row", x=0.01, ha="left", **TEXT)
    figure.legend(**legend_arguments(entries), loc="outside lower left", ncols=2 if len(columns) == 1 else 4)
    return axes


def _columns(fit: Posterior | EMFit, features: Any) -> list[int]:
    table = fit.table
    gaps = np.flatnonzero(np.isnan(table.values).any(0)).tolist()
    if not gaps:
        raise ArgumentError("No cell is missing.", "a fit to a table with gaps", "Give one.")
    if table.n_features < 2:
        found = "There is one column, so that nothing in a row tells of a missing cell."
        raise ArgumentError(found, "at least two columns", "Fit more of them together.")
    chosen = gaps[:MOST_FEATURES] if features is None else columns_chosen(features, table.columns, MOST_FEATURES)
    if without := [table.columns[column] for column in chosen if column not in gaps]:
        known = ", ".join(table.columns[column] for column in gaps)
        raise ArgumentError(f"No cell of {without[0]!r} is missing.", f"columns among {known}", "Choose these.")
    return chosen


def _draw(ax: Axes, cells: ImputedCells) -> None:
    """Seen points in grey below; the more missing cells there are, the thinner and paler their bars and dots."""
    style_axes(ax)
    crowding = max(len(cells.mean) / 40, 1.0)
    size = float(np.clip(180 / np.sqrt(len(cells.seen)), 2.5, 14))
    x, y = cells.seen.T
    ax.scatter(x, y, s=size, color=FRAME, alpha=0.45, linewidths=0, zorder=1)
    dots: dict[str, Any] = {"s": 5, "color": _IMPUTED, "alpha": float(np.clip(0.3 / crowding, 0.04, 0.3))}
    ax.scatter(np.tile(cells.at, len(cells.draws)), cells.draws.ravel(), **dots, linewidths=0, zorder=2)
    width, alpha = float(np.clip(1.3 / np.sqrt(crowding), 0.4, 1.3)), float(np.clip(1 / np.sqrt(crowding), 0.3, 1))
    ends = cells.mean - cells.sd, cells.mean + cells.sd
    ax.vlines(cells.at, *ends, colors=_IMPUTED, linewidth=width, alpha=alpha, zorder=3)
    fill = np.where(cells.at_seen, _IMPUTED, "white").tolist()
    area = 18 / crowding**0.5
    ax.scatter(cells.at, cells.mean, s=area, c=fill, edgecolors=_IMPUTED, linewidths=0.8 * width, zorder=4)
