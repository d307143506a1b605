"""What the losses of a setting say: differences to AdamW, the noise of a rerun, and the rules of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from experiments.studies.conversion.arms import Setting

Array = NDArray[np.float64]

MOST_SHARE, LEAST_SIGNIFICANCE = 0.2, 5.0  # of both rules
MOST_SHARE_OF_INTERVAL = 1 / 3  # of the rule by intervals
CONVERSIONS = ("converted", "ratio", "history", "measured")


def answers_of(rows: Sequence[Mapping[str, Any]], setting: Setting) -> list[dict[str, Any]]:
    """A row per arm of one setting: mean difference to adamw, its standard error and 95 % interval, the noise of a
    rerun, verdict.

    ``scatter`` is adamw's standard deviation over seeds. ``borne_out`` of the arms that are conversions, where the
    setting has a rule for it: whether it has power and the conversion stands; None elsewhere.
    """

    def by_seed(arm: str, name: str = "loss") -> Array:
        return np.array([row[name] for row in rows if row["arm"] == arm], np.float64)

    adamw = by_seed("adamw")
    rerun = float(np.sqrt(np.mean((by_seed("twin") - adamw) ** 2)))
    scatter, root = float(adamw.std(ddof=1)), math.sqrt(len(adamw))
    noise = max(rerun, scatter / root)
    table = []
    for arm in setting.arms:
        difference = by_seed(arm) - adamw
        mean, error = float(difference.mean()), float(difference.std(ddof=1)) / root
        half = float(student.ppf(0.975, len(adamw) - 1)) * error
        table.append(
            {
                "setting": rows[0]["setting"],
                "arm": arm,
                "num_seeds": len(adamw),
                "difference": mean,
                "se": error,
                "low": mean - half,
                "high": mean + half,
                "rerun_noise": rerun,
                "seed_noise": scatter / root,
                "scatter": scatter,
                "verdict": verdict_of(mean, error, noise),
                "angle_ratio": float(by_seed(arm, "angle_ratio").mean()),
                "borne_out": None,
            }
        )
    decide = {"power": _by_power, "interval": _by_interval, None: None}[setting.rule]
    if decide is not None:
        wrong = next(row for row in table if row["arm"] == "unconverted")
        for row in table:
            if row["arm"] in CONVERSIONS:
                row["borne_out"] = decide(row, wrong)
    return table


def _by_power(right: Mapping[str, Any], wrong: Mapping[str, Any]) -> bool:
    """The rule of "late"."""
    near = abs(right["difference"]) < MOST_SHARE * abs(wrong["difference"])
    return bool(_differs(wrong) and near and right["verdict"] == "agrees")


def _by_interval(right: Mapping[str, Any], wrong: Mapping[str, Any]) -> bool:
    """The rule of "settled"."""
    found, damage, one_rerun = abs(right["difference"]), abs(wrong["difference"]), right["rerun_noise"]
    power = _differs(wrong) and damage > 2 * max(one_rerun, right["scatter"])
    near = found <= min(one_rerun, right["scatter"], MOST_SHARE * damage) and found <= 2 * right["se"]
    inside = max(abs(right["low"]), abs(right["high"])) < MOST_SHARE_OF_INTERVAL * damage
    return bool(power and near and inside)


def _differs(wrong: Mapping[str, Any]) -> bool:
    return bool(wrong["verdict"] == "differs" and abs(wrong["difference"]) > LEAST_SIGNIFICANCE * wrong["se"])


def verdict_of(difference: float, standard_error: float, noise: float) -> str:
    """The first decision rule of the study."""
    if abs(difference) <= 2 * noise:
        return "agrees"
    return "differs" if abs(difference) - 2 * standard_error > noise else "not-resolved"
