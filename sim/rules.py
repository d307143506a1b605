"""From an optimizer's specification to what the kernels read: a rule, and a table of constants step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from sim import kernels
from sim.kernels import Rule
from theory import adamc, muon
from theory.checks import InvalidParameter, require_integer
from theory.optimizers import SGDM, AdamC, AdamH, AdamL2, AdamW, Lion, Muon, MuonH, Optimizer, SignSGDM

Array = NDArray[np.float64]
Shape = tuple[int, int]

# Gradient entries of exactly 0 with eps = 0 would give 0/0; this is far below any gradient drawn here.
SMALLEST_EPS = 1e-30


def rule_of(optimizer: Optimizer, shape: Shape | None) -> Rule:
    """The rule of an optimizer; ``shape`` (d_out, d_in) matters to Muon and MuonH, which need it."""
    match optimizer:
        case AdamW() | AdamC() | AdamH() | AdamL2():
            return Rule(
                family=kernels.ADAM,
                gain1=1.0 - optimizer.beta1,
                gain2=1.0 - optimizer.beta2,
                eps=max(float(optimizer.eps), SMALLEST_EPS),
                coupled_decay=float(optimizer.weight_decay) if isinstance(optimizer, AdamL2) else 0.0,
                on_sphere=isinstance(optimizer, AdamH),
            )
        case SGDM():
            # An average of gradients 1/(1 - beta1) times as large is their sum.
            gain = 1.0 - optimizer.beta1
            return Rule(
                family=kernels.MOMENTUM,
                gain1=gain,
                gain2=gain,
                amplify=1.0 / gain,
                coupled_decay=0.0 if optimizer.decoupled else float(optimizer.weight_decay),
            )
        case Lion():
            return Rule(family=kernels.SIGN, gain1=1.0 - optimizer.beta1, gain2=1.0 - optimizer.beta2)
        case SignSGDM():
            return Rule(family=kernels.SIGN, gain1=1.0 - optimizer.beta1, gain2=1.0 - optimizer.beta1)
        case Muon() | MuonH():
            rows, columns = _sides(optimizer, shape)
            kept = optimizer.beta1**2 if optimizer.nesterov else optimizer.beta1
            return Rule(
                family=kernels.POLAR,
                gain1=1.0 - kept,
                gain2=1.0 - optimizer.beta1,
                on_sphere=isinstance(optimizer, MuonH),
                # A matrix that is taller than wide is stored on its side.
                short=min(rows, columns),
                long=max(rows, columns),
                update_scale=_polar_factor(optimizer, (rows, columns)),
            )
    assert_never(optimizer)


def step_constants(optimizer: Optimizer, rates: Array, start: int) -> Array:
    """The table that `kernels.advance` reads, for the steps from ``start`` on at the given learning rates."""
    table = np.ones((len(rates), kernels.NUM_CONSTANTS))
    table[:, kernels.LEARNING_RATE] = rates
    table[:, kernels.SHRINK] = _shrinkage(optimizer, rates)
    if isinstance(optimizer, AdamW | AdamC | AdamH | AdamL2):
        taken = np.arange(start, start + len(rates)) + 1.0
        table[:, kernels.UNBIAS_FIRST] = 1 / (1 - optimizer.beta1**taken)
        table[:, kernels.UNBIAS_SECOND] = 1 / np.sqrt(1 - optimizer.beta2**taken)
    return table


def _shrinkage(optimizer: Optimizer, rates: Array) -> Array | float:
    """The fraction of the weights that decoupled decay takes off at each step."""
    match optimizer:
        case AdamH() | MuonH() | AdamL2():
            return 0.0
        case SGDM():
            return rates * optimizer.weight_decay if optimizer.decoupled else 0.0
        case AdamC():
            return rates * adamc.weight_decays(rates, optimizer.learning_rate, optimizer.weight_decay)
        case _:
            return rates * optimizer.weight_decay if optimizer.decay == "pytorch" else optimizer.weight_decay


def _polar_factor(optimizer: Muon | MuonH, shape: Shape) -> float:
    """On the sphere the factor drops out of the steps, not out of the update as it is recorded."""
    return muon.update_scale(shape) if isinstance(optimizer, MuonH) else optimizer.factor(shape)


def _sides(optimizer: Muon | MuonH, shape: Shape | None) -> Shape:
    if shape is None:
        raise InvalidParameter("shape", shape, f"rows and columns of the matrix, for {optimizer.name}")
    return shape


def entries_of(dim: int | None, shape: Shape | None, default: int) -> int:
    """Number of entries from ``dim`` or from the sides of a matrix; `InvalidParameter` if they contradict."""
    if shape is None:
        return default if dim is None else dim
    if not isinstance(shape, Sequence | np.ndarray) or len(shape) != 2:
        raise InvalidParameter("shape", shape, "two whole numbers, rows and columns")
    for side in shape:
        require_integer("shape", side, at_least=1)
    entries = int(shape[0]) * int(shape[1])
    if dim is not None and dim != entries:
        raise InvalidParameter("dim", dim, f"{entries}, the entries of the shape, or left out")
    return entries
