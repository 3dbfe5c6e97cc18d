"""The two climbs of the likelihood by its gradient, each one compiled loop around optax."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float

from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.blocks import Blocks
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.unconstrained import from_unconstrained
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.degeneracy import is_sound

_RUNNING = -1
_LINE_SEARCH_STEPS = 20
# The default would let the value rise by a millionth of itself, which for many points is many nats.
_ROUNDING = 1e-14

_direction = optax.chain(optax.scale_by_lbfgs(memory_size=10), optax.scale(-1.0))
_line_search = optax.scale_by_zoom_linesearch(
    max_linesearch_steps=_LINE_SEARCH_STEPS, approx_dec_rtol=_ROUNDING, initial_guess_strategy="one"
)


class Shape(NamedTuple):
    """What a climb is compiled for: components, features, structure of the covariances."""

    n_components: int
    n_features: int
    structure: Structure


class Rule(NamedTuple):
    """When a climb stops; `tol` is in nats, `smallest_scale` in unit coordinates."""

    tol: Array | float
    max_steps: Array | int
    smallest_scale: Array | float


class Climb(NamedTuple):
    """State of a climb, and what is left of it at the end.

    `remaining` is what the last model of the log-likelihood promises to gain, in nats; `path` and `passes` hold the
    log-likelihood and the passes over the data so far, at the start and at each of `n_reports` reports since.
    """

    theta: Any
    log_likelihood: Any
    remaining: Any
    status: Any
    n_steps: Any
    n_reports: Any
    path: Any
    passes: Any


class Sampling(NamedTuple):
    """How minibatches are drawn: from points (N, D) with running sums (N,) of their weights.

    A minibatch is the part `passes_per_step` of all points.
    """

    seed: Array | int
    points: Array | np.ndarray
    cumulative: Array | np.ndarray
    passes_per_step: Array | float
    steps_per_report: Array | int
    learning_rate: Array | float


def log_likelihood(theta: Float[Array, " P"], data: Blocks, shape: Shape) -> Float[Array, ""]:
    """Marginal log-likelihood at unconstrained coordinates."""
    return linear_form.log_likelihood(linear_form.natural(from_unconstrained(theta, *shape)), data)


def _begin(theta: Array, value: Array, passes: float, path_length: int) -> Climb:
    return Climb(
        theta=theta,
        log_likelihood=value,
        remaining=jnp.array(jnp.nan),
        status=jnp.array(_RUNNING),
        n_steps=jnp.array(0),
        n_reports=jnp.array(0),
        path=jnp.full(path_length, jnp.nan).at[0].set(value),
        passes=jnp.full(path_length, jnp.nan).at[0].set(passes),
    )


def _report(climb: Climb, moved: Climb, passes: Array, rule: Rule, shape: Shape) -> Climb:
    """Accept a move, or end before it when it leads where the likelihood has no upper bound."""
    sound = is_sound(from_unconstrained(moved.theta, *shape), rule.smallest_scale)
    finite = jnp.isfinite(moved.log_likelihood)
    ends = [~sound, ~finite]
    status = jnp.select(ends, [int(EMStatus.COLLAPSED), int(EMStatus.NONFINITE)], _RUNNING)
    index = climb.n_reports + 1
    accepted = moved._replace(
        status=status,
        n_reports=index,
        path=climb.path.at[index].set(moved.log_likelihood),
        passes=climb.passes.at[index].set(climb.passes[climb.n_reports] + passes),
    )
    refused = climb._replace(status=status)
    return jax.tree.map(partial(jnp.where, status == _RUNNING), accepted, refused)


# L-BFGS


class _Hill(NamedTuple):
    """What is climbed: minus the mean log density, the weight of all points, and when to stop."""

    loss: Callable[[Array], Array]
    total: Array
    rule: Rule
    shape: Shape


class _Search(NamedTuple):
    """State of L-BFGS: the climb, the curvature remembered, the last line search and the last gain."""

    climb: Climb
    memory: Any
    line: Any
    gain: Any


@partial(jax.jit, static_argnums=(3, 4))
def climb_lbfgs(theta: Float[Array, " P"], data: Blocks, rule: Rule, shape: Shape, path_length: int) -> Climb:
    """Climb by L-BFGS with a line search for the strong Wolfe conditions, each trial of which is a pass.

    Ends when both the last gain and half the slope along the direction that is proposed next, which is the gain that
    the quadratic model promises, are below `tol` nats.
    """
    total = data.weights.sum()

    def loss(theta: Array) -> Array:
        return -log_likelihood(theta, data, shape) / total

    value, slope = jax.value_and_grad(loss)(theta)
    line = _line_search.init(theta)._replace(value=value, grad=slope)
    climb = _begin(theta, -total * value, 1.0, path_length)
    begin = _Search(climb, _direction.init(theta), line, jnp.array(jnp.inf))
    step = partial(_step, hill=_Hill(loss, total, rule, shape))
    return lax.while_loop(lambda search: search.climb.status == _RUNNING, step, begin).climb


def _step(search: _Search, hill: _Hill) -> _Search:
    """Propose a direction; then stop here, or search along it."""
    climb, line = search.climb, search.line
    direction, memory = _direction.update(line.grad, search.memory, climb.theta)
    remaining = -hill.total * jnp.vdot(direction, line.grad) / 2
    status = _status(climb, remaining, search.gain, hill.rule)
    here = search._replace(climb=climb._replace(remaining=remaining, status=status), memory=memory)
    return lax.cond(status == _RUNNING, lambda: _walk(here, direction, hill), lambda: here)


def _walk(search: _Search, direction: Array, hill: _Hill) -> _Search:
    """Go along the direction as far as the line search finds good."""
    climb, line = search.climb, search.line
    update, line = _line_search.update(
        direction, line, climb.theta, value=line.value, grad=line.grad, value_fn=hill.loss
    )
    value = -hill.total * line.value
    moved = climb._replace(theta=climb.theta + update, log_likelihood=value, n_steps=climb.n_steps + 1)
    reported = _report(climb, moved, line.info.num_linesearch_steps, hill.rule, hill.shape)
    return _Search(reported, search.memory, line, value - climb.log_likelihood)


def _status(climb: Climb, remaining: Array, gain: Array, rule: Rule) -> Array:
    rounding = 4 * np.finfo(gain.dtype).eps * jnp.abs(climb.log_likelihood)
    small = (jnp.abs(remaining) < rule.tol) & (jnp.abs(gain) < rule.tol)
    # Where a step is lost in rounding, a promise of little more than rounding is as good as kept.
    lost = (jnp.abs(gain) <= rounding) & (jnp.abs(remaining) <= 1e3 * rounding)
    ends = {
        EMStatus.NONFINITE: ~(jnp.isfinite(climb.log_likelihood) & jnp.isfinite(remaining)),
        EMStatus.CONVERGED: small | lost,
        EMStatus.MAX_STEPS: climb.n_steps >= rule.max_steps,
    }
    return jnp.select([*ends.values()], [int(status) for status in ends], _RUNNING)


# Adam


@partial(jax.jit, static_argnums=(4, 5, 6))
def climb_adam(
    theta: Float[Array, " P"],
    data: Blocks,
    rule: Rule,
    sampling: Sampling,
    shape: Shape,
    path_length: int,
    batch_size: int,
) -> Climb:
    """Climb by Adam on minibatches; the learning rate falls to zero as a cosine over `max_steps`.

    All data are evaluated for the path once in `steps_per_report` steps. These passes are not counted, for the climb
    does not need them; nor has it a test of convergence.
    """
    adam = optax.adam(lambda count: sampling.learning_rate * (1 + jnp.cos(jnp.pi * count / rule.max_steps)) / 2)

    def one(step: Array, state: Any) -> Any:
        batch = _draw(step, sampling, batch_size)
        slope = jax.grad(log_likelihood)(state[0], batch, shape) / -batch_size
        update, memory = adam.update(slope, state[1])
        return state[0] + update, memory

    def until_report(state: tuple[Climb, Any]) -> tuple[Climb, Any]:
        climb, memory = state
        last = jnp.minimum(climb.n_steps + sampling.steps_per_report, rule.max_steps)
        theta, memory = lax.fori_loop(climb.n_steps, last, one, (climb.theta, memory))
        moved = climb._replace(theta=theta, log_likelihood=log_likelihood(theta, data, shape), n_steps=last)
        passes = (last - climb.n_steps) * sampling.passes_per_step
        return _end(_report(climb, moved, passes, rule, shape), rule), memory

    begin = _begin(theta, log_likelihood(theta, data, shape), 0.0, path_length), adam.init(theta)
    return lax.while_loop(lambda state: state[0].status == _RUNNING, until_report, begin)[0]


def _end(climb: Climb, rule: Rule) -> Climb:
    over = (climb.status == _RUNNING) & (climb.n_steps >= rule.max_steps)
    return climb._replace(status=jnp.where(over, int(EMStatus.MAX_STEPS), climb.status))


def _draw(step: Array, sampling: Sampling, batch_size: int) -> Blocks:
    """Points drawn with probabilities proportional to their weights, so that the mean over them is unbiased."""
    key = jax.random.fold_in(jax.random.key(sampling.seed), step)
    levels = jax.random.uniform(key, (batch_size,)) * sampling.cumulative[-1]
    chosen = jnp.searchsorted(jnp.asarray(sampling.cumulative), levels, side="right")
    points = jnp.asarray(sampling.points)[chosen]
    return Blocks(points=points.T[None], weights=jnp.ones((1, batch_size)), first=0, stop=1)
