"""Execute notebooks/*.py and write each as an .ipynb with its outputs: `python tests/build_notebooks.py [NN ...]`.

The .py in jupytext's percent form is the source that is read, reviewed and edited; the .ipynb is made from it and holds
nothing that changes from run to run but what the code computes: no times, no versions, and cells numbered in order.
Large figures are kept in 128 colours, which makes a third of them.
"""

import asyncio
import base64
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))

_COLORS = 128
_LARGE = 25_000
_KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read_source(path: Path) -> Any:
    """The cells of a source without outputs, numbered in order."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": _KERNELSPEC, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.source = cell.source.strip("\n")
        cell.id = f"{path.stem[:2]}-{number:02}"
        cell.metadata = nbformat.from_dict({})
    return notebook


def execute(notebook: Any, *, timeout: int = 900) -> None:
    """Run all cells, in an empty folder, in a fresh kernel of the Python that runs this; an error raises.

    Kernels that the user has installed elsewhere under the same name are not looked at.
    """
    metadata = notebook.metadata.copy()
    asyncio.run(_run(notebook, timeout))
    notebook.metadata = metadata  # the kernel adds its version


async def _run(notebook: Any, timeout: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # By sockets in the folder: through ports any user of the machine could listen, of which the kernel warns.
        sockets = {} if sys.platform == "win32" else {"transport": "ipc", "ip": f"{folder}/socket"}
        kernel = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), **sockets)
        options = {"timeout": timeout, "record_timing": False, "resources": {"metadata": {"path": folder}}}
        # The kernel is ours, so that only at our word the client ends it and closes its sockets.
        await NotebookClient(notebook, km=kernel, **options).async_execute(cleanup_kc=True)


def build(path: Path) -> Path:
    """Write the executed notebook beside its source."""
    notebook = read_source(path)
    execute(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = list(_tidy(cell.outputs))
    nbformat.validate(notebook)
    target = path.with_suffix(".ipynb")
    target.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")
    return target


def _tidy(outputs: list[Any]) -> Iterator[Any]:
    """Small pictures, and what was printed in one piece, however it arrived."""
    for kind, group in groupby(outputs, key=lambda output: output.get("name", "")):
        first, *more = group
        if kind:
            first.text = "".join([first.text, *(output.text for output in more)])
            more = []
        for output in (first, *more):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _compact(output.data["image/png"])
            yield output


def _compact(png: str) -> str:
    """The same picture in fewer bytes; large ones, of many thin lines, lose nothing that the eye misses."""
    encoded = base64.b64decode(png)
    picture, buffer = Image.open(io.BytesIO(encoded)).convert("RGB"), io.BytesIO()
    if len(encoded) > _LARGE:
        picture = picture.quantize(_COLORS, dither=Image.Dither.NONE)
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for source in SOURCES:
        if not wanted or source.stem[:2] in wanted:
            began = time.perf_counter()
            made = build(source)
            print(f"{made.name}: {time.perf_counter() - began:.0f} s, {made.stat().st_size / 1000:.0f} kB")
