"""Coordinates relative to a mode's covariances: the same posterior, straightened; the volume by differentiation."""

from collections.abc import Iterator
from typing import Any

import arviz_stats as azs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import distributions as dist

import bayes_gmm as bg
from bayes_gmm.bayes.laplace_approximation import Laplace
from bayes_gmm.bayes.modes import find_modes
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.sites import constrain, unconstrain
from bayes_gmm.bayes.target import Target, to_coordinates
from bayes_gmm.posterior.starting_fit import starting_fit
from bayes_gmm.sampling.relative_covariances import RelativeCovariances

pytestmark = pytest.mark.numpyro

PRIORS = {
    "full": ("full", None),
    "tied": ("tied", None),
    "full, variances": ("full", bg.Prior(variances=dist.InverseGamma(2.0, 2.0))),
}


def oblique(n_features: int, n_points: int, seed: int = 0) -> np.ndarray:
    """Two clusters, each narrow in directions of its own."""
    rng = np.random.default_rng(seed)
    factors = 0.3 * np.eye(n_features) + 0.7 * rng.normal(size=(2, n_features, n_features))
    labels = rng.integers(2, size=n_points)
    noise = (factors[labels] @ rng.normal(size=(n_points, n_features, 1)))[..., 0]
    return 8.0 * labels[:, None] + noise


def problem_of(name: str, n_features: int = 3) -> PosteriorProblem:
    covariance_type, prior = PRIORS[name]
    return PosteriorProblem.of(oblique(n_features, 80), 2, covariance_type=covariance_type, prior=prior)


def target_and_mode(problem: PosteriorProblem) -> tuple[Target, Laplace]:
    target = problem.target()
    modes = find_modes(problem, target, starting_fit(problem, None, 0, progress=False))
    return target, jax.tree.map(lambda leaf: np.asarray(leaf)[0], modes.around)


def relative_of(target: Target) -> RelativeCovariances:
    found = RelativeCovariances.of(target.sites)
    assert found is not None
    return found


def entered(name: str) -> tuple[Target, Laplace, RelativeCovariances, Laplace, np.ndarray]:
    """The target, its mode, the relative coordinates, and the mode and the factors there."""
    target, mode = target_and_mode(problem_of(name))
    relative = relative_of(target)
    return target, mode, relative, *relative.enter(mode)


@pytest.mark.parametrize("name", PRIORS)
def test_the_density_is_that_of_the_sites_times_the_volume(name: str) -> None:
    with jax.enable_x64(True):
        target, _, relative, near, factors = entered(name)
        some = near.mode + 0.7 * np.random.default_rng(1).normal(size=(4, len(near.mode))) @ near.factor.T
        for coordinates, u, log_volume in zip(some, *relative.leave(some, factors), strict=True):
            jacobian = jax.jacobian(lambda w: to_sites(target, w, factors))(jnp.asarray(coordinates))
            np.testing.assert_allclose(np.linalg.slogdet(np.asarray(jacobian))[1], log_volume, rtol=1e-8)
            found = target.potential(jnp.asarray(coordinates), jnp.asarray(factors))
            expected = target.potential(jnp.asarray(u))
            np.testing.assert_allclose(found, expected - log_volume, rtol=1e-9)
            assert abs(found - expected) > 1e-2  # without the volume it would be noticed


def to_sites(target: Target, coordinates: Any, factors: Any) -> Any:
    return unconstrain(target.sites, constrain(target.sites, coordinates, jnp.asarray(factors))[0])


@pytest.mark.parametrize("name", PRIORS)
def test_the_gaussian_around_the_mode_is_the_same_to_first_order(name: str) -> None:
    with jax.enable_x64(True):
        target, mode, relative, near, factors = entered(name)
        np.testing.assert_allclose(relative.leave(near.mode[None], factors)[0][0], mode.mode, rtol=1e-9, atol=1e-12)
        jacobian = np.asarray(jax.jacobian(lambda w: to_sites(target, w, factors))(jnp.asarray(near.mode)))
        again = jacobian @ near.factor
        np.testing.assert_allclose(again @ again.T, mode.factor @ mode.factor.T, rtol=1e-6, atol=1e-12)


