"""The kernel against enumeration, SciPy, finite differences and itself cut differently."""

import itertools

import jax
import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal

from bayes_gmm.likelihood.blocks import Blocks, blocks
from bayes_gmm.likelihood.linear_form import expected_statistics, features, hard, log_likelihood, natural
from bayes_gmm.likelihood.moments import moments_of
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

EXACT = {"rtol": 1e-12, "atol": 1e-12}
EPS = np.finfo(float).eps
thin_and_wide = pytest.mark.parametrize("n_features", [2, 3])  # the kernel has a program for each


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random_mixture(seed, n_components, n_features, batch=()):
    """Components a few units apart with well-conditioned covariances."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_components, 5.0), size=batch)
    means = rng.normal(size=(*batch, n_components, n_features))
    roots = rng.normal(size=(*batch, n_components, n_features, n_features + 3))
    return Mixture.from_moments(weights, means, roots @ roots.mT / (n_features + 3))


def random_points(seed, n_points, n_features):
    return np.random.default_rng(seed).normal(size=(n_points, n_features))


def scipy_log_joint(mixture, x):
    """Oracle (N, K): one `multivariate_normal` for each component."""
    components = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    columns = [np.log(w) + np.atleast_1d(multivariate_normal(m, c).logpdf(x)) for w, m, c in components]
    return np.stack(columns, axis=1)


def phi(x):
    """Oracle (N, F) of the features, one product at a time."""
    D = x.shape[1]
    squares = [x[:, i] * x[:, j] for i in range(D) for j in range(i + 1)]
    return np.stack([np.ones(len(x)), *x.T, *squares], axis=1)


def cut(x, weights=None):
    return blocks(x, np.ones(len(x)) if weights is None else weights)


@jax.jit
def one_pass(mixture, data):
    return expected_statistics(natural(mixture), data)


def assert_same_pass(ours, expected):
    np.testing.assert_allclose(ours[0], expected[0], err_msg="log-likelihood", **EXACT)
    np.testing.assert_allclose(ours[1], expected[1], err_msg="statistics", **EXACT)


# Oracles


def enumerated(log_joint, x):
    """Log-likelihood and statistics by summing over all K^N assignments of the points."""
    n_points, n_components = log_joint.shape
    assignments = np.array(list(itertools.product(range(n_components), repeat=n_points)))
    log_probabilities = log_joint[np.arange(n_points), assignments].sum(1)
    total = logsumexp(log_probabilities)
    membership = np.eye(n_components)[assignments]
    posterior = np.exp(log_probabilities - total)
    return total, np.einsum("a,ank,nf->kf", posterior, membership, phi(x))


@pytest.mark.parametrize("n_components", [2, 3])
def test_one_pass_is_the_sum_over_all_assignments(n_components):
    mixture, x = random_mixture(1, n_components, 2), random_points(2, 6, 2)
    expected = enumerated(scipy_log_joint(mixture, x), x)
    assert_same_pass(one_pass(mixture, cut(x)), expected)


@pytest.mark.parametrize("n_components", [2, 3])
def test_enumeration_notices_one_responsibility_wrong_by_a_thousandth(n_components):
    mixture, x = random_mixture(1, n_components, 2), random_points(2, 6, 2)
    log_joint = scipy_log_joint(mixture, x)
    responsibilities = softmax(log_joint, axis=1)
    value = logsumexp(log_joint, axis=1).sum()
    expected = enumerated(log_joint, x)
    assert_same_pass((value, responsibilities.T @ phi(x)), expected)
    responsibilities[3, :2] += 1e-3, -1e-3
    with pytest.raises(AssertionError, match="statistics"):
        assert_same_pass((value, responsibilities.T @ phi(x)), expected)


@pytest.mark.parametrize(("n_components", "n_features"), [(3, 1), (3, 2), (4, 5)])
def test_one_pass_is_that_of_scipy_on_500_points(n_components, n_features):
    mixture, x = random_mixture(3, n_components, n_features), random_points(4, 500, n_features)
    log_joint = scipy_log_joint(mixture, x)
    value, statistics = one_pass(mixture, cut(x))
    np.testing.assert_allclose(value, logsumexp(log_joint, axis=1).sum(), rtol=1e-12)
    # A sum over 500 points of terms of size 1 to 10 rounds to 500 * 10 * eps = 1e-12 at worst.
    np.testing.assert_allclose(statistics, softmax(log_joint, axis=1).T @ phi(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_features_are_one_the_point_and_its_products(n_features):
    x = random_points(5, 7, n_features)
    np.testing.assert_allclose(jax.jit(features)(x.T), phi(x).T, rtol=1e-15)


@pytest.mark.parametrize(("n_components", "n_features"), [(1, 1), (3, 2), (4, 5)])
def test_natural_parameters_times_features_are_the_log_joint_density(n_components, n_features):
    mixture, x = random_mixture(6, n_components, n_features), random_points(7, 40, n_features)
    np.testing.assert_allclose(
        phi(x) @ jax.jit(natural)(mixture).T, scipy_log_joint(mixture, x), rtol=1e-12, atol=1e-11
    )


def test_moments_are_those_of_the_weighted_points():
    x, shares = random_points(8, 50, 3), np.random.default_rng(9).random((50, 2))
    counts, means, covariances = jax.jit(moments_of, static_argnums=1)(shares.T @ phi(x), 3)
    np.testing.assert_allclose(counts, shares.sum(0), **EXACT)
    for k in range(2):
        np.testing.assert_allclose(means[k], np.average(x, axis=0, weights=shares[:, k]), **EXACT)
        np.testing.assert_allclose(covariances[k], np.cov(x.T, aweights=shares[:, k], ddof=0), **EXACT)


# Derivatives


def weighted_problem(n_features):
    """Mixture of three, points (60, D), and their weights: 0, 1 or 2."""
    weights = np.random.default_rng(12).integers(0, 3, 60).astype(float)
    return random_mixture(10, 3, n_features), random_points(11, 60, n_features), weights


def central_differences(function, at, step=1e-5):
    """Derivative of `function` along each coordinate of `at`, stacked on the leading axes."""
    directions = step * np.eye(at.size).reshape(-1, *at.shape)
    slopes = np.stack([(function(at + h) - function(at - h)) / (2 * step) for h in directions])
    return slopes.reshape(*at.shape, *slopes.shape[1:])


@thin_and_wide
def test_gradient_is_the_expected_statistics(n_features):
    mixture, x, weights = weighted_problem(n_features)
    data = cut(x, weights)
    value, gradient = jax.jit(jax.value_and_grad(log_likelihood))(jax.jit(natural)(mixture), data)
    expected_value, statistics = one_pass(mixture, data)
    np.testing.assert_array_equal(value, expected_value)
    np.testing.assert_array_equal(gradient, statistics)


@thin_and_wide
def test_gradient_is_the_slope_of_the_value(n_features):
    mixture, x, weights = weighted_problem(n_features)
    eta, data = np.asarray(jax.jit(natural)(mixture)), cut(x, weights)
    value = jax.jit(log_likelihood)
    # Third derivatives are at most sum_n w_n |phi_n|^3 < 1e5, hence an error of 1e-10 * 1e5 / 6, plus
    # the rounding of a value near 300 divided by the step, 7e-9.
    slopes = central_differences(lambda at: float(value(at, data)), eta)
    np.testing.assert_allclose(jax.jit(jax.grad(log_likelihood))(eta, data), slopes, atol=3e-6)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(one_pass(mixture, cut(x))[1], slopes, atol=3e-6)  # without the weights


@thin_and_wide
def test_hessian_is_the_slope_of_the_gradient(n_features):
    mixture, x, weights = weighted_problem(n_features)
    eta, data = np.asarray(jax.jit(natural)(mixture)), cut(x, weights)
    gradient = jax.jit(jax.grad(log_likelihood))
    slopes = central_differences(lambda at: np.asarray(gradient(at, data)), eta)
    np.testing.assert_allclose(jax.jit(jax.hessian(log_likelihood))(eta, data), slopes, atol=3e-6)


@thin_and_wide
def test_hessian_is_the_weighted_covariance_of_the_statistics_over_the_labels(n_features):
    """Block (k, l) is sum_n w_n r_nk (1[k = l] - r_nl) phi_n phi_n'."""
    mixture, x, weights = weighted_problem(n_features)
    r = softmax(scipy_log_joint(mixture, x), axis=1)
    spread = np.einsum("nk,kl->nkl", r, np.eye(3)) - np.einsum("nk,nl->nkl", r, r)
    expected = np.einsum("n,nkl,nf,ng->kflg", weights, spread, phi(x), phi(x))
    hessian = jax.jit(jax.hessian(log_likelihood))(jax.jit(natural)(mixture), cut(x, weights))
    np.testing.assert_allclose(hessian, expected, rtol=1e-11, atol=1e-11)


