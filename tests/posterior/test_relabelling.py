"""Label switching is undone exactly by every method, and doubtful matches are counted."""

import itertools

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.likelihood.draws_at_points import agreements, at_points, mean_shares
from bayes_gmm.likelihood.linear_form import hard
from bayes_gmm.posterior import relabelling as module
from bayes_gmm.posterior.relabelling import METHODS, relabel

RNG = np.random.default_rng(0)
PIVOT = bg.Mixture.from_moments([0.2, 0.3, 0.5], [[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]], np.stack([np.eye(2)] * 3))
POINTS = PIVOT.sample(300, seed=1)[0]

each_method = pytest.mark.parametrize("method", METHODS)
each_number = pytest.mark.parametrize("n_components", [1, 2, 3, 4])


def jittered(n_draws: int, scale: float, pivot: bg.Mixture = PIVOT, seed: int = 0) -> bg.Mixture:
    """Draws (chain, draw) around the pivot, with their components in the order of the pivot."""
    rng, (K, D) = np.random.default_rng(seed), pivot.means.shape
    means = pivot.means + scale * rng.standard_normal((1, n_draws, K, D))
    weights = rng.dirichlet(100 * pivot.weights, size=(1, n_draws))
    return bg.Mixture.from_moments(weights, means, np.broadcast_to(pivot.covariances, (1, n_draws, K, D, D)))


def overlapping(n_components: int) -> bg.Mixture:
    """Components a little more than one sd apart."""
    means = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5], [1.5, 1.5]])[:n_components]
    return bg.Mixture.from_moments(
        np.full(n_components, 1 / n_components), means, np.broadcast_to(np.eye(2), (n_components, 2, 2))
    )


def all_orders(n_components: int) -> list[list[int]]:
    return [list(order) for order in itertools.permutations(range(n_components))]


def agreement_by_definition(draw: bg.Mixture, pivot: bg.Mixture, x: np.ndarray, method: str) -> np.ndarray:
    """Matrix (K, K) of one draw, point by point in the centred form."""
    if method == "ecr":
        pairs = np.eye(pivot.n_components)[pivot.predict(x)], np.eye(pivot.n_components)[draw.predict(x)]
    else:
        pairs = pivot.responsibilities(x), draw.responsibilities(x)
    return pairs[0].T @ pairs[1]


def stephens_loss(draws: bg.Mixture, permutations: np.ndarray, x: np.ndarray) -> float:
    """Sum over draws and points of KL(p || mean p), by its definition."""
    p = draws.permute(permutations).responsibilities(x).reshape(-1, *x.shape[:1], draws.n_components)
    q = p.mean(0)
    return float(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300)), 0).sum())


def one_draw(draws: bg.Mixture, number: int) -> bg.Mixture:
    return bg.Mixture(
        log_weights=draws.log_weights[0, number],
        means=draws.means[0, number],
        scale_tril=draws.scale_tril[0, number],
    )


# The sums over the points


@pytest.mark.parametrize("n_points", [3, 272, 5000])
@pytest.mark.parametrize("n_draws", [1, 33])
def test_sums_are_those_of_the_definition(n_points: int, n_draws: int) -> None:
    pivot = overlapping(4)
    draws, x = jittered(n_draws, 0.5, pivot), pivot.sample(n_points, seed=2)[0] * [1e3, 1e-3] + [1e5, 0.0]
    draws = moved(draws, np.diag([1e3, 1e-3]), np.array([1e5, 0.0]))
    shares = draws.responsibilities(x)[0]
    reference = RNG.standard_normal((n_points, 2))
    flat = at_points(draws, x)
    np.testing.assert_allclose(agreements(flat, reference), reference.T @ shares, rtol=1e-7, atol=1e-9 * n_points)
    one_hot = np.eye(4)[draws.predict(x)[0]]
    np.testing.assert_allclose(agreements(flat, reference, hard), reference.T @ one_hot, atol=1e-12 * n_points)
    orders = RNG.permuted(np.broadcast_to(np.arange(4), (n_draws, 4)), axis=-1)
    expected = np.take_along_axis(shares, orders[:, None, :], -1).mean(0)
    np.testing.assert_allclose(mean_shares(flat, orders), expected, atol=1e-9)
    assert n_draws == 1 or np.abs(mean_shares(flat, orders[::-1]) - expected).max() > 1e-3


