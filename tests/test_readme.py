"""What the README, the pages beside it and the docstrings show is what the package does."""

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.clustering.label_agreement import agreement

pytestmark = pytest.mark.numpyro

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = {"benchmarks": "tests/benchmarks/README.md", "calibration": "tests/calibration/README.md"}
WRITTEN = ["README.md", ".github/CONTRIBUTING.md", ".github/CHANGELOG.md", *PAGES.values()]
FOLDERS = ("bayes_gmm", "tests", "notebooks", ".ci", ".github", ".readme")
PATHS = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "bayes_gmm").rglob("*.py"))]
MODULES = [".".join(path.parts).removesuffix(".__init__") for path in PATHS if path.name != "__main__"]


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(text for text in blocks if containing in text)


def test_there_are_exactly_two_set_up_commands_and_ci_runs_the_second() -> None:
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith(".venv/bin/bayes-gmm fit faithful --components 2")
    assert commands[1].endswith(".venv/bin/python -m pytest")
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_notebook_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = block("python", "bg.fit_nuts").replace("start=mle)", "start=mle, num_samples=400, progress=False)")
    names: dict[str, object] = {}
    exec(compile(code, "README", "exec"), names)
    assert isinstance(names["comparison"], bg.Comparison)
    assert len(code.strip().splitlines()) <= 10


def test_printed_output_is_that_of_the_package(faithful_mle: bg.EMFit, faithful_posterior: bg.Posterior) -> None:
    shown = block("text", "log-likelihood").splitlines()
    made = [line.rstrip() for line in str(bg.compare(faithful_mle, faithful_posterior)).splitlines()]
    # Names, estimates and standard errors are the same to the letter; draws may differ from platform to platform.
    assert [line[:58] for line in shown[:18]] == [line[:58] for line in made[:18]]
    assert shown[19].split(" (")[0] == made[19].split(" (")[0] == "log-likelihood  -1130.263960"
    form = re.compile(r"-?\d+\.\d+|\d+|\s+")
    assert [form.sub("#", line) for line in shown[:24]] == [form.sub("#", line) for line in made[:24]]


def test_the_second_example_is_what_the_command_prints() -> None:
    """What is left out of the raw file, to the letter, and the cross table up to a few points."""
    (command,) = re.findall(r"bayes-gmm (fit bayes_gmm/datasets/penguins\.csv .*)", README)
    assert command.split() == ["fit", "bayes_gmm/datasets/penguins.csv", *"--components 3 --labels species".split()]
    shown = block("text", "adjusted Rand index").splitlines()
    with pytest.warns(bg.errors.DataWarning):
        table = bg.read_table(ROOT / "bayes_gmm/datasets/penguins.csv", labels="species")
    assert shown[:2] == list(table.remarks)
    mle = bg.fit_em(table, 3, n_starts=32)
    components = np.where(np.isnan(table.values).all(1), -1, mle.mixture.predict(table))
    found = agreement(table.labels, components, 3, table.labels_from)
    made = found.lines()
    assert [line.split()[0] for line in shown[3:]] == [line.split()[0] for line in made]
    printed = np.array([line.split()[1:] for line in shown[5:]], int)
    assert np.abs(printed - found.counts).max() <= 2
    assert float(re.findall(r"index (\d\.\d+)", shown[3])[0]) == pytest.approx(found.adjusted_rand_index, abs=0.03)


def test_public_names_in_the_readme_exist() -> None:
    for name in set(re.findall(r"\bbg\.(\w+)", README)):
        assert hasattr(bg, name), name
    figures = {name for name in bg.__all__ if name.startswith("plot_")}
    assert set(re.findall(r"\bplot_\w+", README)) == figures


def calls(code: str) -> list[tuple[str, ast.Call]]:
    """Calls of public functions, `bg.name(...)`, in a piece of code."""
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    names = [(ast.unparse(call.func), call) for call in found]
    return [(name.removeprefix("bg."), call) for name, call in names if re.fullmatch(r"bg\.\w+", name)]


