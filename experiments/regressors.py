"""The law's regressors: which slopes, half squares and products a set of cells can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.cells import Cell

Array = NDArray[np.float64]

LEAST_VALUES = 3  # distinct values of an axis that a half square needs
ALIGNED = 1e-6  # relative singular value below which regressors move together
FEW, TOGETHER = "no more cells than terms", "fixed by the other terms"


@dataclass(frozen=True, kw_only=True)
class Regressors:
    """Columns of the law and of the trend of curvature, (num_cells, .), and where in them each term stands.

    ``slopes``, ``halves``: index of the linear and of the half square term by axis; ``centre``: the middle of each;
    ``lost``: why a term is absent.
    """

    columns: Array
    trend: Array
    slopes: Mapping[str, int]
    halves: Mapping[str, int]
    centre: Mapping[str, float]
    lost: Mapping[str, str]
    covariates: tuple[str, ...]

    @staticmethod
    def of(cells: Sequence[Cell], axes: Sequence[str], *, skip_batch: bool) -> Regressors:
        """Those that the cells can carry: a slope needs two values, a half square three, and no combination of them
        may be fixed by the others."""
        logs, centre, lost = {}, {}, {}
        names = [n for n in cells[0].key if n in axes or n == "weight_decay" or (n == "batch_size" and not skip_batch)]
        for name in names:
            values = np.array([cell.key[name] for cell in cells])
            if name == "weight_decay" and not np.all(values > 0):
                if len(np.unique(values)) > 1:
                    lost[name] = "weight decay of 0 and others in one table"
                continue
            if len(np.unique(values)) > 1:
                logs[name] = np.log(values)
                centre[name] = float(np.exp(logs[name].mean()))
                logs[name] = logs[name] - logs[name].mean()
        columns, terms = [np.ones(len(cells))], ["constant"]

        def offer(term: str, column: Array) -> bool:
            trial = np.stack([*columns, column], axis=1)
            size = np.linalg.svd(trial / np.linalg.norm(trial, axis=0), compute_uv=False)
            if len(cells) < trial.shape[1] or size[-1] < ALIGNED:
                lost[term] = FEW if len(cells) < trial.shape[1] else TOGETHER
                return False
            columns.append(column)
            terms.append(term)
            return True

        offered = [offer(name, log) for name, log in logs.items()]
        if not all(offered):
            # which of them moves the optimum cannot be told, so none of the slopes is one
            together = [name for name in logs if name in terms or lost.get(name) == TOGETHER]
            lost |= dict.fromkeys(together, f"{' and '.join(together)} move together")
        curved = [name for name in logs if name in axes and name not in lost]
        for name in curved:
            if len(np.unique(np.round(logs[name], 9))) >= LEAST_VALUES:
                offer(f"{name} squared", logs[name] ** 2 / 2)
        for i, one in enumerate(curved):
            for other in curved[:i]:
                offer(f"{other} by {one}", logs[one] * logs[other])
        trend = np.stack([np.ones(len(cells)), *(logs[name] for name in logs if name in terms)], axis=1)
        return Regressors(
            columns=np.stack(columns, axis=1),
            trend=trend,
            slopes={name: terms.index(name) for name in logs if name in terms and name not in lost},
            halves={name: terms.index(f"{name} squared") for name in logs if f"{name} squared" in terms},
            centre=centre,
            lost=lost,
            covariates=tuple(name for name in logs if name in terms and name not in axes and name not in lost),
        )
