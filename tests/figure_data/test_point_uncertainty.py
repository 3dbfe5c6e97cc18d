"""Uncertainty of points, computed anew from the responsibilities of each draw."""

from collections.abc import Callable

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.figure_data.point_uncertainty import PointUncertainty, point_uncertainty


@pytest.fixture(scope="module")
def found(posterior: bg.Posterior) -> PointUncertainty:
    return point_uncertainty(posterior, seed=0)


def test_uncertainty_and_sd_are_those_of_the_draws(posterior: bg.Posterior, found: PointUncertainty) -> None:
    each = posterior.draws.responsibilities(posterior.table.values).reshape(100, 200, 2)
    mean, sd = each.mean(0), each.std(0)
    assert sorted(found.rows) == list(range(200))
    for place, row in enumerate(found.rows):
        own = mean[row].argmax()
        assert (found.component[place], found.runner_up[place]) == (own, 1 - own)
        assert found.uncertainty[place] == pytest.approx(1 - mean[row, own], abs=1e-12)
        assert found.sd[place] == pytest.approx(sd[row, own], abs=1e-9)


def test_uncertainty_is_not_the_mean_of_the_uncertainties(posterior: bg.Posterior, found: PointUncertainty) -> None:
    # Negative control: draws that disagree about the component make a point uncertain, though each is certain.
    each = posterior.draws.responsibilities(posterior.table.values).reshape(100, 200, 2)
    assert (found.uncertainty - (1 - each.max(2)).mean(0)[found.rows]).max() > 1e-3


def test_most_uncertain_points_come_first(found: PointUncertainty) -> None:
    assert (np.diff(found.uncertainty) <= 0).all()
    first = found.first(3)
    for part, whole in zip(first, found, strict=True):
        np.testing.assert_array_equal(part, whole[:3])
    assert len(found.first(1000).rows) == 200


def test_ends_stay_probabilities(found: PointUncertainty) -> None:
    np.testing.assert_allclose(found.lower, np.clip(found.uncertainty - found.sd, 0, 1))
    np.testing.assert_allclose(found.upper, np.clip(found.uncertainty + found.sd, 0, 1))
    wild = found._replace(sd=np.ones(200))
    assert (wild.lower.max(), wild.upper.min()) == (0.0, 1.0)


def test_a_fit_has_its_own_uncertainty_and_no_sd(fit: bg.EMFit) -> None:
    found = point_uncertainty(fit, seed=0)
    expected = 1 - fit.mixture.responsibilities(fit.table).max(1)
    np.testing.assert_allclose(found.uncertainty, np.sort(expected)[::-1], atol=1e-15)
    np.testing.assert_allclose(expected[found.rows], found.uncertainty, atol=1e-15)
    assert found.sd is None
    assert found.first(2).sd is None
    np.testing.assert_array_equal(found.lower, found.uncertainty)
    np.testing.assert_array_equal(found.upper, found.uncertainty)


def test_one_component_has_no_uncertainty(
    posterior_of: Callable[..., bg.Posterior], posterior: bg.Posterior, table: bg.Table
) -> None:
    means, covariances = posterior.draws.means[..., :1, :], posterior.draws.covariances[..., :1, :, :]
    draws = bg.Mixture.from_moments(np.ones((2, 50, 1)), means, covariances)
    found = point_uncertainty(posterior_of(draws, table), seed=0)
    assert not found.uncertainty.any()
    assert not found.sd.any()
    assert set(found.component) == set(found.runner_up) == {0}


def test_a_large_table_is_sampled(large_posterior: bg.Posterior) -> None:
    first, again, other = (point_uncertainty(large_posterior, seed=seed) for seed in (1, 1, 2))
    assert len(set(first.rows)) == 20_000
    np.testing.assert_array_equal(first.rows, again.rows)
    assert set(first.rows) != set(other.rows)
    expected = large_posterior.draws.responsibilities(large_posterior.table.values[first.rows[:5]]).mean((0, 1))
    np.testing.assert_allclose(first.uncertainty[:5], 1 - expected.max(1), atol=0.025)
