"""Runs whose losses come from a known member of the schedule-and-scale family."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experiments.losses.finished_runs import Run
from experiments.losses.schedule_law import BANK, ScheduleLaw, Shape
from theory import WSD

PEAKS = (2e-4, 5e-4, 1e-3, 2e-3)
ONE_SHAPE = (Shape(initial_rms=0.02, decay_fraction=1.0, progress_exponent=0.4, size_exponent=0.2),)


def made_run(peak: float, decay: float, num_steps: int, num_params: float = 1e8, batch: float = 5e4) -> Run:
    schedule = WSD(num_steps=num_steps, warmup_steps=100, decay_fraction=decay)
    return Run(
        learning_rates=peak * schedule.multipliers(),
        num_params=num_params,
        tokens_per_step=batch,
        weight_decay=0.1,
        schedule=f"wsd {decay}",
    )


def made_runs(*horizons: int, num_params: Sequence[float] = (1e8,)) -> list[Run]:
    return [
        made_run(peak, decay, num_steps, size)
        for size in num_params
        for num_steps in horizons
        for decay in (0.1, 0.3, 0.6, 0.9)
        for peak in PEAKS
    ]


def planted(runs: Sequence[Run], deviation: float, seed: int = 0) -> list[Run]:
    """Losses from a known member of the family, with measurement noise."""
    several = len({run.num_params for run in runs}) > 1
    size = [0.4] if several else []
    truth = ScheduleLaw(
        shapes=ONE_SHAPE,
        coefficients=(np.array([2.5, *size, 0.3, 5.0, 0, 20.0, 0, 60.0, 0, 0, 30.0, 10.0]),),
        longest=(40.0,),
        bank=BANK,
        datasets=("",),
        reference_tokens=5e4,
        validation_error=0.0,
        num_runs=0,
        trained={"num_params": (1e7 if several else 1e8, 1e8)},
    )
    noise = deviation * np.random.default_rng(seed).standard_normal(len(runs))
    return [replace(run, loss=float(loss)) for run, loss in zip(runs, truth.predict(runs) + noise, strict=True)]
