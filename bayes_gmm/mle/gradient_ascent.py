"""Gradient ascent of the likelihood by L-BFGS and by Adam, each one compiled loop around optax."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Float64, Int

from bayes_gmm.likelihood.complete_rows import CompleteRows
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.unconstrained import from_unconstrained
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.degeneracy import is_sound

_RUNNING = -1

_LINE_SEARCH_STEPS = 20
"""Bound on the trials of one line search; more than a few are needed only far from the maximum."""

_ROUNDING = 1e-14
"""Relative rise of the loss that a line search accepts; optax's default of 1e-6 would be many nats for many points."""

_direction = optax.chain(optax.scale_by_lbfgs(memory_size=10), optax.scale(-1.0))
_line_search = optax.scale_by_zoom_linesearch(
    max_linesearch_steps=_LINE_SEARCH_STEPS, approx_dec_rtol=_ROUNDING, initial_guess_strategy="one"
)


class Shape(NamedTuple):
    """Components, features and covariance structure for which an ascent is compiled."""

    n_components: int
    n_features: int
    structure: Structure


class AscentRule(NamedTuple):
    """When an ascent stops; `tol` is in nats, `smallest_scale` in unit coordinates."""

    tol: Array | float
    max_steps: Array | int
    smallest_scale: Array | float


class Ascent(NamedTuple):
    """State of an ascent, and its end.

    `remaining` is the gain that the last model of the log-likelihood promises, in nats; `path` and `passes` hold the
    log-likelihood and the passes over the data so far, at the start and at each of `n_reports` reports since.
    """

    theta: Float[Any, " P"]
    log_likelihood: Float[Any, ""]
    remaining: Float[Any, ""]
    status: Int[Any, ""]
    n_steps: Int[Any, ""]
    n_reports: Int[Any, ""]
    path: Float[Any, " reports"]
    passes: Float[Any, " reports"]


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


def log_likelihood(theta: Float[Array, " P"], data: Likelihood, shape: Shape) -> Float[Array, ""]:
    """Marginal log-likelihood at unconstrained coordinates."""
    return data.log_likelihood(data.natural(from_unconstrained(theta, *shape)))


def _begin(theta: Array, value: Array, passes: float, path_length: int) -> Ascent:
    return Ascent(
        theta=theta,
        log_likelihood=value,
        remaining=jnp.array(jnp.nan),
        status=jnp.array(_RUNNING),
        n_steps=jnp.array(0),
        n_reports=jnp.array(0),
        path=jnp.full(path_length, jnp.nan).at[0].set(value),
        passes=jnp.full(path_length, jnp.nan).at[0].set(passes),
    )


def _report(ascent: Ascent, moved: Ascent, passes: Array, rule: AscentRule, shape: Shape) -> Ascent:
    """Accept a move, or end before it where it leads to a degenerate component or a value that is not finite."""
    sound = is_sound(from_unconstrained(moved.theta, *shape), rule.smallest_scale)
    finite = jnp.isfinite(moved.log_likelihood)
    ends = [~sound, ~finite]
    status = jnp.select(ends, [int(EMStatus.COLLAPSED), int(EMStatus.NONFINITE)], _RUNNING)
    index = ascent.n_reports + 1
    accepted = moved._replace(
        status=status,
        n_reports=index,
        path=ascent.path.at[index].set(moved.log_likelihood),
        passes=ascent.passes.at[index].set(ascent.passes[ascent.n_reports] + passes),
    )
    refused = ascent._replace(status=status)
    return jax.tree.map(partial(jnp.where, status == _RUNNING), accepted, refused)


# L-BFGS


class _Problem(NamedTuple):
    """Loss (minus the mean log density), the weight of all points, and when to stop."""

    loss: Callable[[Array], Array]
    total: Array
    rule: AscentRule
    shape: Shape


class _Search(NamedTuple):
    """State of L-BFGS: the ascent, the past gradients, the last line search and the last gain."""

    ascent: Ascent
    memory: Any
    line: Any
    gain: Any


@partial(jax.jit, static_argnames=("shape", "path_length"))
def ascend_lbfgs(
    theta: Float[Array, " P"], data: Likelihood, rule: AscentRule, shape: Shape, path_length: int
) -> Ascent:
    """Ascent by L-BFGS with a line search for the strong Wolfe conditions, each trial of which is a pass.

    Ends when both the last gain and half the slope along the direction that is proposed next, which is the gain that
    the quadratic model promises, are below `tol` nats.
    """
    total = data.total_weight

    def loss(theta: Array) -> Array:
        return -log_likelihood(theta, data, shape) / total

    value, slope = jax.value_and_grad(loss)(theta)
    line = _line_search.init(theta)._replace(value=value, grad=slope)
    ascent = _begin(theta, -total * value, 1.0, path_length)
    begin = _Search(ascent, _direction.init(theta), line, jnp.array(jnp.inf))
    step = partial(_step, problem=_Problem(loss, total, rule, shape))
    return lax.while_loop(lambda search: search.ascent.status == _RUNNING, step, begin).ascent


