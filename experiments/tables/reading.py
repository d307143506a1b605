"""A table of runs, read and cleaned by stated rules: what cannot be used is counted, never silently dropped.

A row is left out, with a count and the first example, if it has another number of fields than the header, text or
nothing in a numeric column, a learning rate not above 0, a scale not finite and above 0, a state or a length that says
that the run did not finish, or if an earlier row equals it in every column that is read. A loss that is NaN or infinite
stays: the run diverged. The table as a whole is refused, with one line, where a needed column is missing, nothing is
left, a scale spans more than a factor of a million, which is mixed units, or numbers cannot be what they are called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.files import BadInput
from experiments.tables import outcomes, plausibility, unread
from experiments.tables.aliases import STATE, is_so_far, unit_of
from experiments.tables.columns import Found, check_names, find_columns
from experiments.tables.decay import Decay, settle_decay
from experiments.tables.filters import Condition, select_rows
from experiments.tables.formats import RawTable, raw_from_frame, read_raw
from experiments.tables.keys import Codes, codes, joined, merge_close
from experiments.tables.numbers import commas, is_empty, parse
from experiments.tables.run_table import (
    DECAYS,
    LABELS,
    NUMBERS,
    SCALES,
    Array,
    Rows,
    RunTable,
)
from experiments.text import counted

if TYPE_CHECKING:
    import pandas as pd

WIDEST_SCALE = 1e6  # ratio of the largest to the smallest
LOSS_UNITS = ("nats", "bits", "perplexity")


@dataclass(frozen=True, kw_only=True)
class How:
    """How a source is read.

    columns : names of ours (`experiments.tables.run_table.COLUMNS`, ``state``) to names of the source. constants : the
    one value of a column. others : further columns of numbers, kept under their own names, NaN where there is none.
    where : which rows. groups : columns whose values, together, name the groups; the optimizer if none. axes : further
    scales, to names of the source. decay : which one makes a cell, see `experiments.tables.decay`. loss_unit : one of
    `LOSS_UNITS`, per token; None for nats, unless they cannot be. Raises `BadInput`.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float | str] = field(default_factory=dict)
    others: Sequence[str] = ()
    where: Sequence[Condition] = ()
    groups: Sequence[str] = ()
    axes: Mapping[str, str] = field(default_factory=dict)
    decay: Decay | None = None
    loss_unit: str | None = None

    def __post_init__(self) -> None:
        check_names(self.columns, self.constants, self.axes, self.groups)
        if self.loss_unit not in (None, *LOSS_UNITS):
            raise BadInput(f"--loss-unit {self.loss_unit}: must be one of {', '.join(LOSS_UNITS)}")


def read_table(path: Path, how: How | None = None) -> RunTable:
    """Read a file of runs, `experiments.tables.formats`. Raises `BadInput`, one line."""
    return clean(read_raw(path), how or How())


def table_from_frame(frame: pd.DataFrame, how: How | None = None) -> RunTable:
    """The same from a data frame; a missing loss counts as diverged there, since pandas cannot tell the two apart."""
    return clean(raw_from_frame(frame), how or How())


def clean(raw: RawTable, how: How) -> RunTable:
    """What can be used of a source, and what there is to say of it. Raises `BadInput`, one line."""
    found = find_columns(
        raw,
        how.columns,
        how.constants,
        axes=how.axes,
        groups=how.groups,
        others=how.others,
        where={f"--where {condition}": condition.column for condition in how.where},
    )
    if not raw.num_rows:
        raise BadInput(f"{raw.where}: no rows below the header")
    names = {name: raw.header[place] for name, place in found.places.items()}
    raw = select_rows(raw, how.where, names)
    _refuse_log(raw, found)
    rows = Rows(raw.lines, np.ones(len(raw.lines), bool), list(raw.exclusions))
    numbers = _numbers(raw, found, rows, how)
    labels = _labels(raw, found, rows, how)
    if STATE in found.places:
        states = raw.columns[found.places[STATE]]
        numbers["loss"] = outcomes.apply_states(states, numbers["loss"], rows, found.notes, names[STATE])
    found.flags = {
        place: good
        for place, good in found.flags.items()
        if outcomes.drop_flagged(raw.columns[place], good, numbers["loss"], rows, raw.header[place])
    }
    _drop_repeated(raw, found.places["learning_rate"], rows, numbers, labels)
    _require_rows(raw, rows)
    size = len(raw.lines)
    for name, value in how.constants.items():
        if name in NUMBERS:
            numbers[name] = np.full(size, float(value))
        else:
            labels[name] = np.full(size, str(value))
    for name in (*SCALES, *how.axes, *DECAYS):
        if name in numbers:
            _merge(name, numbers, rows, found)
    group = codes([labels[name] for name in ("group", "optimizer") if name in labels][:1], size)
    setting = joined(group, codes([numbers[n] for n in (*SCALES, *how.axes) if n in numbers], size))
    numbers = settle_decay(numbers, setting, how.decay, raw, rows, found.notes)
    kept = RunTable(numbers=numbers, labels=labels, num_rows=raw.num_rows, exclusions=(), axes=tuple(how.axes))
    cell = joined(group, codes([numbers[name] for name in kept.scales], size))
    but_length = joined(group, codes([numbers[name] for name in kept.scales if name != "num_tokens"], size))
    _drop_unfinished(raw, found, rows, numbers, cell, but_length)
    _require_rows(raw, rows)
    empty = np.array([is_empty(value) for value in raw.columns[found.places["loss"]]], bool)
    found.notes += plausibility.missing_above(numbers["learning_rate"], numbers["loss"], cell, empty)
    cell, table = cell[rows.keep], replace(kept.select(rows.keep), exclusions=tuple(rows.exclusions))
    _check_units(raw, table)
    if how.loss_unit is None:
        plausibility.check_losses(raw.where, table.numbers["loss"], cell, name=names["loss"])
    return _with_notes(raw, found, rows, table, cell, group[rows.keep])


