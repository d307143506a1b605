r"""Adam's direction when the size of the gradient varies: exact second moments, for any history and any beta2.

Gradient entries are :math:`g_t = \sigma_t\xi_t`, :math:`\xi` independent :math:`N(0, 1)`, the sizes :math:`\sigma_t`
given step by step, and Adam's averages begin with the first of them:

.. math::
   u_t = \frac{m_t/(1-\beta_1^{t+1})}{\sqrt{v_t/(1-\beta_2^{t+1})}}, \qquad
   \langle m_sm_t/\sqrt{v_sv_t}\rangle = \frac{\beta_1^{t-s}}\pi\int_0^\infty\!\!\int_0^\infty\frac{dx\,dy}{\sqrt{xy}}\;
   F_s(Z)G_s(Z)\,\frac{F_t(y)}{F_s(\beta_2^{t-s}y)}, \quad Z = x + \beta_2^{t-s}y

Legend: :math:`a_j` weight of :math:`g_j` in :math:`m_t`, :math:`\omega_j` weight of :math:`\xi_j^2` in :math:`v_t`;

.. math::
   F_t(z) = \langle e^{-zv_t}\rangle = \prod_j(1+2z\omega_j)^{-1/2}, \qquad
   G_t(z) = \sum_j\frac{a_j^2\sigma_j^2}{1+2z\omega_j}

Derivation: as in `theory.second_moment`, which is the case of a constant size long after the start. By symmetry only
equal gradients survive in the mean; each inverse root is :math:`\pi^{-1/2}\int x^{-1/2}e^{-xv}dx`, and the mean of an
exponential of v is a product over the history.

In :math:`z\beta_2^t` the weights of past gradients stand still, so F and G are carried on exactly,

.. math::
   F \leftarrow F\,(1+2z\omega)^{-1/2}, \qquad G \leftarrow \beta_1^2G + \frac{(1-\beta_1)^2\sigma^2}{1+2z\omega}

and so is what the weights have taken up of past directions: with
:math:`p_t = \langle W_tu_t\rangle = -\sum_{s<t}\eta_s(\prod_{s<i<t}\alpha_i)\langle u_su_t\rangle`,

.. math::
   p_t = -k_t\int\frac{dy}{\sqrt y}F_t\Phi_t, \qquad
   \Phi_{t+1} = \beta_1\Big(\alpha_t\Phi_t + \frac{\eta_tk_t}{F_t(y)}\int\frac{dx}{\sqrt x}F_t(x+y)G_t(x+y)\Big), \qquad
   k_t = \frac{\sqrt{1-\beta_2^{t+1}}}{\sqrt\pi(1-\beta_1^{t+1})}

Nothing is expanded in :math:`1-\beta_2`, and nothing looks ahead: a size that depends on the norm fits in.

The fields live on points of equal distance in ln z around :math:`1/v_t`, which move down only. Integrals are
trapezoidal sums; x + y falls between the points, where fields are interpolated. With the spacing here the RMS and the
angle of weights are right to 2e-4. Derived here; checked in Monte Carlo from the first step on.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from theory.checks import require_number

Array = NDArray[np.float64]

SPACING = 0.7  # of the points in ln z
LOWEST, HIGHEST = -7.0, 16.1  # in ln(z v); so high for the first few steps, in which v may be very small
NEGLIGIBLE = 1e-8  # share of the highest point at which it is no longer needed
NOTHING = 1e-100  # left at a point that is taken up again
STENCIL = 6  # points that an interpolation reads
CHECK_EVERY = 8  # steps between looks at the highest point


class ExactDirection:
    """Adam's direction and the weights that it moves, second moments only, for settings that advance together.

    Every step is one call of `see`, then one of `move`; it takes some fifty microseconds, and one more per setting.

    Parameters
    ----------
    num_settings : at least 1. beta1 : in [0, 1). beta2 : in [0.1, 1).

    Attributes
    ----------
    square : (num_settings,) mean square of u after the last gradient that was seen.
    alignment : (num_settings,) mean of W u.
    """

    def __init__(self, num_settings: int, beta1: float, beta2: float) -> None:
        self.beta1 = require_number("beta1", beta1, at_least=0, below=1)
        self.beta2 = require_number("beta2", beta2, at_least=0.1, below=1)
        self._points, self._by_area, self._by_root, self._sums = _quadrature()
        shape = (len(self._points), num_settings)
        self._z = np.empty(shape)
        self._survival, self._squares, self._taken = np.ones(shape), np.zeros(shape), np.zeros(shape)  # F, G, Phi
        self._steps, self._v, self._m2 = 0, np.zeros(num_settings), np.zeros(num_settings)
        self._lag = np.zeros(num_settings)  # how far ln(z v) is above the points
        self.square = self.alignment = np.zeros(num_settings)

    def see(self, variance: Array) -> None:
        """A gradient whose entries have this variance, (num_settings,), above 0."""
        beta1, beta2, own = self.beta1, self.beta2, (1 - self.beta2) * variance
        earlier = beta2 * self._v
        if self._steps:
            self._z /= beta2
            self._lag += np.log1p(own / earlier)
            self._move_points(earlier)
        else:
            self._z[:] = np.exp(self._points)[:, None] / own
        self._steps += 1
        self._v, self._m2 = earlier + own, beta1**2 * self._m2 + (1 - beta1) ** 2 * variance
        damped = 1 / (1 + 2 * own * self._z)
        self._survival *= np.sqrt(damped)
        self._squares *= beta1**2
        damped *= (1 - beta1) ** 2 * variance
        self._squares += damped
        if self._steps % CHECK_EVERY == 0:
            self._drop_points()
        self._both = self._survival * self._squares
        unbias1, unbias2 = 1 - beta1**self._steps, 1 - beta2**self._steps
        unit = self._z[0] * np.exp(-self._points[0])
        self._factor = np.sqrt(unbias2 / np.pi * unit) / unbias1
        self.square = unbias2 / unbias1**2 * unit * (self._by_area @ self._both)
        self.alignment = -self._factor * (self._by_root @ (self._survival * self._taken))

    def move(self, step: Array | float, alpha: Array | float) -> None:
        r"""The weights become :math:`\alpha W - step\,u`; both (num_settings,)."""
        entered = self._sums @ self._both
        entered /= np.maximum(self._survival, NOTHING)
        entered *= step * self._factor
        self._taken *= alpha
        self._taken += entered
        self._taken *= self.beta1

    def _move_points(self, earlier: Array) -> None:
        """Follow 1/v with the points. Below the lowest one v hardly acts."""
        cells = np.floor(self._lag / SPACING).astype(np.int64)
        furthest = int(cells.max())
        if furthest == 0:
            return
        self._lag -= cells * SPACING
        old, count = self._z, len(self._points)
        self._use_points(count + furthest)  # as far as there are; a burst leaves something at the highest ones
        source = np.arange(len(self._points))[:, None] - cells
        kept = np.clip(source, 0, count - 1)
        self._z = old[0] * np.exp(source * SPACING)

        def followed(field: Array, below: Array, above: float = 1.0) -> Array:
            inside = np.take_along_axis(field, kept, axis=0)
            return np.where(source < 0, below, np.where(source < count, inside, above * inside))

        self._survival = followed(self._survival, np.exp(-self._z * earlier), NOTHING)
        self._squares = followed(self._squares, self._m2)
        self._taken = followed(self._taken, self._taken[0])

    def _drop_points(self) -> None:
        """Do without the highest points, where no setting has anything left."""
        share = np.max(self._survival * self._z * self._v, axis=1)
        needed = int(np.flatnonzero(share > NEGLIGIBLE)[-1]) + 1  # at least 14, since F is at least exp(-z v)
        if needed < len(self._points):
            self._use_points(needed)
            self._z, self._survival = self._z[:needed], self._survival[:needed]
            self._squares, self._taken = self._squares[:needed], self._taken[:needed]

    def _use_points(self, count: int) -> None:
        points, by_area, by_root, sums = _quadrature()
        self._points, self._by_area, self._by_root = points[:count], by_area[:count], by_root[:count]
        self._sums = sums[:count, :count].copy()


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Array, Array, Array, Array]:
    r"""Points ln z; weights of :math:`\int dz` and of :math:`\int dz/\sqrt z`; and the matrix that takes a field H to
    :math:`\int dx\,H(x+y)/\sqrt x` at every y. The lowest point stands for all below it."""
    points = np.arange(LOWEST, HIGHEST + SPACING / 2, SPACING)
    by_area, by_root = SPACING * np.exp(points), SPACING * np.exp(points / 2)
    by_area[0] += SPACING * np.exp(points[0]) / np.expm1(SPACING)
    by_root[0] += SPACING * np.exp(points[0] / 2) / np.expm1(SPACING / 2)
    sums = np.zeros((len(points), len(points)))
    for row, y in zip(sums, points, strict=True):
        place = (np.logaddexp(points, y) - points[0]) / SPACING
        start = np.clip(np.floor(place).astype(int) - STENCIL // 2 + 1, 0, len(points) - STENCIL)
        for offset in range(STENCIL):
            others = np.array([k for k in range(STENCIL) if k != offset])
            share = np.prod((place[:, None] - start[:, None] - others) / (offset - others), axis=1)
            np.add.at(row, start + offset, np.where(place <= len(points) - 1, by_root * share, 0.0))
    return points, by_area, by_root, sums


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
