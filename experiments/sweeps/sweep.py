"""All runs of a study into one directory, in rounds, and the table of what is finished.

What a sweep still has to do is a function of the study and of the finished runs in the directory, nothing else: it can
be stopped anywhere and started again, twice at once, or with another executor. A round holds all fixed runs that are
missing and the runs that the adaptive cells ask for next.

``study.json`` and ``table.csv`` lie beside the run directories; the table is what ``lrbend fit`` reads.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.files import BadInput, csv_text, read_json, to_json, write_whole
from experiments.runs import diagnoses, run_directory
from experiments.runs.configs import config_from_dict, config_to_dict
from experiments.runs.produce import Job
from experiments.runs.run_files import read_provenance, read_summary
from experiments.sweeps.adaptive import Grid, Point, grow
from experiments.sweeps.study import Study, StudyCell
from gpt.estimates import num_tokens
from theory import InvalidParameter

STUDY_FILE, TABLE_FILE = "study.json", "table.csv"
COLUMNS = (
    "num_params",
    "num_tokens",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "optimizer",
    "seed",
    "loss",
    "loss_se",
    "outcome",
    "arm",
    "num_steps",
    "d_model",
    "non_matrix_learning_rate",
    "initial_rms",
    "final_rms",
    "mean_angle",
    "tokens_per_second",
    *diagnoses.COLUMNS,
    "run",
)

Execute = Callable[[Sequence[Job]], dict[Path, str]]  # produces all, returns a line per run that failed


@dataclass(frozen=True)
class CellState:
    """A cell of a study in a directory: its jobs, in order, and of an adaptive cell the grid."""

    cell: StudyCell
    jobs: tuple[Job, ...]
    grid: Grid | None

    @property
    def missing(self) -> list[Job]:
        return [job for job in self.jobs if not run_directory.is_finished(job.path)]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep leaves: the cells as they stand, the table, and a line for each run that failed."""

    cells: tuple[CellState, ...]
    table: Path
    faults: tuple[str, ...]

    @property
    def num_runs(self) -> int:
        return sum(len(cell.jobs) for cell in self.cells)

    @property
    def num_finished(self) -> int:
        return self.num_runs - sum(len(cell.missing) for cell in self.cells)


def sweep(study: Study, directory: Path, execute: Execute) -> SweepResult:
    """Produce what is missing of a study in ``directory``, round by round.

    ``execute`` produces the runs of one round and returns a line per run that failed; a cell with a failed run goes no
    further, the others do. The table is written at the end, and also on the way out of an exception such as Ctrl-C.
    Raises `BadInput` where the directory cannot hold the study, or its text cannot be read, before anything starts.
    """
    check_directory(study, directory)
    check_inputs(study)
    _open_directory(study, directory)
    table, faults = directory / TABLE_FILE, dict[Path, str]()
    try:
        while True:
            cells = states(study, directory)
            jobs = [job for cell in cells for job in cell.missing if job.path not in faults]
            if not jobs:
                break
            faults |= execute(jobs)
            unfinished = [job for job in jobs if not run_directory.is_finished(job.path) and job.path not in faults]
            faults |= {job.path: f"{job.path}: was not produced" for job in unfinished}
    except BaseException:
        write_table(states(study, directory), table)
        raise
    write_table(cells, table)
    return SweepResult(cells, table, tuple(faults.values()))


def check_inputs(study: Study) -> None:
    """Raise `InvalidParameter` if a run cannot start here: no GPU, a text that is missing or does not fit the model."""
    from gpt.data import load_text
    from gpt.distributed import pick_device
    from gpt.train import check_text

    for cell in study.cells:
        pick_device(cell.config.device)
        check_text(load_text(cell.config.source), cell.config)


def check_directory(study: Study, directory: Path) -> None:
    """Raise `BadInput` if the directory holds another study. One that has grown, under the same name, is the same."""
    file = directory / STUDY_FILE
    if file.exists():
        other = config_from_dict(Study, read_json(file), where=str(file))
        if other.name != study.name:
            raise BadInput(f"{directory}: holds the study {other.name}; give {study.name} another directory")


