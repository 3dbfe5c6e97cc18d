"""Hard assignment: the classification likelihood by brute force, and k-means by scikit-learn."""

import inspect
from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.mle.status import EMStatus


def log_joint(x, mixture):
    """The textbook formula for log p(x, z), point by point (N, K)."""
    parts = [multivariate_normal(m, c).logpdf(x) for m, c in zip(mixture.means, mixture.covariances, strict=True)]
    return mixture.log_weights + np.stack(parts, 1)


def data_of(name):
    if name == "blobs":
        return make_blobs(600, 5, centers=6, cluster_std=3.0, random_state=0)[0], 6
    if name == "square":  # no clusters at all: tens of steps
        return np.random.default_rng(0).uniform(size=(1500, 2)), 10
    return bg.datasets.load(name).values, {"iris": 3, "faithful": 2}[name]


# The classification likelihood


def profile(x, labels, covariance_type):
    """Largest classification log-likelihood for given labels, minus infinity where it has no upper bound."""
    groups = [x[labels == k] for k in (0, 1)]
    counts = np.array([len(g) for g in groups])
    if counts.min() < (2 if covariance_type == "VII" else 1):
        return -np.inf
    n_features = x.shape[1]
    squares = np.array([((g - g.mean(0)) ** 2).sum() for g in groups])
    pooled = np.full(2, squares.sum() / len(x) / n_features)
    variances = pooled if covariance_type == "EII" else squares / counts / n_features
    return counts @ np.log(counts / len(x)) - n_features / 2 * (counts @ np.log(2 * np.pi * variances) + len(x))


def all_profiles(seed, covariance_type):
    x = np.random.default_rng(seed).normal(size=(8, 2))
    labellings = [np.array(labels) for labels in product((0, 1), repeat=8)]
    return x, labellings, np.array([profile(x, labels, covariance_type) for labels in labellings])


@pytest.mark.parametrize("seed", range(4))
def test_best_of_many_starts_is_the_best_of_all_labellings(seed):
    x, _, values = all_profiles(seed, "EII")
    fit = bg.fit_em(x, 2, covariance_type="EII", assignment="hard", n_starts=64)
    assert fit.status is EMStatus.CONVERGED
    np.testing.assert_allclose(fit.path[-1], values.max(), rtol=0, atol=1e-9)
    # Wherever a start ends, it is at the best mixture for some labels.
    converged = fit.start_log_likelihoods[fit.start_statuses == EMStatus.CONVERGED]
    assert np.abs(converged[:, None] - values).min(1).max() < 1e-9
    assert len(np.unique(converged.round(6))) > 1  # the control: not every start finds it


@pytest.mark.parametrize("seed", range(4))
def test_no_start_passes_the_best_of_all_labellings(seed):
    """With a variance for each component that is often a close pair, which few starts find but none leaves."""
    x, labellings, values = all_profiles(seed, "VII")
    fit = bg.fit_em(x, 2, covariance_type="VII", assignment="hard", n_starts=64)
    converged = fit.start_log_likelihoods[fit.start_statuses == EMStatus.CONVERGED]
    assert converged.max() < values.max() + 1e-9
    assert np.abs(converged[:, None] - values).min(1).max() < 1e-9
    there = bg.fit_em(x, 2, covariance_type="VII", assignment="hard", start=labellings[values.argmax()])
    np.testing.assert_allclose(there.path, values.max(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "spherical"])
@pytest.mark.parametrize("name", ["faithful", "iris"])
def test_path_rises_to_the_classification_likelihood(name, covariance_type):
    x, n_components = data_of(name)
    fit = bg.fit_em(x, n_components, covariance_type=covariance_type, assignment="hard", n_starts=8)
    joint = log_joint(x, fit.mixture)
    # A sum of up to 272 logarithms: its rounding is below 272 eps |l| = 7e-11.
    assert np.diff(fit.path).min(initial=0.0) > -1e-10
    np.testing.assert_allclose(fit.path[-1], joint.max(1).sum(), rtol=0, atol=1e-9)
    assert fit.kernel_error < 1e-9
    # The log-likelihood that is reported sums labels out, as for any other mixture, and is larger.
    np.testing.assert_allclose(fit.log_likelihood, fit.mixture.log_prob(x).sum(), rtol=1e-13)
    assert fit.log_likelihood > fit.path[-1] + 0.01
    np.testing.assert_allclose(fit.icl(), -2 * fit.path[-1] + fit.n_parameters * np.log(len(x)), rtol=0, atol=1e-8)


