r"""Why is Adam's direction shorter on real gradients than on white noise, and with it the equilibrium norm?

Question. The closed forms have one input that white noise fixes and real gradients do not: U, the RMS of Adam's
direction :math:`\hat m/\sqrt{\hat v}`. On scale-invariant weights it comes out low, and the norm by as much. Which
property of the gradients does it?

Hypothesis. Successive gradients of an entry anticorrelate, since a step against a gradient turns the next one back;
their sum, the first moment, is smaller for it. Sizes that vary, in time or by heavy tails, matter less.

Method. The three AdamW settings of ``make validate``, scale-invariant, seeds that it does not use. All gradients of the
block matrices from step 400 on are kept, and Adam is run on them again, weights left out: as they came; with a random
sign at every entry and step (no correlation between steps is left, sizes and their history are); on Gaussian noise. The
logarithms of U from one to the next add up to the whole:

.. math:: \ln\frac{U}{U_{noise}} = \underbrace{\ln\frac{U}{U_{signs}}}_{\text{correlation}}
   + \underbrace{\ln\frac{U_{signs}}{U_{noise}}}_{\text{sizes}}

With signs random and steps shuffled too, ``sizes_shuffled`` is what the distribution of the sizes does without their
order.

Beside it the first part from the autocorrelation :math:`\rho_k` of :math:`g/\sqrt{\hat v}` alone, nothing fitted:
:math:`\tfrac12\ln(1 + 2\sum_k\beta_1^k\rho_k)`, since :math:`\langle m^2\rangle = \frac{1-\beta_1}{1+\beta_1}
(1 + 2\sum_k\beta_1^k\rho_k)` per unit of variance, derived here from :math:`m_t = (1-\beta_1)\sum_j\beta_1^j g_{t-j}`.

Decision rule, written before the runs. Mean over the matrices of a run; t interval over the five seeds of a setting.
The hypothesis is supported if in all three settings the correlation part has a 95 % interval below 0 and is at least
half of the whole; refuted if in any setting its interval lies above half of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from experiments.files import to_json
from experiments.reports.png import png_bytes
from experiments.runs.configs import config_to_dict
from experiments.studies.validate import NON_MATRIX_LEARNING_RATE, PRESET, RECORD_EVERY, SCHEDULE, SETTINGS
from experiments.studies.workplace import Findings, Workplace
from gpt.config import TrainConfig, preset
from gpt.train import train
from theory import AdamW

Array = NDArray[np.float64]
Gradients = NDArray[np.float32]

SEEDS = (10, 11, 12, 13, 14)
FIRST_STEP = 400  # kept from here on; the averages have settled when the second half begins
SETTLED = 400  # steps of these that Adam runs before U is read
LAGS = 40
PARTS = ("correlation", "sizes")
SHOWN = (*PARTS, "whole", "sizes_shuffled", "by_autocorrelation")


def configs() -> list[TrainConfig]:
    """The 15 runs."""
    return [
        TrainConfig(
            model=preset(PRESET, "scale-invariant"),
            optimizer=optimizer,
            non_matrix_learning_rate=NON_MATRIX_LEARNING_RATE,
            schedule=SCHEDULE,
            seed=seed,
            device="cpu",
            record_every=RECORD_EVERY,
        )
        for optimizer in SETTINGS
        if isinstance(optimizer, AdamW)
        for seed in SEEDS
    ]


def record_gradients(config: TrainConfig, first: int) -> tuple[list[Gradients], dict[str, float]]:
    """Gradients of the block matrices from step ``first`` on, each (num_steps, num_entries), in the order of names; and
    by name the RMS of the direction over the recorded steps from ``first + SETTLED`` on, as the probe has it."""
    kept: list[list[Gradients]] = []

    def keep(step: int, matrices: Mapping[str, torch.Tensor]) -> None:
        if step >= first:
            kept.append([_gradient(w) for w in matrices.values()])

    found = train(config, before_step=keep).trajectory
    late = found.steps >= first + SETTLED
    rms = np.sqrt((found.update_rms[late] ** 2).mean(axis=0))
    return [np.stack(matrix) for matrix in zip(*kept, strict=True)], dict(
        zip(found.matrices, rms.tolist(), strict=True)
    )


def _gradient(matrix: torch.Tensor) -> Gradients:
    assert matrix.grad is not None
    return matrix.grad.flatten().numpy().copy()


def adam_rms(gradients: Iterable[Gradients], optimizer: AdamW, settled: int) -> float:
    """RMS of Adam's direction, over entries and over the steps from ``settled`` on; ``gradients`` step by step."""
    first, second, total, count = np.zeros(1), np.zeros(1), 0.0, 0
    for step, gradient in enumerate(gradients):
        wide = gradient.astype(np.float64)
        first = optimizer.beta1 * first + (1 - optimizer.beta1) * wide
        second = optimizer.beta2 * second + (1 - optimizer.beta2) * wide**2
        if step >= settled:
            scale = np.sqrt(second / (1 - optimizer.beta2 ** (step + 1))) + optimizer.eps
            total += float(np.mean((first / (1 - optimizer.beta1 ** (step + 1)) / scale) ** 2))
            count += 1
    return float(np.sqrt(total / count))


