"""Sandwich and score errors: another program's numbers, moments in closed form, finite differences, replication."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import bayes_gmm as bg
from bayes_gmm.core.linalg import unvech
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.mixture.covariance_structures import STRUCTURES, Structure
from bayes_gmm.mle.standard_errors import KINDS

REFERENCE = json.loads((Path(__file__).parents[1] / "references" / "faithful_standard_errors.json").read_text())
KEYS = {"information": "se_observed_information", "sandwich": "se_sandwich", "scores": "se_opg"}


@pytest.fixture(scope="module")
def sharp(faithful: bg.Table) -> bg.EMFit:
    """The fit of two components to a millionth of a standard error."""
    return bg.fit_em(faithful, 2, tol=1e-13)


# Another program


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_faithful_are_those_of_the_reference(sharp, kind):
    expected, errors = REFERENCE[KEYS[kind]], sharp.errors(kind)
    np.testing.assert_allclose(errors["weights"], expected["pro1"], rtol=1e-6)
    for k, prefix in enumerate(("1", "2")):
        means = [expected[f"mu{prefix}_{column}"] for column in ("eruptions", "waiting")]
        np.testing.assert_allclose(errors["means"][k], means, rtol=1e-6)
        s11, s12, s22 = (expected[f"S{prefix}_{index}"] for index in ("11", "12", "22"))
        np.testing.assert_allclose(errors["covariances"][k], [[s11, s12], [s12, s22]], rtol=1e-6)


def test_the_three_kinds_differ(sharp):
    """The control: by per cents, where the comparison is to a millionth."""
    of_kinds = np.array([sharp.errors(kind)["means"] for kind in KINDS])
    assert np.ptp(of_kinds / of_kinds[:1], axis=0).min() > 0.01


def test_usual_errors_are_those_of_the_information(sharp):
    for name, errors in sharp.errors("information").items():
        np.testing.assert_array_equal(sharp.standard_errors[name], errors)


# One component: moments


def test_sandwich_of_one_component_is_made_of_fourth_moments(faithful):
    x = faithful.values
    errors = bg.fit_em(x, 1).errors("sandwich")
    offsets = x - x.mean(0)
    products = offsets[:, :, None] * offsets[:, None, :]
    np.testing.assert_allclose(errors["means"][0], x.std(0) / np.sqrt(272), rtol=1e-9)
    np.testing.assert_allclose(errors["covariances"][0], products.std(0) / np.sqrt(272), rtol=1e-8)
    # By the delta method that of a standard deviation is the variance's over twice it.
    variances = np.diagonal(products.std(0)) / np.sqrt(272)
    np.testing.assert_allclose(errors["scales"][0], variances / 2 / x.std(0), rtol=1e-8)


def test_score_errors_of_one_component_are_made_of_skewness_and_kurtosis():
    """Inverse of N times [[1 / s^2, g / 2 s^3], [g / 2 s^3, (k - 1) / 4 s^4]]."""
    x = bg.datasets.load("galaxies").values
    errors = bg.fit_em(x, 1).errors("scores")
    u = (x - x.mean()) / x.std()
    skewness, kurtosis = (u**3).mean(), (u**4).mean()
    rest = kurtosis - 1 - skewness**2
    mean = x.std() * np.sqrt((kurtosis - 1) / rest / len(x))
    np.testing.assert_allclose(errors["means"], [[mean]], rtol=1e-8)
    np.testing.assert_allclose(errors["covariances"], [[[2 * x.var() / np.sqrt(rest * len(x))]]], rtol=1e-8)


def test_sandwich_of_known_classes_is_made_of_their_moments(faithful):
    x, labels = faithful.values, (faithful.values[:, 0] > 3).astype(int)
    errors = bg.fit_em(x, 2, labels=labels).errors("sandwich")
    for k in range(2):
        group = x[labels == k]
        offsets = group - group.mean(0)
        products = offsets[:, :, None] * offsets[:, None, :]
        np.testing.assert_allclose(errors["means"][k], group.std(0) / np.sqrt(len(group)), rtol=1e-8)
        np.testing.assert_allclose(errors["covariances"][k], products.std(0) / np.sqrt(len(group)), rtol=1e-7)
    share = labels.mean()
    np.testing.assert_allclose(errors["weights"], np.sqrt(share * (1 - share) / 272), rtol=1e-9)


# Finite differences of the textbook likelihood, in coordinates chosen by hand


def derivatives(function, at, steps, weights):
    """Scores (N, P), and Hessian (P, P) of the weighted sum, of a function with values (N,), by central differences."""
    moves = np.diag(steps)
    scores = np.stack([(function(at + m) - function(at - m)) / 2 / s for m, s in zip(moves, steps, strict=True)], 1)
    hessian = np.empty((len(at), len(at)))
    for i, one in enumerate(moves):
        for j, other in enumerate(moves):
            four = [weights @ function(at + a * one + b * other) * a * b for a in (1, -1) for b in (1, -1)]
            hessian[i, j] = sum(four) / 4 / steps[i] / steps[j]
    return scores, hessian


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "case", ["all free", "tied", "weights held", "mean held", "some labels known", "weighted", "labels and weights"]
)
def test_errors_are_those_of_finite_differences(faithful, kind, case):
    x = faithful.values[:, 1]
    truth, rng = (faithful.values[:, 0] > 3).astype(int), np.random.default_rng(3)
    labels = np.where(rng.random(272) < 0.3, truth, -1) if "labels" in case else np.full(272, -1)
    weights = rng.integers(0, 4, 272).astype(float) if "weight" in case and "held" not in case else np.ones(272)
    fixed = {"weights held": {"weights": [0.4, 0.6]}, "mean held": {"means": {0: [53.0]}}}.get(case)
    covariance_type = "tied" if case == "tied" else "full"
    fit = bg.fit_em(
        x[:, None], 2, covariance_type=covariance_type, labels=labels, sample_weight=weights, fixed=fixed, tol=1e-12
    )

    def log_density(theta):
        share, means, variances = theta[0], theta[1:3], theta[3:]
        scales = np.sqrt(np.broadcast_to(variances, 2))
        joint = np.log([share, 1 - share])[:, None] + norm.logpdf(x, means[:, None], scales[:, None])
        return np.where(labels >= 0, joint[labels, np.arange(272)], logsumexp(joint, axis=0))

    mixture, errors = fit.mixture, fit.errors(kind)
    n_variances = 1 if case == "tied" else 2

    def gathered(values):
        covariances = np.ravel(values["covariances"])[:n_variances]
        return np.concatenate([values["weights"][:1], np.ravel(values["means"]), covariances])

    at, ours = gathered({name: getattr(mixture, name) for name in errors}), gathered(errors)
    free = {"weights held": np.arange(1, 5), "mean held": np.array([0, 2, 3, 4])}.get(case, np.arange(len(at)))

    def of_free(theta):
        everything = at.copy()
        everything[free] = theta
        return log_density(everything)

    # Steps of a hundredth of a standard error: 1e-4 nats, known to 1e-12, and a truncation of (1e-2)^2.
    scores, hessian = derivatives(of_free, at[free], gathered(fit.errors())[free] * 1e-2, weights)
    products, inverse = (scores.T * weights) @ scores, np.linalg.inv(-hessian)
    covariance = {
        "information": inverse,
        "sandwich": inverse @ products @ inverse,
        "scores": np.linalg.inv(products),
    }[kind]
    np.testing.assert_allclose(ours[free], np.sqrt(np.diag(covariance)), rtol=2e-3)
    held = np.setdiff1d(np.arange(len(at)), free)
    np.testing.assert_array_equal(ours[held], 0)


# Weights of rows


@pytest.mark.parametrize("kind", KINDS)
def test_integer_weights_are_repeated_rows(faithful, sharp, kind):
    weights = np.random.default_rng(1).integers(0, 4, 272)
    arguments = {"start": sharp.mixture, "tol": 1e-13}
    weighted = bg.fit_em(faithful, 2, sample_weight=weights, **arguments).errors(kind)
    repeated = bg.fit_em(np.repeat(faithful.values, weights, axis=0), 2, **arguments).errors(kind)
    for name, errors in repeated.items():
        np.testing.assert_allclose(weighted[name], errors, rtol=1e-5, atol=1e-12, err_msg=name)
    assert np.abs(weighted["means"] / sharp.errors(kind)["means"] - 1).max() > 0.05


# What the sandwich is for


@pytest.fixture(scope="module")
def replicates():
    """Variances of Laplace noise, and their errors by each kind, over three hundred samples of five hundred."""
    rng, start = np.random.default_rng(7), np.zeros(500, int)
    fits = [bg.fit_em(rng.laplace(size=(500, 1)), 1, start=start) for _ in range(300)]
    variances = np.array([fit.mixture.covariances[0, 0, 0] for fit in fits])
    return variances, {kind: np.array([fit.errors(kind)["covariances"][0, 0, 0] for fit in fits]) for kind in KINDS}


def test_sandwich_is_right_where_the_data_are_no_gaussians(replicates):
    variances, errors = replicates
    # The sd of 300 variances is known to 1 / sqrt(600) = 4.1 %, of nearly normal ones; four times that.
    np.testing.assert_allclose(errors["sandwich"].mean(), variances.std(ddof=1), rtol=0.16)
    # A Laplace density has a kurtosis of 6: sqrt(6 - 1) s^2 / sqrt(N), where a Gaussian has sqrt(3 - 1).
    np.testing.assert_allclose(variances.std(ddof=1), 2 * np.sqrt(5 / 500), rtol=0.16)
    np.testing.assert_allclose(errors["information"].mean(), 2 * np.sqrt(2 / 500), rtol=0.02)
    assert errors["information"].mean() < 0.75 * variances.std(ddof=1)
    assert errors["scores"].mean() < errors["information"].mean()


def test_sandwich_intervals_cover(replicates):
    variances, errors = replicates
    covered = {kind: (np.abs(variances - 2) < 1.96 * errors[kind]).mean() for kind in KINDS}
    # 95 % but for the skewness of a variance of heavy tails; four binomial errors of 1.3 % and that.
    assert covered["sandwich"] > 0.89
    assert covered["information"] < 0.85


def test_kinds_agree_where_the_model_is_right():
    rng = np.random.default_rng(8)
    x = np.where(rng.random(20_000) < 0.4, rng.normal(-1.5, 1.0, 20_000), rng.normal(1.5, 0.7, 20_000))[:, None]
    fit = bg.fit_em(x, 2, start=(x[:, 0] > 0).astype(int))
    for name in ("weights", "means", "covariances"):
        information = fit.errors("information")[name]
        # Both are averages over 20 000 points of products with a spread of a few times their mean: 1 to 3 %.
        for kind in ("sandwich", "scores"):
            np.testing.assert_allclose(fit.errors(kind)[name], information, rtol=0.08)


# Where there are none


@pytest.mark.parametrize("kind", KINDS)
def test_saddle_has_no_errors_of_any_kind(faithful, kind):
    saddle = bg.fit_em(faithful, 2, start=np.full((272, 2), 0.5))
    with pytest.raises(FitError, match="does not determine all parameters"):
        saddle.errors(kind)


@pytest.mark.wrong_types
@pytest.mark.parametrize("kind", ["Sandwich", "bootstrap", "", None, 1], ids=repr)
def test_unknown_kinds_are_refused(faithful_mle, kind):
    with pytest.raises(ArgumentError, match=r'kind is.*"information", "sandwich" or "scores"'):
        inspect.unwrap(type(faithful_mle).errors)(faithful_mle, kind)


# Closed form


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["full", "tied", "diag with noise"])
def test_closed_form_is_automatic_differentiation(faithful, monkeypatch, kind, case):
    """In two chains of rules: by products of small matrices, and by JAX through natural parameters and M-step."""
    rng = np.random.default_rng(7)
    labels = np.where(rng.random(272) < 0.2, (faithful.values[:, 0] > 3).astype(int), -1)
    options = {
        "full": {"labels": labels, "fixed": {"weights": {0: 0.3}, "means": {1: [4.3, 80.0]}}},
        "tied": {"covariance_type": "tied", "sample_weight": rng.integers(1, 4, 272)},
        "diag with noise": {"covariance_type": "diag", "noise": True},
    }
    x = (
        faithful.values
        if "noise" not in case
        else np.vstack([faithful.values, rng.uniform([1, 40], [6, 100], (40, 2))])
    )
    fit = bg.fit_em(x, 2, n_starts=8, **options[case])
    closed = fit.errors(kind)
    monkeypatch.setattr(Structure, "is_linear", property(lambda structure: False))
    for name, expected in fit.errors(kind).items():
        np.testing.assert_allclose(closed[name], expected, rtol=1e-9, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("name", [name for name, structure in STRUCTURES.items() if structure.is_linear])
def test_directions_of_a_linear_structure_are_all_its_own(name):
    structure, K, D = STRUCTURES[name], 2, 3
    directions = structure.directions(K, D)
    np.testing.assert_allclose(directions.T @ directions, np.eye(structure.n_parameters(K, D)), atol=1e-14)
    moved = unvech(directions.T.reshape(-1, K, D * (D + 1) // 2), D)
    np.testing.assert_allclose(structure.estimate(np.ones((len(moved), K)), moved), moved, atol=1e-14)


def test_an_information_that_would_fill_the_memory_is_refused():
    x = np.random.default_rng(0).normal(size=(90, 130))
    fit = bg.fit_em(x, 2, covariance_type="diag", n_starts=1, max_steps=2)
    with pytest.raises(FitError, match="2 components in 130 columns would be a matrix of 17292 x 17292"):
        fit.standard_errors  # noqa: B018
