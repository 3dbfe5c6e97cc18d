"""EM with some parameters held: against mclust, SciPy's optimiser, numerical derivatives, and counts made by hand."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal, norm

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.problem import Problem

MCLUST = json.loads((Path(__file__).parents[1] / "references" / "mclust_equal_weights.json").read_text())

HELD_MEAN = np.array([4.4, 82.0])
HELD_COVARIANCE = np.array([[0.2, 1.0], [1.0, 30.0]])
BOTH_COVARIANCES = np.array([[[0.1, 0.3], [0.3, 30.0]], [[0.2, 1.0], [1.0, 40.0]]])

COMBINATIONS = {
    "weights equal": {"weights": "equal"},
    "weights": {"weights": [0.4, 0.6]},
    "mean of one": {"means": {1: HELD_MEAN}},
    "means": {"means": [[2.0, 55.0], [4.4, 82.0]]},
    "covariance of one": {"covariances": {1: HELD_COVARIANCE}},
    "covariances": {"covariances": BOTH_COVARIANCES},
    "one of each": {"weights": [0.4, 0.6], "means": {0: [2.0, 55.0]}, "covariances": {1: HELD_COVARIANCE}},
    "all but one mean": {"weights": "equal", "means": {0: [2.0, 55.0]}, "covariances": BOTH_COVARIANCES},
}


def species_of(iris: bg.Table) -> np.ndarray:
    return np.unique(iris.labels, return_inverse=True)[1]


def log_likelihood(x, weights, means, covariances):
    """The textbook formula, point by point."""
    parts = [multivariate_normal(m, c).logpdf(x) for m, c in zip(means, covariances, strict=True)]
    return logsumexp(np.log(weights)[:, None] + np.array(parts), axis=0).sum()


# Against other programs


@pytest.mark.parametrize(
    ("name", "covariance_type"), [("faithful", "VVV"), ("faithful", "EEE"), ("iris", "VVV"), ("iris", "VEV")]
)
def test_equal_weights_are_those_of_mclust(name, covariance_type):
    expected, table = MCLUST[name][covariance_type], bg.datasets.load(name)
    labels = (table.values[:, 0] > 3).astype(int) if name == "faithful" else species_of(table)
    n_components = len(expected["mean"])
    fit = bg.fit_em(table, n_components, covariance_type=covariance_type, start=labels, fixed={"weights": "equal"})
    assert fit.status is EMStatus.CONVERGED
    np.testing.assert_allclose(fit.log_likelihood, expected["loglik"], rtol=0, atol=3e-8)
    np.testing.assert_allclose(fit.mixture.weights, 1 / n_components, rtol=1e-14)
    # sqrt(2e-8) = 1.4e-4 standard errors, which are above a tenth of a standard deviation here.
    distance = np.abs(fit.mixture.means - expected["mean"]) / fit.mixture.scales
    assert distance.max() < 1.4e-4
    scales = fit.mixture.scales[:, :, None] * fit.mixture.scales[:, None, :]
    assert (np.abs(fit.mixture.covariances - expected["sigma"]) / scales).max() < 1.4e-4


def test_equal_weights_are_not_those_of_the_free_fit(faithful, faithful_mle):
    """The control: 11 nats, which the comparison above would notice."""
    assert faithful_mle.log_likelihood - MCLUST["faithful"]["VVV"]["loglik"] > 11


def test_partly_held_weights_are_the_maximum_that_scipy_finds():
    x = bg.datasets.load("galaxies").values
    fit = bg.fit_em(x, 3, fixed={"weights": {1: 0.5}}, tol=1e-12)

    def mixture_of(theta):
        odds, means, log_scales = theta[:1], theta[1:4], theta[4:]
        shares = 0.5 * np.exp(log_softmax([odds[0], 0.0]))
        return np.array([shares[0], 0.5, shares[1]]), means, np.exp(log_scales)

    def loss(theta):
        weights, means, scales = mixture_of(theta)
        return -logsumexp(np.log(weights)[:, None] + norm.logpdf(x.T, means[:, None], scales[:, None]), axis=0).sum()

    ours = fit.mixture
    near = np.concatenate([np.log(ours.weights[:1] / ours.weights[2:]), ours.means[:, 0], np.log(ours.scales[:, 0])])
    found = scipy.optimize.minimize(loss, near + 0.05, method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(fit.log_likelihood, -found.fun, rtol=0, atol=1e-7)
    # BFGS by finite differences stops near sqrt(1e-8) standard errors.
    weights, means, scales = mixture_of(found.x)
    np.testing.assert_allclose(ours.weights, weights, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.means[:, 0], means, rtol=0, atol=1e-3)
    np.testing.assert_allclose(ours.scales[:, 0], scales, rtol=1e-3)
    assert bg.fit_em(x, 3).log_likelihood > fit.log_likelihood + 0.1


def test_all_but_the_weights_held_is_a_mixture_of_known_densities(faithful):
    """One free number, the share of the first density: SciPy finds it on the line."""
    means = [[2.0, 55.0], [4.4, 82.0]]
    fit = bg.fit_em(faithful, 2, fixed={"means": means, "covariances": BOTH_COVARIANCES}, tol=1e-12)
    found = scipy.optimize.minimize_scalar(
        lambda p: -log_likelihood(faithful.values, [p, 1 - p], means, BOTH_COVARIANCES),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fit.n_parameters == 1
    # Brent's method knows its answer to the square root of the rounding: 1e-13 of 1e3 nats at a standard error of 0.03.
    np.testing.assert_allclose(fit.mixture.weights[0], found.x, rtol=0, atol=1e-6)


# What is held, and what is best


@pytest.mark.parametrize("fixed", COMBINATIONS.values(), ids=COMBINATIONS)
def test_held_values_come_back_as_given_without_errors(faithful, fixed):
    fit = bg.fit_em(faithful, 2, fixed=fixed)
    assert fit.status is EMStatus.CONVERGED
    for name, given in fixed.items():
        given = {0: 0.5, 1: 0.5} if isinstance(given, str) else given
        for component, value in given.items() if isinstance(given, dict) else enumerate(given):
            # Weights are kept as logarithms and covariances as Cholesky factors, which rounds the last digit.
            np.testing.assert_allclose(getattr(fit.mixture, name)[component], value, rtol=4e-15, err_msg=name)
            assert not np.any(fit.standard_errors[name][component])
    free = {"weights", "means", "covariances"} - set(fixed)
    assert all((fit.standard_errors[name] > 0).all() for name in free)


@pytest.mark.parametrize("fixed", COMBINATIONS.values(), ids=COMBINATIONS)
def test_only_held_parameters_have_a_slope(faithful, fixed):
    """In units of standard errors: the slope over the root of the curvature, by central differences."""
    fit = bg.fit_em(faithful, 2, fixed=fixed, tol=1e-12)
    mixture = fit.mixture
    steps = 1e-3 * mixture.scales[:, :, None] * mixture.scales[:, None, :] * 0.1

    def changed(name, component, index, size):
        values = {key: getattr(mixture, key).copy() for key in ("weights", "means", "covariances")}
        if name == "weights":
            odds = np.log(values["weights"]) + size * np.eye(2)[component]
            values["weights"] = np.exp(log_softmax(odds))
        else:
            values[name][component][index] += size
            if name == "covariances" and index[0] != index[1]:
                values[name][component][index[::-1]] += size
        return log_likelihood(faithful.values, **values)

    def slope(name, component, index, size):
        up, here, down = (changed(name, component, index, s) for s in (size, 0.0, -size))
        return abs(up - down) / 2 / np.sqrt(abs(up - 2 * here + down))

    held = fit.problem.fixed
    slopes = {"free": [], "held": []}
    for component in range(2):
        which = "held" if held.weights[component] else "free"
        slopes[which].append(slope("weights", component, (), 1e-3))
        for i in range(2):
            which = "held" if held.means[component] else "free"
            slopes[which].append(slope("means", component, (i,), 1e-4 * mixture.scales[component, i]))
            for j in range(i + 1):
                which = "held" if held.covariances[component] else "free"
                slopes[which].append(slope("covariances", component, (i, j), steps[component, i, j]))
    # tol = 1e-12 is sqrt(2e-12) = 1.4e-6 standard errors; differences of 1e-3 have an error of about their square.
    assert np.max(slopes["free"], initial=0.0) < 1e-4
    assert np.max(slopes["held"]) > 0.1


def test_tied_covariance_of_the_free_components_ignores_the_held_one(faithful):
    """With labels known there is a closed form: the two free components pool their scatters."""
    x = faithful.values
    labels = np.digitize(x[:, 0], [2.5, 4.2])
    fixed = {"covariances": {1: HELD_COVARIANCE}}
    fit = bg.fit_em(x, 3, covariance_type="tied", labels=labels, fixed=fixed)
    groups = [x[labels == k] for k in (0, 2)]
    pooled = sum((g - g.mean(0)).T @ (g - g.mean(0)) for g in groups) / sum(map(len, groups))
    np.testing.assert_allclose(fit.mixture.covariances[[0, 2]], [pooled, pooled], rtol=1e-9)
    np.testing.assert_allclose(fit.mixture.covariances[1], HELD_COVARIANCE, rtol=1e-14)


@pytest.mark.parametrize(
    "code",
    ["EVE", *(pytest.param(code, marks=pytest.mark.slow) for code in ("VEV", "EEE", "VEE", "VVE", "EEV", "EVV"))],
)
def test_structure_of_a_single_free_component_ties_it_to_nothing(faithful, code):
    """So the fit and its errors are those of VVV, though each structure gets there by its own derivatives."""
    arguments = {"fixed": {"covariances": {1: HELD_COVARIANCE}}, "start": (faithful.values[:, 0] > 3).astype(int)}
    fit, free = (bg.fit_em(faithful, 2, covariance_type=c, tol=1e-12, **arguments) for c in (code, "VVV"))
    assert fit.n_parameters == free.n_parameters == 1 + 4 + 3
    np.testing.assert_allclose(fit.log_likelihood, free.log_likelihood, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.mixture.covariances, free.mixture.covariances, rtol=1e-5)
    for name, errors in free.standard_errors.items():
        np.testing.assert_allclose(fit.standard_errors[name], errors, rtol=1e-4, atol=1e-12, err_msg=name)


def test_errors_of_a_covariance_that_two_of_three_share(faithful):
    """With all labels known a Wishart covariance's, of as many points as the two components have."""
    x = faithful.values
    labels = np.digitize(x[:, 0], [2.5, 4.2])
    fit = bg.fit_em(x, 3, covariance_type="tied", labels=labels, fixed={"covariances": {1: HELD_COVARIANCE}})
    shared, n_points = fit.mixture.covariances[0], (labels != 1).sum()
    variances = np.diag(shared)
    expected = np.sqrt((np.outer(variances, variances) + shared**2) / n_points)
    np.testing.assert_allclose(fit.standard_errors["covariances"][[0, 2]], [expected, expected], rtol=1e-8)
    assert not fit.standard_errors["covariances"][1].any()


