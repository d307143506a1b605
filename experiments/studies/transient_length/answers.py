"""From the records of the runs to a row per setting, and from these to the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from experiments.studies.held_out.readings import MATRIX_COLUMNS, Matrix, read, readings_of, settled_rms
from experiments.studies.held_out.runs import label, network_of
from experiments.studies.transient_length.runs import Chosen
from theory import predict_trajectory

QUANTITIES = ("angle", "rms", "relaxation", "first_passage")
SOURCES = ("measured_ratio", "predicted", "white_noise")
TARGETS: dict[str, dict[str, float]] = {
    "scale-invariant": {"angle": 0.05, "relaxation": 0.15},
    "gpt2": {"angle": 0.10, "first_passage": 0.25},
}
RANK_CORRELATION = {"scale-invariant": 0.95, "gpt2": 0.85}
BY = ["architecture", "beta1", "beta2"]


def settings_of(settings: Sequence[Chosen], tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A row per setting: its numbers, its half, medians over the judged matrices of what was measured and of each of
    `SOURCES`. ``tables``: the records of each run. Settings whose run did not come to its end have no readings."""
    readings = [_judged(readings_of(one.config, rows)) for one, rows in zip(settings, tables, strict=True)]
    frame = pd.DataFrame([_numbers(one) for one in settings])
    measured = [rows["direction_ratio"].median() if len(rows) else np.nan for rows in readings]
    frame["direction_ratio"] = measured
    ratios = frame[~frame["held_out"]].groupby(BY)["direction_ratio"].median()
    frame["ratio_of_half"] = [ratios[key] for key in zip(*(frame[name] for name in BY), strict=True)]
    medians = []
    for one, rows, found, ratio in zip(settings, tables, readings, frame["ratio_of_half"], strict=True):
        row: dict[str, float] = {}
        if len(found):
            with_ratio = _with_ratio(one, rows, float(ratio), list(found["matrix"]))
            for q in QUANTITIES:
                row |= {q: found[q].median(), f"{q}_measured_ratio": with_ratio[q].median()}
                row |= {f"{q}_{source}": found[f"{q}_{source}"].median() for source in SOURCES[1:]}
        medians.append(row)
    return pd.concat([frame, pd.DataFrame(medians, index=frame.index)], axis=1)


def answers_of(settings: pd.DataFrame) -> pd.DataFrame:
    """A row per architecture, half, quantity and source: median absolute error, how many settings have one, rank
    correlation; verdicts for the prediction and the half that are judged."""
    rows = []
    for (architecture, held_out), found in settings.groupby(["architecture", "held_out"], sort=False):
        for source in SOURCES:
            shared = {"architecture": architecture, "half": "held-out" if held_out else "design", "prediction": source}
            judged = bool(held_out) and source == SOURCES[0]
            for q in QUANTITIES:
                error = (found[q] / found[f"{q}_{source}"] - 1).abs()
                error = error.where(found["rms"].notna(), 1.0).dropna()
                row: dict[str, object] = {
                    "quantity": q,
                    "value": error.median(),
                    "worst": error.max(),
                    "settings": len(error),
                }
                target = TARGETS[str(architecture)].get(q) if judged else None
                met = None if target is None else bool(error.median() <= target)
                rows.append(shared | row | {"target": target, "met": met})
            both = found[["first_passage", f"first_passage_{source}"]].dropna()
            rank = float(spearmanr(both.iloc[:, 0], both.iloc[:, 1]).statistic) if len(both) > 2 else np.nan
            target = RANK_CORRELATION[str(architecture)] if judged else None
            met = None if target is None else bool(rank >= target)
            row = {"quantity": "first_passage_rank", "value": rank, "settings": len(both)}
            rows.append(shared | row | {"target": target, "met": met})
    return pd.DataFrame(rows)


def _judged(readings: pd.DataFrame) -> pd.DataFrame:
    return readings[readings["judged"]] if len(readings) else readings


def _numbers(one: Chosen) -> Mapping[str, object]:
    names = ("learning_rate", "weight_decay", "beta1", "beta2", "schedule", "start")
    told = {name: getattr(one.setting, name) for name in names}
    initial = one.config.block_rms
    return {"architecture": one.architecture, "held_out": one.held_out, **told, "initial_rms": initial} | {
        "setting": label(one.config)
    }


def _with_ratio(one: Chosen, rows: pd.DataFrame, ratio: float, judged: Sequence[str]) -> pd.DataFrame:
    """`QUANTITIES` of each judged matrix, predicted with that direction ratio."""
    config, found = one.config, []
    predicted: dict[str, Matrix] = {}
    for (name, kind), records in rows.groupby(["matrix", "kind"], sort=False):
        if name not in judged:
            continue
        if kind not in predicted:
            assert config.block_rms is not None
            run = predict_trajectory(
                config.optimizer,
                config.schedule,
                initial_rms=config.block_rms,
                record_every=config.record_every,
                network=replace(network_of(one.architecture, str(kind)), direction_ratio=ratio),
            )
            columns = {column: getattr(run, column)[:, 0] for column in MATRIX_COLUMNS[1:]}
            predicted[str(kind)] = {"step": run.steps.astype(float), **columns}
        own = settled_rms(config, {column: records[column].to_numpy(float) for column in MATRIX_COLUMNS})
        found.append(read(config, predicted[str(kind)], own=own))
    return pd.DataFrame(found, columns=list(QUANTITIES))
