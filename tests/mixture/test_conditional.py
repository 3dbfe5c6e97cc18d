"""Conditionals are the joint density divided by the marginal one, also far away and for nearly dependent features."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad

from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.mixture import Mixture

EXACT = {"rtol": 1e-10, "atol": 1e-10}
KNOWN = [(2, [0]), (2, [1]), (3, [1]), (3, [2, 0]), (3, [0, 1]), (5, [3, 0, 4])]


def random_mixture(seed, n_components=3, n_features=2, batch=()):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(n_components, 5.0), size=batch)
    means = rng.normal(scale=2, size=(*batch, n_components, n_features))
    roots = rng.normal(size=(*batch, n_components, n_features, n_features + 3))
    return Mixture.from_moments(weights, means, roots @ roots.mT / (n_features + 3))


def random_rows(seed, n_rows, n_features):
    return np.random.default_rng(seed).normal(scale=2, size=(n_rows, n_features))


def element(batched, *index):
    return jax.tree.map(lambda leaf: leaf[index], batched)


def bayes_rule(mixture, features, rows):
    """Oracle (M,): log density of the remaining features given the known ones, as joint over marginal."""
    return mixture.log_prob(rows) - mixture.marginal(features).log_prob(rows[:, features])


def own_density(mixture, features, rows):
    """The same by `condition`: each row under the mixture that belongs to its known values."""
    rest = [feature for feature in range(mixture.n_features) if feature not in features]
    conditional = mixture.condition(features, rows[:, features])
    return np.array([element(conditional, m).log_prob(row[None, rest])[0] for m, row in enumerate(rows)])


# The conditional distribution


@pytest.mark.parametrize(("n_features", "features"), KNOWN)
def test_density_is_that_of_bayes_rule(n_features, features):
    mixture, rows = random_mixture(1, 3, n_features), random_rows(2, 6, n_features)
    np.testing.assert_allclose(own_density(mixture, features, rows), bayes_rule(mixture, features, rows), **EXACT)


def test_comparison_with_bayes_rule_notices_a_covariance_wrong_by_one_in_a_million():
    mixture, rows = random_mixture(1, 3, 3), random_rows(2, 6, 3)
    wrong = Mixture.from_moments(mixture.weights, mixture.means, mixture.covariances * (1 + 1e-6))
    assert np.abs(own_density(wrong, [1], rows) - bayes_rule(mixture, [1], rows)).max() > 1e-7


@pytest.mark.parametrize(("n_features", "features"), KNOWN)
def test_components_have_the_moments_of_the_textbook(n_features, features):
    """Bishop (2006), equations 2.81 and 2.82, with a matrix inverse."""
    mixture, values = random_mixture(3, 2, n_features), random_rows(4, 5, len(features))
    rest = [feature for feature in range(n_features) if feature not in features]
    conditional = mixture.condition(features, values)
    for k in range(2):
        mean, covariance = mixture.means[k], mixture.covariances[k]
        slope = covariance[np.ix_(rest, features)] @ np.linalg.inv(covariance[np.ix_(features, features)])
        expected = mean[rest] + (values - mean[features]) @ slope.T
        complement = covariance[np.ix_(rest, rest)] - slope @ covariance[np.ix_(features, rest)]
        np.testing.assert_allclose(conditional.means[:, k], expected, **EXACT)
        np.testing.assert_allclose(conditional.covariances[:, k], np.tile(complement, (5, 1, 1)), **EXACT)


@pytest.mark.parametrize("value", [-4.0, 0.3, 2.0])
def test_regression_and_its_variance_are_integrals_over_the_joint_density(value):
    mixture = random_mixture(5)

    def moment(power, centre):
        def integrand(y):
            return (y - centre) ** power * np.exp(mixture.log_prob([[value, y]])[0])

        return quad(integrand, -25, 25, points=sorted(mixture.means[:, 1]), epsabs=1e-13, limit=200)[0]

    density = moment(0, 0.0)
    mean = moment(1, 0.0) / density
    conditional = mixture.condition([0], [[value]])
    np.testing.assert_allclose(conditional.mean, [[mean]], rtol=1e-7)
    np.testing.assert_allclose(conditional.covariance, [[[moment(2, mean) / density]]], rtol=1e-7)


def test_regression_is_the_mean_of_the_points_near_by():
    """A million points, of which those within 0.05 of the value are averaged; the window's curvature is below it."""
    mixture = random_mixture(6)
    points, _ = mixture.sample(1_000_000, seed=1)
    value = mixture.mean[0]
    near = points[np.abs(points[:, 0] - value) < 0.05, 1]
    conditional = mixture.condition([0], [[value]])
    standard_error = near.std() / np.sqrt(len(near))
    assert abs(near.mean() - conditional.mean[0, 0]) < 5 * standard_error
    assert abs(near.mean() - mixture.mean[1]) > 5 * standard_error, "the known value would make no difference"


