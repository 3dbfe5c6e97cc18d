"""The pages show what the calibration's JSON files say, and the statistics behind them are right."""

import json

import calibration_page as page
import numpy as np
import pytest
import scipy.stats
from calibration_figure import draw, draw_overlap
from planted import QUANTILES, agree
from posterior_intervals import KINDS, as_expected, by_kind, former_default, kinds_of, parameters
from proportions import Share, binomial_p_value, covered, mean_and_error, unlike, worse
from recording import Record, Row
from uniformity import DRAWS, band, expected, p_value

import bayes_gmm as bg


def test_the_pages_are_what_the_files_say() -> None:
    results = page.load()
    for path, name, text in page.sections(results):
        written = path.read_text(encoding="utf-8")
        assert written == page.with_section(written, name, text), "run tests/calibration/calibration_page.py"
    assert page.COMMANDS in page.section(results)
    with pytest.raises(SystemExit, match="once"):
        page.with_section("no markers", page.OVERLAP, "text")


def test_every_row_that_is_shown_is_on_the_page_with_its_verdict() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    rows = [row for result in page.load() for row in result["rows"] if row["shown"]]
    assert len(rows) > 20
    assert not [row for row in rows if row["found"] not in text or row["setting"] not in text]
    assert ("**falls short**" in text) == (not all(row["holds"] for row in rows))


def test_a_changed_number_changes_the_pages() -> None:
    results = page.load()
    before = page.section(results), page.highlights(results)
    for row in [row for result in results for row in result["rows"]]:
        row["found"] = "0 of 1"
    assert page.section(results) != before[0]
    assert page.highlights(results) != before[1]


