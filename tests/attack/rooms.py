"""Tries that are more than a command: kills, full disks, closed pipes, odd environments. The same numbers come out.

Each takes the try, its random numbers, its sandbox and the finished run of the corpus; it writes the faults it finds.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.runs.run_directory import find_runs
from tests.attack.tries import ROOT, Try, call, faults_of

TRAIN = ["train", "--config", "config.json", "--out", "made", "--checkpoint-every", "2"]
SWEEP = ["sweep", "study.json", "--out", "made", "--num-workers", "1", "--checkpoint-every", "2", "--json"]
SIMULATE = "simulate --learning-rate 1e-2 --weight-decay 1 --num-steps 20 --dim 8 --num-replicas 2"
START_ONLY = {"OMP_NUM_THREADS", "MPLBACKEND", "LC_ALL", "PYTHONIOENCODING", "PYTHONWARNINGS"}
START_ONLY |= {"NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER"}
KEPT = ("loss.csv", "config.json")
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
    " ".join(TRAIN),
    "report runs",
    "verify runs half",
    SIMULATE,
)


def killed(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """A command that is killed up to four times, and then goes to its end."""
    one.words = list(rng.choice((TRAIN, SWEEP)))
    for _ in range(rng.choice((1, 2, 3, 4))):
        number = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        times = [rng.uniform(0, 1.5)]
        if number is signal.SIGINT:
            times.append(times[0] + rng.uniform(0, 0.2))
        said = call(one.words, sandbox, kill=functools.partial(_send, number, times))
        one.done_before.append(f"{number.name}: exit code {said.code}")
        if said.code not in (0, 2, 130, 143, -number):
            one.faults.append(f"{number.name} gives exit code {said.code}")
        if "Traceback" in said.err:
            one.said = said
            one.faults.append(f"{number.name} gives a traceback")
            return
    _finishes(one, sandbox, run)


def full_disk(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """A command that writes to a disk of 8 KB to 1 MB, and again when there is room."""
    size = int(8 * 2 ** rng.uniform(0, 7))
    one.words = list(rng.choice((TRAIN, SWEEP)))
    (sandbox / "made").mkdir()
    with _disk(sandbox / "made", size) as remount:
        one.done_before.append(f"a disk of {size} KB")
        said = call(one.words, sandbox)
        one.said = said
        one.faults = faults_of(one.words, said)
        remount()
        if not one.faults:
            _finishes(one, sandbox, run)


def closed_pipe(one: Try, rng: random.Random, sandbox: Path, run: str) -> None:
    """Streams that nobody reads, that are full, or closed: the work is done all the same."""
    one.words = list(rng.choice((TRAIN, SWEEP, ["fit", "table.csv", "--json"])))
    targets: dict[str, int] = {}
    for name in rng.choice((("stdout",), ("stderr",), ("stdout", "stderr"))):
        if rng.random() < 0.5:
            targets[name] = os.open("/dev/full", os.O_WRONLY)
        else:
            reader, targets[name] = os.pipe()
            os.close(reader)
    one.done_before.append(f"nobody takes {' and '.join(targets)}")
    try:
        one.said = call(one.words, sandbox, **targets)  # type: ignore[arg-type]
    finally:
        for number in targets.values():
            os.close(number)
    expected = 2 if "stdout" in targets else 0
    if one.said.code != expected:
        one.faults.append(f"exit code {one.said.code} where nobody takes {' and '.join(targets)}")
    if one.words[0] != "fit":
        _same_runs(one, sandbox, run)


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
        one.faults += [] if pythons and str(ROOT) not in one.said.err else ["Ctrl-C gives a traceback"]
    elif one.said.code not in (0, 130, -signal.SIGINT):
        one.faults.append(f"Ctrl-C gives exit code {one.said.code}")


ROOMS: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (killed, full_disk, closed_pipe, environment, stopped_at_once)
}


def _send(number: signal.Signals, times: list[float], process: int, seconds: float) -> None:
    if times and seconds >= times[0]:
        times.pop(0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _finishes(one: Try, sandbox: Path, run: str) -> None:
    one.said = call(one.words, sandbox)
    one.faults += faults_of(one.words, one.said)
    if one.said.code != 0 and one.said.ended != "interrupted":
        one.faults.append(f"does not go on: exit code {one.said.code}")
    elif one.said.code == 0:
        _same_runs(one, sandbox, run)


def _same_runs(one: Try, sandbox: Path, run: str) -> None:
    """One run in ``made``, the one of the corpus, and nothing half done beside it."""
    made, reference = find_runs(sandbox / "made"), sandbox / run
    if one.words[0] == "sweep":
        (reference,) = find_runs(sandbox / "swept")
    if len(made) != 1 or list((sandbox / "made").glob(".*.partial")):
        one.faults.append(f"{len(made)} finished runs in place of one")
        return
    for name in KEPT:
        if (made[0] / name).read_bytes() != (reference / name).read_bytes():
            one.faults.append(f"another {name}")
    losses = [json.loads((path / "summary.json").read_text())["final_loss"] for path in (made[0], reference)]
    if losses[0] != losses[1]:
        one.faults.append("another final loss")


@contextlib.contextmanager
def _disk(folder: Path, kilobytes: int) -> Iterator[Callable[[], None]]:
    """A small file system, which only root may mount; yields what makes it large."""
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o"]
    command = [str(mount), *options, f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.getuid() != 0 or not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        raise NoDisk("a small disk takes root and the right to mount")
    try:
        remount = [mount, "-o", "remount,size=64m", str(folder)]
        yield lambda: subprocess.run(remount, check=True, capture_output=True) and None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


class NoDisk(Exception):
    """Why a try could not be made."""
