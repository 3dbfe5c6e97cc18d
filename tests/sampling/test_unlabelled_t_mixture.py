"""The mixture of t distributions of mixtures without labels: a density, whichever the order, and a better fit."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.sampling.label_symmetry import Symmetry
from bayes_gmm.sampling.t_mixture import fit_t_mixture
from bayes_gmm.sampling.unlabelled_t_mixture import UnlabelledTMixture, fit_unlabelled, standard_unlabelled

pytestmark = pytest.mark.numpyro

AXIS = np.linspace(-12.0, 12.0, 481)


@pytest.fixture(scope="module")
def symmetry() -> Symmetry:
    """Two means in one dimension are all the coordinates."""
    prior = bg.Prior(weights=[0.5, 0.5], means=dist.Normal(0.0, 3.0), scales=1.0)
    return Symmetry.of(PosteriorProblem.of(np.arange(4.0)[:, None], 2, covariance_type="full", prior=prior).sites)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """One mean is near zero, the other may lie on either side; which comes first is left to chance."""
    rng = np.random.default_rng(0)
    known, free = rng.normal(0.0, 0.3, 1024), rng.normal(0.0, 2.0, 1024)
    points = np.column_stack([known, free])
    return np.where(rng.random((1024, 1)) < 0.5, points, points[:, ::-1])


@pytest.fixture(scope="module")
def fitted(symmetry: Symmetry, points: np.ndarray) -> UnlabelledTMixture:
    return fit_unlabelled(points, 2.0 * np.eye(2), 2, symmetry, np.random.default_rng(1))


def log_densities(mixture: UnlabelledTMixture, at: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(lambda one: mixture.log_density(one, symmetry))(jnp.asarray(at)))


def test_density_does_not_depend_on_the_order(
    fitted: UnlabelledTMixture, points: np.ndarray, symmetry: Symmetry
) -> None:
    one, other = (log_densities(fitted, at, symmetry) for at in (points, points[:, ::-1].copy()))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_density_of_all_mixtures_adds_up_to_the_share_of_draws_that_are_not_refused(
    fitted: UnlabelledTMixture, symmetry: Symmetry
) -> None:
    """A mixture without labels is a place on one side of the diagonal, of which the grid counts one half."""
    n_draws = 40_000
    _, in_order = fitted.sample(n_draws, symmetry, np.random.default_rng(2))
    grid = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)
    total = 0.5 * np.exp(log_densities(fitted, grid, symmetry)).sum() * (AXIS[1] - AXIS[0]) ** 2
    share = in_order.mean()
    assert 0.5 < share < 0.999
    assert abs(total - share) < 4 * np.sqrt(share * (1 - share) / n_draws) + 1e-3
    with jax.enable_x64(True):  # the parts by themselves are densities of labelled mixtures
        labelled = np.asarray(jax.vmap(fitted.parts.log_density)(jnp.asarray(grid)))
    assert abs(np.exp(labelled).sum() * (AXIS[1] - AXIS[0]) ** 2 - share) > 0.005


def test_an_order_of_its_own_lets_a_part_fit_better() -> None:
    """A component that is known well and weighs most, beside one that lies anywhere: ordered by its weight it fits."""
    prior = bg.Prior(means=dist.Normal(0.0, 3.0), scales=1.0)
    symmetry = Symmetry.of(PosteriorProblem.of(np.arange(4.0)[:, None], 2, covariance_type="full", prior=prior).sites)
    rng = np.random.default_rng(0)
    ordered = rng.normal([0.0, 0.0, 3.0], [0.2, 3.0, 0.5], (1024, 3))  # two means, and the log-ratio of the weights
    points = symmetry.reorder(ordered, rng.permuted(np.tile([0, 1], (1024, 1)), axis=1))
    one = fit_unlabelled(points, 2.0 * np.eye(3), 1, symmetry, np.random.default_rng(1))
    labelled = fit_t_mixture(points, 1, np.random.default_rng(1))
    with jax.enable_x64(True):
        either = np.asarray(jax.vmap(labelled.log_density)(jnp.asarray(points))).mean() + np.log(2)
    assert log_densities(one, points, symmetry).mean() > either + 1.0


def test_views_are_orders_and_metrics_of_the_first_parts(fitted: UnlabelledTMixture, symmetry: Symmetry) -> None:
    views = fitted.views(2)
    np.testing.assert_array_equal(views.factor, fitted.parts.factors[:2])
    assert views.places.centers.shape == (2, 2, 1)
    unused = standard_unlabelled(2, symmetry)
    assert unused.places.centers.shape == fitted.places.centers.shape
