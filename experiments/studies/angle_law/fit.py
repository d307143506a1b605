"""The laws of `theory.two_angles` and `theory.two_clocks` fitted to runs of AdamH and to nothing else.

A cell is a shape of angles at a level and a length; its loss is the mean over its seeds. Errors: the standard deviation
between seeds, pooled over the cells of a length, over the root of the number of seeds. The error of the evaluation is
the same batches' in all runs, so it is not in the differences; it shifts the constant ``start`` by up to 0.015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from experiments.files import BadInput
from experiments.studies.angle_law.runs import SHAPES, AngleRun, line
from experiments.studies.same_angle.study import NUM_STEPS
from theory import AdamH, Constant, Linear, Schedule, predict_trajectory
from theory.final_loss import FinalLossLaw
from theory.two_angles import TwoAngleLaw
from theory.two_clocks import TwoClockLaw

Array = NDArray[np.float64]

TWO_ANGLES = TwoAngleLaw(
    start=2.5,
    gain=1.2,
    angle_scale=0.5,
    blur=3.0,
    other_blur=0.6,
    growth_steps=50.0,
    half_angle=16.0,
    lag=28.0,
    early_angle=1.5,
)
TWO_CLOCKS = TwoClockLaw(
    start=2.5,
    gain=1.0,
    half_clock=200.0,
    angle_scale=0.5,
    noise=0.8,
    lag=1000.0,
    early_angle=3.0,
    early_clock=80.0,
)
HIGHEST_LOSS = 100.0  # nats; no run of these has more
FARTHEST = np.log(20.0)  # of a constant from where the fit starts
NUMBERS = ("num_steps", "mean_angle", "seed", "loss")
NEEDED = {"angle runs": ("shape", *NUMBERS)}
NEEDED["runs of same-angle"] = ("arm", "num_steps", "learning_rate", "seed", "loss")
NEEDED["runs at a constant rate"] = NEEDED["runs of same-angle"]
LINE, CONSTANT = "line", "constant"  # shapes of cells; the second is an arm of schedule-exponent too


@dataclass(frozen=True, eq=False)
class Cell:
    """Runs that differ in their seed: ``angles`` (num_steps,) radians, ``multipliers`` the schedule of all other
    parameters, ``losses`` one per seed, ``level`` the learning rate of AdamH or the mean angle."""

    shape: str
    num_steps: int
    level: float
    angles: Array
    multipliers: Array
    losses: Array


@dataclass(frozen=True, eq=False)
class Fit:
    """``covariance`` of the logarithms of the law's constants, widened by chi^2 per degree of freedom if above 1;
    ``table``: a row per cell with loss, error and the law's loss."""

    law: FinalLossLaw
    covariance: Array
    chi_squared: float
    degrees_of_freedom: int
    table: pd.DataFrame


def adamh_angles(learning_rate: float, schedule: Schedule) -> Array:
    """AdamH's in the model of `experiments.studies.same_angle`, by theory (measured within 1 %); (num_steps,)."""
    path = predict_trajectory(AdamH(learning_rate=learning_rate), schedule, initial_rms=1.0, record_every=1)
    return path.angular_update[:, 0]


def cells_of(angle_runs: pd.DataFrame, same_angle: pd.DataFrame, constant: pd.DataFrame | None = None) -> list[Cell]:
    """Of all tables; of the second the arm ``adamh``, of the third, that of schedule-exponent, ``constant`` alone, at
    the lengths of the others.

    Raises `BadInput`.
    """
    if constant is not None and "num_steps" in constant:
        constant = at_its_lengths(constant)
    tables = (angle_runs, same_angle) if constant is None else (angle_runs, same_angle, constant)
    for (name, needed), table in zip(NEEDED.items(), tables, strict=False):
        if missing := [column for column in needed if column not in table.columns]:
            raise BadInput(f"{name}: no column {', '.join(missing)}")
        if not set(table["num_steps"]) <= set(NUM_STEPS):
            raise BadInput(f"{name}: num_steps other than the study's {', '.join(map(str, NUM_STEPS))}")
        if not table["loss"].between(0, HIGHEST_LOSS).all():
            raise BadInput(f"{name}: loss must lie between 0 and {HIGHEST_LOSS:g}")
    if not (set(angle_runs["shape"]) <= set(SHAPES) and angle_runs["mean_angle"].between(0, 1, "neither").all()):
        raise BadInput(f"angle runs: shape must be one of {', '.join(SHAPES)}, mean_angle between 0 and 1")
    cells = cells_of_rates(same_angle[same_angle["arm"] == "adamh"], LINE, Linear)
    for _, rows in angle_runs.groupby(["shape", "num_steps", "mean_angle"]):
        first = rows.iloc[0]
        run = AngleRun(str(first["shape"]), int(first["num_steps"]), float(first["mean_angle"]), 0)
        losses = rows["loss"].to_numpy(float)
        cells.append(Cell(run.shape, run.num_steps, run.mean_angle, run.angles(), line(run.num_steps), losses))
    if constant is not None:
        cells += cells_of_rates(constant[constant["arm"] == CONSTANT], CONSTANT, Constant)
    return cells


