"""Optimal learning rates of AdamW by the law that AdamH's runs gave, beside those that were measured.

AdamW's angles are those of `theory.transient.run_grid`, start-up included, with the direction shorter than white noise
by `DIRECTION_RATIO`: in units of the direction the norm starts higher by as much. Nothing is fitted to AdamW.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.studies.angle_law.fit import Fit
from experiments.studies.angle_law.runs import line
from experiments.studies.same_angle.study import NUM_STEPS
from theory import AdamW, Linear, equilibrium, transient
from theory.final_loss import best_learning_rate
from theory.two_clocks import TwoClockLaw

Array = NDArray[np.float64]

WEIGHT_DECAY = 0.1
DIRECTION_RATIO = 0.885  # of real gradients, `docs/direction`
RATES = np.geomspace(1e-3, 0.5, 61)  # among which an optimum is looked for
DRAWS = 60  # of the law's constants, for the error that they leave in an optimum
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Measured:
    """An optimum that was measured: ``initial_rms`` None for a start at the equilibrium of each learning rate."""

    source: str
    num_steps: int
    initial_rms: float | None
    learning_rate: float


# A pilot by an independent reader with the same model, decay and schedule; only the initial RMS differs. Its arm at
# 0.059 has no optimum that can be identified.
PILOT = tuple(
    Measured("pilot", num_steps, rms, rate)
    for num_steps, arms in (
        (1600, {0.177: 0.015, 0.53: 0.040, 1.6: 0.051, 4.8: 0.069}),
        (3200, {0.53: 0.022, 1.6: 0.033, 4.8: 0.042}),
    )
    for rms, rate in arms.items()
)


def adamw_angles(
    learning_rates: Array, num_steps: int, initial_rms: float | None, weight_decay: float = WEIGHT_DECAY
) -> Array:
    """(num_steps, n) radians per step; ``initial_rms`` None for a start at the equilibrium of each rate."""
    start: float | Array = initial_rms if initial_rms is not None else own_equilibrium(learning_rates, weight_decay)
    grid = transient.run_grid(
        Linear(num_steps=num_steps, warmup_steps=num_steps // 20),
        learning_rate=learning_rates,
        weight_decay=weight_decay,
        initial_rms=np.asarray(start) / DIRECTION_RATIO,
        steps=np.arange(num_steps),
    )
    return grid.angular_update


def own_equilibrium(learning_rates: Array, weight_decay: float) -> Array:
    """Of white noise, at which the arm ``equilibrium`` of same-angle started."""
    specs = [AdamW(learning_rate=float(rate), weight_decay=weight_decay) for rate in learning_rates]
    return np.array([equilibrium(spec, initial_rms=1.0).weight_rms for spec in specs])


def optima_of(fit: Fit, same_angle: pd.DataFrame) -> pd.DataFrame:
    """A row per measured optimum: the law's own, its 95 % interval from the fit's covariance, and measured over it.

    ``same_angle``: the answers of that study, whose AdamW optima count too.
    """
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(fit.law.coordinates(), fit.covariance, DRAWS)
    rows = []
    for arm in (*PILOT, *_of_same_angle(same_angle)):
        angles, clock = adamw_angles(RATES, arm.num_steps, arm.initial_rms), line(arm.num_steps)
        rate, least = best_learning_rate(fit.law, RATES, angles, clock)
        optima = [best_learning_rate(TwoClockLaw.from_coordinates(x), RATES, angles, clock)[0] for x in drawn]
        spread = NORMAL_95 * float(np.std(np.log(optima)))
        at_measured = np.interp(np.log(arm.learning_rate), np.log(RATES), fit.law.loss(angles, clock))
        rows.append(
            {
                "source": arm.source,
                "num_steps": arm.num_steps,
                "initial_rms": arm.initial_rms,
                "measured": arm.learning_rate,
                "predicted": rate,
                "low": rate * np.exp(-spread),
                "high": rate * np.exp(spread),
                "ratio": arm.learning_rate / rate,
                "least_loss": least,
                "above_at_measured": float(at_measured) - least,
            }
        )
    return pd.DataFrame(rows)


def _of_same_angle(answers: pd.DataFrame) -> Iterator[Measured]:
    if missing := [name for name in ("quantity", "num_steps", "adamw_learning_rate") if name not in answers.columns]:
        raise BadInput(f"answers of same-angle: no column {', '.join(missing)}")
    cells = answers[answers["quantity"] == "cell"]
    for num_steps, rate in zip(cells["num_steps"], cells["adamw_learning_rate"], strict=True):
        if num_steps not in NUM_STEPS or not RATES[0] < rate < RATES[-1]:
            raise BadInput(f"answers of same-angle: no optimum at num_steps {num_steps} with rate {rate}")
        yield Measured("same-angle", int(num_steps), None, float(rate))


def losses_of(fit: Fit, same_angle: pd.DataFrame) -> pd.DataFrame:
    """A row per cell of the AdamW arm of same-angle: mean loss and the law's, which has not seen them."""
    rows = []
    arm = same_angle[same_angle["arm"] == "equilibrium"]
    for _, runs in arm.groupby(["num_steps", "learning_rate"]):
        num_steps, rate = int(runs["num_steps"].iloc[0]), float(runs["learning_rate"].iloc[0])
        angles = adamw_angles(np.array([rate]), num_steps, None)
        law = float(fit.law.loss(angles, line(num_steps))[0])
        measured = runs[["loss", "mean_angle"]].mean()
        rows.append(
            {
                "num_steps": num_steps,
                "learning_rate": rate,
                "mean_angle": measured["mean_angle"],
                "predicted_mean_angle": angles.mean(),
                "loss": measured["loss"],
                "law": law,
            }
        )
    return pd.DataFrame(rows)
