"""Why converted angles differ from those of the run: AdamW against theory, AdamH against what it was asked, in "late".

One seed outside of the setting's own, every step recorded. Written after "late" had been seen; it judges nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.runs.local import run_jobs
from experiments.runs.produce import Job
from experiments.runs.run_files import Run, load_run
from experiments.studies.conversion.arms import BY_HISTORY, BY_RATIO, SETTINGS, arms_of, original
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from theory import predict_trajectory
from theory.networks import WHITE_NOISE

Array = NDArray[np.float64]

SETTING, SEED = "late", 20
PHASES = (0, 5, 20, 40, 80, 160, 240, 320, 400, 480, 560, 640, 720, 800)
NETWORKS = {"white": WHITE_NOISE, "ratio": BY_RATIO, "history": BY_HISTORY}


def causes_of(place: Workplace) -> list[dict[str, Any]]:
    """A row per phase of the run and one for the whole: mean angle of AdamW; angles by theory over it, for each of
    `NETWORKS`; angle of AdamH under the converted schedule over the one it was asked for; direction of both, over that
    of white noise at the same step."""
    setting = dataclasses.replace(SETTINGS[SETTING], record_every=1)
    config = original(SEED, setting)
    arm = dataclasses.replace(arms_of(config, None, ["converted"])["converted"], record_every=1)
    jobs = [
        Job(place.runs, f"{SETTING}-{name}-seed{SEED}", one) for name, one in (("adamw", config), ("converted", arm))
    ]
    run_jobs(jobs, num_workers=place.num_workers)
    adamw, adamh = (load_run(job.path) for job in jobs)
    measured = adamw.trajectory.angular_update.mean(axis=1)
    by_theory = {
        name: predict_trajectory(
            config.optimizer, config.schedule, initial_rms=setting.initial_rms, finite_beta2=True, network=network
        ).angular_update[:, 0]
        for name, network in NETWORKS.items()
    }
    directions = {"adamw_direction": direction_of(adamw, config), "adamh_direction": direction_of(adamh, config)}
    rows = []
    for first, end in (*itertools.pairwise(PHASES), (PHASES[0], PHASES[-1])):
        here = slice(first, end)
        asked = by_theory["white"][here].mean()
        row: dict[str, Any] = {"first_step": first, "last_step": end - 1, "angle": float(measured[here].mean())}
        row |= {name: float(angles[here].mean()) / row["angle"] for name, angles in by_theory.items()}
        row["adamh_over_asked"] = float(adamh.trajectory.angular_update[here].mean() / asked)
        row |= {name: float(np.sqrt(np.mean(ratio[here] ** 2))) for name, ratio in directions.items()}
        rows.append(row)
    return rows


def direction_of(run: Run, config: TrainConfig) -> Array:
    """(num_steps,) RMS of Adam's direction, all matrices together, over that of white noise at the same step."""
    white = predict_trajectory(config.optimizer, config.schedule, initial_rms=1.0, finite_beta2=True).update_rms[:, 0]
    return np.asarray(np.sqrt(np.mean(run.trajectory.update_rms**2, axis=1)) / white)
