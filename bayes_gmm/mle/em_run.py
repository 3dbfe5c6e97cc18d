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

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.linear_form import Expectation
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.anderson_acceleration import adapt_radius, anderson_step, guarded, no_past, remember, restart_if
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.degeneracy import narrowest_scales
from bayes_gmm.objective.objective import Objective

RUNNING = -1
"""Status of a run that has not ended."""

_PLAIN_STEPS = 20
"""Steps before the acceleration begins: early steps are long, and nothing about them is linear."""

_UNGUARDED_STEPS = 100
"""Until then an extrapolated step that goes too far is a cheap look elsewhere; some maxima are found only that way."""

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
        is half the squared length of the score in units of the complete-data information.
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

    value: Float[Array, ""]
    gain: Float[Array, ""]
    score: Float[Array, ""]
    remaining: Float[Array, ""]
    plain: Mixture


def step(run: EMRun, expected: Expectation, objective: Objective, rule: StoppingRule) -> EMRun:
    """Accept the mixture, at which `Objective.expect` gave `expected`, or take it back; then stop or move on."""
    value, statistics = objective.evaluate(run.mixture, expected)
    rejected = run.extrapolated & ~(value >= run.value - _rounding(run.value))
    statistics = jnp.where(rejected, run.fallback, statistics)
    residual = statistics - run.statistics
    # Steps of hard assignment jump from one labelling to the next: there is nothing smooth to extrapolate.
    slow = rule.accelerate & (objective.assignment is linear_form.soft) & (run.n_steps >= _PLAIN_STEPS)
    accelerating = slow & (run.past.size > 0) & ~rejected
    target, long_step = _extrapolation(run, residual)
    plain = objective.maximise(statistics, near=run.mixture)
    proposal = jax.lax.cond(
        accelerating, lambda: objective.maximise(run.statistics + long_step, near=run.mixture), lambda: plain
    )
    score = objective.complete(statistics, plain) - objective.complete(statistics, run.mixture)
    # At the very top the score is rounding, and so would be its rate.
    stretch = _stretch(run.score / score, residual, target, n_past=run.past.size, slow=slow)
    remaining = jnp.where(score <= _rounding(value), 0.0, score * stretch)
    found = _Found(value=value, gain=value - run.value, score=score, remaining=remaining, plain=plain)
    ended = _status(run, found, objective, rule)
    status = jnp.where(rejected, RUNNING, ended)
    sound = _is_sound(proposal, plain, objective, rule)
    extrapolate = accelerating & (run.n_steps + 1 < rule.max_steps) & sound
    move = status == RUNNING
    past = remember(run.past, run.statistics, residual, ~rejected & (run.n_steps > 0))
    adapted = adapt_radius(past, succeeded=run.extrapolated, failed=rejected | (accelerating & ~sound))
    return EMRun(
        mixture=_choose(move, _choose(extrapolate, proposal, plain), run.mixture),
        statistics=jnp.where(extrapolate, run.statistics + long_step, statistics),
        extrapolated=extrapolate,
        fallback=statistics,
        value=jnp.where(rejected, run.value, value),
        gain=value - run.value,
        score=jnp.where(rejected, run.score, score),
        status=status,
        n_steps=run.n_steps + move,
        path=run.path.at[run.n_steps].set(jnp.where(rejected, run.value, value)),
        past=_choose(run.n_steps >= _UNGUARDED_STEPS, adapted, restart_if(rejected, past)),
    )


def _extrapolation(run: EMRun, residual: Float[Array, "K F"]) -> tuple[Float[Array, "K F"], Float[Array, "K F"]]:
    """Anderson's step, and the part of it that is made: guarded once the run has become long."""
    # A count of n has a standard deviation of sqrt(n).
    weights = 1 / jnp.maximum(run.fallback[:, :1], 1.0)
    target = anderson_step(run.past, run.statistics, residual, weights)
    shortened = guarded(target, residual, weights, run.past.radius)
    return target, jnp.where(run.n_steps >= _UNGUARDED_STEPS, shortened, target)


def _choose[T](first: Bool[Array, ""], one: T, other: T) -> T:
    return jax.tree.map(partial(jnp.where, first), one, other)


def _stretch(
    score_ratio: Float[Array, ""],
    residual: Float[Array, "K F"],
    long_step: Float[Array, "K F"],
    *,
    n_past: Int[Array, ""],
    slow: Bool[Array, ""],
) -> Float[Array, ""]:
    """All that is still to be gained, in gains of a plain step; where EM is slow, judged by the extrapolation too."""
    # Errors that fall by a rate per step make scores fall by its square.
    by_scores = 1 / (1 - jnp.sqrt(1 / score_ratio))
    by_long_step = jnp.vdot(residual, long_step) / jnp.vdot(residual, residual)
    # The extrapolation sees but a few directions of many, so its estimate is multiplied for safety.
    known = jnp.where(n_past > 1, jnp.maximum(by_scores, 4 * by_long_step), jnp.inf)
    stretch = jnp.where(slow, known, by_scores)
    return jnp.where(stretch >= 1, stretch, jnp.inf)


def _status(run: EMRun, found: _Found, objective: Objective, rule: StoppingRule) -> Int[Array, ""]:
    """How the run has ended at this mixture, or `RUNNING`."""
    value = found.value
    # Both conditions: beside a saddle a large gain and then a small one promise nothing more, yet much is to come.
    converged = (jnp.abs(found.gain) < rule.tol) & (found.remaining < rule.tol)
    stalled = (jnp.abs(found.gain) <= _rounding(value)) & (found.score <= 1e3 * _rounding(value))
    # A start on single points has no Cholesky factor: that is a collapse, not a failure of the arithmetic.
    sound = jnp.isfinite(run.mixture.scale_tril).all()
    too_narrow = ~(_smallest_scale(found.plain, objective) > rule.smallest_scale)
    return jnp.select(
        [
            sound & ~jnp.isfinite(value),
            too_narrow | ~jnp.isfinite(found.plain.means).all(),
            converged | stalled,
            run.n_steps >= rule.max_steps,
        ],
        [EMStatus.NONFINITE, EMStatus.COLLAPSED, EMStatus.CONVERGED, EMStatus.MAX_STEPS],
        RUNNING,
    )


def _is_sound(proposal: Mixture, plain: Mixture, objective: Objective, rule: StoppingRule) -> Bool[Array, ""]:
    """Whether an extrapolated step may be made; it must not jump to where EM could not come back from.

    Where covariances may be zero, those of zero are fixed points of EM, whether or not the likelihood is highest there.
    """
    sound = _smallest_scale(proposal, objective) > rule.smallest_scale
    if not objective.least_scale:
        return sound
    far = narrowest_scales(proposal) < _LARGEST_SHRINKAGE * narrowest_scales(plain)
    return sound & ~(far & objective.is_free()).any()


def _rounding(value: Float[Array, ""]) -> Float[Array, ""]:
    """Change of the objective that rounding alone can make."""
    return 4 * np.finfo(value.dtype).eps * jnp.abs(value)


def _smallest_scale(mixture: Mixture, objective: Objective) -> Float[Array, ""]:
    return jnp.where(objective.is_free(), narrowest_scales(mixture), jnp.inf).min()
