"""Seconds of a grid of runs by the closed recursion, over those of the same recursion in plain NumPy.

    python benchmarks/grid.py [--json] [--seconds 30]

The plain way makes a pass over all settings for every operation of every step, and knows the norm at the end and no
more. `theory.transient.run_grid` has the length of the transient and the last angle too, in blocks that fit a cache.
Turns alternate and the best of each counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from theory import Constant, momentum  # noqa: E402
from theory.transient import run_grid  # noqa: E402

NUM_STEPS, ACROSS = 10_000, 100  # 100 learning rates by 100 decays
BETA1, BETA2, INITIAL_RMS = 0.9, 0.95, 0.02


def plain_grid(rates: np.ndarray, decays: np.ndarray) -> np.ndarray:
    """RMS at the end, (num_settings,)."""
    drive = momentum.drive(NUM_STEPS, BETA1, BETA2)
    ((entry, carry),) = drive.modes()
    alpha = 1 - rates * decays
    rho, p = np.full(rates.shape, INITIAL_RMS**2), np.zeros_like(rates)
    for t in range(NUM_STEPS):
        rho = alpha**2 * rho - 2 * alpha * rates * p + rates**2 * drive.variance[t]
        p = carry[t] * alpha * p - entry[t] * rates
    return np.sqrt(rho)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    rates, decays = (
        each.ravel() for each in np.meshgrid(np.geomspace(1e-4, 1e-1, ACROSS), np.geomspace(0.01, 1, ACROSS))
    )
    ours: list[float] = []
    plain: list[float] = []
    began = time.perf_counter()
    while not ours or time.perf_counter() - began < options.seconds:
        begun = time.perf_counter()
        found = run_grid(
            Constant(num_steps=NUM_STEPS), learning_rate=rates, weight_decay=decays, initial_rms=INITIAL_RMS
        )
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        expected = plain_grid(rates, decays)
        plain.append(time.perf_counter() - begun)
        np.testing.assert_allclose(found.final_rms, expected, rtol=1e-9)
    row = {"settings": len(rates), "steps": NUM_STEPS, "seconds": round(min(ours), 3)}
    row |= {"plain_seconds": round(min(plain), 3), "ratio": round(min(ours) / min(plain), 2)}
    row |= {"peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), "numpy": np.__version__}
    print(json.dumps(row) if options.json else ", ".join(f"{name} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
