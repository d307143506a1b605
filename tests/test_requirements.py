"""What is installed has the versions that are tested, by the hashes of their files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests import lock

ROOT = Path(__file__).parents[1]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE)
    assert len({normal(name) for name, _ in found}) == len(found)
    return {normal(name): version for name, version in found}


def layer(name: str) -> dict[str, str]:
    """All packages of a layer, those below it included."""
    below = lock.LAYERS[name]
    return (layer(below) if below else {}) | pinned((ROOT / "requirements" / f"{name}.txt").read_text())


CONSTRAINTS = pinned((ROOT / "constraints.txt").read_text())


@pytest.mark.parametrize("name", list(lock.LAYERS))
def test_every_package_has_the_version_of_the_constraints_and_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = lock.blocks(text)
    assert "# " + "".join(blocks.values()) == "# " + text.partition("\n")[2], "something else than names and hashes"
    assert blocks
    for package, version in pinned(text).items():
        assert CONSTRAINTS[package] == version, package
        assert package not in lock.BY_VERSION


@pytest.mark.parametrize("name", list(lock.LAYERS))
def test_nothing_that_is_asked_for_is_missing(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [one for e in lock.EXTRAS[name] for one in project["optional-dependencies"][e]]
    names = {normal(re.split(r"[^\w.-]", one)[0]) for one in asked}
    assert names - set(layer(name)) <= lock.BY_VERSION
    assert "setuptools" in layer(name)  # what this project is built with
    assert set(CONSTRAINTS) >= lock.BY_VERSION
