"""A single run far below its cell is named; replicates, real optima and rough cells are not."""

import numpy as np
import pandas as pd
import pytest

from experiments.bend.fit import fit_bend
from experiments.bend.low_runs import low_runs

X = np.log(1e-3) + 0.35 * np.arange(8)
VALLEY = 3 + 0.05 * (X - X[3] - 0.1) ** 2 + 0.001 * np.random.default_rng(0).normal(size=8)


def low_run(x: np.ndarray, loss: np.ndarray) -> int | None:
    """Beside a cell of its size that has none, and one of another size."""
    found = low_runs([(X, VALLEY), (x, loss), (X[:7], VALLEY[:7])])
    assert found[0] is found[2] is None
    return found[1]


@pytest.mark.parametrize("place", [0, 2, 3, 7])
def test_it_is_found_wherever_it_is(place: int) -> None:
    assert low_run(X, VALLEY - 0.2 * (np.arange(8) == place)) == place


def test_what_is_none() -> None:
    assert low_run(X, VALLEY) is None
    assert low_run(X, VALLEY - 0.03 * (np.arange(8) == 3)) is None
    assert low_run(X, 3 + 0.2 * np.abs(X - X[3])) is None  # as sharp as a minimum can be
    assert low_run(X, 3 - 0.1 * X) is None
    assert low_run(X[:5], (VALLEY - 0.2 * (np.arange(8) == 2))[:5]) is None
    twice = np.append(X, X[3]), np.append(VALLEY - 0.2 * (np.arange(8) == 3), VALLEY[3])
    assert low_run(*twice) is None


def test_a_fit_names_it_with_its_cell() -> None:
    rng, rows = np.random.default_rng(1), []
    for size in (1e8, 3e8, 9e8):
        for x in X:
            loss = 3 + 0.05 * (x - X[3] + 0.3 * np.log(size / 3e8)) ** 2 + 0.001 * rng.normal()
            rows.append({"learning_rate": np.exp(x), "num_params": size, "loss": loss})
    (group,) = fit_bend(pd.DataFrame(rows), sensitivity=False).groups
    assert not any("far below" in note for note in group.notes)
    rows[10]["loss"] = 2.5
    (group,) = fit_bend(pd.DataFrame(rows), sensitivity=False).groups
    (note,) = (note for note in group.notes if "far below" in note)
    assert "the run of loss 2.5 at learning rate 0.002014, num_params 3e+08 lies far below" in note
    assert "--where loss!=2.5" in note
