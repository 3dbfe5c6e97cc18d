"""Figure of the posterior predictive check: the data against data replicated from the posterior."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bayes_gmm.core.validation import columns_chosen, instance_of, open_probability
from bayes_gmm.figure_data.predictive_checks import Replications, replications
from bayes_gmm.figure_data.shown_components import column_label, explanations_note, gaps_note
from bayes_gmm.plots.style import (
    FRAME,
    INK,
    MOST_FEATURES,
    PALE,
    SMALL,
    TEXT,
    axes_in_rows,
    legend_arguments,
    legend_line,
    style_axes,
)
from bayes_gmm.posterior.posterior import Posterior

_FEW_REPLICATIONS = 50
"""Of fewer replications the number is given: two decimals of their share would pretend to more than there are."""


def plot_ppc(posterior: Posterior, *, features: Any = None, probability: float = 0.94) -> np.ndarray:
    r"""Plot each feature's histogram against those of data replicated from the posterior.

    The band holds `probability` of the replications bin by bin. The title gives, for skewness and kurtosis T, the share
    of replications with \(T(x^{rep}) \ge T(x)\); a share near 0 or 1 says that the mixture misses the shape.
    A row and its replications have the same weight, so that of rows with weights above one the band is too wide rather
    than too narrow.

    Of cells that were not seen nothing is replicated. Where which these are depends on other columns, the seen ones are
    no fair sample of their column, and may differ from replications though the mixture is right.

    Parameters
    ----------
    posterior
        Posterior draws; the replications are the group posterior_predictive of the tree.
    features
        Up to six columns by name or index; by default the first six.
    probability
        Mass of the band.

    Returns
    -------
    (rows, columns) array of Axes

    Raises
    ------
    ArgumentError
        When an argument cannot be used.

    References
    ----------
    Gelman, Meng and Stern (1996), Statistica Sinica 6, 733-760.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("galaxies")
    >>> posterior = bg.fit_nuts(x, n_components=3, num_samples=100, num_chains=2, progress=False)
    >>> bg.plot_ppc(posterior).shape
    (1, 1)
    """
    instance_of("posterior", posterior, Posterior, "Give what fit_nuts returned.")
    probability, table = open_probability(probability, 0.94), posterior.table
    default = range(min(table.n_features, MOST_FEATURES))
    columns = columns_chosen(default if features is None else features, table.columns, MOST_FEATURES)
    checks = [replications(posterior, column) for column in columns]
    axes = axes_in_rows(len(columns))
    for ax, column, check in zip(axes.flat, columns, checks, strict=False):
        _draw_replications(ax, check, probability)
        ax.set_xlabel(column_label(table, column), **TEXT)
    count = len(checks[0].replicated)
    which = "first " * (features is None) + f"{len(columns)} of {table.n_features} features, "
    which *= len(columns) < table.n_features
    title = f"{table.name}, {which}{count} replications of {table.n_points:,} points"
    entries = {
        "data": legend_line(INK),
        "median of the replications": legend_line(FRAME),
        f"{100 * probability:g}% of the replications": Patch(color=PALE),
    }
    axes.flat[0].figure.suptitle(title + gaps_note(table) + explanations_note(posterior), x=0.01, ha="left", **TEXT)
    axes.flat[0].figure.legend(**legend_arguments(entries), loc="outside lower left", ncols=3)
    return axes


def _draw_replications(ax: Axes, check: Replications, probability: float) -> None:
    style_axes(ax)
    tails = [(1 - probability) / 2, 0.5, (1 + probability) / 2]
    lower, median, upper = np.quantile(check.replicated, tails, axis=0)
    ax.stairs(upper, check.edges, baseline=lower, fill=True, color=PALE, zorder=1)
    ax.stairs(median, check.edges, color=FRAME, linewidth=1.2, zorder=2)
    ax.stairs(check.observed, check.edges, color=INK, linewidth=1.3, zorder=3)
    shares = ", ".join(f"{name} {_share_words(value, len(check.replicated))}" for name, value in check.p_values.items())
    ax.set_title(f"P(replicated $\\geq$ data): {shares}", loc="left", fontsize=8, color=INK)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("density", **SMALL)


def _share_words(value: float, count: int) -> str:
    return f"{value:.2f}" if count >= _FEW_REPLICATIONS else f"{round(value * count)} of {count}"
