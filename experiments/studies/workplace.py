"""Where a study works, and what it gives back."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.files import BadInput, csv_text, one_line, read_bytes, write_whole
from experiments.tables.numbers import LARGEST

if TYPE_CHECKING:
    import pandas as pd

    from gpt.config import TrainConfig

MOST_COUNTED = 2**53  # of what a column of whole numbers counts


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """The folders of a study and the share of the machine that it may use.

    runs : holds run directories, or a CSV file for each run or arm; what is finished there is not run again.
    results : gets tables, answers, figures and the config that made them.
    num_workers : processes or threads at a time, at least 1.
    again : names of runs that are made again, whatever tables of earlier ones say.
    """

    runs: Path
    results: Path
    num_workers: int = 1
    again: frozenset[str] = frozenset()

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

    def file_of(self, config: TrainConfig) -> Path:
        """The CSV file of a run among the runs."""
        from experiments.runs.configs import config_hash

        return self.runs / f"{config_hash(config)}.csv"

    def run_tables(
        self,
        configs: Sequence[TrainConfig],
        make: Callable[[TrainConfig], pd.DataFrame],
        *,
        numbers: Collection[str],
        gaps: Collection[str] = (),
        texts: Collection[str] = (),
    ) -> list[pd.DataFrame]:
        """What ``make`` gives for each run, one CSV file a run, written as soon as it is known and not made again.

        Raises `BadInput` for a file that `read_rows` does not take with these columns.
        """
        import joblib

        self.make_folders()
        files = [self.file_of(config) for config in configs]

        def one(config: TrainConfig, file: Path) -> None:
            write_whole(file, make(config).to_csv(index=False).encode())
            print(f"{file.stem}: done", file=sys.stderr, flush=True)

        missing = [(config, file) for config, file in zip(configs, files, strict=True) if not file.exists()]
        joblib.Parallel(n_jobs=self.num_workers)(joblib.delayed(one)(config, file) for config, file in missing)
        remedy = "; delete it to run this one again"
        return [read_rows(file, numbers=numbers, gaps=gaps, texts=texts, remedy=remedy) for file in files]

    @contextmanager
    def kernel_threads(self) -> Iterator[None]:
        """Inside the block the kernels of `sim` use that many threads, or all that Numba has if those are fewer."""
        import numba

        from sim.threads import threads

        with threads(min(self.num_workers, numba.config.NUMBA_NUM_THREADS)):  # type: ignore[attr-defined]
            yield


def read_rows(
    file: Path,
    *,
    numbers: Collection[str],
    gaps: Collection[str] = (),
    texts: Collection[str] = (),
    remedy: str = "",
) -> pd.DataFrame:
    """The rows of a CSV file of runs, at least one. Other columns come as they are.

    numbers : columns of finite numbers, below 1e30 in size. gaps : of any numbers, cells may be empty. texts : of text.
    Raises `BadInput`, with the ``remedy``, for a file that is something else or has other columns.
    """
    import numpy as np
    import pandas as pd

    def refuse(reason: str) -> BadInput:
        return BadInput(f"{file}: damaged ({reason}){remedy}")

    try:
        table = pd.read_csv(io.BytesIO(read_bytes(file)), dtype=dict.fromkeys(texts, str))
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise refuse(one_line(error)) from None
    if missing := [name for name in (*numbers, *gaps, *texts) if name not in table.columns]:
        raise refuse(f"no column {', '.join(missing)}")
    if table.empty:
        raise refuse("no rows")
    for name in (*numbers, *gaps):
        values = table[name]
        if values.dtype.kind not in "iuf":  # else it is numbers already, and a study reads thousands of files
            values = pd.to_numeric(values, errors="coerce")
            if name in gaps and (values.isna() & table[name].notna()).any():
                raise refuse(f"{name} must be a number, or empty")
            table[name] = values
        if name not in gaps and not (np.abs(values.to_numpy(np.float64)) < LARGEST).all():
            raise refuse(f"{name} must be a finite number in every row")
    if unnamed := [name for name in texts if table[name].isna().any()]:
        raise refuse(f"{unnamed[0]} is missing in a row")
    return table


def read_settings(
    file: Path, kinds: Mapping[str, type[int | float]], gaps: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The rows of a table that grows by a setting at a time, as `write_settings` wrote it; none without a file.

    kinds : of all columns, `int` where something is counted, from 1 on. gaps : columns that may be NaN. Raises
    `BadInput` for a file that is anything else, the last line torn off included.
    """
    if not file.exists():
        return []
    try:
        *whole, torn = read_bytes(file).decode().split("\n")
        if torn:
            raise ValueError("the last line is not whole")
        rows = [{key: kinds[key](value) for key, value in row.items()} for row in csv.DictReader(whole, strict=True)]
        for row in rows:
            known = {key for key, value in row.items() if abs(value) < LARGEST}
            if set(row) != set(kinds) or not set(row) - known <= set(gaps):
                raise ValueError("not the row of a setting")
            if other := [key for key, kind in kinds.items() if kind is int and not 0 < row[key] <= MOST_COUNTED]:
                raise ValueError(f"{other[0]} is not a whole number from 1 on")
        return rows
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadInput(f"{file}: damaged ({one_line(error)}); delete it to run these settings again") from None


def write_settings(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """All rows so far, in place of those that were there. Raises `BadInput`."""
    write_whole(file, csv_text(rows).encode())


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a study found.

    answers : the table of answers that is in the results as well.
    passed : whether every limit of the decision rule is kept; None for a study that asks how much, not whether.
    """

    answers: pd.DataFrame
    passed: bool | None = None
