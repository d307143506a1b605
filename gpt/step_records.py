"""What was measured of a step, and the record that is made of it.

On a GPU the products of a step stay there, and are looked at when the records are read: nothing waits for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpt.step_check import Claim, Products, check_steps
from theory.trajectory import FIELDS, OPTIONAL_FIELDS

Array = NDArray[np.float64]

ROWS = (*FIELDS, *OPTIONAL_FIELDS, "made", "unexplained")  # of a record; the last two are yes or no
NUM_PRODUCTS = 7


class Measured(NamedTuple):
    """Of one matrix: products of its units, (num_units,) or of no dimension each, entries of a unit, steps made,
    whether its weights were moved after the step, what is claimed of that, and the precision of their type.

    products : <W, W>, <move, W>, <u, u>, <u, W>, <scaled gradient, W>, <move_, move_>, <u, move_>, with the part of the
    move across W.
    """

    products: Sequence[Tensor]
    size: int
    made: float | Tensor
    moved: float | Tensor
    claim: Claim
    precision: float


@dataclass(frozen=True)
class StepRecord:
    """One step of all matrices.

    values : (num_units * 7 + num_matrices * 2,) float64, products, steps made and moves after them, wherever they were
    measured.
    units : of every matrix, None if each is one.
    """

    values: Tensor
    sizes: list[int]
    claims: list[Claim]
    precisions: list[float]
    units: list[int] | None
    check: bool

    def rows(self) -> Tensor:
        """The record, (num_rows, num_units), float64, on the CPU. Waits for a GPU."""
        values: Array = self.values.cpu().numpy()
        num_units = len(self.sizes) if self.units is None else sum(self.units)
        ww, along, uu, uw, gw, across, u_across = values[: NUM_PRODUCTS * num_units].reshape(NUM_PRODUCTS, num_units)
        owner = None if self.units is None else np.repeat(np.arange(len(self.units)), self.units)
        flags = values[NUM_PRODUCTS * num_units :].reshape(2, len(self.sizes))
        made, moved = flags if owner is None else flags[:, owner]
        with np.errstate(all="ignore"):  # weights, directions and gradients may be zero, or not finite
            products = Products(ww, along, across, uu, uw, u_across, owner)
            size = products.of_unit(self.sizes)
            known, odd = made == 1, np.zeros(num_units, dtype=bool)
            if self.check:
                odd, hidden = check_steps(self.claims, self.precisions, products)
                from_move = products.of_unit([claim.from_move for claim in self.claims]) > 0
                odd = (odd | (from_move & (moved > 0))) & known
                known = known & ~odd & ~hidden
            told = np.where(known, 1.0, np.nan)
            rows = [
                np.sqrt(ww / size),
                np.arctan2(np.sqrt(across * ww), ww + along),
                np.sqrt(across / ww + (along / ww) ** 2),
                np.sqrt(uu / size) * told,
                uw / np.sqrt(uu * ww) * told,
                np.where((made == 1) & (gw != 0), gw / size, np.nan),  # 0 if the gradient was overwritten by zeros
                (made > 0).astype(np.float64),
                odd.astype(np.float64),
            ]
        return torch.from_numpy(np.stack(rows))


def step_record(measured: Sequence[Measured], *, per_neuron: bool, check: bool) -> StepRecord:
    """All matrices together."""
    device = measured[0].products[0].device
    columns = [m.products[k].to(device) for k in range(NUM_PRODUCTS) for m in measured]
    products = torch.cat(columns) if per_neuron else torch.stack(columns)
    flags = [m.made for m in measured] + [m.moved for m in measured]
    if any(isinstance(flag, Tensor) for flag in flags):
        told = torch.stack([torch.as_tensor(flag, dtype=torch.float64, device=device) for flag in flags])
    else:
        told = torch.tensor(flags, dtype=torch.float64, device=device)
    return StepRecord(
        values=torch.cat([products, told]),
        sizes=[m.size for m in measured],
        claims=[m.claim for m in measured],
        precisions=[m.precision for m in measured],
        units=[len(m.products[0]) for m in measured] if per_neuron else None,
        check=check,
    )
