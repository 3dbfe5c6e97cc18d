"""Fits in which the component of some rows, or of all, is known: closed forms, mclust, and finite differences."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mle.status import EMStatus

MCLUST = json.loads((Path(__file__).parents[1] / "references" / "mclust_labels.json").read_text())


@pytest.fixture(scope="module")
def iris() -> bg.Table:
    return bg.datasets.load("iris")


@pytest.fixture(scope="module")
def species(iris: bg.Table) -> np.ndarray:
    return np.unique(iris.labels, return_inverse=True)[1]


@pytest.fixture(scope="module")
def every_tenth(species: np.ndarray) -> np.ndarray:
    return np.where(np.arange(150) % 10 == 0, species, -1)


def mixture_of_mclust(values):
    weights, covariances = np.array(values["pro"]), np.array(values["sigma"])
    symmetric = (covariances + covariances.swapaxes(1, 2)) / 2
    return bg.Mixture.from_moments(weights / weights.sum(), values["mean"], symmetric)


def log_joint(x, mixture):
    """The textbook formula for log p(x, z), point by point (N, K)."""
    parts = [multivariate_normal(m, c).logpdf(x) for m, c in zip(mixture.means, mixture.covariances, strict=True)]
    return mixture.log_weights + np.stack(parts, 1)


def log_likelihood(x, labels, mixture):
    joint = log_joint(x, mixture)
    known = labels >= 0
    return joint[known, labels[known]].sum() + logsumexp(joint[~known], axis=1).sum()


# All labels known: closed forms


def test_full_covariances_are_those_of_the_classes(iris, species):
    fit = bg.fit_em(iris, 3, labels=species)
    groups = [iris.values[species == k] for k in range(3)]
    assert fit.status is EMStatus.CONVERGED
    np.testing.assert_allclose(fit.mixture.weights, 1 / 3, rtol=1e-12)
    np.testing.assert_allclose(fit.mixture.means, [g.mean(0) for g in groups], rtol=1e-12)
    np.testing.assert_allclose(fit.mixture.covariances, [np.cov(g.T, ddof=0) for g in groups], rtol=1e-10, atol=1e-14)


def test_tied_covariance_is_that_of_linear_discriminant_analysis(iris, species):
    fit = bg.fit_em(iris, 3, covariance_type="tied", labels=species)
    peer = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(iris.values, species)
    np.testing.assert_allclose(fit.mixture.weights, peer.priors_, rtol=1e-12)
    np.testing.assert_allclose(fit.mixture.means, peer.means_, rtol=1e-12)
    # Of this solver the covariances within classes are divided by N_k, weighted by N_k / N: maximum likelihood.
    np.testing.assert_allclose(fit.mixture.covariances, np.tile(peer.covariance_, (3, 1, 1)), rtol=1e-10)
    np.testing.assert_allclose(fit.responsibilities(), peer.predict_proba(iris.values), rtol=0, atol=1e-10)


def test_diagonal_covariances_are_those_of_naive_bayes(iris, species):
    fit = bg.fit_em(iris, 3, covariance_type="diag", labels=species)
    peer = GaussianNB(var_smoothing=0).fit(iris.values, species)
    np.testing.assert_allclose(fit.mixture.means, peer.theta_, rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(fit.mixture.covariances, axis1=1, axis2=2), peer.var_, rtol=1e-10)
    np.testing.assert_allclose(fit.responsibilities(), peer.predict_proba(iris.values), rtol=0, atol=1e-10)


def test_spherical_variances_are_means_over_features(iris, species):
    fit = bg.fit_em(iris, 3, covariance_type="spherical", labels=species)
    variances = [iris.values[species == k].var(0).mean() for k in range(3)]
    np.testing.assert_allclose(fit.mixture.scales, np.sqrt(variances)[:, None] * np.ones(4), rtol=1e-10)


def test_log_likelihood_counts_the_known_label(iris, species):
    fit = bg.fit_em(iris, 3, labels=species)
    joint = log_joint(iris.values, fit.mixture)
    np.testing.assert_allclose(fit.log_likelihood, joint[np.arange(150), species].sum(), rtol=1e-13)
    np.testing.assert_allclose(fit.path[-1], fit.log_likelihood, rtol=0, atol=1e-9)
    assert logsumexp(joint, axis=1).sum() > fit.log_likelihood + 1  # the control: labels summed out


def test_eigenvalue_discriminant_analysis_is_that_of_mclust(iris, species):
    fit = bg.fit_em(iris, 3, covariance_type="VEV", labels=species)
    np.testing.assert_allclose(fit.log_likelihood, MCLUST["edda"]["complete_loglik"], rtol=0, atol=3e-8)
    np.testing.assert_allclose(fit.mixture.log_prob(iris.values).sum(), MCLUST["edda"]["loglik"], rtol=0, atol=1e-5)
    distance = np.abs(fit.mixture.covariances - MCLUST["edda"]["sigma"])
    # tol = 1e-8 is 1.4e-4 standard errors, and a covariance has a relative one of sqrt(2 / 50) = 0.2.
    assert (distance / np.einsum("ki,kj->kij", fit.mixture.scales, fit.mixture.scales)).max() < 3e-5


def test_weights_of_rows_weigh_known_labels(iris, species):
    weights = np.random.default_rng(0).integers(0, 4, 150)
    fit = bg.fit_em(iris, 3, labels=species, sample_weight=weights)
    totals = np.bincount(species, weights)
    np.testing.assert_allclose(fit.mixture.weights, totals / totals.sum(), rtol=1e-12)
    means = [np.average(iris.values[species == k], axis=0, weights=weights[species == k]) for k in range(3)]
    np.testing.assert_allclose(fit.mixture.means, means, rtol=1e-12)


def test_order_is_that_of_the_labels(iris, species):
    fit = bg.fit_em(iris, 3, labels=2 - species)
    np.testing.assert_allclose(fit.mixture.means[2], iris.values[:50].mean(0), rtol=1e-12)
    assert fit.mixture.means[0, 0] > fit.mixture.means[2, 0]


# How labels may be given


@pytest.mark.parametrize(
    "convert",
    [
        lambda labels: labels,
        lambda labels: labels.astype(np.int8),
        lambda labels: labels.tolist(),
        lambda labels: labels.astype(float),
        lambda labels: np.where(labels < 0, np.nan, labels),
        lambda labels: np.array([None if label < 0 else label for label in labels], dtype=object),
        lambda labels: [None if label < 0 else int(label) for label in labels],
    ],
    ids=["integers", "bytes", "list", "floats", "floats with NaN", "objects with None", "list with None"],
)
def test_unknown_labels_are_minus_one_or_nan_or_none(iris, every_tenth, convert):
    fit = bg.fit_em(iris, 3, covariance_type="tied", labels=convert(every_tenth))
    np.testing.assert_array_equal(fit.problem.labels, every_tenth)


def test_no_label_known_is_an_ordinary_fit(faithful, faithful_mle):
    fit = bg.fit_em(faithful, 2, labels=np.full(272, -1))
    np.testing.assert_array_equal(fit.path, faithful_mle.path)
    assert not fit.problem.names_components


# Some labels known


def test_answer_of_mclust_is_a_maximum_though_not_the_best(iris, species, every_tenth):
    expected = MCLUST["ssc"]
    given = bg.fit_em(iris, 3, covariance_type="VEV", labels=every_tenth, start=mixture_of_mclust(expected))
    assert given.status is EMStatus.CONVERGED
    np.testing.assert_allclose(given.log_likelihood, expected["loglik"], rtol=0, atol=3e-8)
    np.testing.assert_allclose(given.mixture.weights, expected["pro"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(given.mixture.means, expected["mean"], rtol=0, atol=1e-4)
    ours = bg.fit_em(iris, 3, covariance_type="VEV", labels=every_tenth)
    np.testing.assert_allclose(ours.log_likelihood, -187.5516, rtol=0, atol=1e-4)
    accuracies = [(fit.responsibilities().argmax(1) == species).mean() for fit in (given, ours)]
    np.testing.assert_allclose(accuracies, [1 - 19 / 150, 0.97], rtol=0, atol=0.01)


@pytest.mark.parametrize("covariance_type", ["full", "VEV", "spherical"])
def test_path_rises_to_the_textbook_log_likelihood(iris, every_tenth, covariance_type):
    fit = bg.fit_em(iris, 3, covariance_type=covariance_type, labels=every_tenth)
    # Rounding of 150 logarithms, and for VEV the inner iterations' tolerance of 1e-13 for each point.
    assert np.diff(fit.path).min() > -1e-10
    assert fit.path[-1] - fit.path[0] > 0.1
    np.testing.assert_allclose(fit.path[-1], fit.log_likelihood, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        fit.log_likelihood, log_likelihood(iris.values, every_tenth, fit.mixture), rtol=0, atol=1e-9
    )
    assert fit.kernel_error < 1e-9


def test_known_labels_only_enter_the_fit_and_not_the_responsibilities(iris, every_tenth):
    """Responsibilities are those of the mixture, as of new points: at a labelled point they may doubt its label."""
    labels = every_tenth.copy()
    labels[0] = 2  # a setosa, said to be a virginica
    fit = bg.fit_em(iris, 3, covariance_type="tied", labels=labels)
    np.testing.assert_allclose(fit.responsibilities(), fit.mixture.responsibilities(iris.values), rtol=1e-14)
    assert fit.responsibilities()[0].argmax() == 0
    # Yet in the fit it does count as a virginica.
    assert fit.log_likelihood < bg.fit_em(iris, 3, covariance_type="tied", labels=every_tenth).log_likelihood - 10


def test_wrong_label_in_the_formula_would_be_noticed(iris, every_tenth):
    fit = bg.fit_em(iris, 3, covariance_type="tied", labels=every_tenth)
    other = np.where(every_tenth < 0, -1, (every_tenth + 1) % 3)
    assert abs(log_likelihood(iris.values, other, fit.mixture) - fit.log_likelihood) > 10


@pytest.mark.slow
def test_integer_weights_with_labels_are_repeated_rows(iris, every_tenth):
    weights = np.random.default_rng(1).integers(0, 4, 150)
    start = bg.fit_em(iris, 3, labels=every_tenth, covariance_type="tied").mixture
    arguments = {"covariance_type": "diag", "start": start, "tol": 1e-12}
    weighted = bg.fit_em(iris, 3, labels=every_tenth, sample_weight=weights, **arguments)
    repeated = bg.fit_em(
        np.repeat(iris.values, weights, axis=0), 3, labels=np.repeat(every_tenth, weights), **arguments
    )
    # The same climb but for the order of the sums: path and answer agree to a multiple of the rounding.
    np.testing.assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(weighted.mixture.means, repeated.mixture.means, rtol=1e-6)
    for name, errors in repeated.standard_errors.items():
        np.testing.assert_allclose(weighted.standard_errors[name], errors, rtol=1e-5, atol=1e-12, err_msg=name)
    unweighted = bg.fit_em(iris, 3, labels=every_tenth, **arguments)
    assert np.abs(unweighted.mixture.means - repeated.mixture.means).max() > 1e-3


@pytest.mark.parametrize("share", ["none", "some", "all"])
def test_icl_is_the_criterion_of_the_best_labels(iris, species, every_tenth, share):
    """Minus twice log p(x, z) with the known labels and the most probable others, plus the penalty."""
    labels = {"none": np.full(150, -1), "some": every_tenth, "all": species}[share]
    fit = bg.fit_em(iris, 3, covariance_type="tied", labels=labels)
    joint = log_joint(iris.values, fit.mixture)
    best = np.where(labels >= 0, labels, joint.argmax(1))
    expected = -2 * joint[np.arange(150), best].sum() + fit.n_parameters * np.log(150)
    np.testing.assert_allclose(fit.icl(), expected, rtol=1e-12)
    assert (fit.icl() - fit.bic() < 1e-9) == (share == "all")


def test_class_without_labelled_rows_is_found(iris, species):
    """Labels for the first two species only: what is left over becomes the third."""
    labels = np.where((np.arange(150) % 5 == 0) & (species < 2), species, -1)
    fit = bg.fit_em(iris, 3, labels=labels)
    assert fit.status is EMStatus.CONVERGED
    found = fit.responsibilities().argmax(1)
    assert (found == species).mean() > 0.95
    assert (found[species == 2] == 2).mean() > 0.9


def test_labels_tell_components_apart_that_data_do_not():
    """Two equal Gaussians: labels keep them apart, where without labels the likelihood is flat."""
    rng = np.random.default_rng(5)
    x, labels = rng.normal(size=(400, 1)), rng.integers(0, 2, 400)
    fit = bg.fit_em(x, 2, labels=labels)
    expected = [np.std(x[labels == k]) / np.sqrt((labels == k).sum()) for k in range(2)]
    np.testing.assert_allclose(fit.standard_errors["means"][:, 0], expected, rtol=1e-9)


def hessian_by_differences(function, at, steps):
    """Central second differences."""
    n, moves = len(at), np.diag(steps)
    values = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            four = [function(at + s * moves[i] + t * moves[j]) * s * t for s in (1, -1) for t in (1, -1)]
            values[i, j] = values[j, i] = sum(four) / 4 / steps[i] / steps[j]
    return values


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_standard_errors_are_those_of_finite_differences(faithful, share):
    x = faithful.values[:, 1:]
    rng = np.random.default_rng(2)
    truth = (faithful.values[:, 0] > 3).astype(int)
    labels = np.where(rng.random(272) < share, truth, -1)
    fit = bg.fit_em(x, 2, labels=labels, tol=1e-12)

    def of(theta):
        weight, means, variances = theta[0], theta[1:3], theta[3:]
        joint = np.log([weight, 1 - weight])[:, None] + norm.logpdf(x.T, means[:, None], np.sqrt(variances)[:, None])
        known = labels >= 0
        return joint[labels[known], known].sum() + logsumexp(joint[:, ~known], axis=0).sum()

    mixture, errors = fit.mixture, fit.standard_errors
    at = np.concatenate([mixture.weights[:1], mixture.means[:, 0], mixture.covariances.ravel()])
    ours = np.concatenate([errors["weights"][:1], errors["means"][:, 0], errors["covariances"].ravel()])
    # Steps of a hundredth of a standard error: 1e-4 nats, known to 1e-12, and a truncation of (1e-2)^2.
    inverse = np.linalg.inv(-hessian_by_differences(of, at, ours * 1e-2))
    np.testing.assert_allclose(ours, np.sqrt(np.diag(inverse)), rtol=1e-3)


def test_labels_make_standard_errors_smaller(faithful):
    """The control of the differences above: with and without labels the errors differ by more than its tolerance."""
    x, truth = faithful.values[:, 1:], (faithful.values[:, 0] > 3).astype(int)
    without, with_labels = (bg.fit_em(x, 2, labels=labels) for labels in (None, truth))
    ratio = with_labels.standard_errors["means"] / without.standard_errors["means"]
    assert (ratio < 0.95).all()


# Arguments


def with_first(value, dtype=float):
    labels = np.full(272, -1, dtype=dtype)
    labels[0] = value
    return labels


BAD = {
    "too few": np.zeros(271, int),
    "a column": np.zeros((272, 1), int),
    "a number": 1,
    "counted from 1": np.repeat([1, 2], 136),
    "below -1": with_first(-2, int),
    "not whole": with_first(0.5),
    "infinite": with_first(np.inf),
    "words": np.repeat(["short", "long"], 136),
    "words as objects": np.repeat(["short", None], 136).astype(object),
    "truths": np.repeat([True, False], 136),
}


@pytest.mark.parametrize("labels", BAD.values(), ids=BAD)
@pytest.mark.wrong_types
def test_bad_labels_are_refused(faithful, labels):
    with pytest.raises(
        ArgumentError, match=r"labels (has shape|is one int).*272 integers from 0 to 1, or -1.*return_inverse"
    ):
        inspect.unwrap(bg.fit_em)(faithful, 2, labels=labels)
