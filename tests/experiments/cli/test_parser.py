"""Every entry point answers what it cannot use with one line on stderr and exit code 2."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from experiments.cli.main import main
from experiments.cli.parser import Parser, answer

STUDIES = "studies.__main__"


@pytest.mark.parametrize(
    ("module", "arguments", "named"),
    [
        (STUDIES, [], "study"),
        (STUDIES, ["unheard-of"], "unheard-of"),
        (STUDIES, ["solvable-bend", "--out", "/proc/nowhere"], "/proc/nowhere"),
        ("calibrate", ["--num-sweeps", "many"], "--num-sweeps"),
        ("calibrate", ["--num-sweeps", "0"], "--num-sweeps 0"),
        ("calibrate", ["--num-workers", "0"], "--num-workers 0"),
        ("simulation_grid", ["--optimizers", "lamb"], "lamb"),
        ("simulation_grid", ["--settings", "0"], "--settings 0"),
        ("replay_study", ["--fast"], "--fast"),
        ("run_one", [], "JOB.json"),
        ("run_one", ["/no/such/job.json"], "/no/such/job.json"),
    ],
)
def test_bad_arguments_are_one_line(
    module: str,
    arguments: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    try:
        code = importlib.import_module(f"experiments.{module}").main()
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith(f"python -m experiments.{module.removesuffix('.__main__')}: error: ")
    assert named in said.err


def test_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: object) -> int:
        raise KeyboardInterrupt

    assert answer(run, Parser(prog="it").parse_args([]), prog="it", when_stopped="nothing is kept") == 130
    assert capsys.readouterr().err == "it: stopped; nothing is kept\n"


def test_help_shows_defaults_where_there_are_some() -> None:
    parser = Parser(prog="it")
    parser.add_argument("--length", type=int, help="in steps (default: all of them)")
    parser.add_argument("--width", type=int, default=3, help="in units")
    text = parser.format_help()
    assert "all of them)\n" in text
    assert "None" not in text
    assert "in units (default: 3)" in text


def test_shards_in_the_way_are_named_before_missing_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ["prepare", "fineweb", "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "package tokenizers not found: must be installed" in capsys.readouterr().err
    (tmp_path / "train-00000.bin").touch()
    assert main(arguments) == 2
    assert "--out" in capsys.readouterr().err


def test_vocabulary_of_a_small_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shards of 16-bit tokens need more than a preset's bytes."""
    import numpy as np

    from experiments.runs.run_files import load_run

    shard = tmp_path / "tokens.bin"
    (np.arange(5000) * 7 % 1000).astype("<u2").tofile(shard)
    setting = ["--preset", "cpu-16", "--learning-rate", "1e-2", "--num-steps", "2", "--batch-size", "2"]
    arguments = ["train", *setting, "--source", str(shard), "--out", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(arguments) == 2
    assert "--vocab-size 256: must be at least 1000, the token values of" in capsys.readouterr().err
    assert main([*arguments, "--vocab-size", "1000", "--json"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    config = load_run(run).config
    assert config.model.vocab_size == 1000  # type: ignore[union-attr]
