"""Which bugs are planted, and that a mutant which a test notices is told from one that none does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import mutate

SOURCE = '''"""Two: 2."""
import numpy as np

LIMIT: tuple[int, 3] = 0.5

def area(width: float = 1.0, height=2) -> float:
    """Not 3."""
    if width < 0:
        raise ValueError(f"{width + 1}")
    return np.minimum(width, -height) * np.power(LIMIT, 2)
'''


def test_what_is_planted(tmp_path: Path) -> None:
    file = tmp_path / "plane.py"
    file.write_text(SOURCE)
    found = mutate.mutants(file)
    assert {mutant["change"] for mutant in found} == {
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
    assert len({mutant["key"] for mutant in found}) == len(found) == 10  # the 2 stands twice
    clean = ast.unparse(ast.parse(SOURCE))
    sources = [mutant["source"]() for mutant in found]
    assert clean not in sources
    assert all(ast.parse(source) for source in sources)
    assert len(set(sources)) == len(found)
    assert {tuple(mutant["functions"]) for mutant in found} == {(), (6,)}


PLANE = "import math\n\n\ndef area(x):\n    return -x * 2\n"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A repository of one function with a test that knows its sign and not its size."""
    for folder in ("theory", "tests/theory"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow: s", "slurm: s"]\n')
    (tmp_path / "theory" / "__init__.py").touch()
    (tmp_path / "theory" / "plane.py").write_text(PLANE)
    (tmp_path / "tests" / "theory" / "test_plane.py").write_text(
        "from theory.plane import area\n\n\ndef test_sign():\n    assert area(1) < 0\n\n\ndef test_no():\n    pass\n"
    )
    return tmp_path


def test_survivors_are_told_from_those_that_a_test_notices(scratch: Path) -> None:
    known = mutate.run_tests(scratch, ["tests/theory"], limit=60, calls=True)
    assert known["code"] == 0
    assert known["called"]["plane:4"] == ["tests/theory/test_plane.py::test_sign"]
    outcomes = {
        mutant["change"]: mutate.judge(mutant, scratch, known, only_callers=False)
        for mutant in mutate.mutants(scratch / "theory" / "plane.py")
    }
    assert outcomes == {
        "-x * 2 -> -x / 2": ("survived", ""),
        "-x -> x": ("killed", "tests/theory/test_plane.py::test_sign"),
        "2 -> 3": ("survived", ""),
    }
    assert (scratch / "theory" / "plane.py").read_text() == PLANE
