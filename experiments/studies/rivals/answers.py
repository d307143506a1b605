r"""Whether the optima of the arms lie at a fixed value of a quantity, and where that value would put them.

Of an arm with optimum x (ln rate, standard error :math:`\sigma`) a quantity has :math:`\rho = \ln r(x)`, by
interpolation in ln rate of each seed, the slope s of ln r in ln rate by a line through the rates, and the noise
:math:`\tau` of :math:`\rho` from the spread between seeds, pooled over the arms of a length. Its few degrees of freedom
count: chi^2 over its own is an F, with those of the noise times :math:`(\mathrm{error}^2/\tau^2)^2`, since the error of
the optimum is taken as known (Welch and Satterthwaite); slopes and shifts are compared by Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, ncx2
from scipy.stats import f as fisher
from scipy.stats import t as student

from experiments.studies.moved_optimum.answers import NORMAL_95, SHIFT
from experiments.studies.moved_optimum.runs import ADAMH
from experiments.studies.rivals.runs import COMPARED, MEASURED, MOMENTS

Array = NDArray[np.float64]

REFUTED, HELD = 0.01, 0.05
SMALLEST, MANY = 1e-12, 1e9  # noise, and degrees of freedom that are as good as infinite
PRODUCTS = {  # with the peak rate, half way: name, quantity, its power
    "rate x noise_scale^0.5": ("noise_scale", 0.5),
    "rate x sharpness": ("sharpness", 1.0),
    "rate x preconditioned_sharpness": ("preconditioned_sharpness", 1.0),
    "rate x update_rms": ("update_rms", 1.0),
}
ADAMW = tuple(name for name in COMPARED if name != ADAMH.name)
SCOPES = {"AdamW": ADAMW, "with AdamH": COMPARED}
ANSWERS = (
    *("num_steps", "quantity", "moment", "scope", "at_common_rate", "at_common_rate_error", "at_optima"),
    *("at_optima_error", "chi2", "p", "shift", "shift_low", "shift_high", "measured_shift", "measured_low"),
    *("measured_high", "miss", "noise_over_slope", "power", "verdict"),
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One quantity in one arm: ``optimum`` and its ``error`` in ln rate; ``value`` there, ``slope`` and
    ``at_common_rate`` of its logarithm, ``noise`` and ``slope_noise`` their standard errors by seeds, of ``freedom``
    degrees."""

    arm: str
    optimum: float
    error: float
    value: float
    slope: float
    at_common_rate: float
    noise: float
    slope_noise: float
    freedom: int

    @property
    def value_error(self) -> float:
        """Of the value at the true optimum."""
        return math.hypot(self.slope * self.error, self.noise)


def quantities() -> Iterator[tuple[str, str]]:
    """Name and moment of all that is asked: the account's own first."""
    yield "mean_angle", "run"
    yield from ((name, moment) for name in MEASURED for moment in MOMENTS)
    yield from ((name, "half") for name in PRODUCTS)


def log_values(runs: pd.DataFrame, quantity: str, moment: str) -> Array:
    """ln of a quantity in every run, NaN where it is not above 0 or not measured."""
    name, power = PRODUCTS.get(quantity, (quantity, 1.0))
    values = runs[name if moment == "run" else f"{name}_{moment}"].to_numpy(float)
    logs: Array = np.log(np.where((values > 0) & np.isfinite(values), values, np.nan)) * power
    return logs + np.log(runs["learning_rate"].to_numpy(float)) if quantity in PRODUCTS else logs


