"""What a command is doing, on a terminal, while it takes longer than one waits without a word."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

SOON = 2.0  # seconds that pass in silence
OFTEN = 0.5  # seconds between looks at the clock


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show ``what`` with the time since the block began, from `SOON` on; the line is gone when the block ends.

    Only where stderr is a terminal: a file has no line that goes away, and whoever reads one does not wait.
    """
    if not _is_watched():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_show, args=(what, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _is_watched() -> bool:
    return sys.stderr.isatty()


def _show(what: str, ended: threading.Event) -> None:
    if ended.wait(SOON):
        return
    from tqdm import tqdm

    bar = tqdm(desc=what, bar_format="{desc} ... {elapsed}", leave=False, dynamic_ncols=True)
    bar.start_t -= SOON
    bar.refresh()
    while not ended.wait(OFTEN):
        bar.refresh()
    bar.close()
