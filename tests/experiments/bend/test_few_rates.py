"""Cells with few learning rates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.bend.fit import fit_bend

BATCHES = {7e5: 128, 2.4e6: 256, 1.4e7: 512}  # the smallest of each size, in sequences


def three_rates(seed: int) -> pd.DataFrame:
    """Half a decade apart, the same for all batches of a size; curves are steeper below their optimum."""
    rng, rows = np.random.default_rng(seed), []
    for size, least in BATCHES.items():
        batches = least * np.array([1, 1.5, 2, 3, 4, 6])
        optima = np.log(1.2e-3) - 0.6 * np.log(size / 7e5) + 0.4 * np.log(batches / 256)
        step = np.log(10) / 2
        middle = step * np.round(optima.mean() / step + rng.uniform(-0.5, 0.5))
        for batch, optimum in zip(batches, optima, strict=True):
            for x in middle + step * np.arange(-1, 2):
                z = x - optimum
                rise = 0.033 * (np.exp(-1.1 * z) + 1.1 * z - 1) if z < 0 else 0.02 * z**2
                rows.append((size, batch, np.exp(x), 4.5 + rise + 0.002 * rng.normal()))
    return pd.DataFrame(rows, columns=["num_params", "batch_size", "learning_rate", "loss"])


@pytest.mark.parametrize("seed", [5, 6])
def test_three_rates_share_their_shape(seed: int) -> None:
    """Two of eight sweeps where a lean of each cell's own took the place of the optimum that moves with the batch."""
    (group,) = fit_bend(three_rates(seed)).groups
    assert group.law.shaped is not None
    assert group.law.shaped.reason is None
    found = group.exponents["batch_size"]
    assert found.low is not None
    assert found.high is not None
    assert 0.3 < found.low < 0.4 < found.high < 0.5
    assert "joint, one shape, no rate left out" in [one.name for one in group.estimators]
