"""Coefficients averaged over a variance that the data do not tell well: mixtures of t distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Averages:
    """The coefficients at each tau of a grid, for averaging over it.

    tau, weights : (num_nodes,), the latter sum to 1. centres : (num_nodes, num_regressors). covariances : (num_nodes,
    num_fixed, num_fixed) of the coefficients, the trend of curvature and the shape, in this order.
    """

    tau: Array
    weights: Array
    centres: Array
    covariances: Array


def mixture_quantile(centres: Array, errors: Array, weights: Array, freedom: float, probability: float) -> float:
    """Quantile of a mixture of t distributions: (num_nodes,) centres, standard errors above 0 and weights."""
    low, high = float(centres.min() - 60 * errors.max()), float(centres.max() + 60 * errors.max())
    for _ in range(60):
        middle = (low + high) / 2
        below = float(weights @ stdtr(freedom, (middle - centres) / errors))
        low, high = (middle, high) if below < probability else (low, middle)
    return (low + high) / 2
