"""The sampler: NumPyro's NUTS kernel in a compiled loop whose data are arguments.

`numpyro.infer.MCMC` compiles anew at every run. Here the kernel is traced once for each shape, and one program of
at most `CHUNK` transitions serves warm-up and sampling; between calls of it Python shows progress, writes the
checkpoint and listens to Ctrl-C. The lengths of a call and of the warm-up and the acceptance aimed at are arguments of
the program: where the metric is known, only the step size has to be tuned, by dual averaging.

References
----------
Hoffman and Gelman (2014), JMLR 15, 1593-1623; Phan, Pradhan and Jankowiak (2019), arXiv 1912.11554.
"""

import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer.hmc import hmc
from numpyro.infer.hmc_util import dual_averaging
from numpyro.infer.util import ParamInfo
from tqdm import tqdm

from bayes_gmm.bayes.laplace_approximation import Laplace, laplace, shapes_around
from bayes_gmm.bayes.target import Target, to_coordinates
from bayes_gmm.core.compilation import Programs, strongly_typed
from bayes_gmm.core.tuning import n_cores
from bayes_gmm.errors import FitWarning, OutputError
from bayes_gmm.io.checkpoint import Checkpoint
from bayes_gmm.mixture.mixture import Mixture

CHUNK = 50
"""Most transitions for one call of the compiled program."""

_STATE = "state "
_FIRST_STEP = 0.5
_SECONDS = 1.0
"""Calls are kept about this short."""


class Kernel(NamedTuple):
    """What is fixed when the sampler is compiled; `metric_warmup` transitions adapt a dense metric, none if zero."""

    metric_warmup: int = 0
    max_tree_depth: int = 10


class Plan(NamedTuple):
    """How the chains are tuned."""

    num_warmup: int
    target_accept_prob: float
    kernel: Kernel = Kernel()


class Chains(NamedTuple):
    """Draws (C, S, P) in unconstrained coordinates, what NUTS says of each (C, S), and whether it was cut short."""

    coordinates: np.ndarray
    statistics: dict[str, np.ndarray]
    interrupted: bool


def sampler_programs(mixture: Mixture, target: Target) -> Programs:
    """What compiles the programs of `sample` where the metric is known."""
    coordinates, kernel = to_coordinates.eval_shape(mixture, target.sites), Kernel()
    around, key = shapes_around(coordinates), jax.ShapeDtypeStruct((2,), np.uint32)
    beginning = (target, around, coordinates, around.potential, coordinates, key, kernel)
    state = jax.tree.map(strongly_typed, _begin.eval_shape(*beginning))
    yield lambda: _advance.lower(target, around, state, 0, 0, 0.0, kernel).compile()
    yield lambda: _begin.lower(*beginning).compile()


def sample(
    target: Target,
    around: Laplace,
    plan: Plan,
    *,
    num_samples: int,
    seed: int,
    progress: bool,
    checkpoint: Checkpoint | None = None,
) -> Chains:
    """Run chains from draws of the Gaussians around modes (C, ...), each in coordinates that make its own standard.

    Chains run in threads, as many at a time as there are cores: side by side in one program each would wait for the
    longest trajectory, and on one core.
    """
    around = _remembered(around, checkpoint)
    total = plan.num_warmup + num_samples
    chunks: list[dict[str, np.ndarray]] = []
    interrupted = False
    with tqdm(total=total, desc="warm-up", unit=" transitions", disable=not progress, leave=False) as bar:
        try:
            for chunk in _chunks(target, around, plan, total, seed, checkpoint):
                chunks.append(chunk)
                _show(bar, chunks, plan)
        except KeyboardInterrupt:
            interrupted = True
            if _length(chunks) <= plan.num_warmup:
                raise
    kept = {
        name: np.concatenate([chunk[name] for chunk in chunks], 1)[:, plan.num_warmup : total] for name in chunks[0]
    }
    return Chains(kept.pop("coordinates"), kept, interrupted)


