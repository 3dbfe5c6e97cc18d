"""The notebooks are their sources, executed: in step with them, without errors or warnings, small, and they run.

Rebuild all with `python tests/build_notebooks.py`, or some with `python tests/build_notebooks.py 01 03`.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from build_notebooks import FOLDER, SOURCES, execute, read_source

LARGEST = 300_000
NAMES = [source.stem for source in SOURCES]


@pytest.fixture(params=NAMES)
def built(request: pytest.FixtureRequest) -> Any:
    """One executed notebook, as it is in the repository."""
    return json.loads((FOLDER / f"{request.param}.ipynb").read_text(encoding="utf-8"))


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def texts(notebook: Any) -> str:
    """All that is printed or shown as text."""
    parts = [part for output in outputs(notebook) for part in (output.get("text", []), output.get("data", {}))]
    plain = [
        part if isinstance(part, list) else [*part.get("text/plain", []), *part.get("text/html", [])] for part in parts
    ]
    return "".join("".join(lines) for lines in plain)


def test_each_source_has_its_notebook_and_no_other_files_lie_about() -> None:
    assert len(NAMES) >= 6
    expected = {f"{name}.{kind}" for name in NAMES for kind in ("py", "ipynb")}
    assert {path.name for path in FOLDER.iterdir() if not path.name.startswith((".", "_"))} == expected


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_those_of_the_source(name: str) -> None:
    source = read_source(FOLDER / f"{name}.py")
    built = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in built["cells"]] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ], f"edit the .py, then run python tests/build_notebooks.py {name[:2]}"
    assert [cell["id"] for cell in built["cells"]] == [f"{name[:2]}-{number:02}" for number in range(len(source.cells))]


def test_outputs_hold_no_error_and_no_warning(built: Any) -> None:
    assert not [output for output in outputs(built) if output["output_type"] == "error"]
    assert not [output for output in outputs(built) if output.get("name") == "stderr"]
    assert not re.search(r"\w*Warning:", texts(built))


def test_every_code_cell_was_executed_in_order(built: Any) -> None:
    counts = [cell["execution_count"] for cell in built["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_are_the_same_on_every_machine(built: Any) -> None:
    """No addresses in memory, no paths, no times, no versions: a second execution changes numbers at most."""
    assert not re.search(r"0x[0-9a-f]{6,}|/home/|/root/|/tmp/|/Users/|site-packages", texts(built))
    assert set(built["metadata"]) == {"kernelspec", "language_info"}
    assert built["metadata"]["language_info"] == {"name": "python"}
    assert not [cell["id"] for cell in built["cells"] if cell["metadata"]]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_has_figures(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < LARGEST
    found = outputs(json.loads(path.read_text(encoding="utf-8")))
    assert any("image/png" in output.get("data", {}) for output in found)


@pytest.mark.parametrize("name", NAMES)
def test_prose_is_followed_by_assertions(name: str) -> None:
    """What is claimed is checked: no notebook with fewer than one assertion for two cells of text."""
    cells = read_source(FOLDER / f"{name}.py").cells
    checks = sum(len(re.findall(r"^\s*(assert |np\.testing\.)", cell.source, re.M)) for cell in cells)
    assert 2 * checks >= sum(cell.cell_type == "markdown" for cell in cells)


def test_links_lead_to_notebooks() -> None:
    for source in SOURCES:
        for target in re.findall(r"\]\(([\w./-]+)\)", source.read_text(encoding="utf-8")):
            assert (FOLDER / Path(target)).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_a_fresh_kernel(name: str) -> None:
    """From the source, in an empty folder: an assertion that no longer holds, or any other error, fails here."""
    notebook = read_source(FOLDER / f"{name}.py")
    execute(notebook, timeout=120)
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]
