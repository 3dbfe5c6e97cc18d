"""The MLE beside the posterior: numbers under one labelling, and sentences on what the estimate does not show."""

import csv
import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import entropy

import bayes_gmm as bg
from bayes_gmm.posterior.verdict import VerdictStatus

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
    certainty = comparison.points.responsibilities.max(1)
    assert set(comparison.uncertain_points) == {i for i, value in enumerate(certainty) if value < 0.9}
    assert len(comparison.uncertain_points) >= 1
    changed = comparison.points.mle_responsibilities.argmax(1) != comparison.points.responsibilities.argmax(1)
    assert list(comparison.changed_points) == list(np.flatnonzero(changed))


def test_the_text_shows_both_answers_and_every_start(comparison: bg.Comparison) -> None:
    text = str(comparison)
    assert "log-likelihood  -1130.263960 (CONVERGED" in text
    assert re.search(r"starts +\d+ x -1130\.264", text)
    assert "BIC             2322.19 (11 parameters)" in text
    assert re.search(r"elpd_loo +-114\d\.\d+ \+- 1[67]\.\d+", text)
    assert "What the point estimate hides" in text
    assert max(len(line) for line in text.split("\n")[:16]) <= 125


@pytest.mark.slow
def test_skewed_and_widened_parameters_are_named() -> None:
    galaxies = bg.datasets.load("galaxies")
    mle = bg.fit_em(galaxies, 3)
    comparison = bg.compare(mle, bg.fit_nuts(galaxies, 3, start=mle, progress=False))
    # Three galaxies make up the last component, so its sd is hardly known.
    row = next(row for row in comparison.rows if row.name == "sd[2, velocity]")
    assert row.upper - row.mean > 1.5 * (row.mean - row.lower)
    said = " ".join(comparison.hidden())
    assert "the posterior is skewed" in said
    assert "The posterior is much wider than the standard error says for" in said


def test_doubted_standard_errors_are_marked_and_sound_ones_are_not(comparison: bg.Comparison) -> None:
    """Six points of their own leave the sd of the second component to chance."""
    x = np.concatenate([np.linspace(-1, 1, 60), 20 + np.linspace(-1, 1, 5)])[:, None]
    mle = bg.fit_em(x, 2)
    doubted = bg.compare(mle, bg.fit_nuts(x, 2, start=mle, num_samples=200, progress=False))
    assert [row.error_doubted for row in doubted.rows] == [False] * 3 + [True] * 3
    text = str(doubted)
    assert len(re.findall(r"\d\?  ", text)) == 3
    assert "\n? Standard errors are " in text
    assert "Trust the posterior" in text
    assert not any(row.error_doubted for row in comparison.rows)
    assert "?" not in str(comparison)


def test_csv_round_trip(comparison: bg.Comparison, tmp_path) -> None:
    comparison.to_csv(tmp_path / "components.csv")
    with open(tmp_path / "components.csv", newline="") as file:
        records = list(csv.DictReader(file))
    assert len(records) == len(comparison.rows)
    assert float(records[1]["estimate"]) == comparison.rows[1].estimate
    assert records[1]["parameter"] == "mean"
    assert records[1]["feature"] == "eruptions"


def test_what_cannot_be_compared_is_refused_with_the_difference(
    faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior
) -> None:
    x = faithful_mle.table.values
    other = x.copy()
    other[3, 0] += 0.1
    table = faithful_mle.table
    cases = [
        (bg.fit_em(bg.Table(x[:100], table.columns), 2), "of 100 points, the posterior of 272"),
        (bg.fit_em(table, 3), "The EM fit has 3 components, the posterior 2"),
        (bg.fit_em(x, 2), "the columns x1, x2, the posterior eruptions, waiting"),
        (bg.fit_em(bg.Table(other, table.columns), 2), "different data: 1 of 272 rows differ"),
    ]
    for fit, words in cases:
        with pytest.raises(bg.ArgumentError, match=words):
            bg.compare(fit, faithful_posterior)


@pytest.mark.wrong_types
def test_wrong_types_are_named(faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior) -> None:
    with pytest.raises(bg.ArgumentError, match="mle is of type Posterior"):
        bg.compare(faithful_posterior, faithful_mle)
    with pytest.raises(bg.ArgumentError, match="bootstrap is of type int"):
        bg.compare(faithful_mle, faithful_posterior, bootstrap=100)
    other = bg.bootstrap(bg.fit_em(faithful_mle.table, 2, covariance_type="tied"), n_replicates=3)
    with pytest.raises(bg.ArgumentError, match="of another fit than mle"):
        bg.compare(faithful_mle, faithful_posterior, bootstrap=other)
    with pytest.raises(bg.ArgumentError, match="points of x_test have shape"):
        bg.compare(faithful_mle, faithful_posterior, x_test=[1.0, 2.0])
    with pytest.raises(bg.ArgumentError, match='"parameters", "scores" or "points"'):
        bg.compare(faithful_mle, faithful_posterior).records("rows")


