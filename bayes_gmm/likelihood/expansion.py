"""The second-order expansion of a log-likelihood in the natural parameters: what Newton's method asks of the rows."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from bayes_gmm.likelihood import short_tables
from bayes_gmm.likelihood.complete_rows import CompleteRows, DiagonalRows
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.short_tables import ShortTable

_SHORT = 2**17
"""Rows times components times sufficient statistics for which NumPy is as quick as a compiled program."""


class Expansion(NamedTuple):
    """Log-likelihood, its gradient and its Hessian in the natural parameters.

    Attributes
    ----------
    value
        The log-likelihood.
    statistics : (K, F)
        Its gradient, the expected statistics.
    curvature : (K, F, K, F)
        Its Hessian.
    """

    value: Float[Any, ""]
    statistics: Float[Any, "K F"]
    curvature: Float[Any, "K F K F"]


def expand(data: Likelihood, eta: Float[np.ndarray, "K F"]) -> Expansion:
    """The expansion at `eta`, in NumPy; in a scoped float64."""
    data = in_numpy(data, len(eta))
    found = _expand(data, eta) if isinstance(data, ShortTable) else jax.device_get(_compiled(data, eta))
    return Expansion(*map(np.asarray, found))


def in_numpy(data: Likelihood, n_components: int = 1) -> Likelihood:
    """The same rows in NumPy where they are complete and few, so that nothing need be compiled for them."""
    if not isinstance(data, CompleteRows) or type(data) not in (CompleteRows, DiagonalRows):
        return data
    if data.weights.size * n_components * data.n_statistics > _SHORT:
        return data
    weights = np.asarray(data.weights).ravel()
    points = np.swapaxes(np.asarray(data.points), 1, 2).reshape(len(weights), -1)
    return short_tables.prepare(points[weights > 0], weights[weights > 0], diagonal=data.diagonal)


def _expand(data: Likelihood, eta: Any) -> Expansion:
    return Expansion(*data.expected_statistics(eta), data.curvature(eta))


_compiled = jax.jit(_expand)
