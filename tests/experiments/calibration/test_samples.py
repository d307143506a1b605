"""The sample tables: made by the committed script, and what was planted in them is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.bend.fit import fit_bend
from experiments.calibration.samples import ARMS, CURVATURE, SAMPLES, final_loss
from experiments.cli.main import main
from experiments.tables.reading import read_table

FOLDER = Path(__file__).parents[3] / "docs" / "samples"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def inside(found: Any, value: float) -> bool:
    return bool(found["low"] <= value <= found["high"])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_script_makes_them_byte_for_byte(name: str) -> None:
    assert (FOLDER / name).read_bytes() == SAMPLES[name]().encode()


def test_fit_finds_the_law_of_the_sweep() -> None:
    (found,) = fit_bend(read_table(FOLDER / "sweep.csv"), sensitivity=False).groups
    for axis, exponent, curvature, verdict in (
        ("num_params", -0.4, CURVATURE, "bends-up"),
        ("num_tokens", -0.2, 0.0, "straight"),
    ):
        slope, bend = found.exponents[axis], found.curvature[axis]
        assert slope.low <= exponent <= slope.high
        assert bend.low <= curvature <= bend.high
        assert bend.verdict.value == verdict


def test_attribute_finds_the_parts_of_the_arms(capsys: pytest.CaptureFixture[str]) -> None:
    parts = answer(capsys, "attribute", str(FOLDER / "arms.csv"), "--optima")["axes"]["num_params"]["parts"]
    planted = {
        "bend": ARMS["adamw"],
        "angle": (ARMS["adamw"] - ARMS["equilibrium"] + ARMS["replay"] - ARMS["adamh"]) / 2,
        "norm": (ARMS["adamw"] - ARMS["replay"] + ARMS["equilibrium"] - ARMS["adamh"]) / 2,
        "left": ARMS["adamh"],
    }
    assert all(inside(parts[name], value) for name, value in planted.items())


def test_losses_predicts_the_rows_without_a_loss(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "losses", str(FOLDER / "losses.csv"))["predictions"]
    assert len(rows) == 3
    truth = [final_loss(row["schedule"], row["decay_fraction"] or 0.0, 2e-3, 20_000, 1e8) for row in rows]
    assert all(inside(row, value) for row, value in zip(rows, truth, strict=True))
    order = sorted(range(3), key=truth.__getitem__)
    assert order == sorted(range(3), key=[row["loss"] for row in rows].__getitem__)
