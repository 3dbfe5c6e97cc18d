"""R-hat and effective sample sizes are ArviZ's, of chains that mix, creep, stand still, repeat themselves or break."""

import numpy as np
import pytest
from arviz_stats.base.array import array_stats

from bayes_gmm.mcmc.mixing import bulk_ess, mean_ess, smallest_bfmi, split_r_hat, tail_ess


def autoregressive(coefficient: float, n_chains: int, n_draws: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise, draws = rng.normal(size=(3, n_chains, n_draws)), np.zeros((3, n_chains, n_draws))
    for t in range(1, n_draws):
        draws[..., t] = coefficient * draws[..., t - 1] + noise[..., t]
    return draws


def cases() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "independent": rng.normal(size=(3, 4, 500)),
        "creeping": autoregressive(0.97, 4, 400),
        "alternating": autoregressive(-0.8, 4, 301),
        "heavy tails": rng.standard_cauchy(size=(3, 2, 250)),
        "apart": rng.normal(size=(3, 4, 200)) + np.arange(4)[:, None],
        "repeated": np.repeat(rng.normal(size=(3, 4, 50)), 6, axis=2),
        "few values": rng.integers(3, size=(3, 4, 99)).astype(float),
        "one chain": autoregressive(0.5, 1, 501),
        "a drift": np.linspace(0, 3, 100) + rng.normal(size=(3, 2, 100)),
        "short": rng.normal(size=(3, 2, 9)),
        "shortest": rng.normal(size=(3, 2, 4)),
    }


@pytest.mark.parametrize("name", cases())
def test_effective_sample_sizes_are_those_of_arviz(name: str) -> None:
    values = cases()[name]
    np.testing.assert_allclose(bulk_ess(values), array_stats.ess(values, method="bulk"), rtol=1e-9)
    np.testing.assert_allclose(mean_ess(values), array_stats.ess(values, method="mean"), rtol=1e-9)
    np.testing.assert_allclose(tail_ess(values), array_stats.ess(values, method="tail", prob=(0.05, 0.95)), rtol=1e-9)
    if name == "creeping":  # what is asked differs
        assert abs(bulk_ess(values) - mean_ess(values)).min() > 1e-3


@pytest.mark.parametrize("name", [name for name in cases() if name != "one chain"])
def test_r_hat_is_that_of_arviz(name: str) -> None:
    values = cases()[name]
    np.testing.assert_allclose(split_r_hat(values), array_stats.rhat(values, method="rank"), rtol=1e-12)
    assert (abs(split_r_hat(values) - array_stats.rhat(values, method="split")) > 1e-8).all()  # without ranks


def test_one_chain_is_judged_by_its_halves() -> None:
    values = cases()["one chain"]
    halves = values[..., :500].reshape(3, 2, 250)
    np.testing.assert_allclose(split_r_hat(values), array_stats.rhat(halves), rtol=1e-12)


def test_bfmi_is_that_of_arviz() -> None:
    energy = cases()["creeping"][0]
    assert smallest_bfmi(energy) == pytest.approx(np.min(array_stats.bfmi(energy)), rel=1e-12)
    assert np.isnan(smallest_bfmi(np.ones((2, 10))))
    assert np.isnan(smallest_bfmi(np.ones((2, 1))))


def test_quantities_that_do_not_vary_or_are_no_numbers_spoil_no_other() -> None:
    values = np.random.default_rng(2).normal(size=(4, 2, 50))
    values[1], values[2, 0, 3] = 7.0, np.nan
    with np.errstate(invalid="ignore"):
        r_hat, sizes = split_r_hat(values), bulk_ess(values)
    np.testing.assert_array_equal(np.isnan(r_hat), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(sizes), [False, False, True, False])
    assert sizes[1] == 100
    np.testing.assert_allclose(r_hat[[0, 3]], array_stats.rhat(values[[0, 3]]), rtol=1e-12)


@pytest.mark.parametrize("n_draws", [1, 2, 3])
def test_fewer_than_four_draws_have_no_statistics(n_draws: int) -> None:
    values = np.random.default_rng(3).normal(size=(2, 2, n_draws))
    for statistic in (split_r_hat, bulk_ess, mean_ess, tail_ess):
        assert np.isnan(statistic(values)).all()
