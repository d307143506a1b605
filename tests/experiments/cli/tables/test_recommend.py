"""``lrbend recommend``: JSON and words, refusals, and tables of other people: further axes, the decay that sweeps hold,
batches in sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.calibration.made_sweeps import Scenario
from experiments.cli.main import main
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.recommend.pilots import split

SIZES, BUDGETS = (5e7, 2e8, 8e8), (2e9, 8e9, 32e9)


def law(size: float, tokens: float, depth: float = 32.0) -> float:
    """The planted optimum."""
    return float(2e-3 * (size / 2e8) ** -0.4 * (tokens / 8e9) ** -0.2 * (depth / 32) ** -0.3)


def pilot(**columns: object) -> pd.DataFrame:
    """Nine cells of five rates, nearly without noise."""
    rng, rows = np.random.default_rng(0), []
    for size in SIZES:
        for tokens in BUDGETS:
            for rate in law(size, tokens) * 2.0 ** np.arange(-2, 3):
                loss = 3 + 0.06 * np.log(rate / law(size, tokens)) ** 2 + 5e-4 * rng.normal()
                rows.append({"learning_rate": rate, "loss": loss, "num_params": size, "num_tokens": tokens, **columns})
    return pd.DataFrame(rows)


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main(["recommend", *map(str, arguments), "--json"]) == 0
    return strict_json(capsys.readouterr().out)


TARGET = ("--num-params", 1.6e9, "--num-tokens", 64e9)


def test_a_further_axis_and_its_value_at_the_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, tables = tmp_path / "runs.csv", []
    for depth in (8, 32, 128):
        table = pilot(num_layers=depth)
        tables.append(table.assign(learning_rate=table.learning_rate * (depth / 32) ** -0.3))
    pd.concat(tables).to_csv(path, index=False)
    axis = ("--axis", "depth=num_layers")
    found = answer(capsys, path, *axis, *TARGET, "--at", "depth=256")
    assert found["low"] < law(1.6e9, 64e9, 256) < found["high"]
    assert found["high"] / found["low"] < 1.5
    assert found["target"]["depth"] == 256
    assert found["beyond"]["depth"] == pytest.approx(2)
    words = list(map(str, (path, *axis, *TARGET)))
    assert "(for example --at depth=128, the largest of the table)" in refusal(["recommend", *words], capsys)
    assert "no column width (--axis)" in refusal(["recommend", *words, "--at", "depth=9", "--at", "width=1"], capsys)
    assert "it has a flag of its own, --num-params" in refusal(["recommend", *words, "--at", "num-params=1"], capsys)
    assert "--at depth=deep" in refusal(["recommend", *words, "--at", "depth=deep"], capsys)


def test_sweeps_at_independent_decay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The product makes the cells; a relaxation takes 1/(2 x product), 5,000 steps, so the shortest runs are short."""
    path, table = tmp_path / "runs.csv", pilot(batch_size=5e5, independent_wd=1e-4)
    table.assign(weight_decay=1e-4 / table.learning_rate).to_csv(path, index=False)
    found = answer(capsys, path, *TARGET)
    assert found["low"] < law(1.6e9, 64e9) < found["high"]
    assert found["num_cells"] == 9
    assert found["norms"]["num_runs"] == 45
    assert found["norms"]["num_short"] == 15
    assert any("learning_rate x weight_decay" in note for note in found["notes"])
    table.assign(weight_decay=1e-4 / table.learning_rate).drop(columns="independent_wd").to_csv(path, index=False)
    words = ["recommend", str(path), *map(str, TARGET)]
    assert "--decay independent" in refusal(words, capsys)
    again = answer(capsys, path, *TARGET, "--decay", "independent")
    assert again["learning_rate"] == pytest.approx(found["learning_rate"], rel=1e-6)


