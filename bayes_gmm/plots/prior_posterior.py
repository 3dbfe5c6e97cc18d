"""Figure of the prior of each parameter against its posterior."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bayes_gmm.core.validation import columns_chosen, instance_of, seed_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.shown_components import column_label, explanations_note
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.parameter_names import ALL_LABELS, DEGREES_LABEL, NOISE_LABEL, labels_of
from bayes_gmm.plots.forest import kinds_of
from bayes_gmm.plots.style import (
    INK,
    MOST_FEATURES,
    SMALL,
    TEXT,
    component_color,
    legend_arguments,
    style_axes,
    title_start,
)
from bayes_gmm.posterior.arviz_tree import lower_pairs, pair_names
from bayes_gmm.posterior.posterior import Posterior

_PRIOR_DRAWS = 10_000
"""Draws from the prior: each of 40 bins holds some 250, whose noise of 6% is hardly visible."""

_PRIOR_COLOR = "#c4c4c4"

_PRIOR_TAILS, _POSTERIOR_TAILS = (0.01, 0.99), (0.001, 0.999)
"""Quantiles at which the axes end: priors have long tails, which would leave the posterior too narrow to see."""

_PRIOR_BINS, _POSTERIOR_BINS = 40, 24
"""The bins of the prior cover the axes, those of the posterior the posterior alone."""

_MOST_PAIRS = 6
"""Most correlations in a row of axes, which has at most as many means and sds."""

type _Panel = tuple[str, Float[np.ndarray, "P K"], Float[np.ndarray, "S K"]]
"""Label of a parameter, its draws from the prior, and its draws from the posterior."""


def plot_prior_posterior(
    posterior: Posterior,
    *,
    parameters: str | Sequence[str] = ("weight", "mean", "sd", "scale", "degrees of freedom"),
    features: Any = None,
    seed: int = 0,
) -> np.ndarray:
    """Plot what the prior said of each parameter and what the posterior says of it, component by component.

    The histograms of draws are scaled to the same height. The prior is grey; where it differs between components, each
    has an outline of its own. Values outside the central 98% of the prior and 99.8% of the posterior are left out.

    Parameters
    ----------
    posterior
        Posterior draws, with their prior.
    parameters
        Which kinds to show, one a row: "weight", "mean", "sd", "correlation", "noise weight", or several of them; of
        t distributions "scale" in place of "sd", and "degrees of freedom".
    features
        Up to six columns by name or index; by default the first six.
    seed
        Seed of the draws from the prior.

    Returns
    -------
    (rows, columns) array of Axes

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
    >>> posterior = bg.fit_nuts(x, n_components=3, num_samples=100, num_chains=2, progress=False)
    >>> [ax.get_xlabel() for ax in bg.plot_prior_posterior(posterior).flat]
    ['weight', 'mean velocity [1000 km/s]', 'sd velocity [1000 km/s]']
    """
    instance_of("posterior", posterior, Posterior, "Give what fit_nuts returned.")
    table, kinds = posterior.table, kinds_of(parameters)
    default = range(min(table.n_features, MOST_FEATURES))
    columns = columns_chosen(default if features is None else features, table.columns, MOST_FEATURES)
    prior = posterior.problem.sample_prior(_PRIOR_DRAWS, seed=seed_integer(seed))
    before, after = (_draws_by_kind(mixtures, table, columns) for mixtures in (prior, posterior.draws))
    rows = [[(name, before[kind][name], after[kind][name]) for name in before[kind]] for kind in kinds]
    if not any(rows):
        found = f"The posterior has no parameter of the kinds {', '.join(kinds)}."
        raise ArgumentError(found, "kinds that it has", "One feature has no correlations, and few fits have noise.")
    axes = _draw_rows(rows, shared=posterior.problem.exchangeable)
    title = title_start(table.name, prior.n_components)
    if len(columns) < table.n_features:
        title += f", {'first ' * (features is None)}{len(columns)} of {table.n_features} features"
    _draw_title_and_legend(axes, title + explanations_note(posterior), posterior)
    return axes


def _draws_by_kind(
    mixtures: Mixture, table: Table, columns: list[int]
) -> dict[str, dict[str, Float[np.ndarray, "S K"]]]:
    """Draws (S, K) of each parameter that has a panel, by kind and name."""
    correlations = lower_pairs(mixtures.correlations[..., columns, :][..., columns])
    name, degrees = labels_of(mixtures)["scales"], mixtures.degrees_of_freedom
    pairs = pair_names([table.columns[column] for column in columns])[:_MOST_PAIRS]
    draws = {
        "weight": {"weight": mixtures.weights},
        "mean": {f"mean {column_label(table, column)}": mixtures.means[..., column] for column in columns},
        name: {f"{name} {column_label(table, column)}": mixtures.scales[..., column] for column in columns},
        "correlation": {f"correlation\n{pair}": correlations[..., place] for place, pair in enumerate(pairs)},
    }
    K = mixtures.n_components
    found = {kind: {name: np.reshape(part, (-1, K)) for name, part in parts.items()} for kind, parts in draws.items()}
    noise = {} if mixtures.noise is None else {NOISE_LABEL: np.reshape(mixtures.noise_weight, (-1, 1))}
    tails = {} if degrees is None else {DEGREES_LABEL: {DEGREES_LABEL: np.reshape(degrees, (-1, K))}}
    return {kind: {} for kind in ALL_LABELS} | found | tails | {NOISE_LABEL: noise}


def _draw_rows(rows: list[list[_Panel]], *, shared: bool) -> np.ndarray:
    """One row of axes for each kind, or one row for all where each kind has one panel."""
    rows = [row for row in rows if row]
    if max(map(len, rows)) == 1:
        rows = [[panel for row in rows for panel in row]]
    width = max(map(len, rows))
    size = 0.6 + (2.9 if width < 4 else 1.8) * width, 1.1 + 1.75 * len(rows)
    _, axes = plt.subplots(len(rows), width, figsize=size, layout="constrained", squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for place, ax in enumerate(line):
            if place < len(row):
                _draw_panel(ax, row[place], shared)
            else:
                ax.set_axis_off()
        line[0].set_ylabel("density, scaled", **SMALL)
    return axes


def _draw_panel(ax: Axes, panel: _Panel, shared: bool) -> None:
    name, before, after = panel
    style_axes(ax)
    ranges = [_range(draws, _POSTERIOR_TAILS) for draws in after.T]
    ends = np.array([_range(before, _PRIOR_TAILS), *ranges])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if shared:
        ax.stairs(*_scaled(before.ravel(), _PRIOR_BINS, (low, high)), fill=True, color=_PRIOR_COLOR, zorder=1)
    for k, own in enumerate(ranges):
        color = INK if name == NOISE_LABEL else component_color(k)
        if not shared:
            ax.stairs(*_scaled(before[:, k], _PRIOR_BINS, (low, high)), color=color, linestyle="--", zorder=1)
        ax.stairs(*_scaled(after[:, k], _POSTERIOR_BINS, own), fill=True, color=color, alpha=0.75, zorder=2)
    margin = 0.03 * (high - low)
    ax.set(yticks=[], ylim=(0, 1.08), xlim=(low - margin, high + margin))
    ax.set_xlabel(name, **SMALL)


def _range(values: Float[np.ndarray, "*shape"], tails: tuple[float, float]) -> tuple[float, float]:
    """Quantiles, a little apart even where the prior holds the value fixed."""
    low, high = np.quantile(values, tails)
    least = 1e-6 * max(abs(low), abs(high), 1e-6)
    return float(low - least), float(high + least)


def _scaled(
    values: Float[np.ndarray, " S"], n_bins: int, limits: tuple[float, float]
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " edges"]]:
    """Heights of a histogram, the highest one, and its edges."""
    counts, edges = np.histogram(values, n_bins, limits)
    return counts / max(counts.max(), 1), edges


def _draw_title_and_legend(axes: np.ndarray, title: str, posterior: Posterior) -> None:
    """Title above; the legend in the empty axes of the first row, if there are any, or below."""
    figure, K = axes.flat[0].figure, posterior.draws.n_components
    prior = (
        Patch(color=_PRIOR_COLOR)
        if posterior.problem.exchangeable
        else Patch(fill=False, edgecolor=INK, linestyle="--")
    )
    entries = {"prior": prior}
    entries |= {f"posterior, component {k}": Patch(color=component_color(k), alpha=0.75) for k in range(min(K, 7))}
    figure.suptitle(title, x=0.01, ha="left", **TEXT)
    if axes[0, -1].axison:
        columns = max(2, int(figure.get_figwidth() // 1.8))
        figure.legend(**legend_arguments(entries), loc="outside lower left", ncols=columns)
    else:
        axes[0, 1].legend(**legend_arguments(entries), loc="upper left")
