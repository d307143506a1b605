"""Which sizes, lengths, decay and start would make a bend visible: theory alone, at this size and at that of GPUs.

Here `theory.two_clocks` speaks, along tokens, since it knows no size; there `theory.angle_law`, whose noise grows with
the number of parameters by assumption, once with the constants of its `EXAMPLE`, fitted at a batch a tenth of that, and
once with those that `theory.bend` is described with, made up, whose best rates are lower.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.studies.bend.runs import LENGTHS
from experiments.studies.gpu import bend as gpu
from experiments.studies.moved_optimum.predictions import angles_of
from experiments.studies.moved_optimum.runs import Arm
from theory import WSD, InvalidParameter
from theory.angle_law import EXAMPLE, AngleLaw, Setting
from theory.bend import predict_measurement
from theory.final_loss import best_learning_rate
from theory.two_clocks import TwoClockLaw

Array = NDArray[np.float64]

TRIED = np.geomspace(1e-4, 0.5, 86)
DECAYS, STARTS = (0.02, 0.1, 0.5), (0.04, 0.16, 0.53, 1.6, 14.4)
GPU_SIZES, GPU_TOKENS = (22e6, 85e6, 302e6, 708e6), gpu.TOKENS
LARGER_SIZES = (0.3e9, 1e9, 3e9, 10e9)
GPU_DECAYS, GPU_STARTS = (0.02, 0.1, 0.5), (0.005, 0.02, 0.08)
TOKENS_PER_STEP = 2.0**19
LAWS = {
    "angle law, fitted": EXAMPLE,
    "angle law, made up": AngleLaw(C1=1.0, a1=0.43, C2=12.96, a2=1.4, B2=0.3, noise_growth=0.25),
}


def visible_of(law: TwoClockLaw) -> pd.DataFrame:
    """A row per range, decay and start: the curvature of ln(best rate) of AdamW from that start, ``without`` its
    transient, their difference ``transient``, the relaxations and best peak rates at both ends, whether any of those
    lies ``outside`` the rates that the law was fitted to, and whether a difference of two arms that large would be
    called by its name with an error of 0.12 or 0.04 of each ln(optimum), on four by four cells."""
    rows = [*_here(law), *_there()]
    for row in rows:
        for error in gpu.OPTIMUM_ERRORS:
            sizes = row["sizes"] if row["axis"] == "num_params" else GPU_SIZES
            tokens = row["tokens"] if row["axis"] == "num_tokens" else GPU_TOKENS
            n, d = zip(*itertools.product(sizes, tokens), strict=True)  # the other axis is orthogonal
            row[f"smallest {error:g}"] = gpu.smallest_of(n, d, row["axis"], error)["between_two_arms"]
        size = abs(row["transient"])
        seen = [f"at {error:g}" for error in gpu.OPTIMUM_ERRORS if size >= row[f"smallest {error:g}"]]
        row["visible"] = seen[0] if seen else ("unknown" if np.isnan(size) else "no")
        for name, unit in (("sizes", 1e6), ("tokens", 1e6)):
            values = row[name]
            row[name] = f"{values[0] / unit:g}M" + (f" to {values[-1] / unit:g}M" if len(values) > 1 else "")
    return pd.DataFrame(rows)


def _here(law: TwoClockLaw) -> Iterator[dict[str, Any]]:
    for decay in DECAYS:
        steady, *_ = _optima(law, Arm("equilibrium", decay, None))
        for start in STARTS:
            curvature, relaxations, rates = _optima(law, Arm("start", decay, start))
            row: dict[str, Any] = {"law": "two clocks", "axis": "num_tokens", "sizes": (25248.0,)}
            row |= {"tokens": tuple(1024.0 * steps for steps in LENGTHS), "weight_decay": decay, "initial_rms": start}
            row |= {"curvature": curvature, "without": steady, "transient": curvature - steady}
            row |= {"relaxations_first": relaxations[0], "relaxations_last": relaxations[-1]}
            yield row | {"rate_first": rates[0], "rate_last": rates[-1]}


def _optima(law: TwoClockLaw, arm: Arm) -> tuple[float, Array, Array]:
    """Curvature of the law's optima over the study's lengths, NaN where one lies beyond the rates that are tried, the
    relaxations at each, and they themselves."""
    found, relaxations = [], []
    for steps in LENGTHS:
        multipliers = arm.scheduled(steps).multipliers()
        try:
            rate, _ = best_learning_rate(law, TRIED, angles_of(arm, TRIED, steps), multipliers)
        except InvalidParameter:
            rate = np.nan
        found.append(rate)
        relaxations.append(2 * (arm.weight_decay or 0.0) * rate * multipliers.sum())
    return _curvature(LENGTHS, found), np.array(relaxations), np.array(found)


def _curvature(scales: Sequence[float], rates: Sequence[float]) -> float:
    if not np.all(np.isfinite(rates)):
        return float("nan")
    x = np.log(np.asarray(scales, float))
    return float(2 * np.polyfit(x - x.mean(), np.log(rates), 2)[0])


def _there() -> Iterator[dict[str, Any]]:
    ranges: list[tuple[str, Sequence[float], Sequence[float]]] = [
        ("num_params", GPU_SIZES, (tokens,)) for tokens in (1e8, 1e9, 9e9)
    ]
    ranges += [("num_params", LARGER_SIZES, (tokens,)) for tokens in (1e9, 3e9, 9e9)]
    ranges += [("num_tokens", (size,), GPU_TOKENS) for size in (85e6, 708e6)]
    for (name, law), (axis, sizes, tokens) in itertools.product(LAWS.items(), ranges):
        scales = sizes if axis == "num_params" else tokens
        setting = Setting(
            num_params=sizes[0],
            num_tokens=tokens[0],
            tokens_per_step=TOKENS_PER_STEP,
            schedule=WSD(num_steps=100_000, warmup_steps=1000),
            weight_decay=0.1,
            initial_rms=0.02,
        )
        sphere = predict_measurement(law, replace(setting, optimizer="adamh"), axis, scales).curvature
        for decay, start in itertools.product(GPU_DECAYS, GPU_STARTS):
            own = replace(setting, weight_decay=decay, initial_rms=start)
            found = predict_measurement(law, own, axis, scales)
            row: dict[str, Any] = {"law": name, "axis": axis, "sizes": sizes, "tokens": tokens}
            row |= {"weight_decay": decay, "initial_rms": start, "curvature": found.curvature, "without": 2 * sphere}
            row |= {"transient": found.curvature - 2 * sphere, "relaxations_first": found.num_relaxations[0]}
            row |= {"relaxations_last": found.num_relaxations[-1]}
            row |= {"rate_first": found.learning_rates[0], "rate_last": found.learning_rates[-1]}
            yield row | {"outside": _outside(law, found.learning_rates)}


def _outside(law: AngleLaw, rates: Array) -> str | None:
    """Whether any of the rates lies outside those that the law was fitted to; None if it was fitted to none."""
    if law.fitted_rates is None:
        return None
    return "yes" if law.outside(rates, law.fitted_steps or ()) else "no"