def test_one_component_is_linear_regression_by_least_squares():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(50, 2))
    y = 1.5 + x @ [2.0, -0.7] + rng.normal(scale=0.3, size=50)
    table = np.column_stack([x, y])
    mixture = Mixture.from_moments([1.0], [table.mean(0)], [np.cov(table.T, ddof=0)])
    design = np.column_stack([np.ones(50), x])
    coefficients, squares, *_ = np.linalg.lstsq(design, y)
    conditional = mixture.condition([0, 1], x)
    np.testing.assert_allclose(conditional.mean[:, 0], design @ coefficients, **EXACT)
    np.testing.assert_allclose(conditional.covariance[:, 0, 0], squares[0] / 50, **EXACT)


def test_mean_and_covariance_are_those_of_the_conditionals_put_together():
    """Laws of total expectation and covariance over 20 000 values of the known feature."""
    mixture = random_mixture(8, 3, 3)
    values = mixture.marginal([1]).sample(20_000, seed=2)[0]
    conditional, rest = mixture.condition([1], values), mixture.marginal([0, 2])
    offsets = conditional.mean - rest.mean
    spread = conditional.covariance + offsets[..., :, None] * offsets[..., None, :]
    for samples, expected in [(conditional.mean, rest.mean), (spread, rest.covariance)]:
        standard_error = samples.std(0) / np.sqrt(len(samples))
        assert (np.abs(samples.mean(0) - expected) < 5 * standard_error).all()
    without_spread = np.abs(conditional.covariance.mean(0) - rest.covariance)
    assert without_spread.max() > 5 * standard_error.max(), "the regression explains nothing"


def test_known_features_one_after_the_other_are_all_of_them_at_once():
    mixture, rows = random_mixture(9, 3, 4), random_rows(10, 4, 2)
    at_once = mixture.condition([3, 1], rows)
    for m, (third, first) in enumerate(rows):
        step = element(mixture.condition([3], [[third]]), 0)
        after = element(step.condition([1], [[first]]), 0)
        np.testing.assert_allclose(after.log_weights, at_once.log_weights[m], **EXACT)
        np.testing.assert_allclose(after.means, at_once.means[m], **EXACT)
        np.testing.assert_allclose(after.scale_tril, at_once.scale_tril[m], **EXACT)


# Extremes


def test_far_values_underflow_nowhere():
    """Equal covariances: the log ratio of the weights is linear in the value, here 1e4 standard deviations away."""
    means = np.array([[0.0, 0.0], [1.0, 5.0]])
    mixture = Mixture.from_moments([0.3, 0.7], means, [np.eye(2), np.eye(2)])
    values = np.array([[-1e4], [1e4], [0.5]])
    conditional = mixture.condition([0], values)
    np.testing.assert_allclose(conditional.weights.sum(-1), 1, rtol=1e-14)
    ratio = conditional.log_weights[:, 1] - conditional.log_weights[:, 0]
    np.testing.assert_allclose(ratio, np.log(7 / 3) + values[:, 0] - 0.5, rtol=1e-10)
    np.testing.assert_allclose(conditional.mean[:2], [[0.0], [5.0]], atol=1e-12)
    for leaf in jax.tree.leaves(conditional):
        assert np.isfinite(leaf).all()


def test_feature_that_the_known_one_nearly_decides_keeps_its_variance():
    """Two features differ by noise of 1e-9: as a Schur complement, 1 - 1 / (1 + 1e-18) is zero in float64."""
    factor = np.array([[[1.0, 0.0], [1.0, 1e-9]]])
    mixture = Mixture(log_weights=np.zeros(1), means=np.zeros((1, 2)), scale_tril=factor)
    np.testing.assert_allclose(mixture.condition([0], [[2.0]]).scales, 1e-9, rtol=1e-6)
    np.testing.assert_allclose(mixture.condition([1], [[2.0]]).scales, 1e-9, rtol=1e-6)


def test_units_of_the_features_make_no_difference():
    mixture, rows, units = random_mixture(11, 3, 3), random_rows(12, 4, 3), np.array([1e-9, 1.0, 1e9])
    scaled = Mixture.from_moments(
        mixture.weights, mixture.means * units, mixture.covariances * np.multiply.outer(units, units)
    )
    ours, theirs = mixture.condition([0, 2], rows[:, [0, 2]]), scaled.condition([0, 2], (rows * units)[:, [0, 2]])
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


