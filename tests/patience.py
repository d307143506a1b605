"""When work counts as not ending: for faults that make it quadratic or worse, never for how fast it is."""

from __future__ import annotations

HANGS = 60.0  # seconds of processor time, ten times and more what the work needs on the slowest machine seen
