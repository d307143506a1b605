"""TensorBoard's event files: records of length, checksum, message, checksum; scalars of each message.

Only what a scalar needs is read of the messages (TensorFlow's ``event.proto`` and ``summary.proto``): of an Event its
step (2) and summary (5), of each Value (1) its tag (1) and either ``simple_value`` (2) or a tensor (8) with one number.
Checksums are not verified, lengths are: a record that does not fit is broken, and the last one of a run that was killed
often is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from experiments.logs.sources.raw_log import Collector

HEADER, FOOTER = 12, 4
LONGEST_RECORD = 1 << 28
FLOAT, DOUBLE = 1, 2  # dtype of a tensor

Field = tuple[int, int, bytes]


def looks_like_events(start: bytes) -> bool:
    """Whether the first bytes are a record whose message is an Event: wall time, then a file version or a step."""
    if len(start) < HEADER + 9:
        return False
    (length,) = struct.unpack_from("<Q", start)
    return 9 <= length <= LONGEST_RECORD and start[HEADER] == 0x09


def add_events(content: bytes, log: Collector, row: int) -> int:
    """Put the scalars of one file into a log from a row on, one each; returns the next row."""
    place, end = 0, len(content)
    while place < end:
        if end - place < HEADER:
            break
        (length,) = struct.unpack_from("<Q", content, place)
        start = place + HEADER
        log.num_lines += 1
        if length > LONGEST_RECORD or start + length + FOOTER > end:
            place = start
            break
        try:
            step, scalars = _event(content[start : start + length])
        except (ValueError, struct.error):
            log.reject(log.num_lines, "a record that is no event")
            scalars = []
        for tag, value in scalars:
            if log.wanted(tag):
                log.add(row, "step", step)
                log.add(row, tag, value)
                row += 1
            else:
                log.pass_over(tag, value)
        place = start + length + FOOTER
    if place < end:
        log.reject(log.num_lines, "a record that is cut off")
    return row


def _event(message: bytes) -> tuple[int, list[tuple[str, float]]]:
    step, scalars = 0, []
    for number, value, inner in _fields(message):
        if number == 2:
            step = value
        elif number == 5:
            for kind, _, content in _fields(inner):
                if kind == 1 and (scalar := _scalar(content)) is not None:
                    scalars.append(scalar)
    return step, scalars


def _scalar(message: bytes) -> tuple[str, float] | None:
    tag, number = "", None
    for kind, _, content in _fields(message):
        if kind == 1:
            tag = content.decode("utf-8", "replace")
        elif kind == 2 and len(content) == 4:
            (number,) = struct.unpack("<f", content)
        elif kind == 8:
            number = _tensor(content)
    return None if number is None else (tag, number)


def _tensor(message: bytes) -> float | None:
    """The one number of a tensor, in its packed bytes (4) or its list of floats (5) or doubles (6)."""
    kind, content = 0, b""
    for number, value, inner in _fields(message):
        if number == 1:
            kind = value
        elif number in (4, 5, 6):
            content = inner
    if kind == FLOAT and len(content) == 4:
        return float(struct.unpack("<f", content)[0])
    if kind == DOUBLE and len(content) == 8:
        return float(struct.unpack("<d", content)[0])
    return None


def _fields(message: bytes) -> Iterator[Field]:
    """Number, varint (0 if it is none), bytes of every field. Raises ValueError for what is no message."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        wire, value = key & 7, 0
        if wire == 0:
            value, place = _varint(message, place)
            yield key >> 3, value, b""
            continue
        if wire == 2:
            length, place = _varint(message, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + length > end:
            raise ValueError("a field that is cut off")
        yield key >> 3, 0, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ValueError("a number that is cut off")
