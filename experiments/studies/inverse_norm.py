r"""The recursion of `theory.inverse_norm` against simulated scale-invariant weights: norm, angle and transient.

Question    Does the recursion describe weights whose gradient goes like one over their norm, from starts far off
            equilibrium and with second moments that remember them?
Hypothesis  RMS and angle within 1 % at every record from 10/(1-beta1) steps on, the transient within 2 %.
Method      Random settings (`draw_setting`): AdamW and AdamC, beta1 to 0.95, 1 - beta2 from 1e-3 to 0.1, starts from
            0.1 to 10 times equilibrium, any schedule. Each is simulated with gradients that go like one over the norm,
            and once more with the same random numbers and gradients of constant scale. The ratio of the two, times the
            exact theory of the second, has a fraction of the Monte Carlo noise of the first.
Decision    Every setting within the limits. Of the transients those count whose Monte Carlo error is below 0.7 %.

Transient means first passage: the first time at which the RMS is within 5 % of the equilibrium of the peak rate, asked
while the rate does not decay. Beside it stands what the theory of constant scale says of the same settings (white noise
at finite beta2). A finished setting is a row of a CSV file among the runs, and is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.files import to_json
from experiments.studies.workplace import Findings, Workplace, read_settings, write_settings
from sim import GradientNoise
from sim.monte_carlo import run
from sim.observables import observables
from theory import SCHEDULES, AdamC, AdamW, Schedule, equilibrium, inverse_norm, record_steps
from theory.models import Decoupled, Moments
from theory.momentum import startup_steps
from theory.networks import SCALE_INVARIANT, WHITE_NOISE, Network, model_of
from theory.trajectory import FIELDS
from theory.varying_scale import ExactDirection

Array = NDArray[np.float64]

SEED = 20261130
DIM, REPLICAS, MOST_BATCHES = 4096, 16, 6
NUM_RECORDS = 400
TOLERANCE = 0.05  # of the transient
RMS_ERROR = 1e-4  # Monte Carlo, of a record, at which no more replicas are added
LIMITS = {"rms_error": 0.01, "angle_error": 0.01, "transient_error": 0.02}
RESOLVED = 0.007  # Monte Carlo error of a transient that counts
GAPS = ("transient", "theory_transient", "white_transient", "transient_noise")  # NaN where the RMS never gets there
ROW: dict[str, type[int | float]] = {"num_replicas": int}
ROW |= {
    f"{whose}_{what}": float for whose in ("rms", "angle", "white_rms", "white_angle") for what in ("error", "step")
}
ROW |= {"rms_noise": float, "angle_noise": float}
ROW |= dict.fromkeys(GAPS, float)
BANDS = ((0.9, 0.97), (0.97, 0.99), (0.99, 1.0))  # of beta2, for the answers

# The direction of the simulation is that of noise.
NETWORK = replace(SCALE_INVARIANT, direction_ratio=1.0)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of the grid; ``start`` is the initial RMS over that of equilibrium."""

    optimizer: AdamW | AdamC
    schedule: Schedule
    start: float
    seed: int

    @property
    def initial_rms(self) -> float:
        return self.start * equilibrium(self.optimizer, initial_rms=1.0, network=NETWORK).weight_rms


