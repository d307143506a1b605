"""Pilot tables with a held-out cell."""

import numpy as np
import pandas as pd

from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.recommend.target_run import TargetRun

EXACT = Scenario(name="exact", noise=1e-6, bend=0.2, off=0.5, num_sizes=5, num_budgets=5)


def split(scenario: Scenario, seed: int) -> tuple[pd.DataFrame, TargetRun, float, list[float], list[float]]:
    """The lower four by four cells, the fifth of both as target, its optimum, sizes and budgets."""
    sweep = make_sweep(scenario, seed)
    table = sweep.table
    sizes, budgets = (sorted(table[name].unique().tolist()) for name in ("num_params", "num_tokens"))
    pilot = table[(table.num_params < sizes[-1]) & (table.num_tokens < budgets[-1])]
    target = TargetRun(num_params=sizes[-1], num_tokens=budgets[-1])
    return pilot, target, sweep.optima[sizes[-1], budgets[-1]], sizes, budgets


def half_width(low: float, high: float) -> float:
    return float(np.log(high / low) / 2)
