"""EM for mixtures of t distributions: reference numbers, SciPy's density and optimiser, truth, limits, and refusals."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_t

import bayes_gmm as bg
from bayes_gmm.io.table import Table
from bayes_gmm.likelihood.draws_at_points import at_points, mean_shares
from bayes_gmm.mixture.mixture import Mixture


@pytest.fixture(scope="module")
def faithful():
    return bg.datasets.load("faithful")


@pytest.fixture(scope="module")
def common(faithful):
    return bg.fit_em(faithful, 2, components="t")


@pytest.fixture(scope="module")
def own(faithful):
    return bg.fit_em(faithful, 2, components="t", degrees_of_freedom="per component")


TRUTH = Mixture.from_scatters(
    [0.4, 0.6], [[0.0, 0.0], [7.0, 3.0]], [[[1.0, 0.5], [0.5, 2.0]], [[2.0, -0.8], [-0.8, 1.0]]], [3.0, 6.0]
)


@pytest.fixture(scope="module")
def drawn():
    return TRUTH.sample(1500, seed=4)[0]


@pytest.fixture(scope="module")
def of_drawn(drawn):
    return bg.fit_em(drawn, 2, components="t", degrees_of_freedom="per component", n_starts=8)


def lower(matrices):
    return matrices[:, [0, 0, 1], [0, 1, 1]]


def test_reference_numbers_with_common_degrees_of_freedom(common):
    """`Own NumPy code`, EM to 1e-13 from the labels of short and long eruptions."""
    assert abs(common.log_likelihood + 1130.1789185) < 1e-6
    mixture = common.mixture
    np.testing.assert_allclose(mixture.degrees_of_freedom, 59.748, atol=1e-3)
    assert abs(mixture.weights[0] - 0.355585) < 2e-5
    np.testing.assert_allclose(mixture.means, [[2.030697, 54.419802], [4.293271, 79.975454]], atol=2e-5)
    expected = [[0.065330, 0.413459, 32.875064], [0.164918, 0.903219, 34.942617]]
    np.testing.assert_allclose(lower(mixture.scatters), expected, atol=2e-5)
    assert common.n_parameters == 12
    assert common.kernel_error < 1e-9
    assert (np.diff(common.path) >= -4 * np.spacing(1130.0)).all(), "nothing falls by more than its rounding"


def test_reference_numbers_with_degrees_of_freedom_of_each_component(own):
    assert abs(own.log_likelihood + 1129.9390) < 1e-4
    mixture = own.mixture
    np.testing.assert_allclose(mixture.degrees_of_freedom, [19.155, 1e4], rtol=1e-4)
    np.testing.assert_allclose(mixture.means, [[2.022650, 54.334724], [4.290167, 79.973402]], atol=2e-5)
    assert own.n_parameters == 13
    assert "Component 1 is at the upper bound of 10000: Gaussian enough" in repr(own)


def test_scatter_and_covariance_are_told_apart(common):
    mixture = common.mixture
    nu = mixture.degrees_of_freedom[0]
    np.testing.assert_allclose(mixture.covariances, mixture.scatters * nu / (nu - 2), rtol=1e-14)
    heavy = Mixture.from_scatters([1.0], [[0.0]], [[[2.0]]], 2.0)
    assert np.isnan(heavy.covariances).all()
    np.testing.assert_allclose(heavy.scatters, [[[2.0]]], rtol=1e-15)
    record = common.record()
    assert {"scatters", "covariances", "degrees_of_freedom"} <= set(record)
    assert set(record["standard_errors"]) >= {"scatters", "covariances", "degrees_of_freedom"}


def test_degrees_of_freedom_of_infinity_are_the_plain_fit(faithful):
    plain = bg.fit_em(faithful, 2, tol=1e-13)
    infinite = bg.fit_em(faithful, 2, components="t", degrees_of_freedom=np.inf, tol=1e-13)
    assert infinite.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-14)
    np.testing.assert_allclose(infinite.mixture.means, plain.mixture.means, rtol=1e-8)
    np.testing.assert_allclose(infinite.mixture.covariances, plain.mixture.covariances, rtol=1e-7)
    for name, errors in plain.errors().items():
        np.testing.assert_allclose(infinite.errors()[name], errors, rtol=1e-6, atol=1e-12)
    near = bg.fit_em(faithful, 2, components="t", degrees_of_freedom=1e4)
    assert 1e-6 < abs(near.log_likelihood - plain.log_likelihood) < 1e-2


def direct(theta, x):
    """Minus the log-likelihood of two t distributions by SciPy's density; degrees of freedom by their logarithms."""
    logs = np.append(theta[0], 0.0)
    logs -= logsumexp(logs)
    joint = []
    for k in range(2):
        a, b, c, log_nu = theta[5 + 4 * k : 9 + 4 * k]
        factor = np.array([[np.exp(a), 0.0], [b, np.exp(c)]])
        parts = theta[1 + 2 * k : 3 + 2 * k], factor @ factor.T, np.exp(log_nu)
        joint.append(logs[k] + multivariate_t(*parts).logpdf(x))
    return -logsumexp(joint, axis=0).sum()


