"""The command `bayes-gmm`: its results; every mistake is answered by one line and exit code 2."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.cli import _parser, main
from bayes_gmm.commands import _likelihood

pytestmark = pytest.mark.numpyro

QUICK = ["--num-samples", "100", "--num-chains", "2"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own, as a user does."""
    out = tmp_path_factory.mktemp("run") / "out"
    command = [
        sys.executable,
        "-m",
        "bayes_gmm",
        "fit",
        "faithful",
        "--components",
        "2",
        "--out",
        str(out),
        *QUICK,
    ]
    return out, subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


def test_fit_succeeds_and_prints_on_standard_output_only(results) -> None:
    out, process = results
    assert (process.returncode, process.stderr) == (0, "")
    assert "log-likelihood  -1130.263960" in process.stdout
    assert "What the point estimate hides" in process.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "components.csv",
        "figure.png",
        "mle.json",
        "points.csv",
        "posterior.nc",
    ]


def test_the_sampler_can_be_chosen(tmp_path: Path) -> None:
    options = ["--num-samples", "50", "--num-warmup", "20", "--num-chains", "1", "--out", str(tmp_path)]
    main(["fit", "faithful", "--components", "2", "--sampler", "hmc", *options])
    assert bg.load(tmp_path / "posterior.nc").tree["posterior"].attrs["sampler"] == "HMC"


def test_mle_json_holds_the_fit_and_every_start(results) -> None:
    record = json.loads((results[0] / "mle.json").read_text())
    assert record["log_likelihood"] == pytest.approx(-1130.263960, abs=1e-5)
    assert record["weights"][0] == pytest.approx(0.355873, abs=1e-6)
    assert record["status"] == "CONVERGED"
    assert len(record["start_log_likelihoods"]) == len(record["start_statuses"]) == 32
    assert record["standard_errors"]["weights"][0] == pytest.approx(0.0290891, rel=1e-4)


def test_posterior_file_and_components_agree(results) -> None:
    import arviz as az

    tree = az.from_netcdf(results[0] / "posterior.nc")
    rows = (results[0] / "components.csv").read_text().splitlines()
    header, first = rows[0].split(","), rows[1].split(",")
    mean = float(first[header.index("mean")])
    assert mean == pytest.approx(float(tree["posterior"]["weights"].sel(component=0).mean()), rel=1e-12)


def test_figure_is_a_picture_of_some_size(results) -> None:
    import matplotlib.image

    assert min(matplotlib.image.imread(results[0] / "figure.png").shape[:2]) > 500


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def table_text(rows: int = 12) -> str:
    values = np.random.default_rng(0).normal(size=(rows, 2)).round(4)
    return "a,b\n" + "".join(f"{a},{b}\n" for a, b in values)


def lines_with(row: int, text: str) -> str:
    lines = table_text().splitlines()
    lines[row] = text
    return "\n".join(lines) + "\n"


