"""``lrbend recommend``: its JSON object, its words, its refusals."""

import json
from pathlib import Path

import pytest

from experiments.calibration.made_sweeps import Scenario
from experiments.cli.main import main
from tests.experiments.recommend.pilots import split


@pytest.fixture
def table(tmp_path: Path) -> tuple[str, list[str]]:
    pilot, target, *_ = split(Scenario(name="test", noise=0.003, num_sizes=5, num_budgets=5), 2)
    path = tmp_path / "pilot.csv"
    pilot.to_csv(path, index=False)
    return str(path), ["--num-params", repr(target.num_params), "--num-tokens", repr(target.num_tokens)]


def test_command_in_json_and_in_words(table: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    path, target = table
    assert main(["recommend", path, *target, "--json"]) == 0
    result = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (group,) = result["groups"]
    for key in ("learning_rate", "low", "high", "contributions", "next_runs", "warnings", "beyond", "leverage"):
        assert result[key] == group[key]
    assert result["low"] < result["learning_rate"] < result["high"]
    assert result["confidence"] == 0.9
    assert {"setting", "lowest", "highest", "num_rates", "width", "cost"} <= set(result["next_runs"][0])
    assert main(["recommend", path, *target, "--confidence", "0.5", "--json"]) == 0
    narrower = json.loads(capsys.readouterr().out)
    assert result["low"] < narrower["low"] < narrower["high"] < result["high"]
    assert main(["recommend", path, *target]) == 0
    shown = capsys.readouterr().out
    for phrase in (
        "learning rate at N=7.07e+08",
        "along num_params",
        "beyond the table's",
        "further pilot cell",
        "90 %",
    ):
        assert phrase in shown
    assert "nan" not in shown


BAD = {
    "no target": (["TABLE"], "--num-params: needed"),
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
    try:
        code = main(["recommend", *filled])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert named in captured.err
