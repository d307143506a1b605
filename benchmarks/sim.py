"""Speed of the noise-driven AdamW simulation against vectorised NumPy, torch and JAX, in one process.

    python benchmarks/sim.py [--json] [--seconds 60]

A coordinate-step is one weight entry through one step: a Gaussian gradient, its projection on the tangent space,
AdamW. Every peer does that in float32 on one core, draws its random numbers inside the timed region, and has its
own best of a few sizes; only the simulation records anything (second moments at every tenth step). All take turns
in windows of a few milliseconds, and the best window of each counts: that is what a core can do when nothing else
runs on it, also on a machine that is shared.

Cost exponents are slopes of ln(time) over ln(size), 1 where cost is linear: along ``dim`` over the octaves from 2^9 to
2^20, along steps and replicas over a factor of 100. Each step needs one sum over the whole replica, W g, before it,
so a replica passes through the caches once per step. What that costs beyond the first level, the exponents within the
three levels show, next to the bandwidth of a copy.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch

# A script's own folder comes first on the path, and there this file itself is called sim.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from sim import simulate  # noqa: E402
from theory import AdamW, Constant  # noqa: E402

OPTIMIZER = AdamW(learning_rate=1e-2, weight_decay=0.3, beta1=0.9, beta2=0.999)
INITIAL_RMS = 0.02
DIM = 1024
PEER_REPLICAS = (4, 16, 64)
PEER_WINDOW = 300_000  # coordinate-steps

# Vector instructions per 16 coordinates, counted in the source of the kernels.
DRAW = {"hash": 13, "radius": 11.5, "angle": 11}
STEP = {"project": 2, "average and divide": 13, "move": 7}
SLOW = {"square roots": 1.5, "divisions": 1}
# Bytes per coordinate-step between registers and the first-level cache, in which a replica of DIM = 1024 stays.
BYTES = {"read": 38, "written": 30}
FURTHER_BYTES = 32  # that a larger replica moves between the first level and the next: W, m, v and the gradient

WORK = 2**25  # coordinate-steps of which a cost is measured

# Sizes between which cost exponents are taken. A replica holds 16 bytes per entry: 8 and 16 kB, 32 to 500 kB, 1 to
# 17 MB.
SIZES = {
    "dim_first_level": (2**9, 2**10),
    "dim_second_level": (2**11, 2**12, 2**13, 2**14, 2**15),
    "dim_third_level": (2**16, 2**17, 2**18, 2**19, 2**20),
    "steps": (160, 1600, 16000),
    "replicas": (2, 20, 200),
}


def simulation_speed(num_threads: int, num_steps: int = 40) -> float:
    """Coordinate-steps per second of `simulate`."""
    return simulate(
        OPTIMIZER,
        Constant(num_steps=num_steps),
        initial_rms=INITIAL_RMS,
        dim=DIM,
        num_replicas=64,
        record_every=10,
        num_threads=num_threads,
    ).coordinate_steps_per_second


class CostPerStep:
    """Seconds of processor per coordinate-step on one core, by size along one axis.

    The difference between a longer and a shorter run leaves out what a call costs once; processor time leaves out
    what else runs on the machine. Each run counts with its best time so far.
    """

    def __init__(self, axis: str) -> None:
        self.axis, self.sizes = axis, SIZES[axis]
        self.best = {(size, long): np.inf for size in self.sizes for long in (False, True)}

    def measure(self) -> None:
        for size, long in self.best:
            dim, num_replicas, first, further = self.run_of(size)
            began = time.process_time()
            simulate(
                OPTIMIZER,
                Constant(num_steps=first + long * further),
                initial_rms=INITIAL_RMS,
                dim=dim,
                num_replicas=num_replicas,
                record_every=10,
                num_threads=1,
            )
            self.best[size, long] = min(self.best[size, long], time.process_time() - began)

    def run_of(self, size: int) -> tuple[int, int, int, int]:
        """Entries, replicas, steps of the shorter run, steps by which the other is longer.

        The product is the same for all sizes: the best of many short runs would beat the best of a few long ones.
        """
        if self.axis == "steps":
            return DIM, WORK // (DIM * size), 10, size
        if self.axis == "replicas":
            return DIM, size, 10, WORK // (DIM * size)
        num_replicas = max(2, 2**16 // size)
        return size, num_replicas, 2, WORK // (size * num_replicas)

    def seconds(self) -> dict[int, float]:
        result = {}
        for size in self.sizes:
            dim, num_replicas, _, further = self.run_of(size)
            result[size] = (self.best[size, True] - self.best[size, False]) / (dim * num_replicas * further)
        return result


def exponent(seconds: dict[int, float]) -> float:
    """Slope of ln(time) over ln(size), from times per coordinate-step by size."""
    return 1 + float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


def peak_bytes(num_steps: int) -> int:
    """Peak of what Python and NumPy allocate for a run of ten records."""
    tracemalloc.start()
    steps = Constant(num_steps=num_steps)
    simulate(OPTIMIZER, steps, initial_rms=INITIAL_RMS, dim=256, num_replicas=8, record_every=num_steps // 10)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return used


def copy_bandwidth(num_floats: int) -> float:
    """Bytes read and written per ns by a scaled copy between two arrays of this size together."""
    x, y = np.ones(num_floats // 2, np.float32), np.empty(num_floats // 2, np.float32)
    np.multiply(x, np.float32(0.5), out=y)
    num_passes = max(2, 2**23 // num_floats)
    began = time.process_time()
    for _ in range(num_passes):
        np.multiply(x, np.float32(0.5), out=y)
    return 8 * len(x) * num_passes / (time.process_time() - began) / 1e9


def numpy_speed(num_replicas: int) -> float:
    """Coordinate-steps per second in NumPy, every operation in place."""
    rng = np.random.default_rng(0)
    num_steps = PEER_WINDOW // (num_replicas * DIM)
    shape = (num_replicas, DIM)
    w = (INITIAL_RMS * rng.standard_normal(shape)).astype(np.float32)
    g, m, v, a = np.empty_like(w), np.zeros_like(w), np.zeros_like(w), np.empty_like(w)
    beta1, beta2, eta = OPTIMIZER.beta1, OPTIMIZER.beta2, OPTIMIZER.learning_rate
    began = time.perf_counter()
    for t in range(1, num_steps + 1):
        rng.standard_normal(dtype=np.float32, out=g)
        radial = np.einsum("ri,ri->r", w, g) / np.einsum("ri,ri->r", w, w)
        np.multiply(w, radial[:, None], out=a)
        g -= a
        m *= np.float32(beta1)
        np.multiply(g, np.float32(1 - beta1), out=a)
        m += a
        g *= g
        g *= np.float32(1 - beta2)
        v *= np.float32(beta2)
        v += g
        np.sqrt(v, out=a)
        a *= np.float32(1 / np.sqrt(1 - beta2**t))
        a += np.float32(OPTIMIZER.eps)
        np.divide(m, a, out=a)
        a *= np.float32(eta / (1 - beta1**t))
        w *= np.float32(1 - eta * OPTIMIZER.weight_decay)
        w -= a
    return w.size * num_steps / (time.perf_counter() - began)


def torch_speed(num_replicas: int) -> float:
    """Coordinate-steps per second of torch's fused AdamW."""
    torch.manual_seed(0)
    num_steps = PEER_WINDOW // (num_replicas * DIM)
    w = torch.nn.Parameter(INITIAL_RMS * torch.randn(num_replicas, DIM))
    w.grad = torch.empty_like(w)
    optimizer = torch.optim.AdamW(
        [w],
        lr=OPTIMIZER.learning_rate,
        betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
        eps=OPTIMIZER.eps,
        weight_decay=OPTIMIZER.weight_decay,
        fused=True,
    )
    began = time.perf_counter()
    for _ in range(num_steps):
        with torch.no_grad():
            g = w.grad.normal_()
            radial = torch.linalg.vecdot(w, g) / torch.linalg.vecdot(w, w)
            g.addcmul_(w, radial[:, None], value=-1)
        optimizer.step()
    return w.numel() * num_steps / (time.perf_counter() - began)


