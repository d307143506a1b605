"""The text is real, the same for everyone, and cached whole or not at all."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpt import pysource
from gpt.data import load_text
from gpt.pysource import pysource_files
from gpt.text import Text
from theory import InvalidParameter


@pytest.fixture(scope="module")
def text() -> Text:
    return load_text("pysource")


@pytest.fixture
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """An empty cache, and a text of 200 files, of which ten are copies and one is empty."""
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path / "cache"))
    files = {}
    for index in range(200):
        files[f"package/{index}.py"] = tmp_path / f"{index}.py"
        files[f"package/{index}.py"].write_bytes(f"x = {index % 190}\n".encode())
    files["package/0.py"].write_bytes(b"")
    monkeypatch.setattr(pysource, "pysource_files", lambda: files)
    return files


EXPECTED = sorted(f"x = {index}\n".encode() for index in range(190))


def contents(text: Text) -> list[bytes]:
    assert isinstance(text.train, np.ndarray)
    assert isinstance(text.validation, np.ndarray)
    return sorted(bytes(text.train).split(b"\0")[:-1] + bytes(text.validation).split(b"\0")[:-1])


def test_pysource_is_large_and_split(text: Text) -> None:
    size = len(text.train) + len(text.validation)
    assert size > 100e6
    assert len(text.validation) / size == pytest.approx(0.05, abs=0.01)
    assert b"import numpy as np" in bytes(text.train[np.arange(20_000_000)])


def test_names_do_not_depend_on_the_machine() -> None:
    names = list(pysource_files())
    assert names == sorted(names)
    assert not [name for name in names if name.startswith("/") or "\\" in name or "site-packages" in name]
    tops = {name.split("/")[0] for name in names}
    assert tops == {"python", *pysource.PACKAGES}
    assert {"python/json/decoder.py", "python/argparse.py", "sympy/core/expr.py"} <= set(names)
    assert not [name for name in names if name.endswith(("__config__.py", "/version.py")) or "_sysconfigdata" in name]


def test_files_count_once(small_world: dict[str, Path]) -> None:
    assert contents(load_text("pysource")) == EXPECTED


def test_fingerprint_follows_the_content(small_world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_text("pysource").fingerprint
    assert load_text("pysource").fingerprint == first
    small_world["package/7.py"].write_bytes(b"x = -7\n")
    monkeypatch.setenv("LRBEND_CACHE", str(small_world["package/7.py"].parent / "another"))
    assert load_text("pysource").fingerprint != first


def test_cache_is_read_not_rebuilt(small_world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_text("pysource")
    monkeypatch.setattr(pysource, "_write", None)
    assert contents(load_text("pysource")) == contents(first)


def test_a_broken_build_leaves_nothing(small_world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small_world["package/7.py"].unlink()
    with pytest.raises(FileNotFoundError):
        load_text("pysource")
    assert list((small_world["package/7.py"].parent / "cache").iterdir()) == []
    small_world["package/7.py"].write_bytes(b"x = 7\n")
    assert contents(load_text("pysource")) == EXPECTED


def test_losing_the_race_to_build_is_fine(small_world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write = pysource._write_parts

    def write_while_another_process_finishes(files: dict[str, Path], work: Path) -> str:
        monkeypatch.setattr(pysource, "_write_parts", write)
        load_text("pysource")
        return write(files, work)

    monkeypatch.setattr(pysource, "_write_parts", write_while_another_process_finishes)
    assert contents(load_text("pysource")) == EXPECTED
    assert len(list((small_world["package/7.py"].parent / "cache").iterdir())) == 1


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysource, "PACKAGES", ("numpy", "no_such_package"))
    with pytest.raises(InvalidParameter, match="no_such_package"):
        load_text("pysource")


def test_processes_share_the_cache(small_world: dict[str, Path]) -> None:
    load_text("pysource")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        fingerprint = pool.apply(_fingerprint)
    assert fingerprint == load_text("pysource").fingerprint


def _fingerprint() -> str:
    return load_text("pysource").fingerprint


def test_a_whole_copy_of_another_machines_text_stands_for_it(
    small_world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, copy = load_text("pysource"), tmp_path / "copy"
    shutil.copytree(next((tmp_path / "cache").glob("pysource-*")), copy)
    monkeypatch.setenv("LRBEND_PYSOURCE", str(copy))
    monkeypatch.setattr(pysource, "pysource_files", lambda: pytest.fail("another text was made"))
    again = load_text("pysource")
    assert (again.fingerprint, contents(again)) == (first.fingerprint, EXPECTED)
    assert pysource.count_tokens() == len(first.train)
    with (copy / "train.bin").open("r+b") as file:
        file.write(b"X")
    with pytest.raises(InvalidParameter, match="LRBEND_PYSOURCE"):
        load_text("pysource")
