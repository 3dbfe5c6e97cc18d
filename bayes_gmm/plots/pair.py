"""Figure of all pairs of features: points and ellipses by component."""

from typing import Any

import numpy as np

from bayes_gmm.core.validation import columns_chosen
from bayes_gmm.figure_data.shown_components import shown_components
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.plots.ellipses import grid, grid_of_first
from bayes_gmm.plots.style import MOST_FEATURES
from bayes_gmm.posterior.posterior import Posterior


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
        See `plot_ellipses`.
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
    shown = shown_components(posterior, mle, data=data, probability=probability, seed=seed)
    if features is None:
        return grid_of_first(shown)
    return grid(shown, columns_chosen(features, shown.table.columns, MOST_FEATURES))
