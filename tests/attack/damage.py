"""Damage to files: their bytes, what their text says, what they are, and what a checkpoint holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import socket
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from experiments.runs.run_directory import CHECKSUMS_FILE
from gpt.checkpoint import MARK
from tests.experiments.logs.made_logs import event_file

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


def files_below(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files that these names stand for, in a fixed order."""
    found: set[Path] = set()
    for name in names:
        path = folder / name
        found |= {path} if path.is_file() else {each for each in path.rglob("*") if each.is_file()}
    return sorted(found)


def damage(rng: random.Random, path: Path) -> str:
    """Damage one file; returns what was done to it.

    Half of the files that have a checksum get the one that fits, or lose it, so that what reads them is reached too.
    """
    kinds = [_flip, _cut, _bytes, _shuffle, _kind, *BY_NAME.get(path.suffix, [])]
    if "tfevents" in path.name:
        kinds += [_events] * 6
    elif path.parent.name == "files":  # of the cache
        kinds += [_note] * 8
    kind = rng.choice(kinds)
    try:
        kind(rng, path)
    except (ValueError, RuntimeError, RecursionError, OSError, KeyError):  # what is damaged already
        kind = _flip
        if path.is_file() and os.access(path, os.W_OK):
            _flip(rng, path)
    seal = ""
    with contextlib.suppress(ValueError, OSError):  # of checksums that are damaged already
        seal = _seal(rng, path) if rng.random() < 0.5 else ""
    return kind.__name__.strip("_") + seal


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


