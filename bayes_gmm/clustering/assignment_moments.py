"""Mean and standard deviation of the soft assignments of points over many draws of a mixture."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.draws_at_points import DrawsAtPoints, at_points
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


def assignment_moments(draws: Mixture, x: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all draws of the responsibilities of each point, (N, K) each."""
    mean, sd = _assignment_moments(at_points(draws, x, scaling))
    return mean[:, : len(x)].T, sd[:, : len(x)].T


@in_float64
@jax.jit
def _assignment_moments(here: DrawsAtPoints) -> tuple[Float[Array, "K N"], Float[Array, "K N"]]:
    phi = linear_form.features(here.points.T)

    # Differences from the first draw, whose squares do not cancel where all draws agree.
    first = jax.nn.softmax(here.natural[0] @ phi, axis=0)

    def add(number: Any, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        difference = jax.nn.softmax(here.natural[number] @ phi, axis=0) - first
        return sums[0] + difference, sums[1] + difference**2

    total, squares = lax.fori_loop(0, here.n_draws, add, (jnp.zeros_like(first), jnp.zeros_like(first)))
    mean = total / here.n_draws
    return first + mean, jnp.sqrt(jnp.maximum(squares / here.n_draws - mean**2, 0.0))
