"""Mean and standard deviation over the draws of a posterior of the soft assignments of points."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.draws_at_points import DrawsAtPoints, at_points
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


class AssignmentMoments(NamedTuple):
    """Posterior mean and standard deviation of the responsibility of each component, and of noise, for each point."""

    mean: Float[np.ndarray, "N K"]
    sd: Float[np.ndarray, "N K"]
    noise_mean: Float[np.ndarray, " N"]
    noise_sd: Float[np.ndarray, " N"]


def assignment_moments(
    draws: Mixture,
    x: Float[np.ndarray, "N D"],
    scaling: Scaling,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> AssignmentMoments:
    """Mean and standard deviation of the responsibilities over all draws, which have any leading axes.

    `errors` are covariances of the points' known errors.
    """
    K = draws.n_components
    mean, sd = (np.asarray(rows)[:, : len(x)] for rows in _assignment_moments(at_points(draws, x, scaling, errors)))
    return AssignmentMoments(mean[:K].T, sd[:K].T, mean[K:].sum(0), sd[K:].sum(0))


@in_float64
@jax.jit
def _assignment_moments(here: DrawsAtPoints) -> tuple[Float[Array, "_ N"], Float[Array, "_ N"]]:
    """Moments for the components (K,), and for noise after them where there is any."""
    phi = linear_form.features(here.points.T)

    # The variance is that of differences from the first draw, which does not cancel where all draws agree.
    first = jax.nn.softmax(here.log_joint(here.natural[0], phi), axis=0)

    def add(number: Int[Array, ""], sums: tuple[Array, Array]) -> tuple[Array, Array]:
        difference = jax.nn.softmax(here.log_joint(here.natural[number], phi), axis=0) - first
        return sums[0] + difference, sums[1] + difference**2

    total, squares = lax.fori_loop(0, here.n_draws, add, (jnp.zeros_like(first), jnp.zeros_like(first)))
    mean = total / here.n_draws
    return first + mean, jnp.sqrt(jnp.maximum(squares / here.n_draws - mean**2, 0.0))
