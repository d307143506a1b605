"""Damage to files: their bytes, what their text says, what they are, and what a checkpoint holds."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import socket
import stat
from pathlib import Path
from typing import Any

import torch

ODD_NUMBERS = ("nan", "inf", "-inf", "1e308", "-1e308", "1e-310", "1e300", "-1", "0", "1" + "0" * 40, "1e999", "", "x")
ODD_CELLS = (*ODD_NUMBERS, "=1+1", "\x1b[2J\x1b]0;x\x07", '"', "'", ",", "\n", "\r", "\x00", "\ufeff", "$a_b$")
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, [], {}, [[]], {"a": 1}, "", "x", "nan", -1, 0, 1, 0.5, 1e308, -1e308, 1e-310, 10**30, 2**63),
    *("../../x", "/proc/version", "\x1b[2J", "x" * 5000, [1] * 50, float("nan"), float("inf"), "\udcff"),
)


def make_odd_things(folder: Path) -> None:
    """What is no file, or no usual one, under usual names."""
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "directory").mkdir()
    (folder / "empty").touch()
    (folder / "secret").write_text("{}")
    (folder / "secret").chmod(0)
    (folder / "locked").mkdir(mode=0o500)
    (folder / "s p a c e").write_text("learning_rate,loss\n1,2\n")
    (folder / "big.json").write_text("[" * 100_000)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(folder / "socket"))
    for name, minor in (("full", 7), ("zero", 5)):
        with contextlib.suppress(OSError):  # of root alone, and not in every container
            os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))


def files_below(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The files that these names stand for, in a fixed order."""
    found: set[Path] = set()
    for name in names:
        path = folder / name
        found |= {path} if path.is_file() else {each for each in path.rglob("*") if each.is_file()}
    return sorted(found)


def damage(rng: random.Random, path: Path) -> str:
    """Damage one file; returns what was done to it."""
    kinds = [_flip, _cut, _bytes, _shuffle, _kind]
    if path.suffix == ".json":
        kinds += [_json] * 8
    elif path.suffix in (".csv", ".jsonl", ".txt"):
        kinds += [_cell] * 6 + [_lines] * 3
    elif path.suffix == ".pt":
        kinds += [_checkpoint] * 10
    kind = rng.choice(kinds)
    try:
        kind(rng, path)
    except (ValueError, RuntimeError, RecursionError):  # what is damaged already
        _flip(rng, path)
    return kind.__name__.strip("_")


def _flip(rng: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 10, 200))):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _cut(rng: random.Random, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.choice((0, 1, rng.randrange(len(content) + 1), max(0, len(content) - 1)))])


def _bytes(rng: random.Random, path: Path) -> None:
    content = path.read_bytes()
    place = rng.randrange(len(content) + 1)
    path.write_bytes(content[:place] + rng.randbytes(rng.choice((1, 7, 1000))) + content[place:])


def _shuffle(rng: random.Random, path: Path) -> None:
    content = path.read_bytes()
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    path.write_bytes(content[b:] + content[a:b] + content[:a])


def _kind(rng: random.Random, path: Path) -> None:
    path.unlink()
    what = rng.choice(("gone", "pipe", "loop", "directory", "secret", "elsewhere"))
    if what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "directory":
        path.mkdir()
    elif what == "secret":
        path.touch(mode=0)
    elif what == "elsewhere":
        path.symlink_to(os.path.relpath("odd/zero", path.parent))


def _json(rng: random.Random, path: Path) -> None:
    data = json.loads(path.read_text())
    _change(rng, data, lambda: rng.choice(ODD_VALUES))
    text = json.dumps(data)
    if rng.random() < 0.1 and text.startswith("{"):  # a key twice
        text = re.sub(r'("\w+": )', r"\1null, \1", text, count=1)
    path.write_text(text)


def _change(rng: random.Random, data: Any, odd: Any) -> None:
    """One change somewhere in a nest of dicts and lists."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(data[key], (dict, list)) and data[key] and rng.random() < 0.8:
            data = data[key]
            continue
        what = rng.random()
        if what < 0.2:
            del data[key]
        elif what < 0.3 and isinstance(data, dict):
            data[rng.choice(("x", "", "name", "kind", "\x1b[2J"))] = odd()
        elif what < 0.35 and isinstance(data, list):
            data.extend(data[:1] * rng.choice((1, 100)))
        else:
            data[key] = odd()
        return


def _cell(rng: random.Random, path: Path) -> None:
    lines = path.read_text().split("\n")
    for _ in range(rng.choice((1, 1, 3, 30))):
        place = 0 if rng.random() < 0.15 else rng.randrange(len(lines))
        cells = lines[place].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(ODD_CELLS)
        lines[place] = ",".join(cells)
    if rng.random() < 0.1:  # a whole column
        lines = [line.rpartition(",")[0] + "," + rng.choice(ODD_NUMBERS) for line in lines]
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))


def _lines(rng: random.Random, path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    what = rng.random()
    if what < 0.3:
        lines = lines[: rng.randrange(len(lines) + 1)]
    elif what < 0.6:
        lines += [rng.choice(lines)] * rng.choice((1, 50))
    elif what < 0.8:
        del lines[rng.randrange(len(lines))]
    else:
        rng.shuffle(lines)
    path.write_text("".join(lines))


def _checkpoint(rng: random.Random, path: Path) -> None:
    saved = torch.load(path, weights_only=True, map_location="cpu")
    odd: list[Any] = [
        *(torch.zeros(0), torch.zeros(3, 3), torch.tensor(float("nan")), torch.zeros(2, dtype=torch.int64)),
        *(torch.zeros(1).expand(10**9), torch.zeros(4).to_sparse(), "x", -1, 10**30, float("nan"), None, [], {}),
    ]
    _change(rng, saved, lambda: rng.choice(odd))
    torch.save(saved, path)


def lock_away(path: Path) -> None:
    """Take the odd permissions back, so that the folder can be removed."""
    with contextlib.suppress(OSError):
        (path / "odd" / "locked").chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
