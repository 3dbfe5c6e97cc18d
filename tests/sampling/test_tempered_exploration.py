"""Pilot and independence chains against a grid, Gaussians in closed form, and data with two modes."""

from functools import partial
from typing import Any

import arviz_stats as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.target import Target
from bayes_gmm.sampling import independence_chains
from bayes_gmm.sampling.hamiltonian import Chances, Place, chances_of_moves, move, place_at
from bayes_gmm.sampling.independence_chains import Prepared, prepare, sample
from bayes_gmm.sampling.label_symmetry import Places, Symmetry, View, constrain_symmetric
from bayes_gmm.sampling.tempered_pilot import Pilot, explore

pytestmark = pytest.mark.numpyro

# Two means are free, of two Gaussians of unit sd and equal weights: the posterior is known on a grid of both.
X = np.concatenate([np.random.default_rng(0).normal(-0.9, 1.0, 25), np.random.default_rng(1).normal(0.9, 1.0, 25)])
TWO_MEANS = bg.Prior(weights=[0.5, 0.5], means=dist.Normal(0.0, 3.0), scales=1.0)
AXIS = np.linspace(-5.0, 5.0, 401)

# The component in the second place is known less well, and takes longer steps.
APART = View(Places(np.array([[-0.8], [0.8]]), np.array([[0.5], [1.0]])), np.diag([0.3, 0.7]))


@pytest.fixture(scope="module")
def target() -> tuple[Target, Symmetry]:
    problem = PosteriorProblem.of(X[:, None], 2, covariance_type="full", prior=TWO_MEANS)
    with jax.enable_x64(True):
        return problem.target(), Symmetry.of(problem.sites)


@pytest.fixture(scope="module")
def grid() -> np.ndarray:
    """Log of prior times likelihood over both means."""
    densities = scipy.stats.norm.pdf(X[:, None], AXIS[None])
    mixed = 0.5 * densities[:, :, None] + 0.5 * densities[:, None]
    log_prior = scipy.stats.norm.logpdf(AXIS, 0.0, 3.0)
    return np.log(mixed).sum(0) + log_prior[:, None] + log_prior[None]


@pytest.fixture(scope="module")
def pilot(target: tuple[Target, Symmetry]) -> Pilot:
    with jax.enable_x64(True):
        *_, last = explore(*target, n_particles=512, seed=0)
    assert last.power == 1.0
    assert last.pilot is not None
    return last.pilot


@pytest.fixture(scope="module")
def prepared(target: tuple[Target, Symmetry], pilot: Pilot) -> Prepared:
    with jax.enable_x64(True):
        *_, chains = prepare(*target, pilot, num_chains=4, seed=0)
    assert isinstance(chains, Prepared)
    return chains


def differences(coordinates: np.ndarray) -> np.ndarray:
    """Distance of the two means, (chain, draw): it does not depend on their order, and has two modes or one."""
    return np.abs(coordinates[..., 0] - coordinates[..., 1])


def of_grid(grid: np.ndarray, below: float) -> float:
    mass = scipy.special.softmax(grid)
    return float(mass[np.abs(AXIS[:, None] - AXIS[None]) < below].sum())


def iterations(prepared: Prepared, symmetry: Symmetry, n_chunks: int) -> dict[str, np.ndarray]:
    with jax.enable_x64(True):
        parts = [part for part, _ in zip(sample(prepared, symmetry, seed=3), range(n_chunks), strict=False)]
    return {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}


def test_densities_of_a_place_are_those_of_the_grid(target: tuple[Target, Symmetry], grid: np.ndarray) -> None:
    with jax.enable_x64(True):
        place = place_at(jnp.asarray([AXIS[100], AXIS[290]]), target[0])
    assert float(place.log_posterior) == pytest.approx(grid[100, 290], rel=1e-10)


def test_the_pilot_finds_the_evidence(pilot: Pilot, grid: np.ndarray) -> None:
    step = AXIS[1] - AXIS[0]
    expected = scipy.special.logsumexp(grid) + 2 * np.log(step)
    # Twelve steps of 512 particles whose weights are worth six tenths: each adds (1 / .6 - 1) / 512 to the variance.
    assert abs(pilot.log_evidence - expected) < 4 * np.sqrt(12 * (1 / 0.6 - 1) / 512)


def test_chains_have_the_distribution_of_the_grid(
    target: tuple[Target, Symmetry], prepared: Prepared, grid: np.ndarray
) -> None:
    seen = iterations(prepared, target[1], 20)
    apart = differences(seen["coordinates"])
    for below in (0.5, 1.0, 1.7, 2.2):
        inside = apart < below
        expected = of_grid(grid, below)
        ess = az.base.array_stats.ess(inside[None].astype(float), method="mean")[0]
        assert abs(inside.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / ess)
    assert seen["accepted"].mean() > 0.25


