"""A mixture's densities, moments, samples and marginals are those of SciPy, and bad ones are refused."""

import pickle

import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture import densities as single
from bayes_gmm.mixture.mixture import Mixture

EXACT = {"rtol": 1e-12, "atol": 1e-12}
SHAPES = [(1, 1), (2, 1), (1, 3), (3, 2), (4, 5)]


def random_mixture(seed, n_components=3, n_features=2, batch=()):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_components, 5.0), size=batch)
    means = rng.normal(scale=2, size=(*batch, n_components, n_features))
    roots = rng.normal(size=(*batch, n_components, n_features, n_features + 3))
    return Mixture.from_moments(weights, means, roots @ roots.mT / (n_features + 3))


def random_points(seed, n_points=17, n_features=2):
    return np.random.default_rng(seed).normal(scale=3, size=(n_points, n_features))


def scipy_log_joint(mixture, x):
    """Oracle (N, K): one `multivariate_normal` for each component."""
    components = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    columns = [np.log(w) + multivariate_normal(m, c).logpdf(x) for w, m, c in components]
    return np.stack(columns, axis=1)


def element(batched, *index):
    return jax.tree.map(lambda leaf: leaf[index], batched)


# Densities


@pytest.mark.parametrize(("n_components", "n_features"), SHAPES)
def test_densities_are_those_of_scipy(n_components, n_features):
    mixture = random_mixture(1, n_components, n_features)
    x = random_points(2, n_features=n_features)
    joint = scipy_log_joint(mixture, x)
    np.testing.assert_allclose(mixture.log_joint(x), joint, **EXACT)
    np.testing.assert_allclose(mixture.log_prob(x), logsumexp(joint, axis=1), **EXACT)
    posterior = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(mixture.responsibilities(x), posterior, **EXACT)


def test_comparison_with_scipy_notices_a_covariance_wrong_by_one_in_a_million():
    mixture, x = random_mixture(1), random_points(2)
    wrong = Mixture.from_moments(mixture.weights, mixture.means, mixture.covariances * (1 + 1e-6))
    assert np.abs(wrong.log_prob(x) - mixture.log_prob(x)).max() > 1e-8


def test_density_integrates_to_one():
    grid = np.linspace(-20, 20, 20_001)
    density = np.exp(random_mixture(3, 3, 1).log_prob(grid[:, None]))
    # The trapezoid rule converges faster than any power for a smooth function that vanishes at both ends.
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=1e-12)


@pytest.mark.parametrize(("n_components", "n_features"), SHAPES)
def test_responsibilities_sum_to_one_and_predict_is_the_largest(n_components, n_features):
    mixture = random_mixture(4, n_components, n_features)
    x = random_points(5, n_features=n_features)
    responsibilities = mixture.responsibilities(x)
    np.testing.assert_allclose(responsibilities.sum(1), 1, rtol=1e-14)
    np.testing.assert_array_equal(mixture.predict(x), scipy_log_joint(mixture, x).argmax(1))


@pytest.mark.parametrize("method", ["log_joint", "log_prob", "responsibilities", "predict"])
def test_batch_equals_loop_over_its_mixtures(method):
    batched, x = random_mixture(6, batch=(2, 3)), random_points(7)
    values = getattr(batched, method)(x)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(values[index], getattr(element(batched, *index), method)(x))


@pytest.mark.parametrize("n_points", [1, 31, 32, 33, 5000])
def test_value_at_a_point_does_not_depend_on_how_many_others_there_are(n_points):
    """5000 points need two rounds; the others are padded to a common length."""
    mixture, x = random_mixture(8), random_points(9, n_points=5000)
    values = mixture.log_prob(x[:n_points])
    assert values.shape == (n_points,)
    expected = logsumexp(scipy_log_joint(mixture, x), axis=1)[:n_points]
    np.testing.assert_allclose(values, expected, **EXACT)


def test_answers_are_numpy_float64():
    mixture, x = random_mixture(8), random_points(9)
    for values in (mixture.log_joint(x), mixture.log_prob(x), mixture.responsibilities(x)):
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.float64


