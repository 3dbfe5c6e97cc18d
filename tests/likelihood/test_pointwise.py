"""What the posterior gives: densities, assignments, predictions, functions of the mixture, trees for ArviZ."""

import warnings

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import logsumexp

import bayes_gmm as bg
from bayes_gmm.core.tuning import Tuning

pytestmark = pytest.mark.numpyro


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform([1.5, 40.0], [5.5, 100.0], size=(50, 2))


@pytest.fixture(scope="module")
def log_densities(faithful_posterior: bg.Posterior, points: np.ndarray) -> np.ndarray:
    """The centred form, one draw after the other: the oracle of the kernel's form."""
    return faithful_posterior.draws.log_prob(points)


def test_log_likelihoods_are_those_of_each_draw(
    faithful_posterior: bg.Posterior, points: np.ndarray, log_densities: np.ndarray
) -> None:
    found = faithful_posterior.log_likelihoods(points)
    assert found.shape == (4, 1000, 50)
    np.testing.assert_allclose(found, log_densities, rtol=1e-11, atol=1e-11)
    stored = faithful_posterior.tree["log_likelihood"]["x"].values[1, 7]
    one = jax.tree.map(lambda leaf: leaf[1, 7], faithful_posterior.draws)
    np.testing.assert_allclose(stored, one.log_prob(faithful_posterior.table.values), rtol=1e-11)


def test_posterior_predictive_density_averages_over_the_draws(
    faithful_posterior: bg.Posterior, points: np.ndarray, log_densities: np.ndarray
) -> None:
    expected = logsumexp(log_densities, axis=(0, 1)) - np.log(4000)
    np.testing.assert_allclose(faithful_posterior.log_prob(points), expected, rtol=1e-11)


def test_points_in_parts_give_the_same(
    faithful_posterior: bg.Posterior, points: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = faithful_posterior.log_prob(points), *faithful_posterior.density(points)
    monkeypatch.setattr("bayes_gmm.likelihood.pointwise.TUNING", Tuning(numbers_at_once=4000 * 7))
    for one, other in zip(
        whole, (faithful_posterior.log_prob(points), *faithful_posterior.density(points)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_density_band_is_that_of_the_draws(
    faithful_posterior: bg.Posterior, points: np.ndarray, log_densities: np.ndarray
) -> None:
    mean, lower, upper = faithful_posterior.density(points, probability=0.8)
    densities = np.exp(log_densities).reshape(4000, 50)
    np.testing.assert_allclose(mean, densities.mean(0), rtol=1e-10)
    np.testing.assert_allclose([lower, upper], np.quantile(densities, [0.1, 0.9], axis=0), rtol=1e-10)


def test_assignments_are_the_moments_of_responsibilities(faithful_posterior: bg.Posterior, points: np.ndarray) -> None:
    each = faithful_posterior.draws.responsibilities(points)
    np.testing.assert_allclose(faithful_posterior.responsibilities(points), each.mean((0, 1)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(faithful_posterior.responsibilities_sd(points), each.std((0, 1)), rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(faithful_posterior.predict(points), each.mean((0, 1)).argmax(1))


def test_any_function_of_the_mixture_has_a_posterior(faithful_posterior: bg.Posterior) -> None:
    gap = faithful_posterior.map(lambda mixture: jnp.linalg.norm(mixture.means[1] - mixture.means[0]))
    expected = np.linalg.norm(
        faithful_posterior.draws.means[..., 1, :] - faithful_posterior.draws.means[..., 0, :], axis=-1
    )
    np.testing.assert_allclose(gap, expected, rtol=1e-12)
    assert gap.dtype == np.float64


def test_marginal_and_condition_work_draw_by_draw(faithful_posterior: bg.Posterior) -> None:
    assert faithful_posterior.draws.marginal([1]).means.shape == (4, 1000, 2, 1)
    regression = faithful_posterior.draws.condition([0], [[2.0], [4.0]]).mean[..., 0]
    assert regression.shape == (4, 1000, 2)
    low, high = regression.mean((0, 1))
    assert 50 < low < 60 < 75 < high < 85


def test_replicated_data_look_like_the_data(faithful_posterior: bg.Posterior, faithful: bg.Table) -> None:
    replicated = faithful_posterior.sample(272, seed=3)
    assert replicated.shape == (4, 1000, 272, 2)
    means = replicated.mean(2).reshape(-1, 2)
    ranks = (means < faithful.values.mean(0)).mean(0)
    assert ((ranks > 0.01) & (ranks < 0.99)).all()
    far = (means < faithful.values.mean(0) + 5 * faithful.values.std(0) / np.sqrt(272)).mean(0)
    assert (far > 0.99).all()


def test_relabelling_is_reversible(faithful_posterior: bg.Posterior) -> None:
    again = faithful_posterior.draws_as_sampled.permute(faithful_posterior.relabelling.permutations)
    np.testing.assert_array_equal(again.means, faithful_posterior.draws.means)


@pytest.mark.wrong_types
@pytest.mark.parametrize("probability", [0.0, 1.0, 2, "wide", np.nan])
def test_a_probability_outside_of_zero_and_one_is_refused(
    probability: object, faithful_posterior: bg.Posterior, points: np.ndarray
) -> None:
    with pytest.raises(bg.ArgumentError, match=r"^probability is"):
        faithful_posterior.density(points, probability=probability)


def test_points_of_other_features_are_refused(faithful_posterior: bg.Posterior) -> None:
    for method in ("log_prob", "responsibilities", "predict", "density"):
        with pytest.raises(bg.ArgumentError, match=r"shape \(3, 1\)"):
            getattr(faithful_posterior, method)(np.zeros((3, 1)))


def test_the_prior_joins_the_tree(faithful_posterior: bg.Posterior) -> None:
    tree = faithful_posterior.with_prior(500, seed=1)
    assert set(tree.groups) == {
        f"/{name}" for name in (*faithful_posterior.tree.children, "prior", "prior_predictive", "log_prior")
    } | {"/"}
    means = tree["prior"]["means"]
    assert means.sizes == {"chain": 1, "draw": 500, "component": 2, "feature": 2}
    x = faithful_posterior.table.values
    # Normal about the middle of the range, with half of it as sd, for each of the thousand means.
    low, high = x.min(0), x.max(0)
    off = np.abs(means.mean(("chain", "draw", "component")).values - (low + high) / 2)
    assert (off < 5 * 0.5 * (high - low) / 1000**0.5).all()


ARVIZ = {
    "summary": lambda tree: az.summary(tree),
    "loo": lambda tree: az.loo(tree),
    "compare": lambda tree: az.compare({"one": tree, "other": tree}),
    "ess": lambda tree: az.ess(tree),
    "plot_trace_dist": lambda tree: az.plot_trace_dist(tree, var_names=["weights"]),
    "plot_rank": lambda tree: az.plot_rank(tree, var_names=["means"]),
    "plot_forest": lambda tree: az.plot_forest(tree, var_names=["scales"]),
    "plot_ppc_dist": lambda tree: az.plot_ppc_dist(tree, num_samples=20),
    "plot_prior_posterior": lambda tree: az.plot_prior_posterior(tree, var_names=["weights"]),
}


@pytest.mark.parametrize("name", ARVIZ)
def test_arviz_reads_the_tree_without_a_warning(name: str, faithful_posterior: bg.Posterior) -> None:
    tree = faithful_posterior.with_prior(200) if "prior" in name else faithful_posterior.tree
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ARVIZ[name](tree)
    plt.close("all")