def moved(draws: bg.Mixture, factor: np.ndarray, shift: np.ndarray) -> bg.Mixture:
    return bg.Mixture(
        log_weights=draws.log_weights, means=draws.means @ factor.T + shift, scale_tril=factor @ draws.scale_tril
    )


def with_all_methods(n_draws: int, n_points: int, *, has_gaps: bool) -> None:
    draws, x = jittered(n_draws, 0.1), PIVOT.sample(n_points, seed=3)[0]
    if has_gaps:
        x[::7, 0] = np.nan
    for method in METHODS:
        relabel(draws, PIVOT, x, method)


def test_draws_at_complete_rows_need_no_compiled_program(compilations: list[str]) -> None:
    PIVOT.responsibilities(PIVOT.sample(900, seed=3)[0])
    compilations.clear()
    with_all_methods(1000, 900, has_gaps=False)
    assert not compilations


def test_tables_with_gaps_of_nearby_sizes_share_one_program(compilations: list[str]) -> None:
    with_all_methods(1000, 900, has_gaps=True)
    compilations.clear()
    with_all_methods(1500, 910, has_gaps=True)
    assert not compilations
    with_all_methods(1000, 1900, has_gaps=True)  # negative control: another padded number of points
    assert compilations


# The permutations


@each_method
def test_random_permutations_are_undone(method: str) -> None:
    draws = jittered(50, 0.1)
    orders = RNG.permuted(np.broadcast_to(np.arange(3), (1, 50, 3)), axis=-1)
    switched = draws.permute(orders)
    found = relabel(switched, PIVOT, POINTS, method)
    np.testing.assert_array_equal(switched.permute(found.permutations).means, draws.means)
    np.testing.assert_array_equal(switched.permute(found.permutations).log_weights, draws.log_weights)
    assert (switched.means != draws.means).any()
    back = np.argsort(found.permutations, -1)
    np.testing.assert_array_equal(switched.permute(found.permutations).permute(back).means, switched.means)


@each_method
def test_labels_that_the_draws_had_do_not_matter(method: str) -> None:
    pivot = overlapping(4)
    draws, x = jittered(60, 0.4, pivot), pivot.sample(200, seed=4)[0]
    orders = RNG.permuted(np.broadcast_to(np.arange(4), (1, 60, 4)), axis=-1)
    switched = draws.permute(orders)
    one, other = relabel(draws, pivot, x, method), relabel(switched, pivot, x, method)
    np.testing.assert_array_equal(switched.permute(other.permutations).means, draws.permute(one.permutations).means)
    np.testing.assert_allclose(other.shares, one.shares, rtol=1e-9)
    np.testing.assert_allclose(other.gaps, one.gaps, atol=1e-9)
    assert (other.permutations != one.permutations).any()


@each_method
def test_the_pivots_order_decides(method: str) -> None:
    draws, order = jittered(20, 0.5), [2, 0, 1]
    found = relabel(draws, PIVOT, POINTS, method)
    reordered = relabel(draws, PIVOT.permute(order), POINTS, method)
    np.testing.assert_array_equal(reordered.permutations, found.permutations[..., order])
    np.testing.assert_array_equal(found.permutations, np.broadcast_to(np.arange(3), (1, 20, 3)))


@each_number
@pytest.mark.parametrize("method", ["responsibilities", "ecr"])
def test_permutation_is_the_best_of_all(method: str, n_components: int) -> None:
    pivot = overlapping(n_components)
    x = pivot.sample(200, seed=5)[0]
    draws = jittered(20, 1.5, pivot)  # so far from the pivot that the best match is not obvious
    found = relabel(draws, pivot, x, method)
    rows = np.arange(n_components)
    unsettled = 0
    for number, permutation in enumerate(found.permutations[0]):
        agreement = agreement_by_definition(one_draw(draws, number), pivot, x, method)
        scores = [agreement[rows, order].sum() for order in all_orders(n_components)]
        assert agreement[rows, permutation].sum() == pytest.approx(max(scores), rel=1e-10)
        unsettled += agreement.trace() < max(scores) * (1 - 1e-9)
    assert n_components == 1 or unsettled > 0


def test_the_two_kinds_of_agreement_differ_where_components_overlap() -> None:
    pivot = overlapping(4)
    draws, x = jittered(200, 1.5, pivot), pivot.sample(200, seed=5)[0]
    soft, ecr = (relabel(draws, pivot, x, method).permutations for method in ("responsibilities", "ecr"))
    assert (soft != ecr).any()


