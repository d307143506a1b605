"""Compile kernels, and keep the result on disk for as long as no source of a kernel changes.

Numba's own cache notices an edit of the file a kernel stands in, but not of one that it calls into. So the
directory of the cache is named after the content of all files that use this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

from numba import config, get_num_threads, njit

HERE = Path(__file__).parent


def _cache_directory() -> Path:
    sources = [file.read_bytes() for file in sorted(HERE.glob("*.py"))]
    content = hashlib.sha256(b"".join(source for source in sources if b"sim.compiling" in source))
    base = Path(config.CACHE_DIR) if config.CACHE_DIR else HERE / "__pycache__"  # type: ignore[attr-defined]
    return base / f"kernels-{content.hexdigest()[:16]}"


CACHE = _cache_directory()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over the replicas from ``first`` to before ``last``, the first two arguments; cached. Division by
    zero gives what IEEE 754 says.

    It is called with the number of replicas in place of both, and shares them among as many threads as Numba is told
    to use. Numba would do that itself, but compiles a parallel loop three times over. Where the directory of the cache
    cannot be written, it falls back to the places it knows.
    """
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(CACHE)  # type: ignore[attr-defined]
    try:
        compiled = njit(nogil=True, cache=True, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]

    @wraps(function)
    def shared(count: int, *arguments: Any) -> None:
        num_threads = max(1, min(get_num_threads(), count))
        parts = list(pairwise(count * place // num_threads for place in range(num_threads + 1)))
        if num_threads == 1:
            compiled(*parts[0], *arguments)
            return
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(lambda part: compiled(*part, *arguments), parts))

    return shared


merged = njit(inline="always", error_model="numpy")  # into the one kernel that calls it: it is compiled once less
inlined = njit(forceinline=True, error_model="numpy")
