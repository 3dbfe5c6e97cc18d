r"""Heavy tails: the multivariate t distribution of a component, from squared distances.

With the scatter S, nu degrees of freedom and the squared distance d2 = (x - mu)' S^-1 (x - mu),

.. math:: \log t(x) = -\tfrac12 \log |2 \pi S| + g(\nu) - \tfrac{\nu + D}{2} \log(1 + d^2 / \nu), \qquad
          g(\nu) = \log \frac{\Gamma((\nu + D) / 2)}{\Gamma(\nu / 2) \, (\nu / 2)^{D / 2}},

and g vanishes where nu is infinite, which is the Gaussian. The gamma functions of large numbers are subtracted by
Binet's series, which keeps all digits near the Gaussian. The scatter is no covariance: that is S nu / (nu - 2), and
does not exist for nu of 2 or less.

References
----------
Kotz and Nadarajah (2004), Multivariate t-distributions and their applications, doi 10.1017/CBO9780511550683; mixtures
of them: Peel and McLachlan (2000), doi 10.1023/A:1008981510081.
"""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Float

from bayes_gmm.core.linalg import LOG_2PI
from bayes_gmm.core.validation import real_numbers
from bayes_gmm.errors import ArgumentError

COMMON, PER_COMPONENT = "common", "per component"
"""What is estimated where no values are given: one number for all components, or one for each."""

LEAST, MOST = 1.0, 1e4
"""Between these the degrees of freedom are looked for; at the upper end a component is Gaussian enough."""

FIRST = 8.0
"""Degrees of freedom with which the search begins: heavy enough that outliers do not decide where components are."""

_REMEDY = "Small numbers are heavy tails: 1 is Cauchy's, and above 30 or so a component is nearly Gaussian."

_SERIES_FROM = 16.0
"""Where the series of Binet's function has reached rounding."""

_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
"""Of a few numbers: SciPy's takes longer to load than a first fit of a short table."""


def component_family(components: Any) -> str:
    """Name of the distribution of a component, "gaussian" or "t".

    Raises
    ------
    ArgumentError
        When it is another.
    """
    names = {"gaussian": "gaussian", "normal": "gaussian", "t": "t", "student": "t", "student-t": "t"}
    name = names.get(components.lower()) if isinstance(components, str) else None
    if name is None:
        raise ArgumentError(
            f"components is {components!r:.100}.", '"gaussian" or "t"', 'Heavy tails are components="t".'
        )
    return name


def wanted_degrees(components: Any, degrees_of_freedom: Any, n_components: int) -> str | Float[np.ndarray, " K"] | None:
    """What a user asks of the degrees of freedom: "common", "per component", values (K,), or None for Gaussians.

    Raises
    ------
    ArgumentError
        When they are none of these, or are given for Gaussians.
    """
    if component_family(components) == "gaussian":
        if degrees_of_freedom is None:
            return None
        found = f"degrees_of_freedom is {degrees_of_freedom!r:.100} and components is {components!r}."
        raise ArgumentError(found, 'components="t" beside it', "Gaussian components have no degrees of freedom.")
    if degrees_of_freedom is None:
        return COMMON
    if isinstance(degrees_of_freedom, str):
        if degrees_of_freedom in (COMMON, PER_COMPONENT):
            return degrees_of_freedom
        found = f"degrees_of_freedom is {degrees_of_freedom!r:.100}."
        raise ArgumentError(found, f'"{COMMON}", "{PER_COMPONENT}", a positive number, or {n_components}', _REMEDY)
    return checked_degrees(degrees_of_freedom, (n_components,))


