"""From the readings of matrices to the medians of settings, and from these to the targets."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from experiments.studies.held_out.readings import QUANTITIES, SETTING, SOURCES

TARGETS: dict[str, dict[str, float]] = {  # largest error of a setting's median
    "scale-invariant": {"angle": 0.03, "rms": 0.05, "relaxation": 0.15, "relaxation_constant_drive": 0.15},
    "gpt2": {"angle": 0.06, "rms": 0.08, "time": 0.20},
}
RANK_CORRELATION = 0.95  # of first passages, scale-invariant
SHARE_OF_NOISE = 0.5  # trajectory error over that of white noise, gpt2


def settings_of(readings: pd.DataFrame) -> pd.DataFrame:
    """A row per setting and group of matrices: medians over matrices and seeds of each quantity, of its errors,
    measured / predicted - 1, by source; root mean squares of trajectory errors.

    ``group`` is "judged", or a kind of matrix of gpt2.
    """
    by_kind = readings[readings["architecture"] == "gpt2"].assign(group=lambda rows: rows["kind"])
    judged = readings[readings["judged"]].assign(group="judged")
    found = []
    for keys, rows in pd.concat([judged, by_kind]).groupby(["architecture", "setting", "group"], sort=False):
        row: dict[str, object] = dict(zip((*SETTING[:2], "group"), keys, strict=True))
        row["num_matrices"] = len(rows)
        for q in QUANTITIES:
            row[q] = rows[q].median()
            for source in SOURCES:
                row[f"{q}_{source}"] = rows[f"{q}_{source}"].median()
                row[f"{q}_error_{source}"] = (rows[q] / rows[f"{q}_{source}"] - 1).median()
        for source in SOURCES:
            row[f"trajectory_error_{source}"] = np.sqrt(np.mean(rows[f"trajectory_error_{source}"] ** 2))
        found.append(row)
    return pd.DataFrame(found)


def answers_of(settings: pd.DataFrame, num_settings: dict[str, int]) -> pd.DataFrame:
    """A row per target, and the same of every kind of gpt2 without a verdict.

    ``num_settings`` that were to be run, by architecture: with fewer no target is met. ``value`` is the largest error
    of a setting, a rank correlation, or a ratio; ``white_noise`` the same of white noise; ``median`` and ``within`` are
    the median of the settings' absolute errors and how many of ``settings`` meet the target.
    """
    rows = []
    for (architecture, group), found in settings.groupby(["architecture", "group"], sort=False):
        complete = len(found) == num_settings[str(architecture)]
        shared = {"architecture": architecture, "group": group}
        for quantity, target in TARGETS[str(architecture)].items():
            errors = found.set_index("setting")[f"{quantity}_error_predicted"].dropna()
            others = found[f"{quantity}_error_white_noise"].dropna()
            sizes = errors.abs()
            worst = int(sizes.argmax())
            rows.append(
                {**shared, "quantity": quantity, "target": target, "value": sizes.max()}
                | {"white_noise": others.abs().max(), "median": sizes.median(), "within": int((sizes <= target).sum())}
                | {"settings": len(sizes), "met": bool(complete and len(sizes) and sizes.max() <= target)}
                | {"worst": errors.index[worst], "worst_error": errors.iloc[worst]}
            )
        if architecture == "scale-invariant":
            value, noise = (_rank_correlation(found, source) for source in SOURCES)
            shared["quantity"], target, met = "first_passage_rank", RANK_CORRELATION, value >= RANK_CORRELATION
            used = int(found["first_passage"].notna().sum())
        else:
            pooled = [float(np.sqrt(np.mean(found[f"trajectory_error_{source}"] ** 2))) for source in SOURCES]
            value, noise = pooled[0] / pooled[1], 1.0
            shared["quantity"], target, met = "trajectory_error_ratio", SHARE_OF_NOISE, value <= SHARE_OF_NOISE
            used = len(found)
        rows.append(
            {**shared, "target": target, "value": value, "white_noise": noise, "settings": used}
            | {"met": bool(complete and met)}
        )
    table = pd.DataFrame(rows)
    table["met"] = table["met"].astype(object).where(table["group"] == "judged", None)
    return table


def _rank_correlation(settings: pd.DataFrame, source: str) -> float:
    known = settings[["first_passage", f"first_passage_{source}"]].dropna()
    return float(spearmanr(known.iloc[:, 0], known.iloc[:, 1]).statistic)
