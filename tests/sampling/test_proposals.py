"""Drawing one component anew leaves the posterior as it is, by importance sampling from the prior."""

from functools import partial
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.target import Target
from bayes_gmm.sampling.hamiltonian import Place
from bayes_gmm.sampling.independence_chains import REDRAWS, Kernel, Redraws, _redraw
from bayes_gmm.sampling.label_symmetry import Symmetry
from bayes_gmm.sampling.proposals import fit_proposal
from bayes_gmm.sampling.t_mixture import TMixture
from bayes_gmm.sampling.tempered_pilot import draws_of_prior, fold

pytestmark = pytest.mark.numpyro

X = np.random.default_rng(0).normal(0.0, 1.5, 12)
SIZE, ROUNDS = 6000, 25
LIMIT = 4.0
"""Standard errors beyond which a change is none of chance."""


@pytest.fixture(scope="module")
def target() -> tuple[Target, Symmetry]:
    prior = bg.Prior(means=dist.Normal(0.0, 3.0), scales=1.0)
    problem = PosteriorProblem.of(X[:, None], 3, covariance_type="full", prior=prior)
    with jax.enable_x64(True):
        return problem.target(), Symmetry.of(problem.sites)


@pytest.fixture(scope="module")
def posterior(target: tuple[Target, Symmetry]) -> Place:
    """Draws from the prior, drawn again by their likelihood: at most a few times each."""
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        places = draws_of_prior(target[0], 200_000, rng)
    shares = np.exp(places.log_likelihood - np.logaddexp.reduce(places.log_likelihood))
    assert 1 / (shares**2).sum() > SIZE
    rows = rng.choice(len(shares), SIZE, p=shares)
    return Place(*(leaf[rows] for leaf in places))


@pytest.fixture(scope="module")
def kernel(target: tuple[Target, Symmetry], posterior: Place) -> Kernel:
    with jax.enable_x64(True):
        fitted = fit_proposal(*target, fold(posterior, target[1]), np.random.default_rng(2))
    return Kernel(target[0], fitted.proposal, fitted.coarse.views(1))


def redraws(kernel: Kernel, rng: np.random.Generator) -> Redraws:
    blocks, _ = kernel.proposal.component.sample(SIZE * REDRAWS, rng)
    return Redraws(
        blocks=blocks.reshape(SIZE, REDRAWS, -1),
        gumbels=rng.gumbel(size=(SIZE, REDRAWS, 3)),
        thresholds=np.log1p(-rng.random((SIZE, REDRAWS))),
    )


def change_of_weights(posterior: Place, kernel: Kernel, symmetry: Symmetry) -> float:
    """Change of the mean largest weight by redraws, in standard errors of the change of as many independent draws."""

    def largest(places: Place) -> np.ndarray:
        return np.asarray(jax.vmap(lambda one: jnp.exp(_log_weights(one, symmetry)).max())(places.coordinates))

    with jax.enable_x64(True):
        redraw = jax.jit(jax.vmap(partial(_redraw, kernel=kernel, symmetry=symmetry)))
        places, accepted = posterior, []
        rng = np.random.default_rng(3)
        for _ in range(ROUNDS):
            moved = redraw(places, redraws(kernel, rng))
            places = moved.place
            accepted.append(float(moved.accepted.mean()))
        before, after = largest(posterior), largest(places)
    assert min(accepted) > 0.1
    return float((after - before).mean() / (np.sqrt(2 / SIZE) * before.std()))


def _log_weights(coordinates: jax.Array, symmetry: Symmetry) -> jax.Array:
    return jax.nn.log_softmax(symmetry.basis @ coordinates[symmetry.weights])


def test_redraws_leave_the_posterior_as_it_is(
    target: tuple[Target, Symmetry], posterior: Place, kernel: Kernel
) -> None:
    assert abs(change_of_weights(posterior, kernel, target[1])) < LIMIT


@pytest.mark.parametrize("forgotten", ["density of the proposal", "choice on the way back"])
def test_a_wrong_ratio_would_be_noticed(
    forgotten: str,
    target: tuple[Target, Symmetry],
    posterior: Place,
    kernel: Kernel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if forgotten == "density of the proposal":
        monkeypatch.setattr(TMixture, "log_density", lambda self, coordinates: jnp.zeros(()))
    else:
        right, forward = Symmetry.log_choice, cycle([True, False])
        wrong: Any = lambda self, coordinates: right(self, coordinates) if next(forward) else jnp.zeros(3)  # noqa: E731
        monkeypatch.setattr(Symmetry, "log_choice", wrong)
    assert abs(change_of_weights(posterior, kernel, target[1])) > LIMIT


def test_light_components_are_chosen_more_often_and_held_weights_alike(target: tuple[Target, Symmetry]) -> None:
    symmetry = target[1]
    weights = np.array([0.7, 0.25, 0.05])
    with jax.enable_x64(True):
        coordinates = jnp.concatenate([jnp.zeros(3), jnp.log(weights) @ symmetry.basis])
        chosen = np.exp(symmetry.log_choice(coordinates))
        held = Symmetry(symmetry.own, np.zeros(0, int), symmetry.basis, True)
        np.testing.assert_allclose(np.exp(held.log_choice(coordinates)), np.full(3, 1 / 3))
    expected = 1 / (weights + 0.05)
    np.testing.assert_allclose(chosen, expected / expected.sum())
