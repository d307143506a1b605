"""A table of final losses, one run a row, as runs of the schedule-and-scale law.

What a row does not say is taken from what it does: N from layers and width (12 n d^2, without the embedding, so that
another vocabulary is no other size), tokens per step from batch, accumulation and sequence, steps from tokens. What no
column says is assumed, and noted: weight decay 0.1, a warmup of a hundredth of the run, a cosine that ends at a tenth.
A row that lacks what has to be known is left out and counted; a row without a loss is kept apart, to be predicted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.losses.columns import Cells, find_cells, is_curve
from experiments.losses.finished_runs import Run, usable_runs
from experiments.losses.settings import RATES, SCHEDULE_NAMES, TYPE_NAMES, Setting, known_as
from experiments.tables.filters import Condition, select_rows
from experiments.tables.formats import RawTable, read_raw
from experiments.tables.run_table import Exclusion, Rows
from theory import InvalidParameter

Array = NDArray[np.float64]

FINAL_IN_LABEL = re.compile(r"(?:^|[/_-])cos(?:ine)?[-_](zero|\d{1,2})(?=[-_.])")  # cos-10-...: ends at a tenth
WEIGHT_DECAY, WARMUP_FRACTION, COSINE_FINAL = 0.1, 0.01, 0.1  # assumed where nothing tells
MOST_STEPS = 10**8  # of all runs together


@dataclass(frozen=True, kw_only=True)
class TableHow:
    """How a source is read: flags as they were typed. columns : names of ours (`experiments.losses.columns`) to theirs.
    constants : to the one value, as text. where : which rows."""

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    where: Sequence[Condition] = ()


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A row without a loss; ``line``: where it stands in the source."""

    line: int
    setting: Setting
    run: Run


@dataclass(frozen=True, kw_only=True)
class FinalLosses:
    """Runs to fit, and what there is to say of how they were read.

    runs : repeats averaged. settings : the distinct ones of the runs. rerun_deviation : of one run about its repeats,
    in nats, NaN without repeats. tokens_known : whether ``tokens_per_step`` counts tokens; else it is 1 or a batch in
    another unit. whole_sizes : N by a count of parameters with the embedding, where the source has one beside the
    layers. num_repeats : rows that went into a mean with another.
    """

    where: str
    runs: tuple[Run, ...]
    settings: tuple[Setting, ...]
    unmeasured: tuple[Unmeasured, ...]
    rerun_deviation: float
    num_repeats: int
    tokens_known: bool
    whole_sizes: Mapping[float, float]
    num_rows: int
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def read_final_losses(path: Path, how: TableHow | None = None) -> FinalLosses:
    """Read a file of runs (CSV, JSON lines, JSON list). Raises `BadInput`, one line."""
    return final_losses(read_raw(path), how or TableHow())


def final_losses(raw: RawTable, how: TableHow) -> FinalLosses:
    """The same from cells that were read. Raises `BadInput`."""
    if not raw.lines:
        raise BadInput(f"{raw.where}: no rows below the header")
    if is_curve(raw) and not how.columns:
        raise BadInput(f"{raw.where}: one loss curve; a law needs several schedules: give the folder with all of them")
    theirs = find_cells(raw, how.columns, how.constants).read_from
    raw = select_rows(raw, how.where, {**theirs, **how.columns})
    cells = find_cells(raw, how.columns, how.constants)
    _need(raw, cells)
    rows = Rows(raw.lines, np.ones(len(raw.lines), bool), list(raw.exclusions))
    table = _Table(cells, rows)
    quantities = table.quantities()
    settings = table.settings(quantities)
    _check_length(raw, [one for one in settings if one is not None])
    losses = cells.numbers["loss"]
    none = ~losses.empty & ~(losses.numbers > 0)
    rows.drop(none, "a loss that is not a finite number above 0", losses.numbers.tolist())
    names = cells.text("dataset")
    runs, places = [], []
    for place in np.flatnonzero(rows.keep).tolist():
        setting = settings[place]
        assert setting is not None
        runs.append(
            Run(
                learning_rates=setting.learning_rates(),
                num_params=float(quantities["num_params"][place]),
                tokens_per_step=float(quantities["tokens_per_step"][place]),
                weight_decay=float(quantities["weight_decay"][place]),
                loss=float(losses.numbers[place]),
                schedule=setting.shape,
                dataset=names[place],
            )
        )
        places.append(place)
    usable = usable_runs(runs)
    place_of = {id(run): place for run, place in zip(runs, places, strict=True)}
    for run in usable.far_above:
        place = place_of[id(run)]
        bad = np.arange(len(rows.keep)) == place
        rows.drop(bad, "a loss half a nat above the others of its size and length", losses.numbers.tolist())
    unmeasured = [(place_of[id(run)], run) for run in usable.missing]
    without = {place for place, _ in unmeasured}
    measured = [settings[place] for place in np.flatnonzero(rows.keep).tolist() if place not in without]
    num_repeats = len(measured) - len(usable.runs)
    if not usable.runs:
        told = "; ".join(f"{e.count} with {e.reason} (first: {e.example})" for e in rows.exclusions)
        raise BadInput(f"{raw.where}: none of {raw.num_rows} rows has a loss that can be used" + (told and f": {told}"))
    units = {ours: f" in units of {unit:g}" for ours, unit in cells.units.items()}
    shown = ", ".join(f"{ours} from {name}{units.get(ours, '')}" for ours, name in cells.read_from.items())
    notes = [*([f"read are {shown}"] if shown else []), *table.notes]
    if num_repeats:
        spread = f", which differ by {usable.rerun_deviation:.4f} nats (standard deviation)"
        notes.append(f"{num_repeats} rows repeat the setting of others{spread}: each setting counts once, by its mean")
    return FinalLosses(
        where=raw.where,
        runs=tuple(usable.runs),
        settings=tuple(dict.fromkeys(one for one in measured if one is not None)),
        unmeasured=tuple(
            Unmeasured(line=raw.lines[place], setting=setting, run=run)
            for place, run in unmeasured
            if (setting := settings[place]) is not None
        ),
        rerun_deviation=usable.rerun_deviation,
        num_repeats=num_repeats,
        tokens_known=table.tokens_known,
        whole_sizes=table.whole_sizes,
        num_rows=raw.num_rows,
        exclusions=tuple(rows.exclusions),
        notes=tuple(notes),
    )


