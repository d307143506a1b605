"""A progress bar over many runs, wherever they are computed: it reads the small files that they leave."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from tqdm import tqdm

from experiments.runs import run_directory
from experiments.runs.producing import PROGRESS_FILE, Job


class ProgressBar:
    """Steps, time left and finished runs on stderr, looked up twice a second by a thread while the context lasts."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._open = {job.path: job.config.schedule.num_steps for job in jobs}
        self._num_runs, self._total = len(self._open), sum(self._open.values())
        self._steps_finished = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self._bar = tqdm(total=self._total, unit="step", mininterval=0.5, smoothing=0.05, dynamic_ncols=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show()
        self._bar.close()

    def _poll(self) -> None:
        while not self._stop.wait(0.5):
            self._show()

    def _show(self) -> None:
        steps = 0
        for path, length in list(self._open.items()):
            if run_directory.is_finished(path):
                self._steps_finished += self._open.pop(path)
                continue
            try:
                done = int((run_directory.partial_path(path) / PROGRESS_FILE).read_text() or 0)
            except (OSError, ValueError):
                continue
            steps += min(done, length)
        self._bar.set_description(f"{self._num_runs - len(self._open)}/{self._num_runs} runs", refresh=False)
        self._bar.update(max(0, self._steps_finished + steps - self._bar.n))
