"""The map of the transient: settings and halves, and the answers on records that theory made."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.agreement.matrix_networks import FEED_FORWARD
from experiments.studies.held_out.runs import network_of
from experiments.studies.transient_length import answers
from experiments.studies.transient_length.figure import draw
from experiments.studies.transient_length.run import registered_predictions
from experiments.studies.transient_length.runs import SETTINGS, Chosen
from theory import AdamW, predict_trajectory

DOCS = Path(__file__).parents[3] / "docs" / "transient-length"


def records(one: Chosen, ratio: float, pace: float = 1.0) -> pd.DataFrame:
    """Of two matrices alike, as theory has them at that direction ratio and with that many times the decay."""
    config = one.config
    optimizer = config.optimizer
    assert isinstance(optimizer, AdamW)
    assert config.block_rms is not None
    run = predict_trajectory(
        replace(optimizer, weight_decay=pace * optimizer.weight_decay),
        config.schedule,
        initial_rms=config.block_rms,
        record_every=config.record_every,
        network=replace(network_of(one.architecture), direction_ratio=ratio),
    )
    columns = {name: getattr(run, name)[:, 0] for name in ("weight_rms", "angular_update", "update_rms")}
    tables = [pd.DataFrame({"matrix": name, "kind": FEED_FORWARD, "step": run.steps, **columns}) for name in "ab"]
    return pd.concat(tables, ignore_index=True)


def test_halves_are_alike_and_settings_differ() -> None:
    for settings in SETTINGS.values():
        counts = Counter((c.held_out, c.setting.start, c.setting.schedule) for c in settings)
        assert {counts[True, *key] == counts[False, *key] for _, *key in counts} == {True}
        assert len({c.config for c in settings}) == len(settings) == 40


@pytest.mark.long
def test_the_design_half_tells_the_ratio_and_the_other_half_is_met() -> None:
    """Runs at a ratio of 0.7, which the first prediction does not know."""
    some = [one for settings in SETTINGS.values() for one in settings[:32:4]]
    settings = answers.settings_of(some, [records(one, 0.7) for one in some])
    assert np.allclose(settings["ratio_of_half"], 0.7, rtol=0.03)
    found = answers.answers_of(settings)
    judged = found[found["met"].notna()]
    assert len(judged) == 6
    assert judged["met"].all()
    assert set(judged["half"]) == {"held-out"}
    rms = found[found["quantity"] == "rms"].groupby("prediction")["value"].min()
    assert rms["measured_ratio"] < 0.02 < 0.15 < rms["predicted"]
    assert draw(settings)[:4] == b"\x89PNG"


@pytest.mark.long
def test_another_pace_or_an_unfinished_run_is_not_met() -> None:
    half = [one for one in SETTINGS["scale-invariant"] if one.setting.schedule == "constant"][:12]
    slow = answers.answers_of(answers.settings_of(half, [records(one, 0.885, 1.5) for one in half]))
    assert not slow.set_index(["half", "quantity", "prediction"]).loc[
        ("held-out", "relaxation", "measured_ratio"), "met"
    ]
    tables = [records(one, 0.885) for one in half]
    cut = [table[table["step"] < 500] if one.held_out else table for one, table in zip(half, tables, strict=True)]
    found = answers.answers_of(answers.settings_of(half, cut)).set_index(["half", "quantity", "prediction"])
    assert found.loc[("held-out", "angle", "measured_ratio"), "value"] == 1.0
    assert not found.loc[("held-out", "first_passage_rank", "measured_ratio"), "met"]


@pytest.mark.long
def test_committed_predictions_are_those_of_the_code() -> None:
    committed, found = pd.read_csv(DOCS / "predictions.csv"), registered_predictions()
    for name in ("first_passage_predicted", "angle_predicted", "first_passage_white_noise"):
        assert committed[name].to_numpy() == pytest.approx(found[name].to_numpy(), rel=1e-3, nan_ok=True)
