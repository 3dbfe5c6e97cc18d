"""What the pages say about speed is what the JSON files say, and the functions that make it are right."""

import json
import math
from pathlib import Path

import em_programs
import measuring
import pytest
import readme
from figure import draw
from measuring import OURS, derived, exponent, faults, measure, ratio, summary, take_turns

ROOT = Path(__file__).parents[1]
PAGE, README = (path.read_text(encoding="utf-8") for path in (readme.PAGE, readme.README))
RESULTS = measuring.read(ROOT / "tests" / "benchmarks" / "results")


def record(part: str, *measures: measuring.Record) -> measuring.Record:
    made = {"part": part, "quick": False, "took_seconds": 1.0, "repeats": 2, "skipped": {}} | measuring.environment()
    made["machine"]["load_after"] = [0.5, 0.5, 0.5]
    return json.loads(json.dumps(made | {"measures": list(measures)}))


@pytest.fixture
def won() -> measuring.Record:
    """Thirty times faster than the one peer, ten times than the other, for a target of nine."""
    turns = {OURS: [1.0, 2.0, 3.0], "scikit-learn": [60.0, 50.0, 70.0], "gmmx": [20.0]}
    return measure("EM iteration", "10, 2, 3", "ms", turns, targets={"gmmx": 9})


@pytest.fixture
def lost() -> measuring.Record:
    """Eight times faster for a target of nine, and behind another peer."""
    turns = {OURS: [2.0], "scikit-learn": [1.0], "gmmx": [16.0]}
    return measure("EM iteration", "20, 2, 3", "ms", turns, targets={"gmmx": 9})


# What the repository holds


def test_the_pages_are_what_the_results_say() -> None:
    assert readme.put(PAGE, readme.section(RESULTS)) == PAGE, "run tests/benchmarks/readme.py"
    assert readme.put(README, readme.highlights(RESULTS)) == README, "run tests/benchmarks/readme.py"


def test_results_are_evidence() -> None:
    assert set(RESULTS) <= set(readme.PARTS)
    assert {part: faults(part, found) for part, found in RESULTS.items()} == {part: [] for part in RESULTS}


def test_figure_belongs_to_the_results() -> None:
    picture = ROOT / ".readme" / "speed.png"
    assert picture.exists() == bool(RESULTS)
    assert not RESULTS or picture.stat().st_size < 150_000


def test_a_page_is_written_from_a_folder_and_a_quick_run_never_passes_for_a_real_one(
    tmp_path: Path, won: measuring.Record
) -> None:
    page, project = tmp_path / "page.md", tmp_path / "README.md"
    page.write_text(PAGE, encoding="utf-8")
    project.write_text(README, encoding="utf-8")
    measuring.write(tmp_path / "em.json", record("em", won) | {"quick": True})
    with pytest.raises(SystemExit, match="quick run; measure it again"):
        readme.update(tmp_path, page, project, tmp_path / "speed.png")
    readme.update(tmp_path, page, project, tmp_path / "speed.png", quick=True)
    row = "| 10, 2, 3 | 2 | 60 = 30x (16.7 to 70) | 20 = 10x (6.67 to 20), target 9 met |"
    five = "| an EM iteration, by N, D, K | 10x (6.67 to 20), target 9 met: gmmx, 10, 2, 3 | 30x (16.7 to 70):"
    for path, before, shown in ((page, PAGE, row), (project, README, five)):
        after = path.read_text(encoding="utf-8")
        assert shown in after
        assert shown not in before
        assert after.split(readme.BEGIN)[0] == before.split(readme.BEGIN)[0]
        assert after.split(readme.END)[1] == before.split(readme.END)[1]


def test_every_part_has_its_script_and_every_script_is_a_part() -> None:
    scripts = {path.stem.removeprefix("bench_") for path in (ROOT / "tests" / "benchmarks").glob("bench_*.py")}
    assert scripts == set(readme.PARTS)


def test_section_follows_the_numbers(won: measuring.Record, lost: measuring.Record) -> None:
    """The comparison above can fail: another number is another section."""
    before = readme.section({"em": record("em", won)})
    assert before == readme.section({"em": record("em", won)})
    assert before != readme.section({"em": record("em", lost)})
    with pytest.raises(SystemExit, match="once"):
        readme.put("no markers", before)


def test_a_record_that_is_no_evidence_is_found_out(won: measuring.Record) -> None:
    good = record("em", won)
    assert faults("em", good) == []
    for name in ("date", "versions", "machine"):
        assert faults("em", {key: value for key, value in good.items() if key != name}) == [f"no {name}"]
    assert faults("em", good | {"machine": {}})[0] == "no machine: processor"
    assert faults("em", good | {"quick": True}) == ["a quick run"]
    assert faults("em", good | {"quick": True}, quick=True) == []
    assert faults("mle", good) == ["of another part: em"]
    won["ratios"]["gmmx"]["ratio"] = 99.0
    assert faults("em", record("em", won)) == ["EM iteration, 10, 2, 3: not what follows from the turns"]


# Numbers


