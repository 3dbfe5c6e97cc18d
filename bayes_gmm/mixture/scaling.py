"""Unit coordinates: an affine map in which the data have mean zero and spread one.

The map is triangular, z = A^{-1} (x - c) with A lower triangular, so a component's Cholesky factor stays
one on both sides and nothing has to be factorised again.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.core.linalg import invert_tril, product, stretched
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.mixture.gaps import fit_one_gaussian, seen_moments
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """Map between data units and unit coordinates, x = center + factor z.

    Attributes
    ----------
    center : (D,)
        Mean of the data.
    factor : (D, D)
        Lower triangular: of the data's covariance, of its diagonal, or of a multiple of the identity.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    center: Annotated[Any, "D"]
    factor: Annotated[Any, "D D"]

    @classmethod
    def whitening(cls, x: Float[np.ndarray, "N D"], sample_weight: Float[np.ndarray, " N"]) -> "Scaling":
        """Map under which the weighted data have mean zero and the identity as covariance.

        A fit of full covariances in these coordinates is equivariant under every affine map of the data. Where cells
        are missing (NaN) it is the Gaussian of maximum likelihood that gets the identity.
        """
        if np.isnan(x).any():
            center, covariance = fit_one_gaussian(x, sample_weight)
            return cls(center=center, factor=np.linalg.cholesky(covariance))
        center = np.average(x, axis=0, weights=sample_weight)
        roots = np.sqrt(sample_weight / sample_weight.sum())
        # QR of the data rather than Cholesky of their covariance, which would lose half the digits. It goes part by
        # part, because the triangle of stacked triangles is the triangle of all rows.
        starts = range(0, len(x), TUNING.rows_of_a_factorisation)
        parts = [slice(start, start + TUNING.rows_of_a_factorisation) for start in starts]
        triangles = [np.linalg.qr((x[part] - center) * roots[part, None], mode="r") for part in parts]
        factor = np.linalg.qr(np.concatenate(triangles), mode="r").T
        return cls(center=center, factor=factor * np.sign(np.diag(factor)))

    @classmethod
    def standardising(cls, x: Float[np.ndarray, "N D"], sample_weight: Float[np.ndarray, " N"]) -> "Scaling":
        """Map under which what was seen of each weighted column has mean zero and variance one."""
        if np.isnan(x).any():
            center, covariance = seen_moments(x, sample_weight)
            return cls(center=center, factor=np.sqrt(covariance))
        center = np.average(x, axis=0, weights=sample_weight)
        variances = np.average((x - center) ** 2, axis=0, weights=sample_weight)
        return cls(center=center, factor=np.diag(np.sqrt(variances)))

    def keeping(self, invariance: str) -> "Scaling":
        """The whitening as far as a covariance structure allows: "affine", "columns" by themselves, or "scale"."""
        if invariance == "affine":
            return self
        variances = (self.factor**2).sum(1)
        sizes = variances if invariance == "columns" else np.full_like(variances, variances.mean())
        return Scaling(center=self.center, factor=np.diag(np.sqrt(sizes)))

    @property
    def log_volume(self) -> Float[Any, ""]:
        """Logarithm of the volume in data units of one unit cube: log density in z minus that in x."""
        return (jnp if isinstance(self.factor, jax.Array) else np).log(self.factor.diagonal()).sum()

    def points_to_unit(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """Points (N, D) from data units to unit coordinates."""
        return (x - self.center) @ invert_tril(self.factor).T

    def to_unit(self, mixture: Mixture) -> Mixture:
        """Mixture from data units to unit coordinates."""
        return Mixture(
            log_weights=mixture.log_weights,
            means=_solve(self.factor, (mixture.means - self._center_of(mixture)).mT).mT,
            scale_tril=_solve(self.factor, mixture.scale_tril),
            noise=None if mixture.noise is None else self.noise_to_unit(mixture.noise),
            degrees_of_freedom=mixture.degrees_of_freedom,
        )

    def noise_to_unit(self, noise: Noise) -> Noise:
        """Noise from data units to unit coordinates."""
        corner = _solve(self.factor, (noise.corner - self.center)[..., None])[..., 0]
        edges = _solve(self.factor, noise.edges)
        return replace(noise, log_volume=noise.log_volume - self.log_volume, corner=corner, edges=edges)

    def to_data(self, mixture: Mixture) -> Mixture:
        """Mixture from unit coordinates to data units."""
        return Mixture(
            log_weights=mixture.log_weights,
            means=self._center_of(mixture) + mixture.means @ self.factor.T,
            scale_tril=stretched(self.factor, mixture.scale_tril),
            noise=None if mixture.noise is None else self._noise_to_data(mixture.noise),
            degrees_of_freedom=mixture.degrees_of_freedom,
        )

    def _noise_to_data(self, noise: Noise) -> Noise:
        corner = self.center + (self.factor @ noise.corner[..., None])[..., 0]
        log_volume = noise.log_volume + self.log_volume
        return replace(noise, log_volume=log_volume, corner=corner, edges=self.factor @ noise.edges)

    def _center_of(self, mixture: Mixture) -> Any:
        return self.center.reshape((1,) * (mixture.means.ndim - 1) + (-1,))


def _solve(factor: Float[Array | np.ndarray, "D D"], columns: Any) -> Any:
    return product(invert_tril(factor), columns)
