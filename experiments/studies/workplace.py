"""Where a study works, and what it gives back."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import BadInput, one_line, read_bytes, write_whole

if TYPE_CHECKING:
    import pandas as pd

    from gpt.config import TrainConfig


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

    def run_tables(
        self, configs: Sequence[TrainConfig], make: Callable[[TrainConfig], pd.DataFrame], columns: Collection[str]
    ) -> list[pd.DataFrame]:
        """What ``make`` gives for each run, one CSV file a run, written as soon as it is known and not made again.

        Raises `BadInput` for a file that has not all of these columns, or no rows.
        """
        import joblib

        from experiments.runs.configs import config_hash

        self.make_folders()
        files = [self.runs / f"{config_hash(config)}.csv" for config in configs]

        def one(config: TrainConfig, file: Path) -> None:
            write_whole(file, make(config).to_csv(index=False).encode())
            print(f"{file.stem}: done", file=sys.stderr, flush=True)

        missing = [(config, file) for config, file in zip(configs, files, strict=True) if not file.exists()]
        joblib.Parallel(n_jobs=self.num_workers)(joblib.delayed(one)(config, file) for config, file in missing)
        return [_read(file, columns) for file in files]

    @contextmanager
    def kernel_threads(self) -> Iterator[None]:
        """Inside the block the kernels of `sim` use that many threads, or all that Numba has if those are fewer."""
        import numba

        from sim.threads import threads

        with threads(min(self.num_workers, numba.config.NUMBA_NUM_THREADS)):  # type: ignore[attr-defined]
            yield


def _read(file: Path, columns: Collection[str]) -> pd.DataFrame:
    """The rows of one run."""
    import pandas as pd

    try:
        run = pd.read_csv(io.BytesIO(read_bytes(file)))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: damaged ({one_line(error)}); delete it to run this one again") from None
    if run.empty or not set(columns) <= set(run.columns):
        raise BadInput(f"{file}: damaged (not the rows of a run); delete it to run this one again")
    return run


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a study found.

    answers : the table of answers that is in the results as well.
    passed : whether every limit of the decision rule is kept; None for a study that asks how much, not whether.
    """

    answers: pd.DataFrame
    passed: bool | None = None
