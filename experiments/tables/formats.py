"""Files of runs as they come: separated values, JSON lines, a JSON list. Nothing is interpreted yet.

What the file is, is told by its first character: ``{`` begins JSON lines, one run each, ``[`` a list of objects. Else
the header's most frequent separator counts, of comma, semicolon, tab and bar; where it has none, blanks separate.
Objects in objects become columns with dots in their names.

Above the header may stand comments (``#``), empty lines and what Excel writes there, ``sep=;``. A comment just above
rows of numbers is the header itself. Fields beyond the header's, if there is nothing in them, are none. A file with a
header above a row of dashes and bars is Markdown (`experiments.tables.markdown`).
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.files import BadInput, one_line, open_regular
from experiments.tables import markdown
from experiments.tables.run_table import Exclusion
from experiments.tables.written import number

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t|"
BLANK = " "  # any number of blanks
TOLD = re.compile("sep=(.)")  # by Excel, in a line above the header
COMMENT = "#"
DEEPEST = 20  # objects in objects


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """Cells as they stand in the source.

    where : its name. header : of the columns. columns : by place, each (num_kept,) text, or what JSON or the data frame
    has, None where there is nothing. lines : (num_kept,) where each row stands. num_rows : of the source.
    exclusions : rows that have another number of fields. separator : of the fields, "" where there is none.
    missing_is_nan : whether the source cannot tell a missing number from one that is not finite.
    """

    where: str
    header: tuple[str, ...]
    columns: Sequence[Sequence[Any]]
    lines: Sequence[int]
    num_rows: int
    exclusions: tuple[Exclusion, ...] = ()
    separator: str = ""
    missing_is_nan: bool = False

    @cached_property
    def times(self) -> Counter[str]:
        """How often each name stands in the header."""
        return Counter(self.header)

    @property
    def shown(self) -> str:
        """The header, for messages."""
        text = ", ".join(self.header)
        return text if len(text) <= 200 else text[:200] + " ..."

    def select(self, places: Sequence[int]) -> RawTable:
        """Some of the rows."""
        columns = [[values[place] for place in places] for values in self.columns]
        return replace(self, columns=columns, lines=[self.lines[place] for place in places])


def read_raw(path: Path) -> RawTable:
    """Read a file in UTF-8. Raises `BadInput`, one line; above `LARGEST_FILE` before it is opened."""
    raw = _read(path)
    if not any(raw.header):
        raise BadInput(f"{path}: empty file: a header with learning_rate and loss is needed")
    return raw


def _read(path: Path) -> RawTable:
    try:
        with open_regular(path) as binary:
            wide = binary.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as Excel's Unicode text
            encoding = "utf-16" if wide else "utf-8-sig"
            with io.TextIOWrapper(binary, encoding=encoding, newline="") as file:
                start = file.read(1 << 16)
                file.seek(0)
                first = start.lstrip()[:1]
                if first == "[":
                    return _from_objects(str(path), _listed(path, file))
                if first == "{":
                    return _from_objects(str(path), _lines(path, file))
                return _separated(str(path), file, _Top.of(start))
    except UnicodeError as error:
        where = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        raise BadInput(f"{path}: not UTF-8{where}; save it as UTF-8 text") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def raw_from_frame(frame: pd.DataFrame) -> RawTable:
    """The same from a data frame, whose missing values are NaN."""
    return RawTable(
        where="table",
        header=tuple(str(name) for name in frame.columns),
        columns=[frame.iloc[:, place].tolist() for place in range(frame.shape[1])],
        lines=range(len(frame)),
        num_rows=len(frame),
        missing_is_nan=True,
    )


@dataclass(frozen=True)
class _Top:
    """What stands above the rows: ``skipped`` lines, then a header, which begins with the sign of a comment or not; and
    what separates the fields, None in Markdown."""

    skipped: int
    is_comment: bool
    separator: str | None

    @staticmethod
    def of(start: str) -> _Top:
        """From the beginning of a file."""
        told, comment = "", -1
        lines = start.splitlines()
        if (header := markdown.header_place(lines)) is not None:
            return _Top(header, False, None)
        for place, line in enumerate(lines):
            text = line.strip()
            if found := TOLD.fullmatch(text):
                told = found[1]
            elif text.startswith(COMMENT):
                comment = place
            elif text:
                separator = told or _separator(line)
                below = next((other.split() for other in lines[place + 1 :] if other.strip()), [])
                if separator == BLANK and len(below) != len(line.split()):
                    separator = SEPARATORS[0]  # a sentence
                if comment >= 0 and all(number(cell) is not None for cell in _fields(line, separator)):
                    above = lines[comment].lstrip(COMMENT + " ")
                    if len(_fields(above, separator)) == len(_fields(line, separator)):
                        return _Top(comment, True, separator)
                return _Top(place, False, separator)
        return _Top(0, False, told or _separator(start))


def _fields(line: str, separator: str) -> list[str]:
    return line.split() if separator == BLANK else line.split(separator)


def _separator(line: str) -> str:
    header = next(iter(line.splitlines()), "")
    bare = "".join(header.split('"')[::2])  # what stands in quotes separates nothing
    best = max(SEPARATORS, key=bare.count)
    return BLANK if not bare.count(best) and len(bare.split()) > 1 and '"' not in header else best


def _separated(where: str, file: io.TextIOWrapper, top: _Top) -> RawTable:
    rows: list[list[str]] = []
    lines: list[int] = []
    num_rows, ragged, example = 0, 0, ""
    records = _records(where, file, top)
    try:
        header = tuple(name.strip() for name in next(records, (0, []))[1])
        if top.is_comment:
            header = (header[0].lstrip(COMMENT).strip(), *header[1:])
            header = header[1:] if top.separator == BLANK and not header[0] else header
        for line, row in records:
            if not any(cell.strip() for cell in row):
                continue
            num_rows += 1
            if len(row) > len(header) and not any(cell.strip() for cell in row[len(header) :]):
                row = row[: len(header)]
            if len(row) != len(header):
                ragged += 1
                example = example or f"line {line} has {len(row)}"
                continue
            rows.append(row)
            lines.append(line)
    except csv.Error as error:
        raise BadInput(f"{where}: not a CSV file ({error}, after line {max(lines, default=1)})") from None
    reason = f"another number of fields than the header's {len(header)}"
    return RawTable(
        where=where,
        header=header,
        columns=list(zip(*rows, strict=True)) or [()] * len(header),
        lines=lines,
        num_rows=num_rows,
        exclusions=(Exclusion(reason=reason, count=ragged, example=example),) if ragged else (),
        separator=top.separator or markdown.BAR,
    )


def _records(where: str, file: io.TextIOWrapper, top: _Top) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows, each with the line on which it ends."""
    source: Iterable[str] = islice(file, top.skipped, None)
    if top.separator is None:
        for line, row in markdown.rows(where, source):
            yield line + top.skipped, row
        return
    if top.separator == BLANK:
        source = (BLANK.join(line.split()) for line in source)
    reader = csv.reader(source, strict=True, delimiter=top.separator)  # else an open quote swallows the rest
    for row in reader:
        yield reader.line_num + top.skipped, row


