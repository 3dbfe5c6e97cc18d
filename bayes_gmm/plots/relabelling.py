"""Figure of the traces of every component before and after relabelling."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from bayes_gmm.core.validation import columns_chosen, instance_of, one_of
from bayes_gmm.figure_data.shown_components import column_label
from bayes_gmm.figure_data.traces import trace_stride
from bayes_gmm.mcmc.mixing import split_r_hat
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.parameter_names import LABELS
from bayes_gmm.plots.style import FRAME, TEXT, component_color, legend_arguments, legend_line, style_axes
from bayes_gmm.posterior.posterior import Posterior

_PARAMETERS = {name: LABELS[name] for name in ("weights", "means", "scales")}


def plot_relabelling(posterior: Posterior, *, parameter: str = "means", feature: Any = 0) -> np.ndarray:
    """Plot the traces of one parameter of every component, chain after chain, as sampled and after relabelling.

    The titles give the largest R-hat over the components, and the share of draws that match their component badly
    (`Relabelling.ambiguous`). Before relabelling a large R-hat may come from labels that differ between chains; after
    it, from parameters that do.

    Parameters
    ----------
    posterior
        Posterior draws.
    parameter
        "weights", "means" or "scales".
    feature
        Column whose mean or sd is shown, by name or index; weights have none.

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
    unit = "" if parameter == "weights" else f" {column_label(posterior.table, column)}"
    before = _values_by_component(posterior.draws_as_sampled, parameter, column)
    after = _values_by_component(posterior.draws, parameter, column)
    _, axes = plt.subplots(2, 1, sharex=True, sharey=True, figsize=(7.2, 4.8), layout="constrained")
    for ax, values in zip(axes, (before, after), strict=True):
        _draw_traces(ax, values)
        ax.set_ylabel(_PARAMETERS[parameter] + unit, **TEXT)
    ambiguous, n_draws = float(posterior.relabelling.ambiguous.max()), before.shape[2]
    axes[0].set_title(f"{posterior.table.name}, as sampled: {_r_hat_words(before)}", loc="left", **TEXT)
    words = f"relabelled: {_r_hat_words(after)}, ambiguous draws {ambiguous:.1%}"
    axes[1].set_title(words, loc="left", **TEXT)
    stride = trace_stride(n_draws)
    thinned = f", one in {stride} shown" * (stride > 1)
    axes[1].set_xlabel(f"{before.shape[1]} chains of {n_draws:,} draws{thinned}", **TEXT)
    entries = {f"component {k}": legend_line(component_color(k), linewidth=2) for k in range(min(len(before), 7))}
    axes[0].figure.legend(**legend_arguments(entries), loc="outside lower left", ncols=4)
    return axes


def _values_by_component(draws: Mixture, parameter: str, column: int) -> Float[np.ndarray, "K chain draw"]:
    """Values (K, chain, draw) of "weights", or of "means" or "scales" of one column."""
    values = getattr(draws, parameter)
    return np.moveaxis(values if parameter == "weights" else values[..., column], -1, 0)


def _r_hat_words(values: Float[np.ndarray, "K chain draw"]) -> str:
    found = split_r_hat(values)
    return "no R-hat" if np.isnan(found).all() else f"R-hat {np.nanmax(found):.3f}"


def _draw_traces(ax: Axes, values: Float[np.ndarray, "K chain draw"]) -> None:
    """Traces (K, chain, draw) of all components, the chains one after another with thin lines between them."""
    style_axes(ax)
    _, n_chains, n_draws = values.shape
    shown = np.arange(0, n_draws, trace_stride(n_draws))
    for chain in range(n_chains):
        for k, trace in enumerate(values[:, chain]):
            ax.plot(chain * n_draws + shown, trace[shown], color=component_color(k), linewidth=0.5, alpha=0.8)
    for chain in range(1, n_chains):
        ax.axvline(chain * n_draws, color=FRAME, linewidth=0.8)
    ax.set_xticks((np.arange(n_chains) + 0.5) * n_draws, [f"chain {chain}" for chain in range(n_chains)])
    ax.tick_params("x", length=0)
    ax.set_xlim(0, n_chains * n_draws)