def test_scatter_about_a_held_mean_is_that_about_this_mean(faithful):
    x = faithful.values
    fit = bg.fit_em(x, 1, fixed={"means": {0: HELD_MEAN}})
    offsets = x - HELD_MEAN
    np.testing.assert_allclose(fit.mixture.covariances[0], offsets.T @ offsets / len(x), rtol=1e-9)
    assert np.abs(fit.mixture.covariances[0] - np.cov(x.T, ddof=0)).max() > 0.1


def test_path_never_falls_with_anything_held(faithful):
    for fixed in COMBINATIONS.values():
        path = bg.fit_em(faithful, 2, fixed=fixed).path
        # A log-likelihood is a sum of 272 logarithms: its rounding is below 272 eps |l| = 7e-11.
        assert np.diff(path).min(initial=0.0) > -1e-10


def test_everything_held_is_a_density_evaluated(faithful, faithful_mle):
    mixture = faithful_mle.mixture
    fixed = {name: getattr(mixture, name) for name in ("weights", "means", "covariances")}
    fit = bg.fit_em(faithful, 2, fixed=fixed)
    np.testing.assert_allclose(fit.log_likelihood, faithful_mle.log_likelihood, rtol=1e-13)
    assert fit.n_parameters == 0
    np.testing.assert_allclose(fit.bic(), -2 * fit.log_likelihood, rtol=1e-15)
    assert not any(values.any() for values in fit.standard_errors.values())


