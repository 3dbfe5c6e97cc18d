"""The MLE beside the posterior: numbers under one labelling, and what the point estimate hides."""

import csv
import re
from dataclasses import replace

import jax
import numpy as np
import pytest

import bayes_gmm as bg

pytestmark = pytest.mark.numpyro


@pytest.fixture(scope="module")
def comparison(faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior) -> bg.Comparison:
    return bg.compare(faithful_mle, faithful_posterior)


def test_there_is_a_row_for_every_parameter_in_order(comparison: bg.Comparison) -> None:
    names = [row.name for row in comparison.rows]
    assert names[:6] == [
        "weight[0]",
        "mean[0, eruptions]",
        "mean[0, waiting]",
        "sd[0, eruptions]",
        "sd[0, waiting]",
        "correlation[0, eruptions~waiting]",
    ]
    assert len(names) == 12


def test_rows_hold_the_numbers_of_both_fits(
    comparison: bg.Comparison, faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior
) -> None:
    row = next(row for row in comparison.rows if row.name == "correlation[1, eruptions~waiting]")
    draws = faithful_posterior.draws.correlations[..., 1, 1, 0]
    assert row.estimate == pytest.approx(faithful_mle.mixture.correlations[1, 1, 0], rel=1e-12)
    assert row.standard_error == pytest.approx(faithful_mle.standard_errors["correlations"][1, 1, 0], rel=1e-12)
    assert row.mean == pytest.approx(draws.mean(), rel=1e-10)
    assert (row.lower, row.upper) == pytest.approx(np.quantile(draws, [0.03, 0.97]), rel=1e-10)
    assert row.shift == pytest.approx((row.mean - row.estimate) / row.sd)
    assert row.width_ratio == pytest.approx(row.sd / row.standard_error)


def test_an_mle_under_other_labels_is_aligned(comparison: bg.Comparison, faithful_posterior: bg.Posterior) -> None:
    labels = 1 - faithful_posterior.mle.responsibilities().argmax(1)
    other = bg.fit_em(faithful_posterior.table, 2, start=labels)
    aligned = bg.compare(other, faithful_posterior)
    for ours, theirs in zip(aligned.rows, comparison.rows, strict=True):
        assert ours.estimate == pytest.approx(theirs.estimate, rel=1e-3)


def test_permuted_mle_gives_the_same_rows(comparison: bg.Comparison, faithful_posterior: bg.Posterior) -> None:
    swapped = replace(faithful_posterior.mle, mixture=faithful_posterior.mle.mixture.permute([1, 0]))
    aligned = bg.compare(swapped, faithful_posterior)
    for ours, theirs in zip(aligned.rows, comparison.rows, strict=True):
        assert ours.estimate == pytest.approx(theirs.estimate, rel=1e-12)
        assert ours.standard_error == pytest.approx(theirs.standard_error, rel=1e-9)


def test_uncertain_and_changed_points_are_those_of_the_responsibilities(comparison: bg.Comparison) -> None:
    certainty = comparison.posterior_responsibilities.max(1)
    assert set(comparison.uncertain_points) == {i for i, value in enumerate(certainty) if value < 0.9}
    assert len(comparison.uncertain_points) >= 1
    changed = comparison.mle_responsibilities.argmax(1) != comparison.posterior_responsibilities.argmax(1)
    assert list(comparison.changed_points) == list(np.flatnonzero(changed))


def test_the_text_shows_both_answers_and_every_start(comparison: bg.Comparison) -> None:
    text = str(comparison)
    assert "log-likelihood  -1130.263960 (CONVERGED" in text
    assert re.search(r"starts +\d+ x -1130\.264", text)
    assert "BIC             2322.19 (11 parameters)" in text
    assert re.search(r"elpd_loo +-114\d\.\d+ \+- 16\.\d+", text)
    assert "What the point estimate hides" in text
    assert max(len(line) for line in text.split("\n")[:16]) <= 125


def test_skewed_and_widened_parameters_are_named() -> None:
    galaxies = bg.datasets.load("galaxies")
    mle = bg.fit_em(galaxies, 3)
    comparison = bg.compare(mle, bg.fit_nuts(galaxies, 3, start=mle, progress=False))
    # Three galaxies make the last component: its sd is all but unknown.
    row = next(row for row in comparison.rows if row.name == "sd[2, velocity]")
    assert row.upper - row.mean > 1.5 * (row.mean - row.lower)
    said = " ".join(comparison.hidden())
    assert "the posterior is skewed" in said
    assert "The posterior is much wider than the standard error says for" in said


def test_csv_round_trip(comparison: bg.Comparison, tmp_path) -> None:
    comparison.to_csv(tmp_path / "components.csv")
    with open(tmp_path / "components.csv", newline="") as file:
        records = list(csv.DictReader(file))
    assert len(records) == len(comparison.rows)
    assert float(records[1]["estimate"]) == comparison.rows[1].estimate
    assert records[1]["parameter"] == "mean"
    assert records[1]["feature"] == "eruptions"


def test_other_tables_are_refused(faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior) -> None:
    fewer = bg.fit_em(faithful_mle.table.values[:100], 2)
    with pytest.raises(bg.ArgumentError, match="two fits of the same table"):
        bg.compare(fewer, faithful_posterior)
    with pytest.raises(bg.ArgumentError, match="two fits of the same table"):
        bg.compare(bg.fit_em(faithful_mle.table, 3), faithful_posterior)


def test_draws_that_do_not_differ_have_no_loo_and_the_text_says_so(
    faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior
) -> None:
    draws = jax.tree.map(lambda leaf: np.broadcast_to(leaf[:1, :1], leaf.shape), faithful_posterior.draws)
    comparison = bg.compare(faithful_mle, replace(faithful_posterior, draws=draws))
    assert comparison.loo is None
    assert "No elpd_loo" in str(comparison)


def test_missing_standard_errors_are_said_and_not_invented(faithful_posterior: bg.Posterior) -> None:
    table = faithful_posterior.table
    equal = np.full((table.n_points, 2), 0.5)
    saddle = bg.fit_em(table, 2, start=equal)  # two equal components: a saddle, whose information is singular
    comparison = bg.compare(saddle, faithful_posterior)
    assert all(np.isnan(row.standard_error) for row in comparison.rows)
    assert "No standard errors. The information matrix" in str(comparison)


def test_comparison_does_not_depend_on_global_precision(comparison: bg.Comparison) -> None:
    assert not jax.config.jax_enable_x64
    assert comparison.posterior_responsibilities.dtype == np.float64
