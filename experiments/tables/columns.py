"""Which column of a source is which of ours: by name, by ``--column``, or by one of the usual other names.

Another name counts where it is the only one: two columns that could both be num_params, and differ, are refused by
name. Names of what was planned come before names of what has been done so far (``_step``): with both, the second tells
which runs ended early. A unit behind a name of a scale is one of its values: params_M, tokens (B). What was taken for
what is noted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from experiments.files import BadInput
from experiments.tables.aliases import (
    ALIASES,
    CALLS,
    FLAGS,
    IF_NOTHING_ELSE,
    PROGRESS,
    SEQUENCES,
    SO_FAR,
    STATE,
    spelled,
    unit_of,
)
from experiments.tables.formats import RawTable
from experiments.tables.numbers import is_empty, parse
from experiments.tables.outcomes import share_done
from experiments.tables.run_table import COLUMNS, DECAYS, LABELS, NUMBERS, REQUIRED, SCALES
from experiments.tables.written import Commas, number, written

MAPPABLE = (*COLUMNS, STATE)

BITS = ("bpb", "bpc", "bits")  # per byte, per character
HARMLESS = ("num_steps", "seed", STATE, "independent_weight_decay")  # left unread, not refused, if two could be it
SMALL = ("learning_rate",)  # what is below 1
WITH_UNITS = (*SCALES, "num_steps", *SMALL)
NAMED_RATE = re.compile(r"(?:lr|learning[ _]rate|peak[ _]lr)\s*[=:]?\s*", re.IGNORECASE)  # lr=3e-4, as a header
FEWEST_RATES, LARGEST_RATE = 3, 1.0  # in a header
NUMERIC_SHARE = 0.5  # of a column's values, from which on it can be one of numbers


@dataclass
class Found:
    """``places`` of our columns in the source, of its ``axes`` and ``groups``; ``so_far`` of what a run has done, by
    the name of ours that says what it was to do; ``progress`` of columns that say how far it came; ``flags`` of those
    that say by yes and no whether it is through; ``sequences`` of those that tell the tokens in a sequence; ``units``,
    other than 1, of the values of our columns; ``notes``."""

    places: dict[str, int] = field(default_factory=dict)
    axes: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    so_far: dict[str, int] = field(default_factory=dict)
    progress: list[int] = field(default_factory=list)
    flags: dict[int, bool | None] = field(default_factory=dict)
    sequences: list[int] = field(default_factory=list)
    units: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_columns(
    raw: RawTable,
    columns: Mapping[str, str],
    constants: Mapping[str, float | str],
    *,
    axes: Mapping[str, str],
    groups: Sequence[str],
    others: Sequence[str],
    where: Mapping[str, str],
) -> Found:
    """``where``: the columns that conditions ask for, by the flag that does.

    Raises `BadInput`, one line that names everything that is missing at once.
    """
    found = Found()
    missing: list[str] = []
    taken = {*columns.values(), *axes.values(), *others}
    for name in MAPPABLE:
        if name in columns and columns[name] not in raw.header:
            missing.append(f"--column {name}={columns[name]}: no such column")
        elif name in columns:
            found.places[name] = _place(raw, name, columns[name], {})
            _take_unit(raw, name, found)
        elif name in raw.header:
            if name in constants:
                raise BadInput(f"--constant {name}: {raw.where} has a column of that name")
            found.places[name] = _place(raw, name, name, {})
            _tell_beside(raw, name, taken, found)
        elif name not in constants and not (name == DECAYS[0] and DECAYS[1] in columns):
            _by_alias(raw, name, taken, found, missing)
    asked = {f"--axis {name}={theirs}": theirs for name, theirs in axes.items()}
    asked |= {f"--group {name}": name for name in groups} | dict(where)
    known = {*raw.header, *found.places}
    missing += [f"{flag}: there is no such column" for flag, name in asked.items() if name not in known]
    missing += [
        f"{name!r} is not one further column" for name in others if name not in raw.header and name not in COLUMNS
    ]
    if missing:
        _refuse_wide(raw, found)
        empty = [
            f"; no row can be read: {e.count} with {e.reason} ({e.example})" for e in raw.exclusions if not raw.lines
        ]
        raise BadInput(f"{raw.where}: {'; '.join(missing)}; it has {raw.shown}{''.join(empty)}")
    ours = {name: raw.header[place] for name, place in found.places.items()}
    found.axes = {name: _place(raw, f"--axis {name}={theirs}", theirs, ours) for name, theirs in axes.items()}
    found.groups = {name: _place(raw, f"--group {name}", name, ours) for name in groups}
    read = {*found.places.values(), *found.axes.values(), *found.groups.values()}
    for name, names in SO_FAR.items():
        counts = [place for place in _candidates(raw, names, set(), units_of=name) if _can_be(raw, name, place)]
        done = [place for place in _without_calls(raw, counts) if place != found.places.get(name)]
        if len(done) == 1 and name in found.places and done[0] not in found.axes.values():
            found.so_far[name] = done[0]
    progress = _candidates(raw, (*PROGRESS, *(other for names in SO_FAR.values() for other in names)), set(others))
    found.progress = [
        place
        for place in progress
        if place not in read and (share_done(raw.columns[place]) is not None or _progress(raw, place))
    ]
    for other, good in FLAGS.items():
        found.flags |= dict.fromkeys(set(_candidates(raw, (other,), set(others))) - read, good)
    found.sequences = _candidates(raw, SEQUENCES, set())
    for name in others:
        if name in COLUMNS or raw.times[name] != 1:
            raise BadInput(f"{raw.where}: {name!r} is not one further column of it; it has {raw.shown}")
        found.places[name] = raw.header.index(name)
    return found


def _refuse_wide(raw: RawTable, found: Found) -> None:
    """Raise where the header has learning rates, a column of losses for each."""
    rates = [theirs for theirs in raw.header if _rate(theirs) is not None]
    values = [value for theirs in raw.header if (value := _rate(theirs)) is not None]
    in_order = values in (sorted(set(values)), sorted(set(values), reverse=True))
    if len(rates) < FEWEST_RATES or not in_order or {"learning_rate", "loss"} & set(found.places):
        return
    shown = ", ".join(rates[:3]) + (", ..." if len(rates) > 3 else "")
    raise BadInput(
        f"{raw.where}: its columns {shown} look like learning rates, with the losses below them: one run a row is read,"
        " with a column learning_rate and a column loss"
    )


def _rate(theirs: str) -> float | None:
    """The learning rate that a name is, if it may be one."""
    value = written(NAMED_RATE.sub("", theirs.strip()))
    return value if value is not None and 0 < value <= LARGEST_RATE else None


def _place(raw: RawTable, what: str, theirs: str, columns: Mapping[str, str]) -> int:
    if theirs not in raw.header:
        theirs = columns.get(theirs, theirs)
    if raw.times[theirs] > 1:
        raise BadInput(f"{raw.where}: column {theirs!r} stands {raw.times[theirs]} times in the header")
    if theirs not in raw.header:
        raise BadInput(f"{what}: {raw.where} has no such column; it has {raw.shown}")
    return raw.header.index(theirs)


def _by_alias(raw: RawTable, name: str, taken: set[str], found: Found, missing: list[str]) -> None:
    """Take the only column that has one of the other names; complain where there are two, or none and one is needed."""
    known = (ALIASES.get(name, ()), SO_FAR.get(name, ()), IF_NOTHING_ELSE.get(name, ()))
    for names, in_units in product(known, (False, True)):
        places = [
            place
            for place in _candidates(raw, names, taken, units_of=name if in_units else None)
            if _can_be(raw, name, place)
        ]
        places = _without_calls(raw, places)
        if not places:
            continue
        shown = " and ".join(raw.header[place] for place in places)
        if any(not _equal(raw.columns[places[0]], raw.columns[place]) for place in places[1:]):
            advice = f"choose with --column {name}=NAME"
            if name in REQUIRED or name not in HARMLESS:
                missing.append(f"{name} could be {shown}: {advice}")
            else:
                found.notes.append(f"{name} is not read, since it could be {shown}: {advice}")
            return
        found.places[name] = places[0]
        if not _take_unit(raw, name, found) and name != STATE:
            found.notes.append(f"{name} is read from {shown}")
        return
    if name in REQUIRED:
        missing.append(f"no column {name}: map one with --column {name}=NAME" + _hint(raw, name))


def _without_calls(raw: RawTable, places: list[int]) -> list[int]:
    """Without W&B's count of what was logged, if there is another count of steps."""
    rest = [place for place in places if spelled(raw.header[place])[0] != CALLS]
    return rest or places