@pytest.mark.long
def test_a_batch_in_sequences_has_the_steps_of_one_in_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also at the target, whose steps are tokens over batch."""
    path = tmp_path / "runs.csv"
    flags = ("--effective", "--schedule", "cosine", "--constant", "initial_rms=0.02", "--constant", "weight_decay=0.1")
    table = pilot(batch_size=256)
    found = []
    for changed in (
        table.assign(batch_size=256 * 2048.0),
        table.assign(num_steps=table.num_tokens / (256 * 2048)),
    ):
        changed.to_csv(path, index=False)
        found.append(answer(capsys, path, *TARGET, *flags))
    assert found[1]["effective"]["learning_rate"] == pytest.approx(found[0]["effective"]["learning_rate"])
    assert found[1]["norms"] == found[0]["norms"]
    assert any("in sequences of 2048 tokens" in note for note in found[1]["notes"])
    table.to_csv(path, index=False)
    unknown = answer(capsys, path, *TARGET, *flags[-2:])
    assert unknown["norms"] is None
    assert any("is the batch in sequences?" in warning for warning in unknown["warnings"])


@pytest.fixture
def table(tmp_path: Path) -> tuple[str, list[str]]:
    pilot, target, *_ = split(Scenario(name="test", noise=0.003, num_sizes=5, num_budgets=5), 2)
    path = tmp_path / "pilot.csv"
    pilot.to_csv(path, index=False)
    return str(path), ["--num-params", repr(target.num_params), "--num-tokens", repr(target.num_tokens)]


@pytest.mark.long
def test_command_in_json_and_in_words(table: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    path, target = table
    assert main(["recommend", path, *target, "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    (group,) = result["groups"]
    for key in ("learning_rate", "low", "high", "contributions", "next_runs", "warnings", "beyond", "leverage"):
        assert result[key] == group[key]
    assert result["low"] < result["learning_rate"] < result["high"]
    assert result["confidence"] == 0.9
    assert {"setting", "lowest", "highest", "num_rates", "width", "cost"} <= set(result["next_runs"][0])
    told = ["--constant", "num_steps=1000", "--confidence", "0.5"]
    assert main(["recommend", path, *target, *told, "--json"]) == 0
    narrower = strict_json(capsys.readouterr().out)
    assert result["low"] < narrower["low"] < narrower["high"] < result["high"]
    missing = "norm equilibrium not checked: needs weight_decay (a column, or --constant NAME=VALUE)"
    assert missing in narrower["groups"][0]["notes"]
    assert main(["recommend", path, *target]) == 0
    shown = capsys.readouterr().out
    for phrase in (
        "learning rate at N=7.07e+08",
        "along num_params",
        "beyond the table's",
        "further pilot cell",
        "90 %",
        "Norm equilibrium not checked: needs weight_decay, and num_steps or num_tokens and batch_size (a column",
    ):
        assert phrase in shown
    assert "nan" not in shown


BAD = {
    "no target": (
        ["TABLE"],
        "--num-params: needed, since the table has 4 values of it (for example --num-params 2.96941e+08, the largest",
    ),
    "zero": (
        ["TABLE", "--num-params", "0", "--num-tokens", "1e11"],
        "--num-params 0.0: must be a finite number above 0",
    ),
    "text": (["TABLE", "--num-params", "big"], "'big' is not a number"),
    "confidence": (["TABLE", "TARGET", "--confidence", "90"], "--confidence 90.0"),
    "no file": (["/no/such.csv", "TARGET"], "/no/such.csv"),
    "column": (["TABLE", "TARGET", "--column", "loss=l"], "no such column"),
    "no schedule": (["TABLE", "TARGET", "--effective"], "--schedule"),
    "no decay": (["TABLE", "TARGET", "--effective", "--schedule", "wsd"], "needs weight_decay; initial_rms"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input(
    arguments: list[str], named: str, table: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = table
    filled = [word for item in arguments for word in {"TABLE": [path], "TARGET": target}.get(item, [item])]
    assert named in refusal(["recommend", *filled], capsys)
