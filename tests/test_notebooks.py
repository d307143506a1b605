"""Every notebook runs from a clean kernel and draws at least one figure.

In a process of its own: Jupyter's client leaves sockets behind that would count as warnings in other tests.
"""

import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.md"))

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
