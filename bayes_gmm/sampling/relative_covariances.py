r"""Coordinates of covariances relative to those of a mode, in which the posterior around it is nearly Gaussian.

The curvature at the mode standardises the posterior where it is Gaussian. In scales and correlations it is not where
components are narrow in an oblique direction: that direction turns as soon as a chain moves. Relative to the factors
F_k of the mode's own covariances (`relative_to`) every component is a round one. Where the data hardly tell of a
component, F_k is nearly diagonal, and the coordinates are those of `sites`, in which the prior is wide but straight.

With D = 2 there is one correlation, and its coordinate is straight enough.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.bayes.coordinates import CorrelationCholesky, are_logarithms, relative_to, spread_of
from bayes_gmm.bayes.laplace_approximation import Laplace
from bayes_gmm.bayes.sites import Sites, coordinate_shapes, free

_DIFFERENCE = 1e-4
"""Difference of coordinates of which the derivative at a mode is made: its relative error is some 1e-8."""

_correlation_tril = CorrelationCholesky()


class RelativeCovariances(NamedTuple):
    """Where the coordinates of each covariance are in a vector of all coordinates.

    Attributes
    ----------
    spread
        "scales" or "variances", the logarithms of which are coordinates.
    diagonal : (C, D)
        Places of these.
    below : (C, V)
        Places of the coordinates of the correlations.
    """

    spread: str
    diagonal: Int[np.ndarray, "C D"]
    below: Int[np.ndarray, "C V"]

    @classmethod
    def of(cls, sites: Sites) -> "RelativeCovariances | None":
        """The places under this prior; None with two columns or fewer, and where coordinates are of another kind."""
        spread, places, start = spread_of(sites), {}, 0
        for name, shape in coordinate_shapes(sites).items():
            size = int(np.prod(shape))
            places[name] = (start + np.arange(size)).reshape(shape)
            start += size
        if not {spread, "correlation_tril"} <= places.keys() or places[spread].shape[1] <= 2:
            return None
        if not are_logarithms(free(sites)[spread].support):
            return None
        return cls(spread, places[spread], places["correlation_tril"])

    def enter(self, around: Laplace) -> tuple[Laplace, Float[np.ndarray, "C D D"]]:
        """The Gaussian around a mode in coordinates relative to it, and the factors of its covariances."""
        values, own = self._values(around.mode), self._own
        scales = values[self.spread] ** (0.5 if self.spread == "variances" else 1.0)
        factors = scales[..., None] * values["correlation_tril"]
        mode, factor = around.mode.copy(), around.factor.copy()
        mode[own] = 0.0
        factor[own] = np.linalg.solve(self._derivative(mode, factors), around.factor[own])
        return around._replace(mode=mode, factor=factor), factors

    def leave(
        self, coordinates: Float[np.ndarray, "S P"], factors: Float[np.ndarray, "C D D"]
    ) -> tuple[Float[np.ndarray, "S P"], Float[np.ndarray, " S"]]:
        """Coordinates of `sites` at those relative to factors, and the logarithm of the change of volume."""
        values, log_volume = relative_to(factors, self._values(coordinates))
        found = coordinates.copy()
        found[:, self.diagonal] = np.log(values[self.spread])
        found[:, self.below] = _correlation_tril.inv(values["correlation_tril"])
        return found, log_volume + self._log_volume(coordinates) - self._log_volume(found)

    @property
    def _own(self) -> Int[np.ndarray, "C T"]:
        """Places of all coordinates of each covariance."""
        return np.concatenate([self.diagonal, self.below], 1)

    def _values(self, coordinates: Float[np.ndarray, "*batch P"]) -> dict[str, Any]:
        return {
            self.spread: np.exp(coordinates[..., self.diagonal]),
            "correlation_tril": _correlation_tril(coordinates[..., self.below]),
        }

    def _log_volume(self, coordinates: Float[np.ndarray, "S P"]) -> Float[np.ndarray, " S"]:
        """Of scales and correlations, for a volume of their coordinates."""
        of_correlations = _correlation_tril.log_abs_det_jacobian(coordinates[:, self.below], None)
        return coordinates[:, self.diagonal].sum((-2, -1)) + of_correlations.sum(-1)

    def _derivative(
        self, mode: Float[np.ndarray, " P"], factors: Float[np.ndarray, "C D D"]
    ) -> Float[np.ndarray, "C T T"]:
        """Of the coordinates of `sites` of each covariance in those relative to the factors, at these."""
        own = self._own
        steps = np.zeros((own.shape[1], len(mode)))
        steps[np.arange(len(steps)), own] = _DIFFERENCE  # of all components at once, for none depends on another
        ahead, back = (self.leave(mode + sign * steps, factors)[0][:, own] for sign in (1, -1))
        return np.moveaxis(ahead - back, 0, -1) / (2 * _DIFFERENCE)
