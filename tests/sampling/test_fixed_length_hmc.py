"""HMC of fixed length leaves known distributions as they are, and its integrator is the one of two stages."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernels import DISTRIBUTIONS, NORMAL, moved, p_after, smallest_p, state_at

from bayes_gmm.sampling import fixed_length_hmc
from bayes_gmm.sampling.fixed_length_hmc import FixedLengthHMC
from bayes_gmm.sampling.kernel import ChainState, Point
from bayes_gmm.sampling.step_size import Tuning

ERR = 1e-4
"""A right sampler fails one of these comparisons once in ten thousand times."""

STEPS = {"normal": 0.7, "funnel": 0.5, "banana": 0.5}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_stay_draws(name: str) -> None:
    assert p_after(FixedLengthHMC(), DISTRIBUTIONS[name], STEPS[name]) > ERR


def test_chains_from_one_place_reach_the_distribution() -> None:
    start = np.broadcast_to([4.0, -3.0, 2.0], (400, 3))
    tuned, seen = moved(FixedLengthHMC(), NORMAL, start, 0.05, length=60, tuning=(50, 0.8))
    assert smallest_p(NORMAL, tuned) > ERR
    assert seen["acceptance_rate"][:, 50:].mean() > 0.7
    assert (seen["step_size"][:, -1] > 3 * 0.05).all()


@pytest.mark.parametrize("wrong", ["all accepted", "lengths that follow the state"])
def test_a_wrong_sampler_would_be_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted, fresh = fixed_length_hmc._accepted, FixedLengthHMC._fresh

    def all_accepted(before: Point, trajectory: Any) -> Any:
        return accepted(before, trajectory._replace(chance=0.0 * trajectory.chance))

    def following(kernel: FixedLengthHMC, state: ChainState, momentum: Any) -> Any:
        trajectory = fresh(kernel, state, momentum)
        return trajectory._replace(size=trajectory.size * jnp.exp(-1.0 * jnp.abs(state.point.offset[0])))

    if wrong == "all accepted":
        monkeypatch.setattr(fixed_length_hmc, "_accepted", all_accepted)
    else:
        monkeypatch.setattr(FixedLengthHMC, "_fresh", following)
    assert p_after(FixedLengthHMC(), DISTRIBUTIONS["banana"], 0.7) < ERR


def test_a_trajectory_is_that_of_the_two_stage_integrator() -> None:
    """By hand, with the kicks of neighbouring steps apart; the momentum is read from the first half step."""
    potential, b = DISTRIBUTIONS["banana"].potential, 0.21178
    offset = np.array([0.5, 1.0])
    with jax.enable_x64(True):
        slope = jax.grad(potential)
        kernel, state = FixedLengthHMC(), state_at(offset, np.uint64(2), 0.3)
        state = state._replace(point=state.point._replace(potential=potential(offset), slope=slope(offset)))
        momentum = np.array([0.3, -0.6])
        trajectory = kernel._fresh(state, jnp.asarray(momentum))
        size, n_steps = float(trajectory.size), int(trajectory.stages) // 2
        while not trajectory.finished:
            trajectory = fixed_length_hmc._moved(trajectory, jax.value_and_grad(potential))
        q, p = offset.copy(), momentum.copy()
        for _ in range(n_steps):
            p -= b * size * slope(q)
            q += size / 2 * p
            p -= (1 - 2 * b) * size * slope(q)
            q += size / 2 * p
            p -= b * size * slope(q)
    np.testing.assert_allclose(trajectory.point.offset, q, rtol=1e-12)
    np.testing.assert_allclose(trajectory.momentum, p, rtol=1e-12)
    assert abs(n_steps * size - np.pi / 2) < np.pi / 8
    assert size <= 0.3


def test_a_chain_does_not_depend_on_how_it_is_cut() -> None:
    @jax.jit
    def advanced(state: object, length: int) -> tuple:
        slope_at = jax.value_and_grad(DISTRIBUTIONS["banana"].potential)
        return FixedLengthHMC().advance(slope_at, state, length, Tuning(6, 0.8), 20)

    with jax.enable_x64(True):
        whole, seen = advanced(state_at(np.array([0.5, 1.0]), np.uint64(7), 0.4), 20)
        first, one = advanced(state_at(np.array([0.5, 1.0]), np.uint64(7), 0.4), 7)
        second, other = advanced(first, 13)
        potentials = jax.vmap(DISTRIBUTIONS["banana"].potential)(seen["offset"])
    for left, right in zip(jax.tree.leaves(whole), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(left, right)
    for name, values in seen.items():
        np.testing.assert_array_equal(values, np.concatenate([one[name][:7], other[name][:13]]))
    np.testing.assert_allclose(seen["lp"], -potentials, rtol=1e-12)
    assert (seen["energy"] >= -seen["lp"]).all()


def test_worst_draws_of_a_normal_distribution_cost_few_gradients() -> None:
    """Of a whitened normal distribution in 11 dimensions the logarithmic density of four draws in five is new."""
    isotropic = NORMAL._replace(potential=lambda q: 0.5 * q @ q)
    start = np.random.default_rng(1).standard_normal((500, 11))
    _, seen = moved(FixedLengthHMC(), isotropic, start, 1.0, length=2)
    first, second = seen["lp"].T
    assert (seen["n_steps"] == 4).all()
    assert np.corrcoef(first, second)[0, 1] < 0.08 + 3 / np.sqrt(500)
