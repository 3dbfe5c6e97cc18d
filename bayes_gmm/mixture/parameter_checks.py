"""What the weights, means and covariances of a mixture must be before it is built from them."""

from typing import Any

import numpy as np
from jaxtyping import Int

from bayes_gmm.errors import ArgumentError

SHAPES = "Give one weight, one mean and one covariance matrix for each component."


def check_shapes(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> None:
    """Refuse anything but (..., K), (..., K, D) and (..., K, D, D)."""
    shapes = weights.shape, means.shape, covariances.shape
    agree = means.ndim >= 2 and shapes == (means.shape[:-1], means.shape, (*means.shape, means.shape[-1]))
    if not agree:
        raise ArgumentError(
            f"Weights, means and covariances have shapes {shapes[0]}, {shapes[1]} and {shapes[2]}.",
            "(..., K), (..., K, D) and (..., K, D, D)",
            SHAPES,
        )


def check_finite(*arrays: np.ndarray) -> None:
    """Refuse NaN and infinity."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise ArgumentError(
            "The weights, means or covariances hold NaN or infinity.",
            "finite numbers",
            "Look at where they come from: a collapsed fit, or missing data.",
        )


def check_weights(weights: np.ndarray) -> None:
    """Refuse negative weights (..., K) and those that do not sum to one."""
    if not (np.all(weights >= 0) and np.allclose(weights.sum(-1), 1, rtol=0, atol=1e-8)):
        raise ArgumentError(
            f"The weights are {weights.tolist()}, with sum {weights.sum(-1).tolist()}.",
            "non-negative numbers that sum to one",
            "Divide them by their sum.",
        )


def cholesky(covariances: np.ndarray) -> np.ndarray:
    """Lower triangular factors of covariances (..., D, D), which must be symmetric positive definite."""
    # Rounding is judged in units of the standard deviations: next to zero it is all that is there.
    scales = np.sqrt(np.abs(np.diagonal(covariances, axis1=-2, axis2=-1)))
    rounding = 1e-8 * scales[..., :, None] * scales[..., None, :]
    try:
        if not (np.abs(covariances - covariances.mT) <= rounding).all():
            raise np.linalg.LinAlgError("not symmetric")
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError as error:
        raise ArgumentError(
            f"A covariance cannot be factorised ({error}).",
            "finite, symmetric, positive definite matrices",
            "Check the units and that no component sits on a single point or a line.",
        ) from None


def orders(permutations: Any, shape: tuple[int, ...]) -> Int[np.ndarray, "*batch K"]:
    """Permutations of the components, one for each mixture of a batch."""
    try:
        order = np.broadcast_to(permutations, shape)
        sound = order.dtype.kind in "iu" and bool((np.sort(order, -1) == np.arange(shape[-1])).all())
    except ValueError:
        sound = False
    if not sound:
        found = f"permutations is {permutations!r:.200}.".replace("\n", " ")
        expected = f"each of 0 to {shape[-1] - 1} once, in shapes that broadcast to {shape}"
        raise ArgumentError(found, expected, "np.argsort makes such an order.")
    return order
