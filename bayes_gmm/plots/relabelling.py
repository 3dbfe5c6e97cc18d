"""Figure of what relabelling did: the traces of every component before and after."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.core.validation import columns_chosen, instance_of, one_of
from bayes_gmm.figure_data.shown_components import label
from bayes_gmm.figure_data.traces import r_hats, stride
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.parameter_names import LABELS
from bayes_gmm.plots.style import FRAME, TEXT, component_color, frame, legend_style, stroke
from bayes_gmm.posterior.posterior import Posterior

_PARAMETERS = {name: LABELS[name] for name in ("weights", "means", "scales")}


def plot_relabelling(posterior: Posterior, *, parameter: str = "means", feature: Any = 0) -> np.ndarray:
    """Plot the traces of one parameter of every component, chain after chain, as sampled and after relabelling.

    The titles give the largest R-hat over the components, which compares labels before and parameters after, and how
    many draws match their component badly (`Relabelling.ambiguous`).

    Parameters
    ----------
    posterior
        Draws.
    parameter
        "weights", "means" or "scales".
    feature
        Column of means and scales, by name or index.

    Returns
    -------
    (2,) array of Axes

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
    >>> before, after = bg.plot_relabelling(posterior)
    >>> after.get_ylabel()
    'mean velocity [1000 km/s]'
    """
    instance_of("posterior", posterior, Posterior, "Give what fit_nuts returned.")
    one_of("parameter", parameter, _PARAMETERS, 'The default is "means".')
    (column,) = columns_chosen(feature, posterior.table.columns, 1)
    unit = "" if parameter == "weights" else f" {label(posterior.table, column)}"
    before, after = (_traces(draws, parameter, column) for draws in (posterior.draws_as_sampled, posterior.draws))
    _, axes = plt.subplots(2, 1, sharex=True, sharey=True, figsize=(7.2, 4.8), layout="constrained")
    for ax, values in zip(axes, (before, after), strict=True):
        _component_traces(ax, values)
        ax.set_ylabel(_PARAMETERS[parameter] + unit, **TEXT)
    ambiguous, n_draws = float(posterior.relabelling.ambiguous.max()), before.shape[2]
    axes[0].set_title(f"{posterior.table.name}, as sampled: {_r_hat_words(before)}", loc="left", **TEXT)
    words = f"relabelled: {_r_hat_words(after)}, ambiguous draws {ambiguous:.1%}"
    axes[1].set_title(words, loc="left", **TEXT)
    thinned = f", one in {stride(n_draws)} shown" * (stride(n_draws) > 1)
    axes[1].set_xlabel(f"{before.shape[1]} chains of {n_draws:,} draws{thinned}", **TEXT)
    entries = {f"component {k}": stroke(component_color(k), linewidth=2) for k in range(min(len(before), 7))}
    axes[0].figure.legend(**legend_style(entries), loc="outside lower left", ncols=4)
    return axes


def _traces(draws: Mixture, parameter: str, column: int) -> np.ndarray:
    """Values (K, chain, draw)."""
    values = getattr(draws, parameter)
    return np.moveaxis(values if parameter == "weights" else values[..., column], -1, 0)


def _r_hat_words(values: np.ndarray) -> str:
    found = r_hats(values)
    return "no R-hat" if np.isnan(found).all() else f"R-hat {np.nanmax(found):.3f}"


def _component_traces(ax: Axes, values: np.ndarray) -> None:
    """Chains one after another, thin lines between them."""
    frame(ax)
    _, n_chains, n_draws = values.shape
    shown = np.arange(0, n_draws, stride(n_draws))
    for chain in range(n_chains):
        for k, trace in enumerate(values[:, chain]):
            ax.plot(chain * n_draws + shown, trace[shown], color=component_color(k), linewidth=0.5, alpha=0.8)
    for chain in range(1, n_chains):
        ax.axvline(chain * n_draws, color=FRAME, linewidth=0.8)
    ax.set_xticks((np.arange(n_chains) + 0.5) * n_draws, [f"chain {chain}" for chain in range(n_chains)])
    ax.tick_params("x", length=0)
    ax.set_xlim(0, n_chains * n_draws)
