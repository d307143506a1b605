"""The law's losses and optima beside those that were measured, and the verdicts by the study's rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.stats import binom, binomtest

from experiments.studies.angle_law.answers import PILOT
from experiments.studies.angle_law.fit import Cell
from experiments.studies.moved_optimum.predictions import SEED_NOISE
from experiments.studies.one_calibration.predictions import ADAMW, KEYS, OTHER_RATIOS, at_measured_angle
from theory.final_loss import FinalLossLaw

Array = NDArray[np.float64]

NOISES = 2.0  # standard deviations between seeds that a loss may be off
LARGEST_FACTOR = 1.25  # by which an optimum may be off
ASIDE = 2.0  # factor from the best rate beyond which a rate is far from it
ANSWERS = ("quantity", "num_steps", "cells", "value", "low", "high", "signed", "limit", "verdict")


def noise_of(num_steps: int) -> float:
    """Standard deviation between AdamH's seeds, as it was known before."""
    return SEED_NOISE.get(num_steps, SEED_NOISE[3200])


def cells_of(
    runs: pd.DataFrame, predictions: pd.DataFrame, optima: pd.DataFrame, law: FinalLossLaw, adamh: list[Cell]
) -> pd.DataFrame:
    """A row per cell of AdamW that was run: measured, predicted, predicted from the measured mean angle, and AdamH's
    own loss at the predicted mean angle (``same_mean_angle``, NaN beyond AdamH's cells)."""
    own = runs[runs["arm"].isin(list(ADAMW))]
    groups = own.groupby(KEYS)
    cells = groups.agg(
        seeds=("loss", "size"),
        loss=("loss", lambda losses: losses.mean(skipna=False)),
        seed_sd=("loss", "std"),
        mean_angle=("mean_angle", "mean"),
    ).reset_index()
    cells = cells.merge(predictions, on=KEYS, how="left", validate="one_to_one")
    best = optima[optima["source"] == "moved-optimum"][["arm", "num_steps", "law"]].rename(columns={"law": "best"})
    cells = cells.merge(best, on=["arm", "num_steps"], how="left")
    cells["over_best"] = cells["learning_rate"] / cells.pop("best")
    cells["miss"] = cells["law"] - cells["loss"]
    cells["at_measured_angle"] = at_measured_angle(law, cells)
    cells["same_mean_angle"] = np.nan
    for num_steps in set(cells["num_steps"]):
        line = sorted(
            (c.angles.mean(), c.losses.mean()) for c in adamh if (c.shape, c.num_steps) == ("line", num_steps)
        )
        if line:
            angle, loss = np.array(line).T
            here = cells["num_steps"] == num_steps
            curve = PchipInterpolator(np.log(angle), loss, extrapolate=False)
            cells.loc[here, "same_mean_angle"] = curve(np.log(cells.loc[here, "predicted_mean_angle"]))
    limit = NOISES * cells["num_steps"].map(noise_of)
    inside, angled = cells["miss"].abs() <= limit, (cells["at_measured_angle"] - cells["loss"]).abs() <= limit
    cells["put_down_to"] = np.select([cells["loss"].isna(), inside, angled], ["", "", "angle"], "law")
    return cells


