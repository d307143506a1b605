"""First-order linear recursions with varying coefficients, fast for few settings and for many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEW_SETTINGS = 16


def affine_recursion(factor: Array, offset: Array, initial: Array) -> Array:
    """Solve ``x[t+1] = factor[t] * x[t] + offset[t]`` from ``x[0] = initial``.

    ``factor`` and ``offset`` have shape (num_steps, ...), ``initial`` that of one row; returns
    (num_steps + 1, ...). Up to ``FEW_SETTINGS`` settings go one by one through a bidiagonal solve, which costs a
    pass in compiled code; more advance together, step by step.
    """
    x = np.empty((len(factor) + 1, *factor.shape[1:]))
    x[0] = initial
    if x[0].size > FEW_SETTINGS:
        for t in range(len(factor)):
            np.multiply(factor[t], x[t], out=x[t + 1])
            x[t + 1] += offset[t]
        return x
    from scipy.linalg.lapack import dtbtrs

    x[1:] = offset
    bands = np.ones((2, len(x)), order="F")  # diagonal, and below it -factor
    for setting in np.ndindex(x.shape[1:]):
        column = (slice(None), *setting)
        bands[1, :-1] = -factor[column]
        solved, _ = dtbtrs(bands, x[column], uplo="L", diag="U")
        x[column] = np.reshape(solved, len(x))
    return x


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