def coordinates(mixture):
    odds = mixture.log_weights[:1] - mixture.log_weights[1]
    factors = zip(mixture.scale_tril, mixture.degrees_of_freedom, strict=True)
    tails = [[np.log(f[0, 0]), f[1, 0], np.log(f[1, 1]), np.log(nu)] for f, nu in factors]
    return np.concatenate([odds, mixture.means.ravel(), np.ravel(tails)])


def test_no_step_of_scipys_optimiser_is_better(of_drawn, drawn):
    theta = coordinates(of_drawn.mixture)
    assert abs(direct(theta, drawn) + of_drawn.log_likelihood) < 1e-8
    better = minimize(direct, theta, args=(drawn,), method="BFGS", options={"maxiter": 30})
    assert -better.fun < of_drawn.log_likelihood + 1e-6
    np.testing.assert_allclose(better.x, theta, atol=2e-3)
    assert direct(theta + 0.02, drawn) > direct(theta, drawn) + 0.1


def test_standard_errors_are_those_of_the_hessian_of_scipys_density(of_drawn, drawn):
    """Jointly with the degrees of freedom: given these, the errors of the scatters would be too small."""
    theta, step = coordinates(of_drawn.mixture), 1e-4
    size = len(theta)
    hessian = np.empty((size, size))
    for i, j in np.ndindex(size, size):
        if j < i:
            continue
        corners = [(a, b, a * b) for a in (1, -1) for b in (1, -1)]
        slope = sum(
            s * direct(theta + step * (a * np.eye(size)[i] + b * np.eye(size)[j]), drawn) for a, b, s in corners
        )
        hessian[i, j] = hessian[j, i] = slope / (4 * step**2)
    errors, found = np.sqrt(np.diag(np.linalg.inv(hessian))), of_drawn.errors()
    np.testing.assert_allclose(found["means"].ravel(), errors[1:5], rtol=1e-3)
    nu = of_drawn.mixture.degrees_of_freedom
    np.testing.assert_allclose(found["degrees_of_freedom"] / nu, errors[[8, 12]], rtol=1e-3)
    np.testing.assert_allclose(found["scales"][:, 0] / of_drawn.mixture.scales[:, 0], errors[[5, 9]], rtol=1e-3)
    held = bg.fit_em(drawn, 2, components="t", degrees_of_freedom=nu, start=of_drawn.mixture)
    assert held.errors()["scales"][0, 0] < 0.98 * found["scales"][0, 0]
    assert (held.errors()["degrees_of_freedom"] == 0).all()


