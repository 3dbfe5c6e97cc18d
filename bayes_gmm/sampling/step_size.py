r"""The step size of Hamiltonian steps, tuned by dual averaging towards an acceptance.

.. math:: \log \epsilon_{m+1} = \mu - \frac{\sqrt m}{\gamma} \, \frac{1}{m + t_0} \sum_{i \le m} (\delta - \alpha_i)

References
----------
Hoffman and Gelman (2014), JMLR 15, 1593-1623, section 3.2.1; Nesterov (2009), doi 10.1007/s10107-007-0149-x.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

FIRST_STEP_SIZE = 0.5
"""Step size before it is tuned: of the order that the standardised coordinates of a Gaussian ask for."""

_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75
"""Constants of Hoffman and Gelman: how far steps go, how little the first count, how soon the average forgets them."""


class Tuning(NamedTuple):
    """How the step size is tuned: for how many transitions, and towards which acceptance."""

    num_warmup: Int[Any, ""] | int
    target_accept_prob: Float[Any, ""] | float


class StepSize(NamedTuple):
    """The step size of the next transition, and what dual averaging remembers."""

    size: Float[Any, ""]
    log_average: Float[Any, ""]
    shortfall: Float[Any, ""]
    count: Float[Any, ""]
    centre: Float[Any, ""]


def untuned(size: float | Float[Any, ""] = FIRST_STEP_SIZE) -> StepSize:
    """A step size from which tuning begins, drawn towards ten times as much, for too short steps cost most."""
    zero = np.zeros(())
    return StepSize(np.asarray(size), zero, zero, zero, np.log(10.0 * np.asarray(size)))


def tuned(step: StepSize, acceptance: Float[Array, ""], number: Int[Array, ""], tuning: Tuning) -> StepSize:
    """The step size after transition `number`: during the warm-up tuned, at its end the average, and then unchanged."""
    count = step.count + 1
    shortfall = step.shortfall + tuning.target_accept_prob - acceptance
    log_size = step.centre - jnp.sqrt(count) / _GAMMA * shortfall / (count + _T0)
    log_average = step.log_average + count**-_KAPPA * (log_size - step.log_average)
    size = jnp.exp(jnp.where(number + 1 < tuning.num_warmup, log_size, log_average))
    updated = StepSize(size, log_average, shortfall, count, step.centre)
    warming: Bool[Array, ""] = number < tuning.num_warmup
    return jax.tree.map(lambda new, old: jnp.where(warming, new, old), updated, step)
