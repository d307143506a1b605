"""Files of the user's own: read as written, or refused with what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gpt.data import count_tokens, is_bytes, load_text
from gpt.shards import MAGIC, Shards, open_shard, write_shard
from gpt.text import Text
from theory import InvalidParameter

COUNTING = np.arange(1000) % 300


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path / "cache"))


def everything(text: Text) -> list[int]:
    return [int(x) for part in (text.train, text.validation) for x in part[np.arange(len(part))]]


def with_header(path: Path, tokens: np.ndarray, *, version: int = 1, stated: int | None = None) -> Path:
    header = np.zeros(256, dtype="<i4")
    header[:3] = MAGIC, version, len(tokens) if stated is None else stated
    path.write_bytes(header.tobytes() + tokens.astype("<u2").tobytes())
    return path


def test_a_shard_is_read_as_written(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", COUNTING)
    assert (tmp_path / "a.bin").stat().st_size == 2000
    text = load_text(str(tmp_path / "a.bin"))
    assert everything(text) == COUNTING.tolist()
    assert (len(text.train), len(text.validation), text.vocab_size) == (950, 50, 300)


def test_the_header_of_llm_c_is_not_text(tmp_path: Path) -> None:
    assert open_shard(with_header(tmp_path / "a.bin", COUNTING)).tolist() == COUNTING.tolist()


def test_a_folder_is_one_text(tmp_path: Path) -> None:
    for name, piece in zip(("train-0.bin", "train-1.bin", "val-0.bin"), np.split(COUNTING, [300, 700]), strict=True):
        write_shard(tmp_path / name, piece)
    (tmp_path / "notes.txt").write_text("not a shard")
    text = load_text(str(tmp_path))
    assert everything(text) == COUNTING.tolist()
    assert (len(text.train), len(text.validation)) == (700, 300)
    (tmp_path / "val-0.bin").rename(tmp_path / "train-2.bin")
    held_out = load_text(str(tmp_path))
    assert everything(held_out) == COUNTING.tolist()
    assert len(held_out.validation) == 50


def test_windows_cross_from_shard_to_shard() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 2**16, size=500).astype(np.uint16)
    shards = Shards([whole[:3], whole[3:3], whole[3:200], whole[200:]])
    positions = rng.permutation(500).reshape(20, 25)
    assert len(shards) == 500
    np.testing.assert_array_equal(shards[positions], whole[positions])


def test_any_file_is_bytes(tmp_path: Path) -> None:
    content = "Ein Text, der für sich spricht.\n" * 20
    (tmp_path / "text.md").write_text(content)
    text = load_text(str(tmp_path / "text.md"))
    assert bytes(everything(text)).decode() == content
    assert text.vocab_size == 256


def test_another_content_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_shard(path, COUNTING)
    first, times = load_text(str(path)), path.stat()
    path.write_bytes(COUNTING[::-1].astype("<u2").tobytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert load_text(str(path)).fingerprint != first.fingerprint


def test_a_folder_of_texts_is_their_bytes(tmp_path: Path) -> None:
    for name, content in (("b.txt", "second " * 20), ("a.txt", "first " * 20), ("interval.txt", "third")):
        (tmp_path / name).write_text(content)
    (tmp_path / "picture.png").write_bytes(b"no text")
    text = load_text(str(tmp_path))
    assert bytes(everything(text)).decode() == "first " * 20 + "second " * 20 + "third"
    assert (len(text.validation), text.vocab_size) == (13, 256)
    assert is_bytes(str(tmp_path))
    (tmp_path / "a.bin").write_bytes(b"\1\0" * 50)
    assert not is_bytes(str(tmp_path))
    assert load_text(str(tmp_path)).vocab_size == 2


def test_tokens_are_counted_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("train-0.bin", 700), ("train-1.bin", 200), ("val.bin", 100)):
        with_header(tmp_path / name, COUNTING[:count])
    assert count_tokens(str(tmp_path)) == len(load_text(str(tmp_path)).train) == 900
    monkeypatch.setattr("gpt.shards._inspect", lambda *_: pytest.fail("read"))
    assert count_tokens(str(tmp_path)) == 900
    assert count_tokens("zipf") == 2**24
    with pytest.raises(InvalidParameter, match="No such file"):
        count_tokens(str(tmp_path / "none"))


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"t\xff.txt")
    file.write_bytes(b"abc" * 100)
    text = load_text(str(file))
    assert everything(text) == list(b"abc" * 100)
    assert load_text(str(file)).fingerprint == text.fingerprint


def test_fingerprint_follows_content_not_name(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.bin", COUNTING)
    first = load_text(str(tmp_path / "a.bin")).fingerprint
    (tmp_path / "a.bin").rename(tmp_path / "b.bin")
    assert load_text(str(tmp_path / "b.bin")).fingerprint == first
    write_shard(tmp_path / "b.bin", COUNTING[::-1])
    assert load_text(str(tmp_path / "b.bin")).fingerprint != first


def broken(folder: Path, kind: str) -> Path:
    path = folder / "a.bin"
    if kind == "missing":
        return path
    if kind == "folder without shards":
        return folder
    if kind == "more than its header says":
        return with_header(path, COUNTING, stated=7)
    if kind == "other version":
        return with_header(path, COUNTING, version=2)
    if kind == "NumPy file":
        with path.open("wb") as file:
            np.save(file, COUNTING.astype(np.uint16))
        return path
    tokens = COUNTING.astype({"32-bit": "<u4"}.get(kind, "<u2")).tobytes()
    path.write_bytes({"cut": tokens[:-1], "empty": b""}.get(kind, tokens))
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "No such file"),
        ("folder without shards", "with .bin shards"),
        ("cut", "even number of bytes"),
        ("empty", "is empty"),
        ("32-bit", "seem to be 32-bit"),
        ("NumPy file", "save with tofile"),
        ("more than its header says", "its header says 7 tokens, 1000 are there"),
        ("other version", "it says 2"),
    ],
)
def test_a_broken_shard_is_named_with_its_fault(kind: str, reason: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = broken(folder, kind)
    with pytest.raises(InvalidParameter, match=reason) as error:
        load_text(str(path))
    assert (error.value.name, error.value.value) == ("source", str(path))
    assert "\n" not in str(error.value)


def test_tokens_that_do_not_fit_16_bits_are_not_written(tmp_path: Path) -> None:
    for bad in (2**16, -1):
        with pytest.raises(InvalidParameter, match="between 0 and 65535"):
            write_shard(tmp_path / "a.bin", np.array([5, bad]))
    assert list(tmp_path.iterdir()) == []