@thin_and_wide
def test_value_and_gradient_cost_one_pass_over_the_data(n_features):
    """Passes are counted as loops over the blocks in the program that JAX hands to XLA."""

    n_statistics = 1 + n_features + n_features * (n_features + 1) // 2

    def loops(function):
        lowered = jax.jit(function).lower(np.zeros((3, n_statistics)), cut(np.zeros((20_000, n_features))))
        return lowered.as_text().count("stablehlo.while")

    assert loops(log_likelihood) == 1
    assert loops(jax.value_and_grad(log_likelihood)) == 1
    with pytest.raises(ValueError, match="Reverse-mode"):  # without the rule
        loops(jax.value_and_grad(lambda eta, data: expected_statistics(eta, data)[0]))


# Weights and blocks


@thin_and_wide
def test_integer_weights_are_repeated_rows(n_features):
    mixture, x, weights = weighted_problem(n_features)
    repeated = np.repeat(x, weights.astype(int), axis=0)
    assert_same_pass(one_pass(mixture, cut(x, weights)), one_pass(mixture, cut(repeated)))


@thin_and_wide
def test_rows_of_weight_zero_are_left_out(n_features):
    mixture, x = random_mixture(13, 3, n_features), random_points(14, 60, n_features)
    weights = np.repeat([1.0, 0.0], 30)
    assert_same_pass(one_pass(mixture, cut(x, weights)), one_pass(mixture, cut(x[:30])))