def _open_directory(study: Study, directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{directory}: cannot hold a study ({error.strerror})") from None
    write_whole(directory / STUDY_FILE, (to_json(config_to_dict(study), indent=1) + "\n").encode())


def states(study: Study, directory: Path) -> tuple[CellState, ...]:
    """Every cell with the runs it asks for now."""
    return tuple(_state(cell, directory) for cell in study.cells)


def _state(cell: StudyCell, directory: Path) -> CellState:
    if cell.adaptive is None:
        points: tuple[Point, ...] = tuple((rate, seed) for rate in cell.learning_rates for seed in cell.seeds)
        return CellState(cell, tuple(cell.job(directory, *point) for point in points), None)
    losses = _Finished(cell, directory)
    grid = grow(cell.adaptive, cell.learning_rates, cell.seeds, losses)
    jobs = []
    for point in grid.points:
        with contextlib.suppress(InvalidParameter):  # such a rate counts as diverged
            jobs.append(cell.job(directory, *point))
    return CellState(cell, tuple(jobs), grid)


class _Finished(dict[Point, float]):
    """The losses of a cell's finished runs, looked up where they are asked for."""

    def __init__(self, cell: StudyCell, directory: Path) -> None:
        super().__init__()
        self._cell, self._directory = cell, directory

    def __contains__(self, point: object) -> bool:
        assert isinstance(point, tuple)
        if super().__contains__(point):
            return True
        try:
            job = self._cell.job(self._directory, *point)
        except InvalidParameter:  # a rate that the optimizer cannot take
            self[point] = math.inf
            return True
        if not run_directory.is_finished(job.path):
            return False
        loss = read_summary(job.path).get("final_loss")
        self[point] = math.nan if loss is None else float(loss)
        return True


def write_table(cells: Sequence[CellState], path: Path) -> None:
    """One row per finished run: losses in nats, ``nan`` where a run diverged; RMS as medians over block matrices;
    ``mean_angle`` in radians per step, measured: mean over recorded steps, median over block matrices.

    What ``lrbend diagnose`` measures is ``nan`` in runs that it has not seen.
    """
    finished = [(state.cell, job) for state in cells for job in state.jobs if run_directory.is_finished(job.path)]
    write_whole(path, csv_text([_table_row(cell, job) for cell, job in finished], COLUMNS).encode())
    for line in _mixtures([job for _, job in finished], path):
        print(f"note: {line}", file=sys.stderr, flush=True)


def _mixtures(jobs: Sequence[Job], table: Path) -> list[str]:
    """What the rows of a table do not have in common without a sign of it, and finished runs that it leaves out."""
    lines = []
    origins = [(job.config.source, read_provenance(job.path)) for job in jobs]
    for source in sorted({source for source, _ in origins}):
        texts = {str(origin.get("data_fingerprint")) for other, origin in origins if other == source and origin}
        if len(texts) > 1:
            lines.append(f"{table}: runs on {len(texts)} different texts under the name {source}")
    conditions = [one for _, origin in origins for one in origin.get("conditions", []) if isinstance(one, dict)]
    codes = {str(one.get("code")) for one in conditions}
    if len(codes) > 1:
        lines.append(f"{table}: runs by {len(codes)} versions of the code, see conditions in their provenance.json")
    mine = {job.path.name for job in jobs}
    others = [path for path in run_directory.find_runs(table.parent) if path.parent == table.parent]
    left_out = [path.name for path in others if path.name not in mine]
    if left_out:
        lines.append(f"{table}: without {len(left_out)} finished runs that this study does not ask for ({left_out[0]})")
    return lines


def _table_row(cell: StudyCell, job: Job) -> dict[str, object]:
    summary, config = read_summary(job.path), job.config
    final_rms = list(summary.get("final_weight_rms", {}).values())
    row: dict[str, object] = {
        "num_params": summary.get("num_params"),
        "num_tokens": num_tokens(config),
        "learning_rate": config.optimizer.learning_rate,
        "weight_decay": getattr(config.optimizer, "weight_decay", 0.0),
        "batch_size": config.batch_size,
        "optimizer": config.optimizer.name,
        "seed": config.seed,
        "loss": _known(summary.get("final_loss")),
        "loss_se": _known(summary.get("final_loss_se")),
        "outcome": summary["outcome"],
        "arm": cell.arm or cell.label,
        "num_steps": config.schedule.num_steps,
        "d_model": config.model.d_model,
        "non_matrix_learning_rate": config.non_matrix_learning_rate,
        "initial_rms": config.block_rms or config.model.init_rms,
        "final_rms": statistics.median(final_rms) if final_rms and None not in final_rms else math.nan,
        "mean_angle": _known(summary.get("mean_angular_update")),
        "tokens_per_second": _known(summary.get("tokens_per_second")),
        **diagnoses.read_diagnosis(job.path),
        "run": job.path.name,
    }
    return row


def _known(value: object) -> object:
    return math.nan if value is None else value


def cell_in_words(state: CellState) -> str:
    """One line: how many runs are finished, and of an adaptive cell the optimum so far."""
    finished = len(state.jobs) - len(state.missing)
    line = f"{state.cell.label:24} {finished:4}/{len(state.jobs)} runs"
    grid = state.grid
    if grid is None or grid.optimum is None:
        return line
    width = f"{grid.width:.2f}" if math.isfinite(grid.width) else "open"
    best = grid.optimum.learning_rate
    at = "not known" if best is None else f"{best:.3g}"
    return f"{line}  {grid.status.value}: optimum {at} ({grid.optimum.status.value}), 95 % width in ln {width}"
