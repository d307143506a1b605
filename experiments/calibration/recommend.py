"""Do the intervals of `lrbend recommend` hold the optimum of cells that were held out? Counted on made sweeps.

Sweeps of `experiments.calibration.made_sweeps` with five sizes and five budgets. The pilot table is the lower four by
four, less one cell inside it. Held out and asked for: that cell (interpolated); one step beyond the largest, a factor
of 2.4 in num_params, 2.8 in num_tokens, in either and in both (extrapolated). The truth is the optimum of the held-out
cell itself, its scatter about the law included. A law planted without scatter is covered more often than asked for,
most of all inside the table: no table of this size excludes scatter, so the interval holds some.

Standard errors are over sweeps, since the targets of one sweep share its law.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.calibration.counting import Calibration
from experiments.calibration.made_sweeps import SCENARIOS, Scenario, make_sweep
from experiments.files import BadInput
from experiments.recommend.pilot_law import fit_pilot_law
from experiments.recommend.recommendation import CONFIDENCE
from experiments.recommend.target_run import TargetRun
from experiments.tables.reading import table_from_frame

KINDS = ("interpolated", "num_params", "num_tokens", "both")
BEYOND = KINDS[1:]
NAMES = (
    "parabola",
    "low noise",
    "high noise",
    "three common seeds",
    "scatter 0.1",
    "scatter 0.05, low noise",
    "one grid, censored, powers",
    "powers",
    "split",
    "bend of 2 delta",
    "bend of 2 delta, low noise",
    "bend of 2 delta, one grid",
    "saturating",
    "saturating, one grid",
    "powers, everything",
)


def scenarios() -> tuple[Scenario, ...]:
    """Straight and bent, of `experiments.calibration.made_sweeps`, with the cells to hold out."""
    return tuple(replace(item, num_sizes=5, num_budgets=5) for item in SCENARIOS if item.name in NAMES)


def run_pilot(scenario: Scenario, seed: int, confidence: float = CONFIDENCE) -> dict[str, dict[str, float] | None]:
    """By kind of target: ``covered`` (0 or 1), ``half_width`` and ``error`` in ln; None where refused."""
    sweep = make_sweep(scenario, seed)
    sizes, budgets = (sorted(sweep.table[name].unique()) for name in ("num_params", "num_tokens"))
    place = np.random.default_rng([seed, 1]).integers(1, 3, size=2)
    inside = sizes[place[0]], budgets[place[1]]
    table = sweep.table
    held_out = (table.num_params == inside[0]) & (table.num_tokens == inside[1])
    pilot = table[(table.num_params < sizes[-1]) & (table.num_tokens < budgets[-1]) & ~held_out]
    cells = (inside, (sizes[-1], budgets[2]), (sizes[2], budgets[-1]), (sizes[-1], budgets[-1]))
    results: dict[str, dict[str, float] | None] = dict.fromkeys(KINDS)
    try:
        fitted = fit_pilot_law(table_from_frame(pilot), None)
    except BadInput:
        return results
    for kind, (size, budget) in zip(KINDS, cells, strict=True):
        try:
            answer = fitted.read(TargetRun(num_params=float(size), num_tokens=float(budget)), confidence)
        except BadInput:
            continue
        truth = sweep.optima[size, budget]
        results[kind] = {
            "covered": float(answer.low <= truth <= answer.high),
            "half_width": float(np.log(answer.high / answer.low) / 2),
            "error": float(np.log(answer.value / truth)),
        }
    return results


def summarise(scenario: Scenario, results: Sequence[Mapping[str, dict[str, float] | None]]) -> dict[str, Any]:
    """Shares over the sweeps of a scenario, their standard errors, median half widths, root mean square errors."""
    row: dict[str, Any] = {"name": scenario.name, "noise": scenario.noise, "scatter": scenario.scatter}
    row |= {"bend": scenario.bend, "num_sweeps": len(results)}
    for kind, kinds in (("interpolated", KINDS[:1]), ("extrapolated", BEYOND)):
        shares = [[r[k]["covered"] for k in kinds if r[k] is not None] for r in results]  # type: ignore[index]
        means = np.array([np.mean(share) for share in shares if share])
        row[kind] = float(means.mean()) if len(means) else None
        row[f"{kind}_se"] = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None
    for kind in KINDS:
        found = [item for r in results if (item := r[kind]) is not None]
        row[f"{kind}_coverage"] = float(np.mean([f["covered"] for f in found])) if found else None
        row[f"{kind}_half_width"] = float(np.median([f["half_width"] for f in found])) if found else None
        row[f"{kind}_error"] = float(np.sqrt(np.mean([f["error"] ** 2 for f in found]))) if found else None
    row["answered"] = float(np.mean([r[kind] is not None for r in results for kind in KINDS]))
    return row


RECOMMEND = Calibration(
    scenarios=scenarios(),
    judge=run_pilot,
    summarise=summarise,
    num_sweeps=120,
    first_seed=20_261_123,
    table="recommend.csv",
    config="recommend.json",
    shown=("interpolated", "interpolated_se", "extrapolated", "extrapolated_se"),
    settings={"confidence": CONFIDENCE},
)