def test_log_prob_is_finite_and_right_a_million_sds_away():
    mixture = Mixture.from_moments([0.3, 0.7], [[0.0], [1.0]], [[[1.0]], [[4.0]]])
    x = np.array([[1e6], [-1e6]])
    # The other component's share is exp(-3.75e11): exactly nothing.
    expected = np.log(0.7) + multivariate_normal(1, 4).logpdf(x[:, 0])
    np.testing.assert_allclose(mixture.log_prob(x), expected, rtol=1e-14)
    np.testing.assert_array_equal(mixture.responsibilities(x), [[0, 1], [0, 1]])


def test_component_of_weight_zero_takes_no_point():
    mixture = Mixture.from_moments([0.0, 1.0], [[0.0], [5.0]], [[[1.0]], [[1.0]]])
    x = np.array([[0.0], [5.0], [1e6]])
    np.testing.assert_array_equal(mixture.responsibilities(x), [[0, 1]] * 3)
    np.testing.assert_allclose(mixture.log_prob(x), multivariate_normal(5, 1).logpdf(x[:, 0]), rtol=1e-14)
    assert set(mixture.sample(1000, seed=0)[1]) == {1}
    np.testing.assert_allclose(mixture.mean, [5])


# Moments and samples


@pytest.mark.parametrize("batch", [(), (2,)])
def test_moments_of_the_whole_mixture_follow_from_those_of_its_components(batch):
    """Closed form by raw second moments: E[x x'] = sum_k pi_k (Sigma_k + mu_k mu_k')."""
    mixture = random_mixture(10, 4, 3, batch)
    mean = np.einsum("...k,...kd->...d", mixture.weights, mixture.means)
    outer = np.einsum("...kd,...ke->...kde", mixture.means, mixture.means)
    raw = np.einsum("...k,...kde->...de", mixture.weights, mixture.covariances + outer)
    np.testing.assert_allclose(mixture.mean, mean, **EXACT)
    np.testing.assert_allclose(mixture.covariance, raw - np.einsum("...d,...e->...de", mean, mean), **EXACT)


def test_scales_and_correlations_are_those_of_the_covariances():
    mixture = random_mixture(11, 2, 3)
    for k, covariance in enumerate(mixture.covariances):
        deviations = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(mixture.scales[k], deviations, **EXACT)
        np.testing.assert_allclose(mixture.correlations[k], covariance / np.outer(deviations, deviations), **EXACT)


def test_from_moments_gives_back_the_moments():
    weights, means = np.array([0.25, 0.75]), np.array([[0.0, 1.0], [2.0, 3.0]])
    covariances = np.array([[[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.9], [-0.9, 1.0]]])
    mixture = Mixture.from_moments(weights, means, covariances)
    np.testing.assert_allclose(mixture.weights, weights, **EXACT)
    np.testing.assert_array_equal(mixture.means, means)
    np.testing.assert_allclose(mixture.covariances, covariances, **EXACT)


def test_sample_has_the_moments_and_label_frequencies_of_the_mixture():
    mixture, n_points = random_mixture(12), 100_000
    points, labels = mixture.sample(n_points, seed=1)

    def assert_near(samples, expected, what):
        standard_error = samples.std(0) / np.sqrt(n_points)
        errors = np.abs(samples.mean(0) - expected) / standard_error
        assert errors.max() < 5, f"{what}: {errors.max():.1f} Monte Carlo standard errors away"
        shifted = np.abs(samples.mean(0) - expected * 1.1 - 0.1) / standard_error
        assert shifted.max() > 5, f"{what}: the sample is too small to see an error of a tenth"

    offsets = points - mixture.mean
    assert_near(points, mixture.mean, "mean")
    assert_near(offsets[:, :, None] * offsets[:, None, :], mixture.covariance, "covariance")
    assert_near(np.eye(3)[labels], mixture.weights, "label frequencies")
    for k in range(3):
        inside = points[labels == k]
        standard_error = inside.std(0) / np.sqrt(len(inside))
        assert (np.abs(inside.mean(0) - mixture.means[k]) < 5 * standard_error).all(), f"points of label {k}"


