"""A run that has not been made, against the table that is to speak for it: what it needs, whether it is in reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from experiments.bend.evidence.cells import Cell
from experiments.bend.scaling_law import Batch
from experiments.files import BadInput
from experiments.tables.reading import WIDEST_SCALE
from experiments.tables.run_table import DECAYS, SCALES
from theory.checks import require_number

LARGEST_LOG = float(np.log(1e300))
SAME = 1e-6  # relative difference below which two values are one
KEYS = (*SCALES, DECAYS[0])  # that have a flag of their own
ON_LINE = 0.01  # in ln: axes so close to a line are one; farther off it, the priors of the law tell them apart
NEAR_LINE = 0.1  # the same of cells that carry no more than the slopes, and so no bend along the line


@dataclass(frozen=True, kw_only=True)
class TargetRun:
    """The run to be made. Each number is above 0, or None where the table has one value of it or does not need it.

    num_params : model size. num_tokens : tokens to be trained on. batch_size : in the table's unit. weight_decay :
    as in the table. num_steps : needed for the angle only; tokens over batch unless given. initial_rms : root mean
    square of the weights at the start, needed for the angle only. others : values of axes that the user named, and of
    ``independent_weight_decay``. Raises `InvalidParameter`.
    """

    num_params: float | None = None
    num_tokens: float | None = None
    batch_size: float | None = None
    weight_decay: float | None = None
    num_steps: float | None = None
    initial_rms: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self) if one.name != "others"):
            value = getattr(self, name)
            if value is not None:
                require_number(name, value, above=0)
        for name, value in self.others.items():
            require_number(name, value, above=0)

    def value(self, name: str) -> float | None:
        """Of any of them, None if not told."""
        found: float | None = getattr(self, name, None) if name in KEYS else self.others.get(name)
        return found


@dataclass(frozen=True, kw_only=True)
class Line:
    """An axis that moves with others in the table: name = scale times the product of theirs to their powers.

    name : of the axis. log_scale : ln of the factor. powers : by the name of the other axis. off : how far the cells
    lie off it, root mean square in ln.
    """

    name: str
    log_scale: float
    powers: Mapping[str, float]
    off: float = 0.0

    def log_value(self, setting: Mapping[str, float]) -> float:
        """ln of the axis, on the line."""
        return self.log_scale + float(sum(power * np.log(setting[name]) for name, power in self.powers.items()))

    def value(self, setting: Mapping[str, float]) -> float:
        """Of the axis, on the line, between 1e-300 and 1e300: a steep one leaves what a number holds."""
        return float(np.exp(np.clip(self.log_value(setting), -LARGEST_LOG, LARGEST_LOG)))

    def __str__(self) -> str:
        steep = abs(self.log_scale) > LARGEST_LOG
        scale = f"e^{self.log_scale:.3g}" if steep else f"{np.exp(self.log_scale):.3g}"
        return f"{self.name} = {scale} " + " ".join(f"{name}^{p:.3g}" for name, p in self.powers.items())


def complete(cells: Sequence[Cell], target: TargetRun, batch: Batch, lines: Sequence[Line]) -> dict[str, float]:
    """The target's value of every name that the cells are keyed by; raises `BadInput` where that cannot be.

    An axis that moves along others is on its line if the target does not tell; `off_lines` says how far it is off. With
    the batch tuned along, its size is not one of the names.
    """
    setting: dict[str, float] = {}
    needed: list[str] = []
    on_line = {line.name: line for line in lines}
    for name in dict.fromkeys((*KEYS, *cells[0].key, *target.others)):
        given = target.value(name)
        if name == "batch_size" and batch == "co-tuned":
            continue
        if name not in cells[0].key:
            if given is not None:
                advice = "--column or --constant" if name in KEYS else "--axis"
                raise BadInput(f"{_flag(name)} {given:g}: the table has no column {name} ({advice})")
            continue
        values = np.unique([cell.key[name] for cell in cells])
        if len(values) == 1:
            if given is not None and abs(given - values[0]) > SAME * values[0]:
                only = f"{values[0]:g} in the table's usable cells"
                raise BadInput(f"{_flag(name)} {given:g}: {name} is {only}, and no slope along it is assumed")
            setting[name] = float(values[0])
            continue
        if given is None and name in on_line:
            if not needed:
                setting[name] = on_line[name].value(setting)
            continue
        if given is None:
            needed.append(
                f"{_flag(name)}: needed, since the table has {len(values)} values of it (for example"
                f" {_flag(name)}{' ' if name in KEYS else '='}{values[-1]:g}, the largest of the table)"
            )
            continue
        if not values[0] / WIDEST_SCALE <= given <= values[-1] * WIDEST_SCALE:
            raise BadInput(
                f"{_flag(name)} {given:g}: more than a factor of {WIDEST_SCALE:g} outside the table's"
                f" {values[0]:g} to {values[-1]:g}: mixed units?"
            )
        setting[name] = float(given)
    if needed:
        raise BadInput("; ".join(needed))
    return setting


def off_lines(setting: Mapping[str, float], lines: Sequence[Line]) -> dict[str, float]:
    """By axis that moves with others, ln of how far a setting is off its line."""
    return {line.name: float(np.log(setting[line.name])) - line.log_value(setting) for line in lines}


def independent(cells: Sequence[Cell], batch: Batch) -> tuple[list[Cell], list[Line]]:
    """The cells keyed by axes that do not move together, and the lines on which the others are."""
    tuned = {"batch_size"} if batch == "co-tuned" else set()
    names = [name for name in cells[0].key if name not in tuned and len({cell.key[name] for cell in cells}) > 1]
    for name in names:
        if min(cell.key[name] for cell in cells) == 0:
            raise BadInput(f"{name} is 0 in some runs and not in others: no law holds both; leave out the one kind")
    logs = {name: np.log([cell.key[name] for cell in cells]) for name in names}
    kept: list[str] = []
    lines: list[Line] = []
    near = NEAR_LINE if len(cells) <= len(names) + 1 else ON_LINE
    for name in names:
        design = np.stack([np.ones(len(cells)), *(logs[other] for other in kept)], axis=1)
        solved, *_ = np.linalg.lstsq(design, logs[name], rcond=None)
        off = logs[name] - design @ solved
        if not kept or np.abs(off).max() > near:
            kept.append(name)
            continue
        used = {other: float(power) for other, power in zip(kept, solved[1:], strict=True) if abs(power) > 1e-3}
        lines.append(Line(name=name, log_scale=float(solved[0]), powers=used, off=float(np.sqrt(np.mean(off**2)))))
    left_out = {line.name for line in lines} | tuned
    return [replace(cell, key={n: v for n, v in cell.key.items() if n not in left_out}) for cell in cells], lines


def with_lines(setting: Mapping[str, float], lines: Sequence[Line]) -> dict[str, float]:
    """A setting with the axes that move along."""
    return {**setting, **{line.name: line.value(setting) for line in lines}}


def beyond(cells: Sequence[Cell], setting: Mapping[str, float]) -> dict[str, float]:
    """By name, the factor by which the target is outside the cells' range, 1 inside."""
    factors = {}
    for name, value in setting.items():
        values = [cell.key[name] for cell in cells]
        factors[name] = 1.0 if min(values) == max(values) else max(value / max(values), min(values) / value, 1.0)
    return factors


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-") if name in KEYS else f"--at {name}"
