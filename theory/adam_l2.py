r"""Adam with L2: the decay goes through the second moment, so its rate depends on the gradient.

.. math::
   m_t = \beta_1 m_{t-1} + (1-\beta_1)(g_t+\lambda W_t), \qquad W_{t+1} = W_t - \eta_t\,\hat m_t/\varsigma_t, \qquad
   \varsigma^2 = \sigma^2/\rho + \lambda^2\rho

Legend: :math:`\rho` squared weight RMS; :math:`\sigma` RMS of a gradient entry at unit weight RMS (``gradient_rms``),
divided by the weight RMS since the matrix is scale-invariant; :math:`\varsigma` root of Adam's second moment;
:math:`y = \eta\lambda/\varsigma` decay per step, which is what :math:`\eta\lambda` is to AdamW.

**Equilibrium**, exact in y:

.. math::
   \cos\theta = 1-y\,\frac{1-\beta_1}{1+\beta_1}, \qquad
   \rho = \frac{\eta^2}{2y}\,\frac{1+\beta_1}{1+\beta_1+\beta_1y}, \qquad
   \cos(W,u) = \sin\frac\theta2, \qquad
   \sigma^2 = \eta^2\lambda^2\rho\left(\frac{\eta^2}{y^2} - \rho\right)

and the last, whose right-hand side falls with y, gives y for a gradient.

Derivation: at a fixed :math:`\varsigma` the step is that of `theory.sgdm` with coupled decay, learning rate
:math:`\eta(1-\beta_1)/\varsigma` and gradient variance :math:`\sigma^2/\rho = \varsigma^2-\lambda^2\rho`.

**Limits**, leading order in y: :math:`y = (\eta^4\lambda^2/2\sigma^2)^{1/3}`,
:math:`\mathrm{RMS} = (\eta\sigma/2\lambda)^{1/3}`, angle :math:`\sqrt{2y(1-\beta_1)/(1+\beta_1)}`. In terms of the
gradient as it is, :math:`\varsigma`: RMS :math:`\sqrt{\eta\varsigma/2\lambda}` and angle
:math:`\sqrt{2\eta(\lambda/\varsigma)(1-\beta_1)/(1+\beta_1)}`. A small deviation of :math:`\rho` relaxes in
:math:`1/3y` steps, since a larger norm also raises the decay per step. Without decay the norm grows like AdamW's.

**Finite beta2**, leading order in y: the scatter of v leaves a share :math:`\kappa` of the decay (``response`` of
`theory.second_moment.Scatter`), D of the noise that adds up and :math:`c_0` of its size, so the RMS changes by the
factor :math:`(D/\kappa)^{1/3}` and the angle by :math:`(\kappa^2c_0^3/D^2)^{1/6}`: -0.2 % and -1.3 % at (0.9, 0.95).

Where it fails: y above 0.01. Each entry has its own second moment, which follows its own :math:`\lambda^2W^2`, while
here they share the mean; their ratio to the gradient is :math:`y/2`. Measured: RMS 0.1 % and angle 0.2 % high at y =
0.01, 0.3 % and 0.5 % at 0.03. Also a beta2 whose memory is longer than the relaxation, during the transient; and the
first steps with a scatter that is not there yet (1.5 % of the update). Loshchilov and Hutter, arXiv 1711.05101,
describe the effect; derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import sgdm
from theory.checks import InvalidParameter
from theory.roots import solve_rising
from theory.second_moment import Scatter
from theory.stationary import rate_and_product
from theory.symbolic import positive, sp

Array = NDArray[np.float64]
NO_SCATTER = Scatter()


def derive_equilibrium() -> dict[str, sp.Expr]:
    """``rho`` and ``cosine`` in eta, beta_1, y; ``squared_gradient``: the sigma**2 that belongs to y."""
    eta, lam, beta1, y, a, r, v = positive("eta lambda beta_1 y a r v")
    inner = sgdm.derive_moments(decoupled=False)
    normaliser = eta * lam / y
    step = {eta: eta * (1 - beta1) / normaliser, a: beta1}
    per_variance = sp.cancel((inner["rho"] / v).subs(step))
    (rho,) = sp.solve(sp.Eq(r, per_variance * (normaliser**2 - lam**2 * r)), r)
    cosine = sgdm.derive_equilibrium(decoupled=False)["cosine"].subs(step)
    gradient = rho * (normaliser**2 - lam**2 * rho)
    return {"rho": sp.factor(rho), "cosine": sp.factor(cosine), "squared_gradient": sp.factor(gradient)}


def derive_slow_drift() -> sp.Expr:
    """Change of rho per step to leading order in y: that of `theory.sgdm` at the step that Adam's normaliser makes."""
    eta, lam, beta1, sigma, a, rho, v, small = positive("eta lambda beta_1 sigma a rho v epsilon")
    normaliser = sp.sqrt(sigma**2 / rho + lam**2 * rho)
    step = {eta: eta * (1 - beta1) / normaliser, a: beta1}
    inner = sgdm.derive_slow_drift(decoupled=False).subs(v, sigma**2 / rho)
    scaled = inner.xreplace(step).xreplace({eta: sp.sqrt(small) * eta, lam: sp.sqrt(small) * lam})
    # so that y and eta^2/rho vanish alike
    return sp.expand(sp.simplify(sp.limit(sp.simplify(scaled / small), small, 0, "+")))


