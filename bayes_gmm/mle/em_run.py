r"""The loop of EM: one run until nothing is left to gain, accelerated where it is slow.

EM is a map of expected statistics to expected statistics, s -> E(M(s)), whose fixed point is the maximum. Where
components overlap its steps shrink slowly; the last few are then combined into one extrapolated step
(`anderson_acceleration`). Statistics are the right coordinates for that: the M-step makes of any statistics a mixture
that has the structure, keeps the fixed parameters and respects the prior. An extrapolated step that lowers the
objective or leads to no mixture is taken back, and a plain step is made instead.

References
----------
Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bayes_gmm.core.linalg import choose, namespace, with_entry
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.linear_form import Expectation
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.anderson_acceleration import (
    MEMORY,
    adapt_radius,
    anderson_step,
    guarded,
    no_past,
    remember,
    restart_if,
)
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.objective import Objective

RUNNING = -1
"""Status of a run that has not ended."""

_PLAIN_STEPS = 20
"""Steps before the acceleration begins: early steps are long, and nothing about them is linear."""

_UNGUARDED_STEPS = 100
"""Until then an extrapolated step that goes too far is a cheap look elsewhere; some maxima are found only that way."""

_NEAR_END = 1e-3
"""Gain, in nats, below which a run may be about to end, and its score is looked at."""

_LARGEST_SHRINKAGE = 0.5
"""Factor by which an extrapolated step may make a component narrower than the plain one, where it may become flat."""


class StoppingRule(NamedTuple):
    """When a run stops, and whether it is accelerated.

    `tol` is in nats, `smallest_scale` a standard deviation in unit coordinates.
    """

    tol: Array | float
    max_steps: Array | int
    smallest_scale: Array | float
    accelerate: Array | bool


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class EMRun:
    """State of one run, and its end.

    Attributes
    ----------
    mixture, statistics
        The mixture to be evaluated next, and the statistics (K, F) that it was made of, those of noise last.
    extrapolated
        Whether it comes from an extrapolated step.
    fallback
        Expected statistics (K, F) at the last mixture that was accepted.
    value, gain, score
        At that mixture: the objective, what it gained, and what the M-step gains if labels are taken as observed, which
        is half the squared length of the score in units of the complete-data information; NaN far from the end.
    status, n_steps, path
        How the run ended, after how many steps, and the value before each.
    past
        Earlier steps, for the acceleration.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    mixture: Mixture
    statistics: Annotated[Any, "*batch K F"]
    extrapolated: Annotated[Any, "*batch"]
    fallback: Annotated[Any, "*batch K F"]
    value: Annotated[Any, "*batch"]
    gain: Annotated[Any, "*batch"]
    score: Annotated[Any, "*batch"]
    status: Annotated[Any, "*batch"]
    n_steps: Annotated[Any, "*batch"]
    path: Annotated[Any, "*batch steps"]
    past: Annotated[Any, "Past; None once all runs have ended"]


def run_to_the_end(start: Mixture, objective: Objective, rule: StoppingRule) -> EMRun:
    """One run to its end, without its path."""
    return advance(begin(start, objective, path_length=1), jnp.array(np.iinfo(int).max), objective, rule)


def begin(starts: Mixture, objective: Objective, path_length: int) -> EMRun:
    """Runs (...) before their first step, with room for `path_length` values of the objective."""
    shape = (*starts.log_weights.shape[:-1], *objective.known.shape)
    nothing, unknown = np.zeros(shape), np.full(shape[:-2], np.nan)
    return EMRun(
        mixture=starts,
        statistics=nothing,
        extrapolated=np.zeros(shape[:-2], bool),
        fallback=nothing.copy(),
        value=unknown,
        gain=unknown.copy(),
        score=unknown.copy(),
        status=np.full(shape[:-2], RUNNING),
        n_steps=np.zeros(shape[:-2], int),
        path=np.full((*shape[:-2], path_length), np.nan),
        past=no_past(shape),
    )


