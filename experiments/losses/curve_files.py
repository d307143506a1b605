"""Loss curves as files: a folder of CSV files with step, learning rate and loss, one run each, in groups by subfolder.

Records may be far apart: rates between them are on a straight line, and before the first one they rise from 0 in a
straight line, which is a warmup that was not recorded. Rows without a loss tell the rate alone. A curve with a loss
that is not a positive number diverged and is left out. Curves of one group are fitted together, so they have to be of
one model and batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.losses.columns import find_curve
from experiments.losses.settings import RATES
from experiments.tables.filters import Condition
from experiments.tables.formats import read_raw
from experiments.tables.run_table import Exclusion
from experiments.text import counted

Array = NDArray[np.float64]

LEAST_CURVES, LEAST_RECORDS = 3, 10
WIDEST_LENGTHS = 20  # ratio of the longest to the shortest curve of a group
MOST_FILES = 1000
MOST_STEPS = 10**7  # of one curve
HIGHEST_LOSS = 1e6  # nats, above which a run has diverged
SAME_SHAPE = 0.02  # of the peak, to which two schedules may differ and count as one


@dataclass(frozen=True, kw_only=True, eq=False)
class LossCurve:
    """A run's records. steps : (num_records,) 0-based, rising. losses : (num_records,) in nats, above 0.
    learning_rates : (num_steps,) at every step up to the last record."""

    name: str
    group: str
    steps: NDArray[np.int64]
    losses: Array
    learning_rates: Array

    @property
    def num_steps(self) -> int:
        """Length, from the first step to the last record."""
        return len(self.learning_rates)


@dataclass(frozen=True, kw_only=True)
class CurveFolder:
    """``groups``: curves by subfolder, "" for the folder itself; and how they were read."""

    where: str
    groups: Mapping[str, tuple[LossCurve, ...]]
    num_rows: int
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def read_curves(
    folder: Path, *, columns: Mapping[str, str] | None = None, where: Sequence[Condition] = ()
) -> CurveFolder:
    """Read every ``*.csv`` below ``folder``; conditions are on ``curve``, the file's name without its ending, and
    ``group``. Raises `BadInput`: nothing there, a column missing, or curves of which no law can be told."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}, and loss curves are one")
    paths = sorted(path for path in folder.rglob("*.csv") if path.is_file())
    if not paths:
        raise BadInput(f"{folder}: no *.csv file in it: one loss curve a file, with step, learning_rate and loss")
    if len(paths) > MOST_FILES:
        raise BadInput(f"{folder}: {len(paths)} files, more than {MOST_FILES}")
    paths = [path for path in paths if _asked_for(folder, path, where)]
    if not paths:
        raise BadInput(f"{folder}: --where leaves no curve")
    groups: dict[str, list[LossCurve]] = {}
    diverged: list[str] = []
    for path in paths:
        curve = _read_curve(path, _group(folder, path), columns or {})
        if curve is None:
            diverged.append(path.name)
        else:
            groups.setdefault(curve.group, []).append(curve)
    reason = "a loss that is not a positive number: diverged"
    gone = (Exclusion(reason=reason, count=len(diverged), example=diverged[0]),) if diverged else ()
    if not groups:
        raise BadInput(f"{folder}: none of {len(paths)} curves can be used: {reason} (first: {diverged[0]})")
    for name, curves in groups.items():
        _check(str(folder / name), curves)
    return CurveFolder(
        where=str(folder),
        groups={name: tuple(curves) for name, curves in groups.items()},
        num_rows=len(paths),
        exclusions=gone,
        notes=("rates between records are on a straight line; before the first record they rise from 0",),
    )


def distinct_schedules(curves: Sequence[LossCurve]) -> int:
    """How many shapes of the learning rate over the fraction of the run there are, peaks and lengths aside."""
    place = np.linspace(0, 1, 65)
    shapes: list[Array] = []
    for curve in curves:
        step = np.arange(curve.num_steps) / max(curve.num_steps - 1, 1)
        shape = np.interp(place, step, curve.learning_rates / curve.learning_rates.max())
        after_warmup = np.maximum.accumulate(shape) >= shape.max()
        if not any(np.mean(np.abs(shape - other)[after_warmup]) < SAME_SHAPE for other in shapes):
            shapes.append(shape)
    return len(shapes)


def _check(where: str, curves: Sequence[LossCurve]) -> None:
    if len(curves) < LEAST_CURVES:
        raise BadInput(
            f"{where}: {counted(len(curves), 'curve')}; needed are {LEAST_CURVES}, of one model under"
            " different schedules"
        )
    if distinct_schedules(curves) < 2:
        raise BadInput(
            f"{where}: one schedule only in {len(curves)} curves: what a decay is worth is told by two at least"
        )
    longest, shortest = max(curves, key=lambda c: c.num_steps), min(curves, key=lambda c: c.num_steps)
    if longest.num_steps > WIDEST_LENGTHS * shortest.num_steps:
        raise BadInput(
            f"{where}: curves of very different length, {shortest.name} with {shortest.num_steps} steps and"
            f" {longest.name} with {longest.num_steps}: more than a factor of {WIDEST_LENGTHS}; leave out with"
            f" --where curve!={shortest.name}"
        )


def _read_curve(path: Path, group: str, columns: Mapping[str, str]) -> LossCurve | None:
    raw = read_raw(path)
    if not raw.lines:
        raise BadInput(f"{path}: no rows below the header")
    found = find_curve(raw, columns)
    steps, rates, losses = (found[name].numbers for name in ("step", "learning_rate", "loss"))
    if not np.all(np.isfinite(steps) & (steps >= 0) & (steps == np.round(steps)) & (steps < MOST_STEPS)):
        raise BadInput(f"{path}: step must be whole numbers from 0 to {MOST_STEPS:g}")
    if np.any(np.diff(steps) <= 0):
        raise BadInput(
            f"{path}: step must rise from row to row; it does not after {steps[:-1][np.diff(steps) <= 0][0]:g}"
        )
    low, high = RATES
    if not np.all((rates >= 0) & (rates <= high)) or rates.max() < low:
        raise BadInput(f"{path}: learning rates must lie between 0 and {high:g}, the highest above {low:g}")
    known = (steps, rates) if steps[0] == 0 else (np.append(0.0, steps), np.append(0.0, rates))
    recorded = ~found["loss"].empty
    steps, rates, losses = steps[recorded], rates[recorded], losses[recorded]
    if not np.all((losses > 0) & (losses <= HIGHEST_LOSS)):
        return None
    if len(steps) < LEAST_RECORDS:
        raise BadInput(f"{path}: {len(steps)} records; needed are {LEAST_RECORDS}")
    whole = np.arange(int(steps[-1]) + 1)
    if steps[0] == 0 and rates[0] == 0:  # no progress yet: the laws begin with the first step that learns
        steps, losses = steps[1:], losses[1:]
    return LossCurve(
        name=path.stem,
        group=group,
        steps=steps.astype(np.int64),
        losses=losses,
        learning_rates=np.interp(whole, *known),
    )


def _group(folder: Path, path: Path) -> str:
    parent = path.relative_to(folder).parent.as_posix()
    return "" if parent == "." else parent


def _asked_for(folder: Path, path: Path, where: Sequence[Condition]) -> bool:
    values = {"curve": path.stem, "group": _group(folder, path)}
    for condition in where:
        if condition.column not in values:
            raise BadInput(f"--where {condition}: of curves it is curve or group, not {condition.column}")
        options = [condition.value, *condition.value.split(",")]
        if any(fnmatchcase(values[condition.column], option.strip()) for option in options) != condition.equal:
            return False
    return True
