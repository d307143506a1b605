"""Forty tries of the attack; ``make fuzz`` has minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attack.tries import ROOT, Said, faults_of

SEED, TRIES = 0, 40  # of commands and damaged files, which are the same on every machine; kills are for `make fuzz`


def test_nothing_breaks(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.attack.attack", "--seed", str(SEED), "--tries", str(TRIES)]
    done = subprocess.run(
        [*command, "--room", "command", "--out", str(tmp_path / "attack")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["tries"] == TRIES


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
        ("train", Said(130, "", LEFT.format(ROOT / "gpt/x.py"), 1, "interrupted"), "traceback AttributeError: a"),
        ("train", Said(0, "", LEFT.format("/lib/site-packages/llvmlite/ffi.py"), 1), "traceback AttributeError: a"),
    ],
)
def test_what_is_a_fault(words: str, said: Said, fault: str | None) -> None:
    assert faults_of(words.split(), said) == ([fault] if fault else [])