def _chunks(
    target: Target, around: Laplace, plan: Plan, total: int, seed: int, checkpoint: Checkpoint | None
) -> Iterator[dict[str, np.ndarray]]:
    """What is observed of the transitions, some at a time: first what the checkpoint holds, then new ones."""
    arounds = [jax.tree.map(itemgetter(chain), around) for chain in range(len(around.mode))]
    states, done = _start(target, arounds, seed, plan.kernel), 0
    for record in checkpoint.records[1:] if checkpoint else ():
        states, chunk = _from_record(record, states)
        done += _length([chunk])
        yield chunk
    _advance(target, arounds[0], states[0], 0, 0, 0.0, plan.kernel)  # compiles, for all threads
    with ThreadPoolExecutor(min(len(states), n_cores())) as threads:
        length = 1
        while done < total:
            length = min(length, CHUNK, total - done)
            began = perf_counter()
            states, chunk = _advance_all(target, arounds, states, length, plan, threads)
            checkpoint = _remember(checkpoint, _to_record(states, chunk))
            yield chunk
            done += length
            length = max(1, int(length * _SECONDS / (perf_counter() - began)))


def _advance_all(
    target: Target, arounds: list[Laplace], states: list["_State"], length: int, plan: Plan, threads: Executor
) -> tuple[list["_State"], dict[str, np.ndarray]]:
    """States after `length` transitions of each chain, and what was seen on the way, (C, length, ...)."""

    def advance(around: Laplace, state: _State) -> tuple[_State, dict[str, np.ndarray]]:
        with jax.enable_x64(True):  # which each thread has for itself
            after, seen = _advance(target, around, state, length, *plan)
            return after, jax.device_get(seen)

    moved, seen = zip(*threads.map(advance, arounds, states), strict=True)
    return list(moved), {name: np.stack([part[name][:length] for part in seen]) for name in seen[0]}


class _State(NamedTuple):
    """Of one chain: NumPyro's state, and that of the dual averaging of the step size."""

    hmc: Any
    averaging: Any


_begin_averaging, _average = dual_averaging()


def _pair(
    target: Target, around: Laplace, key: Array, kernel: Kernel, target_accept_prob: float | Array = 0.8
) -> tuple[Any, Any]:
    """NumPyro's pair of functions for the standardised target; `transition` needs `begin` traced before it."""
    begin, transition = hmc(potential_fn_gen=_standardised, algo="NUTS")
    adapting = kernel.metric_warmup > 0
    begin_here = partial(
        begin,
        num_warmup=kernel.metric_warmup,
        step_size=_FIRST_STEP,
        adapt_step_size=adapting,
        adapt_mass_matrix=adapting,
        dense_mass=adapting,
        target_accept_prob=target_accept_prob,
        max_tree_depth=kernel.max_tree_depth,
        model_args=(target, around),
        rng_key=key,
    )
    return begin_here, transition


def _standardised(target: Target, around: Laplace) -> Any:
    return lambda offset: target.potential(around.mode + around.factor @ offset)


def _start(target: Target, arounds: list[Laplace], seed: int, kernel: Kernel) -> list[_State]:
    """Chains at draws of the Gaussians; at their centres those that fell where there is no density."""
    states = []
    for around, source in zip(arounds, np.random.SeedSequence(seed).spawn(len(arounds)), strict=True):
        offset = np.random.default_rng(source).standard_normal(len(around.mode))
        here = laplace(around.mode + around.factor @ offset, target, 1)  # for the potential and its gradient
        if not np.isfinite(here.potential):
            here, offset = around, np.zeros_like(offset)
        slope = around.factor.T @ np.asarray(here.gradient)
        key = source.generate_state(2)  # of the kind that jax.random makes from a seed
        states.append(jax.device_get(_begin(target, around, offset, np.asarray(here.potential), slope, key, kernel)))
    return states


@partial(jax.jit, static_argnames="kernel")
def _begin(
    target: Target, around: Laplace, offset: Array, potential: Array, slope: Array, key: Array, kernel: Kernel
) -> _State:
    begin, _ = _pair(target, around, key, kernel)
    return _State(begin(ParamInfo(offset, potential, slope)), _begin_averaging(jnp.log(10 * _FIRST_STEP)))