def advance(run: EMRun, limit: Array | int, objective: Objective, rule: StoppingRule) -> EMRun:
    """Step until the run ends, or to this number of steps."""
    return jax.lax.while_loop(
        lambda run: (run.status == RUNNING) & (run.n_steps < limit),
        lambda run: step(run, objective.expect(run.mixture), objective, rule),
        run,
    )


class _Found(NamedTuple):
    """What a step finds at the mixture under evaluation: the value, its gain, the score, and the plain M-step."""

    value: Any
    gain: Any
    score: Any
    remaining: Any
    plain: Mixture


def step(run: EMRun, expected: Expectation | None, objective: Objective, rule: StoppingRule) -> EMRun:
    """Accept the mixture, or take it back; then stop or move on. In JAX of one run, in NumPy of a batch of them.

    `expected` is what `Objective.expect` gave at the mixture, if that was asked already.
    """
    value, statistics = objective.evaluate(run.mixture, expected)
    xp = namespace(value)
    rejected = run.extrapolated & ~(value >= run.value - _rounding(run.value))
    statistics = choose(rejected, run.fallback, statistics)
    residual = statistics - run.statistics
    # Steps of hard assignment jump from one labelling to the next: there is nothing smooth to extrapolate.
    may_extrapolate = rule.accelerate & (objective.assignment is linear_form.soft)
    slow = may_extrapolate & (run.n_steps >= _PLAIN_STEPS)
    accelerating = slow & (run.past.size > 0) & ~rejected
    target, long_step = _extrapolation(run, residual, slow)
    plain = objective.maximise(statistics, near=run.mixture)
    proposal = _where_any(
        accelerating, lambda: objective.maximise(run.statistics + long_step, near=run.mixture), lambda: plain
    )
    near_end = abs(value - run.value) < xp.maximum(_NEAR_END, 10 * rule.tol)
    score = _scores(near_end, statistics, plain, run.mixture, objective)
    # At the very top the score is rounding, and so would be its rate.
    stretch = _stretch(run.score / score, residual, target, n_past=run.past.size, slow=slow)
    remaining = xp.where(score <= _rounding(value), 0.0, score * stretch)
    found = _Found(value=value, gain=value - run.value, score=score, remaining=remaining, plain=plain)
    status = xp.where(rejected, RUNNING, _status(run, found, objective, rule))
    sound = _is_sound(proposal, plain, objective, rule)
    extrapolate = accelerating & (run.n_steps + 1 < rule.max_steps) & sound
    move = status == RUNNING
    kept = may_extrapolate & (run.n_steps >= _PLAIN_STEPS - MEMORY)
    past = remember(run.past, run.statistics, residual, ~rejected & kept)
    adapted = adapt_radius(past, succeeded=run.extrapolated, failed=rejected | (accelerating & ~sound))
    return EMRun(
        mixture=choose(move, choose(accelerating & ~extrapolate, plain, proposal), run.mixture),
        statistics=choose(extrapolate, run.statistics + long_step, statistics),
        extrapolated=extrapolate,
        fallback=statistics,
        value=xp.where(rejected, run.value, value),
        gain=value - run.value,
        score=xp.where(rejected, run.score, score),
        status=status,
        n_steps=run.n_steps + move,
        path=with_entry(run.path, run.n_steps, xp.where(rejected, run.value, value)),
        past=choose(run.n_steps >= _UNGUARDED_STEPS, adapted, restart_if(rejected, past)),
    )


def _where_any(condition: Any, one: Callable[[], Mixture], other: Callable[[], Mixture]) -> Mixture:
    """Mixtures that `one` makes where the condition holds, else those of `other`; each is made only if needed."""
    if isinstance(condition, jax.Array):
        return jax.lax.cond(condition, one, other)
    return choose(condition, one(), other()) if condition.any() else other()


