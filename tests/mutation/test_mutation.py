"""Which bugs are planted, and that a mutant which a test notices is told from one that none does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation.bench import Bench
from tests.mutation.plants import Mutant, Unit, mutants

SOURCE = '''"""Two: 2."""
import numpy as np

LIMIT: tuple[int, 3] = 0.5

class Plane:
    def area(self, width: float = 1.0, height=2) -> float:
        """Not 3."""
        if width < 0:
            raise ValueError(f"{width + 1}")
        return np.minimum(width, -height) * np.power(LIMIT, 2)

if __name__ == "__main__":
    print(1 + 1)
'''


def test_what_is_planted(tmp_path: Path) -> None:
    file = tmp_path / "plane.py"
    file.write_text(SOURCE)
    found = mutants(file)
    assert {mutant.change for mutant in found} == {
        "0.5 -> 0.55",
        "1.0 -> 1.1",
        "2 -> 3",
        "width < 0 -> width <= 0",
        "0 -> 1",
        "np.minimum(width, -height) * np.power(LIMIT, 2) -> np.minimum(width, -height) / np.power(LIMIT, 2)",
        "np.power(LIMIT, 2) -> np.power(2, LIMIT)",
        "np.minimum -> np.maximum",
        "-height -> height",
    }
    assert len({(mutant.unit, mutant.key) for mutant in found}) == len(found) == 10  # the 2 stands twice
    clean = found[0].code(planted=False, whole=True)
    codes = [mutant.code(whole=True) for mutant in found]
    assert clean not in codes
    assert len(set(codes)) == len(found)
    assert found[0].code(planted=False, whole=True) == clean
    assert {(mutant.unit.name, mutant.unit.lines) for mutant in found} == {("", range(0)), ("Plane.area", range(7, 12))}
    assert {(mutant.change, mutant.lines) for mutant in found if mutant.change.startswith("0")} == {
        ("0.5 -> 0.55", range(4, 5)),
        ("0 -> 1", range(9, 10)),
    }


PLANE = """SIDES = 4


def area(x, size=2.0):
    factor = size * (1 + 0) * SIDES
    if x > 7:
        return 8
    return -x * factor


def start(x=9):
    return x
"""
TEST = """import pytest

from theory.plane import area, start


def test_sign():
    assert area(1) < 0


def test_slower():
    assert area(1, 2) > -16


@pytest.mark.parametrize("first", [start()])
def test_first(first):
    assert first == 9
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A repository with tests that know the sign of a function, and something of its size."""
    for folder in ("theory", "tests/theory"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow: s", "slurm: s"]\n')
    (tmp_path / "theory" / "__init__.py").touch()
    (tmp_path / "theory" / "plane.py").write_text(PLANE)
    (tmp_path / "tests" / "theory" / "test_plane.py").write_text(TEST)
    freezes = "import gc\n\n\ndef pytest_collection_finish():\n    gc.freeze()\n"  # as this project's own does
    (tmp_path / "tests" / "conftest.py").write_text(freezes)
    return tmp_path


@pytest.fixture
def outcomes(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[str, str]]]:
    monkeypatch.setattr(mutation.tempfile, "tempdir", str(scratch))
    known = mutation.survey(scratch)
    with Bench(scratch, ["tests/theory"]) as bench:
        yield {
            mutant.change: mutation.judge(mutant, scratch, known, bench)
            for mutant in mutants(scratch / "theory" / "plane.py")
        }


@pytest.mark.long
def test_survivors_are_told_from_those_that_a_test_notices(scratch: Path, outcomes: dict[str, tuple[str, str]]) -> None:
    test = "tests/theory/test_plane.py::test_"
    assert outcomes == {
        "4 -> 5": ("survived", ""),
        "2.0 -> 2.2": ("survived", ""),
        "size * (1 + 0) * SIDES -> size * (1 + 0) / SIDES": ("survived", ""),
        "size * (1 + 0) -> size / (1 + 0)": ("survived", ""),
        "1 + 0 -> 1 - 0": ("same", ""),
        "1 -> 2": ("killed", f"{test}slower"),
        "0 -> 1": ("killed", f"{test}slower"),
        "x > 7 -> x >= 7": ("survived", ""),
        "7 -> 8": ("survived", ""),
        "8 -> 9": ("unreached", ""),
        "-x * factor -> -x / factor": ("survived", ""),
        "-x -> x": ("killed", f"{test}sign"),
        "9 -> 10": ("killed", f"{test}first[10]"),
    }


def test_a_table_is_continued_and_keeps_its_reasons(scratch: Path, tmp_path: Path) -> None:
    found = mutants(scratch / "theory" / "plane.py")
    area = next(mutant.unit for mutant in found if mutant.unit.name == "area")
    own = [mutant for mutant in found if mutant.unit == area]
    outcomes = {mutant: "survived" if mutant.change.startswith("8") else "killed" for mutant in own}
    table = mutation.Table(tmp_path, {area: own})
    table.put(area, outcomes)
    table.write()
    file = tmp_path / "survivors.csv"
    assert file.read_text() == "module,function,change,number,why\nplane,area,8 -> 9,0,\n"
    assert mutation.Table(tmp_path, {area: own}).open(area) == {("8 -> 9", 0)}
    file.write_text(file.read_text().replace(",0,", ",0,eight is nine"))
    table = mutation.Table(tmp_path, {area: own})
    assert table.tried == {area: {"mutants": len(own), "killed": len(own) - 1, "same": 0, "survived": 1}}
    assert table.open(area) == set()
    table.put(area, {})  # nothing tried again
    table.write()
    assert file.read_text().endswith("plane,area,8 -> 9,0,eight is nine\n")
    table.put(area, {mutant: "killed" for mutant in own if mutant.change.startswith("8")})
    assert table.tried[area]["killed"] == len(own)
    assert "plane" in list(table.summary({"plane": 13}))[1]
    changed = next(mutant.unit for mutant in found if mutant.unit.name == "start")
    assert mutation.Table(tmp_path, {changed: own[:1]}).tried == {}


def test_quick_functions_of_all_modules_come_before_slow_ones(tmp_path: Path) -> None:
    def unit(module: str, name: str) -> Unit:
        return Unit(module, name, range(1, 2), f"{module}{name}")

    waiting = {
        "cone": [unit("cone", ""), unit("cone", "derive_area")],
        "plane": [unit("plane", ""), unit("plane", "area"), unit("plane", "start")],
        "point": [],
    }
    known: dict[Unit, list[Mutant]] = {one: [] for units in waiting.values() for one in units}
    table = mutation.Table(tmp_path, known)
    table.tried[unit("plane", "done")] = {"mutants": 9, "killed": 9, "same": 0, "survived": 0}
    order = []
    while one := mutation.next_unit(waiting, table):
        order.append((one.module, one.name))
    assert order == [("plane", "start"), ("plane", "area"), ("cone", "derive_area"), ("cone", ""), ("plane", "")]