def compared_optima(predicted: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The optima of moved-optimum (its ``optima.csv``) and of the pilot beside the law's; cells without runs left out.

    ``measured_low`` and ``measured_high`` are 95 %; the pilot tells none.
    """
    own = measured.rename(columns={"learning_rate": "measured", "low": "measured_low", "high": "measured_high"})
    own = own[["arm", "num_steps", "status", "measured", "measured_low", "measured_high", "mean_angle"]]
    pilot = [
        {"arm": f"start {one.initial_rms:g}", "num_steps": one.num_steps, "measured": one.learning_rate}
        for one in PILOT
    ]
    both = pd.concat([own.assign(source="moved-optimum"), pd.DataFrame(pilot).assign(source="pilot")])
    table = predicted.merge(both, on=["source", "arm", "num_steps"], how="inner")
    table["ratio"] = table["measured"] / table["law"]
    return table


def answers_of(cells: pd.DataFrame, optima: pd.DataFrame, elsewhere: Iterable[dict[str, Any]] = ()) -> pd.DataFrame:
    """By the decision rule of the study: a row per quantity and length; after them rows of ``elsewhere``."""
    rows = []
    counted = cells.dropna(subset=["loss"])
    for num_steps in sorted(set(counted["num_steps"])):
        rows += list(_losses(num_steps, counted[counted["num_steps"] == num_steps]))
    own, pilot = (optima[optima["source"] == source] for source in ("moved-optimum", "pilot"))
    known = own.dropna(subset=["measured"])
    for length in [*sorted(set(known["num_steps"])), np.nan]:
        here = known if np.isnan(length) else known[known["num_steps"] == length]
        rows.append(_optima("optimum, law", length, here["measured"] / here["law"], judged=True))
        rows.append(_optima("optimum, same mean angle", length, here["measured"] / here["mean_angle"]))
        for ratio in OTHER_RATIOS:
            name = f"law_ratio_{ratio:g}"
            rows.append(_optima(f"optimum, direction ratio {ratio:g}", length, here["measured"] / here[name]))
    rows.append(_optima("optimum, law, pilot", np.nan, pilot["ratio"]))
    return pd.DataFrame([*rows, *elsewhere], columns=list(ANSWERS))


def _losses(num_steps: int, cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    limit = NOISES * noise_of(num_steps)
    row = median_of("loss, law", num_steps, cells["miss"])
    yield row | {"limit": limit, "verdict": "predicted" if row["value"] <= limit else "missed"}
    yield median_of("loss, law at the measured mean angle", num_steps, cells["at_measured_angle"] - cells["loss"])
    yield {
        "quantity": "noise between AdamW's seeds",
        "num_steps": num_steps,
        "cells": len(cells),
        "value": float(np.sqrt((cells["seed_sd"] ** 2).mean())),
    }
    yield {
        "quantity": "off by more than the limit",
        "num_steps": num_steps,
        "cells": len(cells),
        "value": float((cells["miss"].abs() > limit).sum()),
        "verdict": ", ".join(f"{(cells['put_down_to'] == cause).sum()} by the {cause}" for cause in ("angle", "law")),
    }
    far = cells["over_best"]
    for name, chosen in (
        ("below half the best rate", far < 1 / ASIDE),
        ("around the best rate", far.between(1 / ASIDE, ASIDE)),
        ("above twice the best rate", far > ASIDE),
    ):
        if chosen.any():
            yield median_of(f"loss, law, {name}", num_steps, cells.loc[chosen, "miss"])
    for arm, rows in cells.groupby("arm"):
        yield median_of(f"loss, law, {arm}", num_steps, rows["miss"])
    both = cells.dropna(subset=["same_mean_angle"])
    if len(both):
        other = both["same_mean_angle"] - both["loss"]
        yield median_of("loss, same mean angle", num_steps, other)
        nearer = int((both["miss"].abs() < other.abs()).sum())
        chance = float(binomtest(nearer, len(both)).pvalue)
        verdict = "not told apart" if chance > 0.05 else "law" if 2 * nearer > len(both) else "same mean angle"
        told = {"value": nearer, "limit": 0.05, "high": chance, "verdict": verdict}
        yield {"quantity": "cells nearer to the law", "num_steps": num_steps, "cells": len(both)} | told


def _optima(quantity: str, num_steps: float, ratios: pd.Series[float], judged: bool = False) -> dict[str, Any]:
    row = median_of(quantity, num_steps, ratios.map(np.log))
    if not judged:
        return row
    limit = float(np.log(LARGEST_FACTOR))
    return row | {"limit": limit, "verdict": "predicted" if row["value"] <= limit else "missed"}


def median_of(quantity: str, num_steps: float, misses: pd.Series[float]) -> dict[str, Any]:
    """The median size with its interval by order statistics, and the median with its sign (``signed``)."""
    sizes = np.sort(misses.abs().to_numpy(float))
    n = len(sizes)
    k = int(binom.ppf(0.025, n, 0.5))  # P(fewer than k below the median) < 2.5 %
    ends = {"low": float(sizes[k - 1]), "high": float(sizes[n - k])} if k > 0 else {}
    known = {"quantity": quantity, "num_steps": num_steps, "cells": n, "value": float(np.median(sizes))}
    return known | ends | {"signed": float(misses.median())}