def test_sample_is_decided_by_the_seed():
    mixture = random_mixture(13)
    points, labels = mixture.sample(50, seed=3)
    again, labels_again = mixture.sample(50, seed=3)
    np.testing.assert_array_equal(points, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert not np.array_equal(points, mixture.sample(50, seed=4)[0])


def test_batch_of_mixtures_samples_each_from_its_own():
    far_apart = [[[-1000.0], [1000.0]], [[5000.0], [7000.0]]]
    mixture = Mixture.from_moments([[0.5, 0.5], [0.0, 1.0]], far_apart, np.ones((2, 2, 1, 1)))
    points, labels = mixture.sample(40, seed=0)
    assert points.shape == (2, 40, 1)
    assert labels.shape == (2, 40)
    own_means = np.take_along_axis(mixture.means, labels[..., None], axis=1)
    assert np.abs(points - own_means).max() < 6
    assert set(labels[0]) == {0, 1}
    assert set(labels[1]) == {1}


# Marginals, permutations, counts


@pytest.mark.parametrize("features", [[0], [2], [0, 2], [2, 0], [0, 1, 2]])
def test_marginal_density_is_that_of_scipy(features):
    mixture = random_mixture(14, 3, 3)
    x = random_points(15, n_features=len(features))
    block = np.ix_(range(3), features, features)
    components = zip(mixture.weights, mixture.means[:, features], mixture.covariances[block], strict=True)
    joint = [np.log(w) + multivariate_normal(m, c).logpdf(x) for w, m, c in components]
    np.testing.assert_allclose(mixture.marginal(features).log_prob(x), logsumexp(joint, axis=0), **EXACT)


def test_marginal_density_is_the_integral_of_the_joint_one():
    mixture, grid = random_mixture(16), np.linspace(-30, 30, 2001)
    for value in (-1.0, 0.5):
        along = np.exp(mixture.log_prob(np.stack([np.full_like(grid, value), grid], axis=1)))
        expected = np.exp(mixture.marginal([0]).log_prob([[value]])[0])
        np.testing.assert_allclose(np.trapezoid(along, grid), expected, rtol=1e-10)


def test_permutation_moves_components_and_leaves_the_density():
    mixture, x, order = random_mixture(17), random_points(18), [2, 0, 1]
    permuted = mixture.permute(order)
    np.testing.assert_array_equal(permuted.means, mixture.means[order])
    np.testing.assert_array_equal(permuted.scale_tril, mixture.scale_tril[order])
    np.testing.assert_allclose(permuted.log_prob(x), mixture.log_prob(x), **EXACT)
    np.testing.assert_allclose(permuted.responsibilities(x), mixture.responsibilities(x)[:, order], **EXACT)
    restored = permuted.permute(np.argsort(order))
    for ours, original in zip(jax.tree.leaves(restored), jax.tree.leaves(mixture), strict=True):
        np.testing.assert_array_equal(ours, original)


def test_each_mixture_of_a_batch_has_its_own_permutation():
    batched, orders = random_mixture(19, batch=(2,)), np.array([[0, 2, 1], [1, 2, 0]])
    permuted = batched.permute(orders)
    for i, order in enumerate(orders):
        np.testing.assert_array_equal(permuted.means[i], batched.means[i][order])
        np.testing.assert_array_equal(permuted.weights[i], batched.weights[i][order])


@pytest.mark.parametrize(("K", "D", "expected"), [(1, 1, 2), (2, 1, 5), (2, 2, 11), (3, 4, 44)])
def test_number_of_free_parameters(K, D, expected):
    """11 for faithful and 44 for iris are the df of mclust 6.0.0's VVV."""
    assert random_mixture(20, K, D).n_parameters == expected


# Errors

GOOD = ([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [np.eye(2), np.eye(2)])


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        pytest.param(0, [1.0], "shapes", id="one weight for two components"),
        pytest.param(0, 0.5, "shapes", id="scalar weight"),
        pytest.param(1, [0.0, 1.0], "shapes", id="means without features"),
        pytest.param(2, [np.eye(3), np.eye(3)], "shapes", id="covariances of three features"),
        pytest.param(2, np.eye(2), "shapes", id="one covariance"),
        pytest.param(0, [0.5, 0.6], "sum 1.1", id="weights above one"),
        pytest.param(0, [0.5, 0.4], "sum 0.9", id="weights below one"),
        pytest.param(0, [-0.1, 1.1], "non-negative", id="negative weight"),
        pytest.param(0, [np.nan, 1.0], "NaN", id="NaN weight"),
        pytest.param(1, [[0.0, np.nan], [1.0, 1.0]], "NaN", id="NaN mean"),
        pytest.param(1, [[0.0, np.inf], [1.0, 1.0]], "infinity", id="infinite mean"),
        pytest.param(2, [np.eye(2), np.diag([1.0, np.nan])], "NaN", id="NaN covariance"),
        pytest.param(2, [np.eye(2), [[1.0, 0.5], [0.4, 1.0]]], "not symmetric", id="asymmetric"),
        pytest.param(2, [np.eye(2), [[1.0, 1e-6], [0.0, 1.0]]], "not symmetric", id="slightly asymmetric"),
        pytest.param(2, [np.eye(2), [[1.0, 2.0], [2.0, 1.0]]], "positive definite", id="indefinite"),
        pytest.param(2, [np.eye(2), np.zeros((2, 2))], "positive definite", id="zero covariance"),
    ],
)
def test_moments_of_no_mixture_are_refused(position, value, message):
    moments = list(GOOD)
    Mixture.from_moments(*moments)  # the control: it is the one replaced part that is refused
    moments[position] = value
    with pytest.raises(ArgumentError, match=message):
        Mixture.from_moments(*moments)


