"""What a figure of components shows: the right points, draws, means and probabilities, and refusals."""

import dataclasses
import inspect
from collections.abc import Callable

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.figure_data.shown_components import (
    MOST_POINTS,
    column_label,
    explanations_note,
    mean_mixture,
    sampled_rows,
    shown_components,
)
from bayes_gmm.likelihood.pointwise import thinned


def test_all_but_the_two_fits_are_given_by_name() -> None:
    kinds = [parameter.kind for parameter in inspect.signature(shown_components).parameters.values()]
    assert kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2 + [inspect.Parameter.KEYWORD_ONLY] * 4


def test_without_a_posterior_the_points_have_the_probabilities_of_the_fit(
    two_features: bg.Mixture, table: bg.Table
) -> None:
    shown = shown_components(None, two_features, data=table)
    np.testing.assert_array_equal(shown.points, table.values)
    np.testing.assert_allclose(shown.responsibilities, two_features.responsibilities(table), rtol=1e-12)
    assert shown.draws is None
    assert shown.n_components == 2
    assert (shown.probability, shown.explanations_note) == (0.9, "")


def test_probabilities_are_means_over_all_draws(posterior: bg.Posterior) -> None:
    each = posterior.draws.responsibilities(posterior.table.values)
    shown = shown_components(posterior, None)
    np.testing.assert_allclose(shown.responsibilities, each.mean((0, 1)), atol=1e-12)
    at_the_means = mean_mixture(posterior.draws).responsibilities(posterior.table.values)
    assert np.abs(shown.responsibilities - at_the_means).max() > 1e-3


def test_other_data_have_the_probabilities_of_the_draws(posterior: bg.Posterior) -> None:
    shown = shown_components(posterior, None, data=posterior.table.values[:50])
    assert shown.table.columns == ("x1", "x2")
    own = shown_components(posterior, None)
    np.testing.assert_allclose(shown.responsibilities, own.responsibilities[:50], atol=1e-12)


def test_a_point_is_uncertain_below_nine_tenths(posterior: bg.Posterior) -> None:
    shown = shown_components(posterior, None)
    at_the_limit = np.array([[0.9, 0.1], [0.1, 0.9], [0.899, 0.101]])
    few = dataclasses.replace(shown, points=shown.points[:3], responsibilities=at_the_limit)
    np.testing.assert_array_equal(few.uncertain, [False, False, True])


def test_draws_that_are_shown_are_evenly_spread_over_all_chains(posterior: bg.Posterior) -> None:
    shown = shown_components(posterior, None, n_draws=5)
    assert not shown.averaged
    flat = posterior.draws.means.reshape(-1, 2, 2)
    np.testing.assert_array_equal(shown.draws.means, flat[[0, 25, 50, 74, 99]])
    assert shown_components(posterior, None, n_draws=1000).draws.means.shape == (100, 2, 2)


def test_mean_of_the_draws_is_that_of_their_moments(posterior: bg.Posterior) -> None:
    draws = posterior.draws
    shown = shown_components(posterior, None)
    assert shown.averaged
    assert shown.draws.means.shape == (1, 2, 2)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(shown.draws, name)[0], getattr(draws, name).mean((0, 1)), rtol=1e-12)
    # Negative control: the mean of the Cholesky factors gives smaller variances.
    assert (shown.draws.covariances[0, :, 0, 0] > (1 + 1e-3) * draws.scale_tril[..., 0, 0].mean((0, 1)) ** 2).all()


def test_a_fit_and_its_mixture_are_shown_alike(fit: bg.EMFit) -> None:
    of_fit, of_mixture = shown_components(None, fit), shown_components(None, fit.mixture, data=fit.table)
    assert of_fit.table is fit.table
    np.testing.assert_array_equal(of_fit.responsibilities, of_mixture.responsibilities)


def test_a_large_table_is_shown_by_a_random_sample_that_follows_the_seed(large_posterior: bg.Posterior) -> None:
    first, again, other = (shown_components(large_posterior, None, seed=seed) for seed in (1, 1, 2))
    assert first.points.shape == (MOST_POINTS, 2)
    assert first.table.n_points == 20_050
    assert len(np.unique(first.points, axis=0)) == MOST_POINTS
    np.testing.assert_array_equal(first.points, again.points)
    assert not np.array_equal(first.points, other.points)


def test_many_points_are_coloured_by_four_hundred_draws(large_posterior: bg.Posterior) -> None:
    shown = shown_components(large_posterior, None)
    some = jax.tree.map(lambda leaf: leaf[None], thinned(large_posterior.draws, 400))
    expected = some.responsibilities(shown.points[:20]).mean((0, 1))
    np.testing.assert_allclose(shown.responsibilities[:20], expected, atol=1e-12)
    of_all = large_posterior.draws.responsibilities(shown.points[:20]).mean((0, 1))
    assert 0 < np.abs(shown.responsibilities[:20] - of_all).max() < 0.025


@pytest.mark.parametrize("n_points", [5, 10])
def test_rows_of_a_small_table_are_all_of_them(n_points: int) -> None:
    np.testing.assert_array_equal(sampled_rows(n_points, 10, seed=3), np.arange(n_points))


def test_limits_come_from_the_data_alone(posterior: bg.Posterior, two_features: bg.Mixture) -> None:
    wild = dataclasses.replace(two_features, scale_tril=100 * two_features.scale_tril)
    shown = shown_components(posterior, wild)
    for feature, values in enumerate(posterior.table.values.T):
        margin = 0.1 * np.ptp(values)
        assert shown.limits(feature) == pytest.approx((values.min() - margin, values.max() + margin), rel=1e-12)


def test_columns_are_labelled_with_their_units(table: bg.Table) -> None:
    assert [column_label(table, feature) for feature in range(2)] == ["height [m]", "mass [kg]"]
    assert column_label(bg.as_table(table.values), 1) == "x2"


def test_means_over_different_explanations_are_noted(
    posterior_of: Callable[..., bg.Posterior], posterior: bg.Posterior
) -> None:
    two = posterior_of(posterior.draws, posterior.table, n_explanations=2)
    assert explanations_note(posterior) == ""
    assert shown_components(two, None).explanations_note == ", mean of 2 different explanations"
    assert shown_components(two, None, n_draws=10).explanations_note == ""


def test_unusable_arguments_are_refused(posterior: bg.Posterior, two_features: bg.Mixture, table: bg.Table) -> None:
    narrow = two_features.marginal([0])
    for arguments, message in [
        ((None, None), "Neither posterior nor mle"),
        ((None, two_features), "holds no data"),
        ((None, posterior.draws), "holds no data"),
        ((posterior, posterior.draws), "batched or not finite"),
        ((posterior, narrow), "have 2 features and a mixture has 1"),
    ]:
        with pytest.raises(bg.ArgumentError, match=message):
            shown_components(*arguments)
    for options, message in [
        ({"probability": 1.0}, "probability is 1.0"),
        ({"n_draws": 0}, "n_draws is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"data": table.values[:, :1]}, "have 1 features and a mixture has 2"),
    ]:
        with pytest.raises(bg.ArgumentError, match=message):
            shown_components(posterior, None, **options)
