"""The fit of rows with known errors: reference numbers, a plain step of extreme deconvolution, SciPy, equivariance."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal

import bayes_gmm as bg
from bayes_gmm.io.table import as_table
from bayes_gmm.objective.problem import Problem

N = np.arange(272)


@pytest.fixture(scope="module")
def faithful():
    """Old Faithful with made-up sds of the errors, and the fit to it."""
    x = bg.datasets.load("faithful")
    sds = np.stack([0.1 * (1 + N % 3), 2.0 * (1 + N % 2)], 1)
    return x, sds, bg.fit_em(x, 2, errors=sds)


@pytest.fixture(scope="module")
def deconvolution():
    """True rows of two components, what was observed of them, correlated errors, and gaps in one row of four."""
    rng = np.random.default_rng(12)
    truth = bg.Mixture.from_moments([0.4, 0.6], [[0, 0], [3, 1]], [[[1, 0.5], [0.5, 1]], [[0.3, -0.2], [-0.2, 0.5]]])
    true, labels = truth.sample(400, seed=3)
    roots = 0.4 * rng.normal(size=(400, 2, 3))
    errors = roots @ roots.mT
    observed = true + (roots @ rng.normal(size=(400, 3, 1)))[..., 0]
    observed[::4, 1] = np.nan
    return true, observed, errors, labels


def log_joint(mixture, x, errors):
    """Log joint densities (N, K), row by row."""
    found = np.empty((len(x), mixture.n_components))
    for n, row in enumerate(x):
        o = np.flatnonzero(~np.isnan(row))
        for k, (w, m, S) in enumerate(zip(mixture.weights, mixture.means, mixture.covariances, strict=True)):
            found[n, k] = np.log(w) + multivariate_normal(m[o], (S + errors[n])[np.ix_(o, o)]).logpdf(row[o])
    return found


def step_of_extreme_deconvolution(weights, means, covariances, x, errors):
    """One step of EM after Bovy, Hogg and Roweis, row by row as it stands there, of rows without gaps."""
    D, K = x.shape[1], len(weights)
    logs, b, B = np.empty((len(x), K)), np.empty((len(x), K, D)), np.empty((len(x), K, D, D))
    for n in range(len(x)):
        for k in range(K):
            T = covariances[k] + errors[n]
            gain = covariances[k] @ np.linalg.inv(T)
            logs[n, k] = np.log(weights[k]) + multivariate_normal(means[k], T).logpdf(x[n])
            b[n, k] = means[k] + gain @ (x[n] - means[k])
            B[n, k] = covariances[k] - gain @ covariances[k]
    r = softmax(logs, axis=1)
    new = np.einsum("nk,nki->ki", r, b) / r.sum(0)[:, None]
    off = b - new
    spread = np.einsum("nk,nki,nkj->kij", r, off, off) + np.einsum("nk,nkij->kij", r, B)
    return r.mean(0), new, spread / r.sum(0)[:, None, None], logsumexp(logs, axis=1).sum()


def test_reference_numbers_of_faithful_with_errors(faithful):
    fit, mixture = faithful[2], faithful[2].mixture
    assert fit.status.name == "CONVERGED"
    assert fit.log_likelihood == pytest.approx(-1143.0365553, abs=1e-6)
    np.testing.assert_allclose(mixture.weights[0], 0.356522, atol=2e-5)
    np.testing.assert_allclose(mixture.means, [[2.050206, 54.489603], [4.293535, 79.793344]], atol=2e-5)
    found = mixture.covariances[:, [0, 0, 1], [0, 1, 1]]
    expected = [[0.052604, 0.439235, 28.297015], [0.133572, 0.961295, 28.260587]]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert fit.kernel_error < 1e-9
    plain = bg.fit_em(faithful[0], 2, start=mixture)
    assert abs(plain.log_likelihood - fit.log_likelihood) > 10
    assert (plain.mixture.scales > mixture.scales).all()


def test_a_plain_step_of_extreme_deconvolution_stays_at_the_fit(faithful):
    x, sds, fit = faithful
    errors = sds[:, :, None] ** 2 * np.eye(2)
    mixture = fit.mixture
    given = mixture.weights, mixture.means, mixture.covariances
    *after, value = step_of_extreme_deconvolution(*given, x.values, errors)
    assert value == pytest.approx(fit.log_likelihood, abs=1e-9)
    for ours, theirs in zip(given, after, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    moved = step_of_extreme_deconvolution(*given, x.values, 0 * errors)[2]
    assert np.abs(moved - given[2]).max() > 1


def test_the_maximum_is_that_of_a_general_optimiser_with_gaps_and_correlated_errors(deconvolution):
    _, x, errors, _ = deconvolution
    fit = bg.fit_em(x, 2, errors=errors)

    def mixture_at(theta):
        roots = np.zeros((2, 2, 2))
        roots[:, [0, 1, 1], [0, 0, 1]] = theta[5:].reshape(2, 3)
        return bg.Mixture.from_moments(softmax([0.0, theta[0]]), theta[1:5].reshape(2, 2), roots @ roots.mT)

    def loss(theta):
        mixture, total = mixture_at(theta), 0.0
        for o in ([0], [0, 1]):
            rows = np.isnan(x[:, 1]) == (o == [0])
            logs = []
            for w, m, S in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
                T, r = (S + errors[rows])[:, o][:, :, o], x[rows][:, o] - m[o]
                squares = (r * np.linalg.solve(T, r[..., None])[..., 0]).sum(1)
                logs.append(np.log(w) - 0.5 * (squares + np.linalg.slogdet(2 * np.pi * T)[1]))
            total += np.logaddexp(*logs).sum()
        return -total

    mixture = fit.mixture
    roots = np.linalg.cholesky(mixture.covariances)[:, [0, 1, 1], [0, 0, 1]]
    start = np.concatenate([[np.diff(np.log(mixture.weights))[0]], mixture.means.ravel(), roots.ravel()])
    rng = np.random.default_rng(0)
    best = minimize(loss, start + 0.05 * rng.normal(size=start.size), method="BFGS", options={"gtol": 1e-5})
    assert fit.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    np.testing.assert_allclose(mixture.means, mixture_at(best.x).means, atol=1e-3)
    assert fit.log_likelihood == pytest.approx(logsumexp(log_joint(mixture, x, errors), axis=1).sum(), abs=1e-8)


def test_responsibilities_and_true_values_are_those_of_the_textbook(deconvolution):
    true, x, errors, _ = deconvolution
    fit = bg.fit_em(x, 2, errors=errors)
    logs = log_joint(fit.mixture, x, errors)
    shares = softmax(logs, axis=1)
    np.testing.assert_allclose(fit.responsibilities(), shares, atol=1e-12)
    mean, sd = fit.denoised()
    for n in range(12):
        o, moments = np.flatnonzero(~np.isnan(x[n])), []
        for m, S in zip(fit.mixture.means, fit.mixture.covariances, strict=True):
            gain = S[:, o] @ np.linalg.inv((S + errors[n])[np.ix_(o, o)])
            moments.append((m + gain @ (x[n, o] - m[o]), np.diag(S - gain @ S[o])))
        means, variances = (np.array(part) for part in zip(*moments, strict=True))
        expected = shares[n] @ means
        np.testing.assert_allclose(mean[n], expected, atol=1e-12)
        np.testing.assert_allclose(sd[n] ** 2, shares[n] @ (variances + (means - expected) ** 2), atol=1e-12)
    seen = ~np.isnan(x)
    assert ((mean - true)[seen] ** 2).mean() < 0.8 * ((x - true)[seen] ** 2).mean()
    assert 0.85 < (np.abs(mean - true) < 1.645 * sd).mean() < 0.94
    with pytest.raises(bg.errors.ArgumentError, match="denoised"):
        fit.completed()


def test_errors_of_zero_are_the_plain_fit_bit_for_bit(faithful):
    x, sds, _ = faithful
    zero, plain = bg.fit_em(x, 2, errors=0 * sds), bg.fit_em(x, 2)
    np.testing.assert_array_equal(zero.mixture.covariances, plain.mixture.covariances)
    assert zero.log_likelihood == plain.log_likelihood


def test_the_fit_follows_every_affine_map_of_data_and_errors(deconvolution):
    _, x, errors, _ = deconvolution
    x, errors = x[~np.isnan(x).any(1)], errors[~np.isnan(x).any(1)]
    A, c = np.array([[2.0, 0.0], [-30.0, 5.0]]), np.array([100.0, -7.0])
    fit = bg.fit_em(x, 2, errors=errors, tol=1e-12)
    moved = bg.fit_em(x @ A.T + c, 2, errors=A @ errors @ A.T, tol=1e-12)
    shift = len(x) * np.log(abs(np.linalg.det(A)))
    assert moved.log_likelihood == pytest.approx(fit.log_likelihood - shift, rel=1e-10)
    order = np.argsort(moved.mixture.weights)[np.argsort(np.argsort(fit.mixture.weights))]
    mixture = fit.mixture
    there = bg.Mixture.from_moments(mixture.weights, mixture.means @ A.T + c, A @ mixture.covariances @ A.T)
    assert moved.problem.log_likelihood(there) == pytest.approx(fit.log_likelihood - shift, rel=1e-12)
    # EM ends where the likelihood is flat to its tolerance.
    np.testing.assert_allclose(moved.mixture.covariances[order], there.covariances, rtol=1e-6)
    np.testing.assert_allclose(moved.mixture.means[order], there.means, rtol=1e-7)


def test_larger_errors_raise_no_likelihood_of_one_component_and_its_covariance_gives_way(faithful):
    x, sds, _ = faithful
    fits = [bg.fit_em(x, 1, errors=factor * np.ones_like(sds) * sds[0], n_starts=1) for factor in (0.0, 1.0, 2.0)]
    plain = fits[0].mixture.covariances[0]
    for factor, fit in zip((0.0, 1.0, 2.0), fits, strict=True):
        # One C for all rows: the plain covariance, less C.
        np.testing.assert_allclose(fit.mixture.covariances[0], plain - factor**2 * np.diag(sds[0] ** 2), rtol=1e-3)
        assert fit.log_likelihood == pytest.approx(fits[0].log_likelihood, abs=1e-6)


def test_a_component_may_have_no_spread_of_its_own_and_the_fit_says_so():
    rng = np.random.default_rng(3)
    sds = rng.uniform(0.8, 1.2, (200, 2))
    fit = bg.fit_em(0.9 * sds * rng.normal(size=(200, 2)), 1, errors=sds, n_starts=4)
    assert fit.status.name == "CONVERGED"
    assert fit.mixture.scales.max() < 0.05
    assert "no spread of its own" in fit.doubts[0]
    assert "no spread of its own" in repr(fit)
    best = np.average(fit.table.values, axis=0, weights=1 / sds[:, 0] ** 2)
    np.testing.assert_allclose(fit.mixture.means[0, 0], best[0], atol=1e-3)
    bound = sum(
        multivariate_normal(fit.mixture.means[0], np.diag(s**2)).logpdf(row)
        for s, row in zip(sds, fit.table.values, strict=True)
    )
    assert fit.log_likelihood == pytest.approx(bound, abs=1e-3)
    spread = bg.fit_em(3 * sds * rng.normal(size=(200, 2)), 1, errors=sds, n_starts=4)
    assert not spread.doubts


def test_errors_travel_with_the_rows(faithful, tmp_path):
    x, sds, fit = faithful
    values = x.values.copy()
    values[5, 0] = np.nan
    table = as_table(values, missing="drop", errors=sds)
    np.testing.assert_array_equal(table.errors, np.delete(sds, 5, 0))
    noisy = as_table(x, errors=sds)
    np.testing.assert_array_equal(noisy.select("waiting").errors, sds[:, 1:])
    assert "known errors, of median sd 0.2 (eruptions), 3 (waiting)" in repr(noisy)
    again = as_table(as_table(values, missing="integrate", errors=sds), missing="drop")
    np.testing.assert_array_equal(again.errors, table.errors)
    covariances = sds[:, :, None] ** 2 * np.eye(2)
    same = bg.fit_em(as_table(x, errors=covariances), 2, start=fit.mixture)
    assert same.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-8)
    groups = bg.fit_em_groups(noisy, N % 2, 1, n_starts=1, progress=False)
    np.testing.assert_array_equal(groups[1].table.errors, sds[N % 2 == 1])
    fit.save(tmp_path / "fit.nc")
    loaded = bg.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(loaded.table.errors, sds)
    np.testing.assert_array_equal(loaded.responsibilities(), fit.responsibilities())


@pytest.mark.slow
def test_selection_bootstrap_likelihood_ratio_labels_and_ascent_use_the_errors(faithful):
    x, sds, fit = faithful
    selection = bg.select_em(x, [2], errors=sds, progress=False)
    assert selection.best.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-6)
    errors = bg.bootstrap(fit, n_replicates=60, seed=1).standard_errors["means"]
    np.testing.assert_allclose(errors, fit.standard_errors["means"], rtol=0.4)
    noisy = as_table(x, errors=sds)
    ascent = bg.fit_gradient(noisy, 2, start=fit.mixture)
    assert ascent.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-5)
    labels = np.where(x.values[:, 0] > 3, 1, 0)
    known = Problem.of(noisy, 2, labels=labels)
    expected = log_joint(fit.mixture, x.values, noisy.error_covariances)[np.arange(272), labels].sum()
    assert known.log_likelihood(fit.mixture) == pytest.approx(expected, rel=1e-12)
    labelled = bg.fit_em(noisy, 2, labels=labels)
    assert expected - 1e-6 < labelled.log_likelihood
    test = bg.likelihood_ratio_test(noisy, 1, n_replicates=1, n_starts=2, progress=False)
    assert test.p_value == 0.5
    assert test.simulated.max() < 30 < test.statistic


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (np.ones((272, 3)), "has shape (272, 3)"),
        (np.ones(272), "has shape (272,)"),
        (-np.ones((272, 2)), "errors is -1 in row 0 of column 'eruptions'"),
        (np.where(np.arange(544).reshape(272, 2) == 7, np.nan, 1.0), "errors is nan in row 3 of column 'waiting'"),
        (np.full((272, 2), np.inf), "errors is inf in row 0"),
        (np.tile([[1.0, 2.0], [2.0, 1.0]], (272, 1, 1)), "row 0 is not positive semidefinite"),
        (np.tile([[1.0, 0.5], [0.0, 1.0]], (272, 1, 1)), "row 0 is not symmetric"),
        ("small", "errors is one str"),
    ],
)
def test_errors_that_cannot_be_used_are_named(errors, words):
    with pytest.raises(bg.errors.ArgumentError) as raised:
        bg.fit_em(bg.datasets.load("faithful"), 2, errors=errors)
    assert words in str(raised.value)


def test_what_takes_exact_rows_refuses_errors(faithful):
    x, sds, fit = faithful
    noisy = as_table(x, errors=sds)
    calls = {
        "log_prob": lambda: fit.mixture.log_prob(noisy),
        "adam": lambda: bg.fit_gradient(noisy, 2, method="adam"),
        "stream": lambda: bg.fit_stream([noisy], 2),
        "estimator": lambda: bg.estimators.GaussianMixture(2).fit(noisy),
    }
    for call in calls.values():
        with pytest.raises(bg.errors.BayesGMMError, match="have known errors"):
            call()


def test_errors_of_missing_cells_are_not_looked_at(faithful):
    x, sds, _ = faithful
    values, wrong = x.values.copy(), sds.copy()
    values[::5, 1], wrong[::5, 1] = np.nan, np.nan
    fits = [bg.fit_em(values, 2, errors=errors, n_starts=2) for errors in (sds, wrong)]
    assert fits[0].log_likelihood == fits[1].log_likelihood
