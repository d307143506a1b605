"""The study from its runs to its answers, as far as they have been made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import sem, t

from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.angle_law.answers import PILOT, RATES, adamw_angles
from experiments.studies.angle_law.fit import adamh_angles
from experiments.studies.ensembles.many import in_ensembles
from experiments.studies.ensembles.tasks import Task
from experiments.studies.moved_optimum.answers import fitted_optima
from experiments.studies.moved_optimum.predictions import SAME_ANGLE, read_constants, read_law
from experiments.studies.moved_optimum.runs import (
    COLUMNS,
    GAPS,
    NUMBERS,
    SEEDS,
    TEXTS,
    Arm,
    config_of,
    grid,
    in_columns,
    plant,
    run_rows,
    tasks_of,
)
from experiments.studies.small_starts import ADAMH, ARMS, CONTROLS, NUM_STEPS
from experiments.studies.small_starts.chances import pilot_chances
from experiments.studies.workplace import Findings, Workplace, read_rows
from gpt.config import TrainConfig
from theory.final_loss import FinalLossLaw, best_learning_rate
from theory.two_angles import TwoAngleLaw

ACCOUNTS = ("pilot", "two_angles", "two_clocks")


def run_study(
    place: Workplace,
    earlier: Path | None = None,
    table_only: bool = False,
    ensembles: bool = False,
    same_angle: Path = Path("docs/same-angle"),
    angle_law: Path = Path("docs/angle-law"),
    moved_optimum: Path = Path("docs/moved-optimum"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; then ``runs.csv``, ``optima.csv``, ``answers.csv``,
    and ``chances.csv``, of a law that is right.

    earlier : a ``runs.csv`` of this study, whose rows stand for their runs. table_only : nothing is trained.
    ensembles : make runs many at once, on a GPU if there is one. same_angle, angle_law, moved_optimum : folders with
    the results of those studies.
    """
    laws = read_laws(angle_law)
    others = read_rows(same_angle / "runs.csv", numbers=SAME_ANGLE, texts=("arm",))
    predictions = begin(place, laws, earlier)
    if ensembles and not table_only:
        in_ensembles({"small-starts": partial(wanted, place, predictions)})
    made = [_made(place, arm, configs, table_only) for arm, configs in cells_of(predictions)]
    runs = in_columns(pd.concat(made, ignore_index=True))
    place.write("runs.csv", runs.to_csv(index=False, float_format="%.8g"))
    optima = fitted_optima(runs[runs["seed"].isin(SEEDS)], [arm.name for arm in ARMS])
    if len(optima):
        optima = optima.merge(predictions, on=["arm", "num_steps"])
    answers = pd.DataFrame([*(answer_of(optima.loc[i]) for i in optima.index), *controls_of(runs, others, laws)])
    tables = {"optima": optima, "answers": answers}
    if len(optima):
        gaps = ("initial_rms", "error")
        moved = read_rows(moved_optimum / "optima.csv", numbers=("num_steps",), gaps=gaps, texts=("arm",))
        tables |= {"chances": pilot_chances(optima, moved)}
    for name, table in tables.items():
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    return Findings(answers=answers)


def begin(place: Workplace, laws: dict[str, FinalLossLaw], earlier: Path | None) -> pd.DataFrame:
    """What comes before the first run: folders, ``predictions.csv``, ``config.json``, rows of an ``earlier`` table. The
    predictions."""
    place.make_folders()
    predictions = predictions_of(laws)
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.5g"))
    first = [config_of(arm, NUM_STEPS, 0.01, SEEDS[0]) for arm in (*ARMS, ADAMH)]
    place.write("config.json", to_json([config_to_dict(config) for config in first], indent=1) + "\n")
    if earlier is not None:
        plant(place, read_rows(earlier, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS)))
    return predictions


def read_laws(angle_law: Path) -> dict[str, FinalLossLaw]:
    """Both that AdamH's runs gave, from the results of that study. Raises `BadInput`."""
    return {
        "two_angles": read_constants(angle_law / "law.csv", TwoAngleLaw),
        "two_clocks": read_law(angle_law / "two-clocks.csv"),
    }


def wanted(place: Workplace, predictions: pd.DataFrame) -> list[Task]:
    """What the study would train next."""
    return [task for _, configs in cells_of(predictions) for task in tasks_of(place, configs)]


def wishes(place: Workplace, docs: Path) -> Callable[[], list[Task]]:
    """`wanted`, beginning with the rows and laws that are in a folder of the studies' results."""
    return partial(wanted, place, begin(place, read_laws(docs / "angle-law"), docs / "small-starts" / "runs.csv"))


