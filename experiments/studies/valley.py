r"""Does a spectrum of curvatures, fitted at one setting, tell the size of Adam's direction at others?

Question. A quadratic valley (`theory.valley`) shortens Adam's direction, U below U_0, by gradients that answer the
steps before; a spectrum of curvatures fits all lags of the study `direction`. Is that a description of one setting, or
does it predict U and lags elsewhere, better than a constant does?

Hypotheses. (1) ``noise``: curvature and noise stay as they are on the sphere of directions, so curvatures go with
:math:`\sqrt{\eta\lambda}` and the root of the batch size, and `Valley.moved` has the rest. (2) ``shares``: the network
keeps the sharpest directions where they are stable, and with that the shares of the gradient; curvatures move alike
(`Valley.scaled`). (3) ``fisher``: as (2), but the curvature is that of a cross entropy, H = batch size times the
covariance of the noise, so that curvatures go with :math:`\eta B\,\mathrm{RMS}(g)`, which a run logs. (4) ``gamma``: as
(2), by the two-parameter law and its closed form. Against ``constant``: U/U_0 = 0.885 everywhere, the mean of the study
`direction`; and ``same``: every matrix as at the reference.

Method. Reference: learning rate 0.01, decay 0.3, beta1 0.9, batch 16, width 32, as in ``make validate``, on seeds that
no study has used. Around it one thing at a time: beta1 0.5, 0.8, 0.95; decay 0.1 and 1; batch 4 and 64; width 64.
Gradients as in the study `direction`. The spectrum is fitted per matrix to the lags of the reference, mean over its
seeds; the part of U that is not correlation (the ``sizes``) is carried over from there too. Nothing is fitted
elsewhere.

Expected, from the spectra of the study `direction` (computed before the runs; ``noise``, ``shares``, without sizes):
reference .888; beta1 0.5 (.721, .910), 0.8 (.887, .892), 0.95 (.888, .886), decay 0.1 (.929, .919), decay 1 (.825,
.847), batch 64 (.813, .840), batch 4 (.937, .927). Width 64: as at 32 by all but ``fisher``, which cannot be told
before.

Decision rule, written before the runs. Means over matrices and seeds of a setting. A predictor passes a setting within
3 % of U, and is worth having if it passes all eight and its root mean square error over them is below that of
``constant``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from experiments.files import to_json
from experiments.reports.png import png_bytes
from experiments.runs.configs import config_to_dict
from experiments.studies import direction
from experiments.studies.direction import LAGS
from experiments.studies.validate import NON_MATRIX_LEARNING_RATE, PRESET, RECORD_EVERY, SCHEDULE
from experiments.studies.workplace import Findings, Workplace
from gpt.config import TrainConfig, preset
from theory import AdamW
from theory.valley import Valley

Array = NDArray[np.float64]

REFERENCE = AdamW(learning_rate=1e-2, weight_decay=0.3)
BATCH = 16
CONSTANT = 0.885
LARGEST = 10.0  # curvature of a fitted spectrum; sharper ones only follow the noise of the lags
TOLERANCE = 0.03
PREDICTORS = ("constant", "same", "noise", "shares", "fisher", "gamma")
SETTING = ["learning_rate", "weight_decay", "beta1", "batch_size", "d_model"]
LAG_NAMES = [f"lag_{lag}" for lag in range(1, LAGS + 1)]


def configs() -> list[TrainConfig]:
    """The runs, those of the reference first."""
    base = TrainConfig(
        model=preset(PRESET, "scale-invariant"),
        optimizer=REFERENCE,
        non_matrix_learning_rate=NON_MATRIX_LEARNING_RATE,
        schedule=SCHEDULE,
        batch_size=BATCH,
        device="cpu",
        record_every=RECORD_EVERY,
    )
    twice = [
        base,
        *(replace(base, optimizer=replace(REFERENCE, beta1=beta1)) for beta1 in (0.8, 0.95)),
        *(replace(base, optimizer=replace(REFERENCE, weight_decay=decay)) for decay in (0.1, 1.0)),
        replace(base, batch_size=4),
    ]
    once = [
        replace(base, optimizer=replace(REFERENCE, beta1=0.5)),
        replace(base, batch_size=64),
        replace(base, model=preset("cpu-64", "scale-invariant")),
    ]
    return [replace(config, seed=20) for config in (*twice, *once)] + [replace(config, seed=21) for config in twice]


def rows_of(config: TrainConfig) -> pd.DataFrame:
    """A row per matrix of one run: its setting, the RMS of its gradients, and all that `direction` has."""
    torch.set_num_threads(1)
    assert isinstance(config.optimizer, AdamW)
    gradients, probed = direction.record_gradients(config, direction.FIRST_STEP)
    setting = {
        "learning_rate": config.optimizer.learning_rate,
        "weight_decay": config.optimizer.weight_decay,
        "beta1": config.optimizer.beta1,
        "batch_size": config.batch_size,
        "d_model": config.model.d_model,
        "seed": config.seed,
    }
    rows = []
    for place, (name, matrix) in enumerate(zip(probed, gradients, strict=True)):
        size = float(np.sqrt(np.mean(matrix[direction.SETTLED :].astype(np.float64) ** 2)))
        found = direction.parts(matrix, config.optimizer, direction.SETTLED, seed=100 * config.seed + place)
        rows.append({**setting, "matrix": name, "gradient_rms": size, "probed": probed[name], **found})
    return pd.DataFrame(rows)


def predictions_of(table: pd.DataFrame) -> pd.DataFrame:
    """By setting and matrix, means over seeds: ``measured`` U/U_0, that of each predictor, and the error of lags."""
    chosen = ["gradient_rms", "sizes", "whole", *LAG_NAMES]
    means = table.groupby([*SETTING, "matrix"], sort=False)[chosen].mean().reset_index()
    at_reference = (means[SETTING] == [REFERENCE.learning_rate, REFERENCE.weight_decay, 0.9, BATCH, 32]).all(axis=1)
    reference = means[at_reference].set_index("matrix")
    fits = {
        matrix: (Valley.fitted(lags, REFERENCE.beta1, largest=LARGEST), Valley.fitted_gamma(lags, REFERENCE.beta1))
        for matrix, lags in zip(reference.index, reference[LAG_NAMES].to_numpy(np.float64), strict=True)
    }
    rows = []
    for _, row in means.iterrows():
        base = reference.loc[row["matrix"]]
        spectrum, (mean, shape) = fits[row["matrix"]]
        decays = row["learning_rate"] * row["weight_decay"] / (REFERENCE.learning_rate * REFERENCE.weight_decay)
        batches = row["batch_size"] / BATCH
        factor = float(np.sqrt(decays * batches))
        rates = row["learning_rate"] / REFERENCE.learning_rate
        measured_factor = float(rates * batches * row["gradient_rms"] / base["gradient_rms"])
        moved = {
            "noise": spectrum.moved(factor=factor, beta1=row["beta1"]),
            "shares": spectrum.scaled(factor=factor, beta1=row["beta1"]),
            "fisher": spectrum.scaled(factor=measured_factor, beta1=row["beta1"]),
            "gamma": Valley.gamma(mean, shape, REFERENCE.beta1).scaled(factor=factor, beta1=row["beta1"]),
        }
        seen = row[LAG_NAMES].to_numpy(np.float64)
        expected = {"constant": CONSTANT, "same": np.exp(base["whole"])} | {
            name: valley.direction_ratio * np.exp(base["sizes"]) for name, valley in moved.items()
        }
        misses = {"same": base[LAG_NAMES].to_numpy(np.float64) - seen} | {
            name: valley.gradient_autocorrelation(LAGS) - seen for name, valley in moved.items()
        }
        rows.append(
            {name: row[name] for name in (*SETTING, "matrix")}
            | {"factor": factor, "measured_factor": measured_factor, "measured": np.exp(row["whole"])}
            | expected
            | {f"lags_{name}": float(np.sqrt(np.mean(miss**2))) for name, miss in misses.items()}
        )
    return pd.DataFrame(rows)


def answers_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """By setting and predictor: U/U_0 measured and predicted, its error; RMS errors of single matrices and of lags."""
    rows = []
    for setting, found in predictions.groupby(SETTING, sort=False):
        for name in PREDICTORS:
            relative = found[name] / found["measured"] - 1
            measured, predicted = found["measured"].mean(), found[name].mean()
            error = predicted / measured - 1
            rows.append(
                dict(zip(SETTING, setting, strict=True))
                | {"predictor": name, "measured": measured, "predicted": predicted, "error": error}
                | {"within_tolerance": bool(abs(error) < TOLERANCE), "error_by_matrix": np.sqrt((relative**2).mean())}
                | {"lags": found[f"lags_{name}"].mean() if f"lags_{name}" in found else np.nan}
            )
    return pd.DataFrame(rows)


def verdicts_of(answers: pd.DataFrame) -> pd.DataFrame:
    """By predictor, over all settings but the reference: settings passed, RMS error, and whether it is worth having."""
    elsewhere = answers.iloc[len(PREDICTORS) :]
    error = elsewhere.groupby("predictor", sort=False)["error"].agg(lambda e: float(np.sqrt(np.mean(e**2))))
    passed = elsewhere.groupby("predictor", sort=False)["within_tolerance"].agg(["sum", "count"])
    worth = (passed["sum"] == passed["count"]) & (error < error["constant"])
    return pd.DataFrame(
        {"passed": passed["sum"], "settings": passed["count"], "error": error, "worth_having": worth}
    ).reset_index()


def draw(table: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """U/U_0 by setting, measured and predicted, and the measured lags; a PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    settings = list(answers.groupby(SETTING, sort=False))
    labels = [_label(cast(tuple[Any, ...], setting)) for setting, _ in settings]
    place = np.arange(len(settings))
    left.plot(place, [found["measured"].iloc[0] for _, found in settings], "ks", label="measured")
    for index, name in enumerate(PREDICTORS):
        shown = [found.set_index("predictor").loc[name, "predicted"] for _, found in settings]
        left.plot(place + 0.1 * (index - 2.5), shown, ".", label=name)
    left.set_xticks(place, labels, rotation=45, ha="right", fontsize=8)
    left.set(ylabel="U over that of noise", ylim=(0.7, 1.0))
    left.legend(fontsize=7, ncols=2)
    lags = np.arange(1, LAGS + 1)
    for label, (_, runs) in zip(labels, table.groupby(SETTING, sort=False), strict=True):
        right.plot(lags, runs[LAG_NAMES].mean(), ".-", lw=1, label=label)
    right.axhline(0, color="0.6", lw=0.8)
    right.set(xlabel="lag (steps)", ylabel="autocorrelation of g / root of v")
    right.legend(fontsize=7, frameon=False)
    return png_bytes(figure, dpi=120)


def _label(setting: tuple[Any, ...]) -> str:
    reference = (REFERENCE.learning_rate, REFERENCE.weight_decay, REFERENCE.beta1, BATCH, 32)
    changed = [f"{name} {v:g}" for name, v, r in zip(SETTING, setting, reference, strict=True) if v != r]
    return ", ".join(changed).replace("_", " ") or "reference"


def run_study(place: Workplace, make: Callable[[TrainConfig], pd.DataFrame] = rows_of) -> Findings:
    """One CSV file per run; ``matrices.csv``, ``predictions.csv``, ``answers.csv``, ``verdicts.csv``, ``valley.png``,
    ``config.json``."""
    chosen = configs()
    table = direction.table_of(chosen, place, make)
    predictions = predictions_of(table)
    answers = answers_of(predictions)
    verdicts = verdicts_of(answers)
    place.write("config.json", to_json([config_to_dict(config) for config in chosen], indent=1) + "\n")
    place.write("matrices.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.5g"))
    place.write("answers.csv", answers.to_csv(index=False, float_format="%.4f"))
    place.write("verdicts.csv", verdicts.to_csv(index=False, float_format="%.4f"))
    place.write("valley.png", draw(table, answers))
    return Findings(answers=verdicts)