def test_answer_is_the_m_step_of_its_own_labels(faithful):
    fit = bg.fit_em(faithful, 2, assignment="hard")
    labels = fit.responsibilities().argmax(1)
    groups = [faithful.values[labels == k] for k in range(2)]
    np.testing.assert_allclose(fit.mixture.weights, [len(g) / 272 for g in groups], rtol=1e-12)
    np.testing.assert_allclose(fit.mixture.means, [g.mean(0) for g in groups], rtol=1e-12)
    np.testing.assert_allclose(fit.mixture.covariances, [np.cov(g.T, ddof=0) for g in groups], rtol=1e-9)


def test_soft_assignment_climbs_something_else(faithful, faithful_mle):
    """The control: each is the better one by its own measure."""
    hard = bg.fit_em(faithful, 2, assignment="hard")
    assert faithful_mle.log_likelihood > hard.log_likelihood + 0.01
    assert log_joint(faithful.values, faithful_mle.mixture).max(1).sum() < hard.path[-1] - 0.01


def test_known_labels_are_kept(faithful):
    x = faithful.values
    labels = np.full(272, -1)
    labels[:40] = (x[:40, 0] > 3).astype(int)
    labels[0] = 1 - labels[0]  # one of them against all appearance
    fit = bg.fit_em(x, 2, covariance_type="tied", labels=labels, assignment="hard")
    joint = log_joint(x, fit.mixture)
    used = np.where(labels >= 0, labels, joint.argmax(1))
    assert used[0] != joint[0].argmax()
    np.testing.assert_allclose(fit.path[-1], joint[np.arange(272), used].sum(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.mixture.means, [x[used == k].mean(0) for k in range(2)], rtol=1e-12)


def test_integer_weights_are_repeated_rows(faithful):
    weights = np.random.default_rng(1).integers(0, 4, 272)
    start = bg.fit_em(faithful, 2, covariance_type="tied").mixture
    weighted = bg.fit_em(faithful, 2, start=start, assignment="hard", sample_weight=weights)
    repeated = bg.fit_em(np.repeat(faithful.values, weights, axis=0), 2, start=start, assignment="hard")
    np.testing.assert_allclose(weighted.path, repeated.path, rtol=1e-12)
    np.testing.assert_allclose(weighted.mixture.means, repeated.mixture.means, rtol=1e-12)


# k-means


def k_means(x, centers, max_steps=1000):
    """Equal weights, and one variance for all: the most probable component has the nearest centre."""
    n_components, n_features = centers.shape
    spheres = np.tile(np.eye(n_features), (n_components, 1, 1))
    return bg.fit_em(
        x,
        n_components,
        covariance_type="EII",
        assignment="hard",
        fixed={"weights": "equal"},
        start=bg.Mixture.from_moments(np.full(n_components, 1 / n_components), centers, spheres),
        max_steps=max_steps,
    )


def centers_of(x, n_components, seed):
    return x[np.random.default_rng(seed).choice(len(x), n_components, replace=False)]


@pytest.mark.parametrize("name", ["iris", "faithful", "blobs", "square"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_k_means_is_that_of_scikit_learn(name, seed):
    """Also in its number of iterations: both need one more to see that no label changes."""
    x, n_components = data_of(name)
    centers = centers_of(x, n_components, seed)
    ours = k_means(x, centers)
    peer = KMeans(n_components, n_init=1, init=centers, algorithm="lloyd", tol=0, max_iter=1000).fit(x)
    order = np.argsort(peer.cluster_centers_[:, 0])
    assert ours.status is EMStatus.CONVERGED
    assert ours.n_steps == peer.n_iter_
    np.testing.assert_allclose(ours.mixture.means, peer.cluster_centers_[order], rtol=1e-12)
    np.testing.assert_array_equal(order[ours.responsibilities().argmax(1)], peer.labels_)
    # The variance is the inertia for each number in the table, N D of them.
    np.testing.assert_allclose(ours.mixture.covariances[:, 0, 0] * x.size, peer.inertia_, rtol=1e-12)
    classification = -x.size / 2 * (np.log(2 * np.pi * peer.inertia_ / x.size) + 1) - len(x) * np.log(n_components)
    np.testing.assert_allclose(ours.path[-1], classification, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:EM ended MAX_STEPS", "ignore:Number of distinct clusters")
@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_k_means_is_that_of_scikit_learn_at_each_step(n_steps):
    x, n_components = data_of("blobs")
    centers = centers_of(x, n_components, 0)
    ours = k_means(x, centers, n_steps)
    peers = [
        KMeans(n_components, n_init=1, init=centers, algorithm="lloyd", tol=0, max_iter=steps).fit(x).cluster_centers_
        for steps in (n_steps, n_steps + 1)
    ]
    same, one_more = (peer[np.argsort(peer[:, 0])] for peer in peers)
    np.testing.assert_allclose(ours.mixture.means, same, rtol=1e-12)
    assert np.abs(ours.mixture.means - one_more).max() > 1e-3


def test_free_weights_are_not_k_means():
    """The control: heavier components then reach further."""
    x, n_components = data_of("blobs")
    centers = centers_of(x, n_components, 0)
    peer = KMeans(n_components, n_init=1, init=centers, algorithm="lloyd", tol=0).fit(x)
    fit = bg.fit_em(x, n_components, covariance_type="EII", assignment="hard", start=k_means(x, centers).mixture)
    assert np.abs(fit.mixture.means - np.sort(peer.cluster_centers_, 0)).max() > 1e-3


def test_k_means_is_the_limit_of_soft_assignment_with_narrow_components():
    x, n_components = data_of("iris")
    centers = KMeans(n_components, n_init=5, random_state=0, tol=0).fit(x).cluster_centers_
    centers = centers[np.argsort(centers[:, 0])]
    spreads, distances, doubts = [3.0, 1.0, 0.3, 0.1, 0.03], [], []
    for spread in spreads:
        held = np.tile(spread**2 * np.eye(4), (n_components, 1, 1))
        fit = bg.fit_em(
            x,
            n_components,
            covariance_type="EII",
            fixed={"weights": "equal", "covariances": held},
            start=bg.Mixture.from_moments(np.full(n_components, 1 / n_components), centers, held),
        )
        assert fit.status is EMStatus.CONVERGED
        # Held covariances, though all the same, keep the order of the start.
        distances.append(np.abs(fit.mixture.means - centers).max())
        doubts.append(1 - fit.responsibilities().max(1).mean())
    assert (np.diff(doubts) < 0).all()
    assert (np.diff(distances[1:]) < 0).all()
    assert distances[0] > 0.5
    assert doubts[0] > 0.5
    assert distances[-1] < 1e-3
    assert doubts[-1] < 1e-3


# What hard assignment cannot do


@pytest.mark.parametrize("kind", ["information", "sandwich", "scores"])
def test_hard_fits_have_no_standard_errors(faithful, kind):
    fit = bg.fit_em(faithful, 2, assignment="hard")
    with pytest.raises(FitError, match=r"Hard assignment.*soft"):
        fit.errors(kind)
    assert fit.record()["standard_errors"] == {}


HELD = {
    "nothing held": None,
    "weights held": {"weights": "equal"},
    "covariances held": {"covariances": np.tile(np.eye(2), (2, 1, 1))},
    "both held": {"weights": "equal", "covariances": np.tile(np.eye(2), (2, 1, 1))},
}


@pytest.mark.parametrize("assignment", ["hard", "soft"])
@pytest.mark.parametrize("fixed", HELD.values(), ids=HELD)
def test_component_that_loses_all_its_points_is_a_collapse(faithful, assignment, fixed):
    """Also where its covariance is held, so that it cannot shrink."""
    far = bg.Mixture.from_moments([0.5, 0.5], [[3.0, 70.0], [100.0, 2000.0]], np.tile(np.eye(2), (2, 1, 1)))
    with pytest.warns(bg.FitWarning, match=r"COLLAPSED.*lost all its points"):
        fit = bg.fit_em(faithful, 2, covariance_type="EII", assignment=assignment, start=far, fixed=fixed)
    assert fit.status is EMStatus.COLLAPSED
    assert np.isfinite(fit.log_likelihood)
    assert np.isfinite(fit.mixture.means).all()
    with pytest.raises(FitError, match="COLLAPSED"):
        fit.check()


@pytest.mark.wrong_types
@pytest.mark.parametrize("assignment", ["Hard", "", None, 1], ids=repr)
def test_unknown_assignments_are_refused(faithful, assignment):
    with pytest.raises(ArgumentError, match=r'assignment is.*"soft" or "hard"'):
        inspect.unwrap(bg.fit_em)(faithful, 2, assignment=assignment)
