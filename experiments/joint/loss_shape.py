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

from collections.abc import Callable, Sequence

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
AT_ONCE = 256  # places whose nodes are held in memory
REACH = 6.0  # the shape is used to this distance from the minimum, a factor of 400 in learning rate


def slope(z: Array, shape: Array) -> Array:
    r""":math:`\phi'(z)`; z of any shape, ``shape`` the three numbers of `PARAMETERS`, or such for each z."""
    skew, growth, split = shape
    near = np.clip(z, -REACH, REACH)
    square = growth * near**2
    grown = _sinhc(square, *_root_and_swell(square))
    return near * np.exp(skew * near / 2) * grown * (1 + split * _side(near))


def rise(z: Array, shape: Array) -> Array:
    r""":math:`\phi(z)`, at least 0. Beyond `REACH` it goes on as a straight line."""
    (found,) = _integrals(lambda part, own: (slope(part, own),), z, shape, 1)
    return found + _beyond(z, shape)


def rise_and_gradient(z: Array, shape: Array) -> tuple[Array, Array]:
    r"""`rise`, and :math:`\partial\phi/\partial` (skew, growth, split), shape of z and 3, by the same quadrature."""
    found = _integrals(_slopes, z, shape, 4)
    return found[0] + _beyond(z, shape), np.moveaxis(found[1:], 0, -1)


def shape_gradient(z: Array, shape: Array) -> Array:
    """That of `rise_and_gradient`."""
    return rise_and_gradient(z, shape)[1]


def _beyond(z: Array, shape: Array) -> Array:
    """The straight line beyond `REACH`."""
    near = np.clip(z, -REACH, REACH)
    return np.where(z == near, 0.0, (z - near) * slope(near, shape)) if np.any(z != near) else np.zeros(np.shape(z))


def _integrals(function: Callable[[Array, Array], Sequence[Array]], z: Array, shape: Array, number: int) -> Array:
    """(number, ...) integrals from 0 to each z, within `REACH`, of the functions of distance and shape, a few places
    at a time: the nodes between them then fit into a processor's cache."""
    near, shapes = np.clip(z, -REACH, REACH).ravel(), shape.reshape(3, -1)
    found = np.empty((number, near.size))
    for first in range(0, near.size, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        own = shapes if shapes.shape[1] == 1 else shapes[:, part]
        for row, values in zip(found, function(near[part, None] * NODES, own[..., None]), strict=True):
            row[part] = near[part] * (values @ WEIGHTS)
    return found.reshape(number, *np.shape(z))


def tabulate(grid: Array, shape: Array) -> tuple[Array, Array]:
    """`rise`, (num_points,), and `shape_gradient`, (num_points, 3), at ascending places close to each other, of which
    one is 0: sums over the steps between them, by Gauss's rule of three points. ``shape``: (3,)."""
    return tabulate_each(grid, shape, shape[:1])[0]


def tabulate_each(grid: Array, shape: Array, skews: Array) -> list[tuple[Array, Array]]:
    """`tabulate` for each of the ``skews``, (num,), instead of that of the shape: they differ by a factor only."""
    near = np.clip(grid, -REACH, REACH)
    width = np.diff(near)
    z = near[:-1, None] + width[:, None] * STEP_NODES
    slopes, middle = np.stack(_slopes(z, shape)), int(np.argmin(np.abs(grid)))
    found = []
    for skew in skews:
        parts = (slopes * np.exp((skew - shape[0]) * z / 2)) @ STEP_WEIGHTS
        sums = np.concatenate([np.zeros((4, 1)), np.cumsum(parts * width, axis=1)], axis=1)
        sums -= sums[:, [middle]]
        found.append((sums[0] + (grid - near) * slope(near, np.array([skew, *shape[1:]])), sums[1:].T))
    return found


def _slopes(z: Array, shape: Array) -> tuple[Array, Array, Array, Array]:
    r""":math:`\phi'(z)`, and its derivatives by the three numbers; z within `REACH`."""
    skew, growth, split = shape
    square, side = growth * z**2, _side(z)
    root, swell = _root_and_swell(square)
    pull, grown = z * np.exp(skew * z / 2), _sinhc(square, root, swell)
    sided, risen = pull * (1 + split * side), pull * grown
    first = grown * sided
    return first, first * z / 2, sided * z**2 * _sinhc_slope(square, root, swell, grown), risen * side


def _side(z: Array) -> Array:
    return z / np.sqrt(z**2 + SPLIT_WIDTH**2)


def _root_and_swell(square: Array) -> tuple[Array, Array]:
    """x and exp(x) of x squared, without its sign; NumPy's sinh takes ten times as long."""
    root = np.sqrt(np.abs(square))
    return root, np.exp(root)


def _sinhc(square: Array, root: Array, swell: Array) -> Array:
    """sinh(x)/x as a function of x squared, which may be negative; not below 0. ``root``, ``swell``: of
    `_root_and_swell`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = (swell - 1 / swell) / (2 * root)
        if np.any(square < 0):
            wide = np.where(square < 0, np.sin(np.minimum(root, np.pi)) / root, wide)
    return _near_0(root < 1e-2, square, wide, (1, 1 / 6, 1 / 120))


def _sinhc_slope(square: Array, root: Array, swell: Array, sinhc: Array) -> Array:
    """Derivative of `_sinhc`, whose value is given, with respect to the square."""
    even = (swell + 1 / swell) / 2
    if np.any(square < 0):
        even = np.where(square < 0, np.cos(np.minimum(root, np.pi)), even)
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = (even - sinhc) / (2 * square)
    return _near_0(root < 0.1, square, wide, (1 / 6, 1 / 60, 1 / 1680))


def _near_0(near: NDArray[np.bool_], square: Array, values: Array, series: tuple[float, float, float]) -> Array:
    """The values, replaced by the series where they are lost in rounding."""
    found, small = np.asarray(values), np.asarray(square)[near]
    found[near] = series[0] + small * series[1] + small**2 * series[2]
    return found
