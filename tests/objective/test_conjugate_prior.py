"""Posterior modes under a conjugate prior: against mclust, and against the densities of SciPy."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from scipy.special import log_softmax, logsumexp
from scipy.stats import dirichlet, invgamma, invwishart, multivariate_normal

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.covariance_structures import STRUCTURES
from bayes_gmm.mle.status import EMStatus

MCLUST = json.loads((Path(__file__).parents[1] / "references" / "mclust_map.json").read_text())

FAST = ("EII", "VVI", "EEE", "VEV", "VVV")
"""One structure of each kind of prior, and one with an inner loop; each compiles a program of its own."""


def slow_unless_fast(codes):
    return [code if code in FAST else pytest.param(code, marks=pytest.mark.slow) for code in codes]


def groups_of(name):
    table = bg.datasets.load(name)
    if name == "iris":
        return np.unique(table.labels, return_inverse=True)[1]
    return np.digitize(table.values[:, 0], [3] if name == "faithful" else [16, 27])


# Against mclust, where its M-step is the exact mode

CASES = [(name, code) for name in ("iris", "faithful", "galaxies") for code in MCLUST[name]]


@pytest.mark.parametrize(("name", "code"), CASES)
def test_mode_is_that_of_mclust(name, code):
    expected = MCLUST[name][code]
    n_components = len(expected["weights"])
    arguments = {"covariance_type": code, "start": groups_of(name), "prior": bg.ConjugatePrior()}
    fit = bg.fit_em(bg.datasets.load(name), n_components, tol=1e-11, **arguments)
    assert fit.status is EMStatus.CONVERGED
    order = np.argsort(np.reshape(expected["mean"], (n_components, -1))[:, 0])
    means = np.reshape(expected["mean"], fit.mixture.means.shape)[order]
    covariances = np.reshape(expected["sigma"], fit.mixture.covariances.shape)[order]
    # tol = 1e-11 is 4.5e-6 standard errors; these are at most half a standard deviation. At the mode of the posterior
    # the likelihood has a slope, by the prior's pull of up to a nat for each standard error.
    np.testing.assert_allclose(fit.log_likelihood, expected["loglik"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(fit.mixture.weights, np.array(expected["weights"])[order], rtol=0, atol=3e-6)
    assert (np.abs(fit.mixture.means - means) / fit.mixture.scales).max() < 3e-6
    sizes = np.einsum("ki,kj->kij", fit.mixture.scales, fit.mixture.scales)
    assert (np.abs(fit.mixture.covariances - covariances) / sizes).max() < 3e-6


def test_comparison_with_mclust_notices_the_prior(faithful_mle):
    expected = MCLUST["faithful"]["VVV"]
    assert faithful_mle.log_likelihood - expected["loglik"] > 0.2
    distance = np.abs(faithful_mle.mixture.means - expected["mean"]) / faithful_mle.mixture.scales
    assert distance.max() > 1e-4


# Against the densities of SciPy, in the units of the data


class Density:
    """Log-likelihood and log prior density, written out."""

    def __init__(self, x, code, n_components, *, kappa=0.01, mean=None, nu=None, scale=None, alpha=1.0):
        n_features = x.shape[1]
        covariance = np.cov(x.T)
        spread = np.trace(covariance) / n_features * np.eye(n_features) if code.endswith("I") else covariance
        self.x, self.code, self.kappa, self.alpha = x, code, kappa, alpha
        self.mean = x.mean(0) if mean is None else np.asarray(mean)
        self.nu = n_features + 2 if nu is None else nu
        self.scale = spread * n_components ** (-2 / n_features) if scale is None else np.asarray(scale)

    def of_covariance(self, covariance):
        if self.code.endswith("II"):
            return invgamma(self.nu / 2, scale=np.trace(self.scale) / len(self.scale) / 2).logpdf(covariance[0, 0])
        if self.code.endswith("I"):
            return invgamma(self.nu / 2, scale=np.diag(self.scale) / 2).logpdf(np.diag(covariance)).sum()
        return invwishart(self.nu, self.scale).logpdf(covariance)

    def prior(self, weights, means, covariances):
        shared = "V" not in self.code
        total = sum(map(self.of_covariance, covariances[:1] if shared else covariances))
        if self.kappa:
            total += sum(
                multivariate_normal(self.mean, covariance / self.kappa).logpdf(mean)
                for mean, covariance in zip(means, covariances, strict=True)
            )
        return total + (dirichlet(np.full(len(weights), self.alpha)).logpdf(weights / weights.sum()))

    def likelihood(self, weights, means, covariances):
        parts = [multivariate_normal(m, c).logpdf(self.x) for m, c in zip(means, covariances, strict=True)]
        return logsumexp(np.log(weights)[:, None] + np.array(parts), axis=0).sum()

    def posterior(self, weights, means, covariances):
        return self.likelihood(weights, means, covariances) + self.prior(weights, means, covariances)


def moved(mixture, code, rng, size):
    """The mixture with its weights, means, volumes, shapes and axes moved at random, within the structure."""
    K, D = mixture.means.shape
    each = {"E": 1, "V": K}
    weights = np.exp(log_softmax(mixture.log_weights + size * rng.normal(size=K)))
    means = mixture.means + size * mixture.scales * rng.normal(size=(K, D))
    # Axes that are shared diagonalise any combination of the covariances.
    combination = np.tensordot(np.arange(1.0, K + 1), mixture.covariances, 1)
    sources = mixture.covariances if code[2] == "V" else np.tile(combination, (K, 1, 1))
    axes = np.linalg.eigh(sources)[1] if code[2] != "I" else np.tile(np.eye(D), (K, 1, 1))
    variances = np.diagonal(axes.swapaxes(1, 2) @ mixture.covariances @ axes, axis1=1, axis2=2)
    volumes = np.zeros((K, 1)) + rng.normal(size=(each[code[0]], 1))
    shapes = np.zeros((K, D))
    if code[1] != "I":
        shapes = shapes + rng.normal(size=(each[code[1]], D))
        shapes -= shapes.mean(1, keepdims=True)
    variances = variances * np.exp(size * (volumes + shapes))
    if code[2] != "I":
        skew = rng.normal(size=(each[code[2]], D, D))
        axes = scipy.linalg.expm(size * (skew - skew.swapaxes(1, 2))) @ axes
    return weights, means, (axes * variances[:, None, :]) @ axes.swapaxes(1, 2)


def slopes(function, mixture, code, n_directions=30):
    """Slope over the root of the curvature along random directions within the structure, by central differences."""
    here, found = function(*moved(mixture, code, np.random.default_rng(0), 0.0)), []
    for seed in range(n_directions):
        up, down = (function(*moved(mixture, code, np.random.default_rng(seed), s)) for s in (1e-4, -1e-4))
        found.append(abs(up - down) / 2 / np.sqrt(abs(up - 2 * here + down)))
    return np.array(found)


@pytest.mark.parametrize("code", slow_unless_fast(STRUCTURES))
def test_answer_is_a_mode_of_the_written_out_posterior(code):
    x = bg.datasets.load("iris").values
    arguments = {"mean_shrinkage": 0.5, "degrees_of_freedom": 9.0, "concentration": 1.5}
    fit = bg.fit_em(
        x, 3, covariance_type=code, start=groups_of("iris"), tol=1e-11, prior=bg.ConjugatePrior(**arguments)
    )
    assert fit.status is EMStatus.CONVERGED
    density = Density(x, code, 3, kappa=0.5, nu=9.0, alpha=1.5)
    # tol = 1e-11 is 4.5e-6 standard errors; a step of 1e-4 in twenty coordinates at once is 1e-2 of these, and the
    # slope in their units is known to the square of that.
    assert slopes(density.posterior, fit.mixture, code).max() < 1e-3
    assert np.median(slopes(density.likelihood, fit.mixture, code)) > 0.1  # the control: without the prior
    without_count = Density(x, code, 3, kappa=0.5, nu=8.0, alpha=1.5)
    assert np.median(slopes(without_count.posterior, fit.mixture, code)) > 0.01


def test_random_moves_keep_the_structure():
    """The control of the test above: the moved covariances have what the letters say in common, and move."""
    for code in STRUCTURES:
        x = bg.datasets.load("faithful").values
        mixture = bg.fit_em(x, 2, covariance_type="EII", start=groups_of("faithful")).mixture
        covariances = moved(mixture, code, np.random.default_rng(0), 0.1)[2]
        values = np.linalg.eigvalsh(covariances)
        assert (np.ptp(np.log(values.prod(1))) < 1e-12) == (code[0] == "E")
        shapes = values / np.sqrt(values.prod(1))[:, None]
        assert (np.ptp(shapes, axis=0).max() < 1e-12) == (code[1] in "EI")
        assert (np.abs(covariances[:, 0, 1]).max() < 1e-9) == (code[2] == "I")


def test_given_mean_and_scale_are_in_the_units_of_the_data(faithful):
    mean, scale = [2.5, 60.0], [[0.4, 1.0], [1.0, 90.0]]
    prior = bg.ConjugatePrior(mean_shrinkage=30.0, mean=mean, scale=scale)
    fit = bg.fit_em(faithful, 2, prior=prior, tol=1e-11)
    density = Density(faithful.values, "VVV", 2, kappa=30.0, mean=mean, scale=scale)
    assert slopes(density.posterior, fit.mixture, "VVV").max() < 1e-3
    elsewhere = Density(faithful.values, "VVV", 2, kappa=30.0, scale=scale)
    assert np.median(slopes(elsewhere.posterior, fit.mixture, "VVV")) > 0.1


def test_scale_as_a_number_is_a_multiple_of_the_identity(faithful):
    one, other = (bg.fit_em(faithful, 2, prior=bg.ConjugatePrior(scale=scale)) for scale in (2.0, 2 * np.eye(2)))
    np.testing.assert_array_equal(one.mixture.covariances, other.mixture.covariances)


def test_one_component_has_the_textbook_mode(faithful):
    """Normal-inverse-Wishart: the mode of the joint density, Gelman et al., Bayesian Data Analysis, section 3.6."""
    x = faithful.values
    kappa, nu, mean, scale = 20.0, 12.0, np.array([3.0, 60.0]), np.diag([2.0, 300.0])
    prior = bg.ConjugatePrior(mean_shrinkage=kappa, degrees_of_freedom=nu, mean=mean, scale=scale)
    mixture = bg.fit_em(x, 1, prior=prior).mixture
    n, center = len(x), x.mean(0)
    scatter = (x - center).T @ (x - center) + kappa * n / (kappa + n) * np.outer(center - mean, center - mean)
    np.testing.assert_allclose(mixture.means[0], (n * center + kappa * mean) / (n + kappa), rtol=1e-12)
    np.testing.assert_allclose(mixture.covariances[0], (scale + scatter) / (nu + n + 2 + 2), rtol=1e-10)


def test_standard_errors_are_those_of_the_posterior(faithful):
    """Laplace's approximation for one component: the mean's is that of n + kappa points."""
    fit = bg.fit_em(faithful, 1, prior=bg.ConjugatePrior(mean_shrinkage=100.0))
    np.testing.assert_allclose(fit.standard_errors["means"][0], fit.mixture.scales[0] / np.sqrt(372), rtol=1e-9)


def test_standard_errors_are_the_curvature_of_the_posterior(faithful):
    """By second differences of the written out density, in one feature, where the prior counts for something."""
    x = faithful.values[:, 1:]
    prior = bg.ConjugatePrior(mean_shrinkage=5.0, degrees_of_freedom=8.0, concentration=4.0)
    fit = bg.fit_em(x, 2, prior=prior, tol=1e-12)
    density = Density(x, "VVV", 2, kappa=5.0, nu=8.0, alpha=4.0)
    # In one feature the default scale is the variance over K squared.
    np.testing.assert_allclose(density.scale, [[x.var(ddof=1) / 4]], rtol=1e-12)

    def gathered(values):
        return np.concatenate([values["weights"][:1], values["means"].ravel(), values["covariances"].ravel()])

    def curvature(function):
        at, moves = gathered({name: getattr(fit.mixture, name) for name in fit.standard_errors}), np.diag(steps)

        def of(theta):
            return function(np.array([theta[0], 1 - theta[0]]), theta[1:3, None], theta[3:, None, None])

        signs = [(a, b) for a in (1, -1) for b in (1, -1)]
        four = [[[a * b * of(at + a * one + b * other) for a, b in signs] for other in moves] for one in moves]
        return -np.sum(four, -1) / 4 / np.outer(steps, steps)

    # Steps of a hundredth of a standard error: 1e-4 nats, known to 1e-12, and a truncation of (1e-2)^2.
    steps = gathered(fit.standard_errors) * 1e-2
    expected = np.sqrt(np.diag(np.linalg.inv(curvature(density.posterior))))
    np.testing.assert_allclose(steps * 100, expected, rtol=1e-3)
    of_likelihood = np.sqrt(np.diag(np.linalg.inv(curvature(density.likelihood))))
    assert np.abs(of_likelihood / expected - 1).max() > 0.01


# What every mode must satisfy


@pytest.mark.parametrize("code", slow_unless_fast(STRUCTURES))
def test_path_rises_to_the_log_posterior(code, faithful):
    fit = bg.fit_em(faithful, 2, covariance_type=code, prior=bg.ConjugatePrior(mean_shrinkage=1.0))
    # Rounding of 272 logarithms, and the inner iterations' tolerance of 1e-13 for each point.
    assert np.diff(fit.path).min() > -1e-9
    assert fit.path[-1] - fit.path[0] > 1e-3
    assert fit.kernel_error < 1e-9
    density = Density(faithful.values, code, 2, kappa=1.0)
    # The path is the log posterior density but for a constant, which differences do not know.
    other = bg.fit_em(faithful, 2, covariance_type=code, prior=bg.ConjugatePrior(mean_shrinkage=1.0), tol=1.0)
    values = [
        density.posterior(fit.mixture.weights, fit.mixture.means, fit.mixture.covariances) for fit in (fit, other)
    ]
    np.testing.assert_allclose(fit.path[-1] - other.path[-1], values[0] - values[1], rtol=0, atol=1e-8)


def test_prior_cures_the_collapse_onto_repeated_rows():
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(size=(60, 2)), np.full((30, 2), 20.5)])
    labels = np.repeat([0, 1], [58, 32])
    with pytest.warns(bg.FitWarning, match="COLLAPSED.*ConjugatePrior"):
        plain = bg.fit_em(x, 2, start=labels)
    assert plain.status is EMStatus.COLLAPSED
    cured = bg.fit_em(x, 2, start=labels, prior=bg.ConjugatePrior())
    assert cured.status is EMStatus.CONVERGED
    # With the repeated rows to itself the second component's scatter is but the prior's.
    scatter = np.cov(x.T) / 2 + 0.01 * 30 / 30.01 * np.outer(20.5 - x.mean(0), 20.5 - x.mean(0))
    np.testing.assert_allclose(cured.mixture.covariances[1], scatter / (4 + 30 + 4), rtol=1e-6)


def test_criteria_use_the_likelihood_without_the_prior(faithful, faithful_mle):
    fit = bg.fit_em(faithful, 2, prior=bg.ConjugatePrior())
    np.testing.assert_allclose(fit.log_likelihood, fit.mixture.log_prob(faithful.values).sum(), rtol=1e-14)
    np.testing.assert_allclose(fit.bic(), -2 * fit.log_likelihood + 11 * np.log(272), rtol=1e-14)
    assert fit.n_parameters == faithful_mle.n_parameters
    assert fit.log_likelihood < faithful_mle.log_likelihood
    assert abs(fit.path[-1] - fit.log_likelihood) > 1


@pytest.mark.parametrize("alpha", [1.0, 50.0, 1e6])
def test_concentration_pulls_weights_towards_equality(faithful, alpha):
    fit = bg.fit_em(faithful, 2, prior=bg.ConjugatePrior(concentration=alpha))
    counts = fit.responsibilities().sum(0)
    np.testing.assert_allclose(fit.mixture.weights, (counts + alpha - 1) / (272 + 2 * (alpha - 1)), rtol=1e-6)
    weight = {1.0: 0.356, 50.0: 0.39, 1e6: 0.5}[alpha]
    np.testing.assert_allclose(fit.mixture.weights[0], weight, rtol=0, atol=0.01)


@pytest.mark.parametrize("kappa", [0.0, 0.01, 100.0])
def test_means_are_shrunk_by_as_many_points_as_the_prior_is_worth(faithful, kappa):
    fit = bg.fit_em(faithful, 2, start=groups_of("faithful"), prior=bg.ConjugatePrior(mean_shrinkage=kappa), tol=1e-12)
    shares = fit.responsibilities()
    counts = shares.sum(0)[:, None]
    expected = (shares.T @ faithful.values + kappa * faithful.values.mean(0)) / (counts + kappa)
    np.testing.assert_allclose(fit.mixture.means, expected, rtol=1e-6)
    pull = np.abs(fit.mixture.means - shares.T @ faithful.values / counts) / fit.mixture.scales
    assert (pull.max() < 1e-6) == (kappa == 0)


@pytest.mark.parametrize("code", ["VVV", "VVI", "EII"])
def test_fit_of_data_in_other_units_is_the_same(faithful, code):
    """The default prior scales with the data: with each column, unless the structure mixes the columns."""
    factor = {"VVV": np.array([60.0, 1 / 1440]), "VVI": np.array([1e3, 1e3]), "EII": np.array([1e3, 1e3])}[code]
    arguments = {"covariance_type": code, "start": groups_of("faithful"), "prior": bg.ConjugatePrior()}
    one = bg.fit_em(faithful, 2, **arguments)
    other = bg.fit_em(faithful.values * factor + 7, 2, **arguments)
    np.testing.assert_allclose(other.log_likelihood, one.log_likelihood - 272 * np.log(factor).sum(), rtol=0, atol=1e-7)
    np.testing.assert_allclose(other.mixture.means, one.mixture.means * factor + 7, rtol=1e-7)
    np.testing.assert_allclose(other.mixture.scales, one.mixture.scales * factor, rtol=1e-7)
    fixed_scale = bg.fit_em(faithful.values * factor + 7, 2, **arguments | {"prior": bg.ConjugatePrior(scale=1.0)})
    assert np.abs(fixed_scale.mixture.scales / one.mixture.scales / factor - 1).max() > 1e-4


def test_prior_meets_held_parameters_and_labels(faithful):
    """Fully labelled with one covariance held: each part in closed form."""
    x, labels, held = faithful.values, groups_of("faithful"), np.array([[0.2, 1.0], [1.0, 30.0]])
    prior = bg.ConjugatePrior(mean_shrinkage=2.0, concentration=3.0)
    mixture = bg.fit_em(x, 2, labels=labels, fixed={"covariances": {1: held}}, prior=prior).mixture
    first, center = x[labels == 0], x.mean(0)
    n = len(first)
    mean = (first.sum(0) + 2 * center) / (n + 2)
    offset = first.mean(0) - center
    scatter = (first - first.mean(0)).T @ (first - first.mean(0)) + 2 * n / (n + 2) * np.outer(offset, offset)
    np.testing.assert_allclose(mixture.means[0], mean, rtol=1e-10)
    np.testing.assert_allclose(mixture.covariances[0], (scatter + np.cov(x.T) / 2) / (n + 4 + 4), rtol=1e-9)
    np.testing.assert_allclose(mixture.covariances[1], held, rtol=1e-14)
    np.testing.assert_allclose(mixture.weights[0], (n + 2) / (272 + 4), rtol=1e-10)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[({"mean_shrinkage": value}, "mean_shrinkage") for value in (-0.1, np.nan, np.inf, "1", None, True)],
        *[({"concentration": value}, "concentration.*at least 1") for value in (0.5, 0, np.inf, "1", None)],
        *[({"degrees_of_freedom": value}, "degrees_of_freedom") for value in (-1.0, np.nan, "4", True)],
    ],
    ids=repr,
)
@pytest.mark.wrong_types
def test_bad_numbers_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        inspect.unwrap(bg.ConjugatePrior)(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[({"mean": value}, r"mean of the.*shape \(2,\)") for value in (0.0, [1.0, 2.0, 3.0], [1.0, np.nan], "zero")],
        *[({"scale": value}, "scale of the.*finite numbers") for value in (np.eye(3), [1.0, 2.0], np.inf, "wide")],
        *[({"scale": value}, "scale of the.*positive definite") for value in (0.0, -1.0, np.ones((2, 2)))],
        ({"scale": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric"),
    ],
    ids=repr,
)
@pytest.mark.wrong_types
def test_bad_means_and_scales_are_refused(faithful, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        bg.fit_em(faithful, 2, prior=bg.ConjugatePrior(**arguments))


@pytest.mark.wrong_types
@pytest.mark.parametrize("prior", ["conjugate", 1.0, {}], ids=repr)
def test_other_priors_are_refused(faithful, prior):
    with pytest.raises(ArgumentError, match=r"prior is.*a ConjugatePrior"):
        inspect.unwrap(bg.fit_em)(faithful, 2, prior=prior)
