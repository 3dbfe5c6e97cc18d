r"""Conjugate prior for the mode of the posterior by EM: pseudo-counts and pseudo-scatters for the M-step.

.. math:: \mu_k \mid \Sigma_k \sim N(m, \Sigma_k / \kappa), \qquad \Sigma_k \sim \mathrm{IW}(\nu, \Lambda), \qquad
          \pi \sim \mathrm{Dirichlet}(\alpha)

It keeps components from collapsing, and unlike a floor on the covariances it counts as a stated number of points. (The
posterior itself, under priors that need not be conjugate, is sampled by `fit_nuts`.)
"""

from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any

import jax
import numpy as np
from jaxtyping import Float

from bayes_gmm.core.linalg import log_diagonal, namespace
from bayes_gmm.core.validation import finite_numbers, real_number
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


@dataclass(frozen=True, kw_only=True)
class ConjugatePrior:
    r"""Normal-inverse-Wishart prior on means and covariances, Dirichlet on the weights; the defaults are mclust's.

    A structure that all components share has one covariance prior, any other one for each component. For diagonal
    structures each variance is inverse-gamma(nu / 2, Lambda_jj / 2), for spherical ones with the mean of Lambda_jj.

    Attributes
    ----------
    mean_shrinkage
        Number of points kappa, 0 or more, that the prior mean counts as in each component.
    mean : (D,)
        Prior mean m, in data units; by default that of the data.
    degrees_of_freedom
        nu; by default D + 2.
    scale : (D, D) or number
        Lambda, in squared units of the data, or a multiple of the identity; by default the covariance of the data
        (for spherical and diagonal structures its mean variance) times K^(-2/D).
    concentration
        alpha, 1 or more.

    References
    ----------
    Fraley and Raftery (2007), doi 10.1007/s00357-007-0004-5.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> bg.fit_em(bg.datasets.load("faithful"), 2, prior=bg.ConjugatePrior()).status.name
    'CONVERGED'
    """

    mean_shrinkage: float = 0.01
    mean: Any = None
    degrees_of_freedom: float | None = None
    scale: Any = None
    concentration: float = 1.0

    def __post_init__(self) -> None:
        _check_number("mean_shrinkage", self.mean_shrinkage, least=0.0)
        _check_number("concentration", self.concentration, least=1.0)
        if self.degrees_of_freedom is not None:
            _check_number("degrees_of_freedom", self.degrees_of_freedom, least=0.0)

    def pseudo_statistics(
        self, scaling: Scaling, covariance: np.ndarray, structure: Structure, n_components: int
    ) -> "PseudoStatistics":
        """The prior as pseudo-statistics of the M-step, in unit coordinates; `covariance` (D, D) is that of the data.

        Raises
        ------
        ArgumentError
            When the mean or the scale has the wrong shape, or the scale is not positive definite.
        """
        D = len(covariance)
        mean = scaling.center if self.mean is None else _numbers("mean", self.mean, (D,))
        nu = D + 2.0 if self.degrees_of_freedom is None else float(self.degrees_of_freedom)
        scale = _to_unit(scaling, self._scale(covariance, structure, n_components))
        return PseudoStatistics(
            mean=scaling.points_to_unit(mean[None])[0],
            mean_shrinkage=float(self.mean_shrinkage),
            mean_count=float(self.mean_shrinkage > 0),
            **_for_kind(structure, nu, scale, n_components),
            weight_count=float(self.concentration) - 1.0,
        )

    def _scale(self, covariance: np.ndarray, structure: Structure, n_components: int) -> np.ndarray:
        D = len(covariance)
        if self.scale is None:
            whole = np.eye(D) * np.trace(covariance) / D if structure.name.endswith("I") else covariance
            return whole * n_components ** (-2 / D)
        shape = () if isinstance(self.scale, Real) else (D, D)
        scale = _numbers("scale", self.scale, shape)
        scale = scale if scale.ndim else scale * np.eye(D)
        if not (np.allclose(scale, scale.T) and np.linalg.eigvalsh(scale)[0] > 0):
            raise ArgumentError(
                "The scale of the ConjugatePrior is not symmetric positive definite.",
                "a covariance matrix, or a positive number",
                "It is in squared units of the data; leave it out for mclust's default.",
            )
        return scale


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class PseudoStatistics:
    """A conjugate prior as the points that it counts as, for each component, in unit coordinates.

    Attributes
    ----------
    mean : (D,)
        Prior mean.
    mean_shrinkage
        Points at the prior mean.
    mean_count, covariance_count
        What the priors of mean and covariance add to the power of the covariance's determinant.
    scatter : (D, D)
        Added to the scatter by the prior of the covariance.
    weight_count
        Points that the prior of the weights adds.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    mean: Annotated[Any, "D"]
    mean_shrinkage: Annotated[Any, ""]
    mean_count: Annotated[Any, ""]
    covariance_count: Annotated[Any, ""]
    scatter: Annotated[Any, "D D"]
    weight_count: Annotated[Any, ""]

    def shrink(self, counts: Any, centers: Any) -> Any:
        """Means (..., K, D) of highest posterior density, between the mean of the points and that of the prior."""
        total = (counts + self.mean_shrinkage)[..., None]
        return (counts[..., None] * centers + self.mean_shrinkage * self.mean[None]) / total

    def add(self, counts: Any, scatters: Any, means: Any) -> tuple[Any, Any]:
        """Counts (..., K) and scatters (..., K, D, D) about `means` with the prior's added."""
        offsets = means - self.mean[None]
        pull = self.mean_shrinkage * offsets[..., :, None] * offsets[..., None, :]
        return counts + self.mean_count + self.covariance_count, scatters + self.scatter[None] + pull

    def log_density(self, mixture: Mixture) -> Any:
        """Logarithm of the prior density up to a constant, one term for each component (..., K)."""
        whitening = mixture.whitening
        offsets = (whitening @ (mixture.means - self.mean[None])[..., None])[..., 0]
        trace = namespace(whitening).einsum("...ij,jl,...il->...", whitening, self.scatter, whitening)
        quadratic = self.mean_shrinkage * (offsets**2).sum(-1) + trace
        count = self.mean_count + self.covariance_count
        return self.weight_count * mixture.log_weights - count * log_diagonal(mixture.scale_tril) - 0.5 * quadratic


def _for_kind(structure: Structure, nu: float, scale: Float[np.ndarray, "D D"], n_components: int) -> dict[str, Any]:
    """Count and scatter of the covariance's prior, as they enter a structure that is spherical, diagonal or neither."""
    D = len(scale)
    shared = n_components if "V" not in structure.name else 1
    if structure.name[1:] == "II":
        count, scatter = (nu + 2) / D, np.eye(D) * np.trace(scale) / D**2
    elif structure.name.endswith("I"):
        count, scatter = nu + 2, np.diag(np.diag(scale))
    else:
        count, scatter = nu + D + 1, scale
    return {"covariance_count": count / shared, "scatter": scatter / shared}


def _to_unit(scaling: Scaling, covariance: Float[np.ndarray, "D D"]) -> Float[np.ndarray, "D D"]:
    half = np.linalg.solve(scaling.factor, covariance)
    return np.linalg.solve(scaling.factor, half.T)


def _check_number(name: str, value: Any, *, least: float) -> None:
    expected, remedy = f"a finite number of at least {least:g}", "Leave it out for mclust's default."
    real_number(f"{name} of the ConjugatePrior", value, least=least, expected=expected, remedy=remedy)


def _numbers(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    remedy = "It is in the units of the data; leave it out for mclust's default."
    return finite_numbers(f"{name} of the ConjugatePrior", value, shape, remedy)