def test_component_of_weight_zero_keeps_it():
    mixture = Mixture.from_moments([0.0, 1.0], [[0.0, 0.0], [5.0, 5.0]], [np.eye(2), np.eye(2)])
    np.testing.assert_array_equal(mixture.condition([0], [[0.0], [1e4]]).weights, [[0, 1], [0, 1]])


# Batches


def test_batch_equals_loop_over_its_mixtures():
    batched, values = random_mixture(13, 2, 3, batch=(2, 3)), random_rows(14, 4, 2)
    conditional = batched.condition([2, 0], values)
    assert repr(conditional) == "Mixture(2 components, 1 features, batch (2, 3, 4))"
    for index in np.ndindex(2, 3):
        for m, row in enumerate(values):
            alone = element(batched, *index).condition([2, 0], row[None])
            for one, other in zip(
                jax.tree.leaves(element(conditional, *index, m)), jax.tree.leaves(alone), strict=True
            ):
                np.testing.assert_allclose(one, other[0], **EXACT)


def test_answers_are_numpy_float64_that_the_methods_of_a_mixture_take():
    conditional = random_mixture(15).condition([0], np.zeros((4, 1)))
    for leaf in jax.tree.leaves(conditional):
        assert isinstance(leaf, np.ndarray)
        assert leaf.dtype == np.float64
    assert conditional.log_prob(np.zeros((5, 1))).shape == (4, 5)
    assert conditional.sample(6, seed=0)[0].shape == (4, 6, 1)
    assert conditional.mean.shape == (4, 1)
    assert random_mixture(15).condition([0], np.zeros((0, 1))).mean.shape == (0, 1)


def test_marginal_has_the_blocks_of_the_covariances_and_positive_factors():
    mixture, features = random_mixture(16, 3, 4, batch=(2,)), np.array([3, 0])
    marginal = mixture.marginal(features)
    np.testing.assert_allclose(marginal.covariances, mixture.covariances[..., [3, 0], :][..., [3, 0]], **EXACT)
    np.testing.assert_array_equal(marginal.means, mixture.means[..., [3, 0]])
    np.testing.assert_array_equal(marginal.weights, mixture.weights)
    assert (np.diagonal(marginal.scale_tril, axis1=-2, axis2=-1) > 0).all()
    np.testing.assert_array_equal(np.triu(marginal.scale_tril, 1), 0)


# Errors

NO_FEATURES = [
    pytest.param([], id="none"),
    pytest.param([3], id="out of range"),
    pytest.param([-1], id="negative"),
    pytest.param([0, 0], id="repeated"),
    pytest.param([0.0], id="floating point"),
    pytest.param([True, False, True], id="mask"),
    pytest.param(["length"], id="name"),
    pytest.param("01", id="text"),
    pytest.param(0, id="no list"),
    pytest.param(np.array([[0, 1]]), id="two axes"),
    pytest.param(None, id="nothing"),
]


@pytest.mark.wrong_types
@pytest.mark.parametrize("features", NO_FEATURES)
def test_features_that_are_none_are_refused(features):
    mixture = random_mixture(17, 2, 3)
    with pytest.raises(ArgumentError, match="from 0 to 2"):
        mixture.marginal(features)
    with pytest.raises(ArgumentError, match="from 0 to 2, at most 2 of them"):
        mixture.condition(features, [[0.0]])


def test_condition_leaves_a_feature_and_marginal_need_not():
    mixture = random_mixture(18, 2, 3)
    np.testing.assert_allclose(mixture.marginal([0, 1, 2]).scale_tril, mixture.scale_tril, **EXACT)
    with pytest.raises(ArgumentError, match="at most 2 of them"):
        mixture.condition([0, 1, 2], np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("features", "values", "message"),
    [
        pytest.param([0], [1.0, 2.0], r"values have shape \(2,\).*shape \(N, 1\).*Rows are points", id="vector"),
        pytest.param([0], 1.0, r"shape \(\)", id="number"),
        pytest.param([0, 1], [[1.0]], r"shape \(N, 2\)", id="too few"),
        pytest.param([0], [[1.0, 2.0]], r"shape \(N, 1\)", id="too many"),
        pytest.param([0], [[np.nan]], "NaN or infinity", id="NaN"),
        pytest.param([0], [[-np.inf]], "NaN or infinity", id="infinite"),
        pytest.param([0], [[1e200]], "leaves float64", id="square overflows"),
        pytest.param([0, 1], [[1e308, -1e308]], "leaves float64", id="all overflows"),
    ],
)
def test_values_that_are_no_rows_of_finite_numbers_are_refused(features, values, message):
    with pytest.raises(ArgumentError, match=message):
        random_mixture(19, 2, 3).condition(features, values)
