"""Tries that are more than a command: kills, full disks, closed pipes, odd environments. The same numbers come out.

Each takes the try, its random numbers, its sandbox and the finished run of the corpus; it writes the faults it finds.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attack.corpus import copy_corpus
from tests.attack.damage import lock_away
from tests.attack.tries import NOT_THERE, ROOT, Try, call, faults_of
from tests.attack.work import ANSWERS, OLD, TRAIN, WORKS, Work

SIMULATE = "simulate --learning-rate 1e-2 --weight-decay 1 --num-steps 20 --dim 8 --num-replicas 2"
START_ONLY = {"OMP_NUM_THREADS", "MPLBACKEND", "LC_ALL", "PYTHONIOENCODING", "PYTHONWARNINGS"}
START_ONLY |= {"NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER"}
ENVIRONMENTS = (
    *({"RANK": "1"}, {"RANK": "x", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "x"}, {"WORLD_SIZE": "-1"}, {"WORLD_SIZE": ""}),
    *({"WORLD_SIZE": "2", "RANK": "0"}, {"WORLD_SIZE": "2", "RANK": "5"}, {"WORLD_SIZE": "1", "RANK": "0"}),
    {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "no.such.host.invalid", "MASTER_PORT": "1"},
    {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x"},
    {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999999"},
    {"WORLD_SIZE": "9" * 30, "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"},
    *({"LRBEND_PROCESS_TIMEOUT": "x"}, {"LRBEND_PROCESS_TIMEOUT": "nan"}, {"LRBEND_CACHE": ""}, {"HOME": "/proc"}),
    *({"MPLBACKEND": "nonsense"}, {"OMP_NUM_THREADS": "x"}, {"NUMBA_NUM_THREADS": "x"}, {"NUMBA_CACHE_DIR": "/proc"}),
    *({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "nonsense"}, {"PYTHONIOENCODING": "ascii"}, {"TMPDIR": "/proc"}),
    *({"NUMBA_NUM_THREADS": "0"}, {"NUMBA_THREADING_LAYER": "x"}, {"MPLCONFIGDIR": "/proc"}),
    *({"COLUMNS": "0"}, {"COLUMNS": "x"}, {"TERM": ""}, {"PYTHONWARNINGS": "error"}, {"SLURM_PROCID": "1"}),
)
HARMLESS = (
    "plan lr-transfer-small",
    "fit table.csv --json",
    TRAIN,
    "report runs",
    "verify runs half",
    SIMULATE,
)


def killed(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """Work that is killed up to four times, at any time or in the middle of what it does to files, then ends.

    What comes out is what comes out undisturbed; a file that was there is whole, the old one or the new one.
    """
    name, work = _a_work(one, rng, run)
    expected = _undisturbed(one, work, sandbox)
    new = {file: (sandbox / file).read_bytes() for file in work.files}
    _begin_anew(work, sandbox, run)
    for _ in range(rng.choice((1, 2, 3, 4))):
        number = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        times, at_file = [rng.uniform(0, 1.5)], 0
        if number is signal.SIGINT:
            times.append(times[0] + rng.uniform(0, 0.2))
        elif name not in ("train", "sweep") or rng.random() < 0.7:
            times, at_file = [], int(2 ** rng.uniform(0, 5))
        prepare = functools.partial(_prepared, work.prepare, number if at_file else None, at_file)
        said = call(one.words, sandbox, kill=functools.partial(_send, number, times), prepare=prepare, patience=20)
        one.done_before.append(f"{number.name}{f' at file {at_file}' if at_file else ''}: exit code {said.code}")
        one.kills += said.code in (130, 143, -number)
        if said.code not in (0, 2, 130, 143, -number) and not (work.verdict and said.code == 1):
            one.faults.append(f"{number.name} gives exit code {said.code}")
        for file, content in new.items():
            if (sandbox / file).read_bytes() not in (OLD, content):
                one.faults.append(f"{number.name} leaves a file that is neither the old one nor the new one: {file}")
        if "Traceback" in said.err:
            one.said = said
            one.faults.append(f"{number.name} gives a traceback")
            return
    _finishes(one, work, sandbox, expected)


def full_disk(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """Work on a disk of 8 KB to 64 MB, and again when there is room."""
    size = int(8 * 2 ** rng.uniform(0, 13))
    _, work = _a_work(one, rng, run)
    expected = _undisturbed(one, work, sandbox)
    new = {file: (sandbox / file).read_bytes() for file in work.files}
    _begin_anew(work, sandbox, run)
    place = sandbox if one.words[0] not in ("train", "sweep", "validate") else sandbox / "made"
    place.mkdir(exist_ok=True)
    with _disk(place, size, keep=place == sandbox) as remount:
        work.put_old(sandbox)
        one.done_before.append(f"a disk with {size} KB of room")
        one.said = said = call(one.words, sandbox, prepare=work.prepare, patience=20)
        one.faults = _without_verdict(work, faults_of(one.words, said))
        for file, content in new.items():
            if (sandbox / file).read_bytes() not in (OLD, content):
                one.faults.append(f"a full disk leaves a file that is neither the old one nor the new one: {file}")
        remount()
        if not one.faults:
            _finishes(one, work, sandbox, expected)


def streams(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """A command whose output nobody takes: the work is done all the same, and the exit code says what is missing.

    Every command once in as many tries as there are, with each kind of stream in its turn.
    """
    names = list(ANSWERS)
    work, turn = ANSWERS[names[one.number % len(names)]], one.number // len(names)
    one.words = work.words(run)
    plain = call(one.words, sandbox, prepare=work.prepare, patience=20)
    made = _files(sandbox)
    lock_away(sandbox)
    copy_corpus(sandbox.parents[2] / "corpus", sandbox)
    kinds = list(itertools.product((None, *OUTPUTS), repeat=2))[1:]
    kind = dict(zip(("stdout", "stderr"), kinds[(turn * 7 + one.number) % len(kinds)], strict=True))
    one.done_before.append(", ".join(f"{name}: {what}" for name, what in kind.items() if what))
    with contextlib.ExitStack() as stack:
        targets = {name: stack.enter_context(OUTPUTS[what]()) for name, what in kind.items() if what}
        one.said = call(one.words, sandbox, prepare=work.prepare, patience=20, **targets)  # type: ignore[arg-type]
    lost = kind["stdout"] in ("closed", "full", "not there") and plain.out
    expected = 2 if lost and plain.code in (0, 1) else plain.code
    one.faults = [] if one.said.code == expected else [f"exit code {one.said.code} in place of {expected}"]
    one.faults += ["hang"] if one.said.ended else []
    if _files(sandbox) != made:
        one.faults.append(f"not the same files: {sorted(_files(sandbox) ^ made)[0]}")


def _files(sandbox: Path) -> set[str]:
    """What is there, but for the notes of the cache, whose names hang on times."""
    return {str(path.relative_to(sandbox)) for path in sandbox.rglob("*") if not {"odd", "files"} & set(path.parts)}


@contextlib.contextmanager
def _closed() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextlib.contextmanager
def _full() -> Iterator[int]:
    number = os.open("/dev/full", os.O_WRONLY)
    yield number
    os.close(number)


@contextlib.contextmanager
def _nobody_reads() -> Iterator[int]:
    """A pipe that is never read; it takes 64 KB."""
    reader, writer = os.pipe()
    yield writer
    os.close(writer)
    os.close(reader)


@contextlib.contextmanager
def _slow() -> Iterator[int]:
    """A pipe of a page, read a little at a time."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)

    def read() -> None:
        while os.read(reader, 200):
            time.sleep(0.01)
        os.close(reader)

    thread = threading.Thread(target=read)
    thread.start()
    yield writer
    os.close(writer)
    thread.join()


