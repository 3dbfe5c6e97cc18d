"""Parameters that are held at given values while the others are fitted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Annotated, Any

import jax
import numpy as np

from bayes_gmm.core.linalg import namespace
from bayes_gmm.core.validation import finite_numbers
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise
from bayes_gmm.mixture.scaling import Scaling

_PARAMETERS = ("weights", "means", "covariances", "noise")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Fixed:
    """Which parameters are held, component by component, and at what values.

    Attributes
    ----------
    values
        Mixture with the values of the fixed parameters; its other entries are placeholders.
    weights, means, covariances : (K,)
        Whether each component's parameter is held.
    log_noise
        Logarithm of the weight of the noise, or None where it is not held.
    """

    values: Mixture
    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    weights: Annotated[Any, "K"]
    means: Annotated[Any, "K"]
    covariances: Annotated[Any, "K"]
    log_noise: Annotated[Any, "; None where it is free"] = None

    def impose(self, mixture: Mixture) -> Mixture:
        """A mixture, or a batch of them, with the fixed parameters set to their values."""
        where = namespace(mixture.means).where
        return Mixture(
            log_weights=where(self.weights, self.values.log_weights, mixture.log_weights),
            means=where(self.means[:, None], self.values.means, mixture.means),
            scale_tril=where(self.covariances[:, None, None], self.values.scale_tril, mixture.scale_tril),
            noise=self._imposed_noise(mixture.noise),
            degrees_of_freedom=mixture.degrees_of_freedom,
        )

    def _imposed_noise(self, noise: Noise | None) -> Noise | None:
        if noise is None or self.log_noise is None:
            return noise
        return noise.with_log_weight(self.log_noise + 0 * noise.log_volume)

    def held_weights(self, *, with_noise: bool) -> tuple[Any, Any]:
        """Which weights are held, and the logarithms of all: those of the components (K,), and of noise after them."""
        if not with_noise:
            return self.weights, self.values.log_weights
        is_held = self.log_noise is not None
        log_noise = self.log_noise if is_held else 0.0
        xp = namespace(self.weights, self.values.log_weights, log_noise)
        return xp.append(self.weights, is_held), xp.append(self.values.log_weights, log_noise)

    def with_components(self, change: Callable[[Any], Any]) -> "Fixed":
        """The same with a change of the arrays that have an entry for each component."""
        values, weights, means, covariances = jax.tree.map(
            change, (self.values, self.weights, self.means, self.covariances)
        )
        return replace(self, values=values, weights=weights, means=means, covariances=covariances)

    def in_unit_coordinates(self, scaling: Scaling) -> "Fixed":
        """These parameters for data that are brought to unit coordinates."""
        return replace(self, values=scaling.to_unit(self.values))

    @property
    def names_components(self) -> bool:
        """Whether a fixed parameter tells the components apart, so that their order has a meaning."""
        weights = np.exp(self.values.log_weights[self.weights])
        return bool(self.means.any() or self.covariances.any() or not (self.weights.all() and np.ptp(weights) == 0))


def fixed_parameters(fixed: Any, n_components: int, n_features: int, *, with_noise: bool = False) -> Fixed | None:
    """Read which parameters a user fixes: `{"weights": ..., "means": ..., "covariances": ...}`, any of them.

    Parameters
    ----------
    fixed
        Each value is an array for all components, or a mapping from component to its value; weights may be "equal". A
        key "noise" holds the weight of the noise.
    with_noise
        Whether there is noise.

    Raises
    ------
    ArgumentError
        When a parameter or a component of that name does not exist, or cannot have the value.

    Examples
    --------
    >>> fixed = fixed_parameters({"means": {0: [0.0, 0.0]}}, n_components=2, n_features=2)
    >>> fixed.means
    array([ True, False])
    """
    if fixed is None:
        return None
    if not isinstance(fixed, Mapping) or not set(fixed) <= set(_PARAMETERS):
        found = sorted(map(str, fixed)) if isinstance(fixed, Mapping) else fixed
        raise ArgumentError(
            f"fixed is {found!r}.",
            f"a mapping with keys among {', '.join(_PARAMETERS)}",
            'For example fixed={"weights": "equal"} or fixed={"means": {0: [0.0, 0.0]}}.',
        )
    K, D = n_components, n_features
    log_noise = _held_noise(fixed, with_noise=with_noise)
    weights, held_weights = _spread_out("weights", fixed.get("weights", {}), np.full(K, 1 / K))
    means, held_means = _spread_out("means", fixed.get("means", {}), np.zeros((K, D)))
    covariances, held_covariances = _spread_out(
        "covariances", fixed.get("covariances", {}), np.tile(np.eye(D), (K, 1, 1))
    )
    _check_held_weights(weights[held_weights], K, log_noise, with_noise=with_noise)
    # The free weights are placeholders, so that all of them together need not sum to one.
    mixture = Mixture.from_moments(np.full(K, 1 / K), means, covariances)
    values = Mixture(log_weights=np.log(weights), means=mixture.means, scale_tril=mixture.scale_tril)
    return Fixed(
        values=values, weights=held_weights, means=held_means, covariances=held_covariances, log_noise=log_noise
    )


def _held_noise(fixed: Mapping[str, Any], *, with_noise: bool) -> Any:
    """Logarithm of the weight at which the noise is held, or None."""
    if "noise" not in fixed:
        return None
    if not with_noise:
        found = "fixed holds the weight of a noise that there is none of."
        raise ArgumentError(found, "noise= beside it", 'For example noise=True, fixed={"noise": 0.05}.')
    weight = finite_numbers("fixed['noise']", fixed["noise"], (), "It is a share of all points.")
    if not 0 <= weight < 1:
        raise ArgumentError(f"fixed['noise'] is {weight}.", "a share from 0 to below 1", "With 0 there is no noise.")
    with np.errstate(divide="ignore"):
        return np.log(weight)


def _spread_out(name: str, given: Any, placeholder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values for all components, and which of them are given."""
    if isinstance(given, str) and name == "weights" and given == "equal":
        return placeholder, np.ones(len(placeholder), bool)
    if not isinstance(given, Mapping):
        given = dict(enumerate(_numbers(name, given, placeholder.shape)))
    unknown = [component for component in given if not _is_number_below(len(placeholder), component)]
    if unknown:
        raise ArgumentError(
            f"fixed[{name!r}] names the components {unknown}.",
            f"integers from 0 to {len(placeholder) - 1}",
            "Components are counted from 0.",
        )
    values, held = placeholder.copy(), np.zeros(len(placeholder), bool)
    for component, value in given.items():
        values[component] = _numbers(f"{name}][{component}", value, placeholder.shape[1:])
        held[component] = True
    return values, held


