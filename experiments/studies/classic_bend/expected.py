"""The study on made losses, before its runs: how wide its intervals come out, and how often they hold what was planted.

Curves of mean loss against ln(rate) are those of `classic` at 800 steps, moved along ln(rate) by a planted exponent and
curvature; noise is that between its seeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.interpolate import PchipInterpolator

from experiments.bend.fit import GroupFit
from experiments.studies.classic_bend.answers import ANGLE, RATIO, SIZE, answers_of, fits_of, optima_of
from experiments.studies.classic_bend.runs import ARMS, LENGTHS, OWN, RATES, SMALL, WIDTHS, Cell
from experiments.studies.moved_optimum.runs import SEEDS
from gpt.model import GPT, count_params

BEYOND = 4.0  # in ln(rate), how far curves are known beyond their ends
EXPONENT = -0.2  # of every arm along parameters
PLANTED = {"alike": (0.0, 0.0), "small start bends up": (0.1, 0.15)}  # exponent and curvature more, of the small start
COLUMNS = ("planted", "who", "rate", "quantity", "truth", "value", "spread", "half_width", "held", "found", "num_made")


def expected_of(classic: pd.DataFrame, num_made: int) -> pd.DataFrame:
    """A row per question of the study and planted case: mean and spread of its value over the made studies, the mean of
    half its interval, and the shares of studies in which that holds the truth and excludes 0."""
    own, sizes = classic[classic["num_steps"] == LENGTHS[0]], sizes_of_widths()
    tables = Parallel(n_jobs=-1)(delayed(_made_answers)(own, sizes, seed) for seed in range(num_made))
    answers = pd.concat(tables, ignore_index=True)
    answers = answers[answers["low"].notna()]
    rows = []
    for (planted, who, rate, quantity), found in answers.groupby(["planted", "who", "rate", "quantity"], sort=False):
        value, low, high = (found[name].astype(float) for name in ("value", "low", "high"))
        row = {"planted": planted, "who": who, "rate": rate, "quantity": quantity}
        row |= {"value": value.mean(), "spread": value.std(), "half_width": (high - low).mean() / 2}
        row |= {"found": ((low > 0) | (high < 0)).mean(), "num_made": len(found)}
        if rate != ANGLE and quantity != RATIO:
            truth = _truth(str(planted), str(who), str(quantity))
            row |= {"truth": truth, "held": ((low <= truth) & (truth <= high)).mean()}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _truth(planted: str, who: str, quantity: str) -> float:
    """In learning rate, of an arm or of a pair."""
    more = PLANTED[planted][quantity.startswith("curvature")]
    names = who.split(" over ")
    own = sum(sign * more for name, sign in zip(names, (1, -1), strict=False) if name == SMALL.name)
    return own + (EXPONENT if quantity == "exponent" and len(names) == 1 else 0.0)


def sizes_of_widths() -> dict[int, int]:
    """Parameters outside the embeddings by width."""
    configs = {width: Cell(SMALL, width, LENGTHS[0]).config(RATES[SMALL.name][0], SEEDS[0]) for width in sorted(WIDTHS)}
    return {width: count_params(GPT(config.model)) for width, config in configs.items()}


def _made_answers(classic: pd.DataFrame, sizes: Mapping[int, int], seed: int) -> pd.DataFrame:
    tables = []
    fits: dict[tuple[str, int], GroupFit] = {}
    kept: dict[tuple[str, int], pd.DataFrame] = {}
    for planted, more in PLANTED.items():
        rng = np.random.default_rng(seed)
        for arm in ARMS:
            key, changed = (arm.name, LENGTHS[0]), arm == SMALL
            rows = made_runs(classic, sizes, arm.name, more if changed else (0.0, 0.0), rng)
            if changed or key not in fits:
                kept[key] = rows
                fits |= fits_of(rows)
        found = answers_of(optima_of(pd.concat(kept.values()), fits), fits)
        tables.append(found.assign(planted=planted))
    return pd.concat(tables, ignore_index=True)


def made_runs(
    classic: pd.DataFrame, sizes: Mapping[int, int], arm: str, more: tuple[float, float], rng: np.random.Generator
) -> pd.DataFrame:
    """Runs of an arm at all widths, at its planned rates. ``more``: exponent and curvature beside `EXPONENT`."""
    curve, angle, noise = _curves(classic[classic["arm"] == arm])
    middle, rows = np.mean(np.log(list(sizes.values()))), []
    for width, size in sizes.items():
        n = np.log(size) - middle
        moved = (EXPONENT + more[0]) * n + more[1] * n**2 / 2
        for rate in RATES[arm]:
            at = np.log(rate) - moved
            for seed in SEEDS:
                row: dict[str, float | str] = {"arm": arm, OWN: width, SIZE: size, "num_tokens": 819200.0}
                row |= {"num_steps": LENGTHS[0], "learning_rate": rate, "seed": seed}
                rows.append(row | {"loss": curve(at) + noise * rng.normal(), ANGLE: np.exp(angle(at))})
    return pd.DataFrame(rows)


def _curves(own: pd.DataFrame) -> tuple[PchipInterpolator, PchipInterpolator, float]:
    """Mean loss and ln(mean angle) over ln(rate), beyond their ends as their last two rates go on; noise of a seed."""
    cells = own.groupby("learning_rate")
    x = np.log(np.array(sorted(own["learning_rate"].unique())))
    found = []
    for values in (cells["loss"].mean().to_numpy(float), np.log(cells[ANGLE].mean().to_numpy(float))):
        slopes = np.diff(values)[[0, -1]] / np.diff(x)[[0, -1]]
        ends = values[[0, -1]] + slopes * np.array([-BEYOND, BEYOND])
        found.append(PchipInterpolator([x[0] - BEYOND, *x, x[-1] + BEYOND], [ends[0], *values, ends[1]]))
    return found[0], found[1], float(np.sqrt((cells["loss"].std() ** 2).mean()))
