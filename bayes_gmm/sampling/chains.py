"""Chains of a kernel: a compiled loop whose data are arguments, called again and again by Python.

One program of at most `CHUNK` transitions serves warm-up and sampling; between calls of it Python shows progress,
writes the checkpoint and listens to Ctrl-C. The length of a call and the tuning of the step size are arguments of the
program. Where the metric is known, only the step size has to be tuned; where it is not, the covariance of the draws in
longer and longer windows of the warm-up becomes the metric, as in Stan.

References
----------
Phan, Pradhan and Jankowiak (2019), arXiv 1912.11554; windows: Stan Reference Manual, section on adaptation.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from bayes_gmm.bayes.laplace_approximation import Laplace, shapes_around
from bayes_gmm.bayes.target import Target, to_coordinates
from bayes_gmm.core.compilation import ON_ONE_CORE, Programs, strongly_typed
from bayes_gmm.core.interruption import until_interrupted
from bayes_gmm.core.precision import in_threads
from bayes_gmm.core.tuning import n_cores
from bayes_gmm.errors import FitWarning, OutputError
from bayes_gmm.io.checkpoint import Checkpoint
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.sampling.kernel import ChainState, Kernel, begin
from bayes_gmm.sampling.metric import adapted, multiply, upper_triangular, windows
from bayes_gmm.sampling.nuts import Nuts
from bayes_gmm.sampling.relative_covariances import RelativeCovariances
from bayes_gmm.sampling.step_size import Tuning

CHUNK = 50
"""Most transitions for one call of the compiled program: room for their draws is set aside in it."""

_SECONDS = 1.0
"""Calls of the program are kept about this short, so that progress is shown and Ctrl-C is heard."""

_STATE = "state "
"""First part of the names under which a checkpoint keeps the states of the chains, apart from what was observed."""

type Observed = dict[str, np.ndarray]
"""Coordinates and statistics of some transitions of all chains, (C, length, ...) each, by ArviZ's names."""


class Plan(NamedTuple):
    """How the chains are tuned, and their kernel."""

    num_warmup: int
    target_accept_prob: float
    kernel: Kernel = Nuts()
    adapts_metric: bool = False

    @property
    def tuning(self) -> Tuning:
        """The tuning of the step size, as the compiled program takes it."""
        return Tuning(self.num_warmup, self.target_accept_prob)

    @property
    def windows(self) -> list[range]:
        """Transitions after each of which the metric is adapted to their draws."""
        return windows(self.num_warmup) if self.adapts_metric else []


