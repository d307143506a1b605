r"""Which further pilot cell would narrow a prediction most, by the expected variance after it.

At each :math:`\tau` the cell adds the information A of its losses on all that the cells share, terms of the law, trend
of the curvature and shape, its own optimum, curvature and level integrated out (`experiments.joint.mixed_model`):

.. math:: x_*^\top C' x_* = x_*^\top (C^{-1} + A)^{-1} x_* = x_*^\top (1 + CA)^{-1} C x_*

A cell that the table has already keeps its optimum when its grid is run once more: there A is what the information of
the cell grows by. The grid is centred on the predicted optimum; noise, scatter and law are taken as they are now, so a
cell far below the table counts as much as the law is believed there. Derived here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from experiments.bend.scaling_law import ScalingLaw
from experiments.joint import loss_shape
from experiments.joint.fit import JointFit
from experiments.joint.model import StackedLosses, error_variances, spreads
from experiments.recommend.prediction import Coefficients
from experiments.recommend.target_run import Line, with_lines

Array = NDArray[np.float64]

MOST_VALUES = 16  # of an axis that are looked at
MOST_RATES = 11
EQUAL = 0.01  # difference of the width, relative, below which the cheaper cell comes first


@dataclass(frozen=True, kw_only=True)
class NextRun:
    """A further pilot cell.

    setting : of it, by column. lowest, highest, num_rates : its learning rates, spaced evenly in ln. width : that of
    the interval in ln which is to be expected, over the present one, in (0, 1]. cost : num_params times num_tokens, or
    the one that is known, over that of the costliest cell of the table. repeats : whether the table has this cell.
    """

    setting: Mapping[str, float]
    lowest: float
    highest: float
    num_rates: int
    width: float
    cost: float
    repeats: bool


def next_runs(
    law: ScalingLaw,
    coefficients: Coefficients,
    target: Mapping[str, float],
    lines: Sequence[Line],
    axes: Sequence[str],
    confidence: float,
) -> list[NextRun]:
    """Cells at the table's values of the axes and one step beyond, the most useful first.

    ``target`` is a setting by column; ``lines`` are the axes that move with others, as in
    `experiments.recommend.target_run`; ``axes`` are those that may be varied; ``confidence``, in (0, 1), is that of the
    interval on which a grid is centred. Left out are the target itself, and what costs more than the costliest cell and
    more than half of the target.
    """
    joint, data = law.joint, law.data
    assert joint is not None
    assert data is not None
    names = [name for name in axes if name in coefficients.model.slopes]
    dearest = max(_cost(with_lines(cell.key, lines)) for cell in law.usable)
    limit = max(dearest, _cost(with_lines(target, lines)) / 2)
    aim = coefficients.row(target)
    present = float(coefficients.weights @ coefficients.variances(aim, scatter=True))
    keyed = tuple(law.usable[0].key)
    seen = {_rounded(cell.key, keyed): place for place, cell in enumerate(law.usable)}
    found = []
    for values in product(*(_values(law, name) for name in names)):
        setting = with_lines({**target, **dict(zip(names, values, strict=True))}, lines)
        cost = _cost(setting)
        if cost > limit * (1 + 1e-9) or np.allclose([setting[n] / target[n] for n in names], 1, rtol=1e-6):
            continue
        place = seen.get(_rounded(setting, keyed))
        row = coefficients.row(setting)
        centre = coefficients.predict(row, confidence, scatter=True)
        x = _grid(data, centre.value, (centre.high - centre.low) / 2)
        losses = _Losses(
            joint=joint,
            tau=coefficients.tau,
            row=row,
            trend_row=coefficients.model.trend_row(setting),
            optimum=centre.value if place is None else float(joint.optimum[place]),
            curvature=_curvature(law, joint, setting) if place is None else float(joint.curvature[place]),
            tilt=float(np.median(data.tilt)),
        )
        count = np.full(len(x), np.median(data.count))
        if place is None:
            added = losses.information(x, count)
        else:
            span = slice(data.starts[place], data.starts[place] + data.sizes[place])
            old = data.x[span], data.count[span]
            both = np.concatenate([old[0], x]), np.concatenate([old[1], count])
            added = losses.information(*both) - losses.information(*old)
        left = _expected(coefficients, aim, added)
        found.append(
            NextRun(
                setting=setting,
                lowest=float(np.exp(x[0])),
                highest=float(np.exp(x[-1])),
                num_rates=len(x),
                width=float(np.sqrt(max(left, 0.0) / present)),
                cost=cost / dearest,
                repeats=place is not None,
            )
        )
    return sorted(found, key=lambda run: (round(run.width / EQUAL), run.cost))


def _expected(coefficients: Coefficients, aim: Array, information: Array) -> float:
    """Variance at ``aim`` after ``information`` (num_nodes, num_fixed, num_fixed) more, averaged over tau."""
    covariances = coefficients.covariances
    whole = np.pad(aim, (0, covariances.shape[1] - len(aim)))
    solved = np.linalg.solve(np.eye(len(whole)) + covariances @ information, (covariances @ whole)[..., None])[..., 0]
    return float(coefficients.weights @ (solved @ whole + coefficients.tau**2))


@dataclass(frozen=True, kw_only=True)
class _Losses:
    """What losses at ``x`` (num_rates,) would be, linearised: an optimum, a curvature, and the rows that make them."""

    joint: JointFit
    tau: Array
    row: Array
    trend_row: Array
    optimum: float
    curvature: float
    tilt: float

    def information(self, x: Array, count: Array) -> Array:
        """(num_nodes, num_fixed, num_fixed) on terms, trend and shape; ``count`` (num_rates,) seeds."""
        one = np.zeros(1, np.int64)
        cell = StackedLosses(starts=one, x=x, loss=np.zeros(len(x)), count=count, tilt=np.array([self.tilt]))
        shape, z = self.joint.shape, x - self.optimum
        pull, rise = -self.curvature * loss_shape.slope(z, shape), self.curvature * loss_shape.rise(z, shape)
        by_shape = self.curvature * loss_shape.shape_gradient(z, shape)
        trending = by_shape[:, :1] * self.trend_row[1 : 1 + len(self.joint.state.skew_trend)]
        fixed = np.concatenate([pull[:, None] * self.row, rise[:, None] * self.trend_row, trending, by_shape], axis=1)
        columns = np.concatenate([np.stack([pull, rise, x - x.mean(), by_shape[:, 0]], axis=1), fixed], axis=1)
        weight = 1 / error_variances(cell, rise, self.joint.variances)
        columns = columns - weight @ columns / weight.sum()
        products = (columns * weight[:, None]).T @ columns
        spread = np.tile(spreads(cell, self.joint.variances), (len(self.tau), 1))
        spread[:, 0] = self.tau
        across = spread[:, :, None] * products[:4, 4:]
        inner = np.eye(4) + spread[:, :, None] * products[:4, :4] * spread[:, None, :]
        left: Array = products[4:, 4:] - np.swapaxes(across, 1, 2) @ np.linalg.solve(inner, across)
        return left


def _grid(data: StackedLosses, centre: float, half: float) -> Array:
    """ln learning rates about a predicted optimum: the table's spacing and number, wider if its interval is."""
    ends = np.zeros(len(data.x), bool)
    ends[data.starts] = True
    spacing = float(np.median(np.diff(data.x)[~ends[1:]]))
    wanted = max((float(np.median(data.sizes)) - 1) / 2, half / spacing + 1)
    each_side = min(int(np.ceil(wanted)), MOST_RATES // 2)
    return np.asarray(centre + spacing * np.arange(-each_side, each_side + 1), np.float64)


def _curvature(law: ScalingLaw, joint: JointFit, setting: Mapping[str, float]) -> float:
    """Of the loss at a setting's optimum, by its law."""
    assert law.model is not None
    trend = np.linalg.lstsq(law.model.trend, np.log(joint.curvature_by_law), rcond=None)[0]
    return float(np.exp(law.model.trend_row(setting) @ trend))


def _values(law: ScalingLaw, name: str) -> list[float]:
    """The table's values of an axis, thinned, and one median step beyond either end."""
    values: Array = np.unique([cell.key[name] for cell in law.usable])
    step = float(np.exp(np.median(np.diff(np.log(values)))))
    kept = values[np.unique(np.linspace(0, len(values) - 1, MOST_VALUES).round().astype(int))]
    return [float(kept[0] / step), *map(float, kept), float(kept[-1] * step)]


def _rounded(setting: Mapping[str, float], names: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(f"{setting[name]:.6g}") for name in names)


def _cost(setting: Mapping[str, float]) -> float:
    return setting.get("num_params", 1.0) * setting.get("num_tokens", 1.0)
