"""``lrbend fit``: strict JSON, words, one line for bad input, and a public sweep."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.cli.main import main
from tests.experiments.cli.said import refusal, strict_json


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    make_sweep(Scenario(name="test", noise=0.003), 2).table.to_csv(path, index=False)
    return path


def test_json_has_the_agreed_keys(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(table), "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    (group,) = result["groups"]
    for key in ("cells", "exponents", "curvature", "estimators", "power"):
        assert result[key] == group[key]
    assert set(group["curvature"]) == {"num_params", "num_tokens"}
    assert {"value", "low", "high", "verdict"} <= set(group["curvature"]["num_params"])
    assert {"learning_rate", "low", "high", "status", "num_params", "best_loss"} <= set(group["cells"][0])


def test_words_name_the_verdict_the_power_and_the_other_estimators(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with table.open("a") as file:
        file.write("1e8,1e9,0.001,nan,0\noops,1e9,0.001,2,0\n")
    assert main(["fit", str(table)]) == 0
    shown = capsys.readouterr().out
    for phrase in ("smallest bend", "85 % power", "grid argmin", "1 with text in num_params", "diverged", "95 %"):
        assert phrase in shown
    assert "nan" not in shown


BAD = {
    "no file": (["fit", "/no/such.csv"], "/no/such.csv"),
    "no sign": (["fit", "TABLE", "--column", "lr"], "--column lr"),
    "twice": (["fit", "TABLE", "--constant", "batch_size=1", "--constant", "batch_size=2"], "given twice"),
    "no number": (["fit", "TABLE", "--constant", "batch_size=many"], "'many' is not a number"),
    "delta": (["fit", "TABLE", "--delta", "0"], "--delta 0.0"),
    "no schedule": (["fit", "TABLE", "--effective"], "--schedule"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input(arguments: list[str], named: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert named in refusal([str(table) if item == "TABLE" else item for item in arguments], capsys)


@pytest.mark.slow
def test_a_hundred_thousand_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "large.csv"
    sweep = make_sweep(Scenario(name="large", num_sizes=20, num_budgets=50, seeds=20), 0)
    sweep.table.to_csv(path, index=False)
    assert len(sweep.table) == 100_000
    start = time.process_time()
    assert main(["fit", str(path), "--json"]) == 0
    assert time.process_time() - start < 120
    assert len(strict_json(capsys.readouterr().out)["cells"]) == 1000


def test_public_sweep_of_two_optimizers(capsys: pytest.CaptureFixture[str]) -> None:
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: wd_blog/scripts/lr_datasize of WhenWen.github.io is not here")
    path = Path(root) / "hyperball" / "lr_datasize_muon_vs_muonh.csv"
    mapped = ["--column", "optimizer=optimizer_name", "--constant", "num_params=1.3e8"]
    assert main(["fit", str(path), *mapped, "--json"]) == 0
    groups = {group["optimizer"]: group for group in strict_json(capsys.readouterr().out)["groups"]}
    assert set(groups) == {"muon", "muonh"}
    censored = {cell["num_tokens"] for cell in groups["muon"]["cells"] if cell["status"] == "censored-low"}
    assert censored == {96e9, 128e9}
    assert {cell["status"] for cell in groups["muonh"]["cells"]} == {"interior"}
    for group in groups.values():
        assert group["curvature"]["num_params"]["verdict"] == "not-identifiable"
        assert group["curvature"]["num_tokens"]["value"] is not None
        assert group["power"]["num_tokens"]["smallest_bend"] > 0
    frame = pd.read_csv(path)
    measured = frame.groupby(["optimizer_name", "num_tokens"]).loss.min()
    for name, group in groups.items():
        for cell in group["cells"]:
            assert cell["best_loss"] == pytest.approx(measured[name, cell["num_tokens"]])
    assert np.isfinite(groups["muonh"]["curvature"]["num_tokens"]["value"])
