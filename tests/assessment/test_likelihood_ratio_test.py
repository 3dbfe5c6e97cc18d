"""The test for the number of components: its statistic, its level and its power."""

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.assessment import likelihood_ratio_test
from bayes_gmm.errors import ArgumentError


@pytest.fixture(scope="module")
def one_against_two(faithful):
    return bg.likelihood_ratio_test(faithful, 1, n_replicates=19, progress=False)


def test_statistic_is_twice_the_log_ratio_of_the_best_optima(faithful, one_against_two):
    one, two = (bg.fit_em(faithful, K).log_likelihood for K in (1, 2))
    np.testing.assert_allclose(one_against_two.statistic, 2 * (two - one), atol=1e-7)
    # mclust 6.0.0 (mclustBootstrapLRT, converged to a relative change of 1e-12): 319.0656
    np.testing.assert_allclose(one_against_two.statistic, 319.0656, atol=5e-5)


def test_two_clusters_are_noticed_and_p_is_the_smallest_possible(one_against_two):
    assert one_against_two.p_value == 1 / 20
    assert len(one_against_two.simulated) == 19
    assert (one_against_two.simulated >= -1e-6).all()
    assert "1 against 2 components: statistic 319.0656, p 0.0500" in repr(one_against_two)


@pytest.mark.slow
def test_p_is_uniform_where_there_is_one_component():
    """Ranks of 30 statistics among 9 simulated: a mean of 0.55, sd 0.287 / sqrt(30) = 0.052, to 4 sds."""
    rng = np.random.default_rng(0)
    options = {"n_replicates": 9, "n_starts": 8, "progress": False, "tol": 1e-4, "covariance_type": "tied"}
    p = [bg.likelihood_ratio_test(rng.normal(size=(60, 1)), 1, seed=i, **options).p_value for i in range(30)]
    assert abs(np.mean(p) - 0.55) < 4 * 0.052
    assert len(set(p)) > 4


def test_simulations_do_not_depend_on_how_many_there_are(faithful, one_against_two):
    few = bg.likelihood_ratio_test(faithful, 1, n_replicates=3, progress=False)
    np.testing.assert_array_equal(few.simulated, one_against_two.simulated[:3])


def test_interrupt_keeps_the_simulations_that_are_done(faithful, one_against_two, monkeypatch):
    plain = likelihood_ratio_test._simulated_statistic

    def interrupted(null, pair, search, number):
        if number == 2:
            raise KeyboardInterrupt
        return plain(null, pair, search, number)

    monkeypatch.setattr("bayes_gmm.assessment.likelihood_ratio_test._simulated_statistic", interrupted)
    part = bg.likelihood_ratio_test(faithful, 1, n_replicates=19, progress=False)
    assert part.interrupted
    np.testing.assert_array_equal(part.simulated, one_against_two.simulated[:2])
    assert part.p_value == 1 / 3


@pytest.mark.parametrize("option", ["start", "labels", "sample_weight", "fixed", "assignment"])
def test_options_without_a_simulated_counterpart_are_refused(faithful, option):
    with pytest.raises(ArgumentError, match=f"cannot take {option}"):
        bg.likelihood_ratio_test(faithful, 1, **{option: 1})
