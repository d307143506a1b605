"""Output that nobody takes does not stop work, and is not called a success."""

from __future__ import annotations

import io
import os
import select
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import streams
from experiments.cli.parser import answer
from experiments.streams import Stream, lasting_streams
from theory.plain_text import GREEK

ROOT = Path(__file__).parents[2]
WORK = """
import sys, time
from argparse import Namespace
from pathlib import Path
from tqdm import tqdm
from experiments import streams
from experiments.cli import main as cli

streams.PATIENCE = 0.5

class Command:
    SUMMARY, EXAMPLES = "work", ()
    def add_flags(parser): pass
    def run(options):
        for _ in tqdm(range(2000), mininterval=0):
            sys.stderr.write("\\r" + 50 * "progress ")
        print("note: half", file=sys.stderr)
        print("half", flush=True)
        Path(sys.argv[1]).write_text("done")
        print("answer")
        return 0

cli.import_module = lambda name: Command
cli.COMMANDS = {"work": "work"}
sys.exit(cli.main(["work"]))
"""


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


KEPT: list[int] = []


def pipe_that_nobody_reads() -> int:
    reader, writer = os.pipe()
    KEPT.append(reader)
    return writer


OUTPUTS: dict[str, Callable[[], int | None]] = {
    "closed pipe": closed_pipe,
    "full disk": lambda: os.open("/dev/full", os.O_WRONLY),
    "slow": pipe_that_nobody_reads,
    "not there": lambda: None,
}


@pytest.fixture(autouse=True)
def close_pipes() -> Iterator[None]:
    yield
    while KEPT:
        os.close(KEPT.pop())


def run(work: Path, *, stdout: int | None, stderr: int | None) -> int:
    """The exit code of a command; None closes the stream."""
    missing = [number for number, stream in ((1, stdout), (2, stderr)) if stream is None]
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(work)],
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: [os.close(number) for number in missing] and None,
    )
    for stream in (stdout, stderr):
        if stream is not None and stream >= 0:
            os.close(stream)
    try:
        return process.wait(timeout=100)
    finally:
        process.kill()


@pytest.mark.long
@pytest.mark.parametrize("output", list(OUTPUTS))
def test_progress_never_stops_work(output: str, tmp_path: Path) -> None:
    assert run(tmp_path / "work", stdout=subprocess.DEVNULL, stderr=OUTPUTS[output]()) == 0
    assert (tmp_path / "work").read_text() == "done"


@pytest.mark.long
@pytest.mark.parametrize("output", list(OUTPUTS))
def test_an_answer_that_nobody_gets_is_a_failure_once_the_work_is_done(output: str, tmp_path: Path) -> None:
    code = run(tmp_path / "work", stdout=OUTPUTS[output](), stderr=subprocess.DEVNULL)
    assert code == (0 if output == "slow" else 2)  # a slow reader has it in the pipe
    assert (tmp_path / "work").read_text() == "done"


def test_a_reader_who_is_gone_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.2)
    waits: list[float] = []

    class Poll:
        def __init__(self) -> None:
            self._poll = select.poll()

        def register(self, descriptor: int, events: int) -> None:
            self._poll.register(descriptor, events)

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            waits.append(milliseconds)
            return self._poll.poll(milliseconds)

    monkeypatch.setattr(streams, "select", SimpleNamespace(poll=Poll, POLLOUT=select.POLLOUT))
    with os.fdopen(pipe_that_nobody_reads(), "w") as pipe:
        errors = Stream(pipe, patient=False)
        for _ in range(100):  # the pipe takes 65,536 letters
            errors.write(999 * "x" + "\n")
        waits.clear()
        for _ in range(20):
            errors.write("one more\n")
        assert waits == [0.0] * 20
        os.read(KEPT[0], 65536)
        errors.write("heard again\n")
        assert os.read(KEPT[0], 65536) == b"heard again\n"


def test_what_an_encoding_does_not_have_is_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of columns may be in any language."""
    taken = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken, encoding="ascii"))
    with lasting_streams() as output:
        print(f"2{GREEK['eta']}{GREEK['lambda']} {chr(0x263A)}")
    assert taken.getvalue() == b"2 eta lambda \\u263a\n"
    assert not output.fault


@pytest.mark.parametrize("verdict", [0, 1])
def test_a_verdict_that_nobody_gets_is_a_failure(verdict: int, capsys: pytest.CaptureFixture[str]) -> None:
    output = Stream(None, patient=True)
    output.write("verdict")
    assert answer(lambda options: verdict, Namespace(), prog="lrbend verify", output=output) == 2
    assert capsys.readouterr().err == "lrbend verify: error: stdout: cannot be written (it is closed)\n"


def test_nothing_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of columns and arms come from other people's files."""
    with lasting_streams():
        print("arm \x1b[2J\x9b\x07 \u202etxet \udcff é\tü")
        print("\r 50 %\x1b]0;x\x07", file=sys.stderr)
    said = capsys.readouterr()
    assert said.out == "arm \\x1b[2J\\x9b\\x07 \\u202etxet \\udcff é\tü\n"
    assert said.err == "\r 50 %\\x1b]0;x\\x07\n"
