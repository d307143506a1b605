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


def _gauss(number: int) -> tuple[Array, Array]:
    """Nodes in [0, 1], and weights, which sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(number)
    return (nodes + 1) / 2, weights / 2


NODES, WEIGHTS = _gauss(24)
STEP_NODES, STEP_WEIGHTS = _gauss(3)
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
    near = np.clip(z, -REACH, REACH)
    parts = _slopes(near[..., None] * NODES, shape[..., None])[1:]
    return np.stack([near * (part @ WEIGHTS) for part in parts], axis=-1)


def tabulate(grid: Array, shape: Array) -> tuple[Array, Array]:
    """`rise`, (num_points,), and `shape_gradient`, (num_points, 3), at ascending places close to each other, of which
    one is 0: sums over the steps between them, by Gauss's rule of three points. ``shape``: (3,)."""
    near = np.clip(grid, -REACH, REACH)
    width = np.diff(near)
    parts = np.stack(_slopes(near[:-1, None] + width[:, None] * STEP_NODES, shape)) @ STEP_WEIGHTS
    sums = np.concatenate([np.zeros((4, 1)), np.cumsum(parts * width, axis=1)], axis=1)
    sums -= sums[:, [int(np.argmin(np.abs(grid)))]]
    return sums[0] + (grid - near) * slope(near, shape), sums[1:].T


def _slopes(z: Array, shape: Array) -> tuple[Array, Array, Array, Array]:
    r""":math:`\phi'(z)`, and its derivatives by the three numbers; z within `REACH`."""
    skew, growth, split = shape
    square, side = growth * z**2, _side(z)
    pull, grown = z * np.exp(skew * z / 2), _sinhc(square)
    sided, risen = pull * (1 + split * side), pull * grown
    return grown * sided, grown * sided * z / 2, sided * z**2 * _sinhc_slope(square, grown), risen * side


def _side(z: Array) -> Array:
    return z / np.sqrt(z**2 + SPLIT_WIDTH**2)


def _sinhc(square: Array) -> Array:
    """sinh(x)/x as a function of x squared, which may be negative; not below 0."""
    root = np.sqrt(np.abs(square))
    grown = np.exp(root)  # NumPy's sinh takes ten times as long
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = (grown - 1 / grown) / (2 * root)
        if np.any(square < 0):
            wide = np.where(square < 0, np.sin(np.minimum(root, np.pi)) / root, wide)
    return np.where(root < 1e-2, 1 + square / 6 + square**2 / 120, wide)


def _sinhc_slope(square: Array, sinhc: Array) -> Array:
    """Derivative of `_sinhc`, whose value is given, with respect to the square."""
    root = np.sqrt(np.abs(square))
    grown = np.exp(root)
    even = (grown + 1 / grown) / 2
    if np.any(square < 0):
        even = np.where(square < 0, np.cos(np.minimum(root, np.pi)), even)
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = (even - sinhc) / (2 * square)
    return np.where(root < 0.1, 1 / 6 + square / 60 + square**2 / 1680, wide)
