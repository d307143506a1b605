"""Files of your own to train on: ``.bin`` shards of tokens, or text as bytes.

A shard holds unsigned 16-bit tokens, little-endian, and nothing else (what nanoGPT's preparation scripts write). A
shard may also begin with the header of llm.c: 256 32-bit integers, of which the first three are 20240520, the version
1 and the number of tokens. A path may be

    a file that ends in .bin          one shard; its last 5 % are for validation
    a folder with such files          shards with "val" in their name are for validation, all others for training;
                                      without any of the former, the last 5 % of the whole
    a folder with .txt files          their bytes in the order of the names; the last 5 % are for validation
    any other file                    its bytes; the last 5 % are for validation

``lrbend prepare FOLDER --out SHARDS`` makes GPT-2's tokens of a folder of ``.txt`` files.

Every file is read once from end to end for its largest token and its fingerprint; the result is kept in the cache
under path, size and times of change.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt.cache import read_note, write_note
from gpt.durable import flush_file, flush_folder
from gpt.text import Text
from theory.checks import InvalidParameter

DTYPE = np.dtype("<u2")
HEADER_BYTES, MAGIC, VERSION = 1024, 20240520, 1
VALIDATION_SHARE = 0.05
READ_AT_ONCE = 2**24  # tokens
READ_FOR_DTYPE = 256  # tokens; that every other one of so many is 0 does not happen in text


class Shards:
    """Several arrays one behind the other, read as if they were one (`gpt.text.Tokens`)."""

    def __init__(self, parts: Sequence[NDArray[np.unsignedinteger]]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, positions: NDArray[np.int64], /) -> NDArray[np.unsignedinteger]:
        """Tokens at ``positions`` in [0, len), of any shape."""
        owner = np.searchsorted(self._ends, positions, side="right")
        found = np.empty(positions.shape, dtype=self._parts[0].dtype)
        for index in np.unique(owner):
            own = owner == index
            found[own] = self._parts[index][positions[own] - (self._ends[index] - len(self._parts[index]))]
        return found


def files_text(path: Path) -> Text:
    """The text of a file or a folder; see the module.

    Raises
    ------
    InvalidParameter : a path that is not there or cannot be read, a folder without shards, a broken shard.
    """
    parts = _open(path)
    try:
        found = [_inspect(file, tokens) for file, tokens in parts.items()]
    except OSError as error:
        raise _unreadable(path, error) from None
    train, validation = _divide(path, parts)
    held_out, content = _held_out(path, parts), [fingerprint for _, fingerprint in found]
    return Text(
        train=train,
        validation=validation,
        vocab_size=256 if _are_bytes(parts) else max(largest for largest, _ in found) + 1,
        fingerprint=hashlib.sha256(f"{content} {len(train)} {held_out != []}".encode()).hexdigest(),
    )


def count_tokens(path: Path) -> int:
    """Tokens to train on, by the sizes of the files. Raises as `files_text`."""
    return len(_divide(path, _open(path))[0])


def holds_shards(path: Path) -> bool:
    """Whether it is, or would be, one of shards: by its name, and what lies in a folder."""
    return path.suffix == ".bin" or (path.is_dir() and not _text_files(path))


def _text_files(folder: Path) -> list[Path]:
    """The texts of a folder without shards."""
    files = list(folder.iterdir())
    return [] if any(file.suffix == ".bin" for file in files) else sorted(f for f in files if f.suffix == ".txt")


def _open(path: Path) -> dict[Path, NDArray[np.unsignedinteger]]:
    """The tokens of every file."""
    try:
        files = [path]
        if path.is_dir():
            files = _text_files(path) or sorted(file for file in path.iterdir() if file.suffix == ".bin")
            if not files:
                raise InvalidParameter("source", str(path), "a folder with .bin shards or .txt files")
        for file in files:
            if not stat.S_ISREG(file.stat().st_mode):
                raise InvalidParameter("source", str(file), "a file or a folder (it is something else)")
        return {file: open_shard(file) if file.suffix == ".bin" else _bytes(file) for file in files}
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InvalidParameter:
    return InvalidParameter("source", str(path), f"pysource, zipf or a readable path ({error.strerror})")


def _divide(path: Path, parts: Mapping[Path, NDArray[np.unsignedinteger]]) -> tuple[Shards, Shards]:
    """Training and validation part."""
    held_out = _held_out(path, parts)
    if not 0 < len(held_out) < len(parts):
        return split(list(parts.values()))
    return Shards([part for file, part in parts.items() if file not in held_out]), Shards([parts[f] for f in held_out])


def _held_out(path: Path, parts: Mapping[Path, NDArray[np.unsignedinteger]]) -> list[Path]:
    if not path.is_dir() or _are_bytes(parts):
        return []
    return [file for file in parts if "val" in file.name]


def _are_bytes(parts: Mapping[Path, NDArray[np.unsignedinteger]]) -> bool:
    return next(iter(parts.values())).dtype == np.uint8


def open_shard(path: Path) -> NDArray[np.uint16]:
    """The tokens of one shard as a memory map; raises `InvalidParameter` with what is wrong with the file."""
    size = path.stat().st_size
    if size % DTYPE.itemsize:
        raise InvalidParameter("source", str(path), f"16-bit tokens, an even number of bytes (it has {size})")
    start = 0
    if size >= HEADER_BYTES:
        header = np.fromfile(path, dtype="<i4", count=3)
        if header[0] == MAGIC:
            start, stated = HEADER_BYTES, int(header[2])
            if header[1] != VERSION:
                raise InvalidParameter("source", str(path), f"of header version {VERSION} (it says {header[1]})")
            if stated * DTYPE.itemsize != size - start:
                there = (size - start) // DTYPE.itemsize
                raise InvalidParameter(
                    "source", str(path), f"whole: its header says {stated} tokens, {there} are there"
                )
    if size == start:
        raise InvalidParameter("source", str(path), "a shard that holds at least one token (it is empty)")
    tokens = np.memmap(path, DTYPE, "r", offset=start)
    if bytes(tokens[:3].tobytes()) == b"\x93NUMPY":
        raise InvalidParameter("source", str(path), "bare 16-bit tokens (it is a NumPy file: save with tofile)")
    beginning = np.asarray(tokens[:READ_FOR_DTYPE])
    if len(beginning) == READ_FOR_DTYPE and not beginning[1::2].any() and beginning[::2].any():
        raise InvalidParameter("source", str(path), "of 16-bit tokens (every other one is 0: these seem to be 32-bit)")
    return tokens


def write_shard(path: Path, tokens: NDArray[np.integer]) -> None:
    """Write tokens (num_tokens,) as a shard without header, under a temporary name first.

    Raises `InvalidParameter` for tokens outside 0 ... 65535.
    """
    if len(tokens) and not (tokens.min() >= 0 and tokens.max() < 2**16):
        raise InvalidParameter("tokens", f"{tokens.min()} ... {tokens.max()}", "between 0 and 65535")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:  # before there is such a file: an interrupt may come in between
        with partial.open("xb") as file:
            tokens.astype(DTYPE).tofile(file)
        flush_file(partial)
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    flush_folder(path.parent)


def split(parts: Sequence[NDArray[np.unsignedinteger]]) -> tuple[Shards, Shards]:
    """Training and validation part of a text without a validation file: the last 5 % are held out."""
    lengths = [len(part) for part in parts]
    starts = np.cumsum([0, *lengths[:-1]])
    cut = sum(lengths) - max(1, round(VALIDATION_SHARE * sum(lengths)))
    before = [part[: max(0, cut - start)] for part, start in zip(parts, starts, strict=True)]
    behind = [part[max(0, cut - start) :] for part, start in zip(parts, starts, strict=True)]
    return Shards(before), Shards(behind)


def _bytes(path: Path) -> NDArray[np.uint8]:
    if path.stat().st_size == 0:
        raise InvalidParameter("source", str(path), "a file that holds at least one byte (it is empty)")
    return np.memmap(path, np.uint8, "r")


def _inspect(path: Path, tokens: NDArray[np.unsignedinteger]) -> tuple[int, str]:
    """Largest token and fingerprint of a file."""
    status = path.stat()
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = f"{path.resolve()} {identity} {tokens.dtype.str}"  # the last time is one that nobody can set
    kept = read_note(key)
    if kept is not None and type(kept.get("largest")) is int:
        return int(str(kept["largest"])), str(kept.get("fingerprint"))
    largest, content = 0, hashlib.sha256()
    for start in range(0, len(tokens), READ_AT_ONCE):
        piece = np.asarray(tokens[start : start + READ_AT_ONCE])
        largest = max(largest, int(piece.max()))
        content.update(piece.tobytes())
    write_note(key, {"largest": largest, "fingerprint": content.hexdigest(), "file": str(path.resolve())})
    return largest, content.hexdigest()
