"""The bend with its mechanism taken apart, from 22M to 708M parameters: four arms, planned for GPUs. No GPU has run it.

Question. Does AdamW's optimal learning rate bend along parameters or tokens, and how much of that goes when the norm's
transient goes?

Arms, which differ in nothing that the loss of a scale-invariant network sees but the angles of its block matrices:

    usual start    AdamW, matrices drawn as they usually are, an RMS of 0.02
    large start    AdamW from ten times that, well above the equilibrium of most rates
    equilibrium    AdamW, every run from the equilibrium norm of its own peak rate: no transient to speak of
    adamh          fixed norm

All of four widths (22M, 85M, 302M, 708M) by four lengths, so that both axes are crossed. Five rates in every cell.
Those of the usual start are a guess, a factor of 2 apart; in the other arms they are the rates that turn by the same
mean angle, by theory, so that no arm has the better grid.

Decision rule. Per arm and axis the verdict of `lrbend fit`, in learning rate and in mean angle; the mechanism's share
is the curvature of an arm less that of AdamH, by `lrbend attribute`, with its interval. Below what the plan says could
be shown, a bend is not denied.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from experiments.bend.power import power
from experiments.files import to_json
from experiments.studies.workplace import Findings, Workplace
from experiments.sweeps.plan import make_plan
from experiments.sweeps.study import Adaptive, Study, StudyCell, geometric
from gpt.config import TrainableOptimizer, TrainConfig, preset
from gpt.estimates import DEFAULT_GPU, DEFAULT_UTILISATION, estimate, num_matrix_params, num_tokens
from gpt.preset_training import training_of_preset
from theory import WSD, AdamH, AdamW
from theory.angle_law import Setting, mean_angle
from theory.bend import DELTA
from theory.radial import DIRECTION_RATIO
from theory.schedules import Schedule

SIZES = {"22M": (0, 1), "85M": (0, 1), "302M": (0,), "708M": (0,)}  # seeds of each
TOKENS = (1e9, 3e9, 9e9, 27e9)
WEIGHT_DECAY, USUAL_RMS, LARGE_RMS = 0.1, 0.02, 0.2
USUAL_RATES = geometric(5e-4, 2, 5)
WARMUP_SHARE = 0.01
RUNS_MORE = 2  # of a cell whose lowest loss stands at an end of its grid, a seed
NUM_GPUS = 8
OPTIMUM_ERRORS = (0.12, 0.04)  # of ln(optimum) of a cell: that of docs/moved-optimum, and a third of it
SOURCE = "./data/fineweb"


@dataclass(frozen=True)
class Arm:
    """``initial_rms`` None for a start at the equilibrium of each rate; a fixed norm for AdamH."""

    name: str
    initial_rms: float | None
    fixed_norm: bool = False


ARMS = (
    Arm("usual start", USUAL_RMS),
    Arm("large start", LARGE_RMS),
    Arm("equilibrium", None),
    Arm("adamh", USUAL_RMS, fixed_norm=True),
)


def study() -> Study:
    """64 cells: four arms, four sizes, four lengths."""
    return Study(
        name="bend",
        question="Does the optimal learning rate of AdamW bend along parameters or tokens from 22M to 708M parameters,"
        " and how much of the bend goes when the transient of the norm goes?",
        hypothesis="AdamW's bends upwards along parameters from the usual and the large start, less from equilibrium,"
        " and AdamH's is straight; along tokens all arms are straight or bend down.",
        method="Scale-invariant GPT-2, context 1024, batches of 524,288 tokens of FineWeb, WSD after a warmup of 1 %."
        " AdamW with decay 0.1 from RMS 0.02, from 0.2, from the equilibrium of each rate, and AdamH; five rates, those"
        " of all arms at the same mean angles by theory; two more where the lowest loss stands at an end.",
        decision="Per arm and axis the verdict of lrbend fit at its default delta, in learning rate and in mean angle;"
        " the mechanism's share is the curvature of an arm less that of AdamH, by lrbend attribute, with its interval.",
        scientific=("arm", "num_params", "num_tokens"),
        nuisance=("learning_rate", "seed"),
        fixed=("weight_decay", "batch_size", "schedule", "non_matrix_learning_rate", "architecture", "source"),
        cells=tuple(_cells()),
    )


def _cells() -> Iterator[StudyCell]:
    for size, seeds in reversed(SIZES.items()):
        for tokens in reversed(TOKENS):
            for arm in ARMS:
                config = _config(arm, size, tokens)
                rates = rates_of(arm, config)
                yield StudyCell(
                    label=f"{arm.name.replace(' ', '-')}-{size}-{tokens / 1e9:g}B",
                    arm=arm.name,
                    config=config,
                    learning_rates=rates,
                    seeds=seeds,
                    adaptive=Adaptive(interval=0.5, max_runs=(len(rates) + RUNS_MORE) * len(seeds)),
                    start="drawn" if arm.initial_rms is not None else "equilibrium",
                )


def _config(arm: Arm, size: str, tokens: float) -> TrainConfig:
    model = preset(size, "scale-invariant")
    training = training_of_preset(size, on_gpu=True)
    num_steps = round(tokens / (training.batch_size * model.context_length))
    optimizer: TrainableOptimizer = AdamW(learning_rate=1e-3, weight_decay=WEIGHT_DECAY)
    if arm.fixed_norm:
        optimizer = AdamH(learning_rate=1e-2)
    return TrainConfig(
        model=model,
        optimizer=optimizer,
        non_matrix_learning_rate=1e-2,
        schedule=WSD(num_steps=num_steps, warmup_steps=round(WARMUP_SHARE * num_steps)),
        device="cuda",
        source=SOURCE,
        gradient_clip=1.0,
        block_rms=arm.initial_rms,
        **asdict(training),
    )


def rates_of(arm: Arm, config: TrainConfig) -> tuple[float, ...]:
    """The rates of an arm that turn as far as those of the usual start, by the slow limit of the theory."""
    return USUAL_RATES if arm == ARMS[0] else _turning_alike(arm, config.schedule)


@lru_cache
def _turning_alike(arm: Arm, schedule: Schedule) -> tuple[float, ...]:
    tried = np.geomspace(2e-4, 0.05, 41)
    asked = mean_angle(_setting(ARMS[0], schedule, np.array(USUAL_RATES)), USUAL_RATES)
    found = np.interp(np.log(asked), np.log(mean_angle(_setting(arm, schedule, tried), tried)), np.log(tried))
    return tuple(float(f"{rate:.3g}") for rate in np.exp(found))


def _setting(arm: Arm, schedule: Schedule, rates: np.ndarray) -> Setting:
    at_equilibrium = DIRECTION_RATIO * np.sqrt(rates / (2 * WEIGHT_DECAY))
    return Setting(
        num_params=1.0,  # of neither does an angle know
        num_tokens=schedule.num_steps,
        tokens_per_step=1.0,
        schedule=schedule,
        optimizer="adamh" if arm.fixed_norm else "adamw",
        weight_decay=WEIGHT_DECAY,
        initial_rms=at_equilibrium if arm.initial_rms is None else arm.initial_rms,
        direction_ratio=DIRECTION_RATIO,
    )


def run_study(place: Workplace) -> Findings:
    """The plan, and no run: ``plan.csv``, a row per size and length with all arms, and ``plan.json``, the totals."""
    asked = study()
    place.make_folders()
    whole = make_plan(
        asked, place.runs, gpu=DEFAULT_GPU, utilisation=DEFAULT_UTILISATION, num_workers=place.num_workers
    )
    table = plan_of(asked)
    shown = [
        {"axis": axis, "optimum_error": error, **smallest_bends(asked, axis, error)}
        for axis in ("num_params", "num_tokens")
        for error in OPTIMUM_ERRORS
    ]
    totals = {
        "gpu": whole.gpu,
        "utilisation": whole.utilisation,
        "num_gpus": NUM_GPUS,
        "num_cells": len(asked.cells),
        "num_runs": whole.num_runs,
        "most_runs": whole.most_runs,
        "num_tokens": whole.num_tokens,
        "flops": whole.flops,
        "hours_on_one": whole.gpu_hours,
        "hours_on_eight": whole.gpu_hours / NUM_GPUS,
        "longest_run_hours": float(table["longest_run_hours"].max()),
        "smallest_bends": shown,
        "not_run": "not run on a GPU; hours are FLOPs over an assumed utilisation",
    }
    place.write("plan.csv", table.to_csv(index=False, float_format="%.4g"))
    place.write("plan.json", to_json(totals, indent=1) + "\n")
    print(
        f"bend: planned, not run on a GPU. {whole.num_runs} runs, {whole.gpu_hours:.0f} hours on one {whole.gpu} at"
        f" {whole.utilisation:.0%} of its peak, {whole.gpu_hours / NUM_GPUS:.0f} on {NUM_GPUS} with a run on each."
        " `lrbend sweep bend` makes the runs.",
        file=sys.stderr,
    )
    return Findings(answers=table)


def plan_of(asked: Study) -> pd.DataFrame:
    """A row per size and length: the rates of each arm, and what all runs there take."""
    rows: list[dict[str, Any]] = []
    for size, seeds in SIZES.items():
        for tokens in TOKENS:
            cells = [cell for cell in asked.cells if cell.label.endswith(f"-{size}-{tokens / 1e9:g}B")]
            runs = [cell.run(rate, seed) for cell in cells for rate in cell.learning_rates for seed in cell.seeds]
            cost, longest = estimate(runs), estimate(runs[:1])
            row = {"size": size, "num_params": num_matrix_params(runs[0].model), "num_tokens": num_tokens(runs[0])}
            row |= {
                "num_steps": runs[0].schedule.num_steps,
                "seeds": len(seeds),
                "runs": len(runs),
                "flops": cost.flops,
            }
            row |= {"hours_on_one": cost.gpu_hours, "hours_on_eight": cost.gpu_hours / NUM_GPUS}
            row |= {"longest_run_hours": longest.gpu_hours}
            row |= {f"rates {cell.arm}": " ".join(f"{rate:g}" for rate in cell.learning_rates) for cell in cells}
            rows.append(row)
    return pd.DataFrame(rows)


def smallest_bends(asked: Study, axis: str, optimum_error: float) -> dict[str, float]:
    """`smallest_of` of the cells that one arm has in the plan."""
    cells = [cell for cell in asked.cells if cell.arm == ARMS[0].name]
    n = [num_matrix_params(cell.config.model) for cell in cells]
    return smallest_of(n, [num_tokens(cell.config) for cell in cells], axis, optimum_error)


def smallest_of(
    num_params: Sequence[float], num_tokens: Sequence[float], axis: str, optimum_error: float
) -> dict[str, float]:
    """The curvature that one arm, and the difference of two, would show by name in 85 % of such studies, if the optimum
    of every cell had this error in ln and the law were quadratic. A number of each of the first two per cell."""
    n, d = (np.log(np.asarray(values, float)) for values in (num_params, num_tokens))
    n, d = n - n.mean(), d - d.mean()
    design = np.stack([np.ones_like(n), n, d, n**2 / 2, d**2 / 2, n * d], axis=1)
    place = 3 if axis == "num_params" else 4
    error = optimum_error * float(np.sqrt(np.linalg.inv(design.T @ design)[place, place]))
    return {
        name: power(norm.ppf(0.975) * e, norm.ppf(0.95) * e, DELTA, 0.0).smallest_bend
        for name, e in (("of_an_arm", error), ("between_two_arms", float(np.sqrt(2)) * error))
    }
