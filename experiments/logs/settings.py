"""What a run was made with, as far as it is told: by flags, by a table of runs beside the log, by words in the log."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from experiments.files import BadInput
from experiments.logs.sources.raw_log import RawLog
from experiments.tables.formats import read_raw
from experiments.tables.written import number
from experiments.text import flag, listed
from theory import OPTIMIZERS, SCHEDULES, WSD, AdamC, AdamW, Constant, Optimizer, Schedule
from theory.checks import require_integer, require_magnitude, require_number
from theory.networks import WHITE_NOISE, Model, Network, model_of

RUNS_FILE = "runs.csv"
UNKNOWN_DECAY = 0.0
HIGHEST_RATE = 1e3  # of a run
ASSUMED_RMS = 0.02  # where nobody tells an initial one
FRACTIONS = {"a tenth": 0.1, "zero": 0.0, "nothing": 0.0}
TEXTS = ("optimizer", "schedule", "decay")
STATED = ("weight_decay", "beta1", "beta2")  # that a log may say in words
COUNTS = ("num_steps", "warmup_steps", "num_entries", "steps_per_record")

Decay = Literal["pytorch", "independent", "relative", "coupled", "adamc"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Hyperparameters, None where nobody told them.

    learning_rate : peak, for logs without rates. weight_decay : in the convention ``decay``, PyTorch's by default:
    "independent" of the rate; "relative" to its peak; "coupled", part of the gradient and so of the direction; "adamc",
    rate times rate over peak. num_steps : of the whole run. steps_per_record : of a log that does not number its steps.
    initial_rms : of the weights before step 1. num_entries : of the weights, where one norm is logged;
    matrix_entries : of single matrices, where several are. shape : (d_out, d_in), for Muon. recorded : whether a
    record was made before or after its step. network : that predictions speak of.
    """

    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    decay: Decay | None = None
    beta1: float | None = None
    beta2: float | None = None
    num_steps: int | None = None
    steps_per_record: int | None = None
    schedule: str | None = None
    warmup_steps: int | None = None
    final_fraction: float | None = None
    decay_fraction: float | None = None
    initial_rms: float | None = None
    num_entries: int | None = None
    matrix_entries: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[int, int] | None = None
    recorded: Literal["before", "after"] = "after"
    network: Network = WHITE_NOISE

    def __post_init__(self) -> None:
        """Raises `InvalidParameter`; what the optimizer and the schedule take is checked by them."""
        if self.learning_rate is not None:
            require_number("learning_rate", self.learning_rate, above=0, at_most=HIGHEST_RATE)
        if self.initial_rms is not None:
            require_magnitude("initial_rms", self.initial_rms)
        for name in ("num_steps", "num_entries", "steps_per_record"):
            if (value := getattr(self, name)) is not None:
                require_integer(name, value, at_least=1)
        for value in self.matrix_entries.values():
            require_integer("matrix_entries", value, at_least=1)

    def spec(self, peak: float) -> Optimizer:
        """The optimizer at a peak rate, its own defaults for what is not told; no decay where none is told, or where it
        is part of the direction."""
        cls = AdamC if self.decay == "adamc" else OPTIMIZERS[self.optimizer or "adamw"]
        names = {field.name for field in fields(cls)}
        told: dict[str, Any] = {"learning_rate": peak}
        if "weight_decay" in names:
            amount = self.weight_decay
            if self.decay == "relative" and amount is not None:
                amount /= peak
            told["weight_decay"] = UNKNOWN_DECAY if amount is None or self.decay == "coupled" else amount
            if self.decay == "independent":
                told["decay"] = "independent"
        for name in ("beta1", "beta2"):
            if name in names and getattr(self, name) is not None:
                told[name] = getattr(self, name)
        return cls(**told)

    @property
    def has_decay(self) -> bool:
        """Whether the optimizer takes a weight decay."""
        return "weight_decay" in {one.name for one in fields(OPTIMIZERS[self.optimizer or AdamW.name])}

    def model(self, optimizer: Optimizer) -> Model:
        """Of the optimizer in the network. Raises `InvalidParameter` where they do not go together."""
        return model_of(optimizer, self.network, shape=self.shape)

    def planned_schedule(self, num_steps: int) -> Schedule:
        """The schedule of the flags over the whole run."""
        cls = SCHEDULES[self.schedule or "constant"]
        told: dict[str, Any] = {"num_steps": num_steps, "warmup_steps": self.warmup_steps or 0}
        if cls is not Constant and self.final_fraction is not None:
            told["final_fraction"] = self.final_fraction
        if cls is WSD and self.decay_fraction is not None:
            told["decay_fraction"] = self.decay_fraction
        return cls(**told)


