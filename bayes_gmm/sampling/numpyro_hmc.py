"""NumPyro's NUTS as two pure functions of one chain: all that this package uses of NumPyro's inner interface.

`numpyro.infer.hmc.hmc` returns a pair of closures that share variables: the second reads what the first has set when it
was last traced. Here every call traces the first, so that both are functions of their arguments alone.
`tests/bayes/test_numpyro_hmc.py` holds what is assumed of NumPyro.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped, UInt32
from numpyro.infer.hmc import hmc
from numpyro.infer.hmc_util import dual_averaging
from numpyro.infer.util import ParamInfo

from bayes_gmm.bayes.laplace_approximation import Laplace
from bayes_gmm.bayes.target import Target

FIRST_STEP_SIZE = 0.5
"""Step size before it is tuned: of the order that the standardised coordinates of a Gaussian ask for."""


class SamplerSettings(NamedTuple):
    """Settings that the sampler is compiled for; `metric_warmup` transitions adapt a dense metric, none if zero."""

    metric_warmup: int = 0
    max_tree_depth: int = 10

    @property
    def adapts_metric(self) -> bool:
        """Whether NumPyro adapts metric and step size; otherwise only the step size is tuned, by `tune`."""
        return self.metric_warmup > 0


class Start(NamedTuple):
    """Where a chain begins, in standardised coordinates, and its random key."""

    offset: Float[Any, " P"]
    potential: Float[Any, ""]
    slope: Float[Any, " P"]
    key: UInt32[Any, " 2"]


class ChainState(NamedTuple):
    """State of one chain: NumPyro's own, and that of the dual averaging of the step size."""

    hmc: Any
    averaging: Any


class Tuning(NamedTuple):
    """How the step size is tuned: for how many transitions, and towards which acceptance."""

    num_warmup: Int[Any, ""] | int
    target_accept_prob: Float[Any, ""] | float


_begin_averaging, _average = dual_averaging()


def begin(target: Target, around: Laplace, start: Start, settings: SamplerSettings) -> ChainState:
    """State of a chain before its first transition."""
    initialise, _ = _closures(target, around, start.key, settings)
    state = initialise(ParamInfo(start.offset, start.potential, start.slope))
    return ChainState(state, _begin_averaging(jnp.log(10 * FIRST_STEP_SIZE)))


def transition(
    target: Target, around: Laplace, state: ChainState, tuning: Tuning, settings: SamplerSettings
) -> ChainState:
    """State after one transition of NUTS, its step size tuned as long as the warm-up lasts."""
    initialise, move = _closures(target, around, state.hmc.rng_key, settings, tuning.target_accept_prob)
    jax.eval_shape(initialise, state.hmc.z)  # sets the variables of the closure that `move` reads
    moved = move(state.hmc, (target, around))
    return state._replace(hmc=moved) if settings.adapts_metric else _tuned(moved, state, tuning)


def observe(state: ChainState, around: Laplace) -> dict[str, Shaped[Any, "..."]]:
    """Coordinates of a chain and what NUTS says of its last transition, by ArviZ's names."""
    hmc_state = state.hmc
    return {
        "coordinates": around.mode + around.factor @ hmc_state.z,
        "lp": -hmc_state.potential_energy,
        "energy": hmc_state.energy,
        "n_steps": hmc_state.num_steps,
        "acceptance_rate": hmc_state.accept_prob,
        "step_size": hmc_state.adapt_state.step_size,
        "diverging": hmc_state.diverging,
    }


def _closures(
    target: Target,
    around: Laplace,
    key: UInt32[Any, " 2"],
    settings: SamplerSettings,
    target_accept_prob: float | Array = 0.8,
) -> tuple[Any, Any]:
    """NumPyro's pair of functions for the standardised target."""
    initialise, move = hmc(potential_fn_gen=_standardised, algo="NUTS")
    initialise_here = partial(
        initialise,
        num_warmup=settings.metric_warmup,
        step_size=FIRST_STEP_SIZE,
        adapt_step_size=settings.adapts_metric,
        adapt_mass_matrix=settings.adapts_metric,
        dense_mass=settings.adapts_metric,
        target_accept_prob=target_accept_prob,
        max_tree_depth=settings.max_tree_depth,
        model_args=(target, around),
        rng_key=key,
    )
    return initialise_here, move


def _standardised(target: Target, around: Laplace) -> Any:
    return lambda offset: target.potential(around.mode + around.factor @ offset)


def _tuned(moved: Any, before: ChainState, tuning: Tuning) -> ChainState:
    """During the warm-up the step size follows the acceptance; at its end it becomes the average, and stays."""
    updated = _average(tuning.target_accept_prob - moved.accept_prob, before.averaging)
    warming = moved.i <= tuning.num_warmup
    averaging = jax.tree.map(lambda new, old: jnp.where(warming, new, old), updated, before.averaging)
    log_step, log_average, *_ = averaging
    step_size = jnp.exp(jnp.where(moved.i < tuning.num_warmup, log_step, log_average))
    return ChainState(moved._replace(adapt_state=moved.adapt_state._replace(step_size=step_size)), averaging)