@thin_and_wide
@pytest.mark.parametrize("n_points", [1, 31, 32, 60])
def test_padding_changes_nothing(n_points, n_features):
    mixture, x = random_mixture(13, 3, n_features), random_points(14, n_points, n_features)
    data = cut(x)
    assert data.weights.sum() == n_points
    assert data.weights.size >= n_points
    joint = scipy_log_joint(mixture, x)
    expected = logsumexp(joint, axis=1).sum(), softmax(joint, axis=1).T @ phi(x)
    assert_same_pass(one_pass(mixture, data), expected)


@thin_and_wide
def test_many_blocks_are_the_sum_of_single_ones(n_features):
    mixture, x = random_mixture(15, 3, n_features), random_points(16, 20_000, n_features)
    weights = np.random.default_rng(17).random(20_000)
    whole = cut(x, weights)
    parts = [cut(part, w) for part, w in zip(np.split(x, 20), np.split(weights, 20), strict=True)]
    assert len(whole.weights) > 1
    assert {len(part.weights) for part in parts} == {1}
    values, statistics = zip(*(one_pass(mixture, part) for part in parts), strict=True)
    # Relative to sums over 20_000 points: those of odd moments nearly vanish.
    value, total = one_pass(mixture, whole)
    np.testing.assert_allclose(value, sum(values), rtol=1e-12)
    np.testing.assert_allclose(total, sum(statistics), rtol=1e-12, atol=1e-12 * np.abs(total).max())
    np.testing.assert_allclose(value, weights @ logsumexp(scipy_log_joint(mixture, x), axis=1), rtol=1e-12)


@thin_and_wide
def test_batch_of_mixtures_equals_a_loop(n_features):
    mixtures, data = random_mixture(18, 3, n_features, batch=(4,)), cut(random_points(19, 60, n_features))
    run = jax.jit(jax.vmap(lambda mixture, data: expected_statistics(natural(mixture), data), (0, None)))
    values, statistics = run(mixtures, data)
    for i in range(4):
        alone = one_pass(jax.tree.map(lambda leaf, i=i: leaf[i], mixtures), data)
        assert_same_pass((values[i], statistics[i]), alone)


@thin_and_wide
def test_component_of_weight_zero_gets_no_statistics(n_features):
    means, unit = np.outer([0.0, 1.0], np.ones(n_features)), np.eye(n_features)
    mixture = Mixture.from_moments([0.0, 1.0], means, [unit, unit])
    x = random_points(20, 60, n_features)
    value, statistics = one_pass(mixture, cut(x))
    np.testing.assert_allclose(value, multivariate_normal(means[1], unit).logpdf(x).sum(), rtol=1e-12)
    np.testing.assert_allclose(statistics, [0 * phi(x)[0], phi(x).sum(0)], rtol=1e-12, atol=1e-12)


@thin_and_wide
def test_points_far_from_every_component_give_finite_values(n_features):
    mixture = random_mixture(21, 3, n_features)
    x = np.zeros((3, n_features))
    x[0, 0], x[1, 1] = 1e6, -1e6
    value, statistics = one_pass(mixture, cut(x))
    np.testing.assert_allclose(value, logsumexp(scipy_log_joint(mixture, x), axis=1).sum(), rtol=1e-12)
    np.testing.assert_allclose(statistics[:, 0].sum(), 3, rtol=1e-12)


