"""Every notebook runs from a clean kernel and draws at least one figure.

In a process of its own: Jupyter's client leaves sockets behind that would count as warnings in other tests.
"""

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "notebooks" / "README.md"
NOTEBOOKS = sorted(set((ROOT / "notebooks").glob("*.md")) - {INDEX})
RENDERED = ROOT / "docs" / "notebooks"
LARGEST = 500_000  # bytes, above which GitHub shows nothing

# The kernel is reached through files in place of ports, so that no two kernels meet on the same one.
EXECUTE = """
import sys
import jupytext
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

path, folder, sockets = sys.argv[1:]
notebook = jupytext.read(path)
kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=sockets)
NotebookClient(notebook, km=kernel, timeout=120, resources={"metadata": {"path": folder}}).execute()
outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
print("figures:", sum("image/png" in output.get("data", {}) for output in outputs))
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", EXECUTE, str(path), str(path.parent), str(tmp_path / "k")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.rsplit("figures:", 1)[1]) > 0


def test_the_index_lists_all_of_them_once() -> None:
    listed = re.findall(r"\(\.\./docs/notebooks/(\w+)\.ipynb\) \(`(\w+)\.md`\)", INDEX.read_text())
    assert all(rendered == source for rendered, source in listed)
    assert sorted(name for name, _ in listed) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_what_is_kept_with_outputs_is_the_notebook_as_it_stands(path: Path) -> None:
    rendered = RENDERED / f"{path.stem}.ipynb"
    assert rendered.stat().st_size < LARGEST
    kept, source = jupytext.read(rendered), jupytext.read(path)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ], "run make notebooks"
    outputs = [output for cell in kept.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert "## What this does not show" in source.cells[-1].source
