r"""Does the optimal learning rate of AdamW bend in a model that can be solved, and does the norm's transient do it?

**Question.** In the regression of `theory.regression`: does :math:`\ln\eta_*` bend along N at fixed D, and along D? Is
it straight in effective learning rate, and under AdamH? Does the bend move as the theory says when initial RMS, weight
decay and length change?

**Hypothesis**, from `theory` alone. The loss sees a run only through its angles. AdamW's angles are those that the
exact recursion gives for (eta, lam, RMS_0, schedule), so AdamH turned by just these angles
(`theory.adamh.rates_for_angles`) has its optimum at the same eta, with no constant fitted: the arms named "predicted".
Where the norm hardly moves eta* goes like AdamH's optimal angle, at equilibrium like its square, and in between it
bends; a run that starts at its own equilibrium norm has no transient and goes like the square.

**Method.** Two problems, both in the range where the loss is limited by data, as in language models; chosen by AdamH's
optima alone, before an optimum of AdamW had been looked at. "mixed": every weight sees all features, Adam rescales
nothing, and the noise-only norm is a good description. "eigenvectors": one weight per feature; Adam's root of the
second moment then tilts the update against the weights, which the theory of the norm leaves out. Five sizes N times
five lengths T at fixed batch, WSD with 2 % warmup and 20 % decay. Learning rates by zooming in (`Zoom`), at last nine
of them a factor of sqrt(2) apart about the best, 16 seeds each (8 in large cells), the same data for every rate and
arm. Optima, exponents and curvatures by the joint estimator of `experiments.joint.fit`, with seeds as clusters.

**Decision rule.** Verdicts with delta = 0.07 as everywhere. The mechanism is supported on an axis if the measured
curvature less the predicted one has a 95 % interval that holds 0 and, where the predicted arm bends, the measured one
has the same sign. The scatter of ln(eta* measured / predicted) over the cells is given beside it.

Scientific: initial RMS, weight decay, N, T. Nuisance: learning rate. Fixed: batch, schedule, betas, the problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.regression import RegressionResult, RegressionRun, sweep
from theory import WSD, AdamH, AdamW, adamh, equilibrium, predict_trajectory
from theory.regression import Basis, PowerLawRegression

Cell = tuple[int, int]  # number of features, number of steps
STEP = np.sqrt(2.0)  # between neighbouring learning rates, which are powers of it in every round
MAX_EXTENSIONS = 6


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A family of `PowerLawRegression` over model sizes."""

    name: str
    basis: Basis
    spectrum_exponent: float
    target_exponent: float
    label_noise: float
    batch_size: int

    def at(self, num_features: int) -> PowerLawRegression:
        fields = {key: value for key, value in asdict(self).items() if key != "name"}
        return PowerLawRegression(num_features=num_features, **fields)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train.

    ``weight_decay`` None is AdamH. ``initial_rms`` None starts every run at the equilibrium norm of its own learning
    rate. ``predicted`` replaces AdamW by AdamH along the angles that the theory gives.
    """

    name: str
    weight_decay: float | None = None
    initial_rms: float | None = 1.0
    predicted: bool = False


@dataclass(frozen=True, kw_only=True)
class Zoom:
    """Rounds of a search for the best learning rate: every ``stride`` powers of sqrt(2), ``reach`` strides to
    either side of the best so far, ``num_seeds`` seeds, half of them in the `SolvableBend.large` cells, whose losses
    scatter less. The first round looks everywhere."""

    stride: int
    reach: int
    num_seeds: int


@dataclass(frozen=True, kw_only=True)
class SolvableBend:
    """The study; a plain value that is written beside its results."""

    problems: tuple[Problem, ...]
    arms: dict[str, tuple[Arm, ...]]  # by problem
    num_features: tuple[int, ...] = (512, 1024, 2048, 4096, 8192)
    num_steps: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    lowest: int = -34  # powers of sqrt(2) between which learning rates are looked for
    highest: int = 0
    large: int = 2**21  # num_features * num_steps of a large cell, at least
    rounds: tuple[Zoom, ...] = (
        Zoom(stride=4, reach=0, num_seeds=2),
        Zoom(stride=2, reach=2, num_seeds=4),
        Zoom(stride=1, reach=4, num_seeds=16),
    )


REFERENCE = {"weight_decay": 0.1, "initial_rms": 0.1}
MIXED = Problem(name="mixed", basis="mixed", spectrum_exponent=1.0, target_exponent=1.5, label_noise=3.0, batch_size=8)
EIGENVECTORS = Problem(
    name="eigenvectors",
    basis="eigenvectors",
    spectrum_exponent=2.0,
    target_exponent=1.5,
    label_noise=3.0,
    batch_size=8,
)


def _with_prediction(name: str, weight_decay: float, initial_rms: float) -> tuple[Arm, Arm]:
    return tuple(  # type: ignore[return-value]
        Arm(name=name + suffix, weight_decay=weight_decay, initial_rms=initial_rms, predicted=predicted)
        for suffix, predicted in (("", False), (" predicted", True))
    )


STUDY = SolvableBend(
    problems=(MIXED, EIGENVECTORS),
    arms={
        "mixed": (
            Arm(name="adamh"),
            *_with_prediction("reference", **REFERENCE),
            *_with_prediction("small start", weight_decay=0.1, initial_rms=0.02),
            *_with_prediction("large start", weight_decay=0.1, initial_rms=0.5),
            *_with_prediction("more decay", weight_decay=0.4, initial_rms=0.1),
            Arm(name="equilibrium start", weight_decay=0.1, initial_rms=None),
        ),
        "eigenvectors": (
            Arm(name="adamh"),
            *_with_prediction("reference", **REFERENCE),
            Arm(name="equilibrium start", weight_decay=0.1, initial_rms=None),
        ),
    },
)


def schedule_of(num_steps: int) -> WSD:
    """The one schedule of the study."""
    return WSD(num_steps=num_steps, warmup_steps=num_steps // 50, decay_fraction=0.2)


def make_run(problem: Problem, arm: Arm, num_features: int, num_steps: int, rate: float, seed: int) -> RegressionRun:
    """A run of the study at one peak learning rate; of a predicted arm that is AdamW's."""
    schedule = schedule_of(num_steps)
    setting = {"problem": problem.at(num_features), "schedule": schedule, "seed": seed}
    if arm.weight_decay is None:
        return RegressionRun(optimizer=AdamH(learning_rate=rate), initial_rms=1.0, **setting)  # type: ignore[arg-type]
    optimizer = AdamW(learning_rate=rate, weight_decay=arm.weight_decay)
    start = arm.initial_rms
    if start is None:
        start = equilibrium(optimizer, initial_rms=1.0, finite_beta2=True).weight_rms
    if not arm.predicted:
        return RegressionRun(optimizer=optimizer, initial_rms=start, **setting)  # type: ignore[arg-type]
    rates = _predicted_rates(optimizer, num_steps, start)
    peak = float(rates.max())
    return RegressionRun(
        optimizer=AdamH(learning_rate=peak),
        initial_rms=1.0,
        multipliers=rates / peak,
        **setting,  # type: ignore[arg-type]
    )


