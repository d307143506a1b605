"""The fitted losses of cells between the learning rates that were tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from experiments.joint.fit import JointFit
from experiments.joint.mixed_model import sums_by_cell
from experiments.joint.model import StackedLosses, curve, error_variances

Array = NDArray[np.float64]


def fitted_losses(cells: StackedLosses, fit: JointFit, regressors: Array, trend: Array, x: Array) -> Array:
    """(num_cells, num_points) losses in nats at ``x`` (num_cells, num_points), ln(learning rate) of each cell.

    ``cells``, ``regressors`` and ``trend`` are those that ``fit`` was made of. A cell's level is that which its own
    losses leave, weighted as in the fit.
    """
    middle, tilt = cells.mean(cells.x), fit.state.tilt
    rise = curve(cells, fit.state, regressors, trend)[2]
    rest = cells.loss - rise - (cells.x - cells.spread_out(middle)) * cells.spread_out(tilt)
    errors = error_variances(cells, rise, fit.variances)
    level = sums_by_cell(rest / errors, cells.starts) / sums_by_cell(1 / errors, cells.starts)
    number = x.shape[1]
    between = replace(cells, starts=np.arange(len(x)) * number, x=x.ravel())
    risen = curve(between, fit.state, regressors, trend)[2].reshape(x.shape)
    fitted: Array = level[:, None] + risen + (x - middle[:, None]) * tilt[:, None]
    return fitted


def standard_errors(cells: StackedLosses, fit: JointFit, regressors: Array, trend: Array) -> Array:
    """(num_points,) of the losses as the fit weighs them, in nats: noise, misfit, and slack where one is a bound."""
    rise = curve(cells, fit.state, regressors, trend)[2]
    errors: Array = np.sqrt(error_variances(cells, rise, fit.variances))
    return errors