def draw_setting(index: int) -> Setting:
    """Setting number ``index``.

    Decay per step 1e-3 to 2e-2 at the peak; three to eight times as long as norm and second moment need to forget, from
    300 to 8,000 steps; every second run at a constant rate.
    """
    rng = np.random.default_rng([SEED, index])

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    rate, product, memory = log_uniform(1e-3, 5e-2), log_uniform(1e-3, 2e-2), log_uniform(1e-3, 1e-1)
    cls: type[AdamW | AdamC] = AdamC if index % 4 == 3 else AdamW
    optimizer = cls(
        learning_rate=rate,
        weight_decay=product / rate,
        beta1=float(rng.uniform(0, 0.95)),
        beta2=1 - memory,
        eps=1e-12,
    )
    forgotten = 1 / float(inverse_norm.relaxation_rates(product, optimizer.beta2))
    num_steps = int(np.clip(log_uniform(3, 8) * forgotten, 300, 8000))
    name = "constant" if index % 2 == 0 else str(rng.choice(["linear", "cosine", "wsd"]))
    shaped: dict[str, Any] = {"num_steps": num_steps, "warmup_steps": int(rng.integers(num_steps // 10))}
    if name != "constant":
        shaped["final_fraction"] = float(rng.uniform(0, 1))
    schedule_class: Any = SCHEDULES[name]
    return Setting(optimizer=optimizer, schedule=schedule_class(**shaped), start=log_uniform(0.1, 10), seed=index)


def measure(setting: Setting, *, most_batches: int = MOST_BATCHES, target: float = RMS_ERROR) -> dict[str, Any]:
    """One row: largest errors of both theories over the records, the transients, and what the simulation is worth."""
    optimizer, schedule = setting.optimizer, setting.schedule
    initial = setting.initial_rms
    steps = record_steps(schedule.num_steps, max(1, schedule.num_steps // NUM_RECORDS))
    reference = _at_records(_constant_scale(setting), steps)
    theory = _at_records(_moments(setting, NETWORK), steps) / reference
    white = _at_records(_moments(setting, WHITE_NOISE), steps) / reference
    rows = [FIELDS.index("weight_rms"), FIELDS.index("angular_update")]
    batches: list[Array] = []
    while len(batches) < most_batches:
        replicas = np.arange(len(batches) * REPLICAS, (len(batches) + 1) * REPLICAS, dtype=np.int64)
        both = [
            run(
                optimizer,
                schedule,
                steps,
                initial_rms=initial,
                dim=DIM,
                shape=None,
                replicas=replicas,
                noise=GradientNoise(scale=scale),
                seed=setting.seed,
                progress=None,
            )[0]
            for scale in ("inverse-norm", "constant")
        ]
        batches.append(np.stack(both))
        ratio, error = log_ratio(np.concatenate(batches, axis=1), rows)
        if error[0].max() <= target:
            break
    kept = steps >= startup_steps(optimizer.beta1)
    row: dict[str, Any] = {"num_replicas": len(batches) * REPLICAS}
    for name, i in (("rms", 0), ("angle", 1)):
        for which, predicted in (("", theory), ("white_", white)):
            off = np.expm1(ratio[i] - np.log(predicted[i]))[kept]
            worst = int(np.argmax(np.abs(off)))
            row[f"{which}{name}_error"], row[f"{which}{name}_step"] = float(off[worst]), int(steps[kept][worst])
        row[f"{name}_noise"] = float(error[i][kept].max())
    settled = equilibrium(optimizer, initial_rms=initial, network=NETWORK).weight_rms
    log_reference = np.log(reference[0] / settled)
    for name, log_ratios in (("", ratio[0]), ("theory_", np.log(theory[0])), ("white_", np.log(white[0]))):
        row[f"{name}transient"] = first_passage(steps, log_reference + log_ratios, schedule.peak_end)
    row["transient_noise"] = np.nan
    if row["transient"] > 0:
        slope = np.gradient(log_reference + np.log(theory[0]), steps)
        at = int(np.searchsorted(steps, row["transient"]))
        row["transient_noise"] = float(error[0][at] / np.abs(slope[at] * row["transient"]))
    return row


def first_passage(steps: NDArray[np.int64], log_rms: Array, peak_end: int) -> float:
    """Time at which the log of the RMS over its equilibrium enters the tolerance, between records; NaN if never."""
    asked = steps <= peak_end
    x, t = log_rms[asked], steps[asked]
    low, high = np.log1p(-TOLERANCE), np.log1p(TOLERANCE)
    outside = (x < low) | (x > high)
    if outside.all():
        return float("nan")
    first = int(np.argmin(outside))
    if first == 0:
        return 0.0
    edge = low if x[first - 1] < low else high
    return float(t[first - 1] + (edge - x[first - 1]) / (x[first] - x[first - 1]) * (t[first] - t[first - 1]))


def log_ratio(moments: Array, rows: list[int]) -> tuple[Array, Array]:
    """Log of RMS and angle of the first simulation over those of the second, and its jackknife error, (2, num_records).

    ``moments`` (2, num_replicas, num_records, NUM_MOMENTS).
    """
    num_replicas, total = moments.shape[1], moments.sum(axis=1)

    def of(sums: Array, count: int) -> Array:
        first, second = (observables(each, count * DIM)[rows] for each in sums)
        return np.log(first / second)

    left_out = np.stack([of(total - moments[:, r], num_replicas - 1) for r in range(num_replicas)])
    return of(total, num_replicas), np.sqrt((num_replicas - 1) * left_out.var(axis=0))


def run_grid(num_settings: int, runs: Path) -> list[dict[str, float]]:
    """The rows of all settings; those that the folder ``runs`` holds already are read, not run."""
    path = runs / "settings.csv"
    rows = read_settings(path, ROW, gaps=GAPS)
    for index in tqdm(range(len(rows), num_settings), unit="setting", disable=None):
        rows.append(measure(draw_setting(index)))
        write_settings(path, rows)
    return rows[:num_settings]


def described(index: int) -> dict[str, Any]:
    """What a row of the table says of its setting."""
    setting = draw_setting(index)
    optimizer = setting.optimizer
    names = ("learning_rate", "weight_decay", "beta1", "beta2")
    return {
        "optimizer": optimizer.name,
        **{name: getattr(optimizer, name) for name in names},
        "schedule": setting.schedule.name,
        "num_steps": setting.schedule.num_steps,
        "warmup_steps": setting.schedule.warmup_steps,
        "start": setting.start,
    }


def summarise(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row per band of beta2 and quantity: largest errors of both theories, and how many settings are within."""
    for low, high in (*BANDS, (BANDS[0][0], BANDS[-1][1])):
        some = table[(table["beta2"] >= low) & (table["beta2"] < high)]
        for quantity, limit in LIMITS.items():
            noise = some[quantity.replace("error", "noise")]
            counted = some
            if quantity == "transient_error":
                counted = some[(some["transient"] > 0) & (noise <= RESOLVED)]
            error, white = counted[quantity].abs(), counted[f"white_{quantity}"].abs()
            yield {
                "beta2_from": low,
                "beta2_below": high,
                "quantity": quantity.removesuffix("_error"),
                "num_settings": len(some),
                "num_judged": len(counted),
                "num_within": int((error <= limit).sum()),
                "limit_percent": 100 * limit,
                "largest_percent": 100 * error.max(),
                "median_percent": 100 * error.median(),
                "noise_largest_percent": 100 * noise[counted.index].max(),
                "white_largest_percent": 100 * white.max(),
                "white_median_percent": 100 * white.median(),
            }


def run_study(place: Workplace, settings: int = 200) -> Findings:
    """``agreement.csv``, a row per setting, ``answers.csv`` by beta2, ``config.json``; passed if all that count are."""
    place.make_folders()
    with place.kernel_threads():
        rows = run_grid(settings, place.runs)
    table = pd.DataFrame([{**described(index), **row} for index, row in enumerate(rows)])
    for name in ("", "white_"):
        predicted = table["theory_transient" if not name else "white_transient"]
        table[f"{name}transient_error"] = predicted / table["transient"].where(table["transient"] > 0) - 1
    answers = pd.DataFrame(summarise(table))
    config = {
        "seed": SEED,
        "num_settings": settings,
        "dim": DIM,
        "replicas_per_batch": REPLICAS,
        "most_batches": MOST_BATCHES,
        "rms_error": RMS_ERROR,
        "num_records": NUM_RECORDS,
        "tolerance": TOLERANCE,
        "limits": LIMITS,
        "transient_resolved": RESOLVED,
    }
    place.write("config.json", to_json(config) + "\n")
    place.write("agreement.csv", table.to_csv(index=False, float_format="%.5g", lineterminator="\n"))
    place.write("answers.csv", answers.to_csv(index=False, float_format="%.4g", lineterminator="\n"))
    return Findings(answers=answers, passed=bool((answers["num_within"] == answers["num_judged"]).all()))


def _moments(setting: Setting, network: Network) -> Moments:
    optimizer, schedule = setting.optimizer, setting.schedule
    model = model_of(optimizer, network, finite_beta2=True)
    return model.moments(optimizer.learning_rate * schedule.multipliers(), np.array([setting.initial_rms]))


def _constant_scale(setting: Setting) -> Moments:
    """The same weights under gradients of constant scale, exactly from the first step on."""
    optimizer, schedule = setting.optimizer, setting.schedule
    rates = optimizer.learning_rate * schedule.multipliers()
    model = model_of(optimizer)
    assert isinstance(model, Decoupled)
    shrinkage = model.shrinkage(rates)
    direction = ExactDirection(1, optimizer.beta1, optimizer.beta2)
    rho, p, s = np.empty((len(rates) + 1, 1)), np.empty((len(rates), 1)), np.empty((len(rates), 1))
    rho[0] = setting.initial_rms**2
    for t, (eta, shrink) in enumerate(zip(rates, shrinkage, strict=True)):
        direction.see(np.ones(1))
        p[t], s[t] = direction.alignment, direction.square
        rho[t + 1] = (1 - shrink) * ((1 - shrink) * rho[t] - 2 * eta * p[t]) + eta**2 * s[t]
        direction.move(np.array([eta]), np.array([1 - shrink]))
    return Moments(rho, p, s, rates[:, None], shrinkage[:, None])


def _at_records(moments: Moments, steps: NDArray[np.int64]) -> Array:
    """RMS and angle at the records, (2, num_records)."""
    rho, p, s, eta, shrinkage = (each[steps, 0] for each in moments)
    across = np.sqrt(np.maximum(rho * s - p**2, 0))
    return np.stack([np.sqrt(rho), np.arctan2(eta * across, (1 - shrinkage) * rho - eta * p)])