def _listed(path: Path, file: io.TextIOWrapper) -> Iterator[tuple[int, object]]:
    try:
        return iter(list(enumerate(json.load(file), start=1)))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a JSON file ({one_line(error)})") from None


def _lines(path: Path, file: io.TextIOWrapper) -> Iterator[tuple[int, object]]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            yield line, json.loads(text)
        except (ValueError, RecursionError):
            raise BadInput(f"{path}: line {line} is not a JSON object: one run a line, or a list of runs") from None


def _from_objects(where: str, found: Iterator[tuple[int, object]]) -> RawTable:
    rows, lines = [], []
    for line, item in found:
        if not isinstance(item, dict):
            raise BadInput(f"{where}: run {line} is not an object with names and values: {str(item)[:40]!r}")
        rows.append(dict(_flat(where, item)))
        lines.append(line)
    header = tuple(dict.fromkeys(name for row in rows for name in row))
    columns = [[row.get(name) for row in rows] for name in header]
    return RawTable(where=where, header=header, columns=columns, lines=lines, num_rows=len(rows))


def _flat(where: str, item: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    if prefix.count(".") > DEEPEST:
        raise BadInput(f"{where}: objects within objects, more than {DEEPEST} deep")
    for name, value in item.items():
        if isinstance(value, dict):
            yield from _flat(where, value, f"{prefix}{name.strip()}.")
        else:
            yield prefix + name.strip(), str(value) if isinstance(value, list) else value