def test_summary() -> None:
    assert summary([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "low": 1.0, "high": 10.0, "turns": 4}
    for bad in ([], [math.nan], [1.0, math.inf]):
        with pytest.raises(ValueError, match="finite"):
            summary(bad)


def test_ratio_is_of_medians_with_the_extremes_of_all_pairs() -> None:
    assert ratio([1.0, 2.0, 4.0], [20.0, 10.0, 40.0]) == {"ratio": 10.0, "low": 2.5, "high": 40.0}
    assert ratio([20.0, 10.0, 40.0], [1.0, 2.0, 4.0], "more") == {"ratio": 10.0, "low": 2.5, "high": 40.0}
    assert ratio([2.0], [1.0])["ratio"] == ratio([1.0], [2.0], "more")["ratio"] == 0.5
    with pytest.raises(ValueError, match="positive"):
        ratio([0.0], [1.0])


def test_exponent_of_a_power_is_the_power() -> None:
    sizes = [1, 10, 100, 1000]
    exact = exponent(sizes, [3 * size**1.5 for size in sizes])
    assert exact["exponent"] == pytest.approx(1.5, abs=1e-12)
    assert exact["standard_error"] == pytest.approx(0, abs=1e-12)
    assert exponent(sizes, [7.0] * 4)["exponent"] == pytest.approx(0, abs=1e-12)
    # Residuals 1, -2, 1 (times a half) about a slope of 1/2: the textbook's s / sqrt(Sxx) with one degree of freedom.
    bent = exponent([1, math.e, math.e**2], [1, 1, math.e])
    assert bent["exponent"] == pytest.approx(0.5)
    assert bent["standard_error"] == pytest.approx(math.sqrt(1 / 6 / 2))
    for sizes, values in (([1, 2], [1, 2]), ([1, 2, 3], [1, -2, 3]), ([1, 2, 3], [1, math.nan, 3])):
        with pytest.raises(ValueError, match="three or more positive"):
            exponent(sizes, values)


def test_targets_are_met_at_them_and_missed_below() -> None:
    turns = {OURS: [2.0], "peer": [20.0], "other": [20.0]}
    for target, met in ((10.0, True), (10.01, False)):
        ratios = derived(turns, "less", OURS, {"peer": target, "absent": 3.0}, None)["ratios"]
        assert ratios["peer"]["met"] is met
        assert ratios["other"]["met"] is None
        assert set(ratios) == {"peer", "other"}
    for better, limit, met in (("less", 2.0, True), ("less", 1.9, False), ("more", 2.0, True), ("more", 2.1, False)):
        assert derived(turns, better, OURS, {}, limit)["limit_met"] is met
    assert derived(turns, "less", OURS, {}, None)["limit_met"] is None
    assert derived(turns, None, OURS, {}, None)["ratios"] == {}


# Turns


def test_turns_are_taken_and_a_peer_that_fails_is_left_out_in_words() -> None:
    order: list[tuple[str, int]] = []

    def fails(_: int) -> float:
        raise OSError("no compiler\nand more")

    programs = {
        OURS: lambda turn: order.append((OURS, turn)) or 1.0,
        "b": lambda turn: order.append(("b", turn)) or 2.0,
    }
    skipped: measuring.Skipped = {}
    found = take_turns(programs | {"c": fails}, {OURS: 3, "b": 2, "c": 3}, "case", skipped)
    assert found == {OURS: [1.0] * 3, "b": [2.0] * 2}
    assert order == [(OURS, 0), ("b", 0), (OURS, 1), ("b", 1), (OURS, 2)]
    assert skipped == {"c, case": "OSError: no compiler"}
    with pytest.raises(OSError, match="no compiler"):
        take_turns({OURS: fails}, 1, "case", {})


def test_absent_programs_are_noted() -> None:
    skipped: measuring.Skipped = {}
    assert measuring.installed(["json", "no_such_program"], skipped) == ["json"]
    assert skipped == {"no_such_program": "not installed"}


def test_milliseconds_of_a_step_leave_out_what_every_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(em_programs.time, "perf_counter", lambda: now[0])

    def program(n_steps: int, per_step: float = 0.003) -> tuple[float, int]:
        now[0] += 5.0 + per_step * n_steps
        return 0.0, n_steps

    assert em_programs.marginal_milliseconds(program, 10) == pytest.approx(3.0)
    now[0] = 0.0
    with pytest.raises(RuntimeError, match="no longer"):
        em_programs.marginal_milliseconds(lambda n: program(n, 0.0), 10)


def test_long_runs_take_the_time_they_are_told_whatever_every_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(em_programs.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])

    def program(n_steps: int, before: float, per_step: float) -> tuple[float, int]:
        now[0] += before + per_step * n_steps
        return 0.0, n_steps

    more, turn = em_programs.prepared(lambda n: program(n, 0.5, 0.01), 1.0)
    assert more in (100, 101)
    assert turn == pytest.approx(2 * 0.5 + 0.01 * (4 + more))
    assert em_programs.prepared(lambda n: program(n, 0.0, 1e-7), 1.0)[0] == em_programs.MOST
    assert em_programs.prepared(lambda n: program(n, 0.0, 5.0), 1.0) == (em_programs.FEW, pytest.approx(35.0))


