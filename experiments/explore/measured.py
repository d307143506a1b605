"""What was measured, to lay over a prediction: a run, a folder of runs, somebody's log, a table of a study.

Paths come from the command line alone; the page knows runs by their number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments.explore.answers import shortened
from experiments.files import BadInput, read_bytes
from theory import Optimizer, Schedule, Trajectory

MOST_MATRICES, MOST_RECORDS, MOST_CURVES = 12, 300, 60
LARGEST_TABLE = 10**7  # bytes
CURVE_COLUMNS, END_COLUMNS = ("run", "step", "weight_rms"), ("learning_rate", "num_steps")
ENDS = ("final_rms", "mean_angle")
READ_COLUMNS = ("step", "learning_rate", "angular_update", "adamh_learning_rate")  # of lrbend read --csv
MADE_SO = "lrbend read {} --weight-decay ... --csv run.csv makes a table that explore --run run.csv draws"
OF_ENDS = "diamonds: final RMS and mean angle of a run at its end; faint, unless at this learning rate and decay"
NAMED_BY = ("arm", "optimizer", "seed")  # what tells runs of a table apart beside the rate


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One thing that was measured.

    curves : each ``{name, step, weight_rms, angular_update}``, lists, None for what was not recorded; ``predicted`` in
    one that a log's own theory made. ends : of runs without a curve, each ``{name, learning_rate, weight_decay,
    num_steps, final_rms, mean_angle}``. setting : optimizer, schedule, initial RMS, where they are known.
    """

    name: str
    kind: str
    curves: Sequence[Mapping[str, Any]] = ()
    ends: Sequence[Mapping[str, Any]] = ()
    setting: tuple[Optimizer, Schedule, float] | None = None
    notes: Sequence[str] = field(default=())


def read_measured(path: Path) -> list[Measured]:
    """What lies at a path. Raises `BadInput` for what is nothing of the kind, `InvalidParameter` as a log may."""
    from experiments.runs.run_directory import is_finished

    if path.is_dir() and is_finished(path):
        return [_run(path)]
    if path.is_dir():
        runs = sorted(child for child in path.iterdir() if not child.name.startswith(".") and is_finished(child))
        if runs:
            return [_run(child) for child in runs]
    if path.suffix == ".csv" and path.is_file():
        table = _table(path)
        if table is not None:
            return [table]
    return [_log(path)]


def _run(path: Path) -> Measured:
    from experiments.runs.run_files import load_run

    run = load_run(path)
    trajectory = run.trajectory
    initial = float(np.median(trajectory.weight_rms[0])) if len(trajectory.steps) else None
    return Measured(
        name=path.name,
        kind="run",
        curves=_curves(trajectory),
        setting=None if not initial else (run.config.optimizer, run.config.schedule, initial),
        notes=() if len(trajectory.matrices) <= MOST_MATRICES else (_left_out(len(trajectory.matrices)),),
    )


def _log(path: Path) -> Measured:
    from experiments.logs.reading import read_log
    from experiments.logs.settings import Setting

    reading = read_log(path, Setting())
    curves = _curves(reading.trajectory)
    series = reading.series
    if not curves and series.get("weight_rms"):
        curves = [{"name": "all weights", "step": series["step"], "weight_rms": series["weight_rms"]}]
    predicted = series.get("weight_rms_predicted")
    if predicted:
        curves.append({"name": "its closed form", "step": series["step"], "weight_rms": predicted, "predicted": True})
    told = [note for note in reading.notes if "--" in note]  # in the words of lrbend read, whose flags they name
    notes = [note for note in reading.notes if "--" not in note]
    if not any("weight_rms" in curve and not curve.get("predicted") for curve in curves):
        notes.append("it has no weight RMS to draw")
    if told:
        notes.append(f"flags of lrbend read tell more: {MADE_SO.format(path.name)}")
    return Measured(name=path.name, kind=reading.kind, curves=curves, notes=notes)


