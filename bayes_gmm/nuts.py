"""The sampler: NumPyro's NUTS kernel in a compiled loop whose data are arguments.

`numpyro.infer.MCMC` compiles anew at every run. Here the kernel is traced once for each shape, and one program of
at most `CHUNK` transitions serves warm-up and sampling; between calls of it Python shows progress, writes the
checkpoint and listens to Ctrl-C. How many transitions a call makes is an argument, so that none is long.

References
----------
Hoffman and Gelman (2014), JMLR 15, 1593-1623; Phan, Pradhan and Jankowiak (2019), arXiv 1912.11554.
"""

from collections.abc import Iterator
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer.hmc import hmc
from tqdm import tqdm

from .checkpoint import Checkpoint
from .laplace import Laplace
from .posterior_problem import Target

CHUNK = 50
"""Most transitions for one call of the compiled program."""

_STATE = "state "
_SECONDS = 1.0
"""Calls are kept about this short."""


class Plan(NamedTuple):
    """What is fixed when the sampler is compiled."""

    num_warmup: int
    adapt_metric: bool = False
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
    key: Array,
    progress: bool,
    checkpoint: Checkpoint | None = None,
) -> Chains:
    """Run chains from draws of the Gaussians around modes (C, ...), each in coordinates that make its own standard."""
    total = plan.num_warmup + num_samples
    chunks: list[dict[str, np.ndarray]] = []
    interrupted = False
    with tqdm(total=total, desc="warm-up", unit=" transitions", disable=not progress, leave=False) as bar:
        try:
            for chunk in _chunks(target, around, plan, total, key, checkpoint):
                chunks.append(chunk)
                _show(bar, chunks, plan)
        except KeyboardInterrupt:
            interrupted = True
            if _length(chunks) <= plan.num_warmup:
                raise
    kept = {name: np.concatenate([chunk[name] for chunk in chunks], 1)[:, plan.num_warmup :] for name in chunks[0]}
    return Chains(kept.pop("coordinates"), kept, interrupted)


def _chunks(
    target: Target, around: Laplace, plan: Plan, total: int, key: Array, checkpoint: Checkpoint | None
) -> Iterator[dict[str, np.ndarray]]:
    """What is observed of the transitions, some at a time: first what the checkpoint holds, then new ones."""
    states = _start(target, around, jax.random.split(key, len(around.mode)), plan)
    done, length = 0, 1
    for record in checkpoint.records if checkpoint else ():
        states, chunk = _from_record(record, states)
        done += _length([chunk])
        yield chunk
    while done < total:
        length = min(length, CHUNK, total - done)
        began = perf_counter()
        states, observed = jax.device_get(_advance(target, around, states, length, plan))
        chunk = {name: values[:, :length] for name, values in observed.items()}
        if checkpoint:
            checkpoint.append(_to_record(states, chunk))
        yield chunk
        done += length
        length = max(1, int(length * _SECONDS / (perf_counter() - began)))


def _kernel(target: Target, around: Laplace, key: Array, plan: Plan) -> tuple[Any, Any]:
    """NumPyro's pair of functions for the standardised target; `transition` needs `begin` traced before it."""
    begin, transition = hmc(potential_fn_gen=_standardised, algo="NUTS")
    begin_here = partial(
        begin,
        num_warmup=plan.num_warmup,
        step_size=0.5,
        adapt_mass_matrix=plan.adapt_metric,
        dense_mass=plan.adapt_metric,
        target_accept_prob=plan.target_accept,
        max_tree_depth=plan.max_tree_depth,
        model_args=(target, around),
        rng_key=key,
    )
    return begin_here, transition


def _standardised(target: Target, around: Laplace) -> Any:
    return lambda offset: target.potential(around.mode + around.factor @ offset)


def _start(target: Target, around: Laplace, keys: Array, plan: Plan) -> Any:
    """Chains at draws of the Gaussians; at their centres those that fell where there is no density."""
    states = jax.device_get(_begin(target, around, keys, np.ones(len(keys)), plan))
    inside = np.isfinite(states.potential_energy)
    if inside.all():
        return states
    return jax.device_get(_begin(target, around, keys, inside.astype(float), plan))


@partial(jax.jit, static_argnames="plan")
def _begin(target: Target, around: Laplace, keys: Array, spread: Float[Array, " C"], plan: Plan) -> Any:
    def one(around: Laplace, key: Array, spread: Array) -> Any:
        key_start, key_chain = jax.random.split(key)
        begin, _ = _kernel(target, around, key_chain, plan)
        return begin(spread * jax.random.normal(key_start, around.mode.shape))

    return jax.vmap(one)(around, keys, spread)


@partial(jax.jit, static_argnames="plan")
def _advance(
    target: Target, around: Laplace, states: Any, length: int | Array, plan: Plan
) -> tuple[Any, dict[str, Array]]:
    """States after `length` transitions, and what was seen on the way, in the first places of (C, CHUNK, ...)."""

    def one(around: Laplace, state: Any) -> tuple[Any, dict[str, Array]]:
        begin, transition = _kernel(target, around, state.rng_key, plan)
        jax.eval_shape(begin, state.z)  # sets the closure variables that `transition` reads

        def step(number: Array, carry: tuple[Any, dict[str, Array]]) -> tuple[Any, dict[str, Array]]:
            state = transition(carry[0], (target, around))
            seen = _observe(state, around)
            return state, {name: values.at[number].set(seen[name]) for name, values in carry[1].items()}

        shapes = jax.eval_shape(partial(_observe, around=around), state)
        nothing = {name: jnp.zeros((CHUNK, *seen.shape), seen.dtype) for name, seen in shapes.items()}
        return jax.lax.fori_loop(0, length, step, (state, nothing))

    return jax.vmap(one)(around, states)


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


def _to_record(states: Any, chunk: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves(states)
    return chunk | {f"{_STATE}{number}": np.asarray(leaf) for number, leaf in enumerate(leaves)}


def _from_record(record: dict[str, np.ndarray], like: Any) -> tuple[Any, dict[str, np.ndarray]]:
    structure = jax.tree.structure(like)
    leaves = [record[f"{_STATE}{number}"] for number in range(structure.num_leaves)]
    return structure.unflatten(leaves), {name: part for name, part in record.items() if not name.startswith(_STATE)}


def _length(chunks: list[dict[str, np.ndarray]]) -> int:
    return sum(chunk["lp"].shape[1] for chunk in chunks)


def _show(bar: Any, chunks: list[dict[str, np.ndarray]], plan: Plan) -> None:
    done = _length(chunks)
    bar.set_description("warm-up" if done <= plan.num_warmup else "sampling")
    if done > plan.num_warmup:
        divergences = np.concatenate([chunk["diverging"] for chunk in chunks], 1)[:, plan.num_warmup :].sum()
        bar.set_postfix_str(f"{divergences} divergences, {chunks[-1]['n_steps'].mean():.0f} leapfrogs", refresh=False)
    bar.update(done - bar.n)
