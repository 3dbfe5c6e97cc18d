"""What the README and the docstrings show is what the package does."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import bayes_gmm as bg

pytestmark = pytest.mark.numpyro

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def test_public_names_in_the_readme_exist() -> None:
    for name in set(re.findall(r"\bbg\.(\w+)", README)):
        assert hasattr(bg, name), name


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


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_run(module: str) -> None:
    runner = doctest.DocTestRunner()
    for example in examples_of(module):
        runner.run(example)
    assert runner.failures == 0


def test_examples_were_found() -> None:
    found = {example.name for module in MODULES for example in examples_of(module)}
    assert len(found) > 60
    assert {"GaussianMixture", "BayesianGaussianMixture", "bayes_gmm.mle.fit_em.fit_em"} <= found