def jax_speed(num_replicas: int) -> float:
    """Coordinate-steps per second of one compiled ``lax.scan`` in JAX (on all the threads it likes to use)."""
    import jax
    import jax.numpy as jnp

    num_steps = PEER_WINDOW // (num_replicas * DIM)
    beta1, beta2, eta = OPTIMIZER.beta1, OPTIMIZER.beta2, OPTIMIZER.learning_rate

    def step(state, t):  # type: ignore[no-untyped-def]
        w, m, v, key = state
        key, draw = jax.random.split(key)
        g = jax.random.normal(draw, w.shape, jnp.float32)
        g = g - w * (jnp.sum(w * g, 1) / jnp.sum(w * w, 1))[:, None]
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        u = m / (1 - beta1**t) / (jnp.sqrt(v / (1 - beta2**t)) + OPTIMIZER.eps)
        return ((1 - eta * OPTIMIZER.weight_decay) * w - eta * u, m, v, key), None

    run = jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(1.0, num_steps + 1))[0])
    key = jax.random.key(0)
    w = INITIAL_RMS * jax.random.normal(key, (num_replicas, DIM), jnp.float32)
    state = (w, jnp.zeros_like(w), jnp.zeros_like(w), key)
    jax.block_until_ready(run(state))
    began = time.perf_counter()
    jax.block_until_ready(run(state))
    return w.size * num_steps / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to keep taking turns")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    peers: dict[str, Callable[[int], float]] = {"numpy": numpy_speed, "torch": torch_speed}
    if importlib.util.find_spec("jax") is not None:
        peers["jax"] = jax_speed
    two_cores = numba.config.NUMBA_NUM_THREADS >= 2

    simulation_speed(1, num_steps=10)
    best = dict.fromkeys(("one core", "two cores", *peers), 0.0)
    costs = {axis: CostPerStep(axis) for axis in SIZES}
    bandwidth = {axis: 0.0 for axis in SIZES if axis.startswith("dim")}
    peak = 0.0
    ends = time.monotonic() + arguments.seconds
    while time.monotonic() < ends:
        peak = max(peak, arithmetic_peak())
        best["one core"] = max(best["one core"], simulation_speed(1))
        if two_cores:
            best["two cores"] = max(best["two cores"], simulation_speed(2))
        for name, speed in peers.items():
            best[name] = max(best[name], *(speed(size) for size in PEER_REPLICAS))
        for axis, cost in costs.items():
            cost.measure()
            if axis in bandwidth:
                bandwidth[axis] = max(bandwidth[axis], copy_bandwidth(5 * max(cost.sizes)))

    one = best["one core"]
    for name, value in best.items():
        print(f"{name:10s} {value / 1e6:8.1f} million coordinate-steps/s   {1e9 / value if value else 0:7.2f} ns each")
    _print_bound(one, peak)
    by_size = {axis: cost.seconds() for axis, cost in costs.items()}
    whole = {size: value for axis in bandwidth for size, value in by_size[axis].items()}
    exponents = {"dim": exponent(whole)} | {axis: exponent(seconds) for axis, seconds in by_size.items()}
    print(f"dim              exponent {exponents['dim']:.3f}   from {min(whole)} to {max(whole)} entries")
    for axis, seconds in by_size.items():
        print(f"{axis:16s} exponent {exponents[axis]:.3f}  ", *(f"{n}: {1e9 * t:.2f} ns" for n, t in seconds.items()))
    for axis, rate in bandwidth.items():
        bytes_moved = sum(BYTES.values()) if axis == "dim_first_level" else FURTHER_BYTES
        moved = bytes_moved / (by_size[axis][max(by_size[axis])] * 1e9)
        print(f"{axis:16s} a copy moves {rate:.0f} bytes per ns, the kernel {moved:.0f} at its largest size")
    few, many = (peak_bytes(steps) for steps in (100_000, 200_000))  # many spans of the schedule each
    result = {
        "coordinate_steps_per_second": one,
        **{f"ratio_{peer}": one / best[peer] if best.get(peer) else None for peer in ("numpy", "torch", "jax")},
        "scaling_two_cores": best["two cores"] / one if two_cores else None,
        "cost_exponents": exponents,
        "nanoseconds_by_dim": {str(size): 1e9 * value for size, value in whole.items()},
        "copy_bytes_per_ns": bandwidth,
        "memory_bytes_per_further_step": (many - few) / 100_000,
    }
    if arguments.json:
        print(json.dumps(result))


