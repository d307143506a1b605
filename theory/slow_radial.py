r"""The norm of matrices that are not scale-invariant under any schedule, in the slow limit.

.. math::
   \frac{d\ln R}{dt} = -\eta\lambda + \frac{\eta^2D^2}{2R^2}\,F\!\Big(\frac\eta R\Big), \qquad
   F(z) = \frac f{1+z/z_v}

Legend: R weight RMS; F force factor of `theory.radial`, D direction ratio. The second term is half the growth of the
squared norm per step. With f = 1 and no valley it is the equation of `theory.slow_norm`, whose solution is closed;
with a valley only a constant rate has one (`theory.radial.steps_between`), and this module integrates.

Assumptions: those of the reduced theory of `theory.radial`, gradients of constant size (no burst at the start, which
Adam forgets in 1/(1-beta2) steps).

Derived here from `theory.radial`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.radial import DEFAULT, DIRECTION_RATIO, Law
from theory.schedules import Schedule

Array = NDArray[np.float64]

RELATIVE, ABSOLUTE = 1e-8, 1e-9  # tolerances of the integration, of ln(RMS)


def weight_rms(
    schedule: Schedule,
    x: ArrayLike,
    *,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_rms: ArrayLike,
    direction_ratio: ArrayLike = DIRECTION_RATIO,
    stretch: ArrayLike = 1.0,
    law: Law = DEFAULT,
) -> Array:
    """Weight RMS at the times ``x``.

    Parameters
    ----------
    x : (num_times,) in steps of the schedule, from 0 to its length.
    learning_rate : peak, above 0. weight_decay : at least 0. initial_rms, direction_ratio : above 0.
    stretch : steps of the run for each step of the schedule, above 0.
    law : the force factor.

    The settings broadcast; returns (num_times, *settings).

    Examples
    --------
    The closed form of white noise, and what a valley makes of it.

    >>> from theory import Cosine, slow_norm
    >>> from theory.radial import NOISE
    >>> setting = {"learning_rate": 1e-3, "weight_decay": 0.1, "initial_rms": 0.02}
    >>> schedule = Cosine(num_steps=20_000)
    >>> round(float(slow_norm.weight_rms(schedule, 10_000.0, **setting)), 5)
    0.05677
    >>> weight_rms(schedule, [10_000.0], direction_ratio=1.0, law=NOISE, **setting).round(5).tolist()
    [0.05677]
    >>> weight_rms(schedule, [10_000.0], **setting).round(4).tolist()
    [0.061]
    """
    from scipy.integrate import solve_ivp  # loads a quarter second of SciPy

    times, place = np.unique(np.asarray(x, np.float64), return_inverse=True)
    settings = (learning_rate, weight_decay, initial_rms, direction_ratio, stretch)
    shape = np.broadcast_shapes(*map(np.shape, settings))
    eta, decay, initial, ratio, slow = (np.broadcast_to(np.asarray(v, np.float64), shape).ravel() for v in settings)

    def slope(t: float, log_rms: Array) -> Array:
        rate, rms = eta * float(schedule.value(t)), np.exp(log_rms)
        return slow * rate * (0.5 * rate * (ratio / rms) ** 2 * law.force(rate / rms) - decay)

    pieces, state, began = [np.empty((0, eta.size))], np.log(initial), 0.0
    for segment in schedule.segments():
        ends = began + segment.length
        here = times[(times > began) & (times <= ends)] if began else times[times <= ends]
        asked = np.append(here[here < ends], ends)
        found = solve_ivp(
            slope, (began, ends), state, method="LSODA", t_eval=asked, rtol=RELATIVE, atol=ABSOLUTE, lband=0, uband=0
        )
        pieces.append(found.y.T[: len(asked) - 1])
        pieces.append(np.repeat(found.y.T[-1:], np.count_nonzero(here == ends), axis=0))
        state, began = found.y[:, -1], ends
    return np.exp(np.concatenate(pieces)).reshape(len(times), *shape)[place]


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