@contextlib.contextmanager
def _not_there() -> Iterator[int]:
    yield NOT_THERE


OUTPUTS = {"closed": _closed, "full": _full, "never read": _nobody_reads, "slow": _slow, "not there": _not_there}


def environment(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """Variables that other programs leave, or that make no sense."""
    given = rng.choice(ENVIRONMENTS)
    one.words = rng.choice(HARMLESS).split()
    one.done_before.append(" ".join(f"{name}={value}" for name, value in given.items()))
    settings = {"LRBEND_PROCESS_TIMEOUT": "2", **given}
    one.said = call(one.words, sandbox, environment=settings, real=bool(set(given) & START_ONLY))
    one.faults = faults_of(one.words, one.said)


def stopped_at_once(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """Ctrl-C while a real process starts: no traceback of ours, and an exit code that says so.

    Before the first line of ours runs, Python itself says what it thinks of it, and ends with 1 or by the signal.
    """
    one.words = rng.choice(HARMLESS).split()
    times = [rng.uniform(0.15, 2.5)]
    one.said = call(one.words, sandbox, real=True, kill=functools.partial(_send, signal.SIGINT, times))
    one.done_before.append("Ctrl-C while it starts")
    if "Traceback" in one.said.err:
        pythons = one.said.err.rstrip().endswith("KeyboardInterrupt") and one.said.code in (1, -signal.SIGINT)
        ours = any(str(ROOT / package) + "/" in one.said.err for package in ("experiments", "gpt", "sim", "theory"))
        one.faults += [] if pythons and not ours else ["Ctrl-C gives a traceback"]
    elif one.said.code not in (0, 130, -signal.SIGINT):
        one.faults.append(f"Ctrl-C gives exit code {one.said.code}")


ROOMS: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (killed, full_disk, streams, environment, stopped_at_once)
}


def _send(number: signal.Signals, times: list[float], process: int, seconds: float) -> None:
    if times and seconds >= times[0]:
        times.pop(0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _a_work(one: Try, rng: random.Random, run: str) -> tuple[str, Work]:
    name = rng.choice(sorted(WORKS))
    one.words = WORKS[name].words(run)
    return name, WORKS[name]


def _undisturbed(one: Try, work: Work, sandbox: Path) -> dict[str, str]:
    """What the work leaves; raises AssertionError if it does not go to its end."""
    work.put_old(sandbox)
    said = call(one.words, sandbox, prepare=work.prepare, patience=20)
    assert said.code in (0, 1 if work.verdict else 0), said
    return work.results(sandbox)


def _begin_anew(work: Work, sandbox: Path, run: str) -> None:
    shutil.rmtree(sandbox / "made", ignore_errors=True)
    if work is WORKS["cache"]:
        shutil.rmtree(sandbox / "cache")
    work.put_old(sandbox)


def _prepared(small: Callable[[], None], number: signal.Signals | None, at_file: int) -> None:
    """In the child: make the work small, and send a signal where it opens, renames or removes that many files."""
    small()
    count = 0

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        flags = arguments[2] if event == "open" else 0
        writes = event == "open" and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.utime"):
            count += 1
            if count == at_file and number is not None:
                os.kill(os.getpid(), number)

    sys.addaudithook(look)


def _finishes(one: Try, work: Work, sandbox: Path, expected: dict[str, str]) -> None:
    """The same command again goes to its end, and leaves what it leaves undisturbed, and nothing beside it."""
    one.said = call(one.words, sandbox, prepare=work.prepare, patience=20)
    one.faults += _without_verdict(work, faults_of(one.words, one.said))
    if one.said.code not in (0, 1 if work.verdict else 0):
        one.faults += [] if one.said.ended == "interrupted" else [f"does not go on: exit code {one.said.code}"]
        return
    found = work.results(sandbox)
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            one.faults.append(f"another {name.rpartition('/')[2]}")
    left = [path for path in sandbox.rglob(".*.partial") if not path.is_relative_to(sandbox / "half")]
    one.faults += [f"left behind: {left[0].name}"] if left else []


def _without_verdict(work: Work, faults: list[str]) -> list[str]:
    return [fault for fault in faults if not (work.verdict and fault == "exit code 1")]


@contextlib.contextmanager
def _disk(folder: Path, kilobytes: int, *, keep: bool) -> Iterator[Callable[[], None]]:
    """A file system with so much room, which only root may mount; yields what makes it large.

    keep : what lies in the folder lies there too, beside the room.
    """
    mount = shutil.which("mount")
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in folder.rglob("*") if path.is_file()) if keep else 0
    options = ["-t", "tmpfs", "-o", f"size={max(used, 64) + 1024 if keep else kilobytes}k"]
    if os.getuid() != 0 or not mount:
        raise NoDisk("a small disk takes root and the right to mount")
    with tempfile.TemporaryDirectory() as aside:
        if keep:
            shutil.copytree(folder, aside, dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns("odd"))
        if subprocess.run([mount, *options, "tmpfs", str(folder)], capture_output=True, check=False).returncode:
            raise NoDisk("a small disk takes root and the right to mount")
        try:
            if keep:
                shutil.copytree(aside, folder, dirs_exist_ok=True, symlinks=True)
                room = os.statvfs(folder)
                size = (room.f_blocks - room.f_bavail) * room.f_frsize // 1024 + kilobytes
                subprocess.run([mount, "-o", f"remount,size={size}k", str(folder)], check=True, capture_output=True)
            remount = [mount, "-o", "remount,size=256m", str(folder)]
            yield lambda: subprocess.run(remount, check=True, capture_output=True) and None
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


class NoDisk(Exception):
    """Why a try could not be made."""
