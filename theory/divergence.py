r"""Runs that went wrong: those that diverged, and those that finished far above the others. Two words, kept apart.

A run *diverged* if a loss of it was not finite or above :math:`3\ln V`, three times that of a uniform guess among V
symbols. This is seen while it trains, whatever other runs do.

A run that finished can still have ended in another state than its neighbours, after a spike that it did not come back
from. It lies *far above* them if its loss exceeds a reference by more than a margin. In a cell, which is one setting of
everything but learning rate and seed, the reference is the lowest loss and the margin 1 nat. Among all runs of a model
size and a budget, whatever their schedules, it is the median and 0.5 nat. No comparison with other runs is made of
such a loss. A table of final losses does not tell the two kinds apart, and counts them together.

The margins are conventions. They lie above what a learning rate wrong by a factor of 16 costs, and below what is lost
by not learning at all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIVERGED_ABOVE = 3.0  # times the loss of a uniform guess
FAR_ABOVE_BEST = 1.0  # nats above the lowest loss of a cell
FAR_ABOVE_MEDIAN = 0.5  # nats above the median loss of a model size and budget


def largest_loss(vocab_size: int) -> float:
    r""":math:`3\ln V` in nats, the loss above which a run has diverged."""
    return DIVERGED_ABOVE * math.log(vocab_size)


def comparable(losses: ArrayLike, reference: ArrayLike, margin: float) -> NDArray[np.bool_]:
    """Which ``losses`` in nats are finite and not more than the ``margin`` above the ``reference``; they broadcast.

    >>> comparable([2.5, 3.4, 3.6, float("nan")], 2.5, FAR_ABOVE_BEST)
    array([ True,  True, False, False])
    """
    values = np.asarray(losses, np.float64)
    return np.isfinite(values) & (values <= np.asarray(reference) + margin)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
