"""The replay command, and the study of replays: its runs, its tables, its decision rule."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from experiments.agreement.setting_runs import group_runs, setting_name
from experiments.cli.main import main
from experiments.runs.run_files import load_run
from experiments.studies import replay
from experiments.studies.replay import Earlier, ReplaySetting, rows_of, summary, verdict
from gpt.config import TrainConfig
from tests.experiments.cli.said import refusal
from tests.gpt.walk import make_text

TRAIN = ["train", "--preset", "cpu-16", "--learning-rate", "2e-2", "--num-steps", "20", "--schedule", "linear"]
EVERY = ["--record-every", "1", "--dtype", "float64", "--device", "cpu", "--json"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    assert main([*TRAIN, *EVERY, "--out", str(folder)]) == 0
    return next(folder.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("norm", ["fixed", "recorded"])
def test_replay_of_a_scale_invariant_run(norm: str, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recorded), "--norm", norm, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    before = json.loads((recorded / "summary.json").read_text())["final_loss"]
    assert result["recorded_final_loss"] == before
    assert result["loss_difference"] == result["final_loss"] - before
    assert abs(result["loss_difference"]) < 1e-8
    assert Path(result["run_dir"]).parent == recorded.parent


@pytest.mark.long
def test_a_replay_can_be_neither_replayed_nor_trained_by_itself(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recorded), "--norm", "fixed", "--out", str(tmp_path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["run_dir"]
    assert main(["replay", again, "--norm", "fixed"]) == 2
    assert "a replay itself" in capsys.readouterr().err
    assert main(["train", "--config", f"{again}/config.json", "--out", str(tmp_path / "new")]) == 2
    assert "lrbend replay gives it" in capsys.readouterr().err


@pytest.mark.long
def test_a_report_does_not_set_replays_beside_the_closed_form(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recorded), "--norm", "fixed", "--out", str(tmp_path), "--json"]) == 0
    replayed = load_run(Path(json.loads(capsys.readouterr().out)["run_dir"]))
    assert group_runs([replayed]) == []
    (group,) = group_runs([replayed, load_run(recorded)])
    assert [run.path for run in group.runs] == [recorded]
    assert main(["report", str(tmp_path)]) == 0
    assert replayed.path.name in (tmp_path / "report" / "loss.csv").read_text()
    assert setting_name(replayed.config) == "AdamW lr=0.02 wd=0.1, recorded angle, fixed norm"


def test_only_what_was_recorded_can_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--device", "cpu", "--json", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["replay", str(next(tmp_path.iterdir())), "--norm", "fixed"]) == 2
    assert "--record-every 1" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "nothing"), "--norm", "fixed"]) == 2


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.train.load_text", lambda source: make_text())


@pytest.mark.long
@pytest.mark.usefixtures("walk")
def test_study_runs_resumes_and_makes_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = ReplaySetting("scale-invariant", 2e-2, num_steps=5, preset="cpu-16")
    monkeypatch.setattr(replay, "_settings", lambda architecture: [setting])
    monkeypatch.setattr(replay, "TrainConfig", functools.partial(TrainConfig, eval_batches=2))
    monkeypatch.setattr(replay, "ARCHITECTURES", ("scale-invariant",))
    monkeypatch.setattr(replay, "SEEDS", 2)
    monkeypatch.setattr(replay, "MAX_SEEDS", 4)
    study = ["study", "replay", "--num-workers", "1", "--json"]
    arguments = [*study, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "out")]
    assert main(arguments) == 0
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 2 * 4
    table = (tmp_path / "out" / "replay.csv").read_text()
    assert len(table.splitlines()) == 1 + 2
    assert json.loads((tmp_path / "out" / "config.json").read_text())["seeds"] == [0, 1]
    stamps = [path.stat().st_mtime_ns for path in runs]
    assert main([*arguments, "--option", "table-only=yes"]) == 0
    assert main(arguments) == 0
    assert [path.stat().st_mtime_ns for path in runs] == stamps
    assert (tmp_path / "out" / "replay.csv").read_text() == table

    # The table stands for its runs: where they are gone, only what it lacks is made.
    monkeypatch.setattr(replay, "SEEDS", 3)
    monkeypatch.setattr(replay, "MAX_SEEDS", 3)
    arguments = [*study, "--runs", str(tmp_path / "more"), "--results", str(tmp_path / "both")]
    assert main([*arguments, "--option", f"earlier={tmp_path / 'out' / 'replay.csv'}"]) == 0
    assert {path.name.split("-")[3] for path in (tmp_path / "more").iterdir()} == {"seed2"}
    both = (tmp_path / "both" / "replay.csv").read_text()
    assert both.startswith(table)
    assert len(both.splitlines()) == 1 + 3


def test_an_earlier_table_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    for file, named in ((tmp_path / "none.csv", "No such file"), (other, "not a table of this study")):
        arguments = ["--runs", str(tmp_path / "runs"), "--option", f"earlier={file}"]
        assert named in refusal(["study", "replay", *arguments], capsys)
    assert not (tmp_path / "runs").exists()


def test_summary_needs_both_arms_of_a_seed(tmp_path: Path) -> None:
    assert rows_of(tmp_path, [ReplaySetting("gpt2", 1e-2)], Earlier()) == []
    common = {"architecture": "gpt2", "learning_rate": 1e-2, "plain_difference": None}
    rows = [
        {**common, "seed": seed, "fixed_difference": fixed, "twin_difference": twin}
        for seed, (fixed, twin) in enumerate([(0.1, 0.0), (0.3, 0.02), (0.5, None)])
    ]
    (row,) = summary(rows)
    assert row["num_seeds"] == 2
    assert (row["fixed_mean"], row["twin_mean"]) == (pytest.approx(0.2), pytest.approx(0.01))
    assert row["fixed_minus_twin"] == pytest.approx(0.19)
    assert row["se"] == pytest.approx(0.09)
    assert row["verdict"] == "differs"


@pytest.mark.parametrize(
    ("fixed", "twin", "error", "expected"),
    [
        (0.001, 0.0, 0.001, "agrees"),
        (-0.001, 0.0, 0.001, "agrees"),
        (0.01, -0.009, 0.001, "agrees"),
        (0.0, 0.0, 0.006, "not-resolved"),
        (-0.02, 0.001, 0.006, "differs"),
        (0.0, 0.0, float("inf"), "not-resolved"),
    ],
)
def test_decision_rule(fixed: float, twin: float, error: float, expected: str) -> None:
    assert verdict(fixed, twin, error) == expected
