"""The picture of what the data taught: the prior of each parameter against its posterior."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bayes_gmm.core.validation import columns_chosen, instance_of, seed_integer
from bayes_gmm.figure_data.shown_components import caution, label
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.plots.forest import kinds_of
from bayes_gmm.plots.style import INK, MOST_FEATURES, SMALL, TEXT, component_color, frame, headline, legend_style
from bayes_gmm.posterior.arviz_tree import lower_pairs, pair_names
from bayes_gmm.posterior.posterior import Posterior

_PRIOR_DRAWS = 10_000
_PRIOR = "#c4c4c4"
_TAILS = (0.01, 0.99)
_FAR_TAILS = (0.001, 0.999)
_MOST_PAIRS = 6

type _Panel = tuple[str, np.ndarray, np.ndarray]
"""What is shown, and its draws from the prior and from the posterior, (S, K) each."""


def plot_prior_posterior(
    posterior: Posterior,
    *,
    parameters: str | Sequence[str] = ("weight", "mean", "sd"),
    features: Any = None,
    seed: int = 0,
) -> np.ndarray:
    """Plot what the prior said of each parameter and what the posterior says of it, component by component.

    Histograms of draws, each scaled to its highest bin. The prior is grey, or, where it tells the components apart, an
    outline for each. What lies beyond 98% of the prior and 99.8% of the posterior is left out.

    Parameters
    ----------
    posterior
        Draws, with their prior.
    parameters
        Which kinds to show, one a row: "weight", "mean", "sd", "correlation", or several of them.
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
    axes = _draw(rows, shared=posterior.problem.exchangeable)
    some = f", {'first ' * (features is None)}{len(columns)} of {table.n_features} features" * (
        len(columns) < table.n_features
    )
    _explain(axes, headline(table.name, prior.n_components) + some + caution(posterior), posterior)
    return axes


def _draws_by_kind(mixtures: Mixture, table: Table, columns: list[int]) -> dict[str, dict[str, np.ndarray]]:
    """Draws (S, K) of each parameter that has a panel, by kind and name."""
    correlations = lower_pairs(mixtures.correlations[..., columns, :][..., columns])
    pairs = pair_names([table.columns[column] for column in columns])[:_MOST_PAIRS]
    draws = {
        "weight": {"weight": mixtures.weights},
        "mean": {f"mean {label(table, column)}": mixtures.means[..., column] for column in columns},
        "sd": {f"sd {label(table, column)}": mixtures.scales[..., column] for column in columns},
        "correlation": {f"correlation\n{pair}": correlations[..., place] for place, pair in enumerate(pairs)},
    }
    K = mixtures.n_components
    return {kind: {name: np.reshape(part, (-1, K)) for name, part in parts.items()} for kind, parts in draws.items()}


def _draw(rows: list[list[_Panel]], *, shared: bool) -> np.ndarray:
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
                _panel(ax, row[place], shared)
            else:
                ax.set_axis_off()
        line[0].set_ylabel("density, scaled", **SMALL)
    return axes


def _panel(ax: Axes, panel: _Panel, shared: bool) -> None:
    name, before, after = panel
    frame(ax)
    ranges = [_range(draws, _FAR_TAILS) for draws in after.T]
    ends = np.array([_range(before, _TAILS), *ranges])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if shared:
        ax.stairs(*_scaled(before.ravel(), 40, (low, high)), fill=True, color=_PRIOR, zorder=1)
    for k, own in enumerate(ranges):
        color = component_color(k)
        if not shared:
            ax.stairs(*_scaled(before[:, k], 40, (low, high)), color=color, linestyle="--", zorder=1)
        ax.stairs(*_scaled(after[:, k], 24, own), fill=True, color=color, alpha=0.75, zorder=2)
    margin = 0.03 * (high - low)
    ax.set(yticks=[], ylim=(0, 1.08), xlim=(low - margin, high + margin))
    ax.set_xlabel(name, **SMALL)


def _range(values: np.ndarray, tails: tuple[float, float]) -> tuple[float, float]:
    """Quantiles, a little apart also where the prior holds the value."""
    low, high = np.quantile(values, tails)
    least = 1e-6 * max(abs(low), abs(high), 1e-6)
    return float(low - least), float(high + least)


def _scaled(values: np.ndarray, n_bins: int, limits: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Heights with the highest at one, and edges."""
    counts, edges = np.histogram(values, n_bins, limits)
    return counts / max(counts.max(), 1), edges


def _explain(axes: np.ndarray, title: str, posterior: Posterior) -> None:
    """Title above; the legend where the first row leaves room for it, or below."""
    figure, K = axes.flat[0].figure, posterior.draws.n_components
    prior = Patch(color=_PRIOR) if posterior.problem.exchangeable else Patch(fill=False, edgecolor=INK, linestyle="--")
    entries = {"prior": prior}
    entries |= {f"posterior, component {k}": Patch(color=component_color(k), alpha=0.75) for k in range(min(K, 7))}
    figure.suptitle(title, x=0.01, ha="left", **TEXT)
    if axes[0, -1].axison:
        columns = max(2, int(figure.get_figwidth() // 1.8))
        figure.legend(**legend_style(entries), loc="outside lower left", ncols=columns)
    else:
        axes[0, 1].legend(**legend_style(entries), loc="upper left")