def test_truth_is_found_where_the_plain_fit_does_not_find_it(of_drawn, drawn):
    errors, mixture = of_drawn.errors(), of_drawn.mixture
    for name in ("weights", "means", "scatters", "degrees_of_freedom"):
        assert (np.abs(getattr(mixture, name) - getattr(TRUTH, name)) < 3.5 * errors[name] + 1e-12).all(), name
    plain = bg.fit_em(drawn, 2, n_starts=8)
    assert plain.log_likelihood < of_drawn.log_likelihood - 100
    assert np.abs(plain.mixture.covariances - TRUTH.scatters).max() > 1


def test_gross_outliers_do_not_move_the_clusters():
    rng = np.random.default_rng(27)
    clusters = [rng.normal([0, 0], 1, (720, 2)), rng.normal([6, 0], 1, (735, 2))]
    x = np.concatenate([*clusters, rng.uniform(-100, 100, (45, 2))])
    robust = bg.fit_em(x, 2, components="t", n_starts=8)
    np.testing.assert_allclose(robust.mixture.means, [[0, 0], [6, 0]], atol=0.3)
    assert (robust.mixture.degrees_of_freedom < 3).all()
    plain = bg.fit_em(x, 2, n_starts=8)
    assert np.abs(plain.mixture.means - [[0, 0], [6, 0]]).max() > 2
    assert any("outliers rather than a cluster" in doubt for doubt in plain.doubts)
    assert not any("outliers" in doubt for doubt in robust.doubts)


def test_gaussian_data_are_said_to_be_gaussian_enough():
    x = np.random.default_rng(3).uniform(size=(1500, 2)) + 3 * (np.arange(1500) % 2)[:, None]
    fit = bg.fit_em(x, 2, components="t", degrees_of_freedom="per component", n_starts=8)
    np.testing.assert_allclose(fit.mixture.degrees_of_freedom, 1e4)
    assert "All components are at the upper bound of 10000: Gaussian enough" in repr(fit)
    assert np.isnan(fit.errors()["degrees_of_freedom"]).all()
    assert np.isfinite(fit.errors()["means"]).all()


def test_affine_maps_of_the_data_map_the_fit(drawn, of_drawn):
    A, b = np.array([[2.0, 0.0], [-30.0, 0.5]]), np.array([100.0, -4.0])
    moved = bg.fit_em(drawn @ A.T + b, 2, components="t", degrees_of_freedom="per component", n_starts=8)
    np.testing.assert_allclose(moved.mixture.means, of_drawn.mixture.means @ A.T + b, rtol=1e-6)
    np.testing.assert_allclose(moved.mixture.scatters, A @ of_drawn.mixture.scatters @ A.T, rtol=1e-5)
    np.testing.assert_allclose(moved.mixture.degrees_of_freedom, of_drawn.mixture.degrees_of_freedom, rtol=1e-5)
    change = len(drawn) * np.log(np.abs(np.linalg.det(A)))
    assert abs(moved.log_likelihood + change - of_drawn.log_likelihood) < 1e-6
    held = {"components": "t", "degrees_of_freedom": 4.0, "n_starts": 8}
    one, other = bg.fit_em(drawn, 2, **held), bg.fit_em(drawn @ A.T + b, 2, **held)
    np.testing.assert_allclose(other.mixture.scatters, A @ one.mixture.scatters @ A.T, rtol=1e-8)


def test_weights_of_rows_count_as_repeated_rows(drawn):
    held = {"components": "t", "degrees_of_freedom": [3.0, 6.0], "start": TRUTH}
    counts = np.random.default_rng(0).integers(0, 3, len(drawn))
    weighted = bg.fit_em(drawn, 2, sample_weight=counts, **held)
    repeated = bg.fit_em(np.repeat(drawn, counts, axis=0), 2, **held)
    np.testing.assert_allclose(weighted.mixture.means, repeated.mixture.means, atol=1e-6)
    assert abs(weighted.log_likelihood - repeated.log_likelihood) < 1e-7


HELD = {"components": "t", "degrees_of_freedom": 5.0, "n_starts": 8}


def has_ended_well(fit):
    finite = all(np.isfinite(errors).all() for errors in fit.errors().values())
    return fit.status.name == "CONVERGED" and (np.diff(fit.path) > -1e-9).all() and finite and fit.kernel_error < 1e-8