@pytest.mark.slow
def test_a_wrong_ratio_would_be_noticed(
    target: tuple[Target, Symmetry], prepared: Prepared, grid: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the density of the proposal, its draws are taken for draws of the posterior more often than they are."""
    ratio: Any = lambda place, proposal, symmetry: place.log_posterior  # noqa: E731
    monkeypatch.setattr(proposals, "log_ratio", ratio)
    monkeypatch.setattr(independence_chains, "log_ratio", ratio)
    jax.clear_caches()
    try:
        apart = differences(iterations(prepared, target[1], 10)["coordinates"])
    finally:
        monkeypatch.undo()
        jax.clear_caches()
    assert max(abs((apart < below).mean() - of_grid(grid, below)) for below in (0.5, 1.0, 1.7, 2.2)) > 0.05


def test_the_same_seed_gives_the_same_iterations(target: tuple[Target, Symmetry], prepared: Prepared) -> None:
    one, other = (iterations(prepared, target[1], 2)["coordinates"] for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_draws_stay_folded(target: tuple[Target, Symmetry], prepared: Prepared) -> None:
    coordinates = iterations(prepared, target[1], 2)["coordinates"]
    again = target[1].fold(coordinates, prepared.kernel.proposal.direction)
    np.testing.assert_allclose(again, coordinates, atol=1e-12)


def test_the_energy_is_kept_better_by_shorter_steps(target: tuple[Target, Symmetry]) -> None:
    def acceptance(step: float) -> float:
        with jax.enable_x64(True):
            place = place_at(jnp.asarray([-1.0, 1.0]), target[0])
            chances = chances_of_moves(np.random.default_rng(1), (200,), 2)
            view = APART._replace(factor=0.3 * np.eye(2))
            one: Any = partial(move, view=view, step=jnp.asarray(step), power=1.0, leapfrogs=5)
            moved = jax.vmap(lambda own: one(place, own, target=target[0], symmetry=target[1]))(chances)
            return float(moved.acceptance.mean())

    assert acceptance(0.05) > 0.995
    assert acceptance(0.05) > acceptance(1.0) > acceptance(4.0)


def test_moves_leave_a_tempered_distribution_as_it_is(target: tuple[Target, Symmetry], grid: np.ndarray) -> None:
    """Particles that are drawn from the grid at half of the likelihood's power stay so, as mixtures without labels."""
    log_prior = scipy.stats.norm.logpdf(AXIS, 0.0, 3.0)
    tempered = 0.5 * (grid - log_prior[:, None] - log_prior[None]) + log_prior[:, None] + log_prior[None]
    mass = scipy.special.softmax(tempered)
    rng = np.random.default_rng(5)
    chosen = rng.choice(mass.size, 4000, p=mass.ravel())
    start = np.column_stack([AXIS[chosen // 401], AXIS[chosen % 401]]) + rng.uniform(-0.0125, 0.0125, (4000, 2))
    start = target[1].put(start, APART.places)

    @jax.jit
    def moved(coordinates: jax.Array, chances: Chances, power: float) -> Place:
        def once(number: int, places: Place) -> Place:
            one = jax.vmap(
                lambda place, own: move(place, own, APART, jnp.asarray(0.4), power, *target, leapfrogs=5).place
            )
            return one(places, jax.tree.map(lambda leaf: leaf[number], chances))

        places = jax.vmap(lambda one: place_at(one, target[0]))(coordinates)
        return jax.lax.fori_loop(0, 20, once, places)

    def below(power: float) -> np.ndarray:
        with jax.enable_x64(True):
            chances = chances_of_moves(np.random.default_rng(7), (20, 4000), 2)
            apart = differences(np.asarray(moved(jnp.asarray(start), chances, power).coordinates))
        return np.array([(apart < limit).mean() for limit in (0.5, 1.5, 2.5)])

    expected = np.array([mass[np.abs(AXIS[:, None] - AXIS[None]) < limit].sum() for limit in (0.5, 1.5, 2.5)])
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert (np.abs(below(0.5) - expected) < 4 * error).all()
    assert (np.abs(below(1.0) - expected) > 4 * error).any()


def test_parameters_of_folded_draws_are_the_same_mixture(target: tuple[Target, Symmetry], pilot: Pilot) -> None:
    with jax.enable_x64(True):
        values, _ = constrain_symmetric(target[0].sites, jnp.asarray(pilot.particles.places.coordinates[0]))
    assert values["means"].shape == (2, 1)