def _json_line(rng: random.Random, path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    place = rng.randrange(len(lines))
    data = json.loads(lines[place])
    _change(rng, data, lambda: rng.choice(ODD_VALUES))
    lines[place] = json.dumps(data) + "\n"
    path.write_text("".join(lines))


def _numbers(rng: random.Random, path: Path) -> None:
    """Of a text log, some or all of one kind."""
    text, odd = path.read_text(errors="surrogateescape"), rng.choice(ODD_NUMBERS)
    names = sorted(set(re.findall(r"[A-Za-z_]+[ :=]", text)))
    if rng.random() < 0.3 and names:
        name = re.escape(rng.choice(names))
        text = re.sub(rf"({name}\s*)[-+.\de]+", lambda found: found[1] + odd, text)
    else:
        places = list(re.finditer(r"[-+]?\d[-+.\de]*", text))
        for found in sorted(rng.sample(places, min(len(places), rng.choice((1, 3, 20)))), key=lambda m: -m.start()):
            text = text[: found.start()] + rng.choice((odd, *ODD_NUMBERS)) + text[found.end() :]
    path.write_bytes(text.encode(errors="surrogateescape"))


def _tokens(rng: random.Random, path: Path) -> None:
    """Of a shard: ids beyond any vocabulary, another width, no header or one that lies."""
    content = bytearray(path.read_bytes())
    what = rng.random()
    if what < 0.3:
        place = rng.randrange(len(content) // 2) * 2
        content[place : place + 2] = rng.choice((b"\xff\xff", b"\x00\x80", b"\x01\x01"))
    elif what < 0.5:
        kind = rng.choice(("<u4", "<i8", "<f4", ">u2"))
        content = bytearray(np.frombuffer(bytes(content), "<u2").astype(kind).tobytes())
    elif what < 0.7:
        content[:] = rng.randbytes(len(content))
    else:
        header = np.array([20240520, rng.choice((0, 1, 2)), rng.choice((0, 1, 3999, 2**31 - 1, -1))], "<i4")
        content[:12] = header.tobytes()
    path.write_bytes(content)


def _events(rng: random.Random, path: Path) -> None:
    """Records of TensorBoard that say other lengths, steps, tags and numbers than they have."""
    tags = ("train/loss", "lr", "x" * 3000, "\x1b[2J", "weight_rms/a", "step", "")
    numbers = (0.0, -1.0, float("nan"), float("inf"), 1e38, -1e38, 1e-45)
    steps = (0, 1, 2**31, 2**63 - 1, 2**64 - 1, 7)
    records = [(rng.choice(steps), rng.choice(tags), rng.choice(numbers)) for _ in range(rng.choice((1, 5, 300)))]
    content = event_file(records, tensors=rng.random() < 0.3)
    if rng.random() < 0.3:
        length = rng.choice((0, 1, 2**28, 2**32, 2**63, 2**64 - 1))
        content += length.to_bytes(8, "little") + rng.randbytes(20)
    path.write_bytes(rng.choice((b"", path.read_bytes())) + content)


def _netcdf(rng: random.Random, path: Path) -> None:
    """Of a trajectory: a variable missing, more, of another shape, kind or size than it has bytes."""
    with h5py.File(path, "r+") as file:
        name = rng.choice(sorted(file))
        shape, what = file[name].shape, rng.random()
        if what < 0.35 and file[name].dtype.kind in "if":
            whole = file[name].dtype.kind == "i"
            odd = rng.choice((-1, 0, 2**62, 10**9) if whole else (np.nan, np.inf, -1.0, 1e308, 1e-310))
            file[name][tuple(rng.randrange(n) for n in shape)] = odd
            return
        del file[name]
        if what < 0.5:
            return
        new = rng.choice((shape, shape[::-1], (), (0,), (3, 3, 3), (10**12,), (10**6, 10**6)))
        kind = rng.choice(("f8", "f4", "i8", "u1", "S3", "c16", h5py.string_dtype()))
        file.create_dataset(name, shape=new, dtype=kind, chunks=(1000,) * len(new) if np.prod(new) > 10**6 else None)


def _note(rng: random.Random, path: Path) -> None:
    """What the cache knows of a file: with the digest that fits, or without."""
    data = json.loads(path.read_text())
    if rng.random() < 0.5:
        _change(rng, data, lambda: rng.choice(ODD_VALUES))
    else:
        _change(rng, data["found"], lambda: rng.choice(ODD_VALUES))
        data["digest"] = hashlib.sha256(json.dumps(["?", data["found"]], sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(data))


def _checkpoint(rng: random.Random, path: Path) -> None:
    with path.open("rb") as file:  # behind it lies the checksum, which this one loses
        saved = torch.load(file, weights_only=True, map_location="cpu")
    odd: list[Any] = [
        *(torch.zeros(0), torch.zeros(3, 3), torch.tensor(float("nan")), torch.zeros(2, dtype=torch.int64)),
        *(torch.zeros(1).expand(10**9), torch.zeros(4).to_sparse(), "x", -1, 10**30, float("nan"), None, [], {}),
        *(True, torch.zeros(2, dtype=torch.complex64), torch.zeros(2, dtype=torch.bool), {"step": 1}, 1e308),
    ]
    _change(rng, saved, lambda: rng.choice(odd))
    torch.save(saved, path)


def _seal(rng: random.Random, path: Path) -> str:
    """Give a damaged file the checksum that fits, or take the checksums of its run away."""
    known = path.parent / CHECKSUMS_FILE
    if path == known or not path.is_file() or not os.access(path, os.R_OK) or path.stat().st_size > 10**7:
        return ""
    if path.suffix == ".pt" and rng.random() < 0.5:
        content = path.read_bytes()
        path.write_bytes(content + MARK + hashlib.sha256(content).digest())
    if not known.is_file():
        return ""
    if rng.random() < 0.5:
        known.unlink()
        return ", no checksums"
    sums = json.loads(known.read_text())
    if not isinstance(sums, dict):
        return ""
    content = path.read_bytes()
    sums[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    known.write_text(json.dumps({name: sums[name] for name in sorted(sums)}, indent=1) + "\n")
    return ", sealed"


# Beside those for any file, by the end of its name; the more often, the likelier.
BY_NAME: dict[str, list[Callable[[random.Random, Path], None]]] = {
    ".json": [_json] * 8,
    ".csv": [_cell] * 6 + [_lines] * 3,
    ".jsonl": [_cell] * 2 + [_lines] * 2 + [_json_line] * 6,
    ".txt": [_cell] * 3 + [_lines] * 3 + [_numbers] * 3,
    ".log": [_cell] * 3 + [_lines] * 3 + [_numbers] * 3,
    ".bin": [_tokens] * 6,
    ".nc": [_netcdf] * 8,
    ".pt": [_checkpoint] * 10,
}


def lock_away(path: Path) -> None:
    """Take the odd permissions back, so that the folder can be removed."""
    with contextlib.suppress(OSError):
        (path / "odd" / "locked").chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