@partial(jax.jit, static_argnames="kernel")
def _advance(
    target: Target,
    around: Laplace,
    state: _State,
    length: int | Array,
    num_warmup: int | Array,
    target_accept_prob: float | Array,
    kernel: Kernel,
) -> tuple[_State, dict[str, Array]]:
    """State after `length` transitions, and what was seen on the way, in the first places of (CHUNK, ...)."""
    begin, transition = _pair(target, around, state.hmc.rng_key, kernel, target_accept_prob)
    jax.eval_shape(begin, state.hmc.z)  # sets the closure variables that `transition` reads

    def step(number: Array, carry: tuple[_State, dict[str, Array]]) -> tuple[_State, dict[str, Array]]:
        before, observed = carry
        moved = transition(before.hmc, (target, around))
        seen = _observe(moved, around)
        adapted = kernel.metric_warmup > 0
        after = before._replace(hmc=moved) if adapted else _tune(moved, before, num_warmup, target_accept_prob)
        return after, {name: values.at[number].set(seen[name]) for name, values in observed.items()}

    shapes = jax.eval_shape(partial(_observe, around=around), state.hmc)
    nothing = {name: jnp.zeros((CHUNK, *seen.shape), seen.dtype) for name, seen in shapes.items()}
    return jax.lax.fori_loop(0, length, step, (state, nothing))


def _tune(moved: Any, before: _State, num_warmup: int | Array, target_accept_prob: float | Array) -> _State:
    """During the warm-up the step size follows the acceptance; at its end it becomes the average, and stays."""
    updated = _average(target_accept_prob - moved.accept_prob, before.averaging)
    warming = moved.i <= num_warmup
    averaging = jax.tree.map(lambda new, old: jnp.where(warming, new, old), updated, before.averaging)
    log_step, log_average, *_ = averaging
    step_size = jnp.exp(jnp.where(moved.i < num_warmup, log_step, log_average))
    return _State(moved._replace(adapt_state=moved.adapt_state._replace(step_size=step_size)), averaging)


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


def _remember(checkpoint: Checkpoint | None, record: dict[str, np.ndarray]) -> Checkpoint | None:
    """Write a record; when that fails, say so once and go on without, for the draws matter more than the file."""
    try:
        if checkpoint:
            checkpoint.append(record)
    except OutputError as error:
        warnings.warn(f"Sampling goes on without its checkpoint. {error}", FitWarning, stacklevel=2)
        return None
    return checkpoint


def _remembered(around: Laplace, checkpoint: Checkpoint | None) -> Laplace:
    """The coordinates of the chains: those of the checkpoint's first record, when it has one."""
    if checkpoint and checkpoint.records:
        return Laplace(**checkpoint.records[0])
    _remember(checkpoint, jax.device_get(around)._asdict())
    return around


def _to_record(states: list[_State], chunk: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves(jax.tree.map(lambda *parts: np.stack(parts), *states))
    return chunk | {f"{_STATE}{number}": leaf for number, leaf in enumerate(leaves)}


def _from_record(record: dict[str, np.ndarray], like: list[_State]) -> tuple[list[_State], dict[str, np.ndarray]]:
    leaves, structure = jax.tree.flatten(like[0])
    kept = [record[f"{_STATE}{number}"] for number in range(len(leaves))]
    states = [jax.tree.unflatten(structure, [leaf[chain] for leaf in kept]) for chain in range(len(like))]
    return states, {name: part for name, part in record.items() if not name.startswith(_STATE)}


def _length(chunks: list[dict[str, np.ndarray]]) -> int:
    return sum(chunk["lp"].shape[1] for chunk in chunks)


def _show(bar: Any, chunks: list[dict[str, np.ndarray]], plan: Plan) -> None:
    done = _length(chunks)
    bar.set_description("warm-up" if done <= plan.num_warmup else "sampling")
    if done > plan.num_warmup:
        divergences = np.concatenate([chunk["diverging"] for chunk in chunks], 1)[:, plan.num_warmup :].sum()
        bar.set_postfix_str(f"{divergences} divergences, {chunks[-1]['n_steps'].mean():.0f} leapfrogs", refresh=False)
    bar.update(done - bar.n)
