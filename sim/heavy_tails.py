r"""Student's t from counters, one coordinate at a time.

Bailey's polar form (Mathematics of Computation 62, 1994): with U and V uniform,
:math:`\sqrt{\nu(U^{-2/\nu}-1)}\,\cos 2\pi V` is exactly t with :math:`\nu` degrees of freedom. Here
:math:`-2\ln U` is the squared `sim.random_numbers.radius`, and the sine of a half turn has the law of the cosine of a
whole one. Two integers per coordinate keep the coordinates independent; a pair that shares U would not be.
"""

from __future__ import annotations

import numpy as np

from sim.compiling import inlined
from sim.random_numbers import BLOCK, Bits, Blocks, f32, half_turn, i32, radius, u32


@inlined
def expm1(y: np.float32) -> np.float32:
    """exp(y) - 1 for y from 0 to 80, to 3e-7: a power of two, times a Taylor polynomial on half an octave."""
    octaves = i32(y * f32(1.44269504) + f32(0.5))
    z = (y - f32(octaves) * f32(0.693145752)) - f32(octaves) * f32(1.42860677e-6)
    p = z * f32(1 / 5040) + f32(1 / 720)
    p = z * p + f32(1 / 120)
    p = z * p + f32(1 / 24)
    p = z * p + f32(1 / 6)
    p = z * p + f32(0.5)
    p = z + z * z * p
    power = u32(u32(i32(octaves + i32(127))) << u32(23)).view(f32)
    return power * p + (power - f32(1.0))


@inlined
def fill_student(x: Blocks, dim: int, bits: Bits, more: Bits, degrees: np.float32) -> None:
    """Independent t numbers of unit variance in the first ``dim`` coordinates, zeros in the rest.

    ``degrees`` of freedom, above 2; ``bits`` and ``more`` from `sim.random_numbers.fill_bits` with different keys.
    """
    for b in range(len(x)):
        for i in range(BLOCK):
            r = radius(bits[b, i])
            s, _ = half_turn(more[b, i])
            x[b, i] = s * np.sqrt((degrees - f32(2.0)) * expm1(r * r / degrees))
    last = len(x) - 1
    for i in range(dim - last * BLOCK, BLOCK):
        x[last, i] = f32(0.0)
