"""Small runs of the simulation, saved to the file named on the command line; see `test_kernels`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from sim import GradientNoise, kernels, simulate
from theory import Cosine, Optimizer
from theory.optimizers import SGDM, AdamC, AdamH, AdamL2, AdamW, Lion, Muon, MuonH, SignSGDM
from theory.trajectory import FIELDS

DECAYED = {"learning_rate": 1e-2, "weight_decay": 0.3}
WHITE = GradientNoise()
ALL = GradientNoise(
    rms=0.5,
    scale="inverse-norm",
    degrees_of_freedom=3.5,
    autocorrelation=-0.3,
    signal_to_noise=0.4,
    signal_persistence=0.8,
)


@dataclass(frozen=True)
class Case:
    optimizer: Optimizer
    noise: GradientNoise = WHITE
    shape: tuple[int, int] | None = None
    dim: int = 200  # one block; plain Python is slow


CASES = {
    "adamw": Case(AdamW(**DECAYED), dim=300),
    "adamw, inverse norm": Case(AdamW(**DECAYED, eps=0.0), GradientNoise(scale="inverse-norm")),
    "adamw, every noise": Case(AdamW(**DECAYED), ALL, dim=300),
    "adamh": Case(AdamH(learning_rate=0.05, beta1=0.5, beta2=0.999)),
    "adamc": Case(AdamC(**DECAYED)),
    "adam-l2": Case(AdamL2(**DECAYED)),
    "sgdm": Case(SGDM(**DECAYED), GradientNoise(rms=0.1, scale="inverse-norm")),
    "sgdm, decoupled": Case(SGDM(**DECAYED, decoupled=True), GradientNoise(signal_to_noise=0.5)),
    "lion": Case(Lion(**DECAYED), GradientNoise(autocorrelation=0.5)),
    "signsgdm": Case(SignSGDM(**DECAYED), GradientNoise(degrees_of_freedom=3)),
    "muon": Case(Muon(**DECAYED), shape=(13, 10), dim=130),
    "muonh": Case(MuonH(learning_rate=0.05, nesterov=False), shape=(3, 40), dim=120),
}


def run_cases() -> dict[str, np.ndarray]:
    """Every field of the trajectory and its error, and the final RMS, by case."""
    results = {}
    for name, case in CASES.items():
        simulation = simulate(
            case.optimizer,
            Cosine(num_steps=2),
            initial_rms=0.02,
            dim=case.dim,
            shape=case.shape,
            num_replicas=2,
            noise=case.noise,
            seed=11,
        )
        for field in FIELDS:
            results[f"{name}: {field}"] = getattr(simulation.trajectory, field)
            results[f"{name}: {field} error"] = getattr(simulation.standard_error, field)
        results[f"{name}: final"] = np.array(simulation.final_rms)
    return results


if __name__ == "__main__":
    # Only plain Python notices: in compiled code the number of blocks of a part is a constant.
    kernels.PART = 1
    # Wrapping around is what unsigned integers are for here; NumPy warns of it where Numba does not.
    with np.errstate(over="ignore"):
        np.savez(sys.argv[1], **run_cases())