def read(runs: pd.DataFrame, optima: pd.DataFrame, quantity: str, moment: str) -> list[Reading]:
    """A reading per arm of `COMPARED` that has the quantity at two rates or more in two seeds or more; ``runs`` and
    ``optima`` of one length. Of a table with gaps counts the largest part without any."""
    table = runs.assign(value=log_values(runs, quantity, moment))
    best = dict(zip(optima["arm"], np.log(optima["learning_rate"].to_numpy(float)), strict=True))
    errors = dict(zip(optima["arm"], optima["error"].to_numpy(float), strict=True))
    common = float(np.mean([best[arm] for arm in SHIFT]))
    found, spreads = {}, []
    for arm in COMPARED:
        by_seed = table[table["arm"] == arm].pivot(index="seed", columns="learning_rate", values="value")
        by_seed = _without_gaps(by_seed)
        if by_seed.empty:
            continue
        rates, values = np.log(by_seed.columns.to_numpy(float)), by_seed.to_numpy(float)
        optimum = float(best[arm])
        each = np.stack(
            [
                _between(optimum, rates, values),
                np.polyfit(rates, values.T, 1)[0],
                _between(common, rates, values),
            ]
        )
        found[arm] = (optimum, float(errors[arm]), *each.mean(axis=1), len(values))
        spreads.append(each[:2].var(axis=1, ddof=1))
    freedom = sum(num_seeds - 1 for *_, num_seeds in found.values())
    pooled = np.mean(spreads, axis=0) if spreads else np.zeros(2)
    return [
        Reading(
            arm=arm,
            optimum=optimum,
            error=error,
            value=value,
            slope=slope,
            at_common_rate=at_common_rate,
            noise=float(np.sqrt(pooled[0] / num_seeds)),
            slope_noise=float(np.sqrt(pooled[1] / num_seeds)),
            freedom=freedom,
        )
        for arm, (optimum, error, value, slope, at_common_rate, num_seeds) in found.items()
    ]


def _without_gaps(by_seed: pd.DataFrame) -> pd.DataFrame:
    """The most values at two rates or more, all of them in the same two seeds or more: rates that as many seeds have,
    in the seeds that have all of them. Empty if there are none."""
    counts = by_seed.notna().sum()
    parts = [by_seed.loc[:, counts >= least].dropna() for least in sorted(set(counts), reverse=True)]
    return max((part for part in parts if min(part.shape) > 1), key=lambda part: part.size, default=by_seed.iloc[:0])


def _between(x: float, rates: Array, values: Array) -> Array:
    """By the line through the two rates beside x, or nearest to it; values (num_seeds, num_rates)."""
    low = int(np.clip(np.searchsorted(rates, x) - 1, 0, len(rates) - 2))
    share = (x - rates[low]) / (rates[low + 1] - rates[low])
    found: Array = values[:, low] * (1 - share) + values[:, low + 1] * share
    return found


def predicted_shift(readings: Sequence[Reading]) -> tuple[float, float]:
    """ln of the rate at which the first arm of `SHIFT` has the value of the second one's optimum, over that optimum;
    and its standard error."""
    by_arm = {one.arm: one for one in readings}
    moved, base = (by_arm[name] for name in SHIFT)
    step = (base.value - moved.value) / moved.slope
    errors = [
        (base.slope / moved.slope - 1) * base.error,
        math.hypot(base.noise, moved.noise) / moved.slope,
        step * moved.slope_noise / moved.slope,
    ]
    return moved.optimum + step - base.optimum, float(np.linalg.norm(errors))