def test_holding_parameters_at_their_estimates_changes_nothing(faithful, faithful_mle):
    fixed = {"means": {0: faithful_mle.mixture.means[0]}, "weights": faithful_mle.mixture.weights}
    fit = bg.fit_em(faithful, 2, fixed=fixed)
    np.testing.assert_allclose(fit.log_likelihood, faithful_mle.log_likelihood, rtol=0, atol=2e-8)
    np.testing.assert_allclose(fit.mixture.means, faithful_mle.mixture.means, rtol=0, atol=1e-4)
    assert (fit.standard_errors["means"][1] < faithful_mle.standard_errors["means"][1]).all()


# Order of the components


@pytest.mark.parametrize(
    "fixed",
    [
        {"means": {0: HELD_MEAN}},
        {"covariances": {0: [[0.17, 0.94], [0.94, 36.0]]}, "means": {1: [2.0, 54.5]}},
        {"weights": [0.65, 0.35]},
        {"weights": {0: 0.65}},
    ],
    ids=repr,
)
def test_order_is_kept_where_held_values_name_components(faithful, fixed):
    fit = bg.fit_em(faithful, 2, fixed=fixed)
    assert fit.mixture.means[0, 0] > 4 > fit.mixture.means[1, 0]


def test_order_is_that_of_the_first_mean_where_they_do_not(faithful):
    start = (faithful.values[:, 0] < 3).astype(int)  # the long eruptions first
    fit = bg.fit_em(faithful, 2, start=start, fixed={"weights": [0.5, 0.5]})
    assert fit.mixture.means[0, 0] < fit.mixture.means[1, 0]