def beside(log: Path, given: Setting) -> tuple[Setting, tuple[str, ...]]:
    """What a ``runs.csv`` in the folder of a log says of it, in the row whose ``run`` is the log's name; flags come
    first. Returns notes as well; a table that does not fit says nothing."""
    table = log.parent / RUNS_FILE
    if not table.is_file() or table == log:
        return given, ()
    try:
        raw = read_raw(table)
    except BadInput:
        return given, ()
    if "run" not in raw.header:
        return given, ()
    names = list(raw.columns[raw.header.index("run")])
    if names.count(log.stem) != 1:
        return given, ()
    row = names.index(log.stem)
    cells = {name: str(column[row]).strip() for name, column in zip(raw.header, raw.columns, strict=True)}
    told: dict[str, Any] = {}
    for name, text in cells.items():
        if name in Setting.__dataclass_fields__ and getattr(given, name) is None:
            told |= _schedule(text) if name == "schedule" else _value(name, text)
    told = {name: value for name, value in told.items() if getattr(given, name) is None}
    if not told:
        return given, ()
    shown = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in told.items()
    )
    return replace(given, **told), (f"{table.name} beside it tells {shown}",)


def from_words(log: RawLog, given: Setting, peak: float | None) -> tuple[Setting, tuple[str, ...]]:
    """What a log says in words of its settings, where nobody else tells them. Returns notes as well: from which lines;
    and which values do not count, since they differ from each other or from what is told.

    peak : of the rates, None where they are not known.
    """
    usable = {one.name for one in fields(OPTIMIZERS[given.optimizer or AdamW.name])} & set(STATED)
    if "beta2" not in usable:
        usable.discard("beta1")  # of the Adam beside it
    told: dict[str, Any] = {}
    lines: dict[int, list[str]] = {}
    notes = []
    for name in STATED:
        values = log.stated.get(name, {}) if name in usable else {}
        said = [f"{value:g} in line {line}" for value, line in values.items()]
        known = getattr(given, name)
        if known is not None and set(values) - {known}:
            notes.append(f"{name} {known:g} is what was told; the log says {listed(said)}")
        elif known is None and len(values) > 1:
            notes.append(f"{name} is not taken from the log, which says {listed(said)}: give {flag(name)}")
        elif known is None and values:
            ((value, line),) = values.items()
            if name != "weight_decay" or peak is None or peak * value < 1:
                told[name] = value
                lines.setdefault(line, []).append(f"{name} {value:g}")
    if peak is None and log.stated.get("learning_rate"):
        notes.append(_of_schedule(log))
    notes[:0] = [f"{', '.join(names)}: from line {line} of the log" for line, names in lines.items()]
    return replace(given, **told), tuple(notes)


def _of_schedule(log: RawLog) -> str:
    """What a log without rates says of its schedule, and the flags that take it where it says one thing."""
    words: list[str] = []
    only: dict[str, float] = {}
    for name in ("learning_rate", "warmup_steps", "num_steps", "min_learning_rate"):
        if values := log.stated.get(name, {}):
            words.append(f"{name} {listed([f'{value:g} in line {line}' for value, line in values.items()])}")
        if len(values) == 1:
            (only[name],) = values
    flags = [f"--learning-rate {only['learning_rate']:g}" if "learning_rate" in only else "--learning-rate"]
    flags.append("--schedule cosine" if "min_learning_rate" in only else "--schedule NAME")
    for name in ("warmup_steps", "num_steps"):
        if name in only and only[name].is_integer():
            flags.append(f"{flag(name)} {only[name]:.0f}")
    if "min_learning_rate" in only and "learning_rate" in only and only["learning_rate"] > 0:
        flags.append(f"--final-fraction {only['min_learning_rate'] / only['learning_rate']:.4g}")
    unless = ", if it was a cosine" if "min_learning_rate" in only else ""
    return f"the log says {', '.join(words)}: {' '.join(flags)} takes them{unless}"


def _value(name: str, text: str) -> dict[str, Any]:
    if name in TEXTS:
        known = get_args(Decay) if name == "decay" else OPTIMIZERS
        return {name: text.lower()} if text.lower() in known else {}
    found = number(text)
    if found is None or not math.isfinite(found) or name in ("shape", "recorded"):
        return {}
    return {name: int(found) if name in COUNTS else found}


def _schedule(text: str) -> dict[str, Any]:
    """``cosine``, ``linear to 0.1``, ``cosine to a tenth``."""
    found = re.fullmatch(r"(\w+)(?: to (.+))?", text.lower())
    if not found or found[1] not in SCHEDULES:
        return {}
    told: dict[str, Any] = {"schedule": found[1]}
    if found[2]:
        fraction = FRACTIONS.get(found[2], number(found[2]))
        if fraction is None:
            return {}
        told["final_fraction"] = fraction
    return told
