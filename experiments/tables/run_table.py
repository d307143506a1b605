"""A clean table of runs, and the names of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REQUIRED = ("learning_rate", "loss")
SCALES = ("num_params", "num_tokens", "batch_size")
DECAYS = ("weight_decay", "independent_weight_decay")
NUMBERS = (*REQUIRED, *SCALES, *DECAYS, "num_steps", "initial_rms")
LABELS = ("optimizer", "seed")
COLUMNS = (*NUMBERS, *LABELS)


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """``count`` rows left out for one ``reason``; ``example``: the first of them."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, kw_only=True)
class RunTable:
    """Clean runs.

    numbers : (num_runs,) arrays by name, a subset of `NUMBERS`, the ``axes`` and what was asked for beside them; always
    ``learning_rate`` and ``loss``, the latter NaN or infinite where the run diverged. With
    ``independent_weight_decay``, learning rate times decay, a cell is a setting of that product. labels : (num_runs,)
    text by name, a subset of `LABELS` and ``group``. num_rows : rows that the source had. axes : further scales, named
    by the user. sequence_length : tokens in one unit of ``batch_size``, 1 if that is in tokens, None if it cannot be.
    notes : how the table was read; warnings : what looks wrong in it, each with a remedy; phrases.
    """

    numbers: Mapping[str, Array]
    labels: Mapping[str, NDArray[np.str_]]
    num_rows: int
    exclusions: tuple[Exclusion, ...]
    axes: tuple[str, ...] = ()
    sequence_length: float | None = 1.0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers["loss"])

    @property
    def scales(self) -> tuple[str, ...]:
        """The columns whose values make a cell."""
        decay = DECAYS[1] if DECAYS[1] in self.numbers else DECAYS[0]
        names = (*SCALES[:2], *self.axes, SCALES[2], decay)
        return tuple(name for name in names if name in self.numbers)

    @property
    def num_steps(self) -> Array | None:
        """Steps of every run, from ``num_steps`` or tokens over batch; None where the columns do not tell."""
        if "num_steps" in self.numbers:
            return self.numbers["num_steps"]
        if {"num_tokens", "batch_size"} <= set(self.numbers) and self.sequence_length is not None:
            return self.numbers["num_tokens"] / (self.numbers["batch_size"] * self.sequence_length)
        return None

    @property
    def group_names(self) -> NDArray[np.str_] | None:
        """(num_runs,) the ``group`` of each run, its optimizer if there is none, None without either."""
        return self.labels.get("group", self.labels.get("optimizer"))

    def groups(self) -> Iterator[tuple[str | None, RunTable]]:
        """The runs of each group; a single nameless one if there is none."""
        names = self.group_names
        if names is None:
            yield None, self
            return
        for name in sorted(set(names.tolist())):
            yield name, self.select(names == name)

    @property
    def optimizer(self) -> str | None:
        """The optimizer of the runs, all their names if they have several, None if the table does not tell."""
        return ", ".join(sorted(set(self.labels["optimizer"].tolist()))) if "optimizer" in self.labels else None

    def select(self, chosen: NDArray[Any]) -> RunTable:
        """The runs at an index or where a mask is true."""
        return replace(
            self,
            numbers={name: values[chosen] for name, values in self.numbers.items()},
            labels={name: values[chosen] for name, values in self.labels.items()},
        )


@dataclass
class Rows:
    """Which rows are still in, and why the others are not; ``lines``: where each stands in the source."""

    lines: Sequence[int]
    keep: NDArray[np.bool_]
    exclusions: list[Exclusion] = field(default_factory=list)

    def drop(self, bad: NDArray[np.bool_], reason: str, shown: Sequence[Any]) -> None:
        """Leave out ``bad`` rows; the first of them is shown by its value."""
        bad = bad & self.keep
        if bad.any():
            first = int(np.argmax(bad))
            example = f"{str(shown[first])[:40]!r} in line {self.lines[first]}"
            self.exclusions.append(Exclusion(reason=reason, count=int(bad.sum()), example=example))
            self.keep &= ~bad


def describe_exclusions(exclusions: Sequence[Exclusion]) -> Iterator[str]:
    """One phrase for each reason."""
    for item in exclusions:
        yield f"{item.count} with {item.reason} (first: {item.example})"
