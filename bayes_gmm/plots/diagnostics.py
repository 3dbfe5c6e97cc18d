"""Figure of the chains: whether their draws can be trusted."""

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import binom

from bayes_gmm.core.validation import instance_of
from bayes_gmm.figure_data.traces import Traces, ess_evolution, rank_counts, trace_stride, varying_traces
from bayes_gmm.plots.style import (
    INK,
    PALE,
    SMALL,
    TEXT,
    chain_color,
    legend_arguments,
    legend_line,
    legend_marker,
    style_axes,
)
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.verdict import LARGEST_RHAT, SMALLEST_ESS

_RANK_BINS = 20
"""Most bins of the ranks; short chains have fewer, so that a bin expects about twenty draws."""

_LONGEST_NAME = 40
"""Longest name of a quantity, in characters, that fits above its axes."""

_DARK, _LIGHT = "#1f4e79", "#9fc0dd"


def plot_diagnostics(posterior: Posterior) -> np.ndarray:
    """Plot whether the draws can be trusted, with the verdict in the title.

    First row: log posterior density by chain, with divergences as crosses; ranks by chain of the invariant with the
    largest R-hat, over the band that holds 95% of the counts of chains that agree; R-hat against effective sample size
    of every quantity. Second row: the energy and its changes from draw to draw; effective sample sizes of the
    invariants as draws accumulate; depths of the trajectories' trees.

    Parameters
    ----------
    posterior
        Posterior draws.

    Returns
    -------
    (2, 3) array of Axes

    Raises
    ------
    ArgumentError
        When `posterior` is not what `fit_nuts` returned.

    References
    ----------
    Vehtari et al. (2021), doi 10.1214/20-BA1221 (ranks, R-hat, ESS); Betancourt (2016), arXiv 1604.00695 (energy).

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("galaxies")
    >>> posterior = bg.fit_nuts(x, n_components=3, num_samples=100, num_chains=2, progress=False)
    >>> bg.plot_diagnostics(posterior).shape
    (2, 3)
    """
    instance_of("posterior", posterior, Posterior, "Give what fit_nuts returned.")
    statistics = {str(name): part.values for name, part in posterior.tree["sample_stats"].data_vars.items()}
    invariants, parameters = (
        varying_traces(posterior.tree[group].to_dataset()) for group in ("invariants", "posterior")
    )
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 6), layout="constrained")
    for ax in axes.flat:
        style_axes(ax)
    _draw_log_posterior(axes[0, 0], statistics)
    _draw_ranks(axes[0, 1], invariants)
    _draw_r_hat_and_ess(axes[0, 2], invariants, parameters)
    _draw_energy(axes[1, 0], statistics["energy"], posterior.verdict.min_bfmi)
    _draw_ess_evolution(axes[1, 1], invariants)
    _draw_depths(axes[1, 2], statistics)
    n_chains = len(statistics["lp"])
    entries = {f"chain {c}": legend_line(chain_color(c, n_chains), linewidth=2) for c in range(min(n_chains, 8))}
    figure.legend(**legend_arguments(entries), loc="outside lower left", ncols=8)
    figure.suptitle(f"{posterior.table.name}, {posterior.verdict.summary}", x=0.01, ha="left", **TEXT)
    return axes


def _set_labels(ax: Axes, title: str, xlabel: str, ylabel: str) -> None:
    ax.set_title(title, loc="left", **SMALL)
    ax.set_xlabel(xlabel, **SMALL)
    ax.set_ylabel(ylabel, **SMALL)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _draw_log_posterior(ax: Axes, statistics: dict[str, np.ndarray]) -> None:
    values, diverging = statistics["lp"], statistics["diverging"].astype(bool)
    shown = np.arange(0, values.shape[1], trace_stride(values.shape[1]))
    for chain, trace in enumerate(values):
        ax.plot(shown, trace[shown], color=chain_color(chain, len(values)), linewidth=0.5, alpha=0.8)
    chains, draws = np.nonzero(diverging)
    ax.plot(draws, values[chains, draws], "x", color="#D55E00", markersize=6, markeredgewidth=1.6, zorder=4)
    _set_labels(ax, f"{len(draws)} divergences (crosses)", "draw", "log posterior density")


