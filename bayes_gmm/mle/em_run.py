r"""The loop of EM: one run until nothing is left to gain, accelerated where it crawls.

EM is a map of expected statistics to expected statistics, s -> E(M(s)), whose fixed point is the maximum. Where
components overlap its steps shrink slowly; the last few are then combined into one long step (`extrapolation`).
Statistics are the place to do that: whatever they are, the M-step makes of them a mixture that has the structure, holds
what is held and knows the prior. A long step that loses, or leads to no mixture, is taken back and a plain one made.

References
----------
Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.blocks import n_statistics
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.anderson_acceleration import adapt_reach, anderson_step, forget_if, no_past, remember, within_reach
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.degeneracy import narrowest_scales
from bayes_gmm.objective.objective import Objective

RUNNING = -1
_PLAIN_STEPS = 20
_CARELESS_STEPS = 100
"""Until then a long step that goes too far is a cheap look elsewhere, and finds maxima that careful ones do not."""


class Rule(NamedTuple):
    """When a run stops; `smallest_scale` is in unit coordinates."""

    tol: Array | float
    max_steps: Array | int
    smallest_scale: Array | float
    accelerate: Array | bool


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """State of one run, and what is left of it at the end.

    Attributes
    ----------
    mixture, statistics
        The mixture to be evaluated next, and the statistics (K, F) that it was made of.
    bold
        Whether it comes from a long step.
    fallback
        Expected statistics (K, F) at the last mixture accepted.
    value, gain, score
        There: the objective, what it gained, and what the M-step gains if labels are taken as observed, which is half
        the squared length of the score in units of the complete-data information.
    status, n_steps, path
        How the run ended, after how many steps, and the value before each.
    past
        Earlier steps, and how far a long step may go.
    """

    mixture: Mixture
    statistics: Any
    bold: Any
    fallback: Any
    value: Any
    gain: Any
    score: Any
    status: Any
    n_steps: Any
    path: Any
    past: Any


def follow(start: Mixture, objective: Objective, rule: Rule) -> Run:
    """One run to its end; of the path nothing is kept."""
    return go_on(begin(start, path_length=1), jnp.array(np.iinfo(int).max), objective, rule)


def begin(starts: Mixture, path_length: int) -> Run:
    """Runs (...) before their first step, of which so many values will be kept."""
    shape = (*starts.log_weights.shape, n_statistics(starts.n_features))
    nothing, unknown = np.zeros(shape), np.full(shape[:-2], np.nan)
    return Run(
        mixture=starts,
        statistics=nothing,
        bold=np.zeros(shape[:-2], bool),
        fallback=nothing.copy(),
        value=unknown,
        gain=unknown.copy(),
        score=unknown.copy(),
        status=np.full(shape[:-2], RUNNING),
        n_steps=np.zeros(shape[:-2], int),
        path=np.full((*shape[:-2], path_length), np.nan),
        past=no_past(shape),
    )


def go_on(run: Run, limit: Array | int, objective: Objective, rule: Rule) -> Run:
    """Step until the run ends, or to this number of steps."""
    return jax.lax.while_loop(
        lambda run: (run.status == RUNNING) & (run.n_steps < limit),
        lambda run: step(run, objective.expect(run.mixture), objective, rule),
        run,
    )


def step(run: Run, expected: tuple[Array, Array], objective: Objective, rule: Rule) -> Run:
    """Accept the mixture, of which `Objective.expect` has told, or take it back; stop there, or move to the next."""
    value, statistics = objective.evaluate(run.mixture, expected)
    rejected = run.bold & ~(value >= run.value - _rounding(run.value))
    statistics = jnp.where(rejected, run.fallback, statistics)
    residual = statistics - run.statistics
    # Steps of hard assignment jump from one labelling to the next: there is nothing smooth to extrapolate.
    slow = rule.accelerate & (objective.assignment is linear_form.soft) & (run.n_steps >= _PLAIN_STEPS)
    accelerating = slow & (run.past.size > 0) & ~rejected
    target, long_step = _long_step(run, residual)
    plain = objective.maximise(statistics, near=run.mixture)
    bold = jax.lax.cond(
        accelerating, lambda: objective.maximise(run.statistics + long_step, near=run.mixture), lambda: plain
    )
    score = objective.complete(statistics, plain) - objective.complete(statistics, run.mixture)
    # At the very top the score is rounding, and so would be its rate.
    stretch = _stretch(run.score / score, residual, target, run.past.size, slow)
    remaining = jnp.where(score <= _rounding(value), 0.0, score * stretch)
    ended = _status(run, value, value - run.value, score, remaining, plain, objective, rule)
    status = jnp.where(rejected, RUNNING, ended)
    sound = _smallest_scale(bold, objective) > rule.smallest_scale
    go_bold = accelerating & (run.n_steps + 1 < rule.max_steps) & sound
    move = status == RUNNING
    past = remember(run.past, run.statistics, residual, ~rejected & (run.n_steps > 0))
    careful = adapt_reach(past, succeeded=run.bold, failed=rejected | (accelerating & ~sound))
    return Run(
        mixture=_choose(move, _choose(go_bold, bold, plain), run.mixture),
        statistics=jnp.where(go_bold, run.statistics + long_step, statistics),
        bold=go_bold,
        fallback=statistics,
        value=jnp.where(rejected, run.value, value),
        gain=value - run.value,
        score=jnp.where(rejected, run.score, score),
        status=status,
        n_steps=run.n_steps + move,
        path=run.path.at[run.n_steps].set(jnp.where(rejected, run.value, value)),
        past=_choose(run.n_steps >= _CARELESS_STEPS, careful, forget_if(rejected, past)),
    )


def _long_step(run: Run, residual: Float[Array, "K F"]) -> tuple[Array, Array]:
    """Where past steps point to, and how far in that direction to go."""
    # A count of n has a standard deviation of sqrt(n).
    weights = 1 / jnp.maximum(run.fallback[:, :1], 1.0)
    target = anderson_step(run.past, run.statistics, residual, weights)
    careful = within_reach(target, residual, weights, run.past.reach)
    return target, jnp.where(run.n_steps >= _CARELESS_STEPS, careful, target)


def _choose[T](first: Array, one: T, other: T) -> T:
    return jax.tree.map(partial(jnp.where, first), one, other)


def _stretch(score_ratio: Array, residual: Array, long_step: Array, n_past: Array, slow: Array) -> Array:
    """How many times a plain step's gain is still to come; where EM is slow, by the long step too."""
    # Errors that fall by a rate per step make scores fall by its square.
    by_scores = 1 / (1 - jnp.sqrt(1 / score_ratio))
    by_long_step = jnp.vdot(residual, long_step) / jnp.vdot(residual, residual)
    # The long step sees but a few directions of many.
    known = jnp.where(n_past > 1, jnp.maximum(by_scores, 4 * by_long_step), jnp.inf)
    stretch = jnp.where(slow, known, by_scores)
    return jnp.where(stretch >= 1, stretch, jnp.inf)