def at_its_lengths(table: pd.DataFrame) -> pd.DataFrame:
    """Without what other studies have run since at lengths that this one was not registered with."""
    return table[table["num_steps"].isin(NUM_STEPS)]


def cells_of_rates(runs: pd.DataFrame, shape: str, kind: type[Linear] | type[Constant]) -> list[Cell]:
    """AdamH's under one schedule of all parameters, a cell for each length and learning rate."""
    cells = []
    for _, rows in runs.groupby(["num_steps", "learning_rate"]):
        num_steps, rate = int(rows["num_steps"].iloc[0]), float(rows["learning_rate"].iloc[0])
        schedule = kind(num_steps=num_steps, warmup_steps=num_steps // 20)
        angles, losses = adamh_angles(rate, schedule), rows["loss"].to_numpy(float)
        cells.append(Cell(shape, num_steps, rate, angles, schedule.multipliers(), losses))
    return cells


def errors_of(cells: Sequence[Cell]) -> Array:
    """Standard error of each cell's mean; raises `BadInput` for a length at which no cell has two seeds."""
    errors = []
    for cell in cells:
        alike = [other.losses for other in cells if other.num_steps == cell.num_steps]
        freedom = sum(len(losses) - 1 for losses in alike)
        if freedom < 1:
            raise BadInput(f"{cell.num_steps} steps: no cell has two seeds, so the error is not known")
        variance = sum(float(((losses - losses.mean()) ** 2).sum()) for losses in alike) / freedom
        if not variance > 0:
            raise BadInput(f"{cell.num_steps} steps: all seeds have the same loss, so the error is not known")
        errors.append(np.sqrt(variance / len(cell.losses)))
    return np.array(errors)


def predicted(law: FinalLossLaw, cells: Sequence[Cell]) -> Array:
    """The law's loss of each cell."""
    return _losses(law, _alike(cells))


def _alike(cells: Sequence[Cell]) -> list[tuple[list[int], Array, Array]]:
    """Places among the cells, angles (num_steps, len(places)) and multipliers of those that share the multipliers."""
    places: dict[bytes, list[int]] = {}
    for place, cell in enumerate(cells):
        places.setdefault(cell.multipliers.tobytes(), []).append(place)
    return [
        (own, np.stack([cells[place].angles for place in own]).T, cells[own[0]].multipliers) for own in places.values()
    ]


def _losses(law: FinalLossLaw, alike: Sequence[tuple[list[int], Array, Array]]) -> Array:
    losses = np.empty(sum(len(places) for places, _, _ in alike))
    for places, angles, multipliers in alike:
        losses[places] = law.loss(angles, multipliers)
    return losses


def fit_law(cells: Sequence[Cell], start: FinalLossLaw) -> Fit:
    """Least squares in the logarithms of the constants, from those of ``start`` and no farther than a factor of 20.

    Raises `BadInput` for fewer cells than constants.
    """
    first, kind = start.coordinates(), type(start)
    if len(cells) <= len(first):
        raise BadInput(f"{len(cells)} cells do not determine {len(first)} constants")
    measured, errors = np.array([cell.losses.mean() for cell in cells]), errors_of(cells)
    alike = _alike(cells)

    def misses(x: Array) -> Array:
        return (_losses(kind.from_coordinates(x), alike) - measured) / errors

    found = least_squares(misses, first, bounds=(first - FARTHEST, first + FARTHEST), xtol=1e-10, ftol=1e-10)
    law = kind.from_coordinates(found.x)
    chi_squared, freedom = 2 * float(found.cost), len(cells) - len(found.x)
    covariance = np.linalg.pinv(found.jac.T @ found.jac) * max(1.0, chi_squared / freedom)
    rows = [
        {"shape": c.shape, "num_steps": c.num_steps, "level": c.level, "mean_angle": c.angles.mean(), "loss": loss}
        for c, loss in zip(cells, measured, strict=True)
    ]
    table = pd.DataFrame(rows).assign(error=errors, law=predicted(law, cells))
    return Fit(law, covariance, chi_squared, freedom, table)


def left_out(cells: Sequence[Cell], parts: Mapping[str, Sequence[bool]], start: FinalLossLaw) -> pd.DataFrame:
    """The law on cells that it was not fitted to. ``parts``: by name, for every cell whether it is left out."""
    rows = []
    for name, out in parts.items():
        law = fit_law([cell for cell, away in zip(cells, out, strict=True) if not away], start).law
        for cell in (cell for cell, away in zip(cells, out, strict=True) if away):
            row = {"left_out": name, "shape": cell.shape, "num_steps": cell.num_steps, "level": cell.level}
            (loss,), measured = predicted(law, [cell]), float(cell.losses.mean())
            rows.append(row | {"loss": measured, "law": loss, "miss": loss - measured})
    return pd.DataFrame(rows)
