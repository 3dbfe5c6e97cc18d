"""Random numbers by a counter, dual averaging, and the windows in which a metric is adapted."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bayes_gmm.bayes.laplace_approximation import Laplace
from bayes_gmm.sampling.counted_random import normals, uniforms, words
from bayes_gmm.sampling.kernel import Point, begin
from bayes_gmm.sampling.metric import adapted, multiply, upper_triangular, windows
from bayes_gmm.sampling.step_size import StepSize, Tuning, tuned, untuned


def test_words_are_those_of_splitmix64() -> None:
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    with jax.enable_x64(True):
        found = words(np.uint64(1234567), jnp.zeros(5, int), jnp.arange(5))
        later = words(np.uint64(1234567), jnp.ones(1, int), jnp.zeros(1, int))
    assert np.asarray(found).tolist() == known
    assert int(later[0]) not in known


def test_uniform_and_normal_numbers_are_such() -> None:
    with jax.enable_x64(True):
        chances = np.asarray(uniforms(words(np.uint64(5), jnp.zeros(20_000, int), jnp.arange(20_000))))
        numbers = np.asarray(normals(np.uint64(5), jnp.arange(1000), 20))
    assert 0 < chances.min() < chances.max() < 1
    assert scipy.stats.kstest(chances, "uniform").pvalue > 1e-4
    assert scipy.stats.kstest(numbers.ravel(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(numbers.T) - np.eye(20)).max() < 5 / np.sqrt(1000)
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 4 / np.sqrt(1000)
    assert scipy.stats.kstest(numbers.ravel() + 0.05, "norm").pvalue < 1e-4


def test_dual_averaging_is_that_of_nuts() -> None:
    """Hoffman and Gelman (2014), section 3.2.1, with t0 = 10, kappa = 0.75, gamma = 0.05, by hand."""
    acceptances, target = [0.3, 0.9, 0.6, 0.2], 0.8
    step, sizes = untuned(0.5), []
    with jax.enable_x64(True):
        for number, acceptance in enumerate(acceptances):
            step = tuned(step, jnp.array(acceptance), jnp.array(number), Tuning(4, target))
            sizes.append(float(step.size))
        after: StepSize = tuned(step, jnp.array(0.1), jnp.array(4), Tuning(4, target))
    centre, average, shortfall = np.log(10 * 0.5), 0.0, 0.0
    for m, (acceptance, size) in enumerate(zip(acceptances, sizes, strict=True), 1):
        shortfall = (1 - 1 / (m + 10)) * shortfall + (target - acceptance) / (m + 10)
        log_size = centre - np.sqrt(m) / 0.05 * shortfall
        average = m**-0.75 * log_size + (1 - m**-0.75) * average
        np.testing.assert_allclose(size, np.exp(average if m == 4 else log_size), rtol=1e-12)
    assert float(after.size) == sizes[-1]  # the warm-up is over


def test_windows_are_those_of_stan() -> None:
    assert windows(1000) == [range(75, 100), range(100, 150), range(150, 250), range(250, 450), range(450, 950)]
    assert windows(200) == [range(75, 100), range(100, 150)]
    assert windows(100) == []
    for num_warmup in (150, 300, 700, 1500):
        found = windows(num_warmup)
        assert found[-1].stop == num_warmup - 50
        assert all(one.stop == other.start for one, other in pairwise(found))


@pytest.mark.parametrize("size", [2, 11, 70, 300])
def test_only_the_upper_triangle_is_multiplied(size: int) -> None:
    rng = np.random.default_rng(size)
    factor, vector = np.triu(rng.normal(size=(size, size))), rng.normal(size=size)
    with jax.enable_x64(True):
        product = multiply(jnp.asarray(factor))
        np.testing.assert_allclose(product(jnp.asarray(vector)), factor @ vector, rtol=1e-12, atol=1e-12)
        slope = jax.grad(lambda v: product(v) @ jnp.asarray(vector))(jnp.zeros(size))
    np.testing.assert_allclose(slope, factor.T @ vector, rtol=1e-12, atol=1e-12)


def test_a_factor_is_made_triangular_and_its_covariance_stays() -> None:
    factor = np.random.default_rng(0).normal(size=(2, 5, 5))
    around = Laplace(
        np.zeros((2, 5)), factor, *map(np.asarray, (np.zeros(2), np.zeros((2, 5)), np.zeros(2), np.ones(2)))
    )
    found = upper_triangular(around).factor
    assert not np.tril(found, -1).any()
    np.testing.assert_allclose(found @ found.mT, factor @ factor.mT, rtol=1e-10)
    assert upper_triangular(around._replace(factor=found)).factor is found


def test_an_adapted_metric_standardises_the_draws_and_moves_nothing() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    draws = 5 + rng.standard_normal((20_000, 3)) @ root.T
    around = Laplace(np.ones(3), np.diag([1.0, 2.0, 0.5]), *map(np.asarray, (0.0, np.zeros(3), 0.0, 1.0)))
    state = begin(np.array([0.3, -1.0, 2.0]), np.uint64(1))
    state = state._replace(point=Point(state.point.offset, np.asarray(1.0), np.array([1.0, 2.0, 3.0])))
    metric, moved = adapted(around, state, draws)
    standardised = np.linalg.solve(metric.factor, draws.T)
    np.testing.assert_allclose(np.cov(standardised), np.eye(3), atol=0.01)
    assert not np.tril(metric.factor, -1).any()
    before, after = (one.mode + one.factor @ here.point.offset for one, here in ((around, state), (metric, moved)))
    np.testing.assert_allclose(after, before, rtol=1e-12)
    # The slope in data's coordinates is the same, too.
    np.testing.assert_allclose(
        np.linalg.solve(metric.factor.T, moved.point.slope), np.linalg.solve(around.factor.T, state.point.slope)
    )
