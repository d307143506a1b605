"""Exponents of the law, at the middle of the table, at each batch size, and of scales that nearly move together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.bend.evidence.cells import Cell
from experiments.bend.verdict import Exponent
from experiments.joint.fit import JointFit
from experiments.joint.regressors import Regressors

OPEN = 0.3  # half width of the interval of an exponent that is as good as unknown
CLOSED = 0.2  # of that, what is left of it where only the sum is known
NEARLY = 0.2  # largest distance from a line, over the standard deviation along it


@dataclass(frozen=True, kw_only=True)
class BatchExponents:
    """Exponents of the axes at one batch size."""

    batch_size: float
    exponents: Mapping[str, Exponent]


def exponent_of(axis: str, model: Regressors, joint: JointFit) -> Exponent:
    """The slope along an axis or covariate of the law."""
    which = model.slopes[axis]
    low, high = joint.known.interval(which, 0.95)
    return Exponent(value=joint.known.estimate(which), low=low, high=high, at=model.centre[axis])


def by_batch(usable: Sequence[Cell], model: Regressors, joint: JointFit, axes: Sequence[str]) -> list[BatchExponents]:
    """Slopes of the axes at each batch size, at the middle of all else."""
    products = {axis: (axis, "batch_size") for axis in axes if (axis, "batch_size") in model.terms}
    if not products:
        return []
    found = []
    for batch in sorted({cell.key["batch_size"] for cell in usable}):
        exponents = {}
        for axis in axes:
            if axis not in model.slopes:
                continue
            direction = np.zeros(len(model.terms))
            direction[model.slopes[axis]] = 1.0
            if axis in products:
                direction[model.terms.index(products[axis])] = np.log(batch / model.centre["batch_size"])
            value, low, high = joint.known.along(direction, 0.95)
            exponents[axis] = Exponent(value=value, low=low, high=high, at=model.centre[axis])
        found.append(BatchExponents(batch_size=batch, exponents=exponents))
    return found


def batch_notes(usable: Sequence[Cell], model: Regressors, joint: JointFit, axes: Sequence[str]) -> list[str]:
    """Where the law has terms in batch that it shows, and where it could not have them."""
    notes = []
    for axis in axes:
        term = (axis, "batch_size")
        if term in model.terms:
            low, high = joint.known.interval(model.terms.index(term), 0.95)
            if low > 0 or high < 0:
                way = "rises" if low > 0 else "falls"
                notes.append(f"the exponent of {axis} {way} with batch size: see exponents_by_batch")
        elif axis in model.slopes and "batch_size" in model.slopes:
            why = model.lost.get(f"{axis} by batch_size", "not offered")
            notes.append(f"the exponent of {axis} is taken to be the same at every batch size: {why}")
    return notes + _own_batch_notes(usable, model, joint)


def _own_batch_notes(usable: Sequence[Cell], model: Regressors, joint: JointFit) -> list[str]:
    """A phrase where the exponent of batch size itself, which is told at the middle of the table, is another one at
    small batches than at large ones."""
    term = ("batch_size", "batch_size")
    if term not in model.terms or "batch_size" not in model.slopes:
        return []
    square = model.terms.index(term)
    low, high = joint.known.interval(square, 0.95)
    if low <= 0 <= high:
        return []
    ends = []
    for batch in (f(cell.key["batch_size"] for cell in usable) for f in (min, max)):
        direction = np.zeros(len(model.terms))
        direction[model.slopes["batch_size"]] = 1.0
        direction[square] = np.log(batch / model.centre["batch_size"])
        value, least, most = joint.known.along(direction, 0.95)
        ends.append(f"{value:+.3f} [{least:+.3f}, {most:+.3f}] at {batch:.3g}")
    return [f"the exponent of batch_size {'rises' if low > 0 else 'falls'} with it: {ends[0]}, {ends[1]}"]


def together_notes(model: Regressors, joint: JointFit) -> list[str]:
    """A phrase where scales lie so near a line that their exponents are not known one by one, with that of the line."""
    halves = {name: float(np.diff(joint.known.interval(which, 0.95))[0]) / 2 for name, which in model.slopes.items()}
    names = [name for name, half in halves.items() if half > OPEN]
    if len(names) < 2:
        return []
    logs = model.columns[:, [model.slopes[name] for name in names]]
    powers = logs[:, 0] @ logs / (logs[:, 0] @ logs[:, 0])
    off = logs - np.outer(logs[:, 0], powers)
    if np.any(np.abs(off).max(axis=0)[1:] > NEARLY * logs.std(axis=0)[1:]):
        return []
    direction = np.zeros(len(model.terms))
    direction[[model.slopes[name] for name in names]] = powers
    value, low, high = joint.known.along(direction, 0.95)
    if (high - low) / 2 > CLOSED * halves[names[0]]:
        return []
    line = " and ".join(f"{name} = {names[0]}^{power:.2f}" for name, power in zip(names[1:], powers[1:], strict=True))
    return [
        f"{' and '.join(names)} nearly move together, so that their exponents are not known one by one: along"
        f" {line} it is {value:+.3f} [{low:+.3f}, {high:+.3f}]"
    ]
