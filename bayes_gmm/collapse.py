"""When a component is too narrow to be believed: one threshold for every way of climbing the likelihood."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .em import SMALLEST_SCALE
from .linalg import invert_tril
from .mixture import Mixture


def narrowest_allowed(points: np.ndarray, sample_weight: np.ndarray) -> float:
    """Smallest believable standard deviation, given points (N, D) with weights (N,) in the same coordinates."""
    rows = points * np.sqrt(sample_weight / sample_weight.sum())[:, None]
    spread = np.linalg.svd(np.linalg.qr(rows, mode="r"), compute_uv=False)[-1]
    return SMALLEST_SCALE * float(spread)


def is_sound(mixture: Mixture, smallest_scale: Float[Array, ""] | float) -> Bool[Array, ""]:
    """Whether every component has points, and a standard deviation above the smallest in every direction."""
    # A lower bound, tight to a factor sqrt(D), of the smallest singular value. Not a number compares false.
    narrowest = 1 / jnp.sqrt((invert_tril(mixture.scale_tril) ** 2).sum((-2, -1)).max())
    return (narrowest > smallest_scale) & jnp.isfinite(mixture.log_weights).all() & jnp.isfinite(mixture.means).all()
