"""Optima of several arms: read from a table, and paired cell by cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments.attribution.arm_optima import optima_from_frame, pair
from experiments.bend.optimum import OptimumStatus
from experiments.files import BadInput
from tests.experiments.planted_optima import make_optima


def test_weight_decay_of_one_arm_does_not_keep_cells_apart() -> None:
    optima = make_optima(np.random.default_rng(7), {"adamw": 0.2, "adamh": 0.0})
    with_decay = {
        name: tuple(replace(cell, key={**cell.key, "weight_decay": decay}) for cell in optima[name])
        for name, decay in (("adamw", 0.1), ("adamh", 0.0))
    }
    assert len(pair(with_decay, list(optima)).settings) == 16


def test_optima_from_a_table() -> None:
    frame = pd.DataFrame(
        {
            "arm": ["a", "a", "b"],
            "num_params": [1, 2, 1],
            "learning_rate": [0.1, np.nan, 0.2],
            "low": [0.05, 0.1, np.nan],
            "high": [0.2, np.nan, 0.4],
            "status": ["interior", "censored-high", "interior"],
        }
    )
    optima = optima_from_frame(frame)
    assert [cell.learning_rate for cell in optima["a"]] == [0.1, None]
    assert optima["a"][1].status is OptimumStatus.CENSORED_HIGH
    assert optima["b"][0].low is None
    with pytest.raises(BadInput, match="too large"):
        optima_from_frame(frame.assign(num_params=pd.Series([1, 10**400, 1], dtype=object)))
    with pytest.raises(BadInput, match="no column arm"):
        optima_from_frame(frame.drop(columns="arm"))
    with pytest.raises(BadInput, match="two rows"):
        optima_from_frame(pd.concat([frame, frame]))
    with pytest.raises(BadInput, match="'nowhere' is not one of"):
        optima_from_frame(frame.assign(status="nowhere"))
    with pytest.raises(BadInput, match="'' is not one of"):  # pandas keeps a missing word as a number
        optima_from_frame(frame.assign(status=pd.Series(["interior", "", "interior"], dtype="str").replace("", np.nan)))