# Counts of parameters


@pytest.mark.parametrize(
    ("covariance_type", "fixed", "expected"),
    [
        ("VVV", None, 2 + 6 + 9),
        ("VVV", {"weights": "equal"}, 0 + 6 + 9),
        ("VVV", {"weights": {0: 0.2}}, 1 + 6 + 9),
        ("VVV", {"weights": {0: 0.2, 1: 0.3}}, 0 + 6 + 9),  # the third is what is left
        ("VVV", {"means": {0: [0, 0]}}, 2 + 4 + 9),
        ("VVV", {"means": np.zeros((3, 2))}, 2 + 0 + 9),
        ("VVV", {"covariances": {1: HELD_COVARIANCE}}, 2 + 6 + 6),
        ("VVV", {"covariances": np.tile(HELD_COVARIANCE, (3, 1, 1))}, 2 + 6 + 0),
        ("tied", None, 2 + 6 + 3),
        ("tied", {"covariances": {1: HELD_COVARIANCE}}, 2 + 6 + 3),  # the others still share one
        ("tied", {"covariances": {0: HELD_COVARIANCE, 1: HELD_COVARIANCE}}, 2 + 6 + 3),
        ("tied", {"covariances": np.tile(HELD_COVARIANCE, (3, 1, 1))}, 2 + 6 + 0),
        ("diag", {"covariances": {1: np.eye(2)}}, 2 + 6 + 4),
        ("spherical", {"covariances": {1: np.eye(2)}}, 2 + 6 + 2),
        ("VEV", {"covariances": {1: np.eye(2)}}, 2 + 6 + 2 + 1 + 2),  # volumes, shape, axes
        ("EII", {"weights": "equal"}, 0 + 6 + 1),
        ("VVV", {"weights": "equal", "means": {0: [0, 0]}, "covariances": {1: HELD_COVARIANCE}}, 0 + 4 + 6),
    ],
)
def test_held_parameters_do_not_count(faithful, covariance_type, fixed, expected):
    assert Problem.of(faithful, 3, covariance_type=covariance_type, fixed=fixed).n_parameters == expected


