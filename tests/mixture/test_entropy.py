"""Entropies and divergences are the integrals they estimate or bound, and their errors are what they say."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.entropy import entropy, entropy_bounds, kl_divergence
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.monte_carlo import _shares

SIGMAS = 5
LOG_2PIE = np.log(2 * np.pi * np.e)


def random_mixture(seed, n_components=3, n_features=1, batch=(), spread=2.0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_components, 5.0), size=batch)
    means = rng.normal(scale=spread, size=(*batch, n_components, n_features))
    roots = rng.normal(size=(*batch, n_components, n_features, n_features + 3))
    return Mixture.from_moments(weights, means, roots @ roots.mT / (n_features + 3))


def one_dimensional(weights, means, scales):
    return Mixture.from_moments(weights, np.reshape(means, (-1, 1)), np.reshape(np.square(scales), (-1, 1, 1)))


def element(batched, *index):
    return jax.tree.map(lambda leaf: leaf[index], batched)


def repeated(mixture, times):
    """Batch of copies of a mixture, each of which gets its own points."""
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (times, *leaf.shape)), mixture)


def integral_over(mixture, function):
    """Integral over a grid that covers the mixture; the trapezoid rule is exact to rounding for smooth functions."""
    n_features = mixture.n_features
    reach = 10 * mixture.scales.max(0)
    grids = [
        np.linspace(low, high, 4001 if n_features == 1 else 401)
        for low, high in zip(mixture.means.min(0) - reach, mixture.means.max(0) + reach, strict=True)
    ]
    points = np.stack(np.meshgrid(*grids, indexing="ij"), -1).reshape(-1, n_features)
    return function(points).sum() * np.prod([grid[1] - grid[0] for grid in grids])


def exact_entropy(mixture):
    def integrand(x):
        log_density = mixture.log_prob(x)
        return -np.exp(log_density) * log_density

    return integral_over(mixture, integrand)


def exact_divergence(p, q):
    def integrand(x):
        log_density = p.log_prob(x)
        return np.exp(log_density) * (log_density - q.log_prob(x))

    return integral_over(p, integrand)


def gaussian_divergence(p, q):
    """Closed form for one component each, by inverse and determinants."""
    offset, precision = q.means[0] - p.means[0], np.linalg.inv(q.covariances[0])
    ratio = precision @ p.covariances[0]
    return 0.5 * (np.trace(ratio) - len(offset) + offset @ precision @ offset - np.log(np.linalg.det(ratio)))


def assert_within_error(estimate, expected, what=""):
    deviation = abs(estimate.value - expected) / estimate.standard_error
    assert deviation < SIGMAS, f"{what} {deviation:.1f} standard errors away"


def assert_notices(estimate, wrong):
    assert abs(estimate.value - wrong) > SIGMAS * estimate.standard_error, "too few points to see the planted error"


# Estimates


def test_oracle_is_the_integral_of_scipy():
    mixture = random_mixture(0)

    def integrand(x):
        log_density = mixture.log_prob([[x]])[0]
        return -np.exp(log_density) * log_density

    by_quadrature = quad(integrand, -15, 15, points=sorted(mixture.means[:, 0]), limit=200, epsabs=1e-10)[0]
    np.testing.assert_allclose(exact_entropy(mixture), by_quadrature, rtol=1e-8)


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_entropy_is_the_integral_within_its_error(seed, n_features):
    mixture = random_mixture(seed, 3, n_features)
    estimate, truth = entropy(mixture, n_points=20_000), exact_entropy(mixture)
    assert_within_error(estimate, truth)
    assert_notices(estimate, truth + 0.03)
    assert_notices(estimate, truth - 0.03)


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize("seed", [3, 4])
def test_divergence_is_the_integral_within_its_error(seed, n_features):
    p, q = random_mixture(seed, 3, n_features), random_mixture(seed + 10, 2, n_features)
    estimate, truth = kl_divergence(p, q, n_points=20_000), exact_divergence(p, q)
    assert_within_error(estimate, truth)
    assert_notices(estimate, exact_divergence(q, p))
    assert_notices(estimate, 1.1 * truth)


@pytest.mark.parametrize("n_features", [1, 3])
def test_divergence_of_two_gaussians_is_the_closed_form(n_features):
    p, q = random_mixture(5, 1, n_features), random_mixture(6, 1, n_features)
    assert_within_error(kl_divergence(p, q), gaussian_divergence(p, q))
    assert_within_error(kl_divergence(q, p), gaussian_divergence(q, p))


def test_divergence_of_a_mixture_from_itself_is_zero_and_in_any_order_of_components():
    mixture = random_mixture(7, 3, 2)
    assert kl_divergence(mixture, mixture) == (0, 0)
    reordered = kl_divergence(mixture, mixture.permute([2, 0, 1]))
    np.testing.assert_allclose(reordered, [0, 0], atol=1e-14)


def test_entropy_of_one_gaussian_has_no_error():
    mixture = random_mixture(8, 1, 3)
    expected = multivariate_normal(mixture.means[0], mixture.covariances[0]).entropy()
    np.testing.assert_allclose(entropy(mixture, n_points=2), [expected, 0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n_points", [8, 400])
@pytest.mark.parametrize("measure", ["entropy", "divergence"])
def test_standard_error_is_the_deviation_over_repeats_and_the_mean_is_unbiased(measure, n_points):
    """400 repeats know their deviation to a relative 1 / sqrt(800)."""
    times, p, q = 400, random_mixture(9), random_mixture(10)
    copies = repeated(p, times)
    if measure == "entropy":
        estimates, truth = entropy(copies, n_points=n_points), exact_entropy(p)
    else:
        estimates, truth = kl_divergence(copies, q, n_points=n_points), exact_divergence(p, q)
    deviation, claimed = estimates.value.std(ddof=1), np.sqrt((estimates.standard_error**2).mean())
    assert abs(deviation / claimed - 1) < SIGMAS / np.sqrt(2 * times)
    assert abs(estimates.value.mean() - truth) < SIGMAS * deviation / np.sqrt(times)


def test_strata_have_a_smaller_error_than_points_drawn_at_random():
    """Points drawn at random have the scatter between components as well."""
    p = one_dimensional([0.2, 0.8], [-3.0, 3.0], [1.0, 1.0])
    q = one_dimensional([1.0], [3.0], [1.0])
    points = p.sample(10_000, seed=1)[0]
    plain = (p.log_prob(points) - q.log_prob(points)).std() / 100
    estimate = kl_divergence(p, q, n_points=10_000)
    assert estimate.standard_error < 0.6 * plain
    assert_within_error(estimate, exact_divergence(p, q))


def test_error_falls_with_the_square_root_of_the_number_of_points():
    p, q = random_mixture(11, 3, 2), random_mixture(12, 3, 2)
    few, many = (kl_divergence(p, q, n_points=n_points).standard_error for n_points in (2000, 32_000))
    np.testing.assert_allclose(few / many, 4, rtol=0.25)


def test_estimates_are_decided_by_the_seed():
    p, q = random_mixture(13), random_mixture(14)
    assert kl_divergence(p, q, seed=1) == kl_divergence(p, q, seed=1)
    assert kl_divergence(p, q, seed=1) != kl_divergence(p, q, seed=2)
    assert entropy(p, seed=1) != entropy(p, seed=2)


def test_change_of_units_shifts_the_entropy_and_leaves_the_divergence():
    p, q, units = random_mixture(15, 3, 2), random_mixture(16, 2, 2), np.array([1e-8, 1e5])
    scaled = [
        Mixture.from_moments(m.weights, m.means * units, m.covariances * np.multiply.outer(units, units))
        for m in (p, q)
    ]
    shifts = entropy(scaled[0]).value - entropy(p).value, entropy_bounds(scaled[0]).lower - entropy_bounds(p).lower
    np.testing.assert_allclose(shifts, np.log(units).sum(), rtol=1e-10)
    np.testing.assert_allclose(kl_divergence(*scaled), kl_divergence(p, q), rtol=1e-8)


def test_far_mixtures_have_a_finite_divergence():
    """Standard deviation one and means 1e4 apart: 5e7 nats, with a standard error of 1e4 / sqrt(n)."""
    p, q = one_dimensional([1.0], [0.0], [1.0]), one_dimensional([0.5, 0.5], [1e4, 3e4], [1.0, 1.0])
    estimate = kl_divergence(p, q, n_points=10_000)
    assert_within_error(estimate, 0.5e8 + np.log(2))
    np.testing.assert_allclose(estimate.standard_error, 100, rtol=0.05)


def test_component_of_weight_zero_makes_no_difference():
    with_it = one_dimensional([0.0, 0.4, 0.6], [1e3, -1.0, 1.0], [1e3, 1.0, 0.5])
    without = one_dimensional([0.4, 0.6], [-1.0, 1.0], [1.0, 0.5])
    np.testing.assert_allclose(entropy_bounds(with_it), entropy_bounds(without), rtol=1e-12)
    assert_within_error(entropy(with_it), exact_entropy(without))
    np.testing.assert_allclose(kl_divergence(with_it, without), [0, 0], atol=1e-13)


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.5], [0.98, 0.01, 0.01], [0.0, 0.3, 0.7], [1 / 7] * 7])
@pytest.mark.parametrize("n_points", [14, 15, 101, 10_000])
def test_every_component_gets_its_share_of_the_points(weights, n_points):
    shares = _shares(np.array([weights]), n_points)[0]
    assert shares.sum() == n_points
    assert shares.min() >= 2
    assert (np.abs(shares - 2 - np.array(weights) * (n_points - 2 * len(weights))) < 1).all()


# Bounds


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("seed", [20, 21])
def test_bounds_enclose_the_entropy(seed, spread, n_features):
    mixture = random_mixture(seed, 3, n_features, spread=spread)
    lower, upper = entropy_bounds(mixture)
    if spread < 30 or n_features == 1:
        truth = exact_entropy(mixture)
        assert lower - 1e-9 < truth < upper + 1e-9
    estimate = entropy(mixture)
    assert lower - SIGMAS * estimate.standard_error - 1e-9 < estimate.value
    assert estimate.value < upper + SIGMAS * estimate.standard_error + 1e-9
    assert upper - lower < np.log(3), "the labels' entropy alone bounds better"


def bounds_by_quadrature(mixture):
    """All four bounds from their definitions: two from below, two from above."""
    weights, means, deviations = mixture.weights, mixture.means, mixture.scales
    reach = np.abs(means).max() + 10 * deviations.max()
    grid = np.arange(-reach, reach, deviations.min() / 4)
    log_density = norm(means, deviations).logpdf(grid)
    density, step = np.exp(log_density), grid[1] - grid[0]
    within = weights @ norm(means[:, 0], deviations[:, 0]).entropy()

    def labels(kernel):
        return -weights @ np.log(kernel @ weights)

    overlaps = np.sqrt(density) @ np.sqrt(density).T * step
    products = density @ density.T * step
    divergences = ((density * log_density).sum(1, keepdims=True) - density @ log_density.T) * step
    by_covariance = 0.5 * (LOG_2PIE + np.log(mixture.covariance[0, 0]))
    return (within + labels(overlaps), labels(products)), (within + labels(np.exp(-divergences)), by_covariance)


NARROW_IN_BROAD = one_dimensional([0.5 / 40] * 40 + [0.5], [*np.linspace(-390, 390, 40), 0.0], [1.0] * 40 + [300.0])


@pytest.mark.parametrize(
    ("mixture", "tightest"),
    [
        pytest.param(one_dimensional([0.3, 0.7], [0.0, 9.0], [1.0, 2.0]), (0, 0), id="apart"),
        pytest.param(one_dimensional([0.3, 0.7], [0.0, 1.0], [1.0, 1.1]), (0, 1), id="close"),
        pytest.param(NARROW_IN_BROAD, (1, 0), id="many narrow ones in a broad one"),
    ],
)
def test_bounds_are_the_tightest_of_their_definitions(mixture, tightest):
    lowers, uppers = bounds_by_quadrature(mixture)
    assert (np.argmax(lowers), np.argmin(uppers)) == tightest
    np.testing.assert_allclose(entropy_bounds(mixture), [max(lowers), min(uppers)], rtol=1e-10)


@pytest.mark.parametrize("n_features", [1, 4])
def test_bounds_of_one_gaussian_and_of_equal_ones_are_its_entropy(n_features):
    one = random_mixture(22, 1, n_features)
    expected = multivariate_normal(one.means[0], one.covariances[0]).entropy()
    twice = Mixture.from_moments([0.4, 0.6], np.tile(one.means, (2, 1)), np.tile(one.covariances, (2, 1, 1)))
    np.testing.assert_allclose(entropy_bounds(one), expected, rtol=1e-12)
    np.testing.assert_allclose(entropy_bounds(twice), expected, rtol=1e-12)


def test_bounds_meet_for_components_far_apart():
    """Then the entropy is that of the labels plus the mean of the components'."""
    mixture = one_dimensional([0.2, 0.8], [0.0, 1e6], [1.0, 3.0])
    expected = -0.2 * np.log(0.2) - 0.8 * np.log(0.8) + 0.5 * LOG_2PIE + 0.8 * np.log(3)
    np.testing.assert_allclose(entropy_bounds(mixture), expected, rtol=1e-13)
    np.testing.assert_allclose(entropy(mixture), [expected, 0], rtol=1e-13, atol=1e-13)