def judge(readings: Sequence[Reading]) -> dict[str, object]:
    """The answer about one quantity over these arms, which are at least those of `SHIFT`, by the rule of the study."""
    by_arm = {one.arm: one for one in readings}
    moved, base = (by_arm[name] for name in SHIFT)
    value, slope, own = (np.array([getattr(one, name) for one in readings]) for name in ("value", "slope", "error"))
    noise = np.array([one.noise for one in readings])
    error = np.array([one.value_error for one in readings])
    if error.min() < SMALLEST:
        return {"verdict": "chooses no rate"}
    level = float(np.average(value, weights=error**-2))
    distance, freedom = float((((value - level) / error) ** 2).sum()), len(readings) - 1
    known = moved.freedom * float(np.median((error / np.maximum(noise, SMALLEST)) ** 4))
    p = float(fisher.sf(distance / freedom, freedom, min(known, MANY)))
    limit = float(student.ppf(0.975, moved.freedom))
    shift, shift_error = predicted_shift(readings)
    measured = moved.optimum - base.optimum
    seen = all(abs(one.slope) > limit * one.slope_noise for one in (moved, base))
    told = shift * math.copysign(1.0, measured) > limit * shift_error
    if p < REFUTED:
        verdict = "refuted"
    elif not seen:
        verdict = "chooses no rate"
    else:
        verdict = "moves with the optimum" if p >= HELD and told else "open"
    half = NORMAL_95 * math.hypot(moved.error, base.error)
    return {
        "at_common_rate": moved.at_common_rate - base.at_common_rate,
        "at_common_rate_error": math.hypot(moved.noise, base.noise),
        "at_optima": moved.value - base.value,
        "at_optima_error": math.hypot(moved.value_error, base.value_error),
        "chi2": distance,
        "p": p,
        "shift": shift,
        "shift_low": shift - limit * shift_error,
        "shift_high": shift + limit * shift_error,
        "measured_shift": measured,
        "measured_low": measured - half,
        "measured_high": measured + half,
        "miss": float(np.sqrt((((value - level) / slope) ** 2).mean())),
        "noise_over_slope": float(np.median(noise / np.abs(slope))),
        "power": power_of(np.array([one.optimum for one in readings]), np.hypot(own, noise / slope)),
        "verdict": verdict,
    }


def power_of(optima: Array, errors: Array) -> float:
    """Chance to refute a quantity that would put all these optima (ln rate) at one rate; ``errors`` of the optima, the
    quantity's noise over its slope included."""
    weights = errors**-2
    distance = float((weights * (optima - np.average(optima, weights=weights)) ** 2).sum())
    freedom = len(optima) - 1
    return float(ncx2.sf(chi2.ppf(1 - REFUTED, freedom), freedom, distance))


def answers_of(runs: pd.DataFrame, optima: pd.DataFrame) -> pd.DataFrame:
    """A row per length, quantity, moment and scope: AdamW's arms, which the verdict is about, and AdamH's beside them,
    where its rate means the same. A quantity that an arm lacks has a row that says so."""
    rows = []
    for num_steps in sorted(set(runs["num_steps"])):
        own, best = runs[runs["num_steps"] == num_steps], optima[optima["num_steps"] == num_steps]
        for quantity, moment in quantities():
            readings = read(own, best, quantity, moment)
            for scope, arms in SCOPES.items():
                if quantity in PRODUCTS and scope != "AdamW":
                    continue
                here = [one for one in readings if one.arm in arms]
                row = {"num_steps": num_steps, "quantity": quantity, "moment": moment, "scope": scope}
                complete = {one.arm for one in here} == set(arms)
                rows.append(row | (judge(here) if complete else {"verdict": "not measured"}))
    return pd.DataFrame(rows, columns=list(ANSWERS))


def values_of(runs: pd.DataFrame, optima: pd.DataFrame) -> pd.DataFrame:
    """A row per length, quantity, moment and arm: the value at the optimum, its error and slope in ln-ln."""
    rows = []
    for num_steps in sorted(set(runs["num_steps"])):
        own, best = runs[runs["num_steps"] == num_steps], optima[optima["num_steps"] == num_steps]
        for quantity, moment in quantities():
            for one in read(own, best, quantity, moment):
                rows.append(
                    {
                        "num_steps": num_steps,
                        "quantity": quantity,
                        "moment": moment,
                        "arm": one.arm,
                        "value": math.exp(one.value),
                        "log_error": one.value_error,
                        "slope": one.slope,
                        "slope_error": one.slope_noise,
                    }
                )
    columns = ["num_steps", "quantity", "moment", "arm", "value", "log_error", "slope", "slope_error"]
    return pd.DataFrame(rows, columns=columns)