def test_a_program_that_goes_elsewhere_is_not_compared() -> None:
    assert em_programs.agree(lambda n: (-100.0, n), -100.0, 1e-9)
    for value in (-100.001, math.nan):
        with pytest.raises(ArithmeticError, match="another log-likelihood"):
            em_programs.agree(lambda n, value=value: (value, n), -100.0, 1e-9)


def test_processes_of_their_own_inherit_no_compile_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    wall, _, output = measuring.fresh(["-c", "import os; print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))"])
    assert output.strip() == "None"
    assert wall > 0
    with pytest.raises(RuntimeError, match="ValueError: why"):
        measuring.fresh(["-c", "raise ValueError('why')"])


# Words


def test_numbers_have_three_digits() -> None:
    assert list(map(readme.number, (0.01234, 1.0, 12.345, 999.0, 1234.5, 1e6))) == [
        *("0.0123", "1", "12.3", "999", "1 230", "1 000 000")
    ]


def test_cells_say_met_missed_and_slower(won: measuring.Record, lost: measuring.Record) -> None:
    assert readme.versus(won, "gmmx") == "20 = 10x (6.67 to 20), target 9 met"
    assert readme.versus(won, "scikit-learn") == "60 = 30x (16.7 to 70)"
    assert readme.versus(won, "pomegranate") == "-"
    assert readme.versus(lost, "gmmx") == "16 = **8x (one turn), target 9 missed**"
    assert readme.versus(lost, "scikit-learn") == "1 = **0.5x (one turn), slower**"
    assert readme.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_losses_are_listed_and_wins_are_not(won: measuring.Record, lost: measuring.Record) -> None:
    assert list(readme.losses({"em": record("em", won)})) == []
    assert "Nothing was lost." in readme.section({"em": record("em", won)})
    (line,) = readme.losses({"em": record("em", won, lost)})
    assert "20, 2, 3, 8x of 9x against gmmx" in line
    assert "2x slower than scikit-learn" in line
    assert "10, 2, 3" not in line.replace("20, 2, 3", "")
    slow = measure("fit_nuts", "second fit", "s", {OURS: [0.5]}, limit=0.4)
    (line,) = readme.losses({"wait": record("wait", slow)})
    assert "second fit, 0.5 s for 0.4" in line


def test_the_readme_shows_the_worst_and_the_best_case_of_each_question(
    won: measuring.Record, lost: measuring.Record
) -> None:
    pairs = readme.by_ratio({"em": record("em", won), "scaling": record("scaling", lost)}, "EM iteration")
    assert [(found["case"], peer) for found, peer in pairs] == [
        *(("20, 2, 3", "scikit-learn"), ("20, 2, 3", "gmmx")),
        *(("10, 2, 3", "gmmx"), ("10, 2, 3", "scikit-learn")),
    ]
    text = readme.highlights({"em": record("em", won, lost)})
    assert "| **0.5x (one turn), slower**: scikit-learn, 20, 2, 3 | 30x (16.7 to 70): scikit-learn, 10, 2, 3 |" in text
    assert "all 2 such cases" in text
    assert readme.highlights({}) == "Nothing has been measured yet."


def test_five_rows_are_shown_and_what_is_lost_is_among_them() -> None:
    rows = [line for line in readme.highlights(RESULTS).splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(readme.QUESTIONS) == 5
    assert any("missed" in row and "**" in row for row in rows)
    assert any("slower**" in row for row in rows)


def test_our_own_program_under_other_conditions_is_no_peer() -> None:
    found = measure(
        "whole fit", "case", "ESS/s", {OURS: [2.0], f"{OURS} from fit": [4.0], "NumPyro": [1.0]}, better="more"
    )
    assert readme.peers_of(found) == ["NumPyro"]
    assert "from fit" not in readme.beside(found)


def test_what_was_not_measured_is_said() -> None:
    assert "Nothing has been measured yet." in readme.section({})
    found = record("em") | {"skipped": {"gmmx": "not installed"}}
    assert (
        readme.left_out({"em": found}) == "Left out: gmmx: not installed; not run: " + ", ".join(readme.PARTS[1:]) + "."
    )


def test_figure_is_drawn_of_whatever_there_is(tmp_path: Path, won: measuring.Record, lost: measuring.Record) -> None:
    points = {OURS: [(1, 1.0), (2, 2.0), (4, 4.0)]}
    fitted = {OURS: exponent(*zip(*points[OURS], strict=True))}
    sweep = measure("exponent", "K", "power of K", {OURS: [1.0]}, better=None, points=points, fitted=fitted)
    for number, records in enumerate(({"em": record("em", won, lost)}, {"scaling": record("scaling", sweep)}, {})):
        draw(records, tmp_path / f"{number}.png")
        assert 1000 < (tmp_path / f"{number}.png").stat().st_size < 150_000
