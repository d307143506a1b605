"""From sums over the entries of replicas to observables with their Monte Carlo standard errors.

All replicas count as the blocks of one large matrix: their second moments are added up before anything nonlinear (a
root, an angle) is taken, so that a finite number of entries leaves no bias of the root. The standard error is the
jackknife's, one replica left out at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from theory.trajectory import FIELDS

Array = NDArray[np.float64]


def observables(moments: Array, num_entries: int) -> Array:
    r"""The fields of a `Trajectory` from sums (..., NUM_MOMENTS) over ``num_entries`` entries; (5, ...).

    The angle from :math:`\|W\|\|W'\|\sin\theta = \sqrt{\|D\|^2\|W'\|^2 - \langle W', D\rangle^2}`, D the
    displacement, which keeps the digits of a small angle. The cosine of an update that underflows is NaN.
    """
    ww, wu, uu, nn, nd, dd = np.moveaxis(moments, -1, 0)
    norms = np.sqrt(ww * uu)
    by_field = {
        "weight_rms": np.sqrt(ww / num_entries),
        "angular_update": np.arctan2(np.sqrt(np.maximum(nn * dd - nd**2, 0)), nn - nd),
        "relative_update": np.sqrt(dd / ww),
        "update_rms": np.sqrt(uu / num_entries),
        "cosine": np.divide(wu, norms, out=np.full_like(wu, np.nan), where=norms > 0),
    }
    return np.stack([by_field[field] for field in FIELDS])


def root_mean_square(squares: Array, num_entries: int) -> Array:
    """Root mean square from sums of squares (..., 1); (1, ...)."""
    return np.moveaxis(np.sqrt(squares / num_entries), -1, 0)


def pooled_with_error(sums: Array, dim: int, function: Callable[[Array, int], Array]) -> tuple[Array, Array]:
    """``function`` of the sums over all replicas, and its jackknife standard error; both (fields, num_records).

    ``sums`` is (num_replicas, num_records, k); ``function`` takes sums (..., k) and the number of entries in them.
    """
    num_replicas, total = len(sums), sums.sum(axis=0)
    pooled = function(total, num_replicas * dim)
    error = np.empty_like(pooled)
    for some in np.array_split(np.arange(sums.shape[1]), sums.shape[1] // 1024 + 1):  # bounds the memory
        without_one = function(total[some] - sums[:, some], (num_replicas - 1) * dim)
        error[:, some] = np.sqrt((num_replicas - 1) * without_one.var(axis=1))
    return pooled, error
