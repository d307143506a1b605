"""``make notebooks``: every notebook run from a clean kernel and kept with its outputs in ``docs/notebooks``.

GitHub shows those; the text in this folder is what is edited. Widgets need a kernel and are left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
RENDERED = HERE.parent / "docs" / "notebooks"
SHOWN = ("image/png", "text/latex", "text/html", "text/plain")  # what GitHub can show
LARGEST = 500_000  # bytes of a file


def notebooks() -> list[Path]:
    """Those in this folder: MyST text with a jupytext header, which the index has not."""
    return sorted(path for path in HERE.glob("*.md") if path.read_text(encoding="utf-8").startswith("---\njupytext:"))


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without widgets, times and names of this machine; cells are numbered, so that a new run changes figures alone."""
    for index, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{index}", {}
        kept = []
        for output in cell.get("outputs", []):
            if "data" in output:
                if "application/vnd.jupyter.widget-view+json" in output.data:
                    continue
                output.data = {kind: output.data[kind] for kind in SHOWN if kind in output.data}
            kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    language, kernel = notebook.metadata.get("language_info", {}), notebook.metadata.kernelspec
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": language.get("name", "python")}}
    return notebook


def render(path: Path) -> Path:
    """Run one and write it; raises ValueError if it is too large for GitHub to show."""
    notebook = jupytext.read(path)
    with tempfile.TemporaryDirectory() as sockets:  # files in place of ports, on which two kernels may meet
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/k")
        where = {"metadata": {"path": str(HERE)}}
        NotebookClient(notebook, km=kernel, timeout=1200, startup_timeout=300, resources=where).execute()
    text = nbformat.writes(stripped(notebook)) + "\n"
    if len(text.encode()) > LARGEST:
        raise ValueError(f"{path.name}: {len(text.encode())} bytes with its outputs, above {LARGEST}")
    RENDERED.mkdir(exist_ok=True)
    rendered = RENDERED / f"{path.stem}.ipynb"
    rendered.write_text(text, encoding="utf-8")
    return rendered


if __name__ == "__main__":
    if sys.argv[1:]:
        for name in sys.argv[1:]:
            print(render(HERE / f"{name}.md"))
    else:  # each in a process of its own: Jupyter's client leaves sockets behind, in which a later kernel may hang
        for path in notebooks():
            subprocess.run([sys.executable, __file__, path.stem], check=True)