def _refuse_log(raw: RawTable, found: Found) -> None:
    """Nothing but a log has a step that rises from row to row, and no size of a model or other axis."""
    place = found.so_far.get("num_steps", found.places.get("num_steps"))
    if place is None or "num_params" in found.places or found.axes:
        return
    if is_so_far(raw.header[place], "num_steps"):
        plausibility.check_no_log(raw.where, parse(raw.columns[place]).numbers, name=raw.header[place])


def _numbers(raw: RawTable, found: Found, rows: Rows, how: How) -> dict[str, Array]:
    """The columns of numbers; rows without a usable one are dropped."""
    places = {name: found.places[name] for name in NUMBERS if name in found.places}
    scales = {name: places[name] for name in (*SCALES, "num_steps") if name in places}
    mark = commas(raw.where, [raw.columns[place] for place in (*places.values(), *found.axes.values())], raw.separator)
    numbers: dict[str, Array] = {}
    for name, place in {**places, **found.axes}.items():
        values = raw.columns[place]
        parsed = parse(values, suffixes=name in scales or name in found.axes, commas=mark)
        if not (name == "loss" and raw.missing_is_nan):
            rows.drop(parsed.empty, f"no {name}", values)
        lost = parsed.text & outcomes.lost_by_word(values) if name == "loss" and parsed.text.any() else None
        if lost is not None and lost.any():
            first = values[int(np.argmax(lost))]
            found.notes.append(f"{counted(int(lost.sum()), 'run')} diverged by a word in loss: {first}")
        rows.drop(parsed.text if lost is None else parsed.text & ~lost, f"text in {name}", values)
        number = parsed.numbers * found.units.get(name, 1.0)
        if parsed.rewritten is not None:
            found.notes.append(f"{name}: {parsed.rewritten[0]!r} is read as {parsed.rewritten[1]:.10g}")
        if name == "learning_rate":
            plausibility.check_rates(raw.where, number, rows.keep, name=raw.header[place])
        if name == "loss":
            failed = plausibility.failed_marks(np.where(rows.keep, number, np.nan))
            rows.drop(failed, "a loss of 0 or below, as of a run that failed", values)
            number = _in_nats(number, how.loss_unit)
        elif name in DECAYS:
            rows.drop(~(np.isfinite(number) & (number >= 0)), f"{name} negative or not finite", values)
        else:
            rows.drop(~(np.isfinite(number) & (number > 0)), f"{name} not finite and above 0", values)
        numbers[name] = number
    for name in how.others:
        parsed = parse(raw.columns[found.places[name]], commas=mark)
        rows.drop(parsed.text, f"text in {name}", raw.columns[found.places[name]])
        numbers[name] = parsed.numbers
    return numbers


