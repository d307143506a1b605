"""Columns of text to numbers, each as `experiments.tables.written` reads it.

What a comma means is told by the table as a whole (`commas`), never number by number. Sizes that no quantity of a run
has, beyond `LARGEST` or below `SMALLEST`, are infinite or 0, so that no product of some of them overflows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.tables.written import DECIMAL, DOTTED, SURELY_DOTTED, THOUSANDS, Commas, number, written

Array = NDArray[np.float64]

SMALLEST, LARGEST = 1e-30, 1e30
EMPTY = frozenset({"", "-", "na", "n/a", "none", "null"})
SURELY_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}((,\d{3}){2,}|,\d{3}\.\d+)")


@dataclass(frozen=True)
class Parsed:
    """``numbers`` (num_rows,), NaN where there is none; which are ``text``, which ``empty``; ``rewritten``: the first
    value that is no plain number, with what it was read as."""

    numbers: Array
    text: NDArray[np.bool_]
    empty: NDArray[np.bool_]
    rewritten: tuple[str, float] | None = None


def parse(values: Sequence[Any], *, suffixes: bool = False, commas: Commas = "thousands") -> Parsed:
    """A column; ``suffixes``: whether 130M is a number in it, and 1.000 a thousand where ``commas`` are decimal points
    or another of its values has two such points."""
    nothing = np.zeros(len(values), bool)
    dotted = [value for value in values if isinstance(value, str) and value.count(".") > (commas == "thousands")]
    dots = suffixes and any(DOTTED.fullmatch(value.strip()) for value in dotted)
    try:
        if not dots and bool not in set(map(type, values)):
            return Parsed(possible(np.array([float(value) for value in values], np.float64)), nothing, nothing)
    except (TypeError, ValueError, OverflowError):
        pass
    numbers, text, empty = np.full(len(values), np.nan), nothing.copy(), nothing.copy()
    rewritten = None
    for place, value in enumerate(values):
        if is_empty(value):
            empty[place] = True
            continue
        plain = number(value)
        if plain is None or (dots and isinstance(value, str) and "." in value):
            plain = written(str(value).strip(), suffixes=suffixes, commas=commas, dots=dots)
            if plain is not None and rewritten is None:
                rewritten = str(value).strip(), plain
        if plain is None:
            text[place] = True
        else:
            numbers[place] = plain
    return Parsed(possible(numbers), text, empty, rewritten)


def possible(numbers: Array) -> Array:
    """Numbers with those that nothing measured has as infinite or 0, same shape."""
    size = np.abs(numbers)
    return np.where(size > LARGEST, np.copysign(np.inf, numbers), np.where(size < SMALLEST, 0.0, numbers))


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing: no value, or one of the words for it."""
    return value is None or (isinstance(value, str) and value.strip().lower() in EMPTY)


def commas(where: str, columns: Iterable[Sequence[Any]], separator: str) -> Commas:
    """What a comma in the numbers of a table means: a decimal point if that is the only reading of some of them, or if
    the columns are not separated by commas. Raises `BadInput` where both readings are needed."""
    decimal = thousands = ""
    any_comma = False
    for values in columns:
        for value in values:
            if not isinstance(value, str) or "," not in value:
                continue
            text = value.strip()
            any_comma = True
            if SURELY_DOTTED.fullmatch(text):
                decimal = decimal or text
            elif SURELY_THOUSANDS.fullmatch(text):
                thousands = thousands or text
            elif DECIMAL.fullmatch(text) and not THOUSANDS.fullmatch(text):
                decimal = decimal or text
    if decimal and thousands:
        raise BadInput(f"{where}: commas are decimal points in {decimal!r} and thousands separators in {thousands!r}")
    return "decimal" if decimal or (any_comma and not thousands and separator == ";") else "thousands"
