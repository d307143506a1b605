"""Output that never stops work: what cannot be written is left out, and of stdout it is remembered.

Progress on stderr is dropped while nobody takes it, other lines after a few seconds, once until one is taken again. A
stdout that fails, closed, full or without a reader, makes the command fail when it is done, not before.

Control characters, which may come from the cells and names of other people's files, are shown, not sent: ``\\x1b``.
Letters that the encoding of a stream does not have are spelled (`theory.plain_text.spelled`).
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

PIECE = 1000  # characters, of at most four bytes: a pipe that is ready takes 4096
PATIENCE = 5.0  # seconds for a line on stderr that nobody takes
# What moves or paints on a terminal, or turns the direction of writing; a progress bar has its carriage returns.
CONTROLS = [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
CONTROLS += range(0xD800, 0xE000)  # halves of letters, as names in other encodings have: no stream takes them
SHOWN = {number: f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" for number in CONTROLS}


class Stream:
    """In place of a text stream; ``None`` is one that was closed before the process began.

    ``fault`` : why something could not be written, "" if all was.
    """

    def __init__(self, stream: TextIO | None, *, patient: bool) -> None:
        self._stream, self._patient, self._deserted = stream, patient, False
        self.fault = ""
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self._descriptor: int | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._descriptor = cast(TextIO, stream).fileno()

    def write(self, text: str) -> int:
        if self._stream is None:
            self.fault = self.fault or ("it is closed" if text else "")
            return len(text)
        shown = text.translate(SHOWN)
        if not shown.isascii() and self.encoding.lower().replace("-", "") != "utf8":
            from theory.plain_text import spelled  # late: the first line of a help is there before theory is

            shown = spelled(shown, self.encoding)
        for start in range(0, len(shown), PIECE):
            if self.fault or not self._is_taken(text):
                break
            with self._noting_faults():
                self._stream.write(shown[start : start + PIECE])
                if not self._patient:
                    self._stream.flush()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None and not self.fault:
            with self._noting_faults():
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._descriptor is None:
            raise OSError("no file behind this stream")
        return self._descriptor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.fault = getattr(error, "strerror", None) or str(error)
            if self._descriptor is not None:  # what is left in the buffer goes nowhere, when Python ends as well
                with contextlib.suppress(OSError):
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, self._descriptor)
                    os.close(nowhere)

    def _is_taken(self, text: str) -> bool:
        """Whether the other side takes ``text`` without a wait: a pipe does if it has room for a whole line."""
        if self._patient or self._descriptor is None:
            return True
        wait = 0.0 if self._deserted or "\r" in text or not text.strip() else PATIENCE
        try:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            taken = bool(poll.poll(1000 * wait))
        except OSError:
            return True
        self._deserted = not taken and (self._deserted or wait > 0)
        return taken


def lasting_errors() -> None:
    """Replace ``sys.stderr`` for good, in a process that was started to work."""
    sys.stderr = cast(TextIO, Stream(sys.stderr, patient=False))


@contextlib.contextmanager
def lasting_streams() -> Iterator[Stream]:
    """Replace ``sys.stdout`` and ``sys.stderr`` while the block lasts; yields the first."""
    _open_missing()
    before = sys.stdout, sys.stderr
    output, errors = Stream(sys.stdout, patient=True), Stream(sys.stderr, patient=False)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield output
    finally:
        output.flush()
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Put something under the numbers 0 to 2 where they are closed: the next file that is opened would get one."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
