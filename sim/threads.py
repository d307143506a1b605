"""How many threads the kernels use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numba

from theory.checks import InvalidParameter, require_integer


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """``count`` threads inside the block, all that Numba has if None.

    Raises `InvalidParameter` for more than that, and for variables of Numba with which it has none.
    """
    if count is not None:
        most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        count = require_integer("num_threads", count, at_least=1, at_most=most)
    try:
        before = numba.get_num_threads()
    except ValueError as error:
        names = ("NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER")
        given = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
        raise InvalidParameter("Numba", given, f"without these variables ({error})") from None
    numba.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        numba.set_num_threads(before)
