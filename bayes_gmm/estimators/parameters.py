r"""Parameters of a mixture in the shapes of scikit-learn's attributes, and their checks.

=================  ===============  ==========================================
covariance_type    shape            precisions_cholesky_ P
=================  ===============  ==========================================
full, and codes    (K, D, D)        upper triangular, P P' the precision
tied               (D, D)           upper triangular, P P' the precision
diag               (K, D)           square roots of the precisions
spherical          (K,)             square roots of the precisions
=================  ===============  ==========================================
"""

import reprlib
import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.core.validation import number_of_steps, one_of, positive_integer
from bayes_gmm.errors import ArgumentError, FitWarning
from bayes_gmm.estimators.sklearn_seeding import SEEDINGS
from bayes_gmm.mixture.mixture import Mixture

_OTHER_TYPES = "full"
"""Covariance type whose shapes are used for mclust's codes."""


class SklearnParameters(NamedTuple):
    """Parameters of a mixture as attributes of an estimator; the last two in the shapes of the table above."""

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K D"]
    covariances: Float[np.ndarray, "*shape"]
    precisions_cholesky: Float[np.ndarray, "*shape"]


def to_sklearn(mixture: Mixture, covariance_type: str) -> SklearnParameters:
    """Attributes of an estimator that describe a mixture."""
    covariances, precisions_cholesky = _compact(mixture.scale_tril, covariance_type)
    return SklearnParameters(np.exp(mixture.log_weights), mixture.means, covariances, precisions_cholesky)


def from_sklearn(weights: Any, means: Any, factors: Float[np.ndarray, "K D D"]) -> Mixture:
    """Mixture from weights (K,), means (K, D), which a user may have set by hand, and Cholesky factors (K, D, D)."""
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.asarray(weights, float))
    return Mixture(log_weights=log_weights, means=np.asarray(means, float), scale_tril=factors)


class CovarianceFactors(NamedTuple):
    """Cholesky factors (K, D, D) of covariances, with the attributes of an estimator that they were computed from.

    An estimator keeps those of its fit, so that the precisions are inverted once and not at every prediction. As users
    may set the attributes, or write into their arrays, the numbers are compared before the factors are used again.
    """

    factors: Float[np.ndarray, "K D D"]
    precisions_cholesky: Float[np.ndarray, "*shape"]
    covariance_type: str

    @classmethod
    def of(cls, precisions_cholesky: Any, covariance_type: str, shape: tuple[int, int]) -> "CovarianceFactors":
        """Invert roots of precisions in the shape of the type; `shape` is that of the means, (K, D)."""
        root = np.array(precisions_cholesky, float)
        return cls(_expanded(root, covariance_type, *shape), root, covariance_type)

    def belong_to(self, precisions_cholesky: Any, covariance_type: str, shape: tuple[int, int]) -> bool:
        """Whether the attributes are those that the factors were computed from."""
        same_shape = self.covariance_type == covariance_type and self.factors.shape[:2] == shape
        return same_shape and np.array_equal(self.precisions_cholesky, precisions_cholesky)


def precisions(precisions_cholesky: Float[np.ndarray, "*shape"], covariance_type: str) -> Float[np.ndarray, "*shape"]:
    """Precisions in the shape of the covariance type, from their roots P."""
    if covariance_type in ("diag", "spherical"):
        return precisions_cholesky**2
    return precisions_cholesky @ precisions_cholesky.mT


def precisions_cholesky_of(
    precisions: Float[np.ndarray, "*shape"], covariance_type: str
) -> Float[np.ndarray, "*shape"]:
    """Roots P of precisions: upper triangular, or square roots where the precisions are variances' inverses."""
    if covariance_type in ("diag", "spherical"):
        return np.sqrt(precisions)
    # An upper triangular P is the lower Cholesky factor of the matrix with its rows and columns in reverse order.
    return np.linalg.cholesky(precisions[..., ::-1, ::-1])[..., ::-1, ::-1]


