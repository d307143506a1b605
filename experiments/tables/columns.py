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
from functools import lru_cache

from experiments.files import BadInput
from experiments.tables.formats import RawTable
from experiments.tables.numbers import is_empty, parse
from experiments.tables.run_table import COLUMNS, DECAYS, LABELS, NUMBERS, REQUIRED, SCALES
from experiments.tables.written import POWERS, WORDS, Commas, number

STATE = "state"
MAPPABLE = (*COLUMNS, STATE)

# lower case, with _ for everything that is no letter or digit; one capital letter stands for itself
ALIASES: dict[str, tuple[str, ...]] = {
    "learning_rate": ("lr", "learning_rate", "peak_lr", "max_lr", "peak_learning_rate", "max_learning_rate", "base_lr"),
    "loss": (
        "loss",
        *("val_loss", "eval_loss", "valid_loss", "validation_loss", "loss_val", "loss_eval", "loss_validation"),
        *("final_loss", "final_val_loss", "final_eval_loss", "last_val_loss", "final_validation_loss"),
    ),
    "num_params": (
        *("N", "params", "n_params", "nparams", "num_parameters", "n_parameters", "parameters", "param_count"),
        *("parameter_count", "model_size", "model_params", "non_embedding_params", "num_params"),
    ),
    "num_tokens": (
        *("D", "tokens", "n_tokens", "num_train_tokens", "train_tokens", "training_tokens", "total_tokens"),
        *("token_budget", "target_tokens", "tokens_target", "planned_tokens", "num_tokens"),
    ),
    "batch_size": ("batch", "bs", "global_batch_size", "global_batch", "batchsize", "train_batch_size", "batch_size"),
    "weight_decay": ("wd", "weight_decay", "weightdecay"),
    "independent_weight_decay": ("independent_wd", "indep_wd", "wd_indep", "independent_decay"),
    "num_steps": (
        *("steps", "n_steps", "num_train_steps", "train_steps", "training_steps", "max_steps", "total_steps"),
        *("iterations", "num_iterations", "n_iterations", "iters", "max_iters", "num_steps"),
    ),
    "optimizer": ("opt", "optim", "optimizer_name", "optimizer_type", "optimiser", "optimizer"),
    "seed": ("random_seed", "rng_seed", "seed"),
    STATE: ("state", "status", "outcome", "run_state"),
}
SO_FAR: dict[str, tuple[str, ...]] = {
    "num_steps": (
        *("_step", "global_step", "trainer_global_step", "train_global_step", "step", "iter", "iteration"),
        *("trainer_step", "train_step"),
    ),
    "num_tokens": (
        *("tokens_seen", "tokens_processed", "consumed_tokens", "total_tokens_seen", "train_tokens_seen"),
        *("num_tokens_seen", "n_tokens_seen", "num_input_tokens_seen", "train_num_input_tokens_seen"),
        *("tokens_trained", "total_tokens_processed"),
    ),
}
SEQUENCES = (
    *("sequence_length", "seq_len", "seq_length", "seqlen", "context_length", "block_size", "context", "max_seq_len"),
    *("ctx_len", "max_sequence_length", "max_position_embeddings"),
)
CALLS = "_step"  # counts what was logged; where steps of training are counted too, they count
PROGRESS = (
    *("epoch", "train_epoch", "trainer_epoch", "current_epoch", "epochs_done", "progress", "train_progress"),
    *("fraction_done", "percent_done", "percent_complete"),
)
WRAPPERS = ("config", "summary", "metrics", "hparams", "args", "params")  # objects that say nothing of what is in them
WRAPPED = re.compile(rf"(?:(?:{'|'.join(WRAPPERS)})/)+", re.IGNORECASE)  # summary/val_loss
HARMLESS = ("num_steps", "seed", STATE, "independent_weight_decay")  # left unread, not refused, if two could be it
WITH_UNIT = re.compile(rf"(.*?[^\W_])[\W_]+(?:in[\W_]+)?({WORDS})s?[\W_]*|(.*[a-z])([KMBGT])", re.IGNORECASE)
WITH_UNITS = (*SCALES, "num_steps")  # what is counted
MOST_REMEMBERED = 100_000  # names, of which a table may have as many as it likes
NUMERIC_SHARE = 0.5  # of a column's values, from which on it can be one of numbers


