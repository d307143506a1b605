"""Every notebook runs from a clean kernel and draws at least one figure."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.md"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    import jupytext
    from jupyter_client import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = jupytext.read(path)
    # files in place of ports, so that no two kernels meet on the same one
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(tmp_path / "k"))
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, km=kernel, timeout=120, resources=resources).execute()
    images = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert images