@numba.njit
def polynomials(x, y, num_passes):  # type: ignore[no-untyped-def]
    """168 multiplications and additions per entry, in five chains."""
    one = np.float32(1.0)
    for _ in range(num_passes):
        for i in range(DIM):
            a = x[i]
            b, c, d, e = a * a, a + one, a - one, a * a + one
            for _ in range(16):
                a, b, c, d, e = a * a + b, b * b + c, c * c + d, d * d + e, e * e + one
            y[i] = a + b + c + d + e


def arithmetic_peak(num_passes: int = 1000) -> float:
    """Simple float32 vector instructions per ns that compiled code reaches here."""
    x, y = np.zeros(DIM, np.float32), np.empty(DIM, np.float32)
    polynomials(x, y, 1)
    began = time.perf_counter()
    polynomials(x, y, num_passes)
    return DIM / 16 * num_passes * 168 / (time.perf_counter() - began) / 1e9


def _print_bound(speed: float, peak: float) -> None:
    simple = sum(DRAW.values()) + sum(STEP.values())
    reached = simple * speed / 16e9
    print(
        f"bound: {simple:g} simple vector instructions per 16 coordinates ({sum(DRAW.values()):g} of them draw the"
        f" Gaussian). This core reaches {peak:.2f} of them per ns, the kernel {reached:.2f}"
        f" ({reached / peak:.0%}), next to {SLOW['square roots']:g} square roots and {SLOW['divisions']:g} division."
        f" {BYTES['read']} bytes read and {BYTES['written']} written per coordinate-step, all in first-level cache."
    )


if __name__ == "__main__":
    main()