def _in_nats(loss: Array, unit: str | None) -> Array:
    if unit in (None, "nats"):
        return loss
    if unit == "bits":
        return loss * math.log(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(loss > 0, np.log(loss), np.nan)


def _labels(raw: RawTable, found: Found, rows: Rows, how: How) -> dict[str, Any]:
    """The columns of text; rows without a name for their group are dropped, unless none has one."""
    labels = {}
    for name in LABELS:
        if name in found.places:
            labels[name] = _text(raw.columns[found.places[name]])
    if found.groups:
        parts = [_text(raw.columns[place]) for place in found.groups.values()]
        labels["group"] = np.array([" ".join(p for p in row if p) for row in zip(*parts, strict=True)], str)
    name = "group" if "group" in labels else "optimizer"
    if name in labels and name not in how.constants:
        nameless = labels[name] == ""
        if nameless.all():
            del labels[name]
        else:
            rows.drop(nameless, f"no {' and '.join(found.groups) or name}", labels[name])
    return labels


def _text(values: Sequence[Any]) -> Any:
    return np.array(["" if is_empty(value) or value != value else str(value).strip() for value in values], str)


def _drop_repeated(
    raw: RawTable, place: int, rows: Rows, numbers: Mapping[str, Array], labels: Mapping[str, Any]
) -> None:
    index = np.flatnonzero(rows.keep)
    if not len(index):
        return
    key = codes([column[index] for column in (*numbers.values(), *labels.values())], len(index))
    repeated = rows.keep.copy()
    repeated[index[np.unique(key, return_index=True)[1]]] = False
    if repeated.any():
        rows.drop(repeated, "the same as an earlier row", raw.columns[place])


def _require_rows(raw: RawTable, rows: Rows) -> None:
    if not rows.keep.any():
        reasons = "; ".join(f"{e.count} with {e.reason} ({e.example})" for e in rows.exclusions)
        raise BadInput(f"{raw.where}: none of {raw.num_rows} rows can be used: {reasons}")


def _merge(name: str, numbers: dict[str, Array], rows: Rows, found: Found) -> None:
    """Values of a scale that differ by rounding become one."""
    chosen = rows.keep & (numbers[name] > 0)
    merged, sets = merge_close(numbers[name][chosen])
    if not sets:
        return
    numbers[name] = numbers[name].copy()
    numbers[name][chosen] = merged
    first = ", ".join(f"{value:.10g}" for value in sets[0][:3])
    found.notes.append(
        f"{sum(map(len, sets))} values of {name} that lie within 1 % of another are read as {len(sets)}"
        f" ({first}{', ...' if len(sets[0]) > 3 else ''})"
    )


def _drop_unfinished(
    raw: RawTable, found: Found, rows: Rows, numbers: Mapping[str, Array], cell: Codes, setting: Codes
) -> None:
    for name, place in found.so_far.items():
        done = parse(raw.columns[place], suffixes=True).numbers * unit_of(raw.header[place])[1]
        outcomes.drop_unfinished(raw.header[place], done, numbers[name], numbers["loss"], rows)
    if "num_tokens" in found.places and is_so_far(raw.header[found.places["num_tokens"]], "num_tokens"):
        theirs = raw.header[found.places["num_tokens"]]
        outcomes.drop_alone(theirs, numbers["num_tokens"], setting, numbers["loss"], rows)
    if "num_steps" in found.places:
        theirs = raw.header[found.places["num_steps"]]
        outcomes.drop_shorter(
            theirs,
            numbers["num_steps"],
            cell,
            numbers["learning_rate"],
            numbers["loss"],
            rows,
            counted=is_so_far(theirs, "num_steps"),
        )
    for place in found.progress:
        share = outcomes.share_done(raw.columns[place])
        done = parse(raw.columns[place]).numbers if share is None else share
        outcomes.drop_shorter(
            raw.header[place], done, cell, numbers["learning_rate"], numbers["loss"], rows, counted=True
        )


def _check_units(raw: RawTable, table: RunTable) -> None:
    for name in (*SCALES, *table.axes):
        values = table.numbers.get(name, np.ones(1))
        if values.max() > WIDEST_SCALE * values.min():
            raise BadInput(
                f"{raw.where}: {name} runs from {values.min():g} to {values.max():g}, more than a factor of"
                f" {WIDEST_SCALE:g}: mixed units?"
            )


def _told_length(raw: RawTable, found: Found, left: Sequence[int]) -> Array | None:
    """(num_left,) tokens in a sequence by the one column, or several that agree, that tells them for all rows left."""
    told = [parse([raw.columns[place][row] for row in left], suffixes=True).numbers for place in found.sequences]
    if not told or not all(np.array_equal(told[0], other) for other in told) or not np.all(told[0] > 0):
        return None
    return told[0]


def _with_notes(raw: RawTable, found: Found, rows: Rows, table: RunTable, cell: Codes, group: Codes) -> RunTable:
    """What was read from where, what was not, and what looks wrong."""
    left = np.flatnonzero(rows.keep).tolist()
    length, said = plausibility.sequence_length(table, _told_length(raw, found, left))
    table, told = replace(table, sequence_length=length), [said] if said else []
    size = len(table)
    rate = codes([table.numbers["learning_rate"]], size)
    read = {*found.places.values(), *found.axes.values(), *found.groups.values(), *found.so_far.values()}
    read |= {*found.progress, *found.flags}
    others = unread.read_beside(table.labels)
    beside = [(raw.header[p], [raw.columns[p][row] for row in left]) for p in range(len(raw.header)) if p not in read]
    varying = unread.varying_columns([*others, *beside], cell, rate)
    unread_notes, unread_warnings = unread.unread_notes(
        varying,
        beside,
        table.numbers["loss"],
        cell,
        rate,
        [raw.lines[row] for row in left],
        seeds="seed" in table.labels,
    )
    return replace(
        table,
        notes=(*found.notes, *(told if length else ()), *plausibility.derived(table), *unread_notes),
        warnings=(
            *unread_warnings,
            *(() if length else told),
            *plausibility.doubts(table, cell),
            *plausibility.torn_cells(table, group, rate),
        ),
    )