@each_number
def test_no_draw_has_a_permutation_nearer_to_stephens_mean(n_components: int) -> None:
    pivot = overlapping(n_components)
    draws, x = jittered(40, 0.8, pivot), pivot.sample(150, seed=6)[0]
    found = relabel(draws, pivot, x, "stephens").permutations
    log_mean = np.log(draws.permute(found).responsibilities(x)[0].mean(0))
    start = relabel(draws, pivot, x).permutations
    regrets = [regret(draws.responsibilities(x)[0], log_mean, labels[0]) for labels in (found, start)]
    assert regrets[0] == pytest.approx(0, abs=1e-6)
    # Negative control: at the starting permutations some draw has a nearer one.
    assert n_components < 3 or regrets[1] > 0.1


def regret(shares: np.ndarray, log_mean: np.ndarray, permutations: np.ndarray) -> float:
    """Largest excess in nats, over the draws (S, N, K), of the divergence above its minimum over all permutations."""
    orders = all_orders(shares.shape[-1])
    fits = np.array([(shares[:, :, order] * log_mean).sum((1, 2)) for order in orders])
    chosen = [orders.index(list(map(int, permutation))) for permutation in permutations]
    return float((fits.max(0) - fits[chosen, np.arange(len(shares))]).max())


@pytest.mark.parametrize("seed", range(5))
def test_stephens_loss_falls_at_every_step(seed: int) -> None:
    pivot = overlapping(4)
    draws, x = jittered(100, 1.0, pivot, seed), pivot.sample(150, seed=7)[0]
    start = relabel(draws, pivot, x).permutations
    steps = [step[0][None] for step in module._stephens(at_points(draws, x), start[0])]
    losses = [
        stephens_loss(draws, permutations, x) for permutations in (*steps, relabel(draws, pivot, x, "stephens")[0])
    ]
    np.testing.assert_array_equal(steps[0], start)
    assert len(steps) > 2
    assert losses[0] == pytest.approx(stephens_loss(draws, start, x))
    assert all(np.diff(losses[:-1]) < 0)
    assert losses[-1] == losses[-2]
    # Negative control: the loss tells permutations apart.
    shuffled = RNG.permuted(np.broadcast_to(np.arange(4), start.shape), axis=-1)
    assert stephens_loss(draws, shuffled, x) > losses[0]


def test_stephens_survives_shares_that_are_exactly_zero() -> None:
    pivot = bg.Mixture.from_moments([0.5, 0.5], [[0.0], [1e3]], [[[1.0]], [[1.0]]])
    x = pivot.sample(100, seed=8)[0]
    assert pivot.responsibilities(x).min() == 0
    draws = jittered(20, 0.1, pivot)
    found = relabel(draws.permute([1, 0]), pivot, x, "stephens")
    np.testing.assert_array_equal(found.permutations, np.broadcast_to([1, 0], (1, 20, 2)))


def test_all_methods_agree_where_components_are_apart_and_not_where_they_are_not() -> None:
    def differ(draws: bg.Mixture, pivot: bg.Mixture, x: np.ndarray) -> bool:
        first, *others = (relabel(draws, pivot, x, method).permutations for method in METHODS)
        return any((first != other).any() for other in others)

    orders = RNG.permuted(np.broadcast_to(np.arange(3), (1, 100, 3)), axis=-1)
    assert not differ(jittered(100, 0.3).permute(orders), PIVOT, POINTS)
    near = overlapping(3)
    assert differ(jittered(100, 1.0, near).permute(orders), near, near.sample(300, seed=1)[0])


@each_method
@pytest.mark.parametrize("batch", [(), (6,), (2, 3), (1, 2, 3)])
def test_any_leading_axes(method: str, batch: tuple[int, ...]) -> None:
    draws = jittered(int(np.prod(batch)), 0.2).permute([1, 2, 0])
    shaped = bg.Mixture(
        log_weights=draws.log_weights.reshape(*batch, 3),
        means=draws.means.reshape(*batch, 3, 2),
        scale_tril=draws.scale_tril.reshape(*batch, 3, 2, 2),
    )
    found = relabel(shaped, PIVOT, POINTS, method)
    assert {part.shape for part in found} == {(*batch, 3)}
    np.testing.assert_array_equal(found.permutations, np.broadcast_to([2, 0, 1], (*batch, 3)))
    assert found.ambiguous.shape == found.tied.shape == (3,)