@pytest.mark.slow
def test_known_labels_and_noise_go_with_heavy_tails(drawn):
    labels = np.where(np.arange(len(drawn)) % 3, -1, TRUTH.predict(drawn))
    labelled = bg.fit_em(drawn, 2, labels=labels, **HELD)
    shares = labelled.mixture.log_joint(drawn)
    expected = np.where(labels >= 0, shares[np.arange(len(drawn)), labels], logsumexp(shares, axis=1)).sum()
    assert abs(labelled.log_likelihood - expected) < 1e-8
    spoilt = drawn.copy()
    spoilt[:2] = [60.0, -60.0], [-60.0, 60.0]
    noisy = bg.fit_em(spoilt, 2, noise=True, **HELD)
    assert (noisy.mixture.predict(spoilt[:2]) == -1).all()
    assert has_ended_well(labelled)
    assert has_ended_well(noisy)


@pytest.mark.slow
def test_structures_fixed_parameters_and_priors_go_with_heavy_tails(drawn):
    tied = bg.fit_em(drawn, 2, covariance_type="tied", **HELD)
    np.testing.assert_allclose(tied.mixture.scatters[0], tied.mixture.scatters[1], rtol=1e-12)
    fixed = bg.fit_em(drawn, 2, fixed={"means": {0: [0.0, 0.0]}}, **HELD)
    np.testing.assert_array_equal(fixed.mixture.means[0], 0.0)
    mode = bg.fit_em(drawn, 2, prior=bg.ConjugatePrior(), **HELD)
    shaped = bg.fit_em(drawn, 2, covariance_type="EVE", components="t", n_starts=8)
    for fit in (tied, fixed, mode, shaped):
        assert has_ended_well(fit)


@pytest.mark.slow
def test_a_fixed_point_is_a_maximum_with_tied_scatters_and_a_held_mean(drawn):
    """The value falls along every direction that keeps the structure: divided by wrong counts it would not."""
    fit = bg.fit_em(drawn, 2, covariance_type="tied", fixed={"means": {0: [0.0, 0.0]}}, **HELD)
    for scale in (0.99, 1.01):
        mixture = fit.mixture
        wider = Mixture.from_scatters(mixture.weights, mixture.means, scale * mixture.scatters, 5.0)
        assert fit.problem.log_likelihood(wider) < fit.log_likelihood - 1e-3


def test_posterior_questions_of_draws_at_points_are_answered(drawn):
    here = at_points(jax.tree.map(lambda leaf: leaf[None], TRUTH), drawn)
    shares = mean_shares(here, np.array([[0, 1]]))
    np.testing.assert_allclose(shares, TRUTH.responsibilities(drawn), atol=1e-10)


@pytest.fixture(scope="module")
def with_gaps(drawn):
    """A third of the second cells was not seen, those with a large first one above all."""
    x = drawn[:600].copy()
    x[np.argsort(x[:, 0] + np.random.default_rng(1).normal(size=600))[-200:], 1] = np.nan
    return x


@pytest.fixture(scope="module")
def of_gaps(with_gaps):
    return bg.fit_em(with_gaps, 2, components="t", n_starts=8)


def of_seen_cells(mixture, x):
    """Log-likelihood by SciPy."""
    parts = list(zip(mixture.weights, mixture.means, mixture.scatters, mixture.degrees_of_freedom, strict=True))
    total = 0.0
    for seen in ([0, 1], [0]):
        rows = x[np.isnan(x[:, 1]) == (len(seen) == 1)][:, seen]
        joint = [np.log(w) + multivariate_t(m[seen], s[np.ix_(seen, seen)], nu).logpdf(rows) for w, m, s, nu in parts]
        total += logsumexp(joint, axis=0).sum()
    return total


