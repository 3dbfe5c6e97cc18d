r"""The conditional distribution of some features given the others, on plain arrays.

With the known features o put before the remaining ones m, the triangular factor of a component splits into blocks,

.. math:: L = \begin{pmatrix} L_{oo} & 0 \\ L_{mo} & L_{mm} \end{pmatrix}, \qquad w = L_{oo}^{-1} (x_o - \mu_o),

and they are the answer: the conditional mean is \(\mu_m + L_{mo} w\), the conditional covariance (the Schur
complement of \(\Sigma_{oo}\)) is \(L_{mm} L_{mm}^\top\). Nothing is subtracted from a covariance, so that no digits
cancel when the known features nearly decide the others.

A t distribution with nu degrees of freedom has the same conditional mean; given O features at the squared distance
\(|w|^2\) its degrees of freedom are nu + O, and the factor of its scatter is multiplied by the root of
\((\nu + |w|^2) / (\nu + O)\).

References
----------
Bishop (2006), Pattern Recognition and Machine Learning, isbn 978-0-387-31073-2, section 2.3.1; the mixture as a
regression: Cohn, Ghahramani and Jordan (1996), doi 10.1613/jair.295; t distributions: Ding (2016), doi
10.1080/00031305.2016.1164756.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.core.linalg import lower_factor
from bayes_gmm.core.validation import feature_indices
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.rows import rows_of
from bayes_gmm.mixture.degrees_of_freedom import log_tail


class Conditional(NamedTuple):
    """Parameters of the conditional distributions, as `Mixture` has them."""

    log_weights: Float[np.ndarray, "*batch M K"]
    means: Float[np.ndarray, "*batch M K R"]
    scale_tril: Float[np.ndarray, "*batch M K R R"]
    degrees_of_freedom: Float[np.ndarray, "*batch M K"] | None


# Values too far for float64 are refused by name, once the overflow has shown them.
@np.errstate(over="ignore", invalid="ignore")
def condition(
    log_weights: Float[np.ndarray, "*batch K"],
    means: Float[np.ndarray, "*batch K D"],
    scale_tril: Float[np.ndarray, "*batch K D D"],
    degrees_of_freedom: Float[np.ndarray, "*batch K"] | None,
    features: Any,
    values: Any,
    columns: Sequence[str] | None = None,
) -> Conditional:
    """Parameters of the R remaining features, given M rows of values of the known ones.

    The covariances of Gaussians do not depend on the values: their factors are one array, seen M times. `columns` are
    the names of the known features.

    Raises
    ------
    ArgumentError
        See `Mixture.condition`.
    """
    known = feature_indices(features, means.shape[-1], n_left=1)
    rest = [feature for feature in range(means.shape[-1]) if feature not in known]
    given = rows_of("values", values, len(known), fewest=0, columns=columns).T
    above, below = np.split(lower_factor(scale_tril[..., [*known, *rest], :]), [len(known)], axis=-2)
    slope, remaining = np.split(below, [len(known)], axis=-1)
    factor = above[..., : len(known)]
    whitened = np.linalg.solve(factor, given - means[..., known][..., None])
    log_shares = _log_shares(log_weights, factor, whitened, degrees_of_freedom)
    shifted = np.moveaxis(means[..., rest][..., None] + slope @ whitened, -1, -3)
    factors = np.broadcast_to(remaining[..., None, :, :, :], (*shifted.shape, len(rest)))
    if degrees_of_freedom is None:
        return Conditional(log_shares, shifted, factors, None)
    squares, own = (whitened**2).sum(-2).mT, degrees_of_freedom[..., None, :]
    more = own + len(known)
    widened = np.sqrt(np.where(np.isinf(own), 1.0, (own + squares) / more))
    return Conditional(log_shares, shifted, widened[..., None, None] * factors, np.broadcast_to(more, squares.shape))


def _log_shares(
    log_weights: Float[np.ndarray, "*batch K"],
    factor: Float[np.ndarray, "*batch K O O"],
    whitened: Float[np.ndarray, "*batch K O M"],
    degrees: Float[np.ndarray, "*batch K"] | None,
) -> Float[np.ndarray, "*batch M K"]:
    """Log responsibilities of the components for the known values."""
    normalised = log_weights - np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
    squares = (whitened**2).sum(-2)
    tail = -0.5 * squares if degrees is None else log_tail(squares, degrees[..., None], factor.shape[-1])
    joint = (normalised[..., None] + tail).mT
    if not np.isfinite(joint.max(-1)).all():
        raise ArgumentError(
            "Some values lie so far from all components that the squared distance leaves float64.",
            "values within 1e150 standard deviations of a component",
            "Check the units of the values, and their order against that of the features.",
        )
    return joint - np.logaddexp.reduce(joint, axis=-1, keepdims=True)
