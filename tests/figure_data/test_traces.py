"""Traces carry ArviZ's diagnostics, and ranks tell chains that agree from chains that do not."""

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom, rankdata

from bayes_gmm.figure_data.traces import (
    MOST_DRAWS,
    Traces,
    ess_evolution,
    rank_counts,
    smallest_ess,
    trace_stride,
    varying_traces,
)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Three quantities of four chains: independent draws, draws that depend on those before, chains that disagree."""
    noise = np.random.default_rng(0).normal(size=(3, 4, 200))
    for draw in range(1, 200):
        noise[1, :, draw] += 0.9 * noise[1, :, draw - 1]
    noise[2] += np.arange(4)[:, None]
    return noise


def test_every_scalar_that_varies_is_named_after_its_coordinates() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(4, 200, 2, 2))
    means[..., 0, 1] = 7.0 + 1e-14 * rng.normal(size=(4, 200))
    dataset = xr.Dataset(
        {"lp": (("draw", "chain"), rng.normal(size=(200, 4))), "means": (("chain", "draw", "k", "feature"), means)},
        coords={"k": [0, 1], "feature": ["height", "mass"]},
    )
    traces = varying_traces(dataset)
    assert traces.names == ("lp", "means[0, height]", "means[1, height]", "means[1, mass]")
    np.testing.assert_array_equal(traces.values[0], dataset["lp"].values.T)
    np.testing.assert_array_equal(traces.values[3], means[..., 1, 1])


def test_r_hat_and_ess_are_arviz(values: np.ndarray) -> None:
    traces = Traces(("a", "b", "c"), values)
    for place, chains in enumerate(values):
        data = az.convert_to_dataset({"x": chains})
        bulk, tail = az.ess(data), az.ess(data, method="tail", prob=(0.05, 0.95))
        assert traces.r_hat[place] == pytest.approx(float(az.rhat(data)["x"]), rel=1e-12)
        assert traces.ess[place] == pytest.approx(min(float(bulk["x"]), float(tail["x"])), rel=1e-12)
    assert traces.ess.argmax() == 0
    assert traces.worst == 2


def test_a_constant_is_not_the_worst(values: np.ndarray) -> None:
    traces = Traces(("constant", "a"), np.stack([np.ones((4, 200)), values[0]]))
    assert np.isnan(traces.r_hat[0])
    assert traces.worst == 1


def test_ess_evolution_is_the_ess_of_the_draws_so_far(values: np.ndarray) -> None:
    n_draws, sizes = ess_evolution(values)
    assert len(n_draws) == 10
    assert (n_draws[0], n_draws[-1]) == (4 * 20, 4 * 200)
    for count, row in zip(n_draws, sizes, strict=True):
        np.testing.assert_allclose(row, smallest_ess(values[..., : count // 4]), rtol=1e-12)
    assert sizes[-1, 0] > 5 * sizes[0, 0]


def test_ranks_are_those_of_scipy(values: np.ndarray) -> None:
    counts = rank_counts(values[1], 8)
    ranks = rankdata(values[1].ravel()).reshape(4, 200)
    expected = [np.histogram(chain, np.linspace(0.5, 800.5, 9))[0] for chain in ranks]
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(counts.sum(1), 200)
    np.testing.assert_array_equal(counts.sum(0), 100)


def test_ranks_of_chains_that_agree_are_even_and_of_chains_that_differ_are_not(values: np.ndarray) -> None:
    low, high = binom.ppf([1e-4, 1 - 1e-4], 200, 1 / 8)
    even, uneven = rank_counts(values[0], 8), rank_counts(values[2], 8)
    assert ((low <= even) & (even <= high)).all()
    assert not ((low <= uneven) & (uneven <= high)).all()
    apart = rank_counts(np.stack([np.arange(40.0), 100 + np.arange(40.0)]), 4)
    np.testing.assert_array_equal(apart, [[20, 20, 0, 0], [0, 0, 20, 20]])


@pytest.mark.parametrize(("n_draws", "stride"), [(1, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 3), (100_000, 100)])
def test_a_trace_has_no_more_points_than_can_be_told_apart(n_draws: int, stride: int) -> None:
    assert trace_stride(n_draws) == stride
    assert len(range(0, n_draws, stride)) <= MOST_DRAWS