def _draw_ranks(ax: Axes, invariants: Traces) -> None:
    worst = invariants.worst
    values = invariants.values[worst]
    n_bins = int(np.clip(values.shape[1] // 20, 4, _RANK_BINS))
    counts, expected = rank_counts(values, n_bins), values.shape[1] / n_bins
    low, high = binom.ppf([0.025, 0.975], values.shape[1], 1 / n_bins) / expected
    ax.axhspan(low, high, color=PALE, zorder=0)
    for chain, count in enumerate(counts):
        color = chain_color(chain, len(counts))
        ax.stairs(count / expected, np.linspace(0, 1, n_bins + 1), baseline=None, color=color, linewidth=1.2)
    r_hat = invariants.r_hat[worst]
    title = f"R-hat {r_hat:.3f}: {_shortened(invariants.names[worst])}"
    _set_labels(ax, title, "rank among all draws", "draws / expected")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.08 * max(high, counts.max() / expected))


def _draw_energy(ax: Axes, energy: Float[np.ndarray, "chain draw"], bfmi: float) -> None:
    """Where its changes are much narrower than the energy itself, chains take long to reach the tails."""
    centred, changes = energy - energy.mean(), np.diff(energy, axis=1)
    n_bins = int(np.clip(np.sqrt(energy.size), 8, 40))
    edges = np.histogram_bin_edges(np.concatenate([centred.ravel(), changes.ravel()]), n_bins)
    ax.stairs(np.histogram(centred, edges, density=True)[0], edges, fill=True, color=_LIGHT)
    ax.stairs(np.histogram(changes, edges, density=True)[0], edges, color=_DARK, linewidth=1.4)
    entries = {"energy": Patch(color=_LIGHT), "its changes": legend_line(_DARK)}
    ax.legend(**legend_arguments(entries), loc="upper right", handlelength=1.2)
    _set_labels(ax, f"smallest BFMI {bfmi:.2f}", "energy, centred", "density")


def _draw_ess_evolution(ax: Axes, invariants: Traces) -> None:
    n_draws, sizes = ess_evolution(invariants.values)
    worst = int(np.argmin(sizes[-1]))
    ax.plot(n_draws, sizes, color=_LIGHT, linewidth=0.8)
    ax.plot(n_draws, sizes[:, worst], color=_DARK, linewidth=1.6)
    ax.axhline(SMALLEST_ESS, color=INK, linewidth=0.9, linestyle=":")
    title = f"ESS {sizes[-1, worst]:.0f}: {_shortened(invariants.names[worst])}"
    _set_labels(ax, title, "draws of all chains", "ESS of invariants")
    ax.set_ylim(bottom=0)
    ax.set_xlim(0, n_draws[-1] * 1.02)


def _draw_depths(ax: Axes, statistics: dict[str, np.ndarray]) -> None:
    depths, deepest = statistics["tree_depth"].astype(int), int(statistics["reached_max_tree_depth"].sum())
    counts = np.bincount(depths.ravel(), minlength=2)
    ax.bar(np.arange(len(counts)), counts / counts.sum(), width=0.8, color=_LIGHT)
    ax.set_xticks(np.arange(depths.min(), len(counts)))
    ax.set_xlim(depths.min() - 1.2, len(counts) + 0.2)
    steps = statistics["n_steps"].mean()
    _set_labels(ax, f"{deepest} cut at the largest depth, {steps:.1f} steps a draw", "tree depth", "share of draws")


def _draw_r_hat_and_ess(ax: Axes, invariants: Traces, parameters: Traces) -> None:
    for traces, color in ((parameters, _LIGHT), (invariants, _DARK)):
        ax.plot(traces.ess, traces.r_hat, "o", markersize=4, alpha=0.9, markeredgewidth=0, color=color)
    ax.axhline(LARGEST_RHAT, color=INK, linewidth=0.9, linestyle=":")
    ax.axvline(SMALLEST_ESS, color=INK, linewidth=0.9, linestyle=":")
    entries: dict[str, Line2D] = {"invariants": legend_marker(_DARK), "relabelled parameters": legend_marker(_LIGHT)}
    ax.legend(**legend_arguments(entries), loc="upper right", handlelength=1.2)
    r_hat = np.concatenate([invariants.r_hat, parameters.r_hat])
    outside = int((~(r_hat <= LARGEST_RHAT)).sum())  # NaN counts as too large.
    _set_labels(ax, f"{outside} of {len(r_hat)} quantities with R-hat above {LARGEST_RHAT}", "ESS", "R-hat")
    low, high = ax.get_ylim()
    ax.set_ylim(low, max(high, LARGEST_RHAT + 0.002) + 0.25 * (high - low))
    ax.set_xlim(left=0)
