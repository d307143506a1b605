"""Does it matter *when* a run of fixed norm turns its weights, at equal mean angle? AdamH with other angle schedules.

Question. `docs/same-angle` has AdamH under one shape, a line. AdamW from a small start turns most at the front, from a
large one late. A law that is to carry AdamH's losses over to AdamW has to know what an angle is worth at which time.

Hypothesis. At equal mean angle a run ends higher the earlier its angles come, by more in short runs than in long ones.

Method. The model, text, batch and Adam on all other parameters (0.01, linear after a warmup of a twentieth) of
`experiments.studies.same_angle`, with its seeds. The direction is AdamH's, the norm is held, and the angle of every
matrix at every step is prescribed (`gpt.replay`): a shape times a level, set by the mean angle. Only the matrices
follow the shape. At 1,600 steps three shapes by three levels; at 800 and 3,200 the front and the late shape at one
level. Two seeds each: 26 runs.

    front   the line to the fourth power
    late    rises over the first two fifths of the run, then a straight line to 0
    root    the root of the line, as AdamW turns at equilibrium

Added after the first 22, before they were made: two more seeds of the root shape at 0.0045 and 0.009, whose seeds
differed by up to 0.09, four times what those of the line do.

Decision rule, written before the runs. The runs only add rows to what the law is fitted to, beside the AdamH arm of
`docs/same-angle`; the law is then judged by chi^2 per degree of freedom (below 2 counts as fitting) and by optima of
AdamW that it has not seen. The hypothesis itself: front above late at the middle level of 1,600 steps by more than
twice the standard error of the difference.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.files import BadInput, read_json, to_json, write_whole
from experiments.studies.workplace import Workplace
from experiments.tables.numbers import LARGEST
from gpt.config import Steering, TrainConfig, preset
from gpt.model import GPT, block_matrices
from gpt.replay import Recording
from gpt.train import train
from theory import AdamH, Linear

Array = NDArray[np.float64]

SEEDS, ADDED_SEEDS = (0, 1), (2, 3)
BIN = 40  # steps over which the training loss is averaged in a run's file


def line(num_steps: int) -> Array:
    """The schedule of all other parameters, and of AdamH in `docs/same-angle`; (num_steps,), 1 at the peak."""
    return Linear(num_steps=num_steps, warmup_steps=num_steps // 20).multipliers()


def _late(num_steps: int) -> Array:
    return Linear(num_steps=num_steps, warmup_steps=2 * num_steps // 5).multipliers()


SHAPES: dict[str, Callable[[int], Array]] = {
    "front": lambda num_steps: line(num_steps) ** 4,
    "late": _late,
    "root": lambda num_steps: np.sqrt(line(num_steps)),
}


@dataclass(frozen=True)
class AngleRun:
    """One run: ``mean_angle`` per step in radians."""

    shape: str
    num_steps: int
    mean_angle: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.shape}-{self.num_steps}-{self.mean_angle:g}-seed{self.seed}"

    def angles(self) -> Array:
        """(num_steps,) radians."""
        shape = SHAPES[self.shape](self.num_steps)
        return shape * (self.mean_angle / shape.mean())


def angle_runs() -> list[AngleRun]:
    """All 30, the longest last."""
    cells = [(shape, 1600, mean) for mean in (0.009, 0.018, 0.0045) for shape in SHAPES]
    cells += [(shape, num_steps, 0.009) for num_steps in (800, 3200) for shape in ("front", "late")]
    runs = [AngleRun(*cell, seed) for cell in cells for seed in SEEDS]
    runs += [AngleRun("root", 1600, mean, seed) for mean in (0.0045, 0.009) for seed in ADDED_SEEDS]
    return sorted(runs, key=lambda run: run.num_steps)


def make_runs(place: Workplace) -> pd.DataFrame:
    """The runs that are missing, one after the other, and the table of all, also as ``runs.csv`` in the results."""
    place.make_folders()
    rows = []
    for run in angle_runs():
        path = place.runs / f"{run.name}.json"
        if not path.is_file():
            print(run.name, file=sys.stderr, flush=True)
            write_whole(path, to_json(_train(run)).encode())
        content = read_json(path)
        row = content.get("row") if isinstance(content, dict) else None
        if not isinstance(row, dict) or _identity(row) != _identity(vars(run)) or not _has_loss(row):
            raise BadInput(f"{path}: not this run of the study; delete it to make it again")
        rows.append(row)
    table = pd.DataFrame(rows)
    place.write("runs.csv", table.to_csv(index=False, float_format="%.6g"))
    return table


def _identity(row: Mapping[str, object]) -> list[object]:
    return [row.get(name) for name in ("shape", "num_steps", "mean_angle", "seed")]


def _has_loss(row: Mapping[str, object]) -> bool:
    """Whether a loss and its error are numbers of a size that they may have."""
    numbers = [row.get(name) for name in ("loss", "loss_se")]
    return all(isinstance(value, float) and abs(value) < LARGEST for value in numbers)


def _train(run: AngleRun) -> dict[str, object]:
    model = preset("cpu-32", "scale-invariant")
    names = tuple(block_matrices(GPT(model)))
    angles = np.tile(run.angles()[:, None], (1, len(names)))
    recording = Recording(matrices=names, angles=angles, rms=np.ones((run.num_steps + 1, len(names))))
    config = TrainConfig(
        model=model,
        optimizer=AdamH(learning_rate=0.018),  # sets the direction alone
        non_matrix_learning_rate=1e-2,
        schedule=Linear(num_steps=run.num_steps, warmup_steps=run.num_steps // 20),
        seed=run.seed,
        device="cpu",
        record_every=run.num_steps,
        steering=Steering(norm="fixed", recording=recording.digest, rescale_gradients=False),
    )
    result = train(config, recording=recording)
    if not math.isfinite(result.final_loss):
        raise BadInput(f"{run.name}: diverged")
    binned = result.losses.reshape(-1, BIN).mean(axis=1)
    row = {"shape": run.shape, "num_steps": run.num_steps, "mean_angle": run.mean_angle, "seed": run.seed}
    row |= {"loss": result.final_loss, "loss_se": result.final_loss_se}
    return {"row": row, "training_loss": binned.round(4).tolist()}