def parts(gradients: Gradients, optimizer: AdamW, settled: int, seed: int) -> dict[str, float]:
    """U of a matrix's gradients (num_steps, num_entries) and of its surrogates; the parts, their sum, and the first of
    them by the autocorrelation."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(gradients))

    def signed(steps: Iterable[int]) -> Iterable[Gradients]:
        return (gradients[k] * rng.choice(np.array([-1, 1], np.float32), gradients.shape[1]) for k in steps)

    noise = (rng.standard_normal(gradients.shape[1:], np.float32) for _ in gradients)
    u = {
        "as_recorded": adam_rms(gradients, optimizer, settled),
        "signs": adam_rms(signed(range(len(gradients))), optimizer, settled),
        "shuffled": adam_rms(signed(order), optimizer, settled),
        "noise": adam_rms(noise, optimizer, settled),
    }
    correlation, sizes, sizes_shuffled = (
        float(np.log(u[one] / u[other]))
        for one, other in (("as_recorded", "signs"), ("signs", "noise"), ("shuffled", "noise"))
    )
    by_lag = autocorrelation(gradients, optimizer, settled, LAGS)
    summed = float(optimizer.beta1 ** np.arange(1, LAGS + 1) @ by_lag)
    return {
        **u,
        "correlation": correlation,
        "sizes": sizes,
        "whole": correlation + sizes,
        "sizes_shuffled": sizes_shuffled,
        "by_autocorrelation": float(np.log(max(1 + 2 * summed, 1e-12)) / 2),
        **{f"lag_{lag}": float(by_lag[lag - 1]) for lag in range(1, LAGS + 1)},
    }


def autocorrelation(gradients: Gradients, optimizer: AdamW, settled: int, lags: int) -> Array:
    """(lags,) of g over the root of Adam's second moment, from lag 1 on, mean over entries and settled steps."""
    second, normalised = np.zeros(gradients.shape[1]), []
    for step, gradient in enumerate(gradients):
        second = optimizer.beta2 * second + (1 - optimizer.beta2) * gradient.astype(np.float64) ** 2
        if step >= settled - lags:
            normalised.append(gradient / (np.sqrt(second / (1 - optimizer.beta2 ** (step + 1))) + optimizer.eps))
    z = np.stack(normalised)
    return np.array([(z[lag:] * z[: len(z) - lag]).mean() for lag in range(1, lags + 1)]) / (z**2).mean()


def rows_of(config: TrainConfig) -> pd.DataFrame:
    """A row per matrix of one run."""
    torch.set_num_threads(1)
    assert isinstance(config.optimizer, AdamW)
    gradients, probed = record_gradients(config, FIRST_STEP)
    rows = []
    for place, (name, matrix) in enumerate(zip(probed, gradients, strict=True)):
        setting = {"learning_rate": config.optimizer.learning_rate, "weight_decay": config.optimizer.weight_decay}
        found = parts(matrix, config.optimizer, SETTLED, seed=100 * config.seed + place)
        rows.append({**setting, "seed": config.seed, "matrix": name, "probed": probed[name], **found})
    return pd.DataFrame(rows)


def answers_of(table: pd.DataFrame) -> pd.DataFrame:
    """By setting: each part, the whole, and the part by autocorrelation, with 95 % t intervals over seeds."""
    rows = []
    for (rate, decay), runs in table.groupby(["learning_rate", "weight_decay"], sort=False):
        for name in SHOWN:
            by_seed = runs.groupby("seed")[name].mean()
            half = student.ppf(0.975, len(by_seed) - 1) * by_seed.std(ddof=1) / np.sqrt(len(by_seed))
            value = by_seed.mean()
            setting = {"learning_rate": rate, "weight_decay": decay, "part": name}
            rows.append({**setting, "value": value, "low": value - half, "high": value + half})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """Parts by setting, and the autocorrelation by lag; a PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for place, ((rate, decay), found) in enumerate(answers.groupby(["learning_rate", "weight_decay"], sort=False)):
        shown = found.set_index("part").loc[list(SHOWN)]
        label = f"learning rate {rate:g}, decay {decay:g}"
        left.errorbar(
            np.arange(len(SHOWN)) + 0.15 * (place - 1),
            shown["value"],
            yerr=[shown["value"] - shown["low"], shown["high"] - shown["value"]],
            fmt="o",
            ms=4,
            label=label,
        )
        runs = table[(table["learning_rate"] == rate) & (table["weight_decay"] == decay)]
        lags = np.arange(1, LAGS + 1)
        right.plot(lags, [runs[f"lag_{lag}"].mean() for lag in lags], ".-", lw=1, label=label)
    for panel in (left, right):
        panel.axhline(0, color="0.6", lw=0.8)
    left.set_xticks(np.arange(len(SHOWN)), [name.replace("_", "\n") for name in SHOWN], fontsize=8)
    left.set_ylabel("ln U over that of noise")
    right.set(xlabel="lag (steps)", ylabel="autocorrelation of g / root of v")
    right.legend(fontsize=8, frameon=False)
    return png_bytes(figure, dpi=120)


def run_study(place: Workplace, make: Callable[[TrainConfig], pd.DataFrame] = rows_of) -> Findings:
    """One CSV file per run, kept as soon as it is finished; ``matrices.csv``, ``answers.csv``, ``direction.png``,
    ``config.json``."""
    chosen = configs()
    table = table_of(chosen, place, make)
    answers = answers_of(table)
    described = [config_to_dict(config) for config in chosen]
    place.write("config.json", to_json(described, indent=1) + "\n")
    place.write("matrices.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("answers.csv", answers.to_csv(index=False, float_format="%.4f"))
    place.write("direction.png", draw(table, answers))
    return Findings(answers=answers)


def table_of(
    configs: Sequence[TrainConfig], place: Workplace, make: Callable[[TrainConfig], pd.DataFrame]
) -> pd.DataFrame:
    """The rows of all runs; those without a file among the runs of the workplace are made first."""
    numbers = ("seed", "learning_rate", "weight_decay", *SHOWN, *(f"lag_{lag}" for lag in range(1, LAGS + 1)))
    return pd.concat(place.run_tables(configs, make, numbers=numbers, texts=("matrix",)), ignore_index=True)