def roots_of_covariances(covariances: Float[np.ndarray, "*shape"], covariance_type: str) -> Float[np.ndarray, "*shape"]:
    """Roots P of the precisions that belong to covariances in the shape of the type."""
    if covariance_type in ("diag", "spherical"):
        return 1 / np.sqrt(covariances)
    return np.linalg.inv(np.linalg.cholesky(covariances).mT)


def checked_weights(weights: Any, n_components: int) -> Float[np.ndarray, " {n_components}"]:
    """Weights that sum to one.

    Raises
    ------
    ArgumentError
        When the weights do not sum to one, are negative, or have another shape.
    """
    numbers = _numbers(weights, "weights", (n_components,))
    if (numbers < 0).any() or (numbers > 1).any():
        # scikit-learn's message calls the minimum "max value" and the maximum "min value", and its tests expect that.
        raise ArgumentError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{numbers.min():.5f}, min value {numbers.max():.5f}.",
            "weights from 0 to 1",
            "Divide them by their sum.",
        )
    if abs(1 - numbers.sum()) > (1e-6 if numbers.dtype == np.float32 else 1e-8):  # scikit-learn's tolerances
        raise ArgumentError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = {numbers.sum():.5f}.",
            "weights that sum to one",
            "Divide them by their sum.",
        )
    return numbers


def checked_means(means: Any, n_components: int, n_features: int) -> Float[np.ndarray, "{n_components} {n_features}"]:
    """Finite means.

    Raises
    ------
    ArgumentError
        When the means are not finite, or have another shape.
    """
    return _numbers(means, "means", (n_components, n_features))


def checked_precisions(
    precisions: Any, covariance_type: str, n_components: int, n_features: int
) -> Float[np.ndarray, "*shape"]:
    """Positive definite precisions in the shape of the covariance type.

    Raises
    ------
    ArgumentError
        When the precisions have another shape, or are not positive definite.
    """
    K, D = n_components, n_features
    shapes: dict[str, tuple[int, ...]] = {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}
    numbers = _numbers(precisions, f"{covariance_type} precision", shapes.get(covariance_type, shapes[_OTHER_TYPES]))
    if covariance_type in ("diag", "spherical"):
        sound, what = bool((numbers > 0).all()), "positive"
    else:
        symmetric = np.allclose(numbers, numbers.mT)
        sound, what = symmetric and bool((np.linalg.eigvalsh(numbers) > 0).all()), "symmetric, positive-definite"
    if not sound:
        raise ArgumentError(
            f"'{covariance_type} precision' should be {what}.", "inverses of covariances", "Check precisions_init."
        )
    return numbers


