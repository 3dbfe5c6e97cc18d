"""The posterior of the density of one or two features, on a grid: its mean, its spread, and the regions it fills."""

from typing import NamedTuple

import numpy as np

from bayes_gmm.figure_data.shown_components import Scene, abscissae
from bayes_gmm.likelihood.pointwise import density_band, log_densities, thinned
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.posterior.posterior import Posterior

_SIDE = 120
_MARGIN = 0.2
_DRAWS = 500


class Curve(NamedTuple):
    """Density of one feature at values (G,): posterior mean, and the ends of the central interval."""

    x: np.ndarray
    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Surface(NamedTuple):
    """Density of two features on a grid (G, G), rows along y: posterior mean, and sd divided by the mean."""

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    relative_sd: np.ndarray

    def at_grid(self, mixture: Mixture) -> np.ndarray:
        """Density of a mixture of the two features on the same grid."""
        return np.exp(mixture.log_prob(_grid(self.x, self.y))).reshape(self.mean.shape)


def curve(posterior: Posterior, scene: Scene, feature: int, probability: float) -> Curve:
    """Density of one feature over all draws."""
    x = abscissae(scene, feature)
    scaling = _scaling(posterior, [feature])
    return Curve(x, *density_band(posterior.draws.marginal([feature]), x[:, None], scaling, probability))


def surface(posterior: Posterior, scene: Scene, features: list[int]) -> Surface:
    """Density of two features over at most five hundred draws, evenly spaced."""
    x, y = (_even(scene.table.values[:, feature]) for feature in features)
    draws = thinned(posterior.draws, _DRAWS).marginal(features)
    densities = np.exp(log_densities(draws, _grid(x, y), _scaling(posterior, features)))
    mean, sd = densities.mean(0), densities.std(0)
    relative = np.divide(sd, mean, out=np.zeros_like(sd), where=mean > 0)
    return Surface(x, y, mean.reshape(_SIDE, _SIDE), relative.reshape(_SIDE, _SIDE))


def levels_of(density: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Heights above which a density on an even grid holds these shares of what the grid holds."""
    descending = np.sort(density, axis=None)[::-1]
    held = np.cumsum(descending) / descending.sum()
    return descending[np.minimum(np.searchsorted(held, shares), len(held) - 1)]


def _even(values: np.ndarray) -> np.ndarray:
    """Wide enough to hold what the density has outside the data."""
    margin = _MARGIN * np.ptp(values)
    return np.linspace(values.min() - margin, values.max() + margin, _SIDE)


def _scaling(posterior: Posterior, features: list[int]) -> Scaling:
    values = posterior.table.values[:, features]
    return Scaling.whitening(values, np.ones(len(values)))


def _grid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
