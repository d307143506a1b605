"""``lrbend fit``: strict JSON, words, one line for bad input, and a public sweep."""

import json
import os
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from experiments.bend.fit import fit_bend
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.cli.main import build_parser, main
from experiments.cli.tables.fit import fit_in_words
from experiments.tables.decay import Decay
from experiments.tables.reading import LOSS_UNITS, How
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
    for phrase in ("smallest bend", "85 % power", "grid argmin", "1 with text in num_params", "lost", "95 %"):
        assert phrase in shown
    assert "nan" not in shown
    assert shown.index("optimum: the best learning rate of a cell") < shown.index("best tried")
    assert "second derivative of ln(optimum) along ln(scale), per squared e-fold" in shown


def test_an_open_axis_says_what_is_excluded_and_what_would_settle_it() -> None:
    found = fit_bend(make_sweep(Scenario(name="test", noise=0.02), 4).table, sensitivity=False)
    lines, (fit,) = fit_in_words(found).splitlines(), found.groups
    told = {axis: bend.verdict.value == "not-identifiable" for axis, bend in fit.curvature.items()}
    assert any(told.values())
    for axis, is_open in told.items():
        about = [line for line in lines if "no bend found" in line and f"in {axis} instead of" in line]
        assert len(about) == is_open
        if is_open:
            bend, power = fit.curvature[axis], fit.power[axis]
            assert bend.low_90 is not None
            assert power is not None
            assert f"below {bend.low_90:+.2g} or above {bend.high_90:+.2g}" in about[0]
            tried, needed = (
                float(re.search(rf"{word} ([\d.e+]+)", about[0])[1]) for word in ("instead of", "factor of")
            )
            assert np.log(needed) / np.log(tried) == pytest.approx(power.narrower**0.5, rel=0.03)


