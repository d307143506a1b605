"""What the law of AdamH's runs says of AdamW: losses over the grids of moved-optimum, and optima."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.studies.angle_law.answers import NORMAL_95, PILOT, WEIGHT_DECAY, own_equilibrium
from experiments.studies.angle_law.fit import Cell, Fit
from experiments.studies.angle_law.runs import line
from experiments.studies.moved_optimum.runs import ARMS, LENGTHS, Arm, grid
from theory import Linear, transient
from theory.final_loss import FinalLossLaw, best_learning_rate
from theory.networks import SCALE_INVARIANT

Array = NDArray[np.float64]

RATES = np.geomspace(2e-3, 0.5, 37)  # among which an optimum is looked for
DRAWS = 60  # of the law's constants, for the error that they leave in what it predicts
OTHER_RATIOS = (0.8, 1.0)  # of the direction, to see what hangs on it
KEYS = ["arm", "num_steps", "learning_rate"]
ADAMW = {arm.name: arm for arm in ARMS if arm.weight_decay is not None}


@dataclass(frozen=True)
class Predictor:
    """A law with draws of its constants from the errors of its fit, which are those of AdamH's runs."""

    law: FinalLossLaw
    draws: tuple[FinalLossLaw, ...]

    @classmethod
    def of(cls, fit: Fit) -> Predictor:
        rng = np.random.default_rng(0)
        drawn = rng.multivariate_normal(fit.law.coordinates(), fit.covariance, DRAWS)
        return cls(fit.law, tuple(type(fit.law).from_coordinates(x) for x in drawn))

    def losses(self, angles: Array) -> tuple[Array, Array]:
        """Of runs with these angles (num_steps, n): (n,) losses and half their 95 % intervals."""
        clock = line(len(angles))
        spread = np.std([law.loss(angles, clock) for law in self.draws], axis=0)
        return self.law.loss(angles, clock), NORMAL_95 * spread

    def optimum(self, angles: Array) -> tuple[float, float]:
        """The best of `RATES`, whose angles these are, and half the 95 % interval of its logarithm."""
        clock = line(len(angles))
        optima = [best_learning_rate(law, RATES, angles, clock)[0] for law in (self.law, *self.draws)]
        return optima[0], NORMAL_95 * float(np.std(np.log(optima[1:])))


def parts_of(cells: Sequence[Cell]) -> dict[str, list[bool]]:
    """What is left out of the fit, by name: a shape of angles other than the line, then the last length."""
    last = max(cell.num_steps for cell in cells)
    shapes = sorted({cell.shape for cell in cells if cell.shape != "line"})
    parts = {shape: [cell.shape == shape for cell in cells] for shape in shapes}
    return parts | {f"{last} steps": [cell.num_steps == last for cell in cells]}


def angles_of(arm: Arm, rates: Array, num_steps: int, direction_ratio: float | None = None) -> Array:
    """AdamW's by theory, scale-invariant, at every step; (num_steps, n) radians. None for the network's own ratio."""
    decay = arm.weight_decay or 0.0
    network = SCALE_INVARIANT
    if direction_ratio is not None:
        network = replace(network, direction_ratio=direction_ratio)
    return transient.run_grid(
        Linear(num_steps=num_steps, warmup_steps=num_steps // 20),
        learning_rate=rates,
        weight_decay=decay,
        initial_rms=arm.initial_rms if arm.initial_rms is not None else own_equilibrium(rates, decay),
        steps=np.arange(num_steps),
        network=network,
    ).angular_update


def losses_of(
    predictor: Predictor, runs: pd.DataFrame, centres: pd.DataFrame, lengths: Sequence[int] = LENGTHS
) -> pd.DataFrame:
    """A row per arm, length and rate: of the grids around ``centres``, the predictions of moved-optimum, and of what
    was run beside them. No loss of ``runs`` is read."""
    rows = []
    for num_steps in lengths:
        for arm in ADAMW.values():
            here = (runs["arm"] == arm.name) & (runs["num_steps"] == num_steps)
            row = centres[(centres["arm"] == arm.name) & (centres["num_steps"] == num_steps)].iloc[0]
            rates = np.array(sorted({*grid(float(row["centre"])), *runs.loc[here, "learning_rate"]}))
            angles = angles_of(arm, rates, num_steps)
            losses, spread = predictor.losses(angles)
            known = {"arm": arm.name, "num_steps": num_steps, "learning_rate": rates}
            told = {"law": losses, "low": losses - spread, "high": losses + spread}
            turned = 2 * (arm.weight_decay or 0.0) * rates * line(num_steps).sum()
            told |= {"predicted_mean_angle": angles.mean(axis=0), "num_relaxations": turned}
            rows.append(pd.DataFrame(known | told))
    return pd.concat(rows, ignore_index=True)


def optima_of(predictor: Predictor) -> pd.DataFrame:
    """A row per arm and length of moved-optimum, and per arm of the pilot."""
    rows = []
    for source, arm, num_steps in _cells():
        best, spread = predictor.optimum(angles_of(arm, RATES, num_steps))
        row = {"source": source, "arm": arm.name, "num_steps": num_steps, "initial_rms": arm.initial_rms}
        row |= {"law": best, "law_low": best * np.exp(-spread), "law_high": best * np.exp(spread)}
        for ratio in OTHER_RATIOS:
            angles = angles_of(arm, RATES, num_steps, ratio)
            row[f"law_ratio_{ratio:g}"] = best_learning_rate(predictor.law, RATES, angles, line(num_steps))[0]
        rows.append(row)
    return pd.DataFrame(rows)


def _cells() -> Iterator[tuple[str, Arm, int]]:
    for num_steps in LENGTHS:
        for arm in ADAMW.values():
            yield "moved-optimum", arm, num_steps
    for measured in PILOT:
        start = f"start {measured.initial_rms:g}"
        yield measured.source, Arm(start, WEIGHT_DECAY, measured.initial_rms), measured.num_steps


def at_measured_angle(law: FinalLossLaw, cells: pd.DataFrame) -> Array:
    """The law's loss of each cell from the theory's angles times measured over predicted mean angle; (n,)."""
    losses = np.full(len(cells), np.nan)
    arms, lengths = cells["arm"].to_numpy(str), cells["num_steps"].to_numpy(int)
    factor = (cells["mean_angle"] / cells["predicted_mean_angle"]).to_numpy(float)
    for name, num_steps in {*zip(arms.tolist(), lengths.tolist(), strict=True)}:
        here = (arms == name) & (lengths == num_steps)
        angles = angles_of(ADAMW[name], cells["learning_rate"].to_numpy(float)[here], num_steps)
        losses[here] = law.loss(angles * factor[here], line(num_steps))
    return losses