def test_covariances_may_be_asymmetric_by_rounding():
    """R S R' is symmetric in exact arithmetic only; next to zero the rounding is all that is there."""
    rounded = np.array([[1.0, 3e-17], [-2e-17, 4.0]])
    np.testing.assert_allclose(
        Mixture.from_moments([1.0], [[0.0, 0.0]], [rounded]).covariances[0], np.diag([1.0, 4.0]), atol=1e-16
    )


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 1), ()])
def test_points_of_other_features_are_refused(shape):
    with pytest.raises(ArgumentError, match=r"shape \(N, 2\)"):
        random_mixture(21).log_prob(np.zeros(shape))


# One class for everything: transformations, pickles, names


def test_functions_of_one_mixture_and_one_point_map_over_both():
    batched, x = random_mixture(22, batch=(4,)), random_points(23)
    with jax.enable_x64(True):
        over_points = jax.vmap(single.log_prob, (None, 0))
        values = jax.jit(jax.vmap(over_points, (0, None)))(batched, x)
        # Loop and vmap round differently: the triangular solves are batched.
        np.testing.assert_allclose(values, batched.log_prob(x), **EXACT)


def test_mixture_is_a_pytree_of_its_three_arrays():
    mixture = random_mixture(24, batch=(3,))
    leaves, structure = jax.tree.flatten(mixture)
    assert [leaf.shape for leaf in leaves] == [(3, 3), (3, 3, 2), (3, 3, 2, 2)]
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert isinstance(rebuilt, Mixture)
    assert rebuilt.means is mixture.means
    assert jax.tree.unflatten(structure, [None] * 3).means is None  # JAX puts placeholders into the leaves


def test_pickle_gives_the_same_mixture():
    mixture, x = random_mixture(25), random_points(26)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mixture)).log_prob(x), mixture.log_prob(x))


def test_repr_says_how_large_it_is():
    assert repr(random_mixture(27)) == "Mixture(3 components, 2 features)"
    assert repr(random_mixture(27, batch=(4, 5))) == "Mixture(3 components, 2 features, batch (4, 5))"


@pytest.mark.parametrize("kind", ["plain", "noise", "t"])
def test_few_points_in_numpy_have_the_densities_of_the_compiled_program(monkeypatch, kind):
    rng = np.random.default_rng(8)
    roots = rng.normal(size=(5, 3, 2, 2))
    moments = rng.dirichlet(np.ones(3), 5), rng.normal(size=(5, 3, 2)), roots @ roots.mT + 0.2 * np.eye(2)
    mixture = Mixture.from_moments(*moments)
    if kind == "noise":
        mixture = mixture.with_noise(0.2, [-5.0, -5.0], [5.0, 5.0])
    if kind == "t":
        mixture = Mixture.from_scatters(*moments, np.full((5, 3), 4.0))
    points = rng.normal(size=(40, 2))
    questions = ("log_joint", "log_prob", "responsibilities", "noise_probability")
    found = [getattr(mixture, question)(points) for question in questions]
    monkeypatch.setattr(single, "_FEW", 0)
    for values, question in zip(found, questions, strict=True):
        np.testing.assert_allclose(values, getattr(mixture, question)(points), rtol=1e-12, atol=1e-13, err_msg=question)
