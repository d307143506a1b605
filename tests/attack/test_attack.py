"""A little of the attack; ``make fuzz`` and ``make attack`` have minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.main import COMMANDS
from tests.attack.templates import TEMPLATES
from tests.attack.tries import ROOT, Said, _cpu_seconds_of_workers, faults_of
from tests.attack.work import ANSWERS

SEED, TRIES = 0, 5  # of commands and damaged files, which are the same on every machine
QUICK = 4  # commands with streams that nobody takes


def attack(folder: Path, *flags: str, timeout: float = 600) -> dict[str, Any]:
    """What the attack counted, in a process of its own; fails if it found a fault."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.attack.attack", "--seed", str(SEED), "--budget", str(timeout)]
    done = subprocess.run(
        [*command, *flags, "--out", str(folder / "attack")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    counted: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return counted


@pytest.mark.long
def test_nothing_breaks(tmp_path: Path) -> None:
    flags = ("--room", "command", "--tries", str(TRIES), "--also", "streams", str(QUICK))
    assert attack(tmp_path, *flags)["rooms"] == {"command": TRIES, "streams": QUICK}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "tries"),
    [("killed", 100), ("full_disk", 60), ("streams", 19 * 35), ("environment", 80), ("stopped_at_once", 40)],
)
def test_nothing_is_lost_and_exit_codes_are_true(room: str, tries: int, tmp_path: Path) -> None:
    """``make attack``: kills of eleven kinds of work, disks of 8 KB to 64 MB, every command with all streams."""
    counted = attack(tmp_path, "--room", room, "--tries", str(tries), timeout=7200)
    if room == "full_disk" and not counted["rooms"]:
        pytest.skip(*counted["skipped"])
    assert counted["rooms"] == {room: tries}
    assert room != "killed" or counted["kills"] >= 100


def test_every_command_is_attacked() -> None:
    assert set(TEMPLATES) == set(ANSWERS) == set(COMMANDS)


LEFT = """lrbend train: stopped
Exception ignored in: <function ObjectRef.__del__ at 0x7f97>
Traceback (most recent call last):
  File "{}", line 395, in __del__
    self.close()
AttributeError: a
"""


@pytest.mark.parametrize(
    ("words", "said", "fault"),
    [
        ("fit x", Said(1, "", "Traceback (most recent call last):\nKeyError: 'a'\n", 1), "traceback KeyError: 'a'"),
        ("fit x", Said(2, "", "", 1), "0 lines say what is wrong"),
        ("fit x", Said(2, "", "lrbend fit: error: a\nlrbend fit: error: b\n", 1), "2 lines say what is wrong"),
        ("fit x", Said(-11, "", "", 1), "exit code -11"),
        ("fit x", Said(130, "", "lrbend fit: stopped", 1), "exit code 130"),
        ("fit x --json", Said(0, '{"a": NaN}', "", 1), "not JSON: NaN"),
        ("fit x", Said(0, "", "x.py:1: RuntimeWarning: overflow\n", 1), "warning RuntimeWarning: overflow"),
        ("fit x", Said(0, "arm \x1b[2J", "", 1), "terminal escape"),
        ("fit x", Said(0, "", "", 99, "hang"), "hang"),
        ("fit x", Said(1, "", "", 1), "exit code 1"),
        ("verify x", Said(1, "", "", 1), None),
        ("fit x", Said(0, "", "lrbend fit: error: a\n", 1), "a success that says what is wrong"),
        ("fit x --json", Said(2, "{}", "lrbend fit: error: a\n", 1), "an answer beside exit code 2"),
        ("fit x", Said(0, "", "x.py:1: ResourceWarning: open\n", 1), "warning ResourceWarning: open"),
        ("train", Said(130, "", "x.py:1: ResourceWarning: open\n", 1, "interrupted"), None),
        ("train", Said(-2, "", "", 1, "interrupted"), "exit code -2"),
        ("train", Said(-2, "", "", 1, "interrupted", real=True), None),
        ("fit x", Said(2, "", "lrbend fit: error: a: must be b\n", 1), None),
        ("train", Said(130, "", "lrbend train: stopped", 1, "interrupted"), None),
        ("train", Said(130, "", LEFT.format("/lib/site-packages/llvmlite/ffi.py"), 1, "interrupted"), None),
        ("train", Said(130, "", LEFT.format("h5py/h5o.pyx"), 1, "interrupted"), None),
        ("train", Said(130, "", LEFT.format(ROOT / "gpt/x.py"), 1, "interrupted"), "traceback AttributeError: a"),
        ("train", Said(0, "", LEFT.format("/lib/site-packages/llvmlite/ffi.py"), 1), "traceback AttributeError: a"),
    ],
)
def test_what_is_a_fault(words: str, said: Said, fault: str | None) -> None:
    assert faults_of(words.split(), said) == ([fault] if fault else [])


def test_a_command_whose_workers_work_does_not_hang() -> None:
    """It waits for them, and its own processor time stands still."""
    waiting = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", waiting], start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 20
            while not (worked := _cpu_seconds_of_workers(process.pid)) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert worked > 0
        finally:
            os.killpg(process.pid, signal.SIGKILL)
