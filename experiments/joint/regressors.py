"""The law's regressors: which slopes, half squares and products a set of cells can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.tables.run_table import DECAYS

Array = NDArray[np.float64]

LEAST_VALUES = 3  # distinct values of an axis that a half square needs
SLOPE = 1.0  # standard deviation of an exponent of which the table says nothing
SECOND = 0.3  # that of a second derivative: an exponent that changes by 0.7 over a decade
ENOUGH = 4  # cells more than terms from which on their scatter is known
KNOWN = 0.1  # typical error of an optimum in ln
ALIGNED = 1e-6  # relative singular value below which regressors move together
FEW, TOGETHER = "no more cells than terms", "fixed by the other terms"
STRAIGHT = "a straight law was asked for"


@dataclass(frozen=True, kw_only=True)
class Regressors:
    """Columns of the law and of the trend of curvature, (num_cells, .), and where in them each term stands.

    ``terms``: of each column the names that are multiplied in it, none in the constant, one twice in its half square;
    ``slopes``, ``halves``: index of the linear and of the half square term by axis; ``centre``: the middle of each;
    ``lost``: why a term is absent.
    """

    columns: Array
    trend: Array
    terms: tuple[tuple[str, ...], ...]
    slopes: Mapping[str, int]
    halves: Mapping[str, int]
    centre: Mapping[str, float]
    lost: Mapping[str, str]
    covariates: tuple[str, ...]

    @property
    def precision(self) -> Array:
        """(num_regressors,) of the priors about 0, slopes 0 +- `SLOPE`, second derivatives 0 +- `SECOND`; none on what
        the cells tell: with `ENOUGH` more of them than terms, a coefficient that optima known to `KNOWN` would tell to
        a third of its prior. A prior there would only pull the estimate."""
        held = np.array([{0: np.inf, 1: SLOPE, 2: SECOND}[len(term)] for term in self.terms])
        if len(self.columns) >= len(self.terms) + ENOUGH:
            error = KNOWN * np.sqrt(np.diag(np.linalg.pinv(self.columns.T @ self.columns)))
            held[error < held / 3] = np.inf
        return np.asarray(held**-2, np.float64)

    @property
    def orders(self) -> NDArray[np.int64]:
        """(num_regressors,) of the derivatives of the optimum that the coefficients are."""
        return np.array([len(term) for term in self.terms])

    def row(self, setting: Mapping[str, float]) -> Array:
        """(num_regressors,) of the law at a setting that need not be one of the cells."""
        logs = self.logs(setting)
        return np.array([term_value(term, logs) for term in self.terms])

    def trend_row(self, setting: Mapping[str, float]) -> Array:
        """The same of the trend of curvature."""
        logs = self.logs(setting)
        return np.array([term_value(term, logs) for term in self.terms if len(term) < 2])

    def logs(self, setting: Mapping[str, float]) -> dict[str, float]:
        """Logarithms about the middle, of the names that the law has."""
        return {name: float(np.log(setting[name] / middle)) for name, middle in self.centre.items()}

    @staticmethod
    def of(
        settings: Sequence[Mapping[str, float]], axes: Sequence[str], *, skip_batch: bool, straight: bool = False
    ) -> Regressors:
        """Those that cells at these ``settings``, by column, can carry.

        A slope needs two values, a half square three, and no combination of them may be fixed by the others. Without
        half squares and products of axes if ``straight``.
        """
        logs, centre, lost = {}, {}, {}
        names = [n for n in settings[0] if n in axes or n in DECAYS or (n == "batch_size" and not skip_batch)]
        for name in names:
            values = np.array([setting[name] for setting in settings])
            if name in DECAYS and not np.all(values > 0):
                if len(np.unique(values)) > 1:
                    lost[name] = "weight decay of 0 and others in one table"
                continue
            if len(np.unique(values)) > 1:
                logs[name] = np.log(values)
                centre[name] = float(np.exp(logs[name].mean()))
                logs[name] = logs[name] - logs[name].mean()
        columns = [np.ones(len(settings))]
        terms: list[tuple[str, ...]] = [()]

        def offer(name: str, term: tuple[str, ...]) -> bool:
            column = np.asarray(term_value(term, logs), np.float64)
            trial = np.stack([*columns, column], axis=1)
            size = np.linalg.svd(trial / np.linalg.norm(trial, axis=0), compute_uv=False)
            if len(settings) < trial.shape[1] or size[-1] < ALIGNED:
                lost[name] = FEW if len(settings) < trial.shape[1] else TOGETHER
                return False
            columns.append(column)
            terms.append(term)
            return True

        for name in logs:
            offer(name, (name,))
        # which of them moves the optimum cannot be told, so none of their slopes is one
        lost |= {name: f"{' and '.join(others)} move together" for name, others in moving_together(logs).items()}
        curved = [name for name in logs if name in axes and (name,) in terms]
        if straight or all(name in lost for name in curved):
            curved = [name for name in curved if name not in lost]
        if straight:
            lost |= {f"{name} squared": STRAIGHT for name in curved}
        for name in curved:
            if not straight and len(np.unique(np.round(logs[name], 9))) >= LEAST_VALUES:
                offer(f"{name} squared", (name, name))
        for i, one in enumerate(curved):
            for other in () if straight else curved[:i]:
                offer(f"{other} by {one}", (other, one))
        if "batch_size" in logs and "batch_size" not in lost and "batch_size" not in axes:
            # last: a table that carries only some of the terms keeps those of the axes
            for name in reversed(curved):
                offer(f"{name} by batch_size", (name, "batch_size"))
            if len(np.unique(np.round(logs["batch_size"], 9))) >= LEAST_VALUES:
                offer("batch_size squared", ("batch_size", "batch_size"))
        trend = np.stack([np.ones(len(settings)), *(logs[name] for name in logs if (name,) in terms)], axis=1)
        return Regressors(
            columns=np.stack(columns, axis=1),
            trend=trend,
            terms=tuple(terms),
            slopes={name: terms.index((name,)) for name in logs if (name,) in terms and name not in lost},
            halves={
                name: terms.index((name, name))
                for name in logs
                if (name, name) in terms and name in axes and name not in lost
            },
            centre=centre,
            lost=lost,
            covariates=tuple(name for name in logs if (name,) in terms and name not in axes and name not in lost),
        )


def moving_together(logs: Mapping[str, Array]) -> dict[str, tuple[str, ...]]:
    """The names whose slopes a straight law in these logarithms about their middle, (num_cells,) each, leaves open, and
    to each those that it cannot be told from, itself among them, in the order of ``logs``."""
    if not logs:
        return {}
    names = list(logs)
    columns = np.stack(list(logs.values()), axis=1)
    _, size, directions = np.linalg.svd(columns / np.linalg.norm(columns, axis=0))
    free = directions[np.concatenate([size, np.zeros(max(len(names) - len(columns), 0))]) < ALIGNED]
    linked = np.abs(free.T @ free) > ALIGNED
    return {
        name: tuple(other for place, other in enumerate(names) if linked[i, place])
        for i, name in enumerate(names)
        if linked[i, i]
    }


def term_value(term: tuple[str, ...], logs: Mapping[str, Any]) -> Any:
    """Product of the logarithms that a term names, its half if it is a square; numbers or arrays."""
    value: Any = 1.0
    for name in term:
        value = value * logs[name]
    return value / 2 if len(term) == 2 and term[0] == term[1] else value