def _numbers(value: Any, name: str, shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    try:
        numbers = np.asarray(value)
        numbers = numbers if numbers.dtype in (np.float32, np.float64) else numbers.astype(np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != shape:
        found = f"The parameter '{name}' should have the shape of {shape}, but got {numbers.shape}."
        raise ArgumentError(found, f"an array of shape {shape}", "Give one entry for each component and feature.")
    if not np.isfinite(numbers).all():
        found = f"The parameter '{name}' contains NaN or infinity."
        raise ArgumentError(found, "finite numbers", "Leave it out to have it estimated.")
    return numbers


def _compact(
    scale_tril: Float[np.ndarray, "K D D"], covariance_type: str
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Covariances and roots of precisions in the shape of the covariance type."""
    if covariance_type == "tied":
        scale_tril = scale_tril[0]
    if covariance_type in ("diag", "spherical"):
        scales = np.diagonal(scale_tril, axis1=-2, axis2=-1)
        scales = scales[:, 0] if covariance_type == "spherical" else scales
        return scales**2, 1 / scales
    return scale_tril @ scale_tril.mT, np.linalg.inv(scale_tril.mT)


def _expanded(
    root: Float[np.ndarray, "*shape"], covariance_type: str, n_components: int, n_features: int
) -> Float[np.ndarray, "{n_components} {n_features} {n_features}"]:
    """Cholesky factors of covariances, from roots of precisions in the shape of the covariance type."""
    if covariance_type in ("diag", "spherical"):
        scales = np.broadcast_to(1 / root.reshape(n_components, -1), (n_components, n_features))
        return scales[:, :, None] * np.eye(n_features)
    factors = np.linalg.inv(root).mT
    return np.broadcast_to(factors, (n_components, n_features, n_features)).copy()


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of the constructor that are invalid for any data.

    Raises
    ------
    ArgumentError
        The message is about the first invalid parameter.
    """
    for name in ("n_components", "n_init", "verbose_interval"):
        positive_integer(name, parameters[name])
    for name, kind in (("tol", Real), ("reg_covar", Real), ("max_iter", Integral), ("verbose", Integral)):
        value, is_flag = parameters[name], isinstance(parameters[name], bool) and name != "verbose"
        if is_flag or not (isinstance(value, kind) and 0 <= float(value) < float("inf")):
            what = "an integer" if kind is Integral else "a finite number"
            raise ArgumentError(f"{name} is {value!r}.", f"{what} of at least 0", "The docstring has its default.")
    if parameters["max_iter"]:
        number_of_steps("max_iter", int(parameters["max_iter"]))
    one_of("init_params", parameters["init_params"], SEEDINGS, 'The default is "kmeans".')


def check_given(parameters: Mapping[str, Any], n_features: int) -> None:
    """Refuse `weights_init`, `means_init` or `precisions_init` that have the wrong shape or are invalid.

    Raises
    ------
    ArgumentError
        The message is about the first invalid one.
    """
    weights, means, precisions = (parameters[f"{name}_init"] for name in ("weights", "means", "precisions"))
    n_components = parameters["n_components"]
    if weights is not None:
        checked_weights(weights, n_components)
    if means is not None:
        checked_means(means, n_components, n_features)
    if precisions is not None:
        checked_precisions(precisions, parameters["covariance_type"], n_components, n_features)


_REPLACED = {
    "mean_prior": "prior=Prior(means=numpyro.distributions.Normal(mean, sd))",
    "mean_precision_prior": "prior=Prior(means=numpyro.distributions.Normal(mean, sd))",
    "degrees_of_freedom_prior": "prior=Prior(scales=..., correlations=...)",
    "covariance_prior": "prior=Prior(scales=..., correlations=...)",
}
"""What takes the place of each part of the Normal-Wishart prior, whose means depend on the covariances."""

_WITHOUT_EFFECT = ("tol", "reg_covar", "max_iter", "init_params", "warm_start", "verbose_interval")


def check_replaced(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse parameters of variational inference that another takes the place of; warn of those without effect.

    Raises
    ------
    ArgumentError
        The message is about the first parameter that is refused, and names its replacement.
    """
    kind = parameters["weight_concentration_prior_type"]
    if kind != "dirichlet_distribution":
        raise ArgumentError(
            f"weight_concentration_prior_type is {kind!r}.",
            '"dirichlet_distribution"',
            "A small weight_concentration_prior, such as 1 / n_components, leaves components empty as a process does; "
            "compare_models compares numbers of components.",
        )
    for name, instead in _REPLACED.items():
        if parameters[name] is not None:
            found = f"{name} is {reprlib.repr(parameters[name])}, a part of the Normal-Wishart prior."
            raise ArgumentError(found, f"None, and {instead}", "Means and covariances are independent in a Prior here.")
    changed = [name for name in _WITHOUT_EFFECT if parameters[name] != defaults[name]]
    if changed:
        text = f"{', '.join(changed)} without effect: NUTS samples, by num_warmup, num_samples and num_chains."
        warnings.warn(text, FitWarning, stacklevel=3)