def _scores(wanted: Any, statistics: Any, plain: Mixture, mixture: Mixture, objective: Objective) -> Any:
    """What the M-step gains if labels are taken as observed, or NaN where that is not wanted."""
    if isinstance(wanted, np.ndarray) and not wanted.any():
        return np.full(wanted.shape, np.nan)
    return namespace(wanted).where(wanted, objective.gained(statistics, plain, mixture), np.nan)


def _extrapolation(run: EMRun, residual: Any, slow: Any) -> tuple[Any, Any]:
    """Anderson's step, and the part of it that is made: guarded once the run has become long."""
    if isinstance(slow, np.ndarray) and not slow.any():
        return residual, residual
    # A count of n has a standard deviation of sqrt(n).
    weights = 1 / namespace(residual).maximum(run.fallback[..., :1], 1.0)
    target = anderson_step(run.past, run.statistics, residual, weights)
    shortened = guarded(target, residual, weights, run.past.radius)
    return target, choose(run.n_steps >= _UNGUARDED_STEPS, shortened, target)


def _stretch(score_ratio: Any, residual: Any, long_step: Any, *, n_past: Any, slow: Any) -> Any:
    """All that is still to be gained, in gains of a plain step; where EM is slow, judged by the extrapolation too."""
    xp = namespace(residual)
    # Errors that fall by a rate per step make scores fall by its square.
    by_scores = 1 / (1 - xp.sqrt(1 / score_ratio))
    by_long_step = (residual * long_step).sum((-2, -1)) / (residual**2).sum((-2, -1))
    # The extrapolation sees but a few directions of many, so its estimate is multiplied for safety.
    known = xp.where(n_past > 1, xp.maximum(by_scores, 4 * by_long_step), np.inf)
    stretch = xp.where(slow, known, by_scores)
    return xp.where(stretch >= 1, stretch, np.inf)


def _status(run: EMRun, found: _Found, objective: Objective, rule: StoppingRule) -> Any:
    """How the run has ended at this mixture, or `RUNNING`."""
    value, xp = found.value, namespace(found.value)
    # Both conditions: beside a saddle a large gain and then a small one promise nothing more, yet much is to come.
    converged = (abs(found.gain) < rule.tol) & (found.remaining < rule.tol)
    stalled = (abs(found.gain) <= _rounding(value)) & (found.score <= 1e3 * _rounding(value))
    # A start on single points has no Cholesky factor: that is a collapse, not a failure of the arithmetic.
    sound = xp.isfinite(run.mixture.scale_tril).all((-3, -2, -1))
    too_narrow = ~(_smallest_scale(found.plain, objective) > rule.smallest_scale)
    endings = (
        (run.n_steps >= rule.max_steps, EMStatus.MAX_STEPS),
        (converged | stalled, EMStatus.CONVERGED),
        (too_narrow | ~xp.isfinite(found.plain.means).all((-2, -1)), EMStatus.COLLAPSED),
        (sound & ~xp.isfinite(value), EMStatus.NONFINITE),
    )
    status = RUNNING
    for condition, ending in endings:  # the last one that holds counts
        status = xp.where(condition, int(ending), status)
    return status


def _is_sound(proposal: Mixture, plain: Mixture, objective: Objective, rule: StoppingRule) -> Any:
    """Whether an extrapolated step may be made; it must not jump to where EM could not come back from.

    Where covariances may be zero, those of zero are fixed points of EM, whether or not the likelihood is highest there.
    """
    sound = _smallest_scale(proposal, objective) > rule.smallest_scale
    if not objective.least_scale:
        return sound
    far = objective.narrowest_scales(proposal) < _LARGEST_SHRINKAGE * objective.narrowest_scales(plain)
    return sound & ~(far & objective.is_free()).any(-1)


def _rounding(value: Any) -> Any:
    """Change of the objective that rounding alone can make."""
    return 4 * np.finfo(value.dtype).eps * abs(value)


def _smallest_scale(mixture: Mixture, objective: Objective) -> Any:
    scales = objective.narrowest_scales(mixture)
    return (scales if objective.all_are_free else namespace(scales).where(objective.is_free(), scales, np.inf)).min(-1)
