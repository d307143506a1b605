"""One cell off the law is named; a bend, scatter, or two of them are not taken for one."""

import numpy as np
import pandas as pd
import pytest

from experiments.bend.fit import fit_bend
from experiments.bend.odd_cells import odd_cell, odd_cell_note

SIZES = np.log(3e7 * 2.0 ** np.arange(6))
COLUMNS = np.stack([np.ones(6), SIZES - SIZES.mean()], axis=1)
LAW = COLUMNS @ [-5.0, -0.4]


def noise(size: float = 0.03) -> np.ndarray:
    return size * np.random.default_rng(1).normal(size=6)


@pytest.mark.parametrize("miss", [1.0, -1.0])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_it_is_found_wherever_it_is(place: int, miss: float) -> None:
    found = odd_cell(COLUMNS, LAW + noise() + miss * (np.arange(6) == place))
    assert found is not None
    assert found[0] == place
    assert found[1] == pytest.approx(miss, abs=0.15)


def test_a_bend_scatter_and_two_odd_cells_are_something_else() -> None:
    assert odd_cell(COLUMNS, LAW + 0.3 * (SIZES - SIZES.mean()) ** 2 + noise()) is None
    assert odd_cell(COLUMNS, LAW + noise(0.4)) is None
    assert odd_cell(COLUMNS, LAW + noise() + np.isin(np.arange(6), (1, 4))) is None
    assert odd_cell(COLUMNS, LAW + noise(0.001) + 0.2 * (np.arange(6) == 2)) is None  # too near to matter
    assert odd_cell(COLUMNS[:4], LAW[:4] + np.array([0, 0, 1.0, 0])) is None  # too few to tell which


def test_a_note_names_it_and_how_to_leave_it_out() -> None:
    keys = [{"num_params": n, "num_tokens": d} for n in (1e8, 2e8) for d in (1e9, 2e9)] + [
        {"num_params": 1.5e8, "num_tokens": 1e9}
    ]
    assert "num_params 1e+08, num_tokens 2e+09 lies a factor of 2.7 above" in odd_cell_note(keys, 1, 1.0)
    assert "(without its rows)" in odd_cell_note(keys, 1, 1.0)
    assert "below" in odd_cell_note(keys, 4, -1.0)
    assert "--where 'num_params!=150000000'" in odd_cell_note(keys, 4, -1.0)


def test_a_fit_says_so() -> None:
    rng, rows = np.random.default_rng(3), []
    for i, best in enumerate(np.exp(LAW) * np.where(np.arange(6) == 3, 3, 1)):
        for rate in best * 1.6 ** np.arange(-3, 4):
            loss = 3 + 0.06 * np.log(rate / best) ** 2 + 0.003 * rng.normal()
            rows.append({"learning_rate": rate, "loss": loss, "num_params": 3e7 * 2.0**i})
    (group,) = fit_bend(pd.DataFrame(rows), sensitivity=False).groups
    assert any("num_params 2.4e+08 lies a factor of 3" in note for note in group.notes)