def _table(path: Path) -> Measured | None:
    """A table of a study with a record or a run a row; None for other tables, which may be logs."""
    text = read_bytes(path, largest=LARGEST_TABLE).decode("utf-8", errors="replace")
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error:
        return None
    rows = [{name: cell or "" for name, cell in row.items() if name is not None} for row in rows]  # of any length
    header = set(rows[0]) if rows else set()
    if header.issuperset(CURVE_COLUMNS):
        return Measured(name=_short(path), kind="table of records", **_curves_of_table(rows))
    if header.issuperset(READ_COLUMNS):
        return Measured(name=_short(path), kind="table of lrbend read", curves=_curves_of_reading(rows))
    if header.issuperset(END_COLUMNS) and header.intersection(ENDS):
        ends = [_end(row) for row in rows]
        return Measured(name=_short(path), kind="table of runs", ends=ends, notes=(OF_ENDS,))
    return None


def _curves_of_table(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    found: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        name = row["run"] + (f": {row['kind']}" if row.get("kind") else "")
        step, rms = _value(row["step"]), _value(row["weight_rms"])
        if step is not None and rms is not None:
            curve = found.setdefault(name, {"step": [], "weight_rms": [], "angular_update": []})
            curve["step"].append(step)
            curve["weight_rms"].append(rms)
            curve["angular_update"].append(_value(row.get("angular_update")))
    kept = list(found.items())[:MOST_CURVES]
    notes = [] if len(kept) == len(found) else [f"{len(kept)} of {len(found)} curves are shown"]
    return {"curves": [{"name": name, **curve} for name, curve in kept], "notes": notes}


def _curves_of_reading(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """What was logged of all weights, and the closed form beside it."""
    keep = np.unique(np.linspace(0, len(rows) - 1, MOST_RECORDS).round().astype(np.int64))
    columns = {name: [_value(rows[place].get(name)) for place in keep] for name in rows[0]}
    logged, predicted = (columns.get(name, []) for name in ("weight_rms", "weight_rms_predicted"))
    angles = columns["angular_update"]
    curves: list[dict[str, Any]] = []
    if any(value is not None for value in logged):
        curves.append({"name": "all weights", "weight_rms": logged, "angular_update": angles})
    if any(value is not None for value in predicted):
        turned = columns.get("angular_update_predicted", [None] * len(angles) if curves else angles)
        curves.append({"name": "its closed form", "weight_rms": predicted, "angular_update": turned, "predicted": True})
    return [{**curve, "step": columns["step"]} for curve in curves]


def _end(row: Mapping[str, str]) -> dict[str, Any]:
    named = ", ".join(f"{name} {row[name]}" for name in NAMED_BY if row.get(name))
    numbers = {name: _value(row.get(name)) for name in (*END_COLUMNS, "weight_decay", *ENDS)}
    return {"name": named or "run", **numbers}


def _curves(trajectory: Trajectory) -> list[dict[str, Any]]:
    """Up to `MOST_MATRICES` matrices of a trajectory, spread over all, at up to `MOST_RECORDS` records."""
    if not len(trajectory.steps):
        return []
    keep = np.unique(np.linspace(0, len(trajectory.steps) - 1, MOST_RECORDS).round().astype(np.int64))
    count = len(trajectory.matrices)
    places = np.unique(np.linspace(0, count - 1, min(count, MOST_MATRICES)).round().astype(np.int64))
    return [
        {
            "name": trajectory.matrices[place],
            "step": trajectory.steps[keep].tolist(),
            "weight_rms": shortened(trajectory.weight_rms[keep, place]),
            "angular_update": shortened(trajectory.angular_update[keep, place]),
        }
        for place in places.tolist()
    ]


def _left_out(count: int) -> str:
    return f"{MOST_MATRICES} of its {count} matrices are shown"


def _short(path: Path) -> str:
    """A table with its folder, which names the study."""
    return "/".join(path.resolve().parts[-2:])


def _value(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def require_some(found: Sequence[Measured]) -> None:
    """Raises `BadInput` where nothing can be drawn of something."""
    for each in found:
        if not each.curves and not each.ends:
            raise BadInput(
                f"--run {each.name}: nothing to draw: no weight RMS, no angle; {MADE_SO.format(each.name)}, with"
                " --column, where names of its norms are not the usual ones"
            )
