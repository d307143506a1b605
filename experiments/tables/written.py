"""One number as people write it: 130M, 1,000, 2^-7.5, 1/512, 1e5, 100_000, 1 000 000, 1'000'000, 1.000.000.

``k, m, b, g, t`` behind a number, or million and so on, are powers of a thousand (b and g both 10^9), where the caller
allows them: with what is counted. A comma is a thousands separator, or a decimal point: which, the caller knows, and
whether 1.000 is one or a thousand. A percentage is text: 50% of what is not known; so is a fraction of what is
counted. Cells of a table (`experiments.tables.numbers`) and values of flags are read by this alone; nothing
slow is imported.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Literal

Commas = Literal["thousands", "decimal"]

POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
WORDS = "k|thousand|m|mio|million|b|bn|billion|g|t|trillion"
UNITS = r"(?:\s*(?:param(?:eter)?s|tokens|steps))?"
LARGEST_WHOLE = 2**53  # beyond it a fraction cannot be told from a whole number
THOUSANDS = re.compile(rf"[+-]?[1-9]\d{{0,2}}(,\d{{3}})+(\.\d+)?\s*({WORDS})?{UNITS}", re.IGNORECASE)
DECIMAL = re.compile(rf"[+-]?\d+,\d+(e[+-]?\d+)?\s*({WORDS})?{UNITS}", re.IGNORECASE)
SUFFIXED = re.compile(rf"([+-]?[\d.]+(?:e[+-]?\d+)?)\s*({WORDS})?{UNITS}", re.IGNORECASE)
POWER = re.compile(r"(?:([\d.]+)\s*[x*]\s*)?([\d.]+)\s*(?:\^|\*\*)\s*([+-]?\d+(?:\.\d+)?)")
WITH_ERROR = re.compile("(.*\\d)\\s*(?:\N{PLUS-MINUS SIGN}|\\+/-|\\+-)\\s*[\\d.,]+(?:e-?\\d+)?")
FRACTION = re.compile(r"([\d.]+)\s*/\s*([\d.]+)")
MARKS = " '\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"  # of thousands
MARKED = re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:[{MARKS}]\d{{3}})+(?:[.,]\d+)?\s*({WORDS})?{UNITS}", re.IGNORECASE)
DOTTED = re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:\.\d{{3}})+(?:,\d+)?\s*({WORDS})?{UNITS}", re.IGNORECASE)
SURELY_DOTTED = re.compile(r"[+-]?[1-9]\d{0,2}(?:(?:\.\d{3}){2,}(?:,\d+)?|\.\d{3},\d+)")


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


def written(text: str, *, suffixes: bool = False, commas: Commas = "thousands", dots: bool = False) -> float | None:
    """A number as people write it, None where it is none; ``suffixes``: whether 130M is one; ``dots``: whether 1.000 is
    a thousand."""
    text = text.replace("\N{MINUS SIGN}", "-").lstrip("~\N{ALMOST EQUAL TO} ")
    if error := WITH_ERROR.fullmatch(text):
        text = error[1]
    if MARKED.fullmatch(text):
        text = re.sub(rf"(?<=\d)[{MARKS}](?=\d{{3}})", "", text)
    if SURELY_DOTTED.fullmatch(text) or (dots and DOTTED.fullmatch(text)):
        text = text.replace(".", "").replace(",", ".")
    elif "," in text:
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
            power = float(found[3]) if "." in found[3] else int(found[3])
            return None if factor is None or base is None else float(factor * base**power)
        except (OverflowError, ZeroDivisionError, ValueError):  # the last of an exponent of thousands of digits
            return None
    if not suffixes and (found := FRACTION.fullmatch(text)):
        part, whole_of = number(found[1]), number(found[2])
        return part / whole_of if part is not None and whole_of else None
    if suffixes and (found := SUFFIXED.fullmatch(text)) and (plain := number(found[1])) is not None:
        if plain == 0 or math.isinf(plain):  # also 1e-9999999, which no Decimal can be scaled from
            return plain
        return float(Decimal(found[1]).scaleb(POWERS[(found[2] or "")[:1].lower()]))
    return None


def whole(text: str) -> int | None:
    """A count as people write it, 130M and 1e5 included, None where it is none."""
    try:
        return int(text)
    except ValueError:
        value = written(text.strip(), suffixes=True)
    exact = value is not None and value.is_integer() and abs(value) < LARGEST_WHOLE
    return int(value) if exact else None  # type: ignore[arg-type]