BAD = {
    "optima": (["fit", "docs/samples/arms.csv"], "no column loss: map one with --column loss=NAME; a table of optima"),
    "optima of arms": (["attribute", "docs/samples/arms.csv"], "is read by lrbend attribute --optima"),
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


@pytest.mark.long
def test_axes_groups_filters_and_what_was_said_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two optimizers along depth, among rows of another width, in a table with other people's names."""
    path = tmp_path / "runs.jsonl"
    rows = [
        {"lr": rate, "val/loss": 3 - 0.1 * np.log(depth) + 0.05 * np.log(rate / best) ** 2 + noise, "opt": name}
        | {"num_layers": depth, "width": width, "State": "finished"}
        for name, slope in (("adam", -0.4), ("adamh", -0.1))
        for width in (128, 256)
        for depth in (4, 16, 64, 256)
        for best in [0.01 * (depth / 32) ** slope * (1 if width == 128 else 7)]
        for rate, noise in zip(best * 2.0 ** np.arange(-2, 3), (1e-4, -2e-4, 1e-4, 2e-4, -2e-4), strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    flags = ["fit", str(path), "--axis", "depth=num_layers", "--group", "opt", "--where", "width=128"]
    assert main([*flags, "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    exponents = {group["group"]: group["exponents"]["depth"]["value"] for group in result["groups"]}
    assert exponents == {"adam": pytest.approx(-0.4, abs=0.01), "adamh": pytest.approx(-0.1, abs=0.01)}
    assert {group["curvature"]["depth"]["verdict"] for group in result["groups"]} == {"straight"}
    (difference,) = result["differences"]
    assert (difference["groups"], difference["axis"]) == (["adam", "adamh"], "depth")
    assert difference["low"] < difference["value"] < difference["high"] < 0
    assert difference["value"] == pytest.approx(-0.3, abs=0.01)
    assert "learning_rate is read from lr" in result["notes"]
    assert result["num_excluded"] == 40
    assert main(flags) == 0
    shown = capsys.readouterr().out
    for phrase in (
        "exponent of depth, adam less adamh: -0.30",
        "depth=256",
        "learning_rate is read from lr.",
        "--where",
    ):
        assert phrase in shown
    assert main(flags[:4]) == 0
    assert "runs that differ in width (128, 256) count as one setting" in capsys.readouterr().out


@pytest.mark.long
def test_a_group_has_its_own_name_and_none_without_groups(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with covariates, which have names too."""
    frame = pd.read_csv(table)
    pd.concat([frame.assign(batch_size=size, arm="a") for size in (1e5, 2e5)]).to_csv(table, index=False)
    for flags, name, words in (([], None, "All runs: 32 cells"), (["--group", "arm"], "a", "a: 32 cells")):
        assert main(["fit", str(table), *flags, "--json"]) == 0
        (group,) = strict_json(capsys.readouterr().out)["groups"]
        assert (group["group"], group["optimizer"]) == (name, None)
        assert main(["fit", str(table), *flags]) == 0
        assert words in capsys.readouterr().out


def test_an_open_end_is_called_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.csv"
    pd.DataFrame({"learning_rate": [1e-3, 2e-3, 4e-3], "loss": [3.03, 3.0, 3.01]}).to_csv(path, index=False)
    assert main(["fit", str(path)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if " interior " in line and "optimum" not in line]
    assert row.split()[3:5] == ["open", "open"]


def test_choices_are_those_of_the_reading() -> None:
    """They are spelled out where flags are read, so that help needs no import of it."""
    options = build_parser().parse_args(["fit", "t.csv"])
    for decay in get_args(Decay):
        assert build_parser().parse_args(["fit", "t.csv", "--decay", decay]).decay == decay
    for unit in LOSS_UNITS:
        assert build_parser().parse_args(["fit", "t.csv", "--loss-unit", unit]).loss_unit == unit
    assert (options.decay, options.loss_unit) == (How().decay, How().loss_unit)


@pytest.mark.slow
def test_a_hundred_thousand_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "large.csv"
    sweep = make_sweep(Scenario(name="large", num_sizes=20, num_budgets=50, seeds=20), 0)
    sweep.table.to_csv(path, index=False)
    assert len(sweep.table) == 100_000
    assert main(["fit", str(path), "--json"]) == 0
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


def test_public_runs_of_adam_and_adamh_over_depth(capsys: pytest.CaptureFixture[str]) -> None:
    """One width, warmup and end of the schedule; of AdamH's series the one whose settings Adam's has."""
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: wd_blog/scripts/transfer of WhenWen.github.io is not here")
    chosen = ("hidden_dim=128", "warmup=0.1", "min_lr_ratio=0", "optimizer_name=adam,adamh")
    series = "run_name!=*cosine*,*nl8-mup-adamh-decay*,*nl16-mup-adamh-decay*"
    flags = [word for condition in (*chosen, series) for word in ("--where", condition)]
    path = Path(root) / "hyperball" / "transfer_width_depth.csv"
    assert main(["fit", str(path), "--group", "optimizer_name", "--axis", "depth=num_layers", *flags, "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert {group["group"]: len(group["cells"]) for group in result["groups"]} == {"adam": 8, "adamh": 8}
    assert sum(group["cells"][0]["num_runs"] for group in result["groups"]) == 12
    (difference,) = result["differences"]
    exponents = [group["exponents"]["depth"] for group in result["groups"]]
    assert difference["value"] == pytest.approx(exponents[0]["value"] - exponents[1]["value"])
    half = sum((each["high"] - each["low"]) ** 2 for each in exponents) ** 0.5 / 2
    assert difference["high"] - difference["low"] == pytest.approx(2 * half, rel=0.05)
    assert result["warnings"] == []


@pytest.mark.parametrize("head", ["iterations: 1,000\n", "learning_rate = 6e-4\n"])
def test_the_log_of_a_run_is_sent_to_read(head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.txt"
    log.write_text(head + "".join(f"iter {step}: loss {3 + 1 / (step + 1):.3f}\n" for step in range(50)))
    assert "the log of one run is what lrbend read reads" in refusal(["fit", str(log)], capsys)
