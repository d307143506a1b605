"""Ctrl-C where Python or a library would lose it, or would end the process without a word."""

from __future__ import annotations

import atexit
import contextlib
import importlib.machinery
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from importlib.abc import MetaPathFinder
from typing import Any

SOON = 0.05  # s, until a Ctrl-C that came too early is sent again
_PENDING: list[threading.Timer] = []
_HEARD = threading.Event()


@contextlib.contextmanager
def interrupts_arrive() -> Iterator[None]:
    """Let a Ctrl-C be heard that comes while Python runs a finaliser, out of which no exception comes, or loads C code.

    What a finaliser lacked memory for, and what HDF5 fails to close, is not told: its files are made in memory, and are
    left half made only where Ctrl-C or memory stopped a command, which says so itself.
    """

    from gpt.memory import is_out_of_memory

    def hook(lost: Any) -> None:
        if lost.exc_type is KeyboardInterrupt:
            _interrupt_soon()  # not here: this is a finaliser still
        elif not is_out_of_memory(lost.exc_value) and not _is_of_hdf5(lost.object):
            before(lost)

    before, sys.unraisablehook = sys.unraisablehook, hook
    with compiled_code_loaded_whole(), _remembered():
        try:
            yield
        finally:
            sys.unraisablehook = before
            while _PENDING:
                _PENDING.pop().cancel()  # what was to be stopped is over
            atexit.unregister(_no_more_interrupts)
            atexit.register(_no_more_interrupts)  # the last one that is registered is the first that is called


def was_heard() -> bool:
    """Whether there was a Ctrl-C since the command began: NumPy's C code can make a TypeError of one, which tells
    nothing of where it comes from."""
    return _HEARD.is_set()


@contextlib.contextmanager
def _remembered() -> Iterator[None]:
    _HEARD.clear()
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not _in_main_thread():
        yield
        return

    def remember(number: int, frame: Any) -> None:
        _HEARD.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _HEARD.clear()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def compiled_code_loaded_whole(packages: Collection[str] = ("torch",)) -> Iterator[None]:
    """Hold a Ctrl-C back until a compiled module is loaded, or one of ``packages`` with all that it imports.

    While torch makes its C++ types, an exception of Python ends the process by SIGABRT (1 Ctrl-C in 60) or is swallowed
    (3 in 60); NumPy's C code makes an ImportError of it. What is left half loaded can't be imported again.
    """
    finder = _Whole(frozenset(packages))
    sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), finder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(finder)


class _Whole(MetaPathFinder):
    """Finds what `PathFinder` behind it would find."""

    def __init__(self, packages: frozenset[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        loader = None if spec is None else spec.loader
        whole = loader is not None and name in self.packages
        if whole or isinstance(loader, importlib.machinery.ExtensionFileLoader):
            for step in ("create_module", "exec_module"):
                setattr(loader, step, _without_interrupts(getattr(loader, step)))
        return spec


def _without_interrupts(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def whole(given: Any) -> Any:
        if not _in_main_thread():
            return load(given)
        with _held_back():
            return load(given)

    return whole


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is None:  # not Python's to put back
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            _interrupt_soon()  # not here: the import would fail, and torch can't be loaded twice


def _interrupt_soon() -> None:
    soon = threading.Timer(SOON, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    soon.daemon = True
    _PENDING.append(soon)
    soon.start()


def _no_more_interrupts() -> None:
    """As Python ends, torch and others clean up, and what interrupts them is printed with a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_of_hdf5(finaliser: object) -> bool:
    """Or of xarray, which opens no other files here."""
    return (getattr(finaliser, "__module__", None) or "").partition(".")[0] in ("xarray", "h5netcdf", "h5py")
