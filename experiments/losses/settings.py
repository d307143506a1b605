"""A learning-rate schedule as a table or a flag names it, and the learning rate that it gives at every step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from theory import SCHEDULES, WSD, Constant, Cosine, InvalidParameter, Linear
from theory.checks import require_integer, require_number

Array = NDArray[np.float64]

RATES = (1e-12, 10.0)  # lowest and highest peak learning rate that is taken for one

T = TypeVar("T", float, str)

SCHEDULE_NAMES = {
    "constant": ("constant", "const", "stable", "flat", "constant_with_warmup"),
    "linear": ("linear", "lin", "linear_decay", "linear_with_warmup"),
    "cosine": ("cosine", "cos", "cosine_with_min_lr", "cosine_decay", "cosine_with_warmup"),
    "wsd": ("wsd", "trapezoid", "trapezoidal", "warmup_stable_decay", "cooldown", "constant_with_cooldown"),
}
TYPE_NAMES = {"linear": ("", "linear", "lin", "none", "nan"), "sqrt": ("sqrt", "1_sqrt", "one_minus_sqrt")}
DECAY_TYPES = tuple(TYPE_NAMES)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Schedule, peak learning rate and length of a run; what the schedule does not have is None.

    schedule : constant, linear, cosine or wsd. learning_rate : peak, within `RATES`. num_steps : at least 1.
    warmup_steps : of a straight rise from 0. decay_fraction : of the run, wsd only, in [0, 1]. decay_type : wsd only, a
    straight line or 1 - sqrt (Haegele et al., arXiv 2405.18392). final_fraction : of the peak, where a decay ends, in
    [0, 1].

    >>> Setting(schedule="wsd", learning_rate=1e-3, num_steps=4, decay_fraction=0.5).learning_rates()
    array([0.001  , 0.001  , 0.00075, 0.00025])
    """

    schedule: str
    learning_rate: float
    num_steps: int
    warmup_steps: int = 0
    decay_fraction: float | None = None
    decay_type: str | None = None
    final_fraction: float | None = None

    def __post_init__(self) -> None:
        """Fill in what was left open; a decay over none of the run is constant. Raises `InvalidParameter`."""
        if self.schedule not in SCHEDULES:
            raise InvalidParameter("schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        low, high = RATES
        require_number("learning_rate", self.learning_rate, at_least=low, at_most=high)
        require_integer("num_steps", self.num_steps, at_least=1)
        require_integer("warmup_steps", self.warmup_steps, at_least=0, at_most=self.num_steps)
        for name in ("decay_fraction", "final_fraction"):
            if getattr(self, name) is not None:
                require_number(name, getattr(self, name), at_least=0, at_most=1)
        if self.schedule == "wsd" and self.decay_fraction == 0:
            object.__setattr__(self, "schedule", "constant")
        wsd, decays = self.schedule == "wsd", self.schedule != "constant"
        defaults = {
            "decay_fraction": WSD.decay_fraction if wsd else None,
            "decay_type": "linear" if wsd else None,
            "final_fraction": 0.0 if decays else None,
        }
        for name, value in defaults.items():
            if value is None or getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.decay_type not in (None, *DECAY_TYPES):
            raise InvalidParameter("decay_type", self.decay_type, f"one of {', '.join(DECAY_TYPES)}")

    @property
    def shape(self) -> str:
        """Name of the schedule without rate and length.

        >>> Setting(schedule="wsd", learning_rate=1e-3, num_steps=100, decay_type="sqrt").shape
        'wsd 0.2 sqrt'
        """
        parts = [self.schedule]
        if self.schedule == "wsd":
            parts.append(f"{self.decay_fraction:g}")
            if self.decay_type != "linear":
                parts.append(str(self.decay_type))
        if self.schedule == "cosine" or self.final_fraction:
            parts.append(f"to {self.final_fraction:g}")
        return " ".join(parts)

    def learning_rates(self) -> Array:
        """Learning rate at every step, shape (num_steps,)."""
        length = {"num_steps": self.num_steps, "warmup_steps": self.warmup_steps}
        if self.schedule == "constant":
            multipliers = Constant(**length).multipliers()
        elif self.schedule == "wsd":
            multipliers = self._hold_and_decay()
        else:
            kind = Cosine if self.schedule == "cosine" else Linear
            multipliers = kind(**length, final_fraction=self.final_fraction or 0.0).multipliers()
        return self.learning_rate * multipliers

    def _hold_and_decay(self) -> Array:
        held, straight = (
            WSD(num_steps=self.num_steps, warmup_steps=self.warmup_steps, decay_fraction=fraction).multipliers()
            for fraction in (0.0, self.decay_fraction or 0.0)
        )
        decayed = held - straight  # 0 before the decay, then up to 1
        if self.decay_type == "sqrt":
            decayed = np.sqrt(decayed)
        return held - (1 - (self.final_fraction or 0.0)) * decayed


def candidates(
    known: Sequence[Setting],
    *,
    num_steps: int,
    schedules: Sequence[str] = (),
    learning_rates: Sequence[float] = (),
    decay_fractions: Sequence[float] = (),
    decay_types: Sequence[str] = (),
    final_fractions: Sequence[float] = (),
    warmup_steps: int | None = None,
) -> list[Setting]:
    """Settings of ``num_steps`` to choose from: every combination of what is given.

    What is not given is taken from the settings that are ``known``: all their schedules and rates, and of each schedule
    all that it had; of decay shapes the straight one alone where a schedule is given and it is known. ``warmup_steps``
    not given: the known runs' most frequent one, shortened to a tenth of a short run.
    """
    if warmup_steps is None:
        seen = [one.warmup_steps for one in known]
        warmup_steps = min(max(set(seen), key=seen.count), num_steps // 10)
    rates = learning_rates or sorted({one.learning_rate for one in known})
    found: dict[Setting, None] = {}
    for name in schedules or sorted({one.schedule for one in known}):
        alike = [one for one in known if one.schedule == name]
        fractions = decay_fractions or _values(one.decay_fraction for one in alike)
        shapes = decay_types or _values(one.decay_type for one in alike)
        if schedules and not decay_types and "linear" in shapes:
            shapes = ["linear"]
        ends = final_fractions or _values(one.final_fraction for one in alike)
        for rate, fraction, shape, end in product(rates, fractions, shapes, ends):
            setting = Setting(
                schedule=name,
                learning_rate=rate,
                num_steps=num_steps,
                warmup_steps=warmup_steps,
                decay_fraction=fraction,
                decay_type=shape,
                final_fraction=end,
            )
            found[setting] = None
    return list(found)


def _values(given: Iterable[T | None]) -> Sequence[T | None]:
    """Distinct values in order; None alone where there is none."""
    return sorted({value for value in given if value is not None}) or [None]


def known_as(text: str, names: Mapping[str, Sequence[str]]) -> str | None:
    """Our word for what a table calls a schedule or the shape of a decay; None if it is none of the ``names``.

    >>> known_as("Warmup-Stable-Decay", SCHEDULE_NAMES)
    'wsd'
    """
    word = re.sub(r"[\s-]+", "_", text.strip().lower())
    return next((ours for ours, others in names.items() if word in others), None)