def _take_unit(raw: RawTable, name: str, found: Found) -> bool:
    """Whether the name of a column tells the unit of its values, which is noted; values that tell their own have it."""
    place = found.places[name]
    base, unit = unit_of(raw.header[place], small=name in SMALL)
    known = {*ALIASES.get(name, ()), *SO_FAR.get(name, ()), *IF_NOTHING_ELSE.get(name, ())}
    values = [value for value in raw.columns[place] if not is_empty(value)]
    if name not in WITH_UNITS or unit == 1 or not set(spelled(base)) & known:
        return False
    if any(number(value) is None for value in values):
        return False
    found.units[name] = unit
    first = f": {values[0]} is {float(values[0]) * unit:g}" if values else ""
    found.notes.append(f"{name} is read from {raw.header[place]}, in units of {unit:g} by its name{first}")
    return True


def _hint(raw: RawTable, name: str) -> str:
    """What might be meant, if anything."""
    words = ("lr", "rate") if name == "learning_rate" else ("loss", "ppl", "perplexity", *BITS, "nll")
    alike = [theirs for theirs in raw.header if any(word in re.split("[^a-z]+", theirs.lower()) for word in words)]
    text = f", perhaps {' or '.join(alike[:3])}" if alike else ""
    if name == "learning_rate" and (len(raw.header) == 1 or raw.where.lower().endswith((".txt", ".log", ".out"))):
        text += "; the log of one run is what lrbend read reads"
    if name == "loss" and {"low", "high"} <= set(raw.header):
        text += "; a table of optima, with low and high, is read by lrbend attribute --optima"
    if name == "loss" and any(re.search("ppl|perplexity", theirs.lower()) for theirs in alike):
        text += " (perplexities with --loss-unit perplexity)"
    if name == "loss" and any(set(re.split("[^a-z]+", theirs.lower())) & set(BITS) for theirs in alike):
        text += " (bits with --loss-unit bits)"
    return text


