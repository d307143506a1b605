r"""Losses as public AdamW sweeps show them: almost linear below the optimum, a kink and a steep rise above it.

.. math::
   z < 0:\; k\,(\sqrt{z^2 + w^2} - w), \qquad
   z > 0:\; \tfrac{k}{w}\,\tfrac{u z^2}{2}\ \text{(as a straight line from } 2w \text{ on)} + A\,\psi((z - z_k)_+)

Legend: z = ln(learning rate) less that of the optimum; k the slope far below, nats per unit of z; w the width of the
rounding, k/w the curvature; u the curvature above over that below; :math:`z_k` the kink, nearer to the optimum where
the token budget is small; :math:`\psi` a steep rise that levels off (``step``), or goes on (``ramp``). Beyond
``diverges`` a run is lost. Slope, width, kink and rise differ from cell to cell: no shape is shared. Made up here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KINDS = ("step", "ramp")


@dataclass(frozen=True, kw_only=True)
class KinkedLoss:
    """One cell's curve. slope : nats per unit, above 0. width, kink, diverges : in ln(learning rate), above 0. above :
    ratio of curvatures. height : nats of the step, or per unit of the ramp."""

    slope: float
    width: float
    above: float
    kink: float
    height: float
    diverges: float
    kind: str

    def rise(self, z: Array) -> Array:
        """Loss over that of the optimum, NaN beyond ``diverges``; z of any shape."""
        below = self.slope * (np.sqrt(z**2 + self.width**2) - self.width)
        knee = 2 * self.width
        near = np.minimum(z, knee)
        above = self.slope / self.width * self.above * (near**2 / 2 + knee * (z - near))
        past = np.maximum(z - self.kink, 0)
        wall = -np.expm1(-((past / 0.35) ** 2)) if self.kind == "step" else past**2 / (past + 0.1)
        rise: Array = np.where(z > 0, above + self.height * wall, below)
        return np.where(z > self.diverges, np.nan, rise)


def draw_kinked(rng: np.random.Generator, typical: float, budget: float, kind: str) -> KinkedLoss:
    """One cell's curve. ``typical``: slope of the sweep in nats per unit; ``budget``: place of the cell's tokens
    between the least (0) and the largest (1) of its table."""
    kink = max(0.1, 0.35 + 0.9 * budget + 0.15 * rng.normal())
    return KinkedLoss(
        slope=typical * math.exp(0.25 * rng.normal()),
        width=rng.uniform(0.25, 0.6),
        above=rng.uniform(0.4, 1.4),
        kink=kink,
        height=(0.06 if kind == "step" else 0.12) * math.exp(0.3 * rng.normal()),
        diverges=kink + rng.uniform(0.9, 1.8),
        kind=kind,
    )


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a sweep of such cells varies.

    num_cells : of a grid of 5 sizes and 5 budgets, those nearest to 60 tokens a parameter. batch_sizes : of every
    cell; more than one brings terms in ln batch, its square, and ln batch by ln tokens. num_rates, factor : learning
    rates, on one lattice for all cells. off : farthest that the middle of a grid is from the optimum, ln. noise :
    nats. bend : second derivative along num_params or num_tokens, whichever is drawn. kind : of the rise, mixed if
    None. slopes : range of the lower slope, nats per unit of ln(learning rate). by_budget : whether all cells of a
    budget have one curve.
    """

    num_cells: int = 17
    batch_sizes: tuple[float, ...] = ()
    num_rates: int = 12
    factor: float = 2**0.5
    off: float = 0.7
    noise: float = 0.003
    bend: float = 0.0
    scatter: float = 0.0
    kind: str | None = None
    slopes: tuple[float, float] = (0.02, 0.06)
    by_budget: bool = False


@dataclass(frozen=True, kw_only=True)
class Kinked:
    """Rows (num_params, num_tokens, [batch_size,] learning_rate, loss) and the truth behind them: the law's slopes at
    the mean logarithms of the cells, its second derivatives, optima by cell."""

    rows: list[tuple[float, ...]]
    exponents: dict[str, float]
    curvature: dict[str, float]
    optima: dict[tuple[float, ...], float]


def make_kinked(design: Design, seed: int, draw: int) -> Kinked:
    """One random sweep: law, grids and curves by ``seed``, noise and scatter by ``seed`` and ``draw``."""
    rng, noise = np.random.default_rng([seed, 7]), np.random.default_rng([seed, 7, draw])
    sizes, budgets = np.geomspace(6e7, 1.07e9, 5), np.geomspace(2e9, 1e11, 5)
    grid = [(size, budget) for size in sizes for budget in budgets]
    grid.sort(key=lambda cell: abs(math.log(cell[1] / cell[0] / 60)))
    pairs = sorted(grid[: design.num_cells])
    batches = design.batch_sizes or (1.0,)
    middle = np.log(np.array(pairs)).mean(axis=0)
    middle_batch = float(np.log(batches).mean())
    slope_n, slope_d = rng.uniform(-0.8, -0.3), rng.uniform(-0.3, 0.3)
    level, cross = math.log(2e-3) + 0.3 * rng.normal(), 0.03 * rng.normal()
    bend = (design.bend, 0.0) if rng.integers(2) else (0.0, design.bend)
    slope_b, by_tokens, square_b = rng.uniform(0.2, 0.5), rng.uniform(0.0, 0.15), rng.uniform(-0.25, 0.0)
    typical = math.exp(rng.uniform(*np.log(design.slopes)))
    lattice = math.log(design.factor)
    rows: list[tuple[float, ...]] = []
    optima: dict[tuple[float, ...], float] = {}
    of_budget: dict[float, KinkedLoss] = {}
    for size, budget in pairs:
        n, d = math.log(size) - middle[0], math.log(budget) - middle[1]
        place = math.log(budget / budgets[0]) / math.log(budgets[-1] / budgets[0])
        for batch in batches:
            b = math.log(batch) - middle_batch
            law = level + slope_n * n + slope_d * d + cross * n * d + bend[0] * n**2 / 2 + bend[1] * d**2 / 2
            law += slope_b * b + by_tokens * b * d + square_b * b**2 / 2
            optimum = law + design.scatter * noise.normal()
            kind = design.kind or KINDS[int(rng.integers(2))]
            curve = draw_kinked(rng, typical, place, kind)
            if design.by_budget:
                curve = of_budget.setdefault(budget, curve)
            first = round((optimum + rng.uniform(-design.off, design.off)) / lattice - (design.num_rates - 1) / 2)
            x = lattice * (first + np.arange(design.num_rates))
            floor = 1.7 + 0.5 * (size / 1e8) ** -0.3 + 0.6 * (budget / 1e9) ** -0.3
            loss = floor + curve.rise(x - optimum) + design.noise * noise.normal(size=len(x))
            key = (size, budget, batch) if design.batch_sizes else (size, budget)
            optima[key] = math.exp(optimum)
            rows += [(*key, rate, value) for rate, value in zip(np.exp(x).tolist(), loss.tolist(), strict=True)]
    return Kinked(
        rows=rows,
        exponents={"num_params": slope_n, "num_tokens": slope_d},
        curvature={"num_params": bend[0], "num_tokens": bend[1]},
        optima=optima,
    )
