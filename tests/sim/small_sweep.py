"""A small sweep of the regression, saved to the file named on the command line; see `test_regression`."""

from __future__ import annotations

import sys

import numpy as np

from sim.regression import RegressionRun, sweep
from theory import SGDM, AdamC, AdamH, AdamW, Cosine, Linear, Muon, MuonH
from theory.regression import PowerLawRegression
from theory.trajectory import FIELDS

SMALL, LARGE = (PowerLawRegression(num_features=n, batch_size=b, label_noise=0.5) for n, b in ((20, 1), (300, 8)))
MIXED = PowerLawRegression(num_features=512, basis="mixed")
OPTIMIZERS = (
    AdamW(learning_rate=0.05, weight_decay=0.3),
    AdamH(learning_rate=0.1, beta1=0.8, beta2=0.99),
    AdamC(learning_rate=0.05, weight_decay=0.3),
    SGDM(learning_rate=0.02, weight_decay=0.5),
    SGDM(learning_rate=0.02, weight_decay=0.5, decoupled=True),
    Muon(learning_rate=0.05, weight_decay=0.3),
    MuonH(learning_rate=0.1, nesterov=False),
)
RUNS = [
    RegressionRun(problem=problem, optimizer=optimizer, schedule=schedule, initial_rms=0.3, seed=seed)
    for problem, schedule in ((SMALL, Linear(num_steps=3)), (LARGE, Cosine(num_steps=2)), (MIXED, Linear(num_steps=2)))
    for optimizer in OPTIMIZERS
    for seed in (0, 7)
]


def run_cases() -> dict[str, np.ndarray]:
    """Final loss, recorded losses and every field of the trajectory, by place in the sweep."""
    results = {}
    for place, result in sweep(RUNS, record_every=1):
        results[f"{place}: final"] = np.array(result.final_loss)
        results[f"{place}: losses"] = result.losses
        for field in FIELDS:
            results[f"{place}: {field}"] = getattr(result.trajectory, field)
    return results


if __name__ == "__main__":
    with np.errstate(over="ignore"):  # unsigned integers wrap around by intention
        np.savez(sys.argv[1], **run_cases())
