"""The length of the transient at every pair of learning rate and weight decay: exactly, or fast enough for a picture.

Definition and closed forms of one setting: `theory.transient`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import slow_norm
from theory.checks import require_number
from theory.networks import WHITE_NOISE, NetworkLike
from theory.schedules import Schedule, ScheduleLike
from theory.transient import run_grid

Array = NDArray[np.float64]

COARSE = 64  # times per segment at which the norm is looked at


@dataclass(frozen=True, kw_only=True)
class TransientMap:
    """The transient over a plane: axes (num_decays,), (num_rates,), fields (num_decays, num_rates)."""

    learning_rates: Array
    weight_decays: Array
    transient_steps: Array
    transient_fraction: Array
    num_relaxations: Array


def transient_map(
    schedule: ScheduleLike,
    *,
    learning_rates: ArrayLike,
    weight_decays: ArrayLike,
    initial_rms: float,
    beta1: float = 0.9,
    beta2: float = 0.95,
    tolerance: float = 0.05,
    network: NetworkLike = WHITE_NOISE,
) -> TransientMap:
    """Length of the transient at every pair of learning rate and weight decay, by `run_grid`: ready for contours."""
    rates, decays = np.asarray(learning_rates, np.float64), np.asarray(weight_decays, np.float64)
    grid = run_grid(
        schedule,
        learning_rate=rates,
        weight_decay=decays[:, None],
        initial_rms=initial_rms,
        beta1=beta1,
        beta2=beta2,
        tolerance=tolerance,
        network=network,
    )
    return TransientMap(
        learning_rates=rates,
        weight_decays=decays,
        transient_steps=grid.transient_steps,
        transient_fraction=grid.transient_fraction,
        num_relaxations=grid.num_relaxations,
    )


def slow_transient_map(
    schedule: Schedule,
    learning_rates: ArrayLike,
    weight_decays: ArrayLike,
    *,
    initial_rms: float,
    tolerance: float = 0.05,
) -> TransientMap:
    """`slow_transient_steps` at every pair of learning rate and weight decay above 0, for pictures: the norm is
    computed at `COARSE` times a segment, the end of a transient lies on a straight line between them."""
    require_number("tolerance", tolerance, above=0, below=1)
    rates, decays = np.asarray(learning_rates, np.float64), np.asarray(weight_decays, np.float64)
    ends = np.cumsum([0, *(segment.length for segment in schedule.segments())])
    early = ends[1] * np.geomspace(1e-4, 1 / COARSE, 9)
    mesh = np.unique(np.concatenate([early, *(np.linspace(a, b, COARSE + 1) for a, b in pairwise(ends))]))
    setting = {"learning_rate": rates, "weight_decay": decays[:, None]}
    rms = slow_norm.weight_rms(schedule, mesh[:, None, None], **setting, initial_rms=initial_rms)
    beyond = np.abs(rms / np.sqrt(rates / (2 * decays[:, None])) - 1) - tolerance
    out, peak_end = beyond > 0, int(np.searchsorted(mesh, schedule.peak_end))
    last_out = peak_end - np.argmax(out[peak_end::-1], axis=0)
    first_in = peak_end + np.argmax(~out[peak_end:], axis=0)
    before = np.where(out[peak_end], np.maximum(first_in - 1, 0), np.minimum(last_out, len(mesh) - 2))
    low, high = (np.take_along_axis(beyond, place[None], axis=0)[0] for place in (before, before + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = mesh[before] + (mesh[before + 1] - mesh[before]) * low / (low - high)
    steps = np.where(out[: peak_end + 1].any(axis=0), steps, 0.0)
    steps = np.where(out[peak_end:].all(axis=0), np.inf, steps)
    return TransientMap(
        learning_rates=rates,
        weight_decays=decays,
        transient_steps=steps,
        transient_fraction=np.minimum(steps / schedule.num_steps, 1.0),
        num_relaxations=2 * rates * decays[:, None] * float(schedule.integral(schedule.num_steps)),
    )


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
