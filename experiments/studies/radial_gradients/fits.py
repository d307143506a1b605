"""Constants of `theory.radial` from runs, and what they predict of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from experiments.agreement.matrix_networks import DRIVEN, FEED_FORWARD
from experiments.studies.radial_gradients.runs import label
from experiments.studies.workplace import read_rows
from gpt.config import TrainConfig
from theory import AdamW, Cosine
from theory.radial import BURST_STEPS, DEFAULT, DIRECTION_RATIO, NOISE, Law, moments

Array = NDArray[np.float64]
Burst = float

POOLED = "all but query, key"
FIRST_STEP = 100  # of a small run that counts
PYTHIA = ("pythia_lr1e-3_wd0.01_seed3", "pythia_lr1e-3_wd0.05", "pythia_lr3e-4_matrices")
OTHERS = ("pythia_lr1e-3_wd0.01_seed4", "pythia_lr1e-3_wd0.01", "pythia_continued_lr1e-3_matrices")
CONTINUED = OTHERS[-1]
LATE = 5000
FITTED_AT = np.array([128, 250, 500, 1000, 2000, 3000, 5000, 8000, 12000, 16000, 20000])


def starting(burst: Burst, num_steps: int) -> Array:
    """Relative size of gradients with a burst of that height."""
    return np.sqrt(1 + burst * np.exp(-np.arange(1, num_steps + 1) / BURST_STEPS))


# Small models


def errors(config: TrainConfig, rows: pd.DataFrame, law: Law | None) -> Array:
    """ln(predicted / measured) RMS of the kinds in ``rows`` of `by_kind`, one after the other; None is white noise.

    Without a burst: small models do not begin with one.
    """
    assert isinstance(config.optimizer, AdamW)
    optimizer = config.optimizer
    rates = optimizer.learning_rate * config.schedule.multipliers()
    start = float(config.block_rms or np.nan)
    setting = (rates, optimizer.weight_decay * rates, optimizer.beta1, optimizer.beta2, start)
    ratio = 1.0 if law is None else DIRECTION_RATIO
    run = moments(*setting, direction_ratio=ratio, gradient_scale=np.ones(len(rates)), law=law or NOISE)
    counted = rows[rows["step"] >= FIRST_STEP]
    return np.asarray(np.log(np.sqrt(run.rho[counted["step"]]) / counted["weight_rms"].to_numpy()))


def fit_law(chosen: Sequence[TrainConfig], rows: pd.DataFrame) -> Law:
    """Least squares in ln RMS over all records; ``rows`` of `by_kind`."""

    def misfit(logs: Array) -> Array:
        law = Law(outward=float(np.exp(logs[0])), valley=float(np.exp(logs[1])))
        return np.concatenate([errors(c, rows[rows["run"] == label(c)], law) for c in chosen])

    start = np.log([DEFAULT.outward, DEFAULT.valley])
    logs = least_squares(misfit, start, bounds=(np.log([0.1, 1e-3]), np.log([50, 100])), diff_step=1e-3).x
    return Law(outward=float(np.exp(logs[0])), valley=float(np.exp(logs[1])))


def laws_table(chosen: Sequence[TrainConfig], rows: pd.DataFrame) -> pd.DataFrame:
    """Laws of all kinds but queries and keys together, and by kind; the former, and that of the MLP, with each run left
    out as well. Root mean squares of ln RMS in the runs that were fitted or in the one left out, and of white noise in
    the same."""
    found = []

    def add(kind: str, kept: Sequence[TrainConfig], judged: Sequence[TrainConfig], left_out: str) -> None:
        these = rows[rows["kind"] != DRIVEN] if kind == POOLED else rows[rows["kind"] == kind]
        law = fit_law(kept, these)
        parts = [(c, these[these["run"] == label(c)]) for c in judged]
        row = {"kind": kind, "left_out": left_out, "outward": law.outward, "valley": law.valley}
        for name, each in (("error", law), ("error_of_noise", None)):
            row[name] = float(np.sqrt(np.mean(np.concatenate([errors(c, r, each) for c, r in parts]) ** 2)))
        found.append(row)

    for kind in (POOLED, *rows["kind"].unique()):
        add(kind, chosen, chosen, "")
    for kind in (POOLED, FEED_FORWARD):
        for one in chosen:
            add(kind, [c for c in chosen if c is not one], [one], label(one))
    return pd.DataFrame(found)


# Pythia


def read_pythia(folder: Path, name: str) -> pd.DataFrame:
    """Weight RMS by step, pooled over matrices by their entries where they are told apart."""
    table = read_rows(folder / "npm_weibull" / f"{name}.csv", numbers=("step", "weight_rms"))
    if "matrix" not in table:
        return table[["step", "weight_rms"]]
    entries = table["num_entries"]
    sums = pd.DataFrame({"step": table["step"], "square": entries * table["weight_rms"] ** 2, "entries": entries})
    pooled = sums.groupby("step", as_index=False).sum()
    return pd.DataFrame({"step": pooled["step"], "weight_rms": np.sqrt(pooled["square"] / pooled["entries"])})


SETTING = ("learning_rate", "weight_decay", "beta1", "beta2", "warmup_steps", "num_steps")
Run = tuple["pd.Series[Any]", pd.DataFrame]


def read_settings(folder: Path) -> dict[str, pd.Series[Any]]:
    """The rows of ``runs.csv``, by run."""
    runs = read_rows(folder / "npm_weibull" / "runs.csv", numbers=SETTING, texts=("run",))
    return {str(run): row for run, row in runs.set_index("run").iterrows()}


def predicted_rms(setting: pd.Series[Any], initial_rms: float, law: Law | None, burst: Burst) -> Array:
    """(num_steps + 1,) of a public run; ``law`` None is white noise."""
    schedule = Cosine(
        num_steps=int(setting["num_steps"]), warmup_steps=int(setting["warmup_steps"]), final_fraction=0.1
    )
    rates = float(setting["learning_rate"]) * schedule.multipliers()
    given = (rates, float(setting["weight_decay"]) * rates, float(setting["beta1"]), float(setting["beta2"]))
    scale = starting(burst, len(rates))
    if law is None:
        run = moments(*given, initial_rms, direction_ratio=1.0, gradient_scale=np.ones(len(rates)), law=NOISE)
    else:
        run = moments(*given, initial_rms, gradient_scale=scale, law=law)
    return np.sqrt(run.rho)


def fit_pythia(runs: Iterable[Run], law: Law | None) -> tuple[Law, Burst]:
    """The burst, and the law as well where None is given, by relative errors at `FITTED_AT`."""
    chosen = list(runs)

    def constants(logs: Array) -> tuple[Law, Burst]:
        values = np.exp(logs).tolist()
        return law or Law(outward=values[1], valley=values[2]), values[0]

    def misfit(logs: Array) -> Array:
        found = []
        for setting, table in chosen:
            steps, measured = table["step"].to_numpy(), table["weight_rms"].to_numpy()
            rms = predicted_rms(setting, float(measured[0]), *constants(logs))
            at = FITTED_AT[steps[-1] >= FITTED_AT]
            found.append(rms[at] / np.interp(at, steps, measured) - 1)
        return np.concatenate(found)

    start = np.log([10.0] if law else [10.0, DEFAULT.outward, DEFAULT.valley])
    return constants(least_squares(misfit, start, diff_step=1e-3).x)


def pythia_table(folder: Path, law: Law) -> pd.DataFrame:
    """What each fit predicts: largest relative errors before and from step `LATE` on."""
    settings = read_settings(folder)
    runs: dict[str, Run] = {name: (settings[name], read_pythia(folder, name)) for name in (*PYTHIA, *OTHERS)}
    found = []

    def add(fitted: str, source: str, law: Law | None, burst: Burst) -> None:
        constants = {"outward": law.outward if law else 1, "valley": law.valley if law else np.inf, "burst": burst}
        for name, (setting, table) in runs.items():
            steps, measured = table["step"].to_numpy(), table["weight_rms"].to_numpy()
            relative = np.abs(predicted_rms(setting, float(measured[0]), law, burst)[steps] / measured - 1)
            ends = {"before": relative[steps < LATE].max(), "from": relative[steps >= LATE].max()}
            row = {"fitted_to": fitted, "law_from": source, **constants, "run": name}
            found.append({**row, **{f"error_{when}_{LATE}": value for when, value in ends.items()}})

    for source in ("small models", "Pythia"):
        for fitted in (*((name,) for name in PYTHIA), PYTHIA):
            if source == "Pythia" and fitted == (PYTHIA[2],):
                continue  # one rate, 8,000 steps: three constants are not to be had
            got, burst = fit_pythia([runs[name] for name in fitted], law if source == "small models" else None)
            add(" + ".join(fitted), source, got, burst)
    add("", "white noise", None, 0.0)
    return pd.DataFrame(found)
