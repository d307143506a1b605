"""Speed of a sweep over the regression on the sphere, and how its cost and memory grow.

    python benchmarks/regression.py [--json] [--seconds 40]

A feature-step is one weight through one step of AdamW: a Gaussian number, the exact gradient of a batch, the optimizer,
the population loss. A sweep is what it is in use: eight learning rates by seeds, and those of a seed share their
batches, whose random numbers cost the same for any number of features: some 2 us a step and seed.
The peer is the same in vectorised NumPy, float32, on one core, its random numbers drawn inside the timed region. Both
take turns, and the best of each counts. The exponents are slopes of log time against log size, each from the best of
the turns, less the best of a run of ten steps; 1 is a cost in proportion.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np

# A script's own folder comes first on the path, and there is a sim.py in it.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from sim.regression import RegressionRun, sweep  # noqa: E402
from theory import AdamW, Constant  # noqa: E402
from theory.regression import Basis, PowerLawRegression  # noqa: E402

OPTIMIZER = AdamW(learning_rate=3e-3, weight_decay=0.1)
FEATURES, STEPS, RATES, SEEDS = 4096, 1000, 8, 2
SETTINGS = RATES * SEEDS
FEW_STEPS = 10  # of the run that is subtracted, which costs what a call costs once
GROWTH = {  # sizes over which each exponent is measured, the other two at these values
    "features": ([2048, 4096, 8192, 16384], {"steps": 500, "settings": 8}),
    "steps": ([1000, 4000, 16000], {"features": 2048, "settings": 8}),
    "settings": ([8, 16, 32, 64], {"features": 2048, "steps": 500}),
}


def runs_of(features: int, steps: int, settings: int, basis: Basis = "eigenvectors") -> list[RegressionRun]:
    problem = PowerLawRegression(num_features=features, basis=basis)
    schedule = Constant(num_steps=steps)
    return [
        RegressionRun(
            problem=problem,
            optimizer=replace(OPTIMIZER, learning_rate=OPTIMIZER.learning_rate * 2.0 ** (setting % RATES / 2)),
            schedule=schedule,
            initial_rms=0.1,
            seed=setting // RATES,
        )
        for setting in range(settings)
    ]


def sweep_seconds(
    features: int = FEATURES,
    steps: int = STEPS,
    settings: int = SETTINGS,
    basis: Basis = "eigenvectors",
    num_threads: int = 1,
) -> float:
    runs = runs_of(features, steps, settings, basis)
    began = time.perf_counter()
    for _ in sweep(runs, num_records=10, num_threads=num_threads):
        pass
    return time.perf_counter() - began


def numpy_seconds(settings: int = SETTINGS) -> float:
    """The same arithmetic with arrays (settings, features); in-place where NumPy has it."""
    rng = np.random.default_rng(0)
    problem = PowerLawRegression(num_features=FEATURES, basis="eigenvectors")
    b, s2 = problem.batch_size, 2 * problem.least_loss
    spectrum, target = problem.spectrum.astype(np.float32), problem.target.astype(np.float32)
    root, gain = np.sqrt(spectrum), problem.gain
    w = 0.1 * rng.standard_normal((settings, FEATURES)).astype(np.float32)
    m, v = np.zeros_like(w), np.zeros_like(w)
    z, a = np.empty_like(w), np.empty_like(w)
    eta, beta1, beta2 = OPTIMIZER.learning_rate, OPTIMIZER.beta1, OPTIMIZER.beta2
    began = time.perf_counter()
    for t in range(1, STEPS + 1):
        rng.standard_normal(dtype=np.float32, out=z)
        z *= root
        ww = np.einsum("ri,ri->r", w, w)
        scale = gain / np.sqrt(ww)
        delta = w * scale[:, None].astype(np.float32)
        delta -= target
        signal = delta * spectrum
        vv, pp = np.einsum("ri,ri->r", signal, delta), np.einsum("ri,ri->r", z, delta)
        drawn = rng.chisquare(b, SEEDS), rng.chisquare(b - 1, SEEDS), rng.standard_normal(SEEDS)
        c1, c2, n = (np.tile(x, settings // SEEDS) for x in drawn)
        cross = np.sqrt(vv * s2 * c1) * n
        across = np.sqrt(vv * c1 + 2 * cross + s2 * (n * n + c2)) / b
        along = ((vv * c1 + cross) / b - across * pp) / vv
        signal *= (along * scale)[:, None].astype(np.float32)
        z *= (across * scale)[:, None].astype(np.float32)
        z += signal
        np.multiply(w, (np.einsum("ri,ri->r", w, z) / ww)[:, None].astype(np.float32), out=a)
        z -= a
        m *= np.float32(beta1)
        np.multiply(z, np.float32(1 - beta1), out=a)
        m += a
        z *= z
        z *= np.float32(1 - beta2)
        v *= np.float32(beta2)
        v += z
        np.sqrt(v, out=a)
        a *= np.float32(1 / np.sqrt(1 - beta2**t))
        a += np.float32(OPTIMIZER.eps)
        np.divide(m, a, out=a)
        a *= np.float32(eta / (1 - beta1**t))
        w *= np.float32(1 - eta * OPTIMIZER.weight_decay)
        w -= a
    return time.perf_counter() - began


def peak_memory(steps: int) -> int:
    """Bytes of Python and NumPy at most in a thinned sweep."""
    runs = runs_of(1024, steps, 8)
    tracemalloc.start()
    for _ in sweep(runs, num_records=10, num_threads=1):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--seconds", type=float, default=40.0, help="how long to keep taking turns")
    arguments = parser.parse_args()
    two_cores = numba.config.NUMBA_NUM_THREADS >= 2

    sweep_seconds(256, 2, 1)
    best: dict[str, float] = {}
    growth = {axis: np.full((2, len(sizes)), np.inf) for axis, (sizes, _) in GROWTH.items()}

    def take(name: str, seconds: float) -> None:
        best[name] = min(best.get(name, np.inf), seconds)

    ends = time.monotonic() + arguments.seconds
    while time.monotonic() < ends:
        take("one core", sweep_seconds())
        take("mixed basis", sweep_seconds(basis="mixed"))
        if two_cores:
            take("two cores", sweep_seconds(num_threads=2))
        take("numpy", numpy_seconds())
        for axis, (sizes, others) in GROWTH.items():
            for place, size in enumerate(sizes):
                sizes_of_run = {axis: size} | others
                for few, overrides in enumerate(({}, {"steps": FEW_STEPS})):
                    seconds = sweep_seconds(**(sizes_of_run | overrides))
                    growth[axis][few, place] = min(growth[axis][few, place], seconds)
    work = FEATURES * STEPS * SETTINGS
    for name, seconds in best.items():
        print(f"{name:12s} {work / seconds / 1e6:8.1f} million feature-steps/s   {seconds / work * 1e9:6.2f} ns each")
    exponents = {
        f"exponent_{axis}": float(np.polyfit(np.log(sizes), np.log(growth[axis][0] - growth[axis][1]), 1)[0])
        for axis, (sizes, _) in GROWTH.items()
    }
    result = {
        "feature_steps_per_second": work / best["one core"],
        "feature_steps_per_second_mixed": work / best["mixed basis"],
        "ratio_numpy": best["numpy"] / best["one core"],
        "scaling_two_cores": best["one core"] / best["two cores"] if two_cores else None,
        **exponents,
        "memory_of_fourfold_steps": peak_memory(128_000) / peak_memory(32_000),
    }
    for name, value in result.items():
        print(f"{name}: {value:.4g}" if value is not None else f"{name}: not measured")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