def checked_degrees(values: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Degrees of freedom of this shape, from a number for all or an array, all finite or all infinite.

    Raises
    ------
    ArgumentError
        When they are not positive numbers that broadcast to the shape.
    """
    numbers = real_numbers("The degrees of freedom", values, _REMEDY)
    sound = numbers.ndim <= len(shape) and not np.isnan(numbers).any() and bool((numbers > 0).all())
    try:
        spread = np.broadcast_to(numbers, shape)
    except ValueError:
        sound = False
    if not sound:
        expected = f"a positive number, or an array of them of shape {shape}"
        raise ArgumentError(f"The degrees of freedom are {numbers.tolist()!r:.100}.", expected, _REMEDY)
    if np.isinf(spread).any() and not np.isinf(spread).all():
        found = f"The degrees of freedom are {numbers.tolist()!r:.100}, of which some are infinite."
        raise ArgumentError(found, "finite ones, or infinity for all components", f"Give {MOST:g} for Gaussian enough.")
    return np.array(spread)


def refuse_errors_beside_tails(degrees: Any, *, has_errors: bool) -> None:
    """Refuse heavy tails where values have known errors, whose likelihood is of Gaussians.

    Raises
    ------
    ArgumentError
        There are both.
    """
    if degrees is not None and has_errors:
        raise ArgumentError(
            "Components are t distributions, and there are known errors of the values.",
            "values without errors",
            "Leave the errors out, or components; noise=True takes outliers beside errors.",
        )


def are_heavy_tails(degrees: Any) -> bool:
    """Whether degrees of freedom, as `wanted_degrees` gives them, are those of t distributions: finite ones."""
    return isinstance(degrees, str) or (degrees is not None and bool(np.isfinite(degrees).all()))


def without_infinite_degrees(mixture: Any) -> Any:
    """The mixture as one of Gaussians where all its degrees of freedom are infinite."""
    degrees = mixture.degrees_of_freedom
    return mixture if degrees is None or not np.isinf(degrees).all() else replace(mixture, degrees_of_freedom=None)


def log_tail(squares: Any, degrees: Any, n_features: Any) -> Any:
    """What stands in the log density in the place of a Gaussian's -d2 / 2; shapes broadcast.

    Examples
    --------
    >>> log_tail(np.array([4.0]), np.array([np.inf]), 1)
    array([-2.])
    """
    where = _namespace(squares, degrees).where
    is_gaussian = where(degrees == np.inf, True, False)
    finite = where(is_gaussian, 1.0, degrees)
    log1p = _namespace(squares, degrees).log1p
    of_t = log_gamma_ratio(finite, n_features) - 0.5 * (finite + n_features) * log1p(squares / finite)
    return where(is_gaussian, -0.5 * squares, of_t)


def log_gamma_ratio(degrees: Any, n_features: Any) -> Any:
    """The constant g of the log density, which vanishes towards the Gaussian; of finite degrees of freedom."""
    half, more, log_ratio = halves(degrees, n_features)
    return binet(more) - binet(half) + (more - 0.5) * log_ratio - 0.5 * n_features


def halves(degrees: Any, n_features: Any) -> tuple[Any, Any, Any]:
    """Nu / 2, (nu + D) / 2, and the logarithm of their ratio."""
    half = 0.5 * degrees
    return half, half + 0.5 * n_features, _namespace(degrees).log1p(n_features / degrees)


def binet(x: Any) -> Any:
    """Logarithm of the gamma function less (x - 1/2) log x - x + log(2 pi) / 2, without cancellation."""
    namespace = _namespace(x)
    where, log = namespace.where, namespace.log
    is_large = x > _SERIES_FROM
    large, small = where(is_large, x, _SERIES_FROM), where(is_large, 1.0, x)
    inverse = 1 / large**2
    series = 1 / 1260 - inverse * (1 / 1680 - inverse / 1188)
    series = (1 / 12 - inverse * (1 / 360 - inverse * series)) / large
    log_gamma = _log_gamma(small) if namespace is np else gammaln(small)
    return where(is_large, series, log_gamma - (small - 0.5) * log(small) + small - 0.5 * LOG_2PI)


def covariance_factor(degrees: Any) -> Any:
    """By how much covariances exceed scatters: nu / (nu - 2), NaN where there are none, one for Gaussians."""
    where = _namespace(degrees).where
    exists, is_gaussian = degrees > 2, degrees == np.inf
    safe = where(exists & ~is_gaussian, degrees, 3.0)
    return where(is_gaussian, 1.0, where(exists, safe / (safe - 2), np.nan))


def _namespace(*arrays: Any) -> Any:
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np
