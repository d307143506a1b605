"""Whether an error says that memory ran out, which is no fault of what was read or computed then."""

from __future__ import annotations

SAYS_SO = ("can't allocate memory", "cannot allocate memory", "memory allocation failed", "out of memory")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Of Python and NumPy, of torch on a CPU and on a GPU (which is not imported here), of HDF5.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, (OSError, RuntimeError)) and any(words in str(error).lower() for words in SAYS_SO)
