"""Log densities of the parts of a prior relative to measures without information."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayes_gmm as bg
from bayes_gmm.bayes.prior_densities import _log_measure, log_prior_densities
from bayes_gmm.bayes.sites import assemble, free

pytestmark = pytest.mark.numpyro

N_DRAWS = 7


def complete(n_features: int, **parts: object) -> bg.Prior:
    """A prior of two components and a few features whose every part is given."""
    default = {
        "weights": dist.Dirichlet(np.array([3.0, 1.5])),
        "means": dist.Normal(np.arange(float(n_features)), 2.0),
        "scales": dist.LogNormal(0.3, 0.7),
        "correlations": dist.LKJCholesky(n_features, 1.7) if n_features > 1 else 0.0,
    }
    return bg.Prior(**default | parts)


def densities(prior: bg.Prior, n_features: int, structure: str = "full") -> tuple[bg.Mixture, dict[str, np.ndarray]]:
    draws = prior.sample(N_DRAWS, 2, n_features, covariance_type=structure, seed=0)
    return draws, log_prior_densities(draws, prior.sites(2, n_features, structure))


def agree(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-9) -> bool:
    """Whether two log densities are equal up to a constant."""
    return bool(np.ptp(found - expected) < tolerance)


@pytest.mark.parametrize("n_features", [2, 3])
def test_each_part_is_its_closed_form(n_features: int) -> None:
    draws, found = densities(complete(n_features), n_features)
    log_scales, log_volumes = np.log(draws.scales), np.linalg.slogdet(draws.correlations)[1]
    assert set(found) == {"weights", "means", "scales", "correlations"}
    assert agree(found["weights"], 2.5 * draws.log_weights[:, 0] + 1.0 * draws.log_weights[:, 1])
    assert agree(found["means"], -((draws.means - np.arange(n_features)) ** 2).sum((1, 2)) / 8)
    assert agree(found["scales"], -((log_scales - 0.3) ** 2).sum((1, 2)) / (2 * 0.7**2))
    assert agree(found["correlations"], (1.7 - 1 + (n_features + 1) / 2) * log_volumes.sum(1))
    # Relative to flat measures of weights, sds and correlations the densities are others.
    assert not agree(found["weights"], 2.0 * draws.log_weights[:, 0] + 0.5 * draws.log_weights[:, 1], 0.1)
    assert not agree(found["scales"], -((log_scales - 0.3) ** 2 / (2 * 0.7**2) + log_scales).sum((1, 2)), 0.1)
    assert not agree(found["correlations"], 0.7 * log_volumes.sum(1), 0.1)


def test_inverse_gamma_variances_keep_their_family() -> None:
    draws, found = densities(complete(1, scales=None, variances=dist.InverseGamma(2.5, 3.0)), 1)
    variances = draws.scales[:, :, 0] ** 2
    assert agree(found["scales"], (-2.5 * np.log(variances) - 3.0 / variances).sum(1))
    assert "correlations" not in found


def test_lkj_of_one_is_not_flat_and_the_more_so_the_more_columns_there_are() -> None:
    spreads = [
        densities(complete(D, correlations=dist.LKJCholesky(D, 1.0)), D)[1]["correlations"].std() for D in (2, 3, 6)
    ]
    assert 0.1 < spreads[0] < spreads[1] < spreads[2]


def test_held_parts_have_no_density() -> None:
    assert set(densities(complete(2, weights=np.array([0.4, 0.6]), correlations=0.3), 2)[1]) == {"means", "scales"}


@pytest.mark.parametrize("structure", ["full", "tied", "diag", "EEI", "spherical", "EII"])
def test_mixtures_above_a_floor_are_taken_apart_again(structure: str) -> None:
    """The density at the values that were assembled is the one that the mixture gets."""
    correlations = dist.LKJCholesky(3, 1.0) if structure in ("full", "tied") else None
    prior = complete(3, correlations=correlations, resolution=np.array([0.5, 0.0, 0.1]))
    sites = (prior if correlations else bg.Prior(**vars(prior) | {"correlations": 0.0})).sites(2, 3, structure)
    with jax.enable_x64(True):
        values = {name: site.sample(jax.random.key(3)) for name, site in free(sites).items()}
        mixture = assemble({**{name: site for name, site in sites.items() if name not in values}, **values})
        expected = {name: float(site.log_prob(values[name]).sum()) for name, site in free(sites).items()}
        expected = {name: value - float(_log_measure(name, values[name])) for name, value in expected.items()}
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], mixture)
    found = log_prior_densities(one, sites)
    for name, value in expected.items():
        assert found[name.replace("correlation_tril", "correlations")][0] == pytest.approx(value, abs=1e-8)


def test_number_and_axes_of_the_draws_do_not_matter() -> None:
    draws, found = densities(complete(2), 2)
    several = jax.tree.map(
        lambda leaf: np.tile(leaf, (300, *[1] * (leaf.ndim - 1))).reshape(3, 700, *leaf.shape[1:]), draws
    )
    again = log_prior_densities(several, complete(2).sites(2, 2))
    for name, values in again.items():
        assert values.shape == (3, 700)
        np.testing.assert_allclose(values.ravel(), np.tile(found[name], 300), rtol=1e-12)


@pytest.mark.parametrize("n_features", [2, 3, 4])
@pytest.mark.parametrize("off", [0.0, 0.5])
def test_the_measures_together_are_jeffreys_prior_of_a_covariance_matrix(n_features: int, off: float) -> None:
    """|Sigma|^{-(D+1)/2} dSigma in log scales and Cholesky factors of correlations, the volume by differentiation.

    Control: with another power of the correlations the two are no longer proportional.
    """
    D = n_features
    below = np.tril_indices(D, -1)
    rng = np.random.default_rng(D)

    def factor(elements: jax.Array) -> jax.Array:
        lower = jnp.zeros((D, D)).at[below].set(elements)
        return lower + jnp.diag(jnp.sqrt(1 - (lower**2).sum(1)))

    def half(coordinates: jax.Array) -> jax.Array:
        scale_tril = jnp.exp(coordinates[:D])[:, None] * factor(coordinates[D:])
        return (scale_tril @ scale_tril.T)[np.tril_indices(D)]

    differences = []
    with jax.enable_x64(True):
        for _ in range(5):
            elements = jnp.asarray(rng.uniform(-0.5, 0.5, D * (D - 1) // 2))
            coordinates = jnp.concatenate([jnp.asarray(rng.normal(size=D)), elements])
            matrix = jnp.exp(coordinates[:D])[:, None] * factor(elements)
            volume = jnp.linalg.slogdet(jax.jacfwd(half)(coordinates))[1]
            jeffreys = volume - (D + 1) * jnp.log(jnp.diagonal(matrix)).sum()
            measure = _log_measure("correlation_tril", factor(elements))
            differences.append(float(jeffreys - measure + off * jnp.log(jnp.diagonal(factor(elements))).sum()))
    assert (np.ptp(differences) < 1e-9) == (off == 0)
