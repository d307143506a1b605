r"""AdamC: AdamW with a weight decay that follows the learning rate, so that the equilibrium norm stays put.

.. math::
   W_{t+1} = (1-\eta_t\lambda_t)W_t - \eta_t u_t, \qquad \lambda_t = \lambda\,\eta_t/\eta_{peak}

Legend: as in `theory.adamw`; u Adam's direction;
:math:`x_t = \eta_t\lambda_t = \eta_{peak}\lambda\,(\eta_t/\eta_{peak})^2`.

**Result**: AdamW's formulas at :math:`(\eta_t, \lambda_t)`. To leading order

.. math::
   \mathrm{RMS} = \sqrt{\eta_{peak}/2\lambda} \text{ at every } \eta_t, \qquad
   \theta = \frac{\eta_t}{\eta_{peak}}\sqrt{2\eta_{peak}\lambda\,\tfrac{1-\beta_1}{1+\beta_1}}, \qquad
   \tau = \frac1{2\eta_{peak}\lambda}\left(\frac{\eta_{peak}}{\eta_t}\right)^2

so the angle follows the learning rate and not its root, and the norm does not lag: it has nowhere to go.

Derivation: `theory.adamw` at fixed :math:`(\eta_t, \lambda_t)`; the ratio :math:`\eta_t/\lambda_t` is constant.

**Limits**: at the peak it is AdamW; the exact RMS still depends on :math:`x_t` at first order, by
:math:`x_t(\frac14 - \frac{\beta_1}{1-\beta_1^2})` relative to the leading order.

Where it fails: as AdamW; and the relaxation slows down quadratically, so a norm that is not settled when the decay
begins stays where it is. Defazio, arXiv 2506.02285.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import adamw
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


def derive_equilibrium() -> dict[str, sp.Expr]:
    """AdamW's ``rms``, ``cosine`` and ``sine`` at the fraction f of the peak, with f, eta (peak) and lambda."""
    eta, lam, f = positive("eta lambda f")
    at_fraction = {eta: f * eta, lam: f * lam}
    return {name: value.subs(at_fraction, simultaneous=True) for name, value in adamw.derive_equilibrium().items()}


def derive_limits() -> dict[str, sp.Expr]:
    """Leading order in eta*lambda: ``rms``, ``angle``, and the relative ``rms_correction`` at first order."""
    eta, lam, beta1, U, x, f = positive("eta lambda beta_1 U x f")  # x: at the fraction f of the peak
    q = (1 - beta1) / (1 + beta1)
    exact = {k: v.subs(lam, x / (f**2 * eta)).subs(U, sp.sqrt(q)) for k, v in derive_equilibrium().items()}
    peak = f**2 * eta * lam
    square = sp.cancel(exact["rms"] ** 2 * x / (f * eta) ** 2)
    leading = sp.limit(square, x, 0, "+")
    angle = sp.sqrt(sp.limit(sp.cancel(exact["sine"] ** 2 / x), x, 0, "+") * peak)
    correction = sp.limit(sp.cancel((square / leading - 1) / (2 * x)), x, 0, "+")
    return {
        "rms": sp.sqrt(leading * (f * eta) ** 2 / peak),
        "angle": sp.simplify(angle),
        "rms_correction": sp.factor(correction),
    }


def weight_decays(rates: ArrayLike, peak: ArrayLike, weight_decay: ArrayLike) -> Array:
    """The decay that goes with each learning rate; all broadcast."""
    return np.asarray(weight_decay) * np.asarray(rates, dtype=np.float64) / np.asarray(peak)


def equilibrium_rms(rates: ArrayLike, peak: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    """Weight RMS that belongs to each rate, given the peak rate and the decay at the peak."""
    return adamw.equilibrium_rms(rates, weight_decays(rates, peak, weight_decay), beta1)


def angular_update_equilibrium(
    rates: ArrayLike, peak: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9
) -> Array:
    """Angle per step that belongs to each rate, in radians."""
    return adamw.angular_update_equilibrium(rates, weight_decays(rates, peak, weight_decay), beta1)


def relaxation_steps(rates: ArrayLike, peak: ArrayLike, weight_decay: ArrayLike) -> Array:
    """Steps in which the squared RMS forgets its start by 1/e, at each rate."""
    return adamw.relaxation_steps(rates, weight_decays(rates, peak, weight_decay))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
