"""Figure of posterior draws and the maximum-likelihood fit as ellipses over the points."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bayes_gmm.figure_data.shown_components import shown_components
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.panels import single_or_grid
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

    A component is drawn as the ellipse that holds `probability` of its mass; for one feature, as its density.

    .. math:: (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k) = -2 \log(1 - p)

    Parameters
    ----------
    posterior
        Posterior draws to show; the points are coloured by their posterior mean responsibilities.
    mle
        Maximum-likelihood fit to show. At least one of `posterior` and `mle` is needed.
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
        One pair of axes for one or two features; for more, a grid of pairs whose upper triangle is empty (the first six
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
    shown = shown_components(posterior, mle, data=data, n_draws=n_draws, probability=probability, seed=seed)
    return single_or_grid(shown, ax)