def cells_of(predictions: pd.DataFrame) -> Iterator[tuple[Arm, list[TrainConfig]]]:
    """Both starts on their grids, then the controls: arm and runs."""
    grids = [(arm, grid(centre), SEEDS) for arm, centre in zip(ARMS, predictions["centre"], strict=True)]
    for arm, rates, seeds in (*grids, *CONTROLS):
        yield arm, [config_of(arm, NUM_STEPS, rate, seed) for rate in rates for seed in seeds]


def _made(place: Workplace, arm: Arm, configs: list[TrainConfig], known: bool) -> pd.DataFrame:
    """The rows of these runs, or of those that are there already."""
    if known:
        configs = [config for config in configs if place.file_of(config).exists()]
    if not configs:
        return pd.DataFrame(columns=list(COLUMNS))
    return run_rows(place, configs).assign(arm=arm.name)


def predictions_of(laws: dict[str, FinalLossLaw]) -> pd.DataFrame:
    """A row per start: the pilot's optimum, that of each law, and the centre of the grid."""
    measured = {one.initial_rms: one.learning_rate for one in PILOT if one.num_steps == NUM_STEPS}
    rows: list[dict[str, Any]] = []
    for arm in ARMS:
        pilot = measured[arm.initial_rms]
        angles, clock = adamw_angles(RATES, NUM_STEPS, arm.initial_rms), arm.scheduled(NUM_STEPS).multipliers()
        best = {name: best_learning_rate(law, RATES, angles, clock)[0] for name, law in laws.items()}
        row = {"arm": arm.name, "num_steps": NUM_STEPS, "weight_decay": arm.weight_decay}
        row |= {"initial_rms": arm.initial_rms}
        rows.append(row | {"pilot": pilot, **best, "centre": float(f"{np.sqrt(pilot * best['two_angles']):.5g}")})
    return pd.DataFrame(rows)


def answer_of(optimum: pd.Series[Any]) -> dict[str, Any]:
    """Of one start: the accounts that its interval refutes, and the nearer one."""
    told = {"quantity": f"optimum, {optimum['arm']}", **{name: optimum[name] for name in ACCOUNTS}}
    told |= {"value": optimum["learning_rate"], "low": optimum["low"], "high": optimum["high"]}
    if optimum[["low", "high"]].isna().any():
        return told | {"verdict": "the optimum has no interval"}
    off = {name: abs(np.log(optimum[name] / optimum["learning_rate"])) for name in ACCOUNTS}
    outside = [name for name in ACCOUNTS if not optimum["low"] <= optimum[name] <= optimum["high"]]
    nearer = min(off, key=lambda name: off[name])
    return told | {"verdict": "; ".join([*(f"refutes {name}" for name in outside), f"nearest: {nearer}"])}


def controls_of(
    runs: pd.DataFrame, same_angle: pd.DataFrame, laws: dict[str, FinalLossLaw]
) -> Iterator[dict[str, Any]]:
    """For both controls the loss at the lower rate less that at the higher, paired by seed: old seeds, new ones, all;
    a 95 % interval of Student's, and the verdict by two standard errors of all."""
    table = pd.concat([runs, same_angle[same_angle["arm"] == ADAMH.name]], ignore_index=True)
    for arm, rates, new in CONTROLS:
        own = table[(table["arm"] == arm.name) & (table["num_steps"] == NUM_STEPS)]
        clock, at = arm.scheduled(NUM_STEPS), np.array(rates)
        if arm.weight_decay is None:
            angles = np.stack([adamh_angles(rate, clock) for rate in rates], axis=1)
        else:
            angles = adamw_angles(at, NUM_STEPS, arm.initial_rms, arm.weight_decay)
        said = {name: float(-np.diff(law.loss(angles, clock.multipliers()))[0]) for name, law in laws.items()}
        by_seed = own[own["learning_rate"].isin(rates)].pivot_table("loss", "seed", "learning_rate").dropna()
        if len(by_seed.columns) < len(rates):
            continue
        paired = by_seed[rates[0]] - by_seed[rates[1]]
        fresh, differences = paired.index.isin(new), paired.to_numpy(float)
        for name, chosen in (("old seeds", ~fresh), ("new seeds", fresh)):
            if chosen.sum() > 1:
                yield _difference(arm, rates, name, differences[chosen]) | said
        row, error = _difference(arm, rates, "all seeds", differences), float(sem(differences))
        refuted = [f"refutes {law}" for law, value in said.items() if abs(value - row["value"]) > 2 * error]
        yield row | said | {"verdict": "; ".join(refuted) or "refutes no law"}


def _difference(arm: Arm, rates: tuple[float, ...], seeds: str, values: NDArray[np.float64]) -> dict[str, Any]:
    mean, half = float(values.mean()), float(t.ppf(0.975, len(values) - 1) * sem(values))
    quantity = f"loss, {arm.name}, {rates[0]:g} less {rates[1]:g}, {seeds}"
    return {"quantity": quantity, "seeds": len(values), "value": mean, "low": mean - half, "high": mean + half}
