"""How a run ended: one word for simulation, training and the summary of a run directory."""

from __future__ import annotations

from enum import StrEnum


class RunOutcome(StrEnum):
    """The strings stand in run directories."""

    COMPLETED = "completed"
    DIVERGED = "diverged"  # a loss or a weight was not finite, or far too large
    STOPPED = "stopped"  # before its end, because the caller asked for it


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
