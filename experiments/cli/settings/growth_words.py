"""Predictions where there is no equilibrium, or no start: weight decay 0 and initial RMS 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory import Optimizer, Schedule, Trajectory

WITHOUT_DECAY = {"num_relaxations": 0.0, "reaches_equilibrium": False}


def predicted(
    optimizer: Optimizer, schedule: Schedule, *, initial_rms: float, tolerance: float, **model: Any
) -> dict[str, Any]:
    """The fields of `theory.Prediction`; without decay None for those of an equilibrium, and those of `Growth` too.

    The keywords are those of `theory.predict.predict`.
    """
    from theory import NoEquilibrium, predict
    from theory.growth import start_of

    start = start_of(optimizer, initial_rms, **model)
    try:
        return dataclasses.asdict(predict(optimizer, schedule, initial_rms=start, tolerance=tolerance, **model))
    except NoEquilibrium:
        return _grown(optimizer, schedule, start, model)


def predicted_run(
    optimizer: Optimizer, schedule: Schedule, *, initial_rms: float, tolerance: float, **model: Any
) -> tuple[dict[str, Any], Trajectory]:
    """`predicted` with the trajectory, every step of it."""
    from theory import NoEquilibrium, predict_trajectory
    from theory.growth import start_of
    from theory.predict import predict_run

    start = start_of(optimizer, initial_rms, **model)
    try:
        prediction, run = predict_run(optimizer, schedule, initial_rms=start, tolerance=tolerance, **model)
        return dataclasses.asdict(prediction), run
    except NoEquilibrium:
        run = predict_trajectory(optimizer, schedule, initial_rms=start, **model)
        return _grown(optimizer, schedule, start, model), run


def _grown(optimizer: Optimizer, schedule: Schedule, start: float, model: Mapping[str, Any]) -> dict[str, Any]:
    from theory import Prediction
    from theory.growth import grow

    growth = dataclasses.asdict(grow(optimizer, schedule, initial_rms=start, **model))
    nothing = dict.fromkeys(field.name for field in dataclasses.fields(Prediction))
    return {**nothing, **WITHOUT_DECAY, **growth}


def growth_verdict(setting: Mapping[str, Any]) -> str:
    """How the norm of a setting without decay grows."""
    root = {0.25: "fourth root", 0.5: "square root"}[setting["exponent"]]
    verdict = f"Without decay there is no equilibrium: the weight RMS grows like the {root} of the steps"
    if setting["rms_per_growth"] is not None:
        verdict += (
            f", {setting['rms_per_growth']:.4g} times it at the peak rate, once it has outgrown its start"
            f" ({setting['outgrown_steps']:.4g} steps). The angle per step then falls like one over the root of the"
            " steps, whatever the learning rate"
        )
    return verdict + "."
