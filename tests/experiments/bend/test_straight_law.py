"""The law without curvature, and batch sizes that were tuned along."""

import numpy as np
import pandas as pd
import pytest

from experiments.bend.fit import fit_bend
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun

SIZES, BATCHES = (1e8, 4e8, 16e8), (64.0, 128.0, 256.0, 512.0)


def sweep(best_batch: float = 0.0) -> pd.DataFrame:
    """Exponent -0.5, nine rates; with ``best_batch`` four batch sizes, the best that times (N/1e8)^0.25."""
    rng, rows = np.random.default_rng(3), []
    for size in SIZES:
        for batch in BATCHES if best_batch else (128.0,):
            best = 2e-3 * (size / 1e8) ** -0.5 * (batch / 128) ** 0.5
            off = 0.02 * np.log(batch / (best_batch * (size / 1e8) ** 0.25)) ** 2 if best_batch else 0.0
            for rate in best * 2.0 ** np.arange(-2, 2.5, 0.5):
                loss = 3 + off + 0.05 * np.log(rate / best) ** 2 + 1e-3 * rng.normal()
                rows.append({"num_params": size, "batch_size": batch, "learning_rate": rate, "loss": loss})
    return pd.DataFrame(rows)


def test_a_straight_law_has_no_curvature_and_says_so() -> None:
    table = sweep()
    (curved,), (straight,) = (fit_bend(table, straight=value, sensitivity=False).groups for value in (False, True))
    bend, slope = straight.curvature["num_params"], straight.exponents["num_params"]
    assert bend.value is None
    assert "straight law was asked for" in str(bend.reason)
    assert any("assumed: the law is straight" in note for note in straight.notes)
    assert slope.value == pytest.approx(-0.5, abs=0.03)
    wide = curved.exponents["num_params"]
    assert slope.high - slope.low < wide.high - wide.low  # type: ignore[operator]


def test_a_straight_law_is_narrower_far_outside_the_table() -> None:
    target = TargetRun(num_params=64e8)
    (curved,), (straight,) = (recommend(sweep(), target, straight=value, further=False) for value in (False, True))
    assert straight.answer is not None
    assert curved.answer is not None
    assert straight.answer.value == pytest.approx(2e-3 * 64**-0.5, rel=0.1)
    assert straight.answer.high / straight.answer.low < curved.answer.high / curved.answer.low
    assert any("straight, as asked for" in phrase for phrase in straight.assumptions)
    assert not any("a bend along" in phrase for phrase in straight.assumptions)


def test_batches_that_were_tuned_along_are_named_and_their_edge_told() -> None:
    (inside,) = recommend(sweep(160.0), TargetRun(num_params=64e8), batch="co-tuned", further=False)
    (note,) = (note for note in inside.notes if "goes with a batch" in note)
    assert float(note.split("about ")[1].split(",")[0]) == pytest.approx(160 * 64**0.25, rel=0.5)
    assert not any("edge of its grid" in note for note in inside.notes)
    (edge,) = fit_bend(sweep(1000.0), batch="co-tuned", sensitivity=False).groups
    assert any("edge of its grid in 3 of 3 cells" in note for note in edge.notes)
