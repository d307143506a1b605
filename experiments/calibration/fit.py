"""Does `lrbend fit` keep its word? A row for each scenario of `experiments.calibration.made_sweeps`."""

from __future__ import annotations

from experiments.calibration.counting import Calibration
from experiments.calibration.made_sweeps import SCENARIOS, run_sweep, summarise
from theory.bend import DELTA

FIT = Calibration(
    scenarios=SCENARIOS,
    judge=run_sweep,
    summarise=summarise,
    num_sweeps=200,
    first_seed=20_270_000,
    table="calibration.csv",
    config="config.json",
    shown=("optimum_coverage", "exponent_coverage", "curvature_coverage"),
    settings={"delta": DELTA},
)
