"""Locks between processes of one machine or of several: a file that says who works on what lies beside it.

The file is locked with ``flock``, opened for writing as NFS wants it. Some network file systems keep such locks to one
node, so it also holds a lease: the machine and process that have it, under a time that they renew. Who finds the lease
of a living process of its own machine, or of another machine that renewed it less than `STALE` seconds ago, stays away;
the clocks of the machines must agree to a minute. A lease is taken over by renaming its file, which one process can do.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

STALE = 120.0  # seconds without a renewal after which another machine counts as dead
RENEWAL = 15.0
CREATION = 5.0  # seconds after which a file without a lease is no longer being written
PAUSE = 0.2  # seconds between looks of who waits
LARGEST_LEASE = 4096  # bytes
FREE = b"free\n"


class Lock:
    """A lock that this process holds until `release`; made by `try_lock`."""

    def __init__(self, file: Path, descriptor: int, lease: bytes) -> None:
        self._file, self._descriptor, self._lease = file, descriptor, lease
        self._released = threading.Event()
        threading.Thread(target=self._renew, daemon=True).start()

    def is_held(self) -> bool:
        """Whether the file is still there and tells of this lock, and nobody removed or replaced it."""
        try:
            there = os.stat(self._file)
            same = os.path.samestat(there, os.fstat(self._descriptor))
            return same and os.pread(self._descriptor, LARGEST_LEASE, 0) == self._lease
        except OSError:
            return False

    def release(self) -> None:
        """Give it up; the file stays, for the next one."""
        self._released.set()
        if os.pread(self._descriptor, LARGEST_LEASE, 0) == self._lease:
            with contextlib.suppress(OSError):
                _write(self._descriptor, FREE)
        os.close(self._descriptor)

    def _renew(self) -> None:
        while not self._released.wait(RENEWAL):
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)


def try_lock(file: Path) -> Lock | None:
    """Lock a file, which is made if it is not there; None if another process has it.

    Raises OSError if it cannot be opened, FileNotFoundError if its folder is gone.
    """
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if not _take_away_dead(file):
                return None
            continue
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            lease = _own_lease()
            _write(descriptor, lease)
            return Lock(file, descriptor, lease)
        except BaseException:
            os.close(descriptor)
            raise


@contextlib.contextmanager
def locked(file: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[Lock]:
    """Hold a lock while the block lasts; waits for it, after one call of ``on_wait``."""
    lock, waited = try_lock(file), False
    while lock is None:
        if not waited:
            on_wait()
            waited = True
        time.sleep(PAUSE)
        lock = try_lock(file)
    try:
        yield lock
    finally:
        lock.release()


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock right now; it may end the moment after."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_held(descriptor)
    finally:
        os.close(descriptor)


def _take_away_dead(file: Path) -> bool:
    """Remove a lock file that no living process holds; False if one does."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if _is_held(descriptor):
            return False
        gone = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        try:
            os.rename(file, gone)
        except FileNotFoundError:  # another one was faster
            return True
        if not os.path.samestat(os.stat(gone), os.fstat(descriptor)):
            with contextlib.suppress(OSError):  # somebody else's new lock: give it back
                os.link(gone, file)
        gone.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    content, age = os.pread(descriptor, LARGEST_LEASE, 0), time.time() - os.fstat(descriptor).st_mtime
    if content == FREE:
        return False
    try:
        machine, process, began, _ = json.loads(content)
        if machine == _machine():
            return bool(_began(int(process)) == began)
        return age < STALE
    except (ValueError, TypeError, OverflowError, RecursionError):
        return age < CREATION


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)
    os.fsync(descriptor)


def _own_lease() -> bytes:
    return json.dumps([_machine(), os.getpid(), _began(os.getpid()), secrets.token_hex(8)]).encode()


def _machine() -> str:
    """This machine since it was started, and the processes that see each other's numbers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _began(process: int) -> str | None:
    """When a process was started, which tells it from a later one of the same number; None if it is not there."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "running"