def _tell_beside(raw: RawTable, name: str, taken: set[str], found: Found) -> None:
    """Our own name is read even if another column could be it; where that matters most it is said."""
    if name not in REQUIRED:
        return
    own = found.places[name]
    places = [place for place in _candidates(raw, ALIASES[name], taken) if place != own and _can_be(raw, name, place)]
    places = [place for place in places if not _equal(raw.columns[own], raw.columns[place])]
    if places:
        shown = " and ".join(raw.header[place] for place in places)
        found.notes.append(f"{name} is read, {shown} is not: choose with --column {name}=NAME")


def _candidates(raw: RawTable, names: Sequence[str], taken: set[str], *, units_of: str | None = None) -> list[int]:
    """Columns of one of those names, or of one and a unit that ``units_of``, one of ours, may have."""
    bare = {theirs: theirs for theirs in raw.header}
    if units_of in WITH_UNITS:
        bare = {theirs: unit_of(theirs, small=units_of in SMALL)[0] for theirs in raw.header}
    return [
        place
        for place, theirs in enumerate(raw.header)
        if theirs not in taken and raw.times[theirs] == 1 and (set(spelled(bare[theirs])) & set(names))
    ]


def _can_be(raw: RawTable, name: str, place: int) -> bool:
    """Whether a column holds what the name says: numbers, of some kind."""
    values = [value for value in raw.columns[place] if not is_empty(value)]
    if not values:
        return False
    if name in LABELS or name == STATE:
        return True
    if name in HARMLESS and len(values) < len(raw.lines):
        return False  # it would cost rows
    if number(values[0]) is not None:
        return True
    readings: tuple[Commas, ...] = ("thousands", "decimal")
    counted = name in (*SCALES, "num_steps")
    return any(bool(parse(values, suffixes=counted, commas=mark).text.mean() < NUMERIC_SHARE) for mark in readings)


def _progress(raw: RawTable, place: int) -> bool:
    """Whether a column holds numbers that say how far runs came, by its name."""
    return bool(set(spelled(raw.header[place])) & set(PROGRESS)) and _can_be(raw, "num_steps", place)


def _equal(one: Sequence[object], other: Sequence[object]) -> bool:
    return all(a == b or (number(a) is not None and number(a) == number(b)) for a, b in zip(one, other, strict=True))


def check_names(
    columns: Mapping[str, str], constants: Mapping[str, float | str], axes: Mapping[str, str], groups: Sequence[str]
) -> None:
    """What can be seen before a table is read. Raises `BadInput`."""
    for name in columns:
        if name not in MAPPABLE:
            raise BadInput(f"--column {name}: must be one of {', '.join(MAPPABLE)}; another scale is an --axis")
    for name, value in constants.items():
        if name not in COLUMNS:
            raise BadInput(f"--constant {name}: must be one of {', '.join(COLUMNS)}")
        if name in columns:
            raise BadInput(f"--constant {name}: it is mapped to a column as well")
        if name in (*REQUIRED, "seed"):
            raise BadInput(f"--constant {name}: it has to be a column")
        if name in NUMBERS and not _allowed(name, value):
            raise BadInput(f"--constant {name}={value}: must be a finite number above 0")
    for name in axes:
        if name in MAPPABLE:
            raise BadInput(f"--axis {name}: that name is ours: --column {name}={axes[name]} reads it")
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
            raise BadInput(f"--axis {name}: must be a name of letters, digits and _")
    for name in groups:
        if groups.count(name) > 1:
            raise BadInput(f"--group {name}: given twice")


def _allowed(name: str, value: float | str) -> bool:
    plain = number(value)
    return plain is not None and math.isfinite(plain) and (plain > 0 or (plain == 0 and name == "weight_decay"))