def test_bootstrap_errors_have_a_column_of_their_own(
    comparison: bg.Comparison, faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior
) -> None:
    assert "bootstrap" not in str(comparison)
    resampled = bg.bootstrap(faithful_mle, n_replicates=200)
    swapped = replace(faithful_mle, mixture=faithful_mle.mixture.permute([1, 0]))
    of_swapped = replace(resampled, draws=resampled.draws.permute(np.tile([1, 0], (200, 1))), fit=swapped)
    for mle, draws in ((faithful_mle, resampled), (swapped, of_swapped)):
        both = bg.compare(mle, faithful_posterior, bootstrap=draws)
        expected = resampled.standard_errors
        found = {row.name: row.bootstrap_error for row in both.rows}
        assert found["mean[1, waiting]"] == pytest.approx(expected["means"][1, 1], rel=1e-12)
        assert found["correlation[0, eruptions~waiting]"] == pytest.approx(expected["correlations"][0, 1, 0], rel=1e-12)
        assert "bootstrap" in str(both)


def test_held_out_points_are_scored_by_both(faithful: bg.Table) -> None:
    rows = np.random.default_rng(0).permutation(faithful.n_points)
    train, test = faithful.values[rows[:200]], faithful.values[rows[200:]]
    mle = bg.fit_em(train, 2)
    posterior = bg.fit_nuts(train, 2, start=mle, num_samples=200, progress=False)
    held = bg.compare(mle, posterior, x_test=test).scores.held_out
    draws = posterior.draws
    densities = [
        [bg.Mixture(log_weights=w, means=m, scale_tril=s).log_prob(test) for w, m, s in zip(*chain, strict=True)]
        for chain in zip(draws.log_weights, draws.means, draws.scale_tril, strict=True)
    ]
    predictive = np.log(np.exp(np.reshape(densities, (-1, len(test)))).mean(0))
    assert held.n_points == 72
    assert held.mle == pytest.approx(mle.mixture.log_prob(test).mean(), rel=1e-12)
    assert held.posterior == pytest.approx(predictive.mean(), rel=1e-9)
    differences = predictive - mle.mixture.log_prob(test)
    assert held.difference_error == pytest.approx(differences.std(ddof=1) / np.sqrt(72), rel=1e-6)


def test_records_and_json_hold_every_part_without_nan(comparison: bg.Comparison, tmp_path) -> None:
    comparison.to_json(tmp_path / "both.json")
    text = (tmp_path / "both.json").read_text()
    assert "NaN" not in text
    record = json.loads(text)
    assert [len(record[part]) for part in ("parameters", "scores", "points")] == [12, 2, 272]
    assert record["parameters"][0]["bootstrap_error"] is None
    assert record["parameters"][1]["estimate"] == comparison.rows[1].estimate
    assert record["verdict"]["status"] == "GOOD"
    assert record["hidden"] == list(comparison.hidden())
    import pandas as pd

    points = pd.DataFrame(comparison.records("points"))
    assert list(points.index[points.uncertain]) == list(comparison.uncertain_points)
    shares = comparison.points.responsibilities
    np.testing.assert_allclose(points.entropy, entropy(shares, axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(points.probability, shares.max(1))


def test_a_path_that_cannot_be_written_is_an_output_error(comparison: bg.Comparison, tmp_path) -> None:
    for write in (comparison.to_csv, comparison.to_json):
        with pytest.raises(bg.OutputError, match="cannot be written"):
            write(tmp_path / "missing" / "file")


@pytest.mark.slow
def test_html_is_small_and_closed(comparison: bg.Comparison) -> None:
    iris = bg.datasets.load("iris")
    mle = bg.fit_em(iris, 3)
    many = bg.compare(mle, bg.fit_nuts(iris, 3, start=mle, num_samples=100, num_chains=2, progress=False))
    for each in (comparison, many):
        html = each._repr_html_()
        assert len(html.encode()) < 3000
        assert html.count("<table>") == html.count("</table>") == 1
    assert "mean[0, waiting]" in comparison._repr_html_()
    assert "parameters that move less are left out" in many._repr_html_()


def test_bad_draws_are_said_in_the_head_of_every_form(
    comparison: bg.Comparison, faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior
) -> None:
    verdict = replace(
        faithful_posterior.verdict,
        status=VerdictStatus.BAD,
        sampling=VerdictStatus.BAD,
        reasons=("Chain 2 never moved.",),
    )
    bad = bg.compare(faithful_mle, replace(faithful_posterior, verdict=verdict))
    assert str(bad).splitlines()[1].startswith("THE DRAWS ARE BAD")
    assert "Chain 2 never moved." in bad._repr_html_()[:400]
    assert "THE DRAWS ARE BAD" not in str(comparison)


def test_other_structures_are_compared_and_said(faithful: bg.Table, faithful_posterior: bg.Posterior) -> None:
    tied = bg.fit_em(faithful, 2, covariance_type="tied")
    assert "The covariances differ: EEE in the EM fit, VVV" in str(bg.compare(tied, faithful_posterior))


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
    assert comparison.points.responsibilities.dtype == np.float64
