r"""Small tables with a planted law, to try the commands on: ``make samples`` writes ``docs/samples``.

No run was made. Legend: :math:`n = \ln(N / 1.4\cdot10^8)`, :math:`d = \ln(D / 6.32\cdot10^9)`.

- ``sweep.csv``, for ``lrbend fit`` and ``lrbend recommend``: 5 sizes, 4 token budgets, 6 learning rates; loss
  :math:`L(N, D) + 0.08\,(\cosh z - 1)`, :math:`z = \ln\eta - \ln\eta_*`, and noise of 0.002 nats, with
  :math:`\ln\eta_* = \ln 0.002 - 0.4\,n - 0.2\,d + 0.06\,n^2`: exponents -0.4 and -0.2, curvature 0.12 along N and 0
  along D.
- ``arms.csv``, for ``lrbend attribute``: the optima of four arms in the same cells, with the curvatures of
  `ARMS` along N in AdamW's learning rate, so that angle is 0.1, norm 0.02 and left 0.04; errors of 3 % that the arms of
  a cell share, and of 1 % of each.
- ``losses.csv``, for ``lrbend losses``: final losses of cosine and WSD schedules under `LAW`, a multi-power law in
  learning rate, plus :math:`0.3\,(N/10^8)^{-0.3}`, noise 0.002. The last
  three rows, the longer runs of the larger size, have no loss; `final_loss` has it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from experiments.files import write_whole
from theory import WSD, Cosine
from theory.loss_laws import MultiPowerLaw

SIZES = (22e6, 55e6, 140e6, 350e6, 880e6)
BUDGETS = (1e9, 4e9, 10e9, 40e9)
MIDDLE = 1.4e8, math.sqrt(1e9 * 40e9)
CURVATURE = 0.12
ARMS = {"adamw": 0.16, "replay": 0.14, "equilibrium": 0.06, "adamh": 0.04}
LAW = MultiPowerLaw(L0=2.5, A=0.6, alpha=0.45, B=400.0, C=2.0, beta=0.5, gamma=0.3)


def sweep() -> str:
    """``sweep.csv`` as text."""
    noise = np.random.default_rng(1)
    rows = [
        (f"{size:.3g}", f"{budget:.3g}", f"{rate:.4g}", f"{loss + 0.002 * noise.normal():.4f}")
        for size in SIZES
        for budget in BUDGETS
        for rate, loss in _losses(_log_optimum(size, budget, CURVATURE), size, budget, 6)
    ]
    return _csv(("num_params", "num_tokens", "learning_rate", "loss"), rows)


def arms() -> str:
    """``arms.csv`` as text."""
    noise, rows = np.random.default_rng(2), []
    for size in SIZES:
        for budget in BUDGETS:
            shared = 0.03 * noise.normal()
            for arm, curvature in ARMS.items():
                optimum = _log_optimum(size, budget, curvature) + shared + 0.01 * noise.normal()
                error = math.hypot(0.03, 0.01)
                if arm == "adamh":  # an angle goes like the root of a rate
                    optimum, error = (optimum - 1) / 2, error / 2
                ends = [math.exp(optimum + z * error) for z in (0, -1.96, 1.96)]
                rows.append((arm, f"{size:.3g}", f"{budget:.3g}", *(f"{end:.4g}" for end in ends)))
    return _csv(("arm", "num_params", "num_tokens", "learning_rate", "low", "high"), rows)


def losses() -> str:
    """``losses.csv`` as text."""
    noise, rows = np.random.default_rng(3), []
    for size in (5e7, 1e8):
        for num_steps in (2_000, 5_000, 10_000, 20_000):
            for name, fraction in (("cosine", 1.0), ("wsd", 0.1), ("wsd", 0.4)):
                for rate in (5e-4, 1e-3, 2e-3) if num_steps < 20_000 else (2e-3,):
                    loss = final_loss(name, fraction, rate, num_steps, size) + 0.002 * noise.normal()
                    known = num_steps < 20_000 or (size == 5e7)
                    told = (f"{size:.3g}", str(num_steps), name, f"{fraction:g}" if name == "wsd" else "")
                    rows.append((*told, f"{rate:g}", f"{loss:.4f}" if known else ""))
    header = ("num_params", "num_steps", "schedule", "decay_fraction", "learning_rate", "loss")
    return _csv(
        (*header, "tokens_per_step", "warmup_steps", "final_fraction"), [(*row, "50000", "100", "0") for row in rows]
    )


def final_loss(schedule: str, decay_fraction: float, learning_rate: float, num_steps: int, num_params: float) -> float:
    """What `LAW` says of a run of ``losses.csv``, nats."""
    shape = (
        WSD(num_steps=num_steps, warmup_steps=100, decay_fraction=decay_fraction)
        if schedule == "wsd"
        else Cosine(num_steps=num_steps, warmup_steps=100, final_fraction=0.0)
    )
    end = LAW.loss(learning_rate * shape.multipliers(), [num_steps - 1])[0]
    return float(end) + 0.3 * (num_params / 1e8) ** -0.3


def _log_optimum(size: float, budget: float, curvature: float) -> float:
    n, d = math.log(size / MIDDLE[0]), math.log(budget / MIDDLE[1])
    return math.log(0.002) - 0.4 * n - 0.2 * d + curvature * n**2 / 2


def _losses(log_optimum: float, size: float, budget: float, count: int) -> Iterable[tuple[float, float]]:
    """Rates a factor of 2 apart, on one grid of powers of it for all cells, and their losses."""
    level = 2.0 + 0.5 * (size / 1e8) ** -0.3 + 0.3 * (budget / 1e9) ** -0.3
    middle = round(log_optimum / math.log(2))
    for power in range(middle - count // 2, middle - count // 2 + count):
        rate = float(f"{2.0**power:.4g}")
        yield rate, level + 0.08 * (math.cosh(math.log(rate) - log_optimum) - 1)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in (header, *rows))


SAMPLES = {"sweep.csv": sweep, "arms.csv": arms, "losses.csv": losses}


def main(arguments: Sequence[str]) -> None:
    """Write all of `SAMPLES` into the folder that the only argument names."""
    (folder,) = map(Path, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SAMPLES.items():
        write_whole(folder / name, make().encode())


if __name__ == "__main__":
    main(sys.argv[1:])