def derive_limits() -> dict[str, sp.Expr]:
    """The limits of the exact forms, in eta, lambda, beta_1, sigma.

    y to 0: ``product`` (y itself), ``rms``, ``angle``, ``relaxation_steps``. lambda to 0: ``growth`` of rho per step.
    beta_1 to 0: ``rho_without_momentum``, ``cosine_without_momentum`` (of the angle), in y.
    """
    lam, beta1, sigma, y, r = positive("lambda beta_1 sigma y rho")
    exact = derive_equilibrium()
    cube = sp.limit(exact["squared_gradient"] * y**3, y, 0, "+") / sigma**2
    product = sp.root(sp.factor(cube), 3)
    rho = sp.limit(exact["rho"] * y, y, 0, "+") / product
    squared_angle = sp.cancel(2 * (1 - exact["cosine"]) / y) * product  # the cosine is linear in y
    drift = derive_slow_drift()
    settled = sp.solve(drift, r)[0]
    return {
        "product": product,
        "rms": sp.powdenest(sp.sqrt(rho)),
        "angle": sp.sqrt(squared_angle),
        "relaxation_steps": sp.powdenest(sp.simplify(-1 / drift.diff(r).subs(r, settled))),
        "growth": sp.limit(drift, lam, 0, "+"),
        "rho_without_momentum": sp.limit(exact["rho"], beta1, 0),
        "cosine_without_momentum": sp.limit(exact["cosine"], beta1, 0),
    }


def decay_per_step(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    gradient_rms: ArrayLike = 1.0,
    scatter: Scatter = NO_SCATTER,
) -> Array:
    r"""y at equilibrium, all numbers broadcast; raises `NoEquilibrium` at zero weight decay.

    Below :math:`2(1+\beta_1)/(1-\beta_1)`, which the decay alone would tend to: there a step turns W around.
    """
    rate, lam, beta, sigma = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (learning_rate, weight_decay, beta1, gradient_rms))
    )
    if not np.all((sigma > 0) & np.isfinite(sigma)):
        raise InvalidParameter("gradient_rms", gradient_rms, "a finite number above 0")
    if not np.all((beta >= 0) & (beta < 1)):
        raise InvalidParameter("beta1", beta1, "at least 0 and below 1")
    rate_and_product(rate, np.minimum(lam, 0.5 / rate))  # the product itself has no bound here

    def largest(beta: Array) -> Array:
        return 2 * (1 + beta) / (scatter.response * (1 - beta))

    def scale(share: Array, beta: Array) -> Array:
        y = share * largest(beta)
        noise = np.maximum(_noise(y, beta, scatter), 0.0)  # which it is at the end, but for rounding
        return y * (noise + y**2) / np.sqrt(noise)

    return largest(beta) * solve_rising(scale, rate**2 * lam / sigma, beta)


