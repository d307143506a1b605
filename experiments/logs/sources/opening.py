"""The bytes and the lines of a log: plain or packed by gzip; in UTF-8, or in UTF-16 as PowerShell writes it."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from pathlib import Path

from experiments.files import BadInput

FILE_LIMIT = 2 * 10**9  # bytes
CHUNK = 1 << 20
GZIP = b"\x1f\x8b"
GZIP_WINDOW = 31  # zlib's number for a stream with gzip's header
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_size(path: Path) -> None:
    """Raises `BadInput`."""
    size = path.stat().st_size
    if size > FILE_LIMIT:
        raise BadInput(f"{path}: {size / 1e9:.3g} GB, more than the {FILE_LIMIT / 1e9:g} GB that are read")


def chunks_of(path: Path) -> Iterator[bytes]:
    """Unpacked, as far as it can be unpacked. Raises `BadInput` for more than is read."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        unpack = zlib.decompressobj(GZIP_WINDOW)
        total = 0
        while chunk := file.read(CHUNK):
            if not packed:
                yield chunk
                continue
            while chunk:
                try:
                    content = unpack.decompress(chunk)
                except zlib.error:
                    return
                total += len(content)
                if total > FILE_LIMIT:
                    raise BadInput(f"{path}: more than the {FILE_LIMIT / 1e9:g} GB that are read, unpacked")
                yield content
                chunk = unpack.unused_data
                if chunk:  # another file was appended
                    unpack = zlib.decompressobj(GZIP_WINDOW)


def is_text(start: bytes) -> bool:
    return start.startswith(UTF_16) or b"\0" not in start


def text_of(start: bytes) -> str:
    """The beginning of a text, without its byte order mark."""
    return start.decode(_encoding(start), "replace")


def lines_of(path: Path) -> Iterator[str]:
    """Lines without their ends, whatever these are. A progress bar that goes back to the beginning of its line makes a
    line each time."""
    decoder, rest = None, ""
    for chunk in chunks_of(path):
        if decoder is None:
            decoder = codecs.getincrementaldecoder(_encoding(chunk))("replace")
        text = rest + decoder.decode(chunk)
        held = text.endswith("\r")
        *lines, rest = _with_one_end(text[:-1] if held else text).split("\n")
        rest += "\r" if held else ""
        yield from lines
    rest = rest.rstrip("\r")
    if rest:
        yield rest


def _with_one_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _encoding(start: bytes) -> str:
    return "utf-16" if start.startswith(UTF_16) else "utf-8-sig"