def test_calls_in_the_readme_fit_the_signatures() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    found = [pair for code in blocks for pair in calls(code)]
    assert len(found) > 20
    for name, call in found:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        inspect.signature(getattr(bg, name)).bind(*call.args, **given)
    ((name, call),) = calls("bg.fit_em(x, 2, no_such_argument=1)")
    with pytest.raises(TypeError, match="no_such_argument"):
        inspect.signature(getattr(bg, name)).bind(*call.args, **{word.arg: word.value for word in call.keywords})


def test_the_readme_is_short_and_its_tables_are_whole_on_their_pages() -> None:
    assert len(README.encode()) < 13_500
    for marker, path in PAGES.items():
        page = (ROOT / path).read_text(encoding="utf-8")
        shown, whole = (text.split(f"<!-- {marker} -->")[1].split(f"<!-- /{marker} -->")[0] for text in (README, page))
        assert shown.count("\n|") == 7
        assert whole.count("\n|") > 30
        assert f"]({path})" in README


def named_paths(page: str) -> set[Path]:
    """Files and folders that a page links to, or names from the root of the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")}
    names = set(re.findall(rf"(?<![\w/.])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*", text))
    return {(ROOT / page).parent / link for link in links} | {ROOT / name.rstrip(".") for name in names}


def missing(paths: set[Path]) -> set[str]:
    return {str(path) for path in paths if not list(path.parent.resolve().glob(path.name))}


def test_every_path_that_the_pages_name_exists() -> None:
    found = {page: named_paths(page) for page in WRITTEN}
    assert len(found["README.md"]) >= 8
    assert len(found[".github/CONTRIBUTING.md"]) >= 40
    assert {page: missing(paths) for page, paths in found.items()} == {page: set() for page in WRITTEN}
    assert missing({ROOT / "tests" / "no_such_file.py", ROOT / "README.md"}) == {
        str(ROOT / "tests" / "no_such_file.py")
    }


def test_every_test_that_the_recipes_name_exists() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"`(test_\w+)`", CONTRIBUTING))
    assert len(named) >= 20
    assert not {name for name in named if f"def {name}(" not in sources}


def test_the_licence_is_in_the_package_and_named() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'license-files = ["bayes_gmm/LICENSE"]' in project
    assert (ROOT / "bayes_gmm" / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def examples_of(module: str) -> list[doctest.DocTest]:
    """Examples of a module's own docstrings, also of classes that call their room their module."""
    loaded = importlib.import_module(module)
    room = module.rpartition(".")[0]
    classes = [value for value in vars(loaded).values() if isinstance(value, type) and value.__module__ == room]
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(loaded) + [
        example for kind in classes for example in finder.find(kind, module=False, globs=dict(vars(loaded)))
    ]
    return [example for example in found if example.examples]


LONG = {
    f"bayes_gmm.{name}"
    for name in (
        "reporting",
        "assessment.likelihood_ratio_test",
        "assessment.compare_models",
        "assessment.select_em",
        "assessment.parameter_shifts",
        "plots.coclustering",
        "plots.forest",
        "plots.pair",
        "plots.selection",
        "posterior.posterior",
    )
}
"""Modules whose examples take long; tests of their own call the same functions."""
RUNS = [pytest.param(module, marks=pytest.mark.slow) if module in LONG else module for module in MODULES]


@pytest.mark.parametrize("module", RUNS)
def test_examples_in_docstrings_run(module: str) -> None:
    runner = doctest.DocTestRunner()
    for example in examples_of(module):
        runner.run(example)
    assert runner.failures == 0


def test_examples_were_found() -> None:
    found = {example.name for module in MODULES for example in examples_of(module)}
    assert len(found) > 60
    assert {"GaussianMixture", "BayesianGaussianMixture", "bayes_gmm.mle.fit_em.fit_em"} <= found
