"""When a component is too narrow to be believed: one threshold for every way of maximising the likelihood.

The likelihood has no upper bound where a component shrinks onto a few points (Kiefer and Wolfowitz 1956,
doi 10.1214/aoms/1177728066), so a search that leads there has ended without an answer, and says so.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayes_gmm.core.linalg import invert_tril
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

SMALLEST_SCALE = 1e-4
"""Standard deviation below which a component is degenerate, relative to the spread of the data in their narrowest
direction. The linear form still has seven digits there, since it loses a factor of the inverse square."""


def narrowest_allowed(scaling: Scaling, whitening: Scaling) -> float:
    """Standard deviation of a degenerate component, in the coordinates of `scaling`, for data of that `whitening`."""
    spread = np.linalg.solve(scaling.factor, whitening.factor)
    return SMALLEST_SCALE * float(np.linalg.svd(spread, compute_uv=False)[-1])


def narrowest_scales(mixture: Mixture) -> Float[Array, " K"]:
    """Lower bounds, tight to a factor sqrt(D), of the components' standard deviations in every direction."""
    return 1 / jnp.sqrt((invert_tril(mixture.scale_tril) ** 2).sum((-2, -1)))


def is_sound(mixture: Mixture, smallest_scale: Float[Array, ""] | float) -> Bool[Array, ""]:
    """Whether every component has points, and a standard deviation above the smallest in every direction."""
    # A comparison with NaN is false.
    wide = (narrowest_scales(mixture) > smallest_scale).all()
    return wide & jnp.isfinite(mixture.log_weights).all() & jnp.isfinite(mixture.means).all()
