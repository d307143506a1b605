"""How many threads the kernels use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba

from theory.checks import require_integer


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """``count`` threads inside the block, all that Numba has if None; `InvalidParameter` for more than that."""
    if count is not None:
        most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        count = require_integer("num_threads", count, at_least=1, at_most=most)
    before = numba.get_num_threads()
    numba.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        numba.set_num_threads(before)
