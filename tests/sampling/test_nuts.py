"""NUTS leaves known distributions as they are, finds them from elsewhere, and does not depend on how it is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernels import DISTRIBUTIONS, NORMAL, moved, p_after, smallest_p, state_at

from bayes_gmm.sampling import nuts
from bayes_gmm.sampling.nuts import Nuts
from bayes_gmm.sampling.step_size import Tuning

ERR = 1e-4
"""A right sampler fails one of these comparisons once in ten thousand times."""

STEPS = {"normal": 0.7, "funnel": 0.35, "banana": 0.4}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_stay_draws(name: str) -> None:
    assert p_after(Nuts(6), DISTRIBUTIONS[name], STEPS[name]) > ERR


def test_chains_from_one_place_reach_the_distribution() -> None:
    start = np.broadcast_to([4.0, -3.0, 2.0], (400, 3))
    tuned, seen = moved(Nuts(6), NORMAL, start, 0.05, length=60, tuning=(50, 0.8))
    assert smallest_p(NORMAL, tuned) > ERR
    assert 0.7 < seen["acceptance_rate"][:, 50:].mean() < 0.95
    assert (seen["step_size"][:, -1] > 5 * 0.05).all()


@pytest.mark.parametrize(("wrong", "name"), [("always the later half", "banana"), ("no U-turn within", "funnel")])
def test_a_wrong_sampler_would_be_noticed(wrong: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong == "always the later half":
        joined = nuts._joined
        monkeypatch.setattr(nuts, "_joined", lambda *arguments: joined(*arguments[:3], jnp.array(1e-300)))
    else:
        monkeypatch.setattr(nuts, "_turns", lambda subtree, leaf: jnp.array(False))
    assert p_after(Nuts(6), DISTRIBUTIONS[name], STEPS[name]) < ERR


def slope_at(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(DISTRIBUTIONS["banana"].potential)(offset)


@jax.jit
def advanced(state: object, length: int, warmup: int = 6) -> tuple:
    return Nuts().advance(slope_at, state, length, Tuning(warmup, 0.8), 20)


def test_a_chain_does_not_depend_on_how_it_is_cut() -> None:
    with jax.enable_x64(True):
        whole, seen = advanced(state_at(np.array([0.5, 1.0]), np.uint64(7), 0.4), 20)
        first, one = advanced(state_at(np.array([0.5, 1.0]), np.uint64(7), 0.4), 7)
        second, other = advanced(first, 13)
        another, _ = advanced(state_at(np.array([0.5, 1.0]), np.uint64(8), 0.4), 20)
    for left, right in zip(jax.tree.leaves(whole), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(left, right)
    for name, values in seen.items():
        np.testing.assert_array_equal(values, np.concatenate([one[name][:7], other[name][:13]]))
    assert not np.array_equal(another.point.offset, whole.point.offset)


def test_what_is_observed_is_what_it_is_called() -> None:
    with jax.enable_x64(True):
        state, seen = jax.device_get(advanced(state_at(np.array([0.5, 1.0]), np.uint64(7), 0.4), 20, 0))
        potentials, slope = jax.vmap(slope_at)(seen["offset"])
    np.testing.assert_allclose(seen["lp"], -potentials, rtol=1e-12)
    np.testing.assert_allclose(state.point.slope, slope[-1], rtol=1e-12)
    assert (seen["energy"] >= -seen["lp"]).all()
    assert (seen["step_size"] == 0.4).all()


def test_trajectories_stop_at_the_largest_depth() -> None:
    _, seen = moved(Nuts(3), NORMAL, np.zeros((5, 3)), 1e-3)
    assert (seen["n_steps"] == 7).all()


def test_trajectories_of_a_normal_distribution_do_not_miss_their_turn() -> None:
    """In many dimensions all coordinates turn together after half a period, pi, and come near again after a whole."""
    isotropic = NORMAL._replace(potential=lambda q: 0.5 * q @ q)
    start = np.random.default_rng(1).standard_normal((20, 150))
    for step in (0.2, 0.3, 0.42):
        _, seen = moved(Nuts(), isotropic, start, step, length=3)
        assert (seen["n_steps"] * step < 2 * np.pi + step).all()


def test_a_leaf_without_a_density_diverges_and_is_not_taken() -> None:
    half = NORMAL._replace(potential=lambda q: jnp.where(q[0] > 0, 0.5 * q @ q, jnp.nan))
    offsets, seen = moved(Nuts(), half, np.full((200, 2), 0.3), 0.5)
    assert (offsets[:, 0] > 0).all()
    assert seen["diverging"].any()


def test_without_a_transition_the_potential_is_found() -> None:
    def undefined(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
        return offset.sum() * jnp.nan, offset

    with jax.enable_x64(True):
        here = np.array([0.5, 1.0])
        state, potential, slope = jax.device_get((advanced(state_at(here, np.uint64(7), 0.4), 0)[0], *slope_at(here)))
        nowhere, _ = jax.device_get(Nuts().advance(undefined, state_at(here, np.uint64(7), 0.4), 0, Tuning(0, 0.8), 1))
    np.testing.assert_allclose(state.point.potential, potential, rtol=1e-15)
    np.testing.assert_allclose(state.point.slope, slope, rtol=1e-15)
    assert state.number == 0
    assert np.isinf(nowhere.point.potential)