BAD_TABLES = {
    "missing file": (None, "does not exist"),
    "empty file": ("", "empty"),
    "header only": ("a,b\n", "no rows"),
    "not a table": ("{\n'a': 1}\n", ""),
    "text among numbers": (lines_with(3, "1.0,red"), "b"),
    "text alone": ("a,b\n" + "".join(f"red,{'blue' * i}\n" for i in range(12)), "a (text)"),
    "no row without a gap": (
        "a,b\n" + "".join(f"{i / 7},\n,{i / 3}\n" for i in range(12)),
        "No row has both 'a' and 'b'",
    ),
    "infinity": (lines_with(4, "inf,2.0"), "a"),
    "ragged row": (lines_with(4, "1.0,2.0,3.0"), "3"),
    "constant column": ("a,b\n" + "".join(f"{i},7\n" for i in range(12)), "a (counts the rows), b (constant"),
    "duplicate names": (table_text().replace("a,b", "a,a"), "a"),
    "fewer rows than D + 1": ("a,b\n1,2\n3,5\n", "2 rows"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_end_with_code_2_and_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, found = BAD_TABLES[name]
    path = str(tmp_path / "missing.csv") if text is None else write(tmp_path / "table.csv", text)
    assert main(["fit", path, "--components", "2", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("bayes-gmm: ")
    assert printed.err.count("\n") == 1
    assert "Expected" in printed.err
    assert found.lower() in printed.err.lower()


BAD_REQUESTS = {
    "no components": (["--components", "0"], "n_components is 0"),
    "more components than rows": (["--components", "300"], "272 rows for 300 components"),
    "unknown column": (["--components", "2", "--columns", "eruptions,colour"], "colour"),
    "no chains": (["--components", "2", "--num-chains", "0"], "num_chains is 0"),
    "no samples": (["--components", "2", "--num-samples", "-5"], "num_samples is -5"),
    "bad seed": (["--components", "2", "--seed", "-1"], "seed is -1"),
    "unknown structure": (["--components", "2", "--covariance", "round"], "'round'"),
    "structure without a posterior": (["--components", "2", "--covariance", "VEV"], "VEV"),
    "negative bootstrap": (["--components", "2", "--bootstrap", "-3"], "n_replicates is -3"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests_end_with_code_2(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, found = BAD_REQUESTS[name]
    assert main(["fit", "faithful", *arguments, "--out", str(tmp_path)]) == 2
    assert found in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["fit", "faithful"], ["fit", "faithful", "--components", "two"], ["fly"], []])
def test_what_cannot_be_parsed_ends_with_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: bayes-gmm" in capsys.readouterr().err


def test_an_unwritable_folder_is_found_out_before_sampling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the fit began")

    monkeypatch.setattr("bayes_gmm.mle.fit_em.fit_em", never)
    blocked = write(tmp_path / "file", "not a folder")
    assert main(["fit", "faithful", "--components", "2", "--out", blocked]) == 2
    assert "Nothing can be written to" in capsys.readouterr().err


def test_a_collapse_of_every_start_is_an_error_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Every row is one of three points, so that the rows of a component lie on a point or a line.
    rows = np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], 20, axis=0)
    text = "a,b\n" + "".join(f"{a},{b}\n" for a, b in rows)
    path = write(tmp_path / "spike.csv", text)
    assert main(["fit", path, "--components", "3", "--columns", "a,b", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "COLLAPSED" in error
    assert "fewer components" in error


def test_a_messy_file_is_fitted_and_what_was_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number for each row, a text, a date, a year and two gaps, with the classes to compare with."""
    faithful = bg.datasets.load("faithful").values
    rows = [f"{i},{a},{b},{'long' if a > 3 else 'short'},2024-01-02,1985" for i, (a, b) in enumerate(faithful)]
    rows += ["272,NA,80,long,2024-01-02,1985", "273,4.5,,long,,1985"]
    path = write(tmp_path / "geyser.csv", ",eruptions,waiting,kind,day,year\n" + "\n".join(rows))
    arguments = ["--components", "2", "--labels", "kind", "--report", "--out", str(tmp_path / "out"), *QUICK]
    assert main(["fit", path, *arguments, "--missing", "drop"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    said = (
        "geyser: 272 points, 2 features (eruptions, waiting), 2 components\n"
        "left out: x1 (counts the rows), day (dates), year (constant, every value is 1985)\n"
        "left out: 2 of 274 rows with missing cells (eruptions 1, waiting 1), rows 272, 273 counted from 0\n"
    )
    assert printed.out.startswith(said)
    assert "log-likelihood  -1130.263960" in printed.out
    (index,) = re.findall(r"Most probable components and kind: adjusted Rand index (\d\.\d+)", printed.out)
    assert float(index) > 0.9
    page = (tmp_path / "out" / "report.html").read_text()
    assert "left out: x1 (counts the rows)" in page
    assert f"adjusted Rand index {index}" in page
    assert "UTF-8, separated by commas" in page
    assert "missing=&#x27;drop&#x27;" in page
    assert "bg.read_table(&#x27;" + path in page


def test_columns_of_errors_are_used_and_are_no_measurements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, n = bg.datasets.load("faithful").values, np.arange(272)
    sds = np.stack([0.1 * (1 + n % 3), 2.0 * (1 + n % 2)], 1)
    path = tmp_path / "geyser.csv"
    rows = np.concatenate([x[:, :1], sds, x[:, 1:]], 1)
    header = "duration,duration_err,wait_err,wait"
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.12g")
    assert main(["select", str(path), "-k", "2", "--errors", "duration_err,wait_err", "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)[0]["log_likelihood"] == pytest.approx(-1143.0365553, abs=1e-6)
    assert "known errors, of median sd 0.2 (duration), 3 (wait)" in found.err
    refused = {
        "1 columns of errors for 2 measurements": ["--errors", "duration_err", "--without", "wait_err"],
        "other": ["--errors", "duration_err,other"],
        "'duration_err' is both in columns and in columns of errors": [
            *("--errors", "duration_err,wait_err", "--columns", "duration,duration_err")
        ],
    }
    for words, options in refused.items():
        assert main(["select", str(path), "-k", "2", *options]) == 2
        assert words in capsys.readouterr().err
    assert main(["select", "faithful", "-k", "2", "--errors", "a,b"]) == 2
    assert "bundled tables have none" in capsys.readouterr().err


def test_missing_cells_of_a_file_are_integrated_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "gaps.csv", "a,b\n1.5,2.1\n,3.2\n2.7,\n4.1,5.3\n3.3,2.2\n5.2,6.6\n")
    assert main(["select", path, "-k", "1", "--starts", "1"]) == 0
    assert "missing cells (a 1, b 1) in 2 of 6 rows, taken as missing at random" in capsys.readouterr().out
    assert main(["select", path, "-k", "1", "--missing", "refuse"]) == 2
    assert "Column 'a' holds a missing value on line 3" in capsys.readouterr().err


def test_columns_without_and_labels_of_a_bundled_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "iris", "-k", "1", "--without", "sepal_width", "--labels", "species"]) == 0
    assert main(["select", "iris", "-k", "1", "--labels", "colour"]) == 2
    assert "'species'" in capsys.readouterr().err
    assert main(["select", "penguins", "-k", "1", "--columns", "body_mass_g"]) == 0
    assert "left out: 2 of 344 rows" in capsys.readouterr().out


@pytest.mark.slow
def test_a_reader_who_closes_the_pipe_does_no_harm(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = f"{sys.executable} -m bayes_gmm fit galaxies --components 1 --out {out} {' '.join(QUICK)}"
    command = ["bash", "-c", f"set -o pipefail; {arguments} | true"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    assert len(list(out.iterdir())) == 5


def test_draws_too_few_for_loo_are_said_and_the_rest_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = ["--num-samples", "10", "--num-warmup", "1", "--num-chains", "1", "--out", str(tmp_path)]
    assert main(["fit", "faithful", "--components", "2", *frozen]) == 0
    printed = capsys.readouterr().out
    assert "log-likelihood  -1130.263960" in printed
    assert "BAD" in printed


def test_help_names_the_bundled_tables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--help"])
    assert ended.value.code == 0
    assert "faithful, iris, galaxies, penguins" in " ".join(capsys.readouterr().out.split())


def run_in_process(
    *arguments: str, given: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bayes_gmm", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.slow
def test_json_through_pipes_with_progress_and_files_kept_apart(tmp_path: Path) -> None:
    """`bayes-gmm datasets faithful | bayes-gmm fit - --json` prints one JSON object to stdout and text to stderr."""
    printed = run_in_process("datasets", "faithful")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout.splitlines()[:2] == ["eruptions,waiting", "3.6,79.0"]
    options = ["-k", "2", "--json", "--report", "--out", str(tmp_path / "out"), "--bootstrap", "20", *QUICK]
    fitted = run_in_process("fit", "-", *options, given=printed.stdout)
    assert fitted.returncode == 0, fitted.stderr
    record = json.loads(fitted.stdout)
    assert record["table"] == "table"
    assert record["n_points"] == 272
    assert record["parameters"][0]["estimate"] == pytest.approx(0.355873, abs=1e-5)
    assert record["parameters"][0]["bootstrap_error"] > 0
    assert fitted.stderr.startswith("Written to ")
    assert len((tmp_path / "out" / "points.csv").read_text().splitlines()) == 273
    assert "bayes-gmm fit - -k 2 --json --report" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_report_writes_one_page_where_it_was_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "galaxies.html"
    assert main(["report", "galaxies", "-k", "2", "--covariance", "tied", "--out", str(path), *QUICK]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Written to {path}"
    page = path.read_text()
    assert "all components share one variance" in page
    assert f"bayes-gmm report galaxies -k 2 --covariance tied --out {path}" in page


def test_select_prints_a_table_and_writes_all_criteria(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "criteria.csv"
    options = ["--components", "1-2,4", "--covariance", "full,tied", "--starts", "4", "--out", str(out)]
    assert main(["select", "galaxies", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["K", "1", "2", "4"]
    rows = out.read_text().splitlines()
    assert len(rows) == 7
    assert rows[0].startswith("n_components,structure,status,log_likelihood")
    assert main(["select", "galaxies", "-k", "1", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    x = bg.datasets.load("galaxies").values
    normal = -0.5 * len(x) * (np.log(2 * np.pi * x.var()) + 1)
    assert record["bic"] == pytest.approx(-2 * normal + 2 * np.log(len(x)), rel=1e-9)


@pytest.mark.parametrize("counts", ["", "a", "3-1", "2,", "1--4", "0-2", "-3"])
def test_counts_that_make_no_sense_are_refused(counts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "galaxies", f"--components={counts}"]) == 2
    assert "components is" in capsys.readouterr().err


def test_datasets_lists_sources_and_prints_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in bg.datasets.names())
    assert "Fisher (1936)" in listed
    assert main(["datasets", "--json"]) == 0
    assert [table["n_points"] for table in json.loads(capsys.readouterr().out)] == [272, 150, 82, 342]
    assert main(["datasets", "iris"]) == 0
    header, first, *rest = capsys.readouterr().out.splitlines()
    assert header == "sepal_length,sepal_width,petal_length,petal_width,species"
    assert first.endswith(",setosa")
    assert len(rest) == 149
    assert main(["datasets", "geyser"]) == 2
    assert "geyser" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [[], ["fit"], ["select"], ["report"], ["datasets"]])
def test_every_help_explains_every_option(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text or verb
    for line in text.split("options:")[1].splitlines():
        if line.startswith("  -"):
            assert len(line.split(None, 1)) == 2, line


def test_an_unwritable_report_is_found_out_before_sampling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bayes_gmm.mle.fit_em.fit_em", lambda *_, **__: pytest.fail("the fit began"))
    blocked = write(tmp_path / "file", "not a folder")
    assert main(["report", "faithful", "-k", "2", "--out", f"{blocked}/report.html"]) == 2
    assert "Nothing can be written to" in capsys.readouterr().err


def test_heavy_tails_and_noise_are_handed_over_as_arguments() -> None:
    asked = {
        ("--heavy-tails",): {"components": "t", "degrees_of_freedom": "common", "noise": False},
        ("--heavy-tails", "per component"): {"components": "t", "degrees_of_freedom": "per component", "noise": False},
        ("--heavy-tails", "4", "--noise"): {"components": "t", "degrees_of_freedom": 4.0, "noise": "box"},
        (): {"noise": False},
    }
    for arguments, expected in asked.items():
        assert _likelihood(_parser().parse_args(["select", "faithful", *arguments])) == expected


def test_heavy_tails_are_fitted_and_a_wrong_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "faithful", "-k", "1", "--heavy-tails", "4", "--starts", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n_parameters"] == 5
    assert main(["select", "faithful", "-k", "1", "--heavy-tails", "fat"]) == 2
    assert "degrees_of_freedom is 'fat'" in capsys.readouterr().err
