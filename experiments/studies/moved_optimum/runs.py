"""The arms, their grids, and what is kept of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments.files import write_whole
from experiments.runs.configs import config_hash
from experiments.studies.ensembles.tasks import Making, Run, Task, Trained, made_alone
from experiments.studies.workplace import Workplace
from gpt.arms import adamc, at_equilibrium
from gpt.config import Architecture, TrainConfig, cpu_model
from theory import AdamH, AdamW, Constant, Linear
from theory.networks import GPT2, WHITE_NOISE

LENGTHS = (1600, 3200, 6400, 12800)
SEEDS = (0, 1, 2)
ADDED_SEEDS = {("start 1.6", 1600): (3, 4, 5), ("start 14.4", 1600): (3, 4, 5)}  # of a cell, once its grid stands
NUM_RATES, FACTOR, MOST_ADDED = 5, 2.0, 2
RECORD_EVERY = 20
TWIN_FACTOR = 1 + 1e-6
SCALES = (0.1, 3.0)  # of the symmetry
SMALL_EPS = 1e-20  # in its runs, since gradients scale and eps does not
NUMBERS = (
    "num_steps",
    "learning_rate",
    "weight_decay",
    "initial_rms",
    "seed",
    "num_params",
    "num_tokens",
    "seconds",
)
GAPS = ("loss", "loss_se", "mean_angle", "final_rms")  # a run that diverged has none
TEXTS = ("outcome", "run")
COLUMNS = ("arm", *NUMBERS[:5], *GAPS, "outcome", *NUMBERS[5:], "run")


@dataclass(frozen=True)
class Arm:
    """``weight_decay`` None for AdamH, which keeps its ``initial_rms`` (None: as drawn).

    initial_rms : of AdamW, None for a start at the equilibrium of the run's own rate, for gpt2 that of its MLP.
    schedule : of all parameters, after a warmup of a twentieth of the run. corrected : AdamC in place of AdamW. width :
    of the model, which has two layers.
    """

    name: str
    weight_decay: float | None
    initial_rms: float | None
    lengths: tuple[int, ...] = LENGTHS
    schedule: type[Linear] | type[Constant] = Linear
    architecture: Architecture = "scale-invariant"
    corrected: bool = False
    width: int = 32

    def scheduled(self, num_steps: int) -> Linear | Constant:
        """Its schedule over ``num_steps``."""
        return self.schedule(num_steps=num_steps, warmup_steps=num_steps // 20)


ADAMH = Arm("adamh", None, None, LENGTHS[2:])  # shorter ones are those of same-angle
ARMS = (
    Arm("start 1.6", 0.1, 1.6),
    Arm("start 14.4", 0.1, 14.4),
    Arm("equilibrium", 0.1, None),
    Arm("weak decay", 0.02, 0.53),
    ADAMH,
)


def config_of(arm: Arm, num_steps: int, learning_rate: float, seed: int) -> TrainConfig:
    """One run."""
    decay = arm.weight_decay
    config = TrainConfig(
        model=cpu_model(arm.width, arm.architecture),
        optimizer=AdamH(learning_rate=learning_rate)
        if decay is None
        else AdamW(learning_rate=learning_rate, weight_decay=decay),
        non_matrix_learning_rate=1e-2,
        schedule=arm.scheduled(num_steps),
        seed=seed,
        device="cpu",
        record_every=RECORD_EVERY,
        block_rms=arm.initial_rms,
    )
    if decay is not None and arm.initial_rms is None:
        config = at_equilibrium(config, GPT2 if arm.architecture == "gpt2" else WHITE_NOISE)
    return adamc(config) if arm.corrected else config


def grid(centre: float, num_rates: int = NUM_RATES, factor: float = FACTOR) -> tuple[float, ...]:
    """Learning rates around ``centre``, a ``factor`` apart."""
    powers = np.arange(num_rates) - (num_rates - 1) / 2
    return tuple(float(f"{rate:.3g}") for rate in centre * factor**powers)


def configs_of_cell(
    place: Workplace, arm: Arm, num_steps: int, centre: float, seeds: Sequence[int] | None = None
) -> list[TrainConfig]:
    """The runs of a cell, its grid widened where the lowest mean loss of ``seeds`` (`SEEDS`) stands at an end, then its
    added seeds, as far as finished runs tell: where one is missing, it is not known yet whether more are wanted."""
    rates, added = list(grid(centre)), ADDED_SEEDS.get((arm.name, num_steps), ())
    chosen = SEEDS if seeds is None else seeds
    while True:
        configs = [config_of(arm, num_steps, rate, seed) for rate in rates for seed in chosen]
        if missing_of(place, configs):
            return configs
        beyond = None if len(rates) >= NUM_RATES + MOST_ADDED else rate_beyond(run_rows(place, configs))
        if beyond is None:
            return configs + [config_of(arm, num_steps, rate, seed) for seed in added for rate in rates]
        rates.append(beyond)


def make_cell(place: Workplace, arm: Arm, num_steps: int, centre: float, train: bool = True) -> pd.DataFrame | None:
    """The rows of a cell, the runs that are missing made. Without ``train`` None for a cell with a run of `SEEDS`
    missing; an added seed counts if it has all rates."""
    configs = configs_of_cell(place, arm, num_steps, centre)
    while train and (missing := missing_of(place, configs)):
        run_rows(place, missing)
        configs = configs_of_cell(place, arm, num_steps, centre)
    absent = {config.seed for config in missing_of(place, configs)}
    if absent & set(SEEDS):
        return None
    rows = run_rows(place, [config for config in configs if config.seed not in absent])
    return in_columns(rows.assign(arm=arm.name))


def missing_of(place: Workplace, configs: Sequence[TrainConfig]) -> list[TrainConfig]:
    """Those without a file among the runs."""
    return [config for config in configs if not place.file_of(config).exists()]


def in_columns(rows: pd.DataFrame, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """In the order of a ``runs.csv``. The device comes last, where a row tells it; the others are of a CPU."""
    if "device" not in rows:
        return rows[list(columns)]
    return rows[[*columns, "device"]].fillna({"device": "cpu"})


def cells_in_order(
    predictions: pd.DataFrame, arms: Sequence[Arm], lengths: Sequence[int]
) -> Iterator[tuple[Arm, int, float]]:
    """Arm, length and centre of the grid of every cell, in the order of the predictions."""
    by_name = {arm.name: arm for arm in arms}
    for row in predictions.to_dict("records"):
        if row["num_steps"] in by_name[row["arm"]].lengths and row["num_steps"] in lengths:
            yield by_name[row["arm"]], row["num_steps"], row["centre"]


def make_cells(
    place: Workplace,
    predictions: pd.DataFrame,
    arms: Sequence[Arm],
    lengths: Sequence[int],
    made: Sequence[pd.DataFrame],
) -> pd.DataFrame:
    """The tables already ``made``, and after them the cells; ``runs.csv`` after every cell. Of ``lengths`` other than
    these, cells that are finished."""
    tables = list(made)
    for arm, num_steps, centre in cells_in_order(predictions, arms, list(predictions["num_steps"])):
        cell = make_cell(place, arm, num_steps, centre, train=num_steps in lengths)
        if cell is not None:
            tables.append(cell)
            place.write("runs.csv", in_columns(pd.concat(tables)).to_csv(index=False, float_format="%.8g"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def wanted_of_cells(
    place: Workplace, predictions: pd.DataFrame, arms: Sequence[Arm], lengths: Sequence[int]
) -> list[Task]:
    """What `make_cells` would make, as far as finished runs tell."""
    cells = cells_in_order(predictions, arms, lengths)
    return [task for cell in cells for task in tasks_of(place, configs_of_cell(place, *cell))]


def tasks_of(place: Workplace, configs: Sequence[TrainConfig]) -> list[Task]:
    """A task for each of the runs that is missing."""
    return [Task(place, config, making) for config in missing_of(place, configs)]


def run_rows(place: Workplace, configs: Sequence[TrainConfig]) -> pd.DataFrame:
    """The rows of these runs, those missing made, without their arm."""
    tables = place.run_tables(configs, rows_of, numbers=NUMBERS, gaps=GAPS, texts=TEXTS)
    return pd.concat(tables, ignore_index=True)


def rate_beyond(rows: pd.DataFrame, factor: float = FACTOR) -> float | None:
    """The rate to add to a cell, a ``factor`` beyond its end; None if its lowest mean loss lies inside. A run that
    diverged counts as a loss of inf."""
    means = rows.fillna({"loss": np.inf}).groupby("learning_rate")["loss"].mean()
    best = float(means.index[int(means.argmin())])
    if best == means.index.min():
        return float(f"{best / factor:.3g}")
    return float(f"{best * factor:.3g}") if best == means.index.max() else None


def rows_of(config: TrainConfig) -> pd.DataFrame:
    """The row of one run, made by itself, without its arm."""
    return made_alone(making(config))


def making(config: TrainConfig) -> Making:
    """The row of one run, without its arm."""
    (found,) = yield [Run(config)]
    return pd.DataFrame([row_of(config, found) | {"run": config_hash(config), "device": found.device}])


def row_of(config: TrainConfig, trained: Trained) -> dict[str, object]:
    """What is kept of a run, but for its arm, its name and its device."""
    optimizer, found = config.optimizer, trained.result
    return {
        "num_steps": config.schedule.num_steps,
        "learning_rate": optimizer.learning_rate,
        "weight_decay": getattr(optimizer, "weight_decay", 0.0),
        "initial_rms": float(np.mean(list(found.initial_weight_rms.values()))),
        "seed": config.seed,
        "loss": found.final_loss,
        "loss_se": found.final_loss_se,
        "outcome": found.outcome.value,
        "mean_angle": float(np.nanmean(found.trajectory.angular_update)),
        "final_rms": float(np.mean(list(found.final_weight_rms.values()))),
        "num_params": found.num_params,
        "num_tokens": config.schedule.num_steps * config.tokens_per_step,
        "seconds": round(trained.seconds, 2),
    }


def symmetry_configs() -> Iterator[tuple[str, TrainConfig]]:
    """Label and run: ``base``, ``twin`` and a change of scale, for every seed."""
    arm = Arm("symmetry", 0.1, 1.6)
    for seed in SEEDS:
        optimizer = AdamW(learning_rate=0.1, weight_decay=0.1, eps=SMALL_EPS)
        base = config_of(arm, 400, 0.1, seed)
        base = replace(base, optimizer=optimizer, dtype="float64", record_every=10)
        yield "base", base
        yield "twin", replace(base, initial_factor=TWIN_FACTOR)
        for scale in SCALES:
            yield f"scale {scale:g}", scaled(base, scale)


def scaled(config: TrainConfig, scale: float) -> TrainConfig:
    """The same run in other units of the block matrices; of AdamW, with a ``block_rms``."""
    optimizer = config.optimizer
    assert isinstance(optimizer, AdamW)
    assert config.block_rms is not None
    rate, decay = scale * optimizer.learning_rate, optimizer.weight_decay / scale
    changed = replace(optimizer, learning_rate=rate, weight_decay=decay)
    return replace(config, optimizer=changed, block_rms=scale * config.block_rms)


def plant(place: Workplace, earlier: pd.DataFrame) -> None:
    """Rows of an earlier table stand for the runs they came from, but for those that are to be made again."""
    place.make_folders()
    for name, rows in earlier.groupby("run"):
        path = place.runs / f"{name}.csv"
        if name not in place.again and not path.exists():
            write_whole(path, rows.to_csv(index=False).encode())
