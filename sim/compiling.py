"""Compile kernels, and keep the result on disk for as long as no source of a kernel changes.

Numba's own cache notices an edit of the file a kernel stands in, but not of one that it calls into. So the
directory of the cache is named after the content of all files that use this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import config, njit

HERE = Path(__file__).parent


def _cache_directory() -> Path:
    sources = [file.read_bytes() for file in sorted(HERE.glob("*.py"))]
    content = hashlib.sha256(b"".join(source for source in sources if b"sim.compiling" in source))
    base = Path(config.CACHE_DIR) if config.CACHE_DIR else HERE / "__pycache__"  # type: ignore[attr-defined]
    return base / f"kernels-{content.hexdigest()[:16]}"


CACHE = _cache_directory()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over replicas: parallel and cached; division by zero gives what IEEE 754 says.

    Where the directory cannot be written, Numba falls back to the places it knows.
    """
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(CACHE)  # type: ignore[attr-defined]
    try:
        return njit(parallel=True, cache=True, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


inlined = njit(forceinline=True, error_model="numpy")
