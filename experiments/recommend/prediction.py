r"""What a fitted law says at a setting that no cell of its table has.

.. math::
   \mu_* = x_*^\top\beta + u_*, \qquad u_* \sim N(0, \tau^2), \qquad
   \mu_* \mid \tau \sim t_\nu\big(x_*^\top\hat\beta_\tau,\; x_*^\top C_\tau x_* + \tau^2\big)

averaged over :math:`\tau` as in `experiments.joint.averages`: an interval for the optimum of the new cell and not only
for the law, with the covariance of all terms, half squares and products included. Derived here.

**The shape of the loss.** The fit holds it with priors P that are wide on purpose, so that the posterior covariance
:math:`C = (A+P)^{-1}` counts shapes which hardly occur. For shapes off the middle of the prior by :math:`\kappa` times
its width the mean square error is smaller,

.. math:: C\,(A + \kappa^2 P)\,C = C - (1 - \kappa^2)\, C P C

and this is what stands for :math:`C_\tau` above. :math:`\kappa` = `TYPICAL_SHAPE`: the smooth shapes of
`experiments.calibration.made_sweeps` lie 0.44 (skew), 0.48 (split) and 0.9 (growth, which hardly moves an optimum)
standard deviations off the middle, root mean square. For one cell's optimum `experiments.bend.interval` does not
average over shapes:
its interval is to hold for each.

**What the table does not tell.** A second derivative that the cells do not determine is taken as 0 with a standard
deviation of `ASSUMED_BEND`: a slope that doubles from -0.23 to -0.46 over a decade has 0.1. If the term is absent from
the law, its column q is a combination :math:`Xw` of the others, which have absorbed it, and the target misses
:math:`q_* - x_*^\top w` of it; if it is in the law, the assumption is its prior, whether the table tells it well,
poorly, or by censored optima alone: far outside the table an estimate of a bend is not trusted as it stands. Slopes
have the priors of the joint fit, 0 +- 1 where the cells leave them open (`Regressors.precision`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from experiments.joint.averages import central_interval
from experiments.joint.fit import JointFit
from experiments.joint.regressors import Regressors, term_value

Array = NDArray[np.float64]
Term = tuple[str, ...]

TYPICAL_SHAPE = 0.5  # distance of a shape from the middle of its prior, over the prior's standard deviation
MANY = 1e4  # degrees of freedom
ASSUMED_BEND = 0.1  # standard deviation of a second derivative that the table does not determine


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A number and its central interval. value, low, high : as logarithms, or after `factor` as the numbers."""

    value: float
    low: float
    high: float

    def factor(self) -> Predicted:
        """A logarithm as the number itself."""
        value, low, high = (float(np.exp(np.clip(number, -700, 700))) for number in (self.value, self.low, self.high))
        return Predicted(value=value, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """The law's coefficients with their uncertainty, assumed terms last.

    model : the terms that the cells carry. terms : those, then the ones that are assumed and not fitted. assumed : all
    that rest on the assumption. tau, weights : (num_nodes,), the grid of the scatter and what each node counts.
    centres : (num_nodes, num_terms), the estimates. covariances : (num_nodes, num_fixed, num_fixed), mean square errors
    of the terms, then of the trend of curvature and of the shape. freedom : as in `Averages`.
    """

    model: Regressors
    terms: tuple[Term, ...]
    assumed: tuple[Term, ...]
    tau: Array
    weights: Array
    centres: Array
    covariances: Array
    freedom: float

    @staticmethod
    def of(model: Regressors, joint: JointFit, doubtful: Sequence[str], axes: Sequence[str]) -> Coefficients:
        """From a fit; ``doubtful``: axes whose half square the assumption holds, ``axes``: those that may curve."""
        curved = [name for name in model.slopes if name in axes]
        second = list(combinations_with_replacement(curved, 2))
        absent = [term for term in second if term not in model.terms and term[::-1] not in model.terms]
        held = [term for term in model.terms if len(term) == 2 and set(term) <= set(curved)]
        doubted = [(name, name) for name in doubtful if (name, name) in model.terms]
        averages, p = joint.averages, len(model.terms)
        centres, covariances = averages.centres, _mean_square_errors(joint)
        rest = covariances.shape[1] - p
        for term in held:
            which = model.terms.index(term)
            gain = covariances[:, :, which] / (covariances[:, which, which] + ASSUMED_BEND**2)[:, None]
            centres = centres - gain[:, :p] * centres[:, which, None]
            covariances = covariances - gain[:, :, None] * covariances[:, None, which, :]
        if absent:
            logs = {name: model.columns[:, model.terms.index((name,))] for name in curved}
            columns = np.stack([term_value(term, logs) for term in absent], axis=1)
            absorbed = np.linalg.lstsq(model.columns, columns, rcond=None)[0]
            turn = np.concatenate([-absorbed, np.eye(len(absent)), np.zeros((rest, len(absent)))]) * ASSUMED_BEND
            covariances = np.insert(np.insert(covariances, [p] * len(absent), 0, axis=1), [p] * len(absent), 0, axis=2)
            covariances = covariances + turn @ turn.T
            centres = np.pad(centres, ((0, 0), (0, len(absent))))
        return Coefficients(
            model=model,
            terms=(*model.terms, *absent),
            assumed=(*doubted, *absent),
            tau=averages.tau,
            weights=averages.weights,
            centres=centres,
            covariances=covariances,
            freedom=averages.freedom,
        )

    def row(self, setting: Mapping[str, float]) -> Array:
        """(num_terms,) of the law at a setting that has every name of it."""
        logs = self.model.logs(setting)
        return np.array([term_value(term, logs) for term in self.terms])

    def parts(self, setting: Mapping[str, float]) -> dict[str, Array]:
        """Rows that add up to the change from the middle to a setting: along each name alone, then each product."""
        row = self.row(setting)
        return {
            " by ".join(names): row * [tuple(dict.fromkeys(term)) == names for term in self.terms]
            for names in dict.fromkeys(tuple(dict.fromkeys(term)) for term in self.terms if term)
        }

    def variances(self, row: Array, *, scatter: bool) -> Array:
        """(num_nodes,) of ``row`` times the coefficients, and of the scatter of a new cell about the law."""
        terms = slice(len(row))
        spread: Array = np.einsum("p,npq,q->n", row, self.covariances[:, terms, terms], row) + scatter * self.tau**2
        return spread

    def predict(self, row: Array, confidence: float, *, scatter: bool, further: float = 0.0) -> Predicted:
        """Mean and central interval of ``row`` times the coefficients, for a new cell if ``scatter``; ``further``:
        variance of what the law does not have, known, so that it adds degrees of freedom (Satterthwaite)."""
        centres = self.centres @ row
        own = self.variances(row, scatter=scatter)
        errors = np.sqrt(np.maximum(own + further, 1e-24))
        freedom = self.freedom * (1 + further / max(float(self.weights @ own), 1e-24)) ** 2
        low, high = central_interval(centres, errors, self.weights, min(freedom, MANY), confidence)
        return Predicted(value=float(self.weights @ centres), low=low, high=high)

    def leverage(self, setting: Mapping[str, float]) -> tuple[float, float]:
        """Of a setting, and the largest of the table's cells: above it, the law is extrapolated."""
        inverse = np.linalg.pinv(self.model.columns)
        row = self.model.row(setting)
        own = np.einsum("cp,pc->c", self.model.columns, inverse)
        return float((row @ inverse) @ (row @ inverse)), float(own.max())


def _mean_square_errors(joint: JointFit) -> Array:
    """(num_nodes, num_fixed, num_fixed) for typical shapes; the shape's three come last."""
    covariances = joint.averages.covariances
    roots = covariances[:, :, -len(joint.shape) :] / joint.shape_prior[:, 1]
    result: Array = covariances - (1 - TYPICAL_SHAPE**2) * roots @ np.swapaxes(roots, 1, 2)
    return result
