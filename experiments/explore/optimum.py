"""The best learning rate along model size or data under a stated loss law, where it bends, and why.

The law is that of `theory.angle_law`. Its constants belong to whoever types them; the page starts with those of
`theory.angle_law.EXAMPLE`, at the size, length and batch of the runs that they were fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.explore.answers import shortened
from experiments.explore.asked import MOST_PIECES, Asked, RefusedField
from experiments.explore.fields import LAW, SCALE
from experiments.tables.written import written
from theory import InvalidParameter, slopes
from theory.angle_law import EXAMPLE, AngleLaw, Setting, angle_and_excess, excess_loss
from theory.bend import Direction, predict_bend
from theory.checks import require_number
from theory.optimal_lr import LOWEST, OptimumOutcome, optimal_learning_rate
from theory.optimizers import pytorch_decay
from theory.transient import decay_time_transient_steps

AXES = ("num_params", "num_tokens")
DECAY_OF_NONE = 0.1  # where the setting is of an optimizer without
POINTS, DECADES = 13, 2.0  # along the axis, to either side
LOSSES = 121  # learning rates at which the loss is drawn
FROZEN = 0.5  # relaxations in the run, below which the norm is frozen
BRIEF = 0.1  # share of the run, below which the transient decides little
NAMES = {"adamw": "AdamW", "adamh": "AdamH"}
OTHER_SIGN = (
    "The bend reported for real runs (arXiv 2606.29158) goes up. Under this law the sign along N hangs on start, length"
    " and constants: from a norm above its balance up nearly all the way, from a low one down as well as up."
)
OUTSIDE = "Here the law is extrapolated, {}."
SPAN = {
    "num_params": (1e3, 1e15),
    "num_tokens": (1e6, 1e17),
    "tokens_per_step": (1.0, 1e9),
    "noise_growth": (-5.0, 5.0),
}
SPAN |= dict.fromkeys(("C1", "a1", "C2", "a2", "B2"), (1e-6, 1e6))


def optimum_of(asked: Asked, given: Mapping[str, str]) -> dict[str, Any]:
    """Optima of AdamW and AdamH along ``axis``, the loss over the rate at the middle, and the bend there in words.

    ``given`` : text for `SCALE`, `LAW` and ``axis``. Schedule, decay, initial RMS, beta1 and the size of the direction
    are those of the setting; the length of the run is D / B, to which the schedule is stretched. ``own_steps`` is the
    setting's length, ``tokens_as_long`` the D that makes the run as long. Raises `RefusedField`.
    """
    numbers = {name: _number(name, given.get(name, ""), default) for name, default in {**SCALE, **LAW}.items()}
    axis = given.get("axis", "") or AXES[0]
    if axis not in AXES:
        raise RefusedField(f"axis {axis}: must be one of {', '.join(AXES)}", "axis")
    if len(asked.schedule.segments()) > MOST_PIECES:
        raise RefusedField(
            f"--num-cycles: the best rate is for schedules of at most {MOST_PIECES} pieces", "num_cycles"
        )
    try:
        for name, (low, high) in SPAN.items():
            require_number(name, numbers[name], at_least=low, at_most=high)
        constants: dict[str, Any] = {name: numbers[name] for name in LAW}
        law = EXAMPLE
        if constants != LAW:
            law = replace(EXAMPLE, **constants, fitted_rates=None, fitted_steps=None)
        middle = _setting(asked, numbers)
        if not asked.optimizer.learning_rate * np.max(middle.weight_decay) < 1:  # of one on the sphere, beside AdamW's
            allowed = f"below {1 / np.max(middle.weight_decay):g}, one over the decay of the AdamW beside it"
            raise InvalidParameter("learning_rate", asked.optimizer.learning_rate, allowed)
        return _answer(law, middle, axis, asked)
    except InvalidParameter as error:
        raise RefusedField(f"{error.name} {error.value}: must be {error.allowed}", error.name) from None


def _setting(asked: Asked, numbers: Mapping[str, float]) -> Setting:
    on_sphere = not hasattr(asked.optimizer, "weight_decay")
    return Setting(
        num_params=numbers["num_params"],
        num_tokens=numbers["num_tokens"],
        tokens_per_step=numbers["tokens_per_step"],
        schedule=asked.schedule,
        weight_decay=DECAY_OF_NONE if on_sphere else pytorch_decay(asked.optimizer),
        initial_rms=asked.model["initial_rms"],
        direction_ratio=asked.model["network"].direction_ratio,
        beta1=getattr(asked.optimizer, "beta1", 0.9),
    )


def _answer(law: AngleLaw, middle: Setting, axis: str, asked: Asked) -> dict[str, Any]:
    at = float(getattr(middle, axis))
    scales = at * np.geomspace(10**-DECADES, 10**DECADES, POINTS)
    curves = []
    for optimizer in NAMES:
        runs = replace(middle, optimizer=optimizer).at(axis, scales)  # type: ignore[arg-type]
        found = optimal_learning_rate(law, runs, loss_resolution=0)
        known = found.outcome == OptimumOutcome.FOUND
        curves.append(
            {
                "optimizer": optimizer,
                "scale": shortened(scales),
                "learning_rate": shortened(np.where(known, found.learning_rate, np.nan)),
                "mean_angle": shortened(np.where(known, found.mean_angle, np.nan)),
                "num_relaxations": shortened(runs.num_relaxations(found.learning_rate) if optimizer == "adamw" else []),
            }
        )
    bend = predict_bend(law, middle, axis)
    straight = predict_bend(law, replace(middle, optimizer="adamh"), axis)
    rates = np.geomspace(LOWEST * 1e3, min(1.0, 0.99 / max(float(np.asarray(middle.weight_decay)), 1e-9)), LOSSES)
    losses = excess_loss(law, middle, rates)
    own = asked.optimizer.learning_rate
    own_angle, own_loss = angle_and_excess(law, middle, own)
    numbers = {
        "learning_rate": float(bend.learning_rate),
        "num_relaxations": float(bend.num_relaxations),
        "slope": float(bend.slope),
        "slope_adamh": float(straight.slope),
        "curvature": float(bend.curvature),
        "direction": bend.direction.item().value,
        "transient_share": _transient_share(middle, float(bend.learning_rate)),
        "window_parameter": float(slopes.window_parameter(middle.weight_decay, _start(middle), middle.num_steps)),
        "num_steps": float(middle.num_steps),
        "window_start": float(slopes.window(middle.weight_decay, _start(middle), middle.num_steps)[0]),
    }
    return {
        "axis": axis,
        "at": at,
        "curves": curves,
        "loss": {"learning_rate": shortened(rates), "excess": shortened(losses)},
        "own": {"learning_rate": own, "excess": float(own_loss), "mean_angle": float(own_angle)},
        "own_steps": asked.schedule.num_steps,
        "tokens_as_long": asked.schedule.num_steps * float(np.asarray(middle.tokens_per_step)),
        **numbers,
        "words": in_words(axis=axis, **numbers) + [OUTSIDE.format(bend.outside)] * bool(bend.outside),
    }


def in_words(
    *,
    axis: str,
    learning_rate: float,
    num_relaxations: float,
    slope: float,
    slope_adamh: float,
    curvature: float,
    direction: str,
    transient_share: float,
    window_parameter: float,
    num_steps: float,
    window_start: float,
) -> list[str]:
    """Where the optimum stands and why it bends there; the regimes are those of `theory.bend` and `theory.slopes`."""
    along = "model size N" if axis == "num_params" else "data D"
    if not np.isfinite(learning_rate):
        return ["No single best learning rate: the loss is flat, or lowest at the edge of what was looked at."]
    n, w = num_relaxations, window_parameter
    words = [
        f"The best learning rate is {learning_rate:.3g}; its run of D / B = {num_steps:,.0f} steps holds {n:.3g}"
        " relaxations."
    ]
    if n < FROZEN and learning_rate > window_start:
        words.append(
            "The norm is what the updates have made of it, and decay does not tell yet: the angle falls like one over"
            " the root of the steps, whatever the rate, and the loss is all but flat."
        )
    elif n < FROZEN:
        words.append("The norm is all but frozen: the angle goes like the rate itself, and so does the optimum.")
    elif transient_share < BRIEF:
        words.append(
            f"The transient takes {transient_share:.0%} of the run. From there on the angle goes like the root of the"
            " rate, so that the optimum falls about twice as steeply as the best angle does."
        )
    else:
        ended = np.isfinite(transient_share)
        takes = f"takes {transient_share:.0%} of the run" if ended else "is not over when the run ends"
        words.append(
            f"The transient {takes}: the angle is on its way from the root of the rate to the rate itself. With"
            f" 2λ RMS₀ √T = {w:.2g} the norm starts {'above its balance' if w > 1 else 'low'}"
            f"{_bent_by_start(w, direction) if axis == 'num_params' else ''}."
        )
    steep = f"AdamW's optimum goes like {along[-1]}^{slope:.2f} here, AdamH's like {along[-1]}^{slope_adamh:.2f}"
    bent = {
        Direction.UP.value: f"it bends up (curvature {curvature:+.3f}): a line through smaller runs ends too low",
        Direction.DOWN.value: f"it bends down (curvature {curvature:+.3f}): a line through smaller runs ends too high",
        Direction.STRAIGHT.value: f"it is straight here (curvature {curvature:+.3f})",
        Direction.NOT_IDENTIFIABLE.value: "its curvature cannot be told: the loss is too flat, or has two minima",
    }
    words.append(f"{steep}; along {along} {bent[direction]}.")
    if axis == "num_params" and direction == Direction.DOWN.value:
        words.append(OTHER_SIGN)
    return words


def _bent_by_start(w: float, direction: str) -> str:
    """What `theory.bend` knows of a start along model size."""
    bent = "up nearly all the way" if w > 1 else "down first, then up"
    little = ", here by too little to count" if direction == Direction.STRAIGHT.value else ""
    return f", which bends the optimum {bent}{little}"


def _transient_share(setting: Setting, learning_rate: float) -> float:
    """Of the run at this peak rate, in decay time; inf where the run ends before, or has neither rate nor decay.

    The slow limit knows no unit of time: a run that is k times as long is one of the schedule's own length at k times
    the rate, from root k times the norm.
    """
    decay, own = float(np.asarray(setting.weight_decay)), setting.schedule.num_steps
    if not (np.isfinite(learning_rate) and decay > 0):
        return np.inf
    stretch = float(setting.num_steps) / own
    start = _start(setting) * np.sqrt(stretch)
    rate = learning_rate * stretch
    steps = decay_time_transient_steps(setting.schedule, learning_rate=rate, weight_decay=decay, initial_rms=start)
    return float(steps) / own


def _start(setting: Setting) -> np.ndarray:
    """The start in units of the direction: a shorter one is a higher start."""
    return np.asarray(setting.initial_rms, np.float64) / np.asarray(setting.direction_ratio, np.float64)


def _number(name: str, text: str, default: float) -> float:
    value = written(text.strip(), suffixes=name in SCALE) if text.strip() else default
    if value is None:
        raise RefusedField(f"{name} {text[:40]!r}: not a number", name)
    return value
