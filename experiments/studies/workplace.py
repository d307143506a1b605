"""Where a study works, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import BadInput, write_whole

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """The folders of a study and the share of the machine that it may use.

    runs : holds run directories, or a CSV file for each run or arm; what is finished there is not run again.
    results : gets tables, answers, figures and the config that made them.
    num_workers : processes or threads at a time, at least 1.
    """

    runs: Path
    results: Path
    num_workers: int = 1

    def make_folders(self) -> None:
        """Both of them, before anything is run. Raises `BadInput`."""
        for folder in (self.runs, self.results):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"{folder}: cannot be written ({error.strerror})") from None

    def write(self, name: str, content: str | bytes) -> None:
        """A file of the results, replaced whole. Raises `BadInput`."""
        write_whole(self.results / name, content.encode() if isinstance(content, str) else content)

    @contextmanager
    def kernel_threads(self) -> Iterator[None]:
        """Inside the block the kernels of `sim` use that many threads, or all that Numba has if those are fewer."""
        import numba

        from sim.threads import threads

        with threads(min(self.num_workers, numba.config.NUMBA_NUM_THREADS)):  # type: ignore[attr-defined]
            yield


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a study found.

    answers : the table of answers that is in the results as well.
    passed : whether every limit of the decision rule is kept; None for a study that asks how much, not whether.
    """

    answers: pd.DataFrame
    passed: bool | None = None
