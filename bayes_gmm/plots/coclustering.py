"""Figure of the co-clustering probabilities: how probable it is that two points belong to the same component."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from bayes_gmm.clustering.co_clustering import MOST_POINTS, co_clustering, order_by_similarity
from bayes_gmm.core.validation import instance_of, positive_integer, seed_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.shown_components import explanations_note, sampled_rows
from bayes_gmm.likelihood.pointwise import thinned
from bayes_gmm.plots.style import (
    FRAME,
    INK,
    TEXT,
    axes_or_new,
    component_color,
    draw_component_number,
    sample_words,
    title_start,
)
from bayes_gmm.posterior.posterior import Posterior

_MOST_NUMBERS = 12
"""A run of at least a twelfth of the rows is higher than the disc of its component's number."""

_DRAWS = 1000
"""Draws of the matrix; an average of a thousand independent draws has a standard error of at most 0.016."""


def plot_coclustering(posterior: Posterior, *, max_points: int = 500, ax: Axes | None = None, seed: int = 0) -> Axes:
    r"""Plot the probability that two points belong to the same component, which no relabelling changes.

    .. math:: P(z_n = z_m \mid x) = \frac1S \sum_s \sum_k r^{(s)}_{nk} r^{(s)}_{mk}

    Rows and columns are ordered so that points that belong together are neighbours (average linkage); the strip at the
    left shows their most probable components.

    Parameters
    ----------
    posterior
        Posterior draws; at most a thousand of them, evenly spaced, are used.
    max_points
        Most points to show; a table of more rows is represented by a random sample of this size.
    ax
        Axes to draw on; a new figure by default.
    seed
        Seed of that sample.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        When an argument cannot be used.

    References
    ----------
    Fritsch and Ickstadt (2009), doi 10.1214/09-BA414.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("galaxies")
    >>> posterior = bg.fit_nuts(x, n_components=3, num_samples=100, num_chains=2, progress=False)
    >>> bg.plot_coclustering(posterior).images[0].get_array().shape
    (82, 82)
    """
    instance_of("posterior", posterior, Posterior, "Give what fit_nuts returned.")
    if positive_integer("max_points", max_points) > MOST_POINTS:
        found = f"max_points is {max_points}."
        raise ArgumentError(found, f"at most {MOST_POINTS}", "More could not be told apart on a screen.")
    table = posterior.table
    rows = sampled_rows(table.n_points, max_points, seed_integer(seed))
    draws, (points, errors) = thinned(posterior.draws, _DRAWS), table.observed(rows)
    together = co_clustering(draws, points, posterior.problem.scaling, errors)
    order = order_by_similarity(together)
    ax = axes_or_new(ax, figsize=(6.4, 5.6))
    _draw_matrix(ax, together[np.ix_(order, order)])
    _draw_strip(ax, posterior.predict()[rows][order])
    sampled = sample_words(len(rows), table.n_points)
    title = title_start(table.name, draws.n_components) + f", {sampled}" * bool(sampled) + explanations_note(posterior)
    ax.set_title(title, loc="left", **TEXT)
    return ax


def _draw_matrix(ax: Axes, together: Float[np.ndarray, "M M"]) -> None:
    image = ax.imshow(together, cmap="Greys", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color(FRAME)
    ax.set_xlabel(f"{len(together)} points, neighbours where they belong together", **TEXT)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label("probability of the same component", **TEXT)
    bar.ax.tick_params(labelsize=8, color=FRAME, labelcolor=INK)
    bar.outline.set_edgecolor(FRAME)


def _draw_strip(ax: Axes, labels: Int[np.ndarray, " M"]) -> None:
    """Most probable component of each row, at the left, noise in grey; its number where a run of rows has room."""
    strip = ax.inset_axes((-0.06, 0, 0.04, 1))
    colors = ListedColormap([component_color(k) for k in range(-1, labels.max() + 1)])
    strip.imshow(
        labels[:, None], cmap=colors, vmin=-1.5, vmax=labels.max() + 0.5, aspect="auto", interpolation="nearest"
    )
    strip.set(xticks=[], yticks=[])
    strip.spines[:].set_visible(False)
    strip.set_ylabel("most probable component", **TEXT)
    edges = np.flatnonzero(np.diff(labels)) + 1
    for run in np.split(np.arange(len(labels)), edges):
        if labels[run[0]] >= 0 and len(run) >= len(labels) / _MOST_NUMBERS:
            draw_component_number(strip, int(labels[run[0]]), 0.0, float(run.mean()))
