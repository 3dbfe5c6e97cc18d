"""Coordinates at which components are drawn: their ellipses, their density curves, and the edges of histograms."""

from typing import Any

import numpy as np
from jaxtyping import Float

from bayes_gmm.figure_data.shown_components import ShownComponents
from bayes_gmm.mixture.degrees_of_freedom import log_tail
from bayes_gmm.mixture.mixture import Mixture

_ANGLES = np.linspace(0, 2 * np.pi, 73)
"""One vertex of an ellipse every five degrees, the last on the first: the chords lie within 0.1% of the curve."""

_EVEN_ABSCISSAE = 400
"""About one abscissa a pixel for axes a few inches wide."""

_ABSCISSAE_PER_COMPONENT = np.linspace(-5, 5, 81)
"""Standardised abscissae of each component, eight per standard deviation; beyond five its density is invisible."""

_BINS_PER_ROOT, _FEWEST_BINS, _MOST_BINS = 1.6, 16, 60
"""Bins grow with the square root of the number of values; fewer than 16 hide modes, more than 60 are all edges."""


def component_ellipses(mixture: Mixture, probability: float) -> Float[np.ndarray, "*batch K 73 2"]:
    r"""Closed curves that hold `probability` of each component of a mixture of two features.

    .. math:: (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k) = -2 \log(1 - p)

    For t distributions, with scatters, it is \(\nu_k ((1 - p)^{-2 / \nu_k} - 1)\) on the right.
    """
    circle = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)
    radii = np.sqrt(_squared_radius(mixture.degrees_of_freedom, probability))
    return np.asarray(
        mixture.means[..., None, :] + np.asarray(radii)[..., None, None] * (circle @ mixture.scale_tril.mT)
    )


def _squared_radius(degrees: Any, probability: float) -> Any:
    """Squared distance within which a component of two features has this mass."""
    gaussian = -2 * np.log1p(-probability)
    if degrees is None:
        return gaussian
    finite = np.where(np.isinf(degrees), 1.0, degrees)
    return np.where(np.isinf(degrees), gaussian, finite * np.expm1(gaussian / finite))


def density_abscissae(shown: ShownComponents, feature: int) -> Float[np.ndarray, " G"]:
    """Values of a feature at which densities are drawn: an even grid, and more around each component.

    A component much narrower than the spacing of the even grid would lose its shape, or fall between two values.
    """
    grids = [np.linspace(*shown.limits(feature), _EVEN_ABSCISSAE)]
    for mixture in (shown.mle, shown.draws):
        if mixture is not None:
            both = np.stack([mixture.means, mixture.scales])[..., feature].reshape(2, -1, mixture.n_components, 1)
            means, scales = np.median(both, axis=1)
            grids.append(np.ravel(means + scales * _ABSCISSAE_PER_COMPONENT))
    return np.unique(np.concatenate(grids))


def weighted_component_densities(
    mixture: Mixture, feature: int, x: Float[np.ndarray, " G"]
) -> Float[np.ndarray, "*batch K G"]:
    r"""Densities of the components at values of one feature, \(\pi_k \, N(x \mid \mu_k, \sigma_k^2)\), or of t."""
    means, scales = mixture.means[..., [feature]], mixture.scales[..., [feature]]
    squares, degrees = ((x - means) / scales) ** 2, mixture.degrees_of_freedom
    tail = -0.5 * squares if degrees is None else log_tail(squares, np.asarray(degrees)[..., None], 1)
    densities = np.exp(tail) / (np.sqrt(2 * np.pi) * scales)
    return np.asarray(mixture.weights[..., None] * densities)


def mixture_density(mixture: Mixture, feature: int, x: Float[np.ndarray, " G"]) -> Float[np.ndarray, "*batch G"]:
    """Density of a whole mixture at values of one feature; of noise only that of a box along the columns is in it."""
    total = weighted_component_densities(mixture, feature, x).sum(-2)
    if mixture.noise is None or not mixture.noise.along_columns:
        return total
    low = mixture.noise.corner[..., feature, None]
    width = mixture.noise.edges[..., feature, feature, None]
    inside = (x >= low) & (x <= low + width)
    return total + inside * mixture.noise_weight[..., None] / width


def histogram_edges(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " edges"]:
    """Edges (B + 1,) of equal bins whose width is a multiple of the smallest distance between two values.

    Rounded data lie on a grid. A width that is no multiple of its step would put more grid values into some bins
    than into others, and the histogram would look like a comb.
    """
    step = np.diff(np.unique(values)).min()
    width = np.ptp(values) / np.clip(_BINS_PER_ROOT * np.sqrt(len(values)), _FEWEST_BINS, _MOST_BINS)
    width = step * np.ceil(width / step)
    return np.arange(values.min() - step / 2, values.max() + 1.5 * width, width)