def _need(raw: RawTable, cells: Cells) -> None:
    """Raises `BadInput` that names everything that is missing at once."""
    have = {*cells.numbers, *cells.texts}
    missing = [name for name in ("learning_rate", "loss", "schedule") if name not in have]
    if not have & {"num_steps", "num_tokens"}:
        missing.append("num_steps (or num_tokens)")
    if missing:
        raise BadInput(
            f"{raw.where}: no column {', no column '.join(missing)}; it has {raw.shown}; map one with --column"
            " OURS=THEIRS or give --constant OURS=VALUE"
        )
    optimizers = sorted({name for name in cells.text("optimizer") if name})
    if len(optimizers) > 1:
        raise BadInput(
            f"{raw.where}: optimizers {', '.join(optimizers)}: the law is for one: --where optimizer={optimizers[0]}"
        )


def _check_length(raw: RawTable, settings: Sequence[Setting]) -> None:
    total = sum(setting.num_steps for setting in settings)
    if total > MOST_STEPS:
        raise BadInput(f"{raw.where}: {total:.3g} steps in all runs together, more than {MOST_STEPS:g}")


@dataclass
class _Table:
    """What rows say once what they leave open is filled in."""

    cells: Cells
    rows: Rows
    notes: list[str] = field(default_factory=list)
    tokens_known: bool = True
    whole_sizes: dict[float, float] = field(default_factory=dict)

    def quantities(self) -> dict[str, Array]:
        """N, tokens per step, steps and weight decay of every row; rows without one are dropped."""
        tokens = self._tokens_per_step()
        steps = self.cells.number("num_steps")
        if steps is None:
            total = self.cells.number("num_tokens")
            assert total is not None
            if tokens is None:
                raise BadInput(
                    "num_steps: no column of it, and num_tokens tells it only with tokens_per_step (or batch_size and"
                    " sequence_length)"
                )
            steps = np.round(_over(total, tokens))
            self.notes.append("num_steps is num_tokens over tokens per step")
        if tokens is None:
            tokens = self._assumed_tokens(steps)
        found = {
            "num_params": self._num_params(),
            "tokens_per_step": tokens,
            "num_steps": steps,
            "weight_decay": self._or_assumed("weight_decay", WEIGHT_DECAY),
        }
        for name, values in found.items():
            enough = values >= 0 if name == "weight_decay" else values > 0
            self.rows.drop(~(np.isfinite(values) & enough), f"no {name} above 0", values.tolist())
        return found

    def settings(self, quantities: Mapping[str, Array]) -> list[Setting | None]:
        """The schedule of every row, None in rows that are dropped."""
        cells, rows = self.cells, self.rows
        rates = cells.numbers["learning_rate"].numbers
        low, high = RATES
        rows.drop(~((rates >= low) & (rates <= high)), f"no learning_rate from {low:g} to {high:g}", rates.tolist())
        kinds = [known_as(name, SCHEDULE_NAMES) for name in cells.text("schedule")]
        rows.drop(
            np.array([kind is None for kind in kinds]),
            f"a schedule that is not one of {', '.join(SCHEDULE_NAMES)}",
            cells.text("schedule"),
        )
        shapes = [known_as(name, TYPE_NAMES) for name in cells.text("decay_type")]
        steps = quantities["num_steps"]
        fractions, warmup = self._decay_fraction(steps), self._warmup(steps)
        finals = self._final_fraction(kinds, rates)
        wsd = np.array([kind == "wsd" for kind in kinds])
        rows.drop(wsd & ~np.isfinite(fractions), "schedule wsd and no decay_fraction", cells.text("schedule"))
        rows.drop(
            wsd & (fractions > 0) & np.array([shape is None for shape in shapes]),
            f"a decay_type that is not one of {', '.join(TYPE_NAMES)}",
            cells.text("decay_type"),
        )
        result: list[Setting | None] = [None] * cells.num_rows
        refused = np.zeros(cells.num_rows, bool)
        reasons = [""] * cells.num_rows
        for place in np.flatnonzero(rows.keep).tolist():
            kind = kinds[place]
            assert kind is not None
            try:
                result[place] = Setting(
                    schedule=kind,
                    learning_rate=float(rates[place]),
                    num_steps=max(1, round(float(steps[place]))),
                    warmup_steps=round(float(warmup[place])),
                    decay_fraction=float(fractions[place]) if kind == "wsd" else None,
                    decay_type=shapes[place] if kind == "wsd" else None,
                    final_fraction=float(finals[place]),
                )
            except InvalidParameter as error:
                refused[place], reasons[place] = True, str(error)
        rows.drop(refused, "a schedule that cannot be", reasons)
        return result

    def _num_params(self) -> Array:
        given, layers, width = (self.cells.number(name) for name in ("num_params", "num_layers", "d_model"))
        if layers is not None and width is not None and (given is None or "num_params" in self.cells.read_from):
            self.cells.read_from.pop("num_params", None)
            self.notes.append("num_params is 12 x layers x width^2, without the embedding")
            size = 12 * layers * width**2
            if given is not None:
                self.whole_sizes.update(zip(given.tolist(), size.tolist(), strict=True))
            return size
        if given is None:
            self.notes.append("num_params is not told: one size is assumed")
            return np.ones(self.cells.num_rows)
        return given

    def _tokens_per_step(self) -> Array | None:
        given = self.cells.number("tokens_per_step")
        if given is not None:
            return given
        batch, length = self.cells.number("batch_size"), self.cells.number("sequence_length")
        if batch is not None and length is not None:
            accumulation = self.cells.number("accumulation_steps")
            self.notes.append(
                f"tokens per step are batch_size x {'' if accumulation is None else 'accumulation x '}sequence"
            )
            return batch * length * (1.0 if accumulation is None else accumulation)
        return None

    def _assumed_tokens(self, steps: Array) -> Array:
        total, batch = self.cells.number("num_tokens"), self.cells.number("batch_size")
        if total is not None:
            self.notes.append("tokens per step are num_tokens over num_steps")
            return _over(total, steps)
        self.tokens_known = False
        if batch is not None:
            self.notes.append("batch_size is taken in its own unit: tokens are not told")
            return batch
        self.notes.append("batch size is not told: it is assumed to be the same in all runs")
        return np.ones(self.cells.num_rows)

    def _or_assumed(self, name: str, value: float) -> Array:
        given = self.cells.number(name)
        if given is not None:
            return given
        self.notes.append(f"{name} is not told: {value:g} is assumed (--constant {name}=VALUE)")
        return np.full(self.cells.num_rows, value)

    def _warmup(self, steps: Array) -> Array:
        given, fraction = self.cells.number("warmup_steps"), self.cells.number("warmup_fraction")
        if given is not None:
            return np.nan_to_num(np.where((given > 0) & (given < 1), given * steps, given))
        if fraction is None:
            self.notes.append(f"warmup is not told: {WARMUP_FRACTION:g} of each run is assumed")
            fraction = np.full(self.cells.num_rows, WARMUP_FRACTION)
        return np.nan_to_num(fraction * steps)

    def _decay_fraction(self, steps: Array) -> Array:
        given, length = self.cells.number("decay_fraction"), self.cells.number("decay_steps")
        if given is not None:
            return given
        return np.full(self.cells.num_rows, np.nan) if length is None else _over(length, steps)

    def _final_fraction(self, kinds: Sequence[str | None], rates: Array) -> Array:
        """From a column, else 0; of a cosine from the name of its run, else a tenth."""
        given, lowest = self.cells.number("final_fraction"), self.cells.number("final_learning_rate")
        if given is None and lowest is not None:
            given = _over(lowest, rates)
        if given is not None:
            return np.nan_to_num(given)
        result, assumed, told = np.zeros(self.cells.num_rows), 0, 0
        for place, (kind, label) in enumerate(zip(kinds, self.cells.text("label"), strict=True)):
            if kind != "cosine" or not self.rows.keep[place]:
                continue
            found = FINAL_IN_LABEL.search(label)
            result[place] = COSINE_FINAL if found is None else 0.0 if found[1] == "zero" else int(found[1]) / 100
            assumed, told = assumed + (found is None), told + (found is not None)
        if told:
            self.notes.append(f"where a cosine ends is read from the run's name in {told} rows")
        if assumed:
            self.notes.append(
                f"where a cosine ends is not told in {assumed} rows: at {COSINE_FINAL:g} of the peak is assumed"
                " (--constant final_fraction=VALUE)"
            )
        return result


def _over(values: Array, others: Array) -> Array:
    """Ratios of cells, not finite over 0: such rows are dropped later."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return values / others
