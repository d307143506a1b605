r"""The norm of a run whose direction and radial gradient were measured: an account that closes, with nothing assumed.

.. math::
   \rho_{t+1} = \alpha_t^2\rho_t - 2\alpha_t\eta_t p_t + \eta_t^2 s_t, \qquad
   p_t = (1-w_t)(\alpha_{t-1}p_{t-1} - \eta_{t-1}s_{t-1}) + w_t r_t

Legend: as in `theory.radial`; s the mean square of Adam's direction, r the radial gradient, w the weight of the newest
gradient in the bias-corrected first moment. Exact for gradients whose noise is white.

Derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def measured_moments(
    rates: Array,
    shrinkage: Array,
    beta1: float,
    update_rms: Array,
    radial_gradient: Array,
    initial_rms: float | Array,
) -> tuple[Array, Array]:
    """Squared RMS and mean of W u of a run whose direction and radial gradient are known at every step.

    Parameters
    ----------
    rates, shrinkage : (num_steps, ...) learning rate, and the fraction that decay takes off at every step.
    update_rms : RMS of Adam's direction; radial_gradient : r, both (num_steps, ...), broadcasting against ``rates``.
    initial_rms : broadcasts against one row.

    Returns
    -------
    rho : (num_steps + 1, ...) before each step and after the last. p : (num_steps, ...).
    """
    s = np.square(np.asarray(update_rms, dtype=np.float64))
    weight = newest_weight(len(rates), beta1)
    row = np.broadcast_shapes(rates.shape[1:], np.shape(initial_rms), s.shape[1:], radial_gradient.shape[1:])
    rho, p = np.empty((len(rates) + 1, *row)), np.zeros((len(rates), *row))
    rho[0] = np.square(initial_rms)
    for t, eta in enumerate(rates):
        kept = 1 - shrinkage[t]
        before = 0.0 if t == 0 else (1 - weight[t]) * ((1 - shrinkage[t - 1]) * p[t - 1] - rates[t - 1] * s[t - 1])
        p[t] = before + weight[t] * radial_gradient[t]
        rho[t + 1] = kept**2 * rho[t] - 2 * kept * eta * p[t] + eta**2 * s[t]
    return rho, p


def newest_weight(num_steps: int, beta1: float) -> Array:
    """(num_steps,) weight of the newest gradient in the bias-corrected first moment; 1 at the first step."""
    return np.asarray((1 - beta1) / (1 - beta1 ** np.arange(1, num_steps + 1)))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