# Batches and errors


@pytest.mark.slow
def test_batches_are_evaluated_one_by_one_and_broadcast():
    p, q = random_mixture(23, 2, 2, batch=(2, 3)), random_mixture(24, 3, 2)
    bounds, entropies = entropy_bounds(p), entropy(p, n_points=1000)
    forward = kl_divergence(p, q, n_points=1000)
    backward = kl_divergence(q, p, n_points=1000, seed=3)
    assert {part.shape for part in (*bounds, *entropies, *forward, *backward)} == {(2, 3)}
    from_first_row = kl_divergence(p, element(p, 0), n_points=1000).value
    assert from_first_row.shape == (2, 3)
    np.testing.assert_array_equal(from_first_row[0], 0)
    assert (from_first_row[1] > 0).all()
    for index in np.ndindex(2, 3):
        alone = element(p, *index)
        np.testing.assert_allclose([bound[index] for bound in bounds], entropy_bounds(alone), rtol=1e-12)
        for batched, single in [
            (entropies, entropy(alone, n_points=1000)),
            (forward, kl_divergence(alone, q, n_points=1000)),
            (backward, kl_divergence(q, alone, n_points=1000)),
        ]:
            error = np.hypot(batched.standard_error[index], single.standard_error)
            assert abs(batched.value[index] - single.value) < SIGMAS * error


