"""Optima of four arms with planted curvatures, and runs with a planted rival."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.attribution.parts import Arm
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.tables.run_table import RunTable

ARMS = {
    "adamw": Arm(angle="own", norm="own"),
    "replay": Arm(angle="own", norm="fixed"),
    "equilibrium": Arm(angle="steady", norm="own"),
    "adamh": Arm(angle="steady", norm="fixed", rate="angle"),
}
SPAN = np.log(32.0)  # of num_params and of num_tokens


def optimum(key: Mapping[str, float], log_rate: float, error: float) -> CellOptimum:
    """An interior optimum with a 95 % interval that belongs to this standard error."""
    return CellOptimum(
        key=dict(key),
        status=OptimumStatus.INTERIOR,
        learning_rate=float(np.exp(log_rate)),
        low=float(np.exp(log_rate - 1.96 * error)),
        high=float(np.exp(log_rate + 1.96 * error)),
        curvature=None,
        best_learning_rate=None,
        best_loss=None,
        num_learning_rates=5,
        num_runs=5,
        num_diverged=0,
        num_out_of_reach=0,
    )


def grid(size: int) -> list[tuple[dict[str, float], float, float]]:
    """Cells with ln(num_params) and ln(num_tokens) about the middle."""
    line = np.linspace(-SPAN / 2, SPAN / 2, size)
    return [
        ({"num_params": float(1e7 * np.exp(u)), "num_tokens": float(1e9 * np.exp(v))}, u, v) for u in line for v in line
    ]


def make_optima(
    rng: np.random.Generator,
    curvature: Mapping[str, float],
    *,
    size: int = 4,
    shared: float = 0.1,
    own: float = 0.05,
    growth: float = 1.0,
) -> dict[str, tuple[CellOptimum, ...]]:
    """Optima with ``curvature`` along num_params by arm, none along num_tokens, in AdamW's learning rate.

    Errors: ``shared`` by the arms of a cell (seeds, data), ``own`` of each; both ``e^growth`` times larger at the far
    end of num_params than in the middle.
    """
    found: dict[str, list[CellOptimum]] = {name: [] for name in curvature}
    for key, u, v in grid(size):
        scale = np.exp(2 * growth * u / SPAN)
        common = shared * scale * rng.normal()
        for name, bend in curvature.items():
            y = -6 - 0.3 * u - 0.2 * v + 0.05 * u * v + bend * u**2 / 2 + common + own * scale * rng.normal()
            power = 2 if name == "adamh" else 1
            found[name].append(optimum(key, y / power, float(np.hypot(shared, own)) * scale / power))
    return {name: tuple(cells) for name, cells in found.items()}


def make_rival(
    rng: np.random.Generator,
    *,
    link: float,
    bend_by_link: float,
    bend_beside: float,
    wander: float = 0.15,
    measured_to: float = 0.02,
    size: int = 4,
    seeds: int = 3,
) -> tuple[list[CellOptimum], RunTable]:
    """Optima of one arm, and runs with a column ``rival``.

    The column bends so that an exponent ``link`` makes ``bend_by_link`` along num_params (an exponent of -0.5 that is
    not there, if ``link`` is 0); ``bend_beside`` comes from elsewhere. ``wander``: what sets the column apart from a
    law in scale; ``measured_to``: its error of one seed. It falls with the learning rate, too.
    """
    cells, rows = [], []
    for key, u, v in grid(size):
        apart = wander * rng.normal()
        column = 1 + 0.4 * u + 0.1 * v + bend_by_link / (link or -0.5) * u**2 / 2 + apart
        law = -0.3 * u - 0.2 * v + (bend_beside + bend_by_link * (link != 0)) * u**2 / 2
        y = -6 + law + link * apart + 0.05 * rng.normal()
        cells.append(optimum(key, y, 0.05))
        for seed in range(seeds):
            error = measured_to * rng.normal()
            for x in y + 0.1 + np.log(2) * np.arange(-2, 3):
                rows.append((*key.values(), np.exp(x), np.exp(column - 0.3 * (x + 6) + error), seed))
    table = np.array(rows, dtype=float)
    names = ("num_params", "num_tokens", "learning_rate", "rival")
    numbers = {name: table[:, place] for place, name in enumerate(names)} | {"loss": np.ones(len(table))}
    labels = {"seed": table[:, 4].astype(int).astype(str)}
    return cells, RunTable(numbers=numbers, labels=labels, num_rows=len(table), exclusions=())