def test_many_points_are_thinned_and_the_answer_stays() -> None:
    points = PIVOT.sample(25_000, seed=2)[0]
    draws = jittered(10, 0.1)
    switched = draws.permute([2, 0, 1])
    found = relabel(switched, PIVOT, points)
    np.testing.assert_array_equal(switched.permute(found.permutations).means, draws.means)


def test_an_unknown_method_is_refused_with_the_choices() -> None:
    with pytest.raises(bg.ArgumentError, match=r"relabelling is .order.\..*responsibilities.*ecr.*stephens"):
        relabel(jittered(1, 0.1), PIVOT, POINTS, "order")


# How certain the matches are


@each_method
def test_share_is_the_part_of_the_pivots_points_that_is_kept(method: str) -> None:
    pivot = overlapping(3)
    draws, x = jittered(5, 0.3, pivot), pivot.sample(200, seed=9)[0]
    found = relabel(draws, pivot, x, method)
    for number, permutation in enumerate(found.permutations[0]):
        agreement = agreement_by_definition(one_draw(draws, number), pivot, x, method)
        sizes = np.bincount(pivot.predict(x)) if method == "ecr" else pivot.responsibilities(x).sum(0)
        np.testing.assert_allclose(found.shares[0, number], agreement[range(3), permutation] / sizes, rtol=1e-10)


@pytest.mark.parametrize("n_components", [2, 3, 4])
@each_method
def test_gap_is_the_distance_to_the_best_that_matches_otherwise(method: str, n_components: int) -> None:
    pivot = overlapping(n_components)
    draws, x = jittered(20, 0.8, pivot), pivot.sample(100, seed=10)[0]
    found, rows = relabel(draws, pivot, x, method), np.arange(n_components)
    if method == "stephens":
        log_mean = np.log(draws.permute(found.permutations).responsibilities(x)[0].mean(0))
    sizes = np.bincount(pivot.predict(x)) if method == "ecr" else pivot.responsibilities(x).sum(0)
    for number, permutation in enumerate(found.permutations[0]):
        draw = one_draw(draws, number)
        criterion = agreement_by_definition(draw, pivot, x, method)
        if method == "stephens":
            criterion = log_mean.T @ draw.responsibilities(x)
        best = criterion[rows, permutation].sum()
        for k in rows:
            others = [order for order in all_orders(n_components) if order[k] != permutation[k]]
            runner_up = max(criterion[rows, order].sum() for order in others)
            assert found.gaps[0, number, k] == pytest.approx((best - runner_up) / sizes[k], abs=1e-8)


def test_a_single_component_has_nothing_to_be_confused_with() -> None:
    pivot = overlapping(1)
    found = relabel(jittered(5, 0.1, pivot), pivot, pivot.sample(50, seed=0)[0])
    assert np.isinf(found.gaps).all()
    assert found.ambiguous == found.tied == 0


@each_method
def test_components_apart_are_sure_and_coinciding_ones_are_not(method: str) -> None:
    sure = relabel(jittered(100, 0.1), PIVOT, POINTS, method)
    assert sure.ambiguous.max() == sure.tied.max() == 0
    assert sure.gaps.min() > 0.9
    moments = [0.25, 0.25, 0.5], [[0.0, 0.0], [0.05, 0.0], [9.0, 0.0]], np.stack([np.eye(2)] * 3)
    near = bg.Mixture.from_moments(*moments)
    doubtful = relabel(jittered(100, 0.3, near), near, near.sample(300, seed=1)[0], method)
    assert doubtful.ambiguous[:2].min() > 0.1
    assert doubtful.tied[:2].min() > 0.1
    assert doubtful.ambiguous[2] == doubtful.tied[2] == 0


@each_method
def test_a_component_that_left_its_points_is_ambiguous(method: str) -> None:
    means = np.array(PIVOT.means)
    means[2] = [100.0, 100.0]
    gone = bg.Mixture.from_moments(PIVOT.weights[None, None], means[None, None], PIVOT.covariances[None, None])
    ambiguous = relabel(gone, PIVOT, POINTS, method).ambiguous
    # The two components that are left take over the points of the largest two of three.
    np.testing.assert_array_equal(np.sort(ambiguous), [0.0, 0.0, 1.0])


def test_a_pivots_component_without_points_is_ambiguous() -> None:
    empty = bg.Mixture.from_moments([0.5, 0.5, 0.0], PIVOT.means, PIVOT.covariances)
    for method in METHODS:
        found = relabel(jittered(5, 0.1), empty, POINTS, method)
        assert found.ambiguous[2] == found.tied[2] == 1
