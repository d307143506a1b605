"""How far runs are, wherever they are computed: each leaves its step in a small file, and a bar reads them all."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from experiments.runs import run_directory
from experiments.runs.run_directory import PROGRESS_FILE

OFTEN_ENOUGH = 0.5  # seconds between steps that are told
LINES_APART = 30.0  # seconds between them in a file, where each is a line
LONGEST_STEP = 20  # digits
NO_SURPRISE = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def bar(**options: Any) -> tqdm[Any]:
    """tqdm's bar on stderr; where that is not a terminal, a line from time to time, since nothing can be drawn over."""
    if sys.stderr.isatty():
        return tqdm(dynamic_ncols=True, **options)
    return tqdm(file=_Lines(sys.stderr), **{**options, "mininterval": LINES_APART, "maxinterval": LINES_APART})


class _Lines:
    """A stream in which what tqdm would draw over the line before is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if drawn := text.strip("\r\n "):
            self._stream.write(drawn + "\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def progress_writer(partial: Path, on_progress: Callable[[int, float], None] | None) -> Callable[[int, float], None]:
    """Report the step to the caller, and to other processes through a small file, at most twice a second."""
    last = 0.0

    def report(step: int, loss: float) -> None:
        nonlocal last
        if on_progress is not None:
            on_progress(step, loss)
        if time.monotonic() - last > OFTEN_ENOUGH:
            last = time.monotonic()
            with contextlib.suppress(OSError):  # a full disk ends a run when its results cannot be written, not here
                _tell(partial / PROGRESS_FILE, step)

    return report


def _tell(file: Path, step: int) -> None:
    """Neither a link is followed nor a pipe waited for. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_SURPRISE, 0o666)
    try:
        os.write(descriptor, str(step).encode())
    finally:
        os.close(descriptor)


def _told(file: Path) -> int:
    """The step in a file, 0 in an empty one. Raises OSError and ValueError."""
    descriptor = os.open(file, os.O_RDONLY | NO_SURPRISE)
    try:
        return int(os.read(descriptor, LONGEST_STEP) or 0)
    finally:
        os.close(descriptor)


class ProgressBar:
    """Steps, time left and finished runs on stderr, looked up twice a second by a thread while the context lasts.

    ``num_steps`` : of each run, by the path of its directory.
    """

    def __init__(self, num_steps: Mapping[Path, int]) -> None:
        self._open = dict(num_steps)
        self._num_runs, self._total = len(self._open), sum(self._open.values())
        self._steps_finished = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self._bar = bar(total=self._total, unit="step", mininterval=OFTEN_ENOUGH, smoothing=0.05)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show()
        self._bar.close()

    def _poll(self) -> None:
        while not self._stop.wait(OFTEN_ENOUGH):
            self._show()

    def _show(self) -> None:
        steps = 0
        for path, length in list(self._open.items()):
            if run_directory.is_finished(path):
                self._steps_finished += self._open.pop(path)
                continue
            try:
                done = _told(run_directory.partial_path(path) / PROGRESS_FILE)
            except (OSError, ValueError):
                continue
            steps += min(done, length)
        self._bar.set_description(f"{self._num_runs - len(self._open)}/{self._num_runs} runs", refresh=False)
        self._bar.update(max(0, self._steps_finished + steps - self._bar.n))
