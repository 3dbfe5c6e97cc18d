"""The numbers of the figures can be had without matplotlib."""

import subprocess
import sys
from pathlib import Path

import bayes_gmm as bg

ROOM = Path(bg.__file__).parent / "figure_data"


def test_no_module_loads_matplotlib() -> None:
    modules = [f"bayes_gmm.figure_data.{path.stem}" for path in ROOM.glob("*.py") if path.stem != "__init__"]
    code = f"""
import importlib, sys
for module in {modules!r}:
    importlib.import_module(module)
print("matplotlib" in sys.modules)
import bayes_gmm.plots.style
print("matplotlib" in sys.modules)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    # Negative control: the room of the plots does load it.
    assert process.stdout.split() == ["False", "True"]
    assert len(modules) == 8
