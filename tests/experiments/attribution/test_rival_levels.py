"""A column at one learning rate for all cells, read where the law of the optima says."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.attribution import rivals
from experiments.attribution.rival_levels import Levels, Readings, read_cells, read_levels
from experiments.attribution.rivals import judge_rival
from tests.experiments.planted_optima import make_rival

PLANTED = {"link": -0.5, "bend_by_link": 0.2, "bend_beside": 0.0}


POWER = {"link": -0.5, "bend_by_link": 0.0, "bend_beside": 0.2}


def test_the_error_of_an_optimum_does_not_get_into_the_column() -> None:
    """The column is a power of learning rate and scale. Read at the cell's own optimum it would carry that optimum's
    error and look linked to it; at the law's, transported to one rate, nothing is left but scale."""
    optima, runs = make_rival(np.random.default_rng(8), **POWER, wander=0.0, measured_to=0.0)  # type: ignore[arg-type]
    cells, readings = read_cells(optima, runs, "rival")
    at = np.log([cell.learning_rate or np.nan for cell in cells])
    levels = read_levels(readings, at + 0.2 * np.random.default_rng(9).normal(size=len(at)))
    assert levels.slope == pytest.approx(-0.3, abs=1e-6)
    u, v = (np.log([cell.key[name] for cell in cells]) for name in ("num_params", "num_tokens"))
    design = np.stack([np.ones_like(u), u, v], axis=1)
    rest = levels.level - design @ np.linalg.lstsq(design, levels.level, rcond=None)[0]
    assert np.abs(rest).max() < 1e-6


def test_a_column_is_read_at_the_rate_of_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the rates that were tried, where it is not a power of the learning rate; and not where the cell's own
    optimum happens to lie."""
    rate = np.linspace(-8, -4, 9)
    readings = [Readings(log_rate=rate, log_value=value - 0.2 * rate**2, seed=np.full(9, "0")) for value in (1.0, 2.0)]
    levels = read_levels(readings, np.array([-6.0, -6.0]))
    assert levels.level == pytest.approx([1 - 7.2, 2 - 7.2])
    assert levels.variance is None
    seen: list[np.ndarray] = []

    def watch(readings: list[Readings], at: np.ndarray) -> Levels:
        seen.append(at)
        return read_levels(readings, at)

    monkeypatch.setattr(rivals, "read_levels", watch)
    optima, runs = make_rival(np.random.default_rng(11), **PLANTED)  # type: ignore[arg-type]
    judge_rival(optima, runs, "rival")
    u, v = (np.log([cell.key[name] for cell in optima]) for name in ("num_params", "num_tokens"))
    law = np.stack([np.ones_like(u), u, v, u**2, v**2, u * v], axis=1)
    fitted = law @ np.linalg.lstsq(law, seen[0], rcond=None)[0]
    assert seen[0] == pytest.approx(fitted, abs=1e-6)
    own = np.log([cell.learning_rate or np.nan for cell in optima])
    assert np.std(own - seen[0]) > 0.03
