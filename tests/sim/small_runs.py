"""Small runs of the simulation, saved to the file named on the command line; see `test_kernels`."""

from __future__ import annotations

import sys
from typing import Literal

import numpy as np

from sim import noise
from theory import AdamH, AdamW, Cosine
from theory.trajectory import FIELDS

CASES: dict[str, tuple[AdamW | AdamH, Literal["constant", "inverse-norm"]]] = {
    "adamw": (AdamW(learning_rate=1e-2, weight_decay=0.3), "constant"),
    "adamw, inverse norm": (AdamW(learning_rate=0.3, weight_decay=1.0, eps=0.0), "inverse-norm"),
    "adamh": (AdamH(learning_rate=0.05, beta1=0.5, beta2=0.999), "constant"),
}


def run_cases() -> dict[str, np.ndarray]:
    """Every field of the trajectory and its error, and the final RMS, by case."""
    results = {}
    for name, (optimizer, gradient_scale) in CASES.items():
        simulation = noise.simulate(
            optimizer,
            Cosine(num_steps=2),
            initial_rms=0.02,
            dim=300,
            num_replicas=5,
            seed=11,
            gradient_scale=gradient_scale,
        )
        for field in FIELDS:
            results[f"{name}: {field}"] = getattr(simulation.trajectory, field)
            results[f"{name}: {field} error"] = getattr(simulation.standard_error, field)
        results[f"{name}: final"] = np.array(simulation.final_rms)
    return results


if __name__ == "__main__":
    # Wrapping around is what unsigned integers are for here; NumPy warns of it where Numba does not.
    with np.errstate(over="ignore"):
        np.savez(sys.argv[1], **run_cases())
