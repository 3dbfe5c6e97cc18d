"""Figure of the clusters: points by most probable component, with the posterior mean and the fit."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.figure_data.shown_components import shown_components
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.ellipses import single_or_grid
from bayes_gmm.posterior.posterior import Posterior


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

    The solid ellipse has the posterior means of \(\mu_k\) and \(\Sigma_k\). For one feature the components are drawn as
    densities, over a histogram that counts each point for each component with its responsibility.

    Parameters
    ----------
    posterior, mle, data
        See `plot_ellipses`.
    ax
        Axes to draw on, for one or two features; a new figure by default.
    probability
        Mass of a component inside its ellipse.
    seed
        Seed of the random sample of rows that stands for a table of more than 20 000.

    Returns
    -------
    Axes or (D, D) array of Axes
        One pair of axes for one or two features; for more, the grid of `plot_pair`.

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
    return single_or_grid(shown_components(posterior, mle, data=data, probability=probability, seed=seed), ax)