def _step(search: _Search, problem: _Problem) -> _Search:
    """Propose a direction; then stop here, or search along it."""
    ascent, line = search.ascent, search.line
    direction, memory = _direction.update(line.grad, search.memory, ascent.theta)
    remaining = -problem.total * jnp.vdot(direction, line.grad) / 2
    status = _status(ascent, remaining, search.gain, problem.rule)
    here = search._replace(ascent=ascent._replace(remaining=remaining, status=status), memory=memory)
    return lax.cond(status == _RUNNING, lambda: _search_line(here, direction, problem), lambda: here)


def _search_line(search: _Search, direction: Array, problem: _Problem) -> _Search:
    """Go along the direction to the point that the line search accepts."""
    ascent, line = search.ascent, search.line
    update, line = _line_search.update(
        direction, line, ascent.theta, value=line.value, grad=line.grad, value_fn=problem.loss
    )
    value = -problem.total * line.value
    moved = ascent._replace(theta=ascent.theta + update, log_likelihood=value, n_steps=ascent.n_steps + 1)
    reported = _report(ascent, moved, line.info.num_linesearch_steps, problem.rule, problem.shape)
    return _Search(reported, search.memory, line, value - ascent.log_likelihood)


def _status(ascent: Ascent, remaining: Array, gain: Array, rule: AscentRule) -> Array:
    rounding = 4 * np.finfo(gain.dtype).eps * jnp.abs(ascent.log_likelihood)
    small = (jnp.abs(remaining) < rule.tol) & (jnp.abs(gain) < rule.tol)
    # Where the last gain is rounding, a promised gain of little more than rounding counts as none.
    lost = (jnp.abs(gain) <= rounding) & (jnp.abs(remaining) <= 1e3 * rounding)
    ends = {
        EMStatus.NONFINITE: ~(jnp.isfinite(ascent.log_likelihood) & jnp.isfinite(remaining)),
        EMStatus.CONVERGED: small | lost,
        EMStatus.MAX_STEPS: ascent.n_steps >= rule.max_steps,
    }
    return jnp.select([*ends.values()], [int(status) for status in ends], _RUNNING)


# Adam


@partial(jax.jit, static_argnames=("shape", "path_length", "batch_size"))
def ascend_adam(
    theta: Float64[Array, " P"],
    data: Likelihood,
    rule: AscentRule,
    sampling: Sampling,
    *,
    shape: Shape,
    path_length: int,
    batch_size: int,
) -> Ascent:
    """Ascent by Adam on minibatches; the learning rate falls to zero as a cosine over `max_steps`.

    All data are evaluated for the path once in `steps_per_report` steps. These passes are not counted, since the ascent
    does not need them. There is no test of convergence.
    """
    adam = optax.adam(lambda count: sampling.learning_rate * (1 + jnp.cos(jnp.pi * count / rule.max_steps)) / 2)

    def one(step: Array, state: Any) -> Any:
        batch = _draw(step, sampling, batch_size)
        slope = jax.grad(log_likelihood)(state[0], batch, shape) / -batch_size
        update, memory = adam.update(slope, state[1])
        return state[0] + update, memory

    def until_report(state: tuple[Ascent, Any]) -> tuple[Ascent, Any]:
        ascent, memory = state
        last = jnp.minimum(ascent.n_steps + sampling.steps_per_report, rule.max_steps)
        theta, memory = lax.fori_loop(ascent.n_steps, last, one, (ascent.theta, memory))
        moved = ascent._replace(theta=theta, log_likelihood=log_likelihood(theta, data, shape), n_steps=last)
        passes = (last - ascent.n_steps) * sampling.passes_per_step
        return _end(_report(ascent, moved, passes, rule, shape), rule), memory

    begin = _begin(theta, log_likelihood(theta, data, shape), 0.0, path_length), adam.init(theta)
    return lax.while_loop(lambda state: state[0].status == _RUNNING, until_report, begin)[0]


def _end(ascent: Ascent, rule: AscentRule) -> Ascent:
    over = (ascent.status == _RUNNING) & (ascent.n_steps >= rule.max_steps)
    return ascent._replace(status=jnp.where(over, int(EMStatus.MAX_STEPS), ascent.status))


def _draw(step: Array, sampling: Sampling, batch_size: int) -> CompleteRows:
    """Points drawn with probabilities proportional to their weights, so that the mean over them is unbiased."""
    key = jax.random.fold_in(jax.random.key(sampling.seed), step)
    levels = jax.random.uniform(key, (batch_size,)) * sampling.cumulative[-1]
    chosen = jnp.searchsorted(jnp.asarray(sampling.cumulative), levels, side="right")
    points = jnp.asarray(sampling.points)[chosen]
    return CompleteRows(points=points.T[None], weights=jnp.ones((1, batch_size)), first=0, stop=1)
