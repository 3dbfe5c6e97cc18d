"""Posterior density of one or two features on a grid: its mean, its spread, and its highest-density regions."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.figure_data.plot_coordinates import density_abscissae
from bayes_gmm.figure_data.shown_components import ShownComponents
from bayes_gmm.likelihood.pointwise import density_band, log_densities, thinned
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.posterior.posterior import Posterior

_GRID_SIZE = 120
"""Grid values along each axis: contours look smooth at the size of a figure."""

_GRID_MARGIN = 0.2
"""Share of the range of the data added at each end, so that the 99% region closes inside the grid."""

_DRAWS = 500
"""Draws of a density of two features: with 120 x 120 values, seven million densities are held at a time."""


class DensityCurve(NamedTuple):
    """Density of one feature at values x (G,): posterior mean, and the ends of its central interval."""

    x: Float[np.ndarray, " G"]
    mean: Float[np.ndarray, " G"]
    lower: Float[np.ndarray, " G"]
    upper: Float[np.ndarray, " G"]


class DensitySurface(NamedTuple):
    """Density of two features on a grid (G, G), rows along y: posterior mean, and posterior sd over that mean."""

    x: Float[np.ndarray, " G"]
    y: Float[np.ndarray, " G"]
    mean: Float[np.ndarray, "G G"]
    relative_sd: Float[np.ndarray, "G G"]

    def density_of(self, mixture: Mixture) -> Float[np.ndarray, "G G"]:
        """Density of a mixture of the two features on the grid."""
        return np.exp(mixture.log_prob(_grid_points(self.x, self.y))).reshape(self.mean.shape)


def density_curve(posterior: Posterior, shown: ShownComponents, feature: int, probability: float) -> DensityCurve:
    """Density of one feature over all draws."""
    x = density_abscissae(shown, feature)
    scaling = _scaling(posterior, [feature])
    return DensityCurve(x, *density_band(posterior.draws.marginal([feature]), x[:, None], scaling, probability))


def density_surface(posterior: Posterior, shown: ShownComponents, features: list[int]) -> DensitySurface:
    """Density of two features over at most 500 draws, evenly spaced."""
    x, y = (_even_grid(shown.table.seen(feature)) for feature in features)
    draws = thinned(posterior.draws, _DRAWS).marginal(features)
    densities = np.exp(log_densities(draws, _grid_points(x, y), _scaling(posterior, features)))
    mean, sd = densities.mean(0), densities.std(0)
    relative_sd = np.divide(sd, mean, out=np.zeros_like(sd), where=mean > 0)
    return DensitySurface(x, y, mean.reshape(len(y), len(x)), relative_sd.reshape(len(y), len(x)))


def highest_density_levels(density: Float[np.ndarray, "H W"], shares: tuple[float, ...]) -> Float[np.ndarray, " L"]:
    """Heights (L,) above which a density on an even grid holds the given shares of its sum over the grid.

    The region above such a height is the smallest that holds the share, the highest-density region.
    """
    descending = np.sort(density, axis=None)[::-1]
    cumulative = np.cumsum(descending) / descending.sum()
    return descending[np.minimum(np.searchsorted(cumulative, shares), len(cumulative) - 1)]


def _even_grid(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " G"]:
    margin = _GRID_MARGIN * np.ptp(values)
    return np.linspace(values.min() - margin, values.max() + margin, _GRID_SIZE)


def _scaling(posterior: Posterior, features: list[int]) -> Scaling:
    values = posterior.table.values[:, features]
    return Scaling.whitening(values, np.ones(len(values)))


def _grid_points(x: Float[np.ndarray, " W"], y: Float[np.ndarray, " H"]) -> Float[np.ndarray, "points 2"]:
    """All pairs of x and y, (H * W, 2), row by row."""
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