def _status(
    run: Run,
    value: Array,
    gain: Array,
    score: Array,
    remaining: Array,
    plain: Mixture,
    objective: Objective,
    rule: Rule,
) -> Array:
    # Both: beside a saddle a large first gain and a small second one promise nothing more, and much is to come.
    converged = (jnp.abs(gain) < rule.tol) & (remaining < rule.tol)
    stalled = (jnp.abs(gain) <= _rounding(value)) & (score <= 1e3 * _rounding(value))
    # A start on single points has no Cholesky factor: that is a collapse, not a failure of the arithmetic.
    sound = jnp.isfinite(run.mixture.scale_tril).all()
    return jnp.select(
        [
            sound & ~jnp.isfinite(value),
            ~(_smallest_scale(plain, objective) > rule.smallest_scale) | ~jnp.isfinite(plain.means).all(),
            converged | stalled,
            run.n_steps >= rule.max_steps,
        ],
        [EMStatus.NONFINITE, EMStatus.COLLAPSED, EMStatus.CONVERGED, EMStatus.MAX_STEPS],
        RUNNING,
    )


def _rounding(value: Array) -> Array:
    return 4 * np.finfo(value.dtype).eps * jnp.abs(value)


def _smallest_scale(mixture: Mixture, objective: Objective) -> Array:
    return jnp.where(objective.is_free(), narrowest_scales(mixture), jnp.inf).min()
