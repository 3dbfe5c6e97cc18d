"""EM with structured covariances: against mclust and scikit-learn, its symmetries, and its standard errors."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import bayes_gmm as bg
from bayes_gmm.mixture.covariance_structures import STRUCTURES


def slow(code: str) -> object:
    """Each structure compiles a program of its own for its standard errors."""
    return pytest.param(code, marks=pytest.mark.slow)


CODES = [name for name in STRUCTURES if len(name) == 3]
SKLEARN = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}


@pytest.fixture(scope="module")
def iris() -> bg.Table:
    return bg.datasets.load("iris")


@pytest.fixture(scope="module")
def species(iris: bg.Table) -> np.ndarray:
    return np.unique(iris.labels, return_inverse=True)[1]


@pytest.mark.parametrize("covariance_type", SKLEARN)
def test_path_is_scikit_learns(covariance_type: str, iris: bg.Table, species: np.ndarray) -> None:
    start = bg.fit_em(iris, 3, covariance_type=covariance_type, start=species, tol=1.0).mixture
    precisions = np.linalg.inv(start.covariances)
    shaped = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }
    peer = GaussianMixture(
        3,
        covariance_type=covariance_type,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=shaped[covariance_type],
        tol=0.0,
        reg_covar=0.0,
        max_iter=10,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(iris.values)
    with pytest.warns(bg.FitWarning, match="MAX_STEPS"):
        ours = bg.fit_em(iris, 3, covariance_type=covariance_type, start=start, tol=0.0, max_steps=10)
    order = np.argsort(peer.means_[:, 0])
    np.testing.assert_allclose(ours.mixture.weights, peer.weights_[order], rtol=1e-9)
    np.testing.assert_allclose(ours.mixture.means, peer.means_[order], rtol=1e-9)
    assert ours.n_parameters == peer._n_parameters()
    np.testing.assert_allclose(ours.log_likelihood, peer.score(iris.values) * 150, rtol=1e-10)


@pytest.mark.parametrize("code", CODES)
def test_likelihood_never_falls_and_the_structure_holds(code: str, iris: bg.Table, species: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.FitWarning)
        fit = bg.fit_em(iris, 3, covariance_type=code, start=species, max_steps=40)
    # Rounding of the log-likelihood, and the inner iterations' own tolerance.
    assert np.all(np.diff(fit.path) > -1e-8)
    assert fit.kernel_error < 1e-8
    volumes = np.linalg.det(fit.mixture.covariances)
    assert (np.ptp(np.log(volumes)) < 1e-8) == (code[0] == "E")
    off_diagonal = fit.mixture.covariances[:, ~np.eye(4, dtype=bool)]
    assert (np.abs(off_diagonal).max() < 1e-10) == (code[2] == "I")


@pytest.mark.parametrize("code", ["EEE", "VEE", "EVV", "VVV"])
def test_affine_structures_do_not_see_the_units(code: str, iris: bg.Table) -> None:
    rng = np.random.default_rng(0)
    matrix, shift = rng.normal(size=(4, 4)) + 2 * np.eye(4), 1e4 * rng.normal(size=4)
    one = bg.fit_em(iris, 2, covariance_type=code, n_starts=8)
    other = bg.fit_em(iris.values @ matrix.T + shift, 2, covariance_type=code, n_starts=8)
    jacobian = 150 * np.log(abs(np.linalg.det(matrix)))
    np.testing.assert_allclose(other.log_likelihood, one.log_likelihood - jacobian, atol=1e-6)


@pytest.mark.parametrize("code", ["EEI", "VEI", "EVI", "VVI"])
def test_diagonal_structures_do_not_see_the_units_of_a_column(code: str, iris: bg.Table) -> None:
    scale = np.array([1e3, 1e-3, 7.0, 1.0])
    one = bg.fit_em(iris, 2, covariance_type=code)
    other = bg.fit_em(iris.values * scale + 5, 2, covariance_type=code)
    np.testing.assert_allclose(other.log_likelihood, one.log_likelihood - 150 * np.log(scale).sum(), atol=1e-6)


def minimal_coordinates(code: str, mixture: bg.Mixture) -> tuple[np.ndarray, object]:
    """Free parameters written out by hand, and the map back to log weights, means and covariances."""
    K, D = mixture.means.shape
    rows, columns = np.tril_indices(D)
    spread = {
        "EEE": mixture.covariances[0][rows, columns],
        "VVI": mixture.scales.ravel(),
        "VII": mixture.scales[:, 0],
        "EII": mixture.scales[:1, 0],
        "VVV": mixture.covariances[:, rows, columns].ravel(),
    }[code]

    def symmetric(flat):
        lower = jnp.zeros((D, D)).at[rows, columns].set(flat)
        return lower + lower.T - jnp.diag(jnp.diagonal(lower))

    def rebuild(theta):
        odds, means, part = jnp.split(theta, [K - 1, K - 1 + K * D])
        covariances = {
            "EEE": lambda: jnp.stack([symmetric(part)] * K),
            "VVI": lambda: jax.vmap(jnp.diag)(part.reshape(K, D) ** 2),
            "VII": lambda: part[:, None, None] ** 2 * jnp.eye(D)[None],
            "EII": lambda: jnp.stack([part[0] ** 2 * jnp.eye(D)] * K),
            "VVV": lambda: jax.vmap(symmetric)(part.reshape(K, -1)),
        }[code]()
        return jax.nn.log_softmax(jnp.append(odds, 0.0)), means.reshape(K, D), covariances

    odds = mixture.log_weights[:-1] - mixture.log_weights[-1]
    return np.concatenate([odds, mixture.means.ravel(), spread]), rebuild


@pytest.mark.parametrize("code", ["EEE", "VVI", slow("VII"), slow("EII"), slow("VVV")])
def test_standard_errors_are_those_of_the_free_parameters(code: str, faithful: bg.Table) -> None:
    """Hessian by JAX of the textbook likelihood in coordinates chosen by hand: another path to the same numbers."""
    fit = bg.fit_em(faithful, 2, covariance_type=code, tol=1e-12)
    with jax.enable_x64(True):
        at, rebuild = minimal_coordinates(code, fit.mixture)

        def log_likelihood(theta):
            log_weights, means, covariances = rebuild(theta)
            normal = jax.scipy.stats.multivariate_normal.logpdf
            with jax.numpy_rank_promotion("allow"):
                parts = [normal(faithful.values, m, c) for m, c in zip(means, covariances, strict=True)]
            return logsumexp(log_weights[:, None] + jnp.stack(parts), axis=0).sum()

        def reported(theta):
            log_weights, means, covariances = rebuild(theta)
            return {"weights": jnp.exp(log_weights), "means": means, "covariances": covariances}

        inverse = np.linalg.inv(-np.asarray(jax.jit(jax.hessian(log_likelihood))(jnp.asarray(at))))
        jacobians = jax.device_get(jax.jit(jax.jacobian(reported))(jnp.asarray(at)))
    for name, jacobian in jacobians.items():
        expected = np.sqrt(np.einsum("...i,ij,...j->...", jacobian, inverse, jacobian).clip(0))
        np.testing.assert_allclose(fit.standard_errors[name], expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("code", [code if code == "VEI" else slow(code) for code in CODES])
def test_every_structure_has_standard_errors(code: str, faithful: bg.Table) -> None:
    fit = bg.fit_em(faithful, 2, covariance_type=code)
    errors = fit.standard_errors
    assert all(np.isfinite(values).all() for values in errors.values())
    if code[0] == "E" and code[1] == "E":  # equal volumes and shapes: equal traces, so equally uncertain ones
        np.testing.assert_allclose(np.ptp(np.trace(fit.mixture.covariances, axis1=1, axis2=2)), 0, atol=1e-8)
    # A covariance matrix with fewer free parameters leaves the weights no less certain than the saturated one.
    np.testing.assert_allclose(errors["weights"], 0.0291, rtol=0.02)


def test_unknown_structures_are_refused(faithful: bg.Table) -> None:
    with pytest.raises(bg.ArgumentError, match="covariance_type"):
        bg.fit_em(faithful, 2, covariance_type="VVX")