def test_round_components_have_the_coordinates_of_the_sites() -> None:
    with jax.enable_x64(True):
        target, mode = target_and_mode(problem_of("full"))
        relative = relative_of(target)
        round_ones = mode.mode.copy()
        round_ones[relative.below] = 0.0
        near, factors = relative.enter(mode._replace(mode=round_ones))
        moved = near.mode + np.random.default_rng(2).normal(size=(5, len(near.mode)))
        found, log_volumes = relative.leave(moved, factors)
        np.testing.assert_allclose(found[:, relative.below], moved[:, relative.below], rtol=1e-9)
        shifted = moved[:, relative.diagonal] + round_ones[relative.diagonal]
        np.testing.assert_allclose(found[:, relative.diagonal], shifted, rtol=1e-9)
        np.testing.assert_allclose(log_volumes, 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("n_features", "options"),
    [
        (2, {}),
        (3, {"covariance_type": "diag"}),
        (3, {"prior": bg.Prior(scales=dist.Uniform(0.0, 30.0))}),
        (3, {"prior": bg.Prior(correlations=np.eye(3))}),
        (3, {"prior": bg.Prior(scales=np.ones((2, 3)))}),
    ],
)
def test_other_coordinates_stay_as_they_are(n_features: int, options: dict[str, Any]) -> None:
    arguments = {"covariance_type": "full", "prior": None} | options
    problem = PosteriorProblem.of(oblique(n_features, 60), 2, **arguments)
    assert RelativeCovariances.of(problem.sites) is None


def fitted(x: np.ndarray) -> bg.Posterior:
    return bg.fit_nuts(x, 2, num_samples=500, num_warmup=150, num_chains=4, seed=3, progress=False)


def test_draws_are_the_same_and_come_with_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means and variances of all parameters and of the log density agree within their Monte Carlo errors."""
    x = oblique(4, 70, seed=4)
    relative = fitted(x)
    monkeypatch.setattr(RelativeCovariances, "of", lambda _: None)
    plain = fitted(x)
    for (name, mean, error), (_, other, its_error) in zip(moments_of(relative), moments_of(plain), strict=True):
        assert abs(mean - other) < 5 * np.hypot(error, its_error), name
    steps = [float(one.tree.sample_stats["n_steps"].mean()) for one in (relative, plain)]
    assert steps[0] < 0.7 * steps[1]


def moments_of(posterior: bg.Posterior) -> Iterator[tuple[str, float, float]]:
    """Name, mean and its Monte Carlo error of the log density and of invariants of the covariances."""
    covariances = posterior.draws.covariances
    values = {
        "lp": posterior.tree.sample_stats["lp"].values,
        "log determinant": np.linalg.slogdet(covariances)[1].sum(-1),
        "log smallest eigenvalue": np.log(np.linalg.eigvalsh(covariances)[..., 0]).sum(-1),
        "trace": np.trace(covariances, axis1=-2, axis2=-1).sum(-1),
    }
    for name, value in values.items():
        yield name, value.mean(), float(azs.mcse(value, method="mean"))
        square = (value - value.mean()) ** 2
        yield f"{name}, variance", square.mean(), float(azs.mcse(square, method="mean"))


def test_the_log_density_of_a_draw_is_that_of_the_sites() -> None:
    x = oblique(3, 80)
    posterior = bg.fit_nuts(x, 2, num_samples=20, num_warmup=100, num_chains=2, seed=0, progress=False)
    with jax.enable_x64(True):
        target = posterior.problem.target()
        mixture = jax.tree.map(lambda leaf: leaf[1, 7], posterior.draws)
        # Relabelling changes the coordinates of the weights, and with them nothing but their volume.
        found = -float(target.potential(to_coordinates(mixture, target.sites)))
    np.testing.assert_allclose(float(posterior.tree.sample_stats["lp"][1, 7]), found, rtol=1e-9)