def test_missing_cells_of_t_distributed_rows_are_integrated_out(with_gaps, of_gaps):
    mixture = of_gaps.mixture
    np.testing.assert_allclose(of_gaps.log_likelihood, of_seen_cells(mixture, with_gaps), rtol=1e-12)
    assert has_ended_well(of_gaps)
    slopes = []
    for factor in (1 - 1e-4, 1 + 1e-4):
        moved = [
            (mixture.means * factor, mixture.scatters, mixture.degrees_of_freedom),
            (mixture.means, mixture.scatters * factor, mixture.degrees_of_freedom),
            (mixture.means, mixture.scatters, mixture.degrees_of_freedom * factor),
        ]
        slopes.append([of_seen_cells(Mixture.from_scatters(mixture.weights, *parts), with_gaps) for parts in moved])
    np.testing.assert_allclose(*slopes, atol=1e-4)  # a maximum: both sides fall by the same
    assert max(np.ravel(slopes)) < of_gaps.log_likelihood
    errors = of_gaps.errors()
    truth = np.array([[0.0, 0.0], [7.0, 3.0]])
    assert (np.abs(mixture.means - truth) < 4 * errors["means"]).all()
    assert np.isfinite(errors["degrees_of_freedom"]).all()


def test_complete_rows_alone_mislead_and_gaps_do_not(with_gaps, of_gaps):
    dropped = bg.fit_em(with_gaps, 2, components="t", missing="drop", n_starts=8)
    assert abs(of_gaps.mixture.weights[0] - 0.4) < 0.06
    assert abs(dropped.mixture.weights[0] - 0.4) > 0.12


@pytest.mark.slow
def test_gaps_and_infinite_degrees_of_freedom_are_those_of_gaussians(with_gaps):
    nearly = bg.fit_em(with_gaps, 2, components="t", degrees_of_freedom=1e9, n_starts=2)
    plain = bg.fit_em(with_gaps, 2, n_starts=2)
    np.testing.assert_allclose(nearly.log_likelihood, plain.log_likelihood, rtol=1e-8)
    infinite = bg.fit_em(with_gaps, 2, components="t", degrees_of_freedom=np.inf, n_starts=2)
    assert infinite.log_likelihood == plain.log_likelihood


def test_gaps_are_completed_with_the_tails_of_their_row(with_gaps, of_gaps):
    completed = of_gaps.completed()
    row = int(np.flatnonzero(np.isnan(with_gaps[:, 1]))[0])
    given = of_gaps.mixture.condition([0], with_gaps[row : row + 1, :1])
    np.testing.assert_allclose(completed.mean[row, 1], given.mean[0, 0], rtol=1e-12)
    shares = of_gaps.responsibilities()[row]
    np.testing.assert_allclose(shares, np.exp(given.log_weights[0]), atol=1e-12)
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], of_gaps.mixture)
    np.testing.assert_allclose(mean_shares(at_points(batch, with_gaps), np.array([[0, 1]]))[row], shares, atol=1e-10)


def test_what_heavy_tails_cannot_go_with_is_refused_in_words(drawn, of_drawn, faithful):
    with pytest.raises(bg.ArgumentError, match="known errors"):
        bg.fit_em(Table(drawn, ("a", "b"), errors=np.ones_like(drawn)), 2, components="t")
    for wrong in ("normals", "T2", ""):
        with pytest.raises(bg.ArgumentError, match="components is"):
            bg.fit_em(faithful, 2, components=wrong)
    for degrees in (-1.0, 0.0, np.nan, [1.0, 2.0, 3.0], "many", [3.0, np.inf]):
        with pytest.raises(bg.ArgumentError, match=r"degrees.of.freedom"):
            bg.fit_em(faithful, 2, components="t", degrees_of_freedom=degrees)
    with pytest.raises(bg.ArgumentError, match="Gaussian components have no degrees"):
        bg.fit_em(faithful, 2, degrees_of_freedom=4.0)
    with pytest.raises(bg.ArgumentError, match="t distributions"):
        bg.entropy_bounds(of_drawn.mixture)
    with pytest.raises(bg.ArgumentError, match="were estimated"):
        bg.bootstrap(of_drawn, n_replicates=2)