def test_answers_are_numpy_float64():
    mixture = random_mixture(25)
    for answer in (entropy(mixture), entropy_bounds(mixture), kl_divergence(mixture, mixture)):
        assert all(isinstance(number, np.float64) for number in answer)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"n_points": 5}, "at least 2 for each component, 6", id="one point for some component"),
        pytest.param({"n_points": 0}, "n_points is 0", id="no points"),
        pytest.param({"n_points": 1e4}, "without a decimal point", id="floating-point number of points"),
        pytest.param({"seed": -1}, "seed is -1", id="negative seed"),
        pytest.param({"seed": None}, "seed is None", id="no seed"),
    ],
)
def test_arguments_that_decide_no_sample_are_refused(options, message):
    mixture = random_mixture(26)
    with pytest.raises(ArgumentError, match=message):
        entropy(mixture, **options)
    with pytest.raises(ArgumentError, match=message):
        kl_divergence(mixture, mixture, **options)


def test_mixtures_that_do_not_match_are_refused():
    with pytest.raises(ArgumentError, match="p has 1 features and q has 2"):
        kl_divergence(random_mixture(27), random_mixture(27, 3, 2))
    with pytest.raises(ArgumentError, match=r"shapes \(2,\) and \(3,\)"):
        kl_divergence(random_mixture(27, batch=(2,)), random_mixture(27, batch=(3,)))