@dataclass
class Found:
    """``places`` of our columns in the source, of its ``axes`` and ``groups``; ``so_far`` of what a run has done, by
    the name of ours that says what it was to do; ``progress`` of columns that say how far it came; ``sequences``
    of those that tell the tokens in a sequence; ``units``, above 1, of the values of our columns; ``notes``."""

    places: dict[str, int] = field(default_factory=dict)
    axes: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    so_far: dict[str, int] = field(default_factory=dict)
    progress: list[int] = field(default_factory=list)
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
        raise BadInput(f"{raw.where}: {'; '.join(missing)}; it has {raw.shown}")
    ours = {name: raw.header[place] for name, place in found.places.items()}
    found.axes = {name: _place(raw, f"--axis {name}={theirs}", theirs, ours) for name, theirs in axes.items()}
    found.groups = {name: _place(raw, f"--group {name}", name, ours) for name in groups}
    for name, names in SO_FAR.items():
        done = [
            place for place in _without_calls(raw, _candidates(raw, names, set())) if place != found.places.get(name)
        ]
        if len(done) == 1 and name in found.places and done[0] not in found.axes.values():
            found.so_far[name] = done[0]
    read = {*found.places.values(), *found.axes.values(), *found.groups.values()}
    progress = [place for place in _candidates(raw, PROGRESS, set(others)) if place not in read]
    found.progress = [place for place in progress if _can_be(raw, "num_steps", place)]
    found.sequences = _candidates(raw, SEQUENCES, set())
    for name in others:
        if name in COLUMNS or raw.times[name] != 1:
            raise BadInput(f"{raw.where}: {name!r} is not one further column of it; it has {raw.shown}")
        found.places[name] = raw.header.index(name)
    return found


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
    planned, so_far = ALIASES.get(name, ()), SO_FAR.get(name, ())
    for names, in_units in ((planned, False), (planned, True), (so_far, False), (so_far, True)):
        places = [
            place
            for place in _candidates(raw, names, taken, in_units=in_units)
            if _can_be(raw, name, place) and (not in_units or name in WITH_UNITS)
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
    base, unit = unit_of(raw.header[place])
    known = {*ALIASES.get(name, ()), *SO_FAR.get(name, ())}
    values = [value for value in raw.columns[place] if not is_empty(value)]
    if name not in WITH_UNITS or unit == 1 or not set(spelled(base)) & known:
        return False
    if any(number(value) is None for value in values):
        return False
    found.units[name] = unit
    first = f": {values[0]} is {float(values[0]) * unit:g}" if values else ""
    found.notes.append(f"{name} is read from {raw.header[place]}, in units of {unit:g} by its name{first}")
    return True


@lru_cache(maxsize=MOST_REMEMBERED)
def unit_of(theirs: str) -> tuple[str, float]:
    """A name without its unit, and that unit: ("params", 1e6) of params_M, params (millions) and paramsM; 1 if none."""
    match = WITH_UNIT.fullmatch(theirs.strip())
    if match is None or (match[3] and not (match[3][-1].islower() and match[4].isupper())):
        return theirs, 1.0
    base, unit = (match[3], match[4]) if match[3] else (match[1], match[2])
    if len(base) == 1 and len(unit) == 1 and unit.islower():
        return theirs, 1.0  # N_t is an index
    return base, 10.0 ** POWERS[unit[0].lower()]


def _hint(raw: RawTable, name: str) -> str:
    """What might be meant, if anything."""
    words = ("lr", "rate") if name == "learning_rate" else ("loss", "ppl", "perplexity", "bpb", "nll")
    alike = [theirs for theirs in raw.header if any(word in re.split("[^a-z]+", theirs.lower()) for word in words)]
    text = f", perhaps {' or '.join(alike[:3])}" if alike else ""
    if name == "learning_rate" and (len(raw.header) == 1 or raw.where.lower().endswith((".txt", ".log", ".out"))):
        text += "; the log of one run is what lrbend read reads"
    if name == "loss" and {"low", "high"} <= set(raw.header):
        text += "; a table of optima, with low and high, is read by lrbend attribute --optima"
    if name == "loss" and any(re.search("ppl|perplexity", theirs.lower()) for theirs in alike):
        text += " (perplexities with --loss-unit perplexity)"
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


def is_so_far(theirs: str, name: str) -> bool:
    """Whether a column, by its name, tells what a run has done and not what it was to do."""
    return bool({*spelled(theirs), *spelled(unit_of(theirs)[0])} & set(SO_FAR[name]))


def _candidates(raw: RawTable, names: Sequence[str], taken: set[str], *, in_units: bool = False) -> list[int]:
    """Columns of one of those names, or of one and a unit."""
    bare = {theirs: unit_of(theirs)[0] if in_units else theirs for theirs in raw.header}
    return [
        place
        for place, theirs in enumerate(raw.header)
        if theirs not in taken and raw.times[theirs] == 1 and (set(spelled(bare[theirs])) & set(names))
    ]


@lru_cache(maxsize=MOST_REMEMBERED)
def spelled(theirs: str) -> tuple[str, ...]:
    """A name as it is compared: whole, and the ends of one with dots, such as config.model.n_params."""
    bare = theirs[match.end() :] if (match := WRAPPED.match(theirs)) else theirs
    parts = [part for part in (bare or theirs).split(".") if part not in WRAPPERS] or [theirs]
    ends = [".".join(parts[place:]) for place in range(len(parts))]
    found = [end if len(end) == 1 else re.sub("[^a-z0-9_]+", "_", end.lower()) for end in ends]
    return (found[0], *(end for end in found[1:] if end != "loss"))  # train.loss is another one


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
    return any(bool(parse(values, suffixes=True, commas=mark).text.mean() < NUMERIC_SHARE) for mark in readings)


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