@lru_cache(maxsize=4096)
def _predicted_rates(optimizer: AdamW, num_steps: int, initial_rms: float) -> NDArray[np.float64]:
    path = predict_trajectory(optimizer, schedule_of(num_steps), initial_rms=initial_rms, finite_beta2=True)
    return adamh.rates_for_angles(path.angular_update[:, 0], optimizer.beta1, optimizer.beta2)


def run_arm(
    study: SolvableBend, problem: Problem, arm: Arm, progress: Callable[[str], None] = lambda line: None
) -> pd.DataFrame:
    """All runs of one arm; a row per run, see `row`. Best rates are judged by the mean loss over the seeds."""
    cells = [(n, t) for n in study.num_features for t in study.num_steps]
    best: dict[Cell, int] = {}
    table = pd.DataFrame()
    for place, zoom in enumerate(study.rounds):
        last = place == len(study.rounds) - 1
        wanted = {cell: _window(study, zoom, best.get(cell)) for cell in cells}
        for extension in range(MAX_EXTENSIONS if last else 1):
            rows = list(_run_cells(study, problem, arm, wanted, zoom.num_seeds))
            done = pd.DataFrame(rows).assign(round=place)
            table = pd.concat([table, done], ignore_index=True)
            this = table[table["round"] == place]
            best = {cell: _best_power(this, cell) for cell in cells}
            if not last:
                break
            wanted = {cell: more for cell in cells if (more := _beyond_edge(study, this, cell, best[cell], zoom))}
            progress(f"{problem.name}, {arm.name}: {len(this)} runs, {len(wanted)} cells to extend ({extension})")
            if not wanted:
                break
    return table


def _run_cells(
    study: SolvableBend, problem: Problem, arm: Arm, wanted: Mapping[Cell, Sequence[int]], num_seeds: int
) -> Iterator[dict[str, float]]:
    settings = [
        (n, t, power, seed)
        for (n, t), powers in wanted.items()
        for power in powers
        for seed in range(num_seeds // 2 if n * t >= study.large else num_seeds)
    ]
    runs = [make_run(problem, arm, n, t, float(STEP**power), seed) for n, t, power, seed in settings]
    for index, result in sweep(runs, num_records=32):
        n, t, power, seed = settings[index]
        yield row(problem, n, t, power, seed, result)


def row(problem: Problem, n: int, t: int, power: int, seed: int, result: RegressionResult) -> dict[str, float]:
    """Loss in excess of the least possible, which a fit of the optimum does not care about but its scale does."""
    rms = result.trajectory.weight_rms[:, 0]
    return {
        "num_params": n,
        "num_tokens": t * problem.batch_size,
        "num_steps": t,
        "learning_rate": float(STEP**power),
        "power": power,
        "seed": seed,
        "loss": result.final_loss,
        "excess": result.final_loss - problem.at(n).least_loss,
        "mean_angle": result.mean_angular_update,
        "final_rms": float(rms[-1]) if len(rms) else np.nan,
    }


def _window(study: SolvableBend, zoom: Zoom, center: int | None) -> list[int]:
    if center is None:
        return list(range(study.lowest, study.highest + 1, zoom.stride))
    powers = center + zoom.stride * np.arange(-zoom.reach, zoom.reach + 1)
    return [int(p) for p in powers if study.lowest <= p <= study.highest]


def _of_cell(table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    n, t = cell
    return table[(table["num_params"] == n) & (table["num_steps"] == t)]


def _best_power(table: pd.DataFrame, cell: Cell) -> int:
    means = _of_cell(table, cell).groupby("power")["excess"].mean().fillna(np.inf)
    return int(means.index[int(means.to_numpy().argmin())])


def _beyond_edge(study: SolvableBend, table: pd.DataFrame, cell: Cell, best: int, zoom: Zoom) -> list[int]:
    """Further powers where the best is fewer than two rates away from the end of the grid."""
    tried = _of_cell(table, cell)["power"]
    lowest, highest, stride = int(tried.min()), int(tried.max()), zoom.stride
    steps = stride * np.arange(1, zoom.reach + 1)
    further: list[int] = []
    if best - lowest < 2 * stride:
        further += list(lowest - steps)
    if highest - best < 2 * stride:
        further += list(highest + steps)
    return [int(power) for power in further if study.lowest <= power <= study.highest]
