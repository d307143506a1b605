"""What to make of one's own runs beside the theory, and what to do otherwise: sentences, and whom they concern."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.agreement.matrix_networks import has_kinds
from experiments.agreement.measure import SETTLED_WITHIN
from experiments.agreement.setting_runs import SettingRuns
from theory import AdamW, InvalidParameter, equilibrium

CLOSE = 0.05  # relative error, up to which a median is called right
ROUNDING = 1e-5  # drift of a norm that is held in float32


@dataclass(frozen=True)
class Advice:
    """``text`` is a sentence; ``cases`` the settings it holds for, each with its own numbers."""

    text: str
    cases: tuple[str, ...]


def advise(settings: Sequence[SettingRuns]) -> list[Advice]:
    """What is worth saying, each thing once: whether runs ended, settled, agree with the theory, are one of several."""
    found: dict[str, list[str]] = {}
    for setting in settings:
        for text, detail in [*_ended(setting), *_settled(setting), *_agrees(setting), *_seeds(setting)]:
            found.setdefault(text, []).append(f"{setting.title}{f': {detail}' if detail else ''}")
    return [Advice(text, tuple(cases)) for text, cases in found.items()]


def _ended(setting: SettingRuns) -> list[tuple[str, str]]:
    lost = len(setting.runs) - len(setting.completed)
    if not lost:
        return []
    text = "Runs that did not end are drawn, not measured. If they diverged: a lower learning rate, or a longer warmup."
    return [(text, f"{lost} of {len(setting.runs)} runs")]


def _settled(setting: SettingRuns) -> list[tuple[str, str]]:
    """Whether the norm has time to come to rest, and what would give it that."""
    optimizer, schedule = setting.optimizer, setting.schedule
    starts = [run.trajectory.weight_rms[0] for run in setting.completed if len(run.trajectory.steps)]
    initial = float(np.median(np.concatenate(starts))) if starts else 0.0
    if not isinstance(optimizer, AdamW) or not initial > 0:
        return []
    try:
        rest = equilibrium(optimizer, initial_rms=initial)
    except InvalidParameter:
        return [
            (
                "Without weight decay the norm grows for ever and nothing settles: only the curves can be compared.",
                "",
            )
        ]
    if setting.measured["angular_update"].notna().any() or rest.relaxation_steps is None:
        return []
    gap = abs((initial / rest.weight_rms) ** 2 - 1)
    needed = rest.relaxation_steps * math.log(max(gap / (2 * SETTLED_WITHIN), 1.0)) + schedule.warmup_steps
    about = float(f"{needed:.2g}")
    detail = (
        f"relaxation {rest.relaxation_steps:.0f} steps, {about:,.0f} or so needed to be within {SETTLED_WITHIN:.0%},"
        f" {schedule.num_steps} trained"
    )
    if needed < schedule.num_steps:
        return [
            ("The rate falls before the norm is at rest, so that no equilibrium is measured: read the curves.", detail)
        ]
    return [
        (
            "Too short to settle: the theory's norm is not within 1 % of equilibrium by the end (lrbend predict asks"
            " for 5 %), so there is nothing settled to measure. Train longer, raise learning rate x decay, or start at"
            " the equilibrium RMS.",
            f"{detail}; RMS {initial:.3g} at the start, {rest.weight_rms:.3g} at equilibrium",
        )
    ]


def _agrees(setting: SettingRuns) -> list[tuple[str, str]]:
    """Which part of the theory holds, and what is missing where it does not."""
    errors = {
        name: _error(setting, name, predicted)
        for name, predicted in (
            ("angular_update", "predicted_angular_update"),
            ("weight_rms", "predicted_weight_rms"),
            ("weight_rms with U", "predicted_weight_rms_from_update"),
        )
    }
    if not isinstance(setting.optimizer, AdamW):
        drift = float(setting.measured["norm_drift"].astype(float).max()) if len(setting.measured) else 0.0
        if drift <= ROUNDING:
            return []
        return [
            (
                "AdamH's norm moves by more than rounding in float32: look at the precision of the weights.",
                f"{drift:.1g}",
            )
        ]
    angle, rms, with_direction = (errors[name] for name in errors)
    if angle is None or rms is None or with_direction is None:
        return []
    said = f"angle {angle:+.1%}, RMS {rms:+.1%}, with the measured U {with_direction:+.1%}"
    if has_kinds(setting.config):
        return [
            (
                "The law of classic GPT-2 is a draft: where its weights are not scale-invariant, gradients move the"
                " norm directly, and errors of a quarter are common. Read it by kind of matrix, below.",
                said,
            )
        ]
    if abs(angle) <= CLOSE and abs(rms) <= CLOSE:
        return [("Angle and norm are those of white noise.", said)]
    if abs(with_direction) <= CLOSE:
        return [
            (
                "The norm is that of the measured size U of Adam's direction, not of white noise: successive gradients"
                " are correlated, which makes U about 12 % smaller in small models. The angle hardly knows it.",
                said,
            )
        ]
    return [
        (
            "Even with the measured U the norm is off: something beside noise moves it. Are the weights"
            " scale-invariant, is the rate constant, is the gradient's size steady?",
            said,
        )
    ]


def _seeds(setting: SettingRuns) -> list[tuple[str, str]]:
    if len({run.config.seed for run in setting.completed}) != 1:
        return []
    return [("One seed: how much is chance is not known. Train again with other seeds.", "")]


def _error(setting: SettingRuns, measured: str, predicted: str) -> float | None:
    """Median of measured / predicted - 1 over matrices and seeds."""
    table = setting.measured[[measured.split()[0], predicted]].astype(float).dropna()
    return float((table.iloc[:, 0] / table.iloc[:, 1]).median() - 1) if len(table) else None
