"""What `GaussianMixture` asks of the parameters of its constructor, when it is fitted and not before."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from bayes_gmm.core.validation import number_of_steps, one_of, positive_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.estimators.parameter_forms import checked_means, checked_precisions, checked_weights
from bayes_gmm.estimators.sklearn_seeding import SEEDINGS


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse values that no data could make sense of.

    Raises
    ------
    ArgumentError
        The first that cannot be used.
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
    """Refuse given parameters of the mixture that have the wrong shape, or cannot be parameters.

    Raises
    ------
    ArgumentError
        The first that cannot be used.
    """
    weights, means, precisions = (parameters[f"{name}_init"] for name in ("weights", "means", "precisions"))
    n_components = parameters["n_components"]
    if weights is not None:
        checked_weights(weights, n_components)
    if means is not None:
        checked_means(means, n_components, n_features)
    if precisions is not None:
        checked_precisions(precisions, parameters["covariance_type"], n_components, n_features)
