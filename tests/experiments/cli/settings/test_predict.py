"""``lrbend predict``: values worked out by hand, tables, words."""

import csv
from pathlib import Path

import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import strict_json

PREDICT = ["predict", "--learning-rate", "1e-3", "--weight-decay", "0.1", "--num-steps", "20000"]


def test_predict_gives_the_values_worked_out_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PREDICT, "--initial-rms", "0.02", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["equilibrium_rms"] == pytest.approx(0.0707, rel=0.01)
    assert result["relaxation_steps"] == pytest.approx(5000)
    assert result["num_relaxations"] == pytest.approx(4.0)
    assert result["angular_update_equilibrium"] == pytest.approx(0.00324, rel=0.01)
    assert result["transient_steps"] == pytest.approx(11_200, rel=0.02)
    assert result["reaches_equilibrium"] is True


def test_predict_says_null_where_the_equilibrium_is_not_reached(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*PREDICT[:-1], "5000", "--json"]
    assert main(arguments) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["transient_steps"] is None
    assert result["reaches_equilibrium"] is False


def test_lists_give_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    arguments = ["predict", "--learning-rate", "1e-3", "3e-3", "--weight-decay", "0.1", "0.3", "1"]
    assert main([*arguments, "--num-steps", "100", "--json", "--csv", str(table)]) == 0
    settings = strict_json(capsys.readouterr().out)["settings"]
    assert isinstance(settings, list)
    assert [(s["learning_rate"], s["weight_decay"]) for s in settings] == [
        (rate, decay) for rate in (1e-3, 3e-3) for decay in (0.1, 0.3, 1)
    ]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["equilibrium_rms"]) for row in rows] == [s["equilibrium_rms"] for s in settings]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamh"])
def test_every_optimizer_and_schedule_in_words_and_in_json(
    optimizer: str, schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", "--optimizer", optimizer, "--schedule", schedule, "--learning-rate", "0.01"]
    assert main([*arguments, "--num-steps", "300", "--warmup-steps", "10"]) == 0
    assert "norm" in capsys.readouterr().out or optimizer == "adamw"
    assert main([*arguments, "--num-steps", "300", "--json"]) == 0
    strict_json(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("optimizer", "extra"),
    [
        ("adamc", []),
        ("adam-l2", []),
        ("sgdm", ["--gradient-rms", "0.1"]),
        ("lion", []),
        ("signsgdm", []),
        ("muon", ["--shape", "64", "256"]),
        ("muonh", ["--shape", "64", "64"]),
    ],
)
def test_every_optimizer_of_the_theory_can_be_asked(
    optimizer: str, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PREDICT, "--optimizer", optimizer, *extra, "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert 0 < float(str(result["angular_update_equilibrium"])) < 0.1


def test_a_decay_that_takes_the_norm_away_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    setting = ["--learning-rate", "1e-2", "--weight-decay", "0.3", "--num-steps", "20000", "--schedule", "cosine"]
    assert main(["predict", *setting]) == 0
    assert "takes it away again" in capsys.readouterr().out
