"""Sensitivity to powers of a density is ArviZ's."""

import arviz_stats as azs
import numpy as np
import pytest
import xarray as xr

from bayes_gmm.mcmc.power_scaling import sensitivity


def draws(n_chains: int, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Four quantities, and a log density on which some of them depend."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=(4, n_chains, n_draws))
    values[1] = np.exp(values[1])
    values[2] = np.round(values[2])
    return values, -0.5 * (values[0] - 1) ** 2 - np.log(values[1])


@pytest.mark.parametrize(("n_chains", "n_draws"), [(4, 500), (1, 400), (2, 30)])
def test_sensitivities_are_those_of_arviz(n_chains: int, n_draws: int) -> None:
    values, log_density = draws(n_chains, n_draws)
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"values": (("chain", "draw", "quantity"), np.moveaxis(values, 0, -1))}),
            "log_prior": xr.Dataset({"prior": (("chain", "draw"), log_density)}),
        }
    )
    found = sensitivity(values, log_density)
    np.testing.assert_allclose(found, azs.psense(tree)["values"], rtol=1e-6, atol=1e-9)
    assert found[:2].min() > 2 * found[2:].max()  # the others do not depend on it
    assert abs(sensitivity(values, 1.1 * log_density) - found).max() > 1e-3


@pytest.mark.parametrize("n_draws", [1, 2, 3])
def test_a_run_that_was_cut_off_after_a_few_draws_is_answered(n_draws: int) -> None:
    values, log_density = draws(2, n_draws)
    assert sensitivity(values, log_density).shape == (4,)


def test_a_quantity_that_is_constant_has_no_sensitivity() -> None:
    values, log_density = draws(2, 100)
    values[3] = 2.0
    found = sensitivity(values, log_density)
    np.testing.assert_array_equal(np.isnan(found), [False, False, False, True])
