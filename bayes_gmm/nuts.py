"""The sampler: NumPyro's NUTS kernel in a compiled loop whose data are arguments.

`numpyro.infer.MCMC` compiles anew at every run. Here the kernel is traced once for each shape, and one program of
`CHUNK` transitions serves warm-up and sampling; between chunks Python shows progress and listens to Ctrl-C.

References
----------
Hoffman and Gelman (2014), JMLR 15, 1593-1623; Phan, Pradhan and Jankowiak (2019), arXiv 1912.11554.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer.hmc import hmc
from tqdm import tqdm

from .laplace import Laplace, Target

CHUNK = 50
"""Transitions for each call of the compiled program."""


class Plan(NamedTuple):
    """What is fixed when the sampler is compiled."""

    num_warmup: int
    adapt_metric: bool
    dense: bool
    target_accept: float = 0.8
    max_tree_depth: int = 10


class Chains(NamedTuple):
    """Draws (C, S, P) in unconstrained coordinates, what NUTS says of each (C, S), and whether it was cut short."""

    coordinates: np.ndarray
    statistics: dict[str, np.ndarray]
    interrupted: bool


def sample(
    target: Target,
    around: Laplace,
    plan: Plan,
    *,
    num_samples: int,
    num_chains: int,
    key: Array,
    progress: bool,
) -> Chains:
    """Run chains from draws of the Gaussian around the mode, in the coordinates that make it standard normal."""
    states = _start(target, around, jax.random.split(key, num_chains), plan)
    total = plan.num_warmup + num_samples
    chunks: list[dict[str, np.ndarray]] = []
    interrupted = False
    with tqdm(total=total, desc="warm-up", unit=" transitions", disable=not progress, leave=False) as bar:
        try:
            while CHUNK * len(chunks) < total:
                states, chunk = _advance(target, around, states, plan)
                chunks.append(jax.device_get(chunk))
                _show(bar, chunks, plan, total)
        except KeyboardInterrupt:
            interrupted = True
            if CHUNK * len(chunks) <= plan.num_warmup:
                raise
    kept = {
        name: np.concatenate([chunk[name] for chunk in chunks], 1)[:, plan.num_warmup : total] for name in chunks[0]
    }
    return Chains(kept.pop("coordinates"), kept, interrupted)


def _kernel(target: Target, around: Laplace, key: Array, plan: Plan) -> tuple[Any, Any]:
    """NumPyro's pair of functions for the standardised target; `transition` needs `begin` traced before it."""
    begin, transition = hmc(potential_fn_gen=_standardised, algo="NUTS")
    begin_here = partial(
        begin,
        num_warmup=plan.num_warmup,
        step_size=0.5,
        adapt_mass_matrix=plan.adapt_metric,
        dense_mass=plan.dense and plan.adapt_metric,
        target_accept_prob=plan.target_accept,
        max_tree_depth=plan.max_tree_depth,
        model_args=(target, around),
        rng_key=key,
    )
    return begin_here, transition


def _standardised(target: Target, around: Laplace) -> Any:
    return lambda offset: target.potential(around.mode + around.factor @ offset)


def _start(target: Target, around: Laplace, keys: Array, plan: Plan) -> Any:
    """Chains at draws of the Gaussian; all at its centre when a draw fell where there is no density."""
    states = _begin(target, around, keys, 1.0, plan)
    if np.isfinite(states.potential_energy).all():
        return states
    return _begin(target, around, keys, 0.0, plan)


@partial(jax.jit, static_argnames="plan")
def _begin(target: Target, around: Laplace, keys: Array, spread: float | Array, plan: Plan) -> Any:
    def one(key: Array) -> Any:
        key_start, key_chain = jax.random.split(key)
        begin, _ = _kernel(target, around, key_chain, plan)
        return begin(spread * jax.random.normal(key_start, around.mode.shape))

    return jax.vmap(one)(keys)


@partial(jax.jit, static_argnames="plan")
def _advance(target: Target, around: Laplace, states: Any, plan: Plan) -> tuple[Any, dict[str, Array]]:
    def one(state: Any) -> tuple[Any, dict[str, Array]]:
        begin, transition = _kernel(target, around, state.rng_key, plan)
        jax.eval_shape(begin, state.z)  # sets the closure variables that `transition` reads

        def step(state: Any, _: None) -> tuple[Any, dict[str, Array]]:
            state = transition(state, (target, around))
            return state, _observe(state, around)

        return jax.lax.scan(step, state, None, length=CHUNK)

    return jax.vmap(one)(states)


def _observe(state: Any, around: Laplace) -> dict[str, Float[Array, "..."]]:
    return {
        "coordinates": around.mode + around.factor @ state.z,
        "lp": -state.potential_energy,
        "energy": state.energy,
        "n_steps": state.num_steps,
        "acceptance_rate": state.accept_prob,
        "step_size": state.adapt_state.step_size,
        "diverging": state.diverging,
    }


def _show(bar: Any, chunks: list[dict[str, np.ndarray]], plan: Plan, total: int) -> None:
    done = min(CHUNK * len(chunks), total)
    bar.set_description("warm-up" if done <= plan.num_warmup else "sampling")
    after_warmup = chunks[plan.num_warmup // CHUNK :]
    divergences = sum(int(chunk["diverging"].sum()) for chunk in after_warmup)
    bar.set_postfix_str(f"{divergences} divergences, {chunks[-1]['n_steps'].mean():.0f} leapfrogs", refresh=False)
    bar.update(done - bar.n)
