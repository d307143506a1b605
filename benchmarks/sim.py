"""Speed of the noise-driven AdamW simulation against vectorised NumPy, torch and JAX, in one process.

    python benchmarks/sim.py [--json] [--seconds 30]

A coordinate-step is one weight entry through one step: a Gaussian gradient, its projection on the tangent space,
AdamW. Every peer does that in float32 on one core, draws its random numbers inside the timed region, and has its
own best of a few sizes; only the simulation records anything (second moments at every tenth step). All take turns
in windows of a few milliseconds, and the best window of each counts: that is what a core can do when nothing else
runs on it, also on a machine that is shared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
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
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to keep taking turns")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    peers: dict[str, Callable[[int], float]] = {"numpy": numpy_speed, "torch": torch_speed}
    if importlib.util.find_spec("jax") is not None:
        peers["jax"] = jax_speed
    two_cores = numba.config.NUMBA_NUM_THREADS >= 2

    simulation_speed(1, num_steps=10)
    best = dict.fromkeys(("one core", "two cores", *peers), 0.0)
    peak = 0.0
    ends = time.monotonic() + arguments.seconds
    while time.monotonic() < ends:
        peak = max(peak, arithmetic_peak())
        best["one core"] = max(best["one core"], simulation_speed(1))
        if two_cores:
            best["two cores"] = max(best["two cores"], simulation_speed(2))
        for name, speed in peers.items():
            best[name] = max(best[name], *(speed(size) for size in PEER_REPLICAS))

    one = best["one core"]
    for name, value in best.items():
        print(f"{name:10s} {value / 1e6:8.1f} million coordinate-steps/s   {1e9 / value if value else 0:7.2f} ns each")
    _print_bound(one, peak)
    result = {
        "coordinate_steps_per_second": one,
        **{f"ratio_{peer}": one / best[peer] if best.get(peer) else None for peer in ("numpy", "torch", "jax")},
        "scaling_two_cores": best["two cores"] / one if two_cores else None,
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