class Chains(NamedTuple):
    """Draws (C, S, P) in unconstrained coordinates, what NUTS says of each (C, S), and whether Ctrl-C cut it short."""

    coordinates: Float[np.ndarray, "C S P"]
    statistics: Observed
    interrupted: bool

    @property
    def size(self) -> int:
        """Number of draws of each chain."""
        return self.statistics["lp"].shape[1]

    def thinned(self, size: int) -> "Chains":
        """Every second, third, ... draw of each chain, such that at least `size` are left, or all are."""
        every = max(1, self.coordinates.shape[1] // size)
        kept = {name: values[:, every - 1 :: every] for name, values in self.statistics.items()}
        return self._replace(coordinates=self.coordinates[:, every - 1 :: every], statistics=kept)


def sampler_programs(mixture: Mixture, target: Target, kernel: Kernel) -> Programs:
    """What compiles the program of `sample`."""
    coordinates = to_coordinates.eval_shape(mixture, target.sites)
    state = jax.tree.map(strongly_typed, begin(np.zeros(coordinates.shape), np.uint64(0)))
    local = _Local.shapes(shapes_around(coordinates), target)
    yield lambda: _advance.lower(target, local, state, 0, _NO_TUNING, kernel=kernel).compile()


class _Local(NamedTuple):
    """Coordinates of one chain: the Gaussian around its mode, and the factors to which covariances are relative."""

    around: Laplace
    factors: Float[Any, "C D D"] | None

    @classmethod
    def of(cls, around: Laplace, relative: RelativeCovariances | None) -> "_Local":
        """Coordinates near one mode."""
        if relative is None:
            return cls(around, None)
        around, factors = relative.enter(around)
        return cls(upper_triangular(around), factors)

    @classmethod
    def shapes(cls, around: Laplace, target: Target) -> "_Local":
        """Shapes and types of such coordinates, for a program that is compiled before there is a mode."""
        relative = RelativeCovariances.of(target.sites)
        if relative is None:
            return cls(around, None)
        (C, D), dtype = relative.diagonal.shape, around.mode.dtype
        return cls(around, jax.ShapeDtypeStruct((C, D, D), dtype))


def sample(
    target: Target,
    around: Laplace,
    plan: Plan,
    *,
    num_samples: int,
    seed: int,
    progress: bool,
    checkpoint: Checkpoint | None = None,
    stop: Callable[[Observed], int | None] | None = None,
) -> Chains:
    """Run chains from draws of the Gaussians around modes (C, ...), each standardised by the Gaussian of its own mode.

    `stop` is asked from time to time after how many transitions to end, if at all, given the statistics of all of them
    so far. A run that it ends during the warm-up has the second half of these transitions as draws.

    Chains run in threads, as many at a time as there are cores: side by side in one program each chain would wait for
    the longest trajectory, and all on one core.
    """
    around, relative = _remembered(upper_triangular(around), checkpoint), RelativeCovariances.of(target.sites)
    total = plan.num_warmup + num_samples
    chunks: list[Observed] = []
    end: int | None = None

    def shown(bar: Any) -> Iterator[None]:
        nonlocal end
        local = [_Local.of(jax.tree.map(itemgetter(chain), around), relative) for chain in range(len(around.mode))]
        factors = [one.factors for one in local]
        for part in _chunks(target, local, plan, total=total, seed=seed, checkpoint=checkpoint):
            chunk = part if relative is None else _in_sites(part, relative, factors)
            chunks.append(chunk)
            _show(bar, chunks, plan)
            yield
            if stop is not None:
                end = stop({name: _joined(chunks, name) for name in chunks[0] if name != "coordinates"})
            if end is not None:
                return

    with tqdm(total=total, desc="warm-up", unit=" transitions", disable=not progress, leave=False) as bar:
        work = until_interrupted(shown(bar))
        list(work)
        work.reraise_unless(_length(chunks) > plan.num_warmup)
    end = min(_length(chunks), total) if end is None else end  # a checkpoint may hold more
    return _draws(chunks, plan, end, interrupted=work.interrupted)


def _draws(chunks: list[Observed], plan: Plan, end: int, *, interrupted: bool) -> Chains:
    """What came after the warm-up, or of a run that ended during it the second half."""
    first = plan.num_warmup if end > plan.num_warmup else end // 2
    statistics = {name: _joined(chunks, name)[:, first:end] for name in chunks[0]}
    return Chains(statistics.pop("coordinates"), statistics, interrupted)


def _joined(chunks: list[Observed], name: str) -> np.ndarray:
    return np.concatenate([chunk[name] for chunk in chunks], 1)


def _in_sites(chunk: Observed, relative: RelativeCovariances, factors: list[Any]) -> Observed:
    """What was observed, in the coordinates of `sites`, and so the log density."""
    moved = [relative.leave(*each) for each in zip(chunk["coordinates"], factors, strict=True)]
    coordinates, log_volumes = (np.stack(parts) for parts in zip(*moved, strict=True))
    return chunk | {"coordinates": coordinates, "lp": chunk["lp"] - log_volumes}


def _chunks(
    target: Target, local: list[_Local], plan: Plan, *, total: int, seed: int, checkpoint: Checkpoint | None
) -> Iterator[Observed]:
    """What is observed of the transitions, some at a time: first those in the checkpoint, then new ones."""
    states = _start(target, local, seed, plan.kernel)
    chunks: list[Observed] = []

    def finished(chunk: Observed) -> Observed:
        nonlocal local, states
        chunks.append(chunk if plan.windows else {"lp": chunk["lp"]})
        for window in (window for window in plan.windows if window.stop == _length(chunks)):
            draws = np.concatenate([part["coordinates"] for part in chunks], 1)[:, window.start :]
            arounds = [one.around for one in local]
            arounds, states = map(list, zip(*map(adapted, arounds, states, draws), strict=True))
            local = [one._replace(around=around) for one, around in zip(local, arounds, strict=True)]
        return chunk

    for record in checkpoint.records[1:] if checkpoint else ():
        states, chunk = _from_record(record, states)
        yield finished(chunk)
    with ThreadPoolExecutor(min(len(states), n_cores())) as threads:
        length = 1
        while (done := _length(chunks)) < total:
            ends = (total, *(window.stop for window in plan.windows))
            length = min(length, CHUNK, *(end - done for end in ends if end > done))
            began = perf_counter()
            states, chunk = _advance_all(target, local, states, length, plan, threads)
            checkpoint = _remember(checkpoint, _to_record(states, chunk))
            yield finished(chunk)
            length = max(1, int(length * _SECONDS / (perf_counter() - began)))


def _advance_all(
    target: Target, local: list[_Local], states: list[ChainState], length: int, plan: Plan, threads: Executor
) -> tuple[list[ChainState], Observed]:
    """States after `length` transitions of each chain, and what was observed on the way, (C, length, ...)."""

    def advance(one: _Local, state: ChainState) -> tuple[ChainState, Observed]:
        return jax.device_get(_advance(target, one, state, length, plan.tuning, kernel=plan.kernel))

    moved, seen = zip(*in_threads(threads, advance, local, states), strict=True)
    return list(moved), {name: np.stack([part[name][:length] for part in seen]) for name in seen[0]}


def _start(target: Target, local: list[_Local], seed: int, kernel: Kernel) -> list[ChainState]:
    """Chains at draws of the Gaussians; at their centres those that fell where there is no density."""
    states = []
    for one, source in zip(local, np.random.SeedSequence(seed).spawn(len(local)), strict=True):
        offset = np.random.default_rng(source).standard_normal(len(one.around.mode))
        (key,) = source.generate_state(1, np.uint64)
        state, _ = jax.device_get(_advance(target, one, begin(offset, key), 0, _NO_TUNING, kernel=kernel))
        states.append(state if np.isfinite(state.point.potential) else begin(np.zeros_like(offset), key))
    return states


_NO_TUNING = Tuning(0, 0.0)
"""Tuning of a call that makes no transition: it compiles, and finds the potential."""


@partial(jax.jit, static_argnames="kernel", compiler_options=ON_ONE_CORE)
def _advance(
    target: Target, local: _Local, state: ChainState, length: int | Array, tuning: Tuning, *, kernel: Kernel
) -> tuple[ChainState, dict[str, Array]]:
    """State after `length` transitions, and what was observed on the way, in the first places of (CHUNK, ...)."""
    around, factors = local
    rescaled = multiply(around.factor)

    def potential(offset: Array) -> Array:
        return target.potential(around.mode + rescaled(offset), factors)

    moved, seen = kernel.advance(jax.value_and_grad(potential), state, length, tuning, CHUNK)
    return moved, seen | {"coordinates": around.mode[None] + seen.pop("offset") @ around.factor.T}


# The checkpoint


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


def _to_record(states: list[ChainState], chunk: Observed) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves(jax.tree.map(lambda *parts: np.stack(parts), *states))
    return chunk | {f"{_STATE}{number}": leaf for number, leaf in enumerate(leaves)}


def _from_record(record: dict[str, np.ndarray], like: list[ChainState]) -> tuple[list[ChainState], Observed]:
    leaves, structure = jax.tree.flatten(like[0])
    kept = [record[f"{_STATE}{number}"] for number in range(len(leaves))]
    states = [jax.tree.unflatten(structure, [leaf[chain] for leaf in kept]) for chain in range(len(like))]
    return states, {name: part for name, part in record.items() if not name.startswith(_STATE)}


# Progress


def _length(chunks: list[Observed]) -> int:
    return sum(chunk["lp"].shape[1] for chunk in chunks)


def _show(bar: Any, chunks: list[Observed], plan: Plan) -> None:
    done = _length(chunks)
    bar.set_description("warm-up" if done <= plan.num_warmup else "sampling")
    if done > plan.num_warmup:
        divergences = np.concatenate([chunk["diverging"] for chunk in chunks], 1)[:, plan.num_warmup :].sum()
        bar.set_postfix_str(f"{divergences} divergences, {chunks[-1]['n_steps'].mean():.0f} leapfrogs", refresh=False)
    bar.update(done - bar.n)
