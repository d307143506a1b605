"""What can be said of a run without the theory of its norm: how it ended, and why its gradient norm rises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from experiments.logs.history import Series
from theory.outcome import RunOutcome

Array = NDArray[np.float64]

WINDOWS = 400  # of a loss curve with more records
RISE, SHARE = 0.1, 0.25  # of the lowest loss, and of the fall before it: a rise above both that lasts is divergence
NOISES = 6  # the same in standard deviations
LEAST_RECORDS = 8
LARGEST = 1e300  # of a level; larger ones count as this
BLOWN = 3  # times the lowest loss, which a few records are enough for
ROUGHNESS = 0.6745 * math.sqrt(6)  # median of absolute second differences of white noise, in its standard deviations
GRADIENT_RISE = 0.2  # in ln, below which a gradient norm does not rise
NEAR = 1.02  # of the lowest level, up to which one counts as it
EXPLAINED = 0.5, 1.5  # share of the rise that one over the weight norm makes


@dataclass(frozen=True, kw_only=True)
class Ending:
    """outcome : completed or diverged. diverged_step : steps made when it began. reason : in words, "" for none."""

    outcome: RunOutcome
    diverged_step: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class GradientNorm:
    """From its lowest level to the end: ``rise`` of the gradient norm and ``weight_fall`` of the weight norm, as
    factors. cause : why."""

    from_step: int
    to_step: int
    rise: float
    weight_fall: float | None
    cause: Literal[
        "does not rise", "one over the weight norm", "partly the weight norm", "not the weight norm", "unknown"
    ]


def ending_of(loss: Series | None) -> Ending:
    """Whether and where a run diverged: for good not finite, zero where a library prints a zero for that, or rising."""
    if loss is None or not len(loss.done):
        return Ending(outcome=RunOutcome.COMPLETED)
    broken = ~np.isfinite(loss.values)
    zero = loss.values == 0
    others = loss.values[~zero & ~broken]
    if zero[-3:].all() and len(zero) > 3 and len(others) and np.median(others) > 0.05:
        broken = broken | zero
    if broken[-1]:
        fine = np.flatnonzero(~broken)
        place = int(fine[-1]) + 1 if len(fine) else 0
        what = "zero, as it is printed for NaN" if zero[place] else "not finite"
        return _diverged(int(loss.done[place]), f"the loss is {what} from step {loss.done[place]} on")
    done, levels = _levels(loss)
    levels = np.clip(levels, -LARGEST, LARGEST)  # their differences are numbers
    if len(levels) < LEAST_RECORDS and levels[-1] < BLOWN * levels.min():
        return Ending(outcome=RunOutcome.COMPLETED)
    lowest = int(np.argmin(levels))
    end = float(np.median(levels[-max(1, len(levels) // 20) :]))
    noise = 0.0 if len(levels) < LEAST_RECORDS else float(np.median(np.abs(np.diff(levels, 2)))) / ROUGHNESS
    rise, fall = end - levels[lowest], float(levels[0] - levels[lowest])
    if rise > max(RISE * abs(levels[lowest]), SHARE * fall, NOISES * noise):
        floor = levels[lowest] + max(3 * noise, 0.02 * rise)
        last = int(np.flatnonzero(levels <= floor)[-1])
        step = int(done[last])
        return _diverged(
            step, f"the loss rises for good from step {step} on: {levels[last]:.4g} there, {end:.4g} at the end"
        )
    return Ending(outcome=RunOutcome.COMPLETED)


def gradient_norm_of(gradient_norm: Series | None, weights: Series | None) -> GradientNorm | None:
    """Why the gradient norm rises. A gradient of weights whose scale does not matter goes like one over their norm.

    weights : RMS or norm, pooled; measured, or predicted for want of it.
    """
    if gradient_norm is None:
        return None
    done, levels = _levels(gradient_norm)
    if len(levels) < LEAST_RECORDS or levels.min() <= 0:
        return None
    skipped = len(levels) // 10  # the warmup has its own reasons
    lowest = skipped + int(np.flatnonzero(levels[skipped:] <= NEAR * levels[skipped:].min())[-1])
    tail = max(1, len(levels) // 20)
    end, end_step = float(np.median(levels[-tail:])), int(done[-1 - tail // 2])
    rise = end / float(levels[lowest])
    fall, cause = None, "unknown"
    if weights is not None and weights.known:
        before, after = weights.at(np.array([done[lowest], end_step], np.float64)).tolist()
        fall = before / after if min(before, after) > 0 else None
    if np.log(rise) < GRADIENT_RISE:
        cause = "does not rise"
    elif fall is not None:
        share = np.log(fall) / np.log(rise)
        low, high = EXPLAINED
        cause = "one over the weight norm" if low <= share <= high else "partly the weight norm"
        if share < low / 2 or share > 2 * high:
            cause = "not the weight norm"
    return GradientNorm(
        from_step=int(done[lowest]),
        to_step=end_step,
        rise=rise,
        weight_fall=fall,
        cause=cause,  # type: ignore[arg-type]
    )


def change(series: Series | None, until: int) -> tuple[int, float, float, float] | None:
    """Step and value of the record half way to a step, the value of the last up to it, and that of the last of all."""
    if series is None:
        return None
    kept = np.isfinite(series.values) & (series.done <= until)
    if kept.sum() < 2:
        return None
    done, values = series.done[kept], series.values[kept]
    half = int(np.searchsorted(done, until / 2))
    half = min(half, len(done) - 2)
    return int(done[half]), float(values[half]), float(values[-1]), float(series.values[-1])


def _levels(series: Series) -> tuple[NDArray[np.int64], Array]:
    """Finite records, as medians over windows where there are many."""
    kept = np.isfinite(series.values)
    done, values = series.done[kept], series.values[kept]
    size = len(values) // WINDOWS
    if size < 2:
        return done, values
    count = len(values) // size
    blocks = values[len(values) - count * size :].reshape(count, size)
    return done[len(done) - count * size :].reshape(count, size)[:, size // 2], np.median(blocks, axis=1)


def _diverged(step: int, reason: str) -> Ending:
    return Ending(outcome=RunOutcome.DIVERGED, diverged_step=step, reason=reason)
