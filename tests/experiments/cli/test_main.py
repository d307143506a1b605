"""The command line: known values, one clear line for bad input, strict JSON."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli.main import main

PREDICT = ["predict", "--learning-rate", "1e-3", "--weight-decay", "0.1", "--num-steps", "20000"]


def strict_json(text: str) -> dict[str, object]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    result = json.loads(text, parse_constant=refuse)
    assert isinstance(result, dict)
    return result


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


def test_simulate_agrees_with_theory(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "simulate",
        "--learning-rate",
        "1e-2",
        "--weight-decay",
        "0.3",
        "--beta2",
        "0.999",
        "--num-steps",
        "300",
    ]
    assert main([*arguments, "--dim", "512", "--num-replicas", "64", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["outcome"] == "completed"
    assert float(str(result["max_abs_z"])) < 4.5
    assert float(str(result["max_relative_error"])) < 0.03
    assert float(str(result["coordinate_steps_per_second"])) > 0


BAD = {
    "negative learning rate": ([*PREDICT, "--learning-rate", "-1e-3"], "--learning-rate -0.001"),
    "NaN learning rate": ([*PREDICT, "--learning-rate", "nan"], "--learning-rate nan"),
    "infinite learning rate": ([*PREDICT, "--learning-rate", "-inf"], "--learning-rate -inf"),
    "text for a number": ([*PREDICT, "--learning-rate", "fast"], "'fast' is not a number"),
    "no equilibrium": ([*PREDICT, "--weight-decay", "0"], "sqrt(t)"),
    "eta*lam >= 1": ([*PREDICT, "--learning-rate", "0.5", "--weight-decay", "2"], "--weight-decay 2.0"),
    "beta1 of 1": ([*PREDICT, "--beta1", "1"], "--beta1 1.0"),
    "negative beta2": ([*PREDICT, "--beta2", "-0.5"], "--beta2 -0.5"),
    "zero steps": ([*PREDICT, "--num-steps", "0"], "--num-steps 0"),
    "fraction of a step": ([*PREDICT, "--num-steps", "2.5"], "'2.5' is not a whole number"),
    "long warmup": ([*PREDICT, "--warmup-steps", "30000"], "--warmup-steps 30000"),
    "unknown flag": ([*PREDICT, "--momentum", "0.9"], "--momentum"),
    "abbreviated flag": ([*PREDICT, "--sched", "cosine"], "--sched"),
    "unknown schedule": ([*PREDICT, "--schedule", "sawtooth"], "sawtooth"),
    "unknown command": (["dance"], "dance"),
    "no command": ([], "COMMAND"),
    "missing flag": (["predict", "--learning-rate", "1e-3"], "--num-steps"),
    "zero initial RMS": ([*PREDICT, "--initial-rms", "0"], "--initial-rms 0.0"),
    "tolerance": ([*PREDICT, "--tolerance", "1.5"], "--tolerance 1.5"),
    "csv nowhere": ([*PREDICT, "--csv", "/no/such/folder/table.csv"], "--csv"),
    "csv is a directory": ([*PREDICT, "--csv", "/"], "--csv"),
    "csv without a name": ([*PREDICT, "--csv", ""], "--csv"),
    "a flag beside a config": (["train", "--config", "config.json", "--seed", "7"], "--seed"),
    "eta*lam >= 1 by default": ([*PREDICT[:3], "--num-steps", "9", "--learning-rate", "1e30"], "--learning-rate 1e+30"),
    "simulated beyond float32": (["simulate", *PREDICT[1:], "--gradient-rms", "1e20"], "--gradient-rms 1e+20"),
    "a vocabulary beyond 16 bits": (["train", *PREDICT[1:], "--vocab-size", "1e6"], "--vocab-size 1000000"),
    "muon without a shape": ([*PREDICT, "--optimizer", "muon"], "--shape"),
    "muon simulated without a shape": (["simulate", *PREDICT[1:], "--optimizer", "muon"], "--shape"),
    "a magnitude beyond floating point": ([*PREDICT, "--initial-rms", "1e200"], "--initial-rms 1e+200"),
    "one replica": (["simulate", *PREDICT[1:], "--num-replicas", "1"], "--num-replicas 1"),
    "negative seed": (["simulate", *PREDICT[1:], "--seed", "-1"], "--seed -1"),
    "no such preset": (["train", *PREDICT[1:], "--preset", "cpu-31"], "--preset cpu-31"),
    "no such config": (["train", "--config", "/no/such/config.json"], "/no/such/config.json"),
    "nothing to train": (["train"], "--learning-rate"),
    "report on nothing": (["report", "/no/such/directory"], "/no/such/directory"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_line_and_exit_code_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert named in captured.err
    assert "error:" in captured.err


def test_empty_directory_has_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no finished run" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_unreadable_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0)
    try:
        assert main(["report", str(tmp_path)]) == 2
    finally:
        tmp_path.chmod(0o755)
    assert "permission" in capsys.readouterr().err


def test_help_and_predict_do_not_import_torch_or_numba() -> None:
    code = (
        "import sys; from experiments.cli.main import main\n"
        f"try: main({PREDICT!r})\n"
        "finally: assert not {'torch', 'numba', 'pandas', 'matplotlib'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_reader_that_stops_reading_is_no_error() -> None:
    """As in ``lrbend predict ... | head -1``."""
    code = "import sys; from experiments.cli.main import main; sys.exit(main(sys.argv[1:]))"
    rates = [str(1e-4 * k) for k in range(1, 400)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "predict", "--learning-rate", *rates, "--num-steps", "10"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate(timeout=60)
    assert b"Traceback" not in error
