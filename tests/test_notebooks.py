"""Every notebook runs from its beginning and draws at least one figure: from a clean kernel, of which the normal run
tries one, and the others as plain code, which shares what is imported.

In a process of its own: Jupyter's client leaves sockets behind that would count as warnings in other tests.
"""

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "notebooks" / "README.md"
NOTEBOOKS = sorted(set((ROOT / "notebooks").glob("*.md")) - {INDEX})
RENDERED = ROOT / "docs" / "notebooks"
ONE = "equilibrium"  # with a slider, formulas and figures; a kernel takes three seconds more than the code
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

# Half of the time of all was that of these two; as they stand they run with the slow tests.
SMALLER = {
    "solvable_model": {"seeds=8": "seeds=1"},
    "from_noise_to_networks": {"cpu-32": "cpu-16", "num_steps=1600": "num_steps=800"},
}
# Every notebook in a fork of a process that has imported what all of them do.
PLAIN = """
import json, os, sys, traceback
import IPython.display, ipywidgets, jupytext, matplotlib, sympy, theory
matplotlib.use("Agg")
import matplotlib.pyplot as plt

def shown():
    figures.extend(plt.get_fignums())
    plt.close("all")

smaller = json.loads(sys.argv[1])
for path in sys.argv[2:]:
    child = os.fork()
    if child:
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit(f"{path} does not run")
        continue
    failed, figures, plt.show = 1, [], shown
    try:
        os.chdir(os.path.dirname(path))
        names = {"__name__": "__main__", "display": IPython.display.display}
        code = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
        for old, new in smaller.get(os.path.basename(path).removesuffix(".md"), {}).items():
            assert any(old in source for source in code), old
            code = [source.replace(old, new) for source in code]
        for source in code:
            exec(compile(source, path, "exec"), names)
        shown()
        failed = 0 if figures else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(failed)
"""


@pytest.mark.long
def test_all_others_run_as_plain_code() -> None:
    paths = [str(path) for path in NOTEBOOKS if path.stem != ONE]
    command = [sys.executable, "-c", PLAIN, json.dumps(SMALLER), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=480, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.long
@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[] if path.stem == ONE else pytest.mark.slow) for path in NOTEBOOKS]
)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", EXECUTE, str(path), str(path.parent), str(tmp_path / "k")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.rsplit("figures:", 1)[1]) > 0


def test_the_index_lists_all_of_them_once() -> None:
    listed = re.findall(r"\(\.\./docs/notebooks/(\w+)\.ipynb\) \(`(\w+)\.md`\)", INDEX.read_text())
    assert all(rendered == source for rendered, source in listed)
    assert sorted(name for name, _ in listed) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize(("most", "least"), [(44.0, 1.5), (60.0, 16.0)])
def test_numbers_on_the_axes_of_a_slider_do_not_collide(
    most: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first figure of `bend` at two positions of its sliders, each standing for its range of relaxations."""
    code = [cell.source for cell in jupytext.read(ROOT / "notebooks" / "bend.md").cells if cell.cell_type == "code"]
    monkeypatch.setattr(plt, "show", lambda: None)
    names: dict[str, Any] = {}
    for cell in code[:3]:
        exec(cell.replace("\n\nalong_params()", ""), names)
    params = names["params"]
    relaxations = np.geomspace(most, least, len(params))
    rates = relaxations / names["setting"]().num_relaxations(1.0)
    made = SimpleNamespace(learning_rate=rates, mean_angle=np.sqrt(rates))
    names["optimal_learning_rate"] = lambda law, each, loss_resolution: made
    names["along_params"]()
    figure = plt.gcf()
    figure.draw_without_rendering()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            shown = axis.get_view_interval()
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            seen = [tick.label1 for tick in ticks if shown.min() <= tick.get_loc() <= shown.max()]
            boxes = [label.get_window_extent() for label in seen if label.get_text()]
            assert len(boxes) > 1
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2)), [label.get_text() for label in seen]
    plt.close(figure)


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