def _is_number_below(n_components: int, component: Any) -> bool:
    # True equals 1, but as an index it means every component.
    is_integer = isinstance(component, Integral) and not isinstance(component, bool)
    return is_integer and 0 <= int(component) < n_components


def _numbers(name: str, given: Any, shape: tuple[int, ...]) -> np.ndarray:
    remedy = "Hold single components by a mapping from component to value."
    return finite_numbers(f"fixed[{name}]", given, shape, remedy)


def _check_held_weights(held: np.ndarray, n_components: int, log_noise: Any, *, with_noise: bool) -> None:
    all_held = len(held) == n_components
    noise = 0.0 if log_noise is None else float(np.exp(log_noise))
    if with_noise and all_held and log_noise is None:
        raise ArgumentError(
            "All weights are held, and none is left for the noise to be fitted.",
            "at least one component with a free weight, or a weight of the noise",
            'Hold fewer weights; "equal" is for mixtures without noise.',
        )
    total = held.sum() + noise
    total_is_possible = abs(total - 1) < 1e-8 if all_held else total < 1
    if not ((held > 0).all() and total_is_possible):
        raise ArgumentError(
            f"The weights held are {held.tolist()}, with sum {held.sum():.6g}.",
            "positive numbers with sum 1"
            if all_held
            else "positive numbers with a sum below 1, for some weights are free",
            'Give all weights, or leave room for the free ones; "equal" holds all at 1/K.',
        )