def test_bic_does_not_count_held_parameters(faithful):
    fit = bg.fit_em(faithful, 2, covariance_type="tied", fixed={"covariances": {1: HELD_COVARIANCE}})
    assert fit.n_parameters == 1 + 4 + 3
    np.testing.assert_allclose(fit.bic(), -2 * fit.log_likelihood + 8 * np.log(272), rtol=1e-14)
    np.testing.assert_allclose(fit.aic(), -2 * fit.log_likelihood + 2 * 8, rtol=1e-14)


# Arguments


BAD = {
    "no mapping": ("weights", "fixed is 'weights'"),
    "unknown key": ({"weight": "equal"}, "keys among weights, means, covariances"),
    "unknown word": ({"weights": "uniform"}, "uniform"),
    "word for means": ({"means": "equal"}, "means.*shape"),
    "component out of range": ({"means": {2: [0.0, 0.0]}}, r"components \[2\].*integers from 0 to 1"),
    "negative component": ({"means": {-1: [0.0, 0.0]}}, r"components \[-1\]"),
    "truth as a component": ({"means": {True: [0.0, 0.0]}}, r"components \[True\]"),
    "component as a float": ({"means": {0.0: [0.0, 0.0]}}, r"components \[0.0\]"),
    "name as a component": ({"means": {"first": [0.0, 0.0]}}, r"components \['first'\]"),
    "mean of three features": ({"means": {0: [0.0, 0.0, 0.0]}}, r"means.*shape \(2,\)"),
    "three means": ({"means": np.zeros((3, 2))}, r"means.*shape \(2, 2\)"),
    "number as a covariance": ({"covariances": {0: 1.0}}, r"covariances.*shape \(2, 2\)"),
    "NaN mean": ({"means": {0: [np.nan, 1.0]}}, "finite numbers"),
    "infinite covariance": ({"covariances": {0: [[np.inf, 0.0], [0.0, 1.0]]}}, "finite numbers"),
    "weights above one": ({"weights": [0.7, 0.7]}, r"sum 1\.4.*sum 1"),
    "weights below one": ({"weights": [0.3, 0.3]}, r"sum 0\.6.*sum 1"),
    "no room for the free weight": ({"weights": {0: 1.0}}, "sum below 1"),
    "negative weight": ({"weights": [-0.5, 1.5]}, "positive numbers"),
    "zero weight": ({"weights": {0: 0.0}}, "positive numbers"),
    "not positive definite": ({"covariances": {0: [[1.0, 2.0], [2.0, 1.0]]}}, "definite"),
    "not symmetric": ({"covariances": {0: [[1.0, 0.5], [0.0, 1.0]]}}, "symmetric"),
    "too narrow": ({"covariances": {1: 1e-12 * np.eye(2)}}, "times as wide as the data.*units"),
}


@pytest.mark.parametrize(("fixed", "message"), BAD.values(), ids=BAD)
@pytest.mark.wrong_types
def test_bad_fixed_arguments_are_refused(faithful, fixed, message):
    with pytest.raises(ArgumentError, match=message):
        inspect.unwrap(bg.fit_em)(faithful, 2, fixed=fixed)


def test_components_may_be_numbers_of_numpy(faithful):
    fixed = {"means": {np.int64(1): HELD_MEAN}}
    np.testing.assert_allclose(bg.fit_em(faithful, 2, fixed=fixed).mixture.means[1], HELD_MEAN, rtol=1e-15)
