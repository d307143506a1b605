"""When a norm counts as settled: the end of a transient, and whether a run is long enough for one to end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from theory.checks import require_number
from theory.models import Equilibrium
from theory.networks import Model

Array = NDArray[np.float64]


def transient_steps(weight_rms: Array, equilibrium_rms: float, *, peak_end: int, tolerance: float = 0.05) -> int | None:
    """First step after which the RMS stays within ``tolerance`` of its equilibrium; None if it never gets there.

    Parameters
    ----------
    weight_rms : (num_steps + 1,) RMS before each step and after the last.
    equilibrium_rms : equilibrium at the peak learning rate.
    peak_end : step at which the learning rate begins to decay. "Stays" is asked up to there: a decaying rate
        takes the norm away from the equilibrium of the peak again. A norm that is not there by then counts from
        the first step at which it is.
    """
    require_number("tolerance", tolerance, above=0, below=1)
    inside = np.abs(weight_rms / equilibrium_rms - 1) <= tolerance
    held = inside[: peak_end + 1]
    if held[-1]:
        outside = np.flatnonzero(~held)
        return int(outside[-1]) + 1 if len(outside) else 0
    later = np.flatnonzero(inside[peak_end + 1 :])
    return peak_end + 1 + int(later[0]) if len(later) else None


def passes_equilibrium(transient: int | None, final_ratio: float, *, peak_end: int, tolerance: float = 0.05) -> bool:
    """Whether `transient_steps` is no end but a crossing: the norm comes within ``tolerance`` of the equilibrium of
    the peak rate behind ``peak_end``, and a run that ends at ``final_ratio`` of it has left again."""
    return transient is not None and transient > peak_end and abs(final_ratio - 1) > tolerance


def reaches_equilibrium(model: Model, rates: Array, initial: Array, *, tolerance: float = 0.05) -> bool:
    r"""Whether a run is long enough for its norm to come within ``tolerance`` of equilibrium, whatever its schedule.

    A rate that decays takes its own equilibrium along, so that "within 5 % of it" has no step to be true at. A run is
    judged by its decay time, :math:`\sum_t\eta_t/\max_t\eta_t`: it reaches equilibrium if as many steps at the peak
    rate do. ``rates`` (num_steps,), ``initial`` (1,) weight RMS.
    """
    length = decay_time_steps(rates)
    rms = np.sqrt(model.moments(np.full(length, float(rates.max())), initial).rho[:, 0])
    return settles(rms, length, model.equilibrium(float(initial[0])), tolerance)


def settles(rms: Array, length: int, settled: Equilibrium, tolerance: float) -> bool:
    """Whether ``length`` steps at the peak rate, under which the norm is ``rms``, are enough."""
    return transient_steps(rms[: length + 1], settled.weight_rms, peak_end=length, tolerance=tolerance) is not None


def decay_time_steps(rates: Array) -> int:
    """Steps at the peak rate that decay the weights as much as the run with these ``rates`` (num_steps,)."""
    return max(1, round(float(rates.sum()) / float(rates.max())))


def steps_to_equilibrium(rms: Array, settled: Equilibrium, *, tolerance: float = 0.05, power: float = 1.0) -> float:
    r"""Steps at the peak rate until the RMS stays within ``tolerance`` of equilibrium, also where that is far beyond
    ``rms`` (num_steps + 1,), the norm under the peak rate; 0 where the norm is held.

    Behind ``rms`` the squared RMS to the ``power`` is taken to relax in its relaxation time: exact where the decay is
    decoupled from gradients of constant scale (power 1) and for SGDM (power 2), 2 % off for classic GPT-2, for Adam
    with L2 10 % short from below and 20 % long from far above.
    """
    found = transient_steps(rms, settled.weight_rms, peak_end=len(rms) - 1, tolerance=tolerance)
    if found is not None or settled.relaxation_steps is None:
        return float(found or 0)
    ratio = float(rms[-1]) / settled.weight_rms
    gap = abs(1 - ratio ** (2 * power))
    edge = abs(np.expm1(2 * power * np.log1p(tolerance if ratio > 1 else -tolerance)))  # however small
    left = np.log(gap) - np.log(edge) if gap > edge else 0.0
    return float(np.ceil(len(rms) - 1 + settled.relaxation_steps * left))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
