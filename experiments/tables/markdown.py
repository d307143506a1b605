"""Tables as Markdown has them: a header, below it a row of dashes, then rows; other text above and below.

    | width | lr     | val loss   |
    | ---:  | ---:   | ---:       |
    | 256   | `3e-4` | **3.5712** |

The row of dashes is what tells such a file from one whose fields a bar separates. What only changes the look of a cell
is taken off: stars and backticks about it, and of TeX the dollars and braces of a power, ``$2^{-10.5}$``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from experiments.files import BadInput

BAR = "|"
DASHES = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
FIELD = re.compile(r"(?<!\\)\|")  # a bar behind a backslash is one of the text
LOOKS = re.compile(r"(\*{1,3}|_{2}|~~|`+)(?=\S)(.*\S)\1")
TEX = re.compile(r"\$([^$]*)\$|\\\((.*)\\\)")
TIMES = re.compile(r"\s*\\(?:times|cdot)\s*")


def header_place(lines: list[str]) -> int | None:
    """Of the first table: the place of its header in ``lines``, None where there is none."""
    tops = (place for place in range(1, len(lines)) if is_dashes(lines[place]) and BAR in lines[place - 1])
    return next((place - 1 for place in tops if len(fields(lines[place - 1])) == len(fields(lines[place]))), None)


def is_dashes(line: str) -> bool:
    """Whether it is the row below a header."""
    return BAR in line and DASHES.fullmatch(line.rstrip("\r\n")) is not None


def fields(line: str) -> list[str]:
    """The cells of a row, bare."""
    parts = FIELD.split(line.strip())
    if parts and not parts[0].strip():
        parts = parts[1:]
    if parts and not parts[-1].strip() and line.rstrip().endswith(BAR):
        parts = parts[:-1]
    return [bare(part) for part in parts]


def bare(cell: str) -> str:
    """A cell without what only changes its look."""
    text = cell.strip().replace("\\|", BAR)
    while (found := LOOKS.fullmatch(text)) is not None:
        text = found[2].strip()
    if (found := TEX.fullmatch(text)) is not None:
        text = TIMES.sub("*", found[1] if found[1] is not None else found[2]).replace("{", "").replace("}", "")
    return text.strip()


def rows(where: str, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows of the table that begins with the first of the ``lines``, each with its place among them
    from 1 on. Raises `BadInput` where another table follows."""
    inside, before = True, ""
    for place, line in enumerate(lines, start=1):
        if place != 2 and is_dashes(line) and BAR in before:
            raise BadInput(f"{where}: more than one table in it: leave one")
        inside, before = inside and BAR in line, line
        if inside and place != 2:
            yield place, fields(line)
