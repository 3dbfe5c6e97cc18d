"""Moves find the maximum that random starts miss, promise what they then gain, and respect all that a fit does."""

from unittest import mock

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import bayes_gmm as bg
from bayes_gmm.core.row_products import cross_product, rows_product, weighted_sums
from bayes_gmm.likelihood.moments import Moments, features_of_rows
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle import best_fit
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.component_moves import (
    Move,
    _climb,
    _together,
    climbs,
    combined,
    improve,
    looks_spurious,
    moved,
    price_of,
    promising,
    rehearsed,
    usual_number_of_climbs,
)
from bayes_gmm.search.component_removals import DELETED, Removal, removals
from bayes_gmm.search.component_splits import split_halves
from bayes_gmm.search.covariance_shape import CovarianceShape, pair_moments
from bayes_gmm.search.kmeans import cell_moments
from bayes_gmm.search.merged_cells import merged_cells
from bayes_gmm.search.rehearsals import Rehearsal, overlaps, rehearse
from bayes_gmm.search.row_statistics import MOST_ROWS, RowEM, Rows, State, natural

K = 12


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def clusters(n_points: int = 2400, n_components: int = K, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of sd 1 on a grid, six apart, and their labels."""
    labels = np.arange(n_points) % n_components
    centers = 6.0 * np.stack(np.divmod(np.arange(n_components), 4), 1)
    return centers[labels] + np.random.default_rng(seed).normal(size=(n_points, 2)), labels


def rows_of(x: np.ndarray, n_components: int = K, **options) -> tuple[RowEM, CovarianceShape]:
    problem = Problem.of(x, n_components, **options)
    em = RowEM(Rows.of(problem, np.random.default_rng(0)), problem.objective(), problem.smallest_scale)
    return em, CovarianceShape.of(problem.structure.name)


def at(em: RowEM, labels: np.ndarray) -> State:
    """EM's end from these labels."""
    start = em.maximise(cell_moments(em.rows.z, em.rows.weights, labels))
    return em.advance(em.expect(start), 200, tol=1e-9)


def misplaced() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clusters, their labels, and labels with one component on two clusters and two on one."""
    x, labels = clusters()
    wrong = np.where(labels == 1, 0, labels)
    wrong[(labels == 5) & (x[:, 0] > x[labels == 5, 0].mean())] = 1
    return x, labels, wrong


@pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")
@pytest.mark.parametrize("structure", ["full", "diag", "spherical", "tied", "VEV"])
def test_one_step_is_that_of_the_objective(structure):
    """Value and M-step of EM in NumPy against SciPy's density and EM's own path. Control: another mixture."""
    x, labels = clusters()
    em, _ = rows_of(x, covariance_type=structure)
    state = em.expect(em.maximise(cell_moments(em.rows.z, em.rows.weights, labels)))
    mixture = state.mixture
    pairs = zip(np.exp(mixture.log_weights), mixture.means, mixture.scale_tril @ mixture.scale_tril.mT, strict=True)
    density = sum(w * multivariate_normal(m, c).pdf(em.rows.z) for w, m, c in pairs)
    np.testing.assert_allclose(state.value, np.log(density).sum(), rtol=1e-12)
    path = bg.fit_em(x, K, covariance_type=structure, start=labels, max_steps=3, tol=0.0, progress=False).path
    further = em.expect(em.maximise(state.moments, near=mixture))
    np.testing.assert_allclose(further.value - state.value, path[1] - path[0], rtol=1e-6)
    assert abs(em.expect(further.mixture).value - state.value) > 1e-3 * abs(path[1] - path[0])


def test_order_of_the_rows_changes_nothing_but_how_few_components_share_them():
    """Responsibilities are SciPy's, in whatever order. Control: rows as they come are shared by all components."""
    x, labels = clusters()
    em, _ = rows_of(x)
    state = em.expect(em.maximise(cell_moments(em.rows.z, em.rows.weights, labels)))
    mixture, held = state.mixture, em.responsibilities(state)
    pairs = zip(np.exp(mixture.log_weights), mixture.means, mixture.scale_tril @ mixture.scale_tril.mT, strict=True)
    joint = np.array([w * multivariate_normal(m, c).pdf(em.rows.z) for w, m, c in pairs])
    np.testing.assert_allclose(held.log_density, np.log(joint.sum(0)), rtol=1e-12)
    np.testing.assert_allclose(held.shares, joint / joint.sum(0), atol=1e-12)
    with mock.patch("bayes_gmm.search.row_statistics._DENSITIES_AT_ONCE", 64 * K):
        before = [len(part.components) for part in em._parts(state.eta)]
        em.rows = em.rows.ordered_by(held)
        after = [len(part.components) for part in em._parts(state.eta)]
        np.testing.assert_allclose(em.expect(mixture).value, state.value, rtol=1e-12)
        for one, other in zip(em.expect(mixture).moments, state.moments, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)
    assert np.mean(before) > 0.9 * K
    assert np.mean(after) < 0.6 * K


def test_a_batch_is_compared_with_steps_of_em_alone_where_these_may_gain_as_much():
    """A batch that gains less than EM would is refused. Control: one that gains far more is not even compared."""
    x, labels, wrong = misplaced()
    em, shape = rows_of(x)
    early = em.advance(em.expect(em.maximise(cell_moments(em.rows.z, em.rows.weights, wrong))), 2)
    better = em.advance(early, 1)
    nothing = [Rehearsal(1.0, np.arange(K), better.moments)]
    assert _together(em, better, nothing, 10**6, shape) is None
    truth = [Rehearsal(1.0, np.arange(K), cell_moments(em.rows.z, em.rows.weights, labels))]
    before = em.n_steps
    assert _together(em, better, truth, 10**6, shape).value > better.value + 100
    assert em.n_steps - before <= 17


@pytest.mark.parametrize("diagonal", [False, True])
def test_natural_parameters_are_a_gaussian(diagonal):
    rng = np.random.default_rng(3)
    root = np.diag(rng.uniform(0.5, 2, 3)) if diagonal else rng.normal(size=(3, 3))
    mean, z = rng.normal(size=3), rng.normal(size=(5, 3))
    eta = natural(np.array(-0.5), mean, root @ root.T, diagonal=diagonal)

    expected = -0.5 + multivariate_normal(mean, root @ root.T).logpdf(z)
    np.testing.assert_allclose(features_of_rows(z, diagonal=diagonal) @ eta, expected, rtol=1e-9)


@pytest.mark.parametrize("n_rows", [5, 4096, 5001])
def test_products_in_slices_are_products(n_rows):
    """Also where the rows are no whole number of slices. Control: a row left out."""
    rng = np.random.default_rng(0)
    rows, others, matrix = (
        rng.normal(size=(3, n_rows, 20)),
        rng.normal(size=(3, n_rows, 30)),
        rng.normal(size=(3, 20, 30)),
    )
    np.testing.assert_allclose(rows_product(rows, matrix), rows @ matrix, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(cross_product(rows, others), rows.mT @ others, atol=1e-9)
    assert np.abs(cross_product(rows[:, 1:], others[:, 1:]) - rows.mT @ others).max() > 1e-3
    one_column = matrix[..., :1]
    np.testing.assert_allclose(rows_product(rows, one_column), rows @ one_column, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(cross_product(others[..., :1], rows), others[..., :1].mT @ rows, atol=1e-9)
    np.testing.assert_allclose(weighted_sums(rows.mT, others[..., 0][:, None]), (others[..., :1].mT @ rows)[:, 0])


def test_split_is_promised_where_one_component_covers_two_clusters():
    """The promise is most of what EM then gains, and not more; elsewhere nothing is promised."""
    x, labels, wrong = misplaced()
    em, shape = rows_of(x)
    state = at(em, wrong)
    halves = split_halves(em, em.responsibilities(state), np.random.default_rng(1), shape)
    assert halves.gains.argmax() == 0
    assert np.delete(halves.gains, 0).max() < 0.1 * halves.gains[0]
    # The same split with a component more: EM of thirteen from the true clusters and the two halves.
    more, _ = rows_of(x, K + 1)
    thirteen = np.where(labels == 1, K, wrong)
    gained = at(more, thirteen).value - state.value
    assert 0.7 * gained < halves.gains[0] < gained


def test_merge_is_cheapest_where_two_components_share_a_cluster():
    """The loss told is near what the likelihood loses; the second cheapest is far dearer."""
    x, _, wrong = misplaced()
    em, shape = rows_of(x)
    state = at(em, wrong)
    cheapest, *others = removals(em, em.responsibilities(state), shape)
    assert {cheapest.gone, cheapest.into} == {1, 5}
    dearer = [one for one in others if {one.gone, one.into} != {1, 5} and not {one.gone, one.into} <= {1, 5, DELETED}]
    assert min(one.loss for one in dearer) > 10 * max(cheapest.loss, 1.0)
    left, _ = rows_of(x, K - 1)
    eleven = np.where(wrong == 1, 5, wrong)
    eleven = np.where(eleven > 1, eleven - 1, eleven)
    np.testing.assert_allclose(cheapest.loss, state.value - at(left, eleven).value, atol=3.0)


def test_moves_repair_a_misplaced_component_and_em_does_not():
    x, labels, wrong = misplaced()
    em, shape = rows_of(x)
    best, stuck = at(em, labels).value, at(em, wrong)
    assert stuck.value < best - 100
    told: list[float] = []
    found = improve(em, stuck, np.random.default_rng(1), shape, told.append)
    assert em.advance(found, 200, tol=1e-9).value > best - 1e-3
    assert told[0] == stuck.value


def test_batch_keeps_the_total_and_the_components_that_it_does_not_touch():
    x, _, wrong = misplaced()
    em, shape = rows_of(x)
    state = at(em, wrong)
    halves = split_halves(em, em.responsibilities(state), np.random.default_rng(1), shape)
    after = moved(state.moments, halves, [Move(1.0, 0, Removal(0.0, 1, 5))])
    untouched = np.setdiff1d(np.arange(K), [0, 1, 5])
    for part, before in zip(after, state.moments, strict=True):
        np.testing.assert_array_equal(part[untouched], before[untouched])
    np.testing.assert_allclose(after.counts.sum(), len(x), rtol=1e-3)


def test_a_rehearsal_gains_what_em_gains():
    """The others keep their places, so it is less, but most of it. Control: a move from elsewhere loses."""
    x, labels, wrong = misplaced()
    em, shape = rows_of(x)
    state = at(em, wrong)
    held = em.responsibilities(state)
    halves, overlap = split_halves(em, held, np.random.default_rng(1), shape), overlaps(held)
    right, false = Move(1.0, 0, Removal(0.0, 1, 5)), Move(1.0, 0, Removal(0.0, 2, 3))
    tried = [rehearse(em, held, overlap, moved(state.moments, halves, [move]), move.touched) for move in (right, false)]
    gained = at(em, labels).value - state.value
    assert 0.9 * gained < tried[0].gain < gained + 1.0
    assert tried[1].gain < 0
    assert right.touched <= set(tried[0].near.tolist())
    untouched = np.setdiff1d(np.arange(K), tried[0].near)
    for part, before in zip(tried[0].moments, state.moments, strict=True):
        np.testing.assert_array_equal(part[untouched], before[untouched])


def overlapping(n_points: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of sd 1 in four dimensions, three apart, and their labels."""
    labels = np.arange(n_points) % K
    centers = 3.0 * np.stack(np.unravel_index(np.arange(K), (2, 2, 3, 1)), 1)
    return centers[labels] + np.random.default_rng(0).normal(size=(n_points, 4)), labels


def test_a_rehearsal_of_no_move_gains_nothing():
    """EM has ended, so that its components stay as they are. Control: without their tails they seem to lose."""
    em, _ = rows_of((data := overlapping())[0])
    state = at(em, data[1])
    held = em.responsibilities(state)

    def gains() -> list[float]:
        return [rehearse(em, held, overlaps(held), state.moments, {k}).gain for k in range(K)]

    np.testing.assert_allclose(gains(), 0.0, atol=1.0)
    with mock.patch("bayes_gmm.search.rehearsals._SHARE", 1e-2):
        assert max(gains()) < -3.0, gains()


def test_loss_of_a_merge_is_that_of_the_mixture_without_the_pair():
    """By SciPy, but for rows far from both. Control: what a fifth of the rows tell differs much more."""
    x, labels = overlapping()
    em, shape = rows_of(x)
    state = at(em, labels)
    held = em.responsibilities(state)
    one = next(one for one in removals(em, held, shape) if one.into != DELETED)
    pair = pair_moments(state.moments, np.array([one.gone]), np.array([one.into]))
    merged = multivariate_normal(pair.means[0], pair.covariances[0]).pdf(em.rows.z) * pair.counts[0] / len(x)
    without = np.exp(held.log_density) * (1 - held.shares[[one.gone, one.into]].sum(0)) + merged
    losses = held.log_density - np.log(without)
    np.testing.assert_allclose(one.loss, losses.sum(), rtol=0.1)
    fifths = np.random.default_rng(0).permutation(losses).reshape(5, -1)
    assert np.std(5 * fifths.sum(1)) > 0.2 * losses.sum()


def test_split_finds_a_narrow_component_inside_a_wide_one():
    """Its gain is near that of EM from the true labels. Control: halves on either side of a plane."""
    rng = np.random.default_rng(0)
    labels = (np.arange(600) % 4 == 0).astype(int)
    x = rng.normal(size=(600, 3)) * np.where(labels, 0.4, 1.0)[:, None]
    em, shape = rows_of(x, 1)
    state = at(em, np.zeros(600, int))
    best = at(rows_of(x, 2)[0], labels).value - state.value

    def gain() -> float:
        return float(split_halves(em, em.responsibilities(state), np.random.default_rng(1), shape).gains[0])

    assert best > 10
    assert gain() > 0.95 * best
    with mock.patch("bayes_gmm.search.component_splits._first_halves", halves_by_planes):
        assert gain() < 0.9 * best


def halves_by_planes(rng: np.random.Generator, n_trials: int, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    sides = (y @ rng.normal(size=(len(y), y.shape[2], n_trials)) > 0).astype(float)
    return sides


def test_rehearsals_of_one_batch_gain_and_adapt_different_components():
    """Two misplaced components far from each other are mended at once. Control: at the truth no move gains."""
    x, labels = clusters(4800, 24)
    wrong = labels.copy()
    for covered, shared in ((1, 5), (18, 22)):
        wrong[labels == covered] = covered - 1
        wrong[(labels == shared) & (x[:, 0] > x[labels == shared, 0].mean())] = covered
    em, shape = rows_of(x, 24)

    def batch(state: State) -> list[Rehearsal]:
        held = em.responsibilities(state)
        halves = split_halves(em, held, np.random.default_rng(1), shape)
        return rehearsed(em, held, halves, promising(halves, removals(em, held, shape)), shape)

    found, stuck = batch(at(em, labels)), at(em, wrong)
    assert not [one for one in found if one.gain > 10]
    both = [one for one in batch(stuck) if one.gain > 100]
    assert [set(one.near) & {0, 17} for one in both] in ([{0}, {17}], [{17}, {0}])
    assert not set(both[0].near) & set(both[1].near)
    after = em.expect(em.maximise(combined(stuck.moments, both))).value
    np.testing.assert_allclose(after - stuck.value, both[0].gain + both[1].gain, rtol=0.02)


def test_moves_of_one_batch_change_only_what_they_adapt():
    x, labels = clusters(600, 6)
    found = cell_moments(x, np.ones(600), labels)
    other = Moments(*(part + 1.0 for part in found))
    batch = [Rehearsal(9.0, np.array([0, 1]), other), Rehearsal(7.0, np.array([4, 5]), other)]
    for part, before in zip(combined(found, batch), found, strict=True):
        np.testing.assert_allclose((part - before).reshape(6, -1)[:, 0], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0], atol=1e-12)


def test_moments_of_a_pair_are_those_of_its_points():
    x, labels = clusters(100, 4)
    apart = cell_moments(x, np.ones(100), labels)
    together = pair_moments(apart, np.array([0]), np.array([1]))
    both = x[labels < 2]
    np.testing.assert_allclose(together.means[0], both.mean(0))
    np.testing.assert_allclose(together.covariances[0], np.cov(both.T, bias=True))


@pytest.mark.parametrize("structure", ["VVV", "VVI", "VII", "EEE"])
def test_merged_cells_are_the_clusters(structure):
    """Each true cluster gets one component. Control: k-means with as many cells as components misses some."""
    x, labels = clusters()
    shape = CovarianceShape.of(structure)
    centers = np.stack([x[labels == k].mean(0) for k in range(K)])

    def covered(cells: int, seed: int) -> int:
        found = merged_cells(np.random.default_rng(seed), x, np.ones(len(x)), K, cells, shape)
        return len(np.unique(np.linalg.norm(found.means[:, None] - centers[None], axis=2).argmin(1)))

    assert [covered(5 * K, seed) for seed in range(3)] == [K] * 3


def test_component_on_few_points_looks_spurious_only_if_it_is_narrow():
    shape = CovarianceShape.of("VVV")
    wide, line = np.eye(2), np.array([[1.0, 0.999], [0.999, 1.0]])
    found = Moments(np.array([100.0, 5.0, 5.0, 100.0]), np.zeros((4, 2)), np.stack([wide, wide, line, line]))
    np.testing.assert_array_equal(looks_spurious(found, shape), [False, False, True, False])


@pytest.mark.parametrize(
    ("n_points", "n_components", "options", "expected"),
    [
        (3000, 3, {}, 0),
        (3000, 4, {}, 8),
        (300, 9, {}, 0),
        (300, 10, {}, 8),
        (6000, 10, {}, 4),
        (3000, 12, {"assignment": "hard"}, 0),
        (3000, 12, {"labels": np.r_[0, np.full(2999, -1)]}, 0),
        (3000, 12, {"fixed": {"means": {0: [0.0, 0.0]}}}, 0),
        (3000, 12, {"fixed": {"weights": "equal"}}, 8),
        (3000, 12, {"prior": bg.ConjugatePrior()}, 8),
    ],
)
def test_climbs_are_made_where_components_are_many_and_have_no_names(n_points, n_components, options, expected):
    x = np.random.default_rng(0).normal(size=(n_points, 2))
    assert usual_number_of_climbs(Problem.of(x, n_components, **options)) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"covariance_type": "tied"},
        {"covariance_type": "VEV"},
        {"prior": bg.ConjugatePrior()},
        {"fixed": {"weights": "equal"}},
        {"sample_weight": np.tile([0.5, 2.0, 0.0, 1.0, 1.0], 480)},
    ],
    ids=str,
)
def test_fit_of_many_components_is_not_below_that_from_the_truth(options):
    x, labels = clusters()
    truth = bg.fit_em(x, K, start=labels, progress=False, **options)
    fit = bg.fit_em(x, K, progress=False, **options)
    assert fit.path[-1] > truth.path[-1] - 1e-3


def test_climbs_find_what_random_starts_miss():
    x, labels = clusters(4800, 48)
    truth = bg.fit_em(x, 48, start=labels, progress=False)
    fit = bg.fit_em(x, 48, progress=False)
    assert fit.log_likelihood > truth.log_likelihood - 1e-3
    with mock.patch("bayes_gmm.mle.best_fit.usual_number_of_climbs", return_value=0):
        random = bg.fit_em(x, 48, n_starts=4, progress=False)
    assert random.log_likelihood < truth.log_likelihood - 10


@pytest.mark.parametrize("n_components", [12, 5])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_steps_after_climbs_in_numpy_end_where_the_compiled_ones_do(covariance_type, n_components, monkeypatch):
    """Whether all starts are ends of climbs, or others follow them."""
    rng = np.random.default_rng(5)
    labels = rng.integers(n_components, size=2500)
    x = 6 * rng.normal(size=(n_components, 3))[labels] + rng.normal(size=(2500, 3))
    in_numpy = bg.fit_em(x, n_components, covariance_type=covariance_type)
    monkeypatch.setattr(best_fit, "_SHORT_STEP", 0)
    with mock.patch.object(Problem, "short_objective", side_effect=AssertionError("NumPy was asked")):
        compiled = bg.fit_em(x, n_components, covariance_type=covariance_type)
    assert len(in_numpy.start_statuses) == (2 if n_components == 12 else 32)
    assert in_numpy.log_likelihood == pytest.approx(compiled.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(in_numpy.mixture.means, compiled.mixture.means, atol=1e-4)


def test_the_same_seed_gives_the_same_fit():
    x, _ = clusters()
    one, other = (bg.fit_em(x, K, seed=3, progress=False) for _ in range(2))
    np.testing.assert_array_equal(one.mixture.means, other.mixture.means)
    assert len(one.start_statuses) == 2
    assert len(bg.fit_em(x, K, n_starts=3, progress=False).start_statuses) == 3


@pytest.mark.parametrize(("ends", "made"), [((5.0, 5.5), 2), ((1.0, 9.0, 8.5, 2.0), 4), ((1.0, 3.0, 5.0, 7.0, 9.0), 5)])
def test_climbs_are_made_until_the_best_two_agree(ends, made):
    """Or until there are as many as asked for; the best two are kept, as ends to go on from."""
    x, _ = clusters(300, 2)
    problem = Problem.of(x, 2)
    numbers = iter(range(9))

    def climb(*_):
        number = next(numbers)
        means = np.full((2, 2), ends[number])
        return ends[number], Mixture(log_weights=np.zeros(2), means=means, scale_tril=np.zeros((2, 2, 2)))

    with mock.patch("bayes_gmm.search.component_moves._climb", climb):
        found = climbs(problem, problem.objective(), 0, 5, lambda value: None)
    assert next(numbers) == made
    np.testing.assert_array_equal(found.means[:, 0, 0], sorted(ends)[:-3:-1])


@pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")
@pytest.mark.parametrize("structure", ["full", "tied", "diag"])
def test_climbs_end_where_rows_tie_or_are_hardly_more_than_components(structure):
    """Covariances without an inverse occur on the way; the answer is a mixture, or says that it collapsed."""
    rng = np.random.default_rng(0)
    for x, n_components in ((rng.normal(size=(30, 2)), 30), (rng.integers(0, 4, size=(60, 2)).astype(float), 14)):
        problem = Problem.of(x, n_components, covariance_type=structure)
        ends = climbs(problem, problem.objective(), 0, 2, lambda value: None)
        assert ends.means.shape == (2, n_components, 2)


def test_long_tables_are_judged_on_a_part_that_weighs_as_much():
    x = np.random.default_rng(0).normal(size=(MOST_ROWS + 500, 1))
    rows = Rows.of(Problem.of(x, 4), np.random.default_rng(0))
    assert len(rows.z) == MOST_ROWS
    np.testing.assert_allclose(rows.weights.sum(), len(x))


def test_moves_do_not_pay_for_the_loss_of_a_small_genuine_component():
    """Sixty points in 48 features look narrow, and without them the likelihood is far lower. Control: new ones cost."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [700, 700, 540, 60])
    x = 1.5 * rng.normal(size=(4, 48))[labels] + rng.normal(size=(2000, 48))
    em, shape = rows_of(x, 4)
    state = at(em, labels)
    assert looks_spurious(state.moments, shape).tolist() == [False, False, False, True]
    found = improve(em, state, np.random.default_rng(1), shape, lambda _: None)
    assert found.value >= state.value
    assert em.advance(found, 200, tol=1e-9).value == pytest.approx(state.value, abs=1e-3)
    merged, _ = rows_of(x, 3)
    without = at(merged, np.minimum(labels, 2)).moments
    assert price_of(without, state.moments, shape) == 0
    assert price_of(state.moments, without, shape) > shape.n_parameters(48)


def test_climb_from_components_that_are_lost_ends_without_a_value():
    """Its rows cannot be shared out. Control: the same climb from sound ones has a value."""
    x, _ = clusters()
    problem = Problem.of(x, K)
    arguments = problem, problem.objective(), np.random.default_rng(0), 5, lambda _: None
    assert np.isfinite(_climb(*arguments)[0])
    with mock.patch.object(RowEM, "is_sound", return_value=False):
        assert _climb(*arguments)[0] == -np.inf