def test_the_readme_shows_the_worst_setting_of_each_check_and_counts_all() -> None:
    results = page.load()
    rows = [line for line in page.highlights(results).splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(page.CHECKS) == 5
    for line, (what, worst) in zip(rows, page.CHECKS.items(), strict=True):
        found = [row for result in results for row in result["rows"] if row["what"].startswith(what)]
        farthest = worst(map(page.share, found))
        assert f"| {sum(row['holds'] for row in found)} of {len(found)} |" in line
        assert ("**" in line) == any(not row["holds"] and page.share(row) == farthest for row in found)
    assert sum("**" in line for line in rows) >= 1


def test_share_is_of_the_first_number_that_was_found() -> None:
    found = ("149 of 200 (68 to 80 %)", "0 / 2 / 4 of 6 (ESS 6)", "information 14±2 / 13±2", "smallest p 0.0088")
    assert [page.share({"found": text}) for text in found] == [149 / 200, 0, 14, 0.0088]
    with pytest.raises(ValueError, match="no number in 'none'"):
        page.share({"found": "none"})


def test_what_falls_short_is_said_also_where_rows_are_joined() -> None:
    rows = [Row("what", f"setting {i}", "all", f"{i}", holds)._asdict() for i, holds in enumerate((True, False, True))]
    assert page.table(rows).splitlines()[2:] == [
        "| what | setting 0; setting 1; setting 2 | all | 0; 1; 2 | **falls short** |"
    ]
    rows[2]["holds"] = rows[1]["holds"] = True
    assert "falls short" not in page.table(rows)


def test_figure_is_small_and_is_drawn_from_the_files() -> None:
    for figure in (page.FIGURE, page.OF_OVERLAP):
        assert 10_000 < figure.stat().st_size < 150_000
    axes = draw(page.load()).axes
    assert [len(ax.lines) + len(ax.patches) > 0 for ax in axes] == [True] * 10
    assert not draw([]).axes[-1].patches
    first, *others = draw_overlap(page.load()).axes
    assert len(first.lines) == 1 + 6 + 3 + 2
    assert {len(ax.lines) for ax in others} == {1 + 6}


def test_a_record_is_read_back_as_it_was(tmp_path) -> None:
    record, row = Record(0.1, tmp_path), Row("what", "where", "all", "none", False)
    assert (record.number(300), record.number(10)) == (30, 2)
    record("verdict_test", [row], {"seed": 3}, {"values": np.arange(3), "one": np.float64(0.5)})
    (result,) = page.load(tmp_path)
    assert result["rows"] == [row._asdict()]
    assert result["numbers"] == {"values": [0, 1, 2], "one": 0.5}
    assert result["portion"] == 0.1
    Record(0.1, None)("unasked", [row], {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["verdict_test.json"]
    assert json.loads((tmp_path / "verdict_test.json").read_text())["settings"] == {"seed": 3}


# Proportions


def test_interval_of_a_share_is_that_of_the_beta_distribution() -> None:
    low, high = Share(7, 20).interval
    assert low == pytest.approx(scipy.stats.beta.ppf(0.025, 7, 14))
    assert high == pytest.approx(scipy.stats.beta.ppf(0.975, 8, 13))
    assert Share.of([True, False, True]) == (2, 3)
    assert (Share(0, 10).interval[0], Share(0, 0).interval) == (0, (0, 1))


def test_binomial_p_value_is_a_sum_of_probabilities() -> None:
    probabilities = scipy.stats.binom.pmf(np.arange(21), 20, 0.9)
    assert binomial_p_value(14, 20, 0.9) == pytest.approx(probabilities[probabilities <= probabilities[14]].sum())


def test_coverage_is_counted() -> None:
    """Estimates 1.6 and 1.7 errors from the truth: an interval of 90 % has 1.645 of them to either side."""
    found = covered(np.array([1.6, -1.6, 1.7, -1.7]) + 5, np.ones(4), np.full(4, 5.0), 0.9)
    np.testing.assert_array_equal(found, [True, True, False, False])


def test_right_errors_cover_and_halved_ones_are_noticed() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        estimates = rng.normal(size=(200, 5))
        p_values.append(unlike(covered(estimates, np.ones(5), np.zeros(5), 0.9), 0.9))
        assert unlike(covered(estimates, np.full(5, 0.5), np.zeros(5), 0.9), 0.9) < 1e-6
    # At most one in a hundred of right ones is rejected at 0.01: eight or more of 200 would have a chance of 1e-3.
    assert np.sum(np.array(p_values) < 0.01) < 8


def test_error_of_a_mean_counts_data_sets_not_parameters() -> None:
    """The same hit in every column is one piece of news, not ten."""
    hits = np.random.default_rng(0).random((400, 1)) < 0.9
    one, ten = mean_and_error(hits), mean_and_error(np.repeat(hits, 10, axis=1))
    assert ten == pytest.approx(one)
    assert one[1] == pytest.approx(np.sqrt(0.9 * 0.1 / 400), rel=0.2)
    independent = mean_and_error(np.random.default_rng(1).random((400, 10)) < 0.9)
    assert independent[1] == pytest.approx(one[1] / np.sqrt(10), rel=0.2)


def test_worse_is_one_sided() -> None:
    assert worse(Share(20, 100), Share(80, 100)) < 1e-10
    assert worse(Share(80, 100), Share(20, 100)) > 0.99
    assert worse(Share(50, 100), Share(50, 100)) > 0.4


# Ranks


def test_band_holds_uniform_ranks_and_not_those_of_draws_too_narrow() -> None:
    rng = np.random.default_rng(2)
    uniform = rng.integers(0, DRAWS + 1, 300)
    truth, draws = rng.normal(size=300), rng.normal(size=(300, DRAWS))
    narrow = (0.7 * draws < truth[:, None]).sum(1)
    assert p_value(uniform) > 0.01
    assert p_value((draws < truth[:, None]).sum(1)) > 0.01
    assert p_value(narrow) < 0.001
    low, high = band(300, 0.01)
    for ranks, inside in ((uniform, True), (narrow, False)):
        curve = (ranks[:, None] <= np.arange(DRAWS)).mean(0)
        assert ((low <= curve) & (curve <= high)).all() == inside
    assert (low < expected()).all()
    assert (high > expected()).all()


def test_p_values_of_uniform_ranks_are_no_smaller_than_they_should_be() -> None:
    rng = np.random.default_rng(3)
    values = np.array([p_value(rng.integers(0, DRAWS + 1, 100)) for _ in range(500)])
    for level in (0.5, 0.1):
        assert np.mean(values <= level) < level + 4 * np.sqrt(level * (1 - level) / 500)
        assert np.mean(values <= level) > 0.6 * level


# Runs that are right


def test_runs_are_right_where_many_draws_are_equal_to_a_quantile() -> None:
    """Probabilities of which six in ten are one: the share below the median is 0.4, and yet nothing is wrong."""
    rng = np.random.default_rng(4)
    values = np.minimum(rng.uniform(0.0, 2.5, (3, 8000)), 1.0)
    long, draws = np.quantile(values[:, :4000], QUANTILES, axis=1).T, values[:, 4000:]
    assert (long[:, 1:] == 1).all()
    assert ((draws[:, :, None] < long[:, None]).mean(1)[:, 1:] < 0.45).all()
    assert agree(draws, long)
    # What was agreed on before the others were moved is not enough.
    assert not agree(np.concatenate([draws[:2], 0.9 * draws[2:]]), long)


def test_runs_without_equal_draws_are_judged_as_by_the_share_below() -> None:
    rng = np.random.default_rng(6)
    long = np.quantile(rng.normal(size=(2, 4000)), QUANTILES, axis=1).T
    draws = rng.normal(size=(2, 4000))
    assert agree(draws, long)
    assert not agree(draws + 0.4, long)
    assert not agree(2 * draws, long)
    assert agree(draws + 0.4, np.zeros((2, 3)))  # a constant


# Intervals of posteriors


def test_parameters_in_a_row_have_their_kinds() -> None:
    mixture = bg.Mixture.from_moments([0.2, 0.8], [[1.0, 2.0], [3.0, 4.0]], [[[4.0, 1.0], [1.0, 1.0]], np.eye(2)])
    expected_row = [2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 0.2, 0.5, 0.0]
    np.testing.assert_allclose(parameters(mixture), expected_row, atol=1e-12)
    np.testing.assert_array_equal(kinds_of(mixture), np.repeat(KINDS, [4, 4, 1, 2]))


def test_a_coverage_is_as_expected_or_is_not() -> None:
    hits = np.random.default_rng(7).random((200, 4)) < 0.9
    kinds = np.array(["sds", "sds", "means", "weights"])
    found = by_kind(hits, kinds)
    assert list(found) == ["sds", "means", "weights"]
    assert found["sds"] == mean_and_error(hits[:, :2])
    assert all(as_expected(value, 0.9, 3) for value in found.values())
    assert not as_expected(by_kind(hits & hits[:, ::-1], kinds)["sds"], 0.9, 3)


def test_the_former_default_follows_the_variance_of_all_data() -> None:
    x = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 7.0]])
    prior = former_default(x, 2)
    np.testing.assert_allclose(prior.variances.rate, 0.25 * x.var(0) * np.ones((2, 1)))
    np.testing.assert_allclose(prior.means.scale, 2 * x.std(0) * np.ones((2, 1)))
