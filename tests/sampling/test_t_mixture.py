"""The mixture of t distributions: its density, its draws by both ways, and how well it is fitted."""

import jax
import numpy as np
import pytest
import scipy.stats

from bayes_gmm.sampling.t_mixture import TAILS, TMixture, fit_t_mixture


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(700, 3)), rng.normal(size=(300, 3)) * [0.3, 1.0, 2.0] + [8.0, 0.0, -5.0]
    return np.concatenate([near, far])


@pytest.fixture(scope="module")
def fitted(points: np.ndarray) -> TMixture:
    return fit_t_mixture(points, 2, np.random.default_rng(1))


def test_density_is_scipys(points: np.ndarray, fitted: TMixture) -> None:
    used = np.flatnonzero(np.isfinite(fitted.log_weights))
    expected = sum(
        np.exp(fitted.log_weights[g])
        * tail.share
        * scipy.stats.multivariate_t(
            fitted.centers[g], tail.width**2 * fitted.factors[g] @ fitted.factors[g].T, tail.freedom
        ).pdf(points)
        for g in used
        for tail in TAILS
    )
    with jax.enable_x64(True):
        ours = jax.vmap(fitted.log_density)(points)
    np.testing.assert_allclose(ours, np.log(expected), rtol=1e-9)


def test_draws_have_the_moments_of_the_density(fitted: TMixture) -> None:
    n_draws = 40_000
    weights = np.exp(fitted.log_weights)
    mean = weights @ fitted.centers
    inflation = sum(tail.share * tail.width**2 * tail.freedom / (tail.freedom - 2) for tail in TAILS)
    offsets = fitted.centers - mean
    within = np.einsum("g,gij->ij", weights, fitted.factors @ fitted.factors.mT) * inflation
    variances = np.diag(within + np.einsum("g,gi,gj->ij", weights, offsets, offsets))
    draws, _ = fitted.sample(n_draws, np.random.default_rng(2))
    assert (np.abs(draws.mean(0) - mean) < 4 * np.sqrt(variances / n_draws)).all()
    # t distributions of five degrees of freedom have a fourth moment nine times the squared variance.
    assert (np.abs(draws.var(0) / variances - 1) < 4 * np.sqrt(8 / n_draws)).all()


def test_two_parts_fit_two_groups_better_than_one(points: np.ndarray, fitted: TMixture) -> None:
    one = fit_t_mixture(points, 1, np.random.default_rng(1))
    with jax.enable_x64(True):
        two_parts, one_part = (float(np.mean(jax.vmap(part.log_density)(points))) for part in (fitted, one))
    assert two_parts > one_part + 0.5
    found = np.sort(fitted.centers[np.isfinite(fitted.log_weights)][:, 0])
    np.testing.assert_allclose(found, [0.0, 8.0], atol=0.2)


def test_points_on_a_line_are_no_obstacle() -> None:
    flat = np.linspace(0, 1, 100)[:, None] * np.array([1.0, 2.0])
    found = fit_t_mixture(flat, 4, np.random.default_rng(0))
    assert np.isfinite(found.inverses).all()
