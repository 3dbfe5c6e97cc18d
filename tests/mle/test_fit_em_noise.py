"""EM with uniform noise: reference numbers, enumeration, SciPy's optimiser, planted outliers, and what is refused."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayes_gmm as bg
from bayes_gmm.likelihood.draws_at_points import at_points, mean_shares
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import noise_box


@pytest.fixture(scope="module")
def spoilt():
    """Old Faithful with 28 rows on a grid beside it, which no eruption left."""
    grid = itertools.product(np.linspace(1.6, 5.1, 7), np.linspace(43, 96, 4))
    return np.vstack([bg.datasets.load("faithful").values, list(grid)])


@pytest.fixture(scope="module")
def fitted(spoilt):
    return bg.fit_em(spoilt, 2, noise=True)


def test_reference_numbers(fitted):
    assert abs(fitted.log_likelihood + 1319.2424417) < 1e-6
    mixture = fitted.mixture
    np.testing.assert_allclose(np.exp(mixture.noise.log_volume), 185.5, rtol=1e-12)
    np.testing.assert_allclose([*mixture.weights, mixture.noise_weight], [0.290432, 0.533254, 0.176314], atol=2e-5)
    np.testing.assert_allclose(mixture.means, [[1.988133, 53.937628], [4.324528, 80.198325]], atol=2e-5)
    lower = mixture.covariances[:, [0, 0, 1], [0, 1, 1]]
    expected = [[0.042121, 0.255535, 31.003895], [0.138527, 0.564342, 29.101963]]
    np.testing.assert_allclose(lower, expected, atol=2e-5)
    assert fitted.n_parameters == 12
    assert fitted.kernel_error < 1e-9


def test_rows_of_the_grid_are_noise(fitted, spoilt):
    noise = fitted.noise_probability()
    np.testing.assert_allclose(noise + fitted.responsibilities().sum(1), 1.0, atol=1e-12)
    assert (fitted.mixture.predict(spoilt)[-28:] == -1).mean() > 0.6
    assert (fitted.mixture.predict(spoilt)[:-28] == -1).mean() < 0.12
    assert "Noise has a weight of 0.176" in repr(fitted)


def test_a_weight_of_zero_is_the_plain_fit(spoilt):
    plain = bg.fit_em(spoilt, 2)
    held = bg.fit_em(spoilt, 2, noise=True, fixed={"noise": 0.0}, start=plain.mixture)
    again = bg.fit_em(spoilt, 2, start=plain.mixture)
    assert abs(held.log_likelihood - again.log_likelihood) < 1e-10
    np.testing.assert_allclose(held.mixture.means, again.mixture.means, atol=1e-10)
    np.testing.assert_allclose(held.mixture.log_prob(spoilt), again.mixture.log_prob(spoilt), rtol=0, atol=1e-10)
    assert held.n_parameters == plain.n_parameters
    assert held.errors()["noise_weight"] == 0.0
    np.testing.assert_allclose(held.errors()["scales"], again.errors()["scales"], rtol=1e-8)


def direct(theta, x, log_volume):
    """Minus the log-likelihood of two Gaussians and noise at log odds, means, and log-Cholesky factors."""
    logs = np.append(theta[:2], 0.0)
    logs -= logsumexp(logs)
    joint = [np.full(len(x), logs[2] - log_volume)]
    for k in range(2):
        a, b, c = theta[6 + 3 * k : 9 + 3 * k]
        factor = np.array([[np.exp(a), 0.0], [b, np.exp(c)]])
        joint.append(logs[k] + multivariate_normal(theta[2 + 2 * k : 4 + 2 * k], factor @ factor.T).logpdf(x))
    return -logsumexp(joint, axis=0).sum()


def coordinates(mixture):
    odds = mixture.log_weights - mixture.noise.log_weight
    factors = [[np.log(f[0, 0]), f[1, 0], np.log(f[1, 1])] for f in mixture.scale_tril]
    return np.concatenate([odds, mixture.means.ravel(), np.ravel(factors)])


def planted(seed, n_points=250, share=0.1):
    """Two clusters, a share of whose points was thrown anywhere into a large box; and the components."""
    truth = Mixture.from_moments([0.4, 0.6], [[-2.0, 0.0], [2.0, 1.0]], [np.eye(2), [[1.0, 0.6], [0.6, 0.8]]])
    return truth.with_noise(share, [-15.0, -15.0], [15.0, 15.0]).sample(n_points, seed=seed)


def test_no_better_maximum_by_scipy():
    x, _ = planted(3)
    fit = bg.fit_em(x, 2, noise=True, tol=1e-12)
    found = minimize(direct, coordinates(fit.mixture), (x, float(fit.mixture.noise.log_volume)), method="BFGS")
    assert abs(found.fun + fit.log_likelihood) < 1e-6
    np.testing.assert_allclose(found.x, coordinates(fit.mixture), atol=2e-4)


def test_standard_errors_are_those_of_differences():
    x, _ = planted(5)
    fit = bg.fit_em(x, 2, noise=True, tol=1e-12)
    at, volume = coordinates(fit.mixture), float(fit.mixture.noise.log_volume)
    step = 1e-4
    steps = step * np.eye(len(at))
    hessian = np.array(
        [
            [
                direct(at + h + g, x, volume)
                - direct(at + h - g, x, volume)
                - direct(at - h + g, x, volume)
                + direct(at - h - g, x, volume)
                for g in steps
            ]
            for h in steps
        ]
    ) / (4 * step**2)
    w, w0 = fit.mixture.weights, fit.mixture.noise_weight
    slope = np.zeros(len(at))
    slope[:2] = -w0 * w
    expected = np.sqrt(slope @ np.linalg.solve(hessian, slope))
    np.testing.assert_allclose(fit.errors()["noise_weight"], expected, rtol=1e-4)


def test_planted_outliers_break_the_plain_fit_and_not_this_one():
    errors = {True: [], False: []}
    for seed in range(5):
        x, labels = planted(seed)
        for noise, found in errors.items():
            fit = bg.fit_em(x, 2, noise=noise, n_starts=16)
            found.append(np.abs(fit.mixture.scales - [[1.0, 1.0], [1.0, np.sqrt(0.8)]]).max())
        assert abs(fit.table.n_points - len(labels)) == 0
    assert np.median(errors[True]) < 0.25
    assert np.median(errors[False]) > 1.0


def test_noise_weight_covers_the_truth():
    inside = 0
    for seed in range(8):
        fit = bg.fit_em(planted(100 + seed)[0], 2, noise=True, n_starts=8)
        # The box of the data is smaller than that of the truth, which an extreme point hardly changes.
        inside += abs(fit.mixture.noise_weight - 0.1) < 3 * fit.errors()["noise_weight"]
    assert inside >= 7


def test_shift_and_units_of_columns_change_nothing():
    x, _ = planted(11)
    units, shift = np.array([1e3, 1e-2]), np.array([5.0, -70.0])
    for noise in (True, "principal box", 0.002):
        one = bg.fit_em(x, 2, noise=noise, n_starts=8)
        other = bg.fit_em(x * units + shift, 2, noise=noise / units.prod() if noise == 0.002 else noise, n_starts=8)
        np.testing.assert_allclose(other.mixture.noise_weight, one.mixture.noise_weight, atol=1e-8)
        np.testing.assert_allclose(other.noise_probability(), one.noise_probability(), atol=1e-7)
        np.testing.assert_allclose(other.log_likelihood, one.log_likelihood - 250 * np.log(units).sum(), rtol=1e-9)


def test_gaps_leave_the_density_of_the_seen_sides():
    x, _ = planted(7)
    rng = np.random.default_rng(0)
    gaps = rng.random(x.shape) < 0.2
    x[gaps] = np.nan
    fit = bg.fit_em(x, 2, noise=True, n_starts=8)
    widths = np.nanmax(x, 0) - np.nanmin(x, 0)
    total = 0.0
    for row in x:
        o = np.flatnonzero(~np.isnan(row))
        parts = [fit.mixture.noise_weight / widths[o].prod()]
        for w, m, c in zip(fit.mixture.weights, fit.mixture.means, fit.mixture.covariances, strict=True):
            parts.append(w * (multivariate_normal(m[o], c[np.ix_(o, o)]).pdf(row[o]) if o.size else 1.0))
        total += np.log(sum(parts))
    np.testing.assert_allclose(fit.log_likelihood, total, atol=1e-9)
    assert fit.kernel_error < 1e-8
    assert 0.03 < fit.mixture.noise_weight < 0.2
    assert fit.errors()["noise_weight"] > 0
    assert np.isfinite(fit.completed().mean).all()


@pytest.mark.slow
def test_hard_assignment_weights_fixed_parameters_and_prior_take_noise():
    x, _ = planted(13)
    hard = bg.fit_em(x, 2, noise=True, assignment="hard", n_starts=8)
    labels = hard.mixture.predict(x)
    np.testing.assert_allclose(hard.mixture.noise_weight, (labels == -1).mean(), atol=1e-12)
    held = bg.fit_em(x, 2, noise=True, fixed={"weights": {0: 0.3}, "noise": 0.12}, n_starts=8)
    np.testing.assert_allclose([*held.mixture.weights, held.mixture.noise_weight], [0.3, 0.58, 0.12], atol=1e-12)
    assert held.n_parameters == 10
    plain = bg.fit_em(x, 2, noise=True, n_starts=8)
    doubled = bg.fit_em(np.vstack([x, x]), 2, noise=True, start=plain.mixture)
    weighted = bg.fit_em(x, 2, noise=True, start=plain.mixture, sample_weight=np.full(len(x), 2.0))
    np.testing.assert_allclose(doubled.log_likelihood, weighted.log_likelihood, rtol=1e-10)
    prior = bg.fit_em(x, 2, noise=True, prior=bg.ConjugatePrior(concentration=6.0), n_starts=8)
    counts = np.append(prior.responsibilities().sum(0), prior.noise_probability().sum()) + 5.0
    np.testing.assert_allclose([*prior.mixture.weights, prior.mixture.noise_weight], counts / counts.sum(), atol=1e-4)
    tied = bg.fit_em(x, 2, noise=True, covariance_type="tied", n_starts=8)
    np.testing.assert_allclose(tied.mixture.covariances[0], tied.mixture.covariances[1])
    started = bg.fit_em(x, 2, noise=True, start=plain.mixture.predict(x))
    np.testing.assert_allclose(started.log_likelihood, plain.log_likelihood, atol=1e-5)


@pytest.mark.slow
def test_selection_bootstrap_profile_and_files_take_noise(tmp_path):
    x, _ = planted(17)
    selection = bg.select_em(x, range(1, 4), noise=True, progress=False, n_starts=8)
    assert selection.best.mixture.n_components == 2
    fit = selection.best
    resampled = bg.bootstrap(fit, n_replicates=40, progress=False)
    error = resampled.standard_errors["noise_weight"]
    assert 0.6 < error / fit.errors()["noise_weight"] < 1.7
    lower, upper = bg.profile_interval(fit, 0)
    assert lower < fit.mixture.weights[0] < upper
    fit.save(tmp_path / "mle.nc")
    again = bg.load(tmp_path / "mle.nc")
    assert jax.tree.all(jax.tree.map(np.array_equal, again.mixture, fit.mixture))
    assert again.bic() == fit.bic()
    assert again.record()["noise_weight"] == fit.mixture.noise_weight


@pytest.mark.parametrize("noise", [0.0, 0, -1.0, np.nan, np.inf, "cube", [1.0, 2.0], {}])
def test_noise_that_is_none_is_refused(noise, spoilt):
    with pytest.raises(bg.errors.ArgumentError, match="noise is"):
        bg.fit_em(spoilt, 2, noise=noise)


def test_what_leaves_no_noise_is_refused(spoilt):
    with pytest.raises(bg.errors.ArgumentError, match="none is left for the noise"):
        bg.fit_em(spoilt, 2, noise=True, fixed={"weights": "equal"})
    with pytest.raises(bg.errors.ArgumentError, match="a noise that there is none of"):
        bg.fit_em(spoilt, 2, fixed={"noise": 0.1})
    with pytest.raises(bg.errors.ArgumentError, match=r"fixed\['noise'\] is 1"):
        bg.fit_em(spoilt, 2, noise=True, fixed={"noise": 1.0})
    with pytest.raises(bg.errors.ArgumentError, match="starting mixture has noise"):
        bg.fit_em(spoilt, 2, start=bg.fit_em(spoilt, 2, noise=True, n_starts=1).mixture)
    with pytest.raises(bg.errors.DataError, match=r"'b'.*no volume"):
        noise_box(True, np.array([[0.0, 1.0], [2.0, 1.0]]), np.ones(2), ["a", "b"])
    gaps = spoilt.copy()
    gaps[0, 0] = np.nan
    with pytest.raises(bg.errors.DataError, match="principal axes"):
        bg.fit_em(gaps, 2, noise="principal box")


@pytest.fixture(scope="module")
def with_errors(spoilt):
    """The spoilt rows with errors of their own, drawn and added, some cells unseen, and the fit with noise."""
    rng = np.random.default_rng(5)
    errors = rng.uniform(0.05, 0.3, spoilt.shape) * [1.0, 15.0]
    x = spoilt + errors * rng.normal(size=spoilt.shape)
    x[::9, 1] = np.nan
    return bg.fit_em(bg.Table(x, ("a", "b"), errors=errors), 2, noise=True)


def of_what_was_observed(mixture, table):
    """Log joint densities (N, K + 1) by SciPy, noise last, whose density is one over the sides that were seen."""
    box, joint = np.nanmax(table.values, 0) - np.nanmin(table.values, 0), np.empty((table.n_points, 3))
    for n, (row, errors) in enumerate(zip(table.values, table.errors, strict=True)):
        o = np.flatnonzero(~np.isnan(row))
        for k in range(2):
            covariance = (mixture.covariances[k] + np.diag(errors**2))[np.ix_(o, o)]
            density = multivariate_normal(mixture.means[k][o], covariance).logpdf(row[o])
            joint[n, k] = mixture.log_weights[k] + density
        joint[n, 2] = np.log(mixture.noise_weight) - np.log(box[o]).sum()
    return joint


def test_noise_beside_errors_is_the_sum_over_labels_of_what_was_observed(with_errors):
    joint = of_what_was_observed(with_errors.mixture, with_errors.table)
    assert abs(with_errors.log_likelihood - logsumexp(joint, axis=1).sum()) < 1e-9
    shares = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(with_errors.responsibilities(), shares[:, :2], atol=1e-12)
    np.testing.assert_allclose(with_errors.noise_probability(), shares[:, 2], atol=1e-12)
    np.testing.assert_allclose(with_errors.mixture.noise_weight, shares[:, 2].mean(), atol=1e-8)  # at a maximum
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], with_errors.mixture)
    table = with_errors.table
    at = at_points(batch, table.values, errors=table.error_covariances)
    means = mean_shares(at, np.arange(2)[None])
    np.testing.assert_allclose(means, shares[:, :2], atol=1e-12)


def test_no_step_in_any_direction_is_better_beside_errors(with_errors):
    mixture, problem = with_errors.mixture, with_errors.problem
    for seed in range(20):
        rng = np.random.default_rng(seed)
        logits = np.append(mixture.log_weights, mixture.noise.log_weight) + 0.02 * rng.normal(size=3)
        shares = np.exp(logits - logsumexp(logits))
        moved = Mixture.from_moments(
            shares[:2] / shares[:2].sum(),
            mixture.means * (1 + 0.002 * rng.normal(size=(2, 2))),
            mixture.covariances * (1 + 0.05 * rng.normal(size=(2, 1, 1))),
        )
        noise = mixture.noise.with_log_weight(np.log(shares[2]))
        moved = replace(moved, log_weights=np.log(shares[:2]), noise=noise)
        assert problem.log_likelihood(moved) < with_errors.log_likelihood


def test_true_rows_of_noise_are_what_was_observed_with_its_error(with_errors):
    table, denoised = with_errors.table, with_errors.denoised()
    far = np.flatnonzero((with_errors.noise_probability() > 0.999) & ~np.isnan(table.values).any(1))
    assert far.size > 3
    np.testing.assert_allclose(denoised.mean[far], table.values[far], atol=0.05)
    np.testing.assert_allclose(denoised.sd[far], table.errors[far], rtol=0.05)
    near = np.flatnonzero((with_errors.noise_probability() < 0.05) & ~np.isnan(table.values).any(1))
    assert (denoised.sd[near] < table.errors[near]).mean() > 0.9  # the components say more of these


def test_without_noise_the_rows_of_the_grid_widen_the_components(with_errors):
    plain = bg.fit_em(with_errors.table, 2)
    assert plain.log_likelihood < with_errors.log_likelihood - 20
    assert (plain.mixture.scales[:, 1].max() > 1.15 * with_errors.mixture.scales[:, 1]).all()


def test_errors_of_zero_change_nothing_beside_noise(spoilt, fitted):
    exact = bg.fit_em(spoilt, 2, noise=True, errors=np.zeros_like(spoilt))
    assert exact.log_likelihood == fitted.log_likelihood
    tiny = bg.fit_em(spoilt, 2, noise=True, errors=np.full_like(spoilt, 1e-9))
    np.testing.assert_allclose(tiny.mixture.means, fitted.mixture.means, rtol=1e-6)


def test_true_rows_of_exact_ones_are_these_whatever_the_noise(fitted, spoilt):
    denoised = fitted.denoised()
    assert (denoised.mean == spoilt).all()
    assert not denoised.sd.any()
