r"""A norm that grows by a power of the relative step: the Bernoulli equation of the reduced theory of `theory.radial`.

.. math::
   \dot\rho = -2\eta\lambda\rho + \eta^2G_0z^{-\sigma}\mathrm{RMS}^{-u}, \qquad z = \eta/\mathrm{RMS}

At constant rate :math:`\rho^m` relaxes linearly, :math:`m = 1-(\sigma-u)/2`, so :math:`\rho` itself relaxes in
:math:`1/(2\eta\lambda m)` steps from any start. :math:`\sigma = 0` is noise, :math:`\sigma = 1` an RMS that goes to a
constant over the decay. No network here follows one power throughout; locally each does.

Derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter
from theory.stationary import rate_and_product
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


def derive_power_law_rms() -> sp.Expr:
    """Solve the Bernoulli equation ``rho' = -2 eta lam rho + eta^2 G`` for a power law: RMS at t."""
    eta, lam, m, C, t, start, rho = positive("eta lambda m C t y_0 rho")  # C = eta^2 G rho^(m-1)
    y = sp.Function("y")
    flow = -2 * eta * lam * rho + C * rho ** (1 - m)  # of rho; y = rho^m is linear
    linear = sp.simplify(sp.expand(sp.diff(rho**m, rho) * flow)).subs(rho, y(t) ** (1 / m))
    solved = sp.dsolve(sp.Eq(y(t).diff(t), sp.expand(sp.powdenest(sp.expand(linear), force=True))), ics={y(0): start})
    return solved.rhs ** (1 / (2 * m))


def power_law_rms(
    steps: ArrayLike,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_rms: ArrayLike,
    *,
    growth: float,
    step_exponent: float,
    rms_exponent: float = 0.0,
) -> Array:
    r"""Weight RMS at constant rate where :math:`G = G_0 z^{-\sigma}\mathrm{RMS}^{-u}`, from below and from above.

    ``growth`` is :math:`G_0`; ``step_exponent`` sigma below 2 + u: 0 is noise, 1 an RMS that tends to a constant over
    the decay. Arguments broadcast.
    """
    eta, product = rate_and_product(learning_rate, weight_decay)
    m = 1 - (step_exponent - rms_exponent) / 2
    if not m > 0:
        raise InvalidParameter("step_exponent", step_exponent, f"below {2 + rms_exponent:g}")
    settled = eta ** (2 - step_exponent) * growth / (2 * product)  # of rho^m
    kept = np.exp(-2 * product * m * np.asarray(steps, dtype=np.float64))
    return np.asarray((settled + (np.square(initial_rms) ** m - settled) * kept) ** (1 / (2 * m)))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