def equilibrium_rms(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    gradient_rms: ArrayLike = 1.0,
    scatter: Scatter = NO_SCATTER,
) -> Array:
    """Weight RMS at equilibrium."""
    y = decay_per_step(learning_rate, weight_decay, beta1, gradient_rms=gradient_rms, scatter=scatter)
    return np.asarray(learning_rate) / np.sqrt(_noise(y, np.asarray(beta1, np.float64), scatter) + y**2)


def angular_update_equilibrium(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    gradient_rms: ArrayLike = 1.0,
    scatter: Scatter = NO_SCATTER,
) -> Array:
    """Angle per step at equilibrium in radians."""
    setting = (learning_rate, weight_decay, beta1)
    return 2 * np.arcsin(cosine_equilibrium(*setting, gradient_rms=gradient_rms, scatter=scatter))


def cosine_equilibrium(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    gradient_rms: ArrayLike = 1.0,
    scatter: Scatter = NO_SCATTER,
) -> Array:
    """Cosine of W and the direction at equilibrium, positive since the direction carries the decay."""
    y = decay_per_step(learning_rate, weight_decay, beta1, gradient_rms=gradient_rms, scatter=scatter)
    beta = np.asarray(beta1, dtype=np.float64)
    square = scatter.response * scatter.variance / scatter.total * y / 2 * (1 - beta) / (1 + beta)
    return np.sqrt(np.minimum(square, 1.0))  # a scatter to first order goes a little beyond at the largest y


def relaxation_steps(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    gradient_rms: ArrayLike = 1.0,
    scatter: Scatter = NO_SCATTER,
) -> Array:
    """Steps in which a small deviation of the squared RMS falls to 1/e (slow limit)."""
    y = decay_per_step(learning_rate, weight_decay, beta1, gradient_rms=gradient_rms, scatter=scatter)
    return 1 / (3 * scatter.response * y)


def moments(
    rates: Array,
    weight_decay: float,
    beta1: float,
    beta2: float,
    initial_rms: float | Array,
    *,
    gradient_rms: float = 1.0,
    scatter: Scatter = NO_SCATTER,
) -> tuple[Array, Array, Array]:
    """Squared RMS (num_steps + 1, ...), mean of W u and mean square of u (num_steps, ...), bias correction included.

    ``rates`` has shape (num_steps, ...); ``initial_rms`` broadcasts against one row.
    """
    row = rates.shape[1:]
    rho = np.empty((len(rates) + 1, *row))
    p, s = np.empty_like(rates), np.empty_like(rates)
    rho[0] = np.square(initial_rms)
    decay = scatter.response * weight_decay
    previous, square, second = np.zeros(row), np.zeros(row), np.zeros(row)  # means of W_t m_{t-1}, m^2; v
    for t, rate in enumerate(rates):
        noise = gradient_rms**2 / rho[t]
        second = beta2 * second + (1 - beta2) * (noise + weight_decay**2 * rho[t])
        entering = (1 - beta1) * (scatter.total * noise + decay**2 * rho[t]) + 2 * beta1 * decay * previous
        square = beta1**2 * square + (1 - beta1) * entering
        along = beta1 * previous + (1 - beta1) * decay * rho[t]
        unbias = np.sqrt((1 - beta2 ** (t + 1)) / second) / (1 - beta1 ** (t + 1))
        p[t], s[t] = unbias * along, unbias**2 * square
        previous = along - rate * unbias * square
        rho[t + 1] = rho[t] - 2 * rate * p[t] + rate**2 * s[t]
    size = scatter.variance / scatter.total  # of the direction as it is, not as it adds up
    return rho, size * p, size * s


def _noise(y: Array, beta1: Array, scatter: Scatter) -> Array:
    r""":math:`\eta^2/\rho - y^2` at equilibrium, :math:`(\sigma/\varsigma\,\eta/\rho)^2`."""
    felt = scatter.response * y
    return felt * (2 - felt * (1 - beta1) / (1 + beta1)) / scatter.total


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
