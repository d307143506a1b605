"""Text to numbers, as people write them: 130M, 1,000, 2^-7, N/A.

``k, m, b, g, t`` behind a number, or million and so on, are powers of a thousand (b and g both 10^9), where the column
may have them. A comma
is a thousands separator, or a decimal point: which, is told by the table as a whole (`commas`), never number by number.
A percentage is text: 50% of what is not known. Sizes that no quantity of a run has, beyond `LARGEST` or below
`SMALLEST`, are infinite or 0, so that no product of some of them overflows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput

Array = NDArray[np.float64]
Commas = Literal["thousands", "decimal"]

SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
WORDS = "k|thousand|m|million|b|bn|billion|g|t|trillion"
UNITS = r"(?:\s*(?:param(?:eter)?s|tokens|steps))?"
SMALLEST, LARGEST = 1e-30, 1e30
EMPTY = frozenset({"", "-", "na", "n/a", "none", "null"})
THOUSANDS = re.compile(rf"[+-]?[1-9]\d{{0,2}}(,\d{{3}})+(\.\d+)?\s*({WORDS})?{UNITS}", re.IGNORECASE)
SURELY_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}((,\d{3}){2,}|,\d{3}\.\d+)")
DECIMAL = re.compile(rf"[+-]?\d+,\d+(e[+-]?\d+)?\s*({WORDS})?{UNITS}", re.IGNORECASE)
SUFFIXED = re.compile(rf"([+-]?[\d.]+(?:e[+-]?\d+)?)\s*({WORDS})?{UNITS}", re.IGNORECASE)
POWER = re.compile(r"(?:([\d.]+)\s*[x*]\s*)?([\d.]+)\s*(?:\^|\*\*)\s*([+-]?\d+)")


@dataclass(frozen=True)
class Parsed:
    """``numbers`` (num_rows,), NaN where there is none; which are ``text``, which ``empty``; ``rewritten``: the first
    value that is no plain number, with what it was read as."""

    numbers: Array
    text: NDArray[np.bool_]
    empty: NDArray[np.bool_]
    rewritten: tuple[str, float] | None = None


def parse(values: Sequence[Any], *, suffixes: bool = False, commas: Commas = "thousands") -> Parsed:
    """A column; ``suffixes``: whether 130M is a number in it."""
    nothing = np.zeros(len(values), bool)
    try:
        if bool not in set(map(type, values)):
            return Parsed(_possible(np.array([float(value) for value in values], np.float64)), nothing, nothing)
    except (TypeError, ValueError, OverflowError):
        pass
    numbers, text, empty = np.full(len(values), np.nan), nothing.copy(), nothing.copy()
    rewritten = None
    for place, value in enumerate(values):
        if is_empty(value):
            empty[place] = True
            continue
        plain = number(value)
        if plain is None:
            plain = _written(str(value).strip(), suffixes, commas)
            if plain is not None and rewritten is None:
                rewritten = str(value).strip(), plain
        if plain is None:
            text[place] = True
        else:
            numbers[place] = plain
    return Parsed(_possible(numbers), text, empty, rewritten)


def _possible(numbers: Array) -> Array:
    size = np.abs(numbers)
    return np.where(size > LARGEST, np.copysign(np.inf, numbers), np.where(size < SMALLEST, 0.0, numbers))


def number(value: object) -> float | None:
    """A plain number, or text that is one."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing: no value, or one of the words for it."""
    return value is None or (isinstance(value, str) and value.strip().lower() in EMPTY)


def _written(text: str, suffixes: bool, commas: Commas) -> float | None:
    text = text.replace("\N{MINUS SIGN}", "-")
    if "," in text:
        pattern, by = (THOUSANDS, "") if commas == "thousands" else (DECIMAL, ".")
        if not pattern.fullmatch(text):
            return None
        text = text.replace(",", by)
    plain = number(text)
    if plain is not None:
        return plain
    if found := POWER.fullmatch(text):
        factor, base = number(found[1] or 1), number(found[2])
        try:
            return None if factor is None or base is None else factor * base ** int(found[3])
        except (OverflowError, ZeroDivisionError):
            return None
    if suffixes and (found := SUFFIXED.fullmatch(text)):
        plain = number(found[1])
        return None if plain is None else plain * SUFFIXES.get((found[2] or "")[:1].lower(), 1.0)
    return None


def commas(where: str, columns: Iterable[Sequence[Any]], separator: str) -> Commas:
    """What a comma in the numbers of a table means: a decimal point if that is the only reading of some of them, or if
    the columns are not separated by commas. Raises `BadInput` where both readings are needed."""
    decimal = thousands = ""
    written = False
    for values in columns:
        for value in values:
            if not isinstance(value, str) or "," not in value:
                continue
            text = value.strip()
            written = True
            if SURELY_THOUSANDS.fullmatch(text):
                thousands = thousands or text
            elif DECIMAL.fullmatch(text) and not THOUSANDS.fullmatch(text):
                decimal = decimal or text
    if decimal and thousands:
        raise BadInput(f"{where}: commas are decimal points in {decimal!r} and thousands separators in {thousands!r}")
    return "decimal" if decimal or (written and not thousands and separator == ";") else "thousands"
