r"""The shape of loss against ln(learning rate) about its minimum: one minimum, curvature 1, three shared numbers.

.. math::
   \phi'(z) = z\,e^{sz/2}\;\frac{\sinh(rz)}{rz}\,\Big(1 + \frac{a z}{\sqrt{z^2 + w^2}}\Big), \qquad
   \phi(0) = 0, \quad \phi''(0) = 1

Legend: z = ln(learning rate) minus that of the optimum; s the skew, above 0 if too large a rate costs more than too
small a one; :math:`q = r^2` the growth, below 0 for walls that flatten (the hyperbolic sine becomes a sine); a the
split, another curvature on either side of the minimum, (1+a)/(1-a) of them, changing over a width w = 0.1.

Special cases: all 0 is the parabola; q > 0 alone is :math:`(\cosh rz - 1)/q`; with :math:`a = 0`, and
:math:`r + s/2`, :math:`r - s/2` the powers, it is the sum :math:`A\eta^{-(r-s/2)} + B\eta^{r+s/2}`, less of progress
and more of noise, which is what loss laws in the learning rate give. :math:`\phi'` has the sign of z for every s,
:math:`q \ge 0` and :math:`|a| < 1`: one minimum.

Derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2
PARAMETERS = ("skew", "growth", "split")
LOWEST = np.array([-3.0, -0.2, -0.8])
HIGHEST = np.array([3.0, 6.0, 0.8])
SPLIT_WIDTH = 0.1
REACH = 6.0  # the shape is used to this distance from the minimum, a factor of 400 in learning rate


def slope(z: Array, shape: Array) -> Array:
    r""":math:`\phi'(z)`; z of any shape, ``shape`` the three numbers of `PARAMETERS`, or such for each z."""
    skew, growth, split = shape
    near = np.clip(z, -REACH, REACH)
    return near * np.exp(skew * near / 2) * _sinhc(growth * near**2) * (1 + split * _side(near))


def rise(z: Array, shape: Array) -> Array:
    r""":math:`\phi(z)`, at least 0. Beyond `REACH` it goes on as a straight line."""
    near = np.clip(z, -REACH, REACH)
    return near * (slope(near[..., None] * NODES, shape[..., None]) @ WEIGHTS) + (z - near) * slope(near, shape)


def shape_gradient(z: Array, shape: Array) -> Array:
    r""":math:`\partial\phi/\partial` (skew, growth, split), shape of z and 3, by the same quadrature."""
    skew, growth, split = shape[..., None]
    near = np.clip(z, -REACH, REACH)
    steps = near[..., None] * NODES
    square = growth * steps**2
    side, pull = _side(steps), steps * np.exp(skew * steps / 2)
    sided = 1 + split * side
    parts = (pull * steps / 2 * _sinhc(square) * sided, pull * steps**2 * _sinhc_slope(square) * sided)
    by_split = pull * _sinhc(square) * side
    return np.stack([near * (part @ WEIGHTS) for part in (*parts, by_split)], axis=-1)


def _side(z: Array) -> Array:
    return z / np.sqrt(z**2 + SPLIT_WIDTH**2)


def _sinhc(square: Array) -> Array:
    """sinh(x)/x as a function of x squared, which may be negative; not below 0."""
    root = np.sqrt(np.abs(square))
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = np.where(square > 0, np.sinh(root), np.sin(np.minimum(root, np.pi))) / root
    return np.where(root < 1e-2, 1 + square / 6 + square**2 / 120, wide)


def _sinhc_slope(square: Array) -> Array:
    """Derivative of `_sinhc` with respect to the square."""
    root = np.sqrt(np.abs(square))
    with np.errstate(invalid="ignore", divide="ignore"):
        even = np.where(square > 0, np.cosh(root), np.cos(np.minimum(root, np.pi)))
        wide = (even - _sinhc(square)) / (2 * square)
    return np.where(root < 0.1, 1 / 6 + square / 60 + square**2 / 1680, wide)
