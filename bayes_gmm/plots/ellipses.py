"""The picture of both answers: points by component, with ellipses of posterior draws, of their mean, and of the MLE."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.core.validation import columns_chosen
from bayes_gmm.errors import ArgumentError
from bayes_gmm.figure_data.scene import Scene, compose
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.panels import grid, single
from bayes_gmm.plots.style import MOST_FEATURES
from bayes_gmm.posterior.posterior import Posterior


def plot_ellipses(
    posterior: Posterior | None = None,
    *,
    mle: EMFit | Mixture | None = None,
    data: Any = None,
    ax: Axes | None = None,
    n_draws: int = 100,
    probability: float = 0.9,
    seed: int = 0,
) -> Axes | np.ndarray:
    r"""Plot the data, posterior draws of each component and the maximum-likelihood fit, dashed.

    A component is drawn as the ellipse that holds `probability` of it; for one feature, as its density.

    .. math:: (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k) = -2 \log(1 - p)

    Parameters
    ----------
    posterior
        Draws to show; the points take the colours of their posterior mean responsibilities.
    mle
        Fit to show. At least one of `posterior` and `mle` is needed.
    data : (N, D)
        Points to show; by default those that were fitted.
    ax
        Axes to draw on, for one or two features; a new figure by default.
    n_draws
        Posterior draws to show, evenly spaced over all of them.
    probability
        Mass of a component inside its ellipse.
    seed
        Seed of the random sample of rows that stands for a table of more than 20 000.

    Returns
    -------
    Axes or (D, D) array of Axes
        One for one or two features; for more, a grid of pairs whose upper triangle is empty (the first six
        features of a wider table).

    Raises
    ------
    ArgumentError
        When neither fit is given, the fits and the data disagree, or another argument cannot be used.
    DataError
        When `data` is not a table of numbers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> ax = bg.plot_ellipses(mle=bg.fit_em(bg.datasets.load("faithful"), n_components=2))
    >>> ax.get_xlabel()
    'eruptions [min]'
    """
    return _single_or_grid(compose(posterior, mle, data, n_draws, probability, seed), ax)


def plot_clusters(
    posterior: Posterior | None = None,
    *,
    mle: EMFit | Mixture | None = None,
    data: Any = None,
    ax: Axes | None = None,
    probability: float = 0.9,
    seed: int = 0,
) -> Axes | np.ndarray:
    r"""Plot the points by most probable component, each component's posterior mean solid and its MLE dashed.

    The solid ellipse is that of the posterior means of \(\mu_k\) and \(\Sigma_k\). For one feature components are
    densities, over a histogram in which each point counts for each component with its responsibility.

    Parameters
    ----------
    posterior, mle, data
        As `plot_ellipses` takes them.
    ax
        Axes to draw on, for one or two features; a new figure by default.
    probability
        Mass of a component inside its ellipse.
    seed
        Seed of the random sample of rows that stands for a table of more than 20 000.

    Returns
    -------
    Axes or (D, D) array of Axes
        One for one or two features; for more, the grid of `plot_pair`.

    Raises
    ------
    ArgumentError
        When neither fit is given, the fits and the data disagree, or another argument cannot be used.
    DataError
        When `data` is not a table of numbers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> ax = bg.plot_clusters(mle=bg.fit_em(bg.datasets.load("galaxies"), n_components=3))
    >>> ax.get_title(loc="left")
    'galaxies, 3 components'
    """
    return _single_or_grid(compose(posterior, mle, data, None, probability, seed), ax)


def plot_pair(
    posterior: Posterior | None = None,
    *,
    mle: EMFit | Mixture | None = None,
    data: Any = None,
    features: Any = None,
    probability: float = 0.9,
    seed: int = 0,
) -> np.ndarray:
    """Plot each pair of features with points and ellipses by component, and each feature's histogram by component.

    Parameters
    ----------
    posterior, mle, data
        As `plot_ellipses` takes them.
    features
        Up to six columns by name or index; by default the first six.
    probability
        Mass of a component inside its ellipse.
    seed
        Seed of the random sample of rows that stands for a table of more than 20 000.

    Returns
    -------
    (F, F) array of Axes
        For F features; the upper triangle is empty.

    Raises
    ------
    ArgumentError
        When neither fit is given, the fits and the data disagree, or another argument cannot be used.
    DataError
        When `data` is not a table of numbers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import bayes_gmm as bg
    >>> mle = bg.fit_em(bg.datasets.load("iris"), n_components=3)
    >>> bg.plot_pair(mle=mle, features=["petal_length", "petal_width"]).shape
    (2, 2)
    """
    scene = compose(posterior, mle, data, None, probability, seed)
    if features is None:
        return _grid_of_first(scene)
    return grid(scene, columns_chosen(features, scene.table.columns, MOST_FEATURES))


def _single_or_grid(scene: Scene, ax: Axes | None) -> Axes | np.ndarray:
    if scene.table.n_features <= 2:
        return single(scene, list(range(scene.table.n_features)), ax)
    if ax is not None:
        raise ArgumentError(
            f"ax is given for {scene.table.n_features} features.",
            "ax=None for more than two features, which need a grid of axes",
            "Leave ax out, or select two columns and fit these.",
        )
    return _grid_of_first(scene)


def _grid_of_first(scene: Scene) -> np.ndarray:
    return grid(scene, list(range(min(scene.table.n_features, MOST_FEATURES))))