def test_memory_does_not_grow_with_the_number_of_points():
    run = jax.jit(jax.value_and_grad(log_likelihood))
    eta = np.zeros((8, 21))

    def temporary_bytes(n_points):
        lowered = run.lower(eta, cut(np.zeros((n_points, 5))))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    few, many = temporary_bytes(200_000), temporary_bytes(800_000)
    logits_of_all = 200_000 * 8 * 8
    assert few < 4 * 2**20 < logits_of_all
    # One number a point would be 4.8 MB more.
    assert many < 1.2 * few


# Unit coordinates and the rail against cancellation


def test_points_are_brought_to_unit_coordinates_block_by_block():
    x, weights = random_points(22, 60_000, 2) * [1.0, 100.0] + 1e3, np.random.default_rng(23).random(60_000)
    scaling = Scaling.whitening(x, weights)
    mixture = random_mixture(24, 3, 2)
    expected = one_pass(mixture, cut(scaling.points_to_unit(x), weights))
    assert_same_pass(one_pass(mixture, blocks(x, weights, scaling)), expected)


@pytest.mark.parametrize("n_points", [1, 31, 300, 8_833, 40_000, 200_000])
@thin_and_wide
def test_tables_of_many_lengths_have_few_shapes_and_little_padding(n_features, n_points):
    def shape(length):
        return cut(np.zeros((length, n_features))).points.shape

    shapes = {shape(length) for length in np.geomspace(n_points, 2 * n_points, 40).astype(int)}
    assert len(shapes) <= 9
    data = cut(np.zeros((n_points, n_features)))
    visited = int(data.stop) * data.points.shape[2]
    assert n_points <= visited < max(1.25 * n_points, n_points + 33)
    assert data.stop <= len(data.points) <= max(2 * data.stop, 4)


def test_blocks_that_are_not_used_are_not_visited():
    data = cut(random_points(26, 60_000, 2))
    poisoned = Blocks(points=data.points.copy(), weights=data.weights.copy(), first=data.first, stop=data.stop)
    assert data.stop < len(data.points)
    poisoned.points[data.stop :], poisoned.weights[data.stop :] = np.nan, np.nan
    mixture = random_mixture(27, 3, 2)
    assert_same_pass(one_pass(mixture, poisoned), one_pass(mixture, data))


@pytest.mark.parametrize("n_features", [1, 2, 3])
def test_hard_assignment_gives_each_point_whole_to_its_most_probable_component(n_features):
    mixture, x = random_mixture(28, 3, n_features), random_points(29, 200, n_features)
    weights = np.random.default_rng(30).random(200)
    joint = scipy_log_joint(mixture, x)
    value, statistics = jax.jit(expected_statistics, static_argnums=2)(jax.jit(natural)(mixture), cut(x, weights), hard)
    np.testing.assert_allclose(value, weights @ joint.max(1), rtol=1e-12)
    shares = np.eye(3)[joint.argmax(1)] * weights[:, None]
    np.testing.assert_allclose(statistics, shares.T @ phi(x), rtol=1e-11, atol=1e-11)
    assert abs(value - weights @ logsumexp(joint, axis=1)) > 1  # it is not the marginal likelihood


def worst_logit_error(narrow):
    """Largest error of eta . phi against the centred form, near a narrow component."""
    rng, n_features = np.random.default_rng(25), 2
    means = rng.uniform(-2, 2, (4, n_features))
    covariances = np.tile(narrow**2 * np.array([[1.0, 0.3], [0.3, 1.0]]), (4, 1, 1))
    mixture = Mixture.from_moments(np.full(4, 0.25), means, covariances)
    x = np.concatenate([mean + narrow * rng.uniform(-3, 3, (100, n_features)) for mean in means])
    own = np.repeat(np.arange(4), 100), np.arange(400)
    expanded = np.asarray(jax.jit(natural)(mixture)) @ phi(x).T
    return np.abs(expanded[own] - mixture.log_joint(x).T[own]).max()


@pytest.mark.parametrize("narrow", [1e-1, 1e-2, 1e-3, 1e-4])
def test_cancellation_stays_within_its_bound(narrow):
    """The documented price: eps (|x| / sd)^2, times a constant.

    Each of the F = 6 terms of eta . phi is at most |x|^2 / sd_min^2 with |x|^2 < 9 and the precision's
    largest eigenvalue 1 / (0.7 sd^2), and carries a rounding of eps for each of four operations:
    6 * 4 * 9 / 0.7 = 309 times eps / sd^2.
    """
    error = worst_logit_error(narrow)
    assert error < 309 * EPS / narrow**2
    # The rail is needed: at least 1/309 of the bound is reached, so the error does grow as 1 / sd^2.
    assert error > EPS / narrow**2
