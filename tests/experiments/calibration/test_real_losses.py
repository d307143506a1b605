"""Runs left out, on losses of a planted law; and which runs each way leaves out."""

from pathlib import Path

import pytest

from experiments.calibration.real_losses import WAYS, judge_left_out
from experiments.cli.main import main
from experiments.files import BadInput
from tests.experiments.losses.planted_runs import made_runs, planted

DENSE = (2000, 3000, 4000, 6000)


def test_losses_of_the_family_are_covered_and_others_are_not() -> None:
    runs = planted(made_runs(2000, 3000, 4000), 0.002)
    trained, asked = runs[:32], runs[32:]
    found = judge_left_out(trained, asked, 0.9)
    assert found["num_asked"] == 16
    assert found["covered"] > 0.7
    assert found["relative_error"] < 0.005
    moved = [run.__class__(**{**vars(run), "loss": run.loss * 1.1}) for run in asked]
    missed = judge_left_out(trained, moved, 0.9)
    assert missed["covered"] < 0.2
    assert missed["relative_error"] > 0.05


@pytest.mark.parametrize("way", WAYS)
def test_no_run_is_asked_for_that_was_trained_on(way: str) -> None:
    runs = [*made_runs(*DENSE), *made_runs(2000)]  # 32 runs of one length, 16 of each other
    runs = [*runs, *made_runs(*DENSE[1:]), *made_runs(2000, num_params=(3e7,))]
    groups = list(WAYS[way](runs))
    assert groups
    for _, trained, asked in groups:
        assert asked
        assert not set(map(id, trained)) & set(map(id, asked))
        assert len({run.num_steps for run in asked}) == 1 or len({run.num_params for run in asked}) == 1
    if way == "size":
        assert sorted(len(asked) for _, _, asked in groups) == [16, 128]
    if way == "lengths from few":
        assert next(sorted({run.num_steps for run in trained}) for _, trained, _ in groups) == [2000, 3000]


@pytest.mark.parametrize("way", ["length, dense size", "lengths from few"])
def test_it_has_to_have_lengths(way: str) -> None:
    runs = [*made_runs(*DENSE[:3]), *made_runs(*DENSE[:3])]
    with pytest.raises(BadInput, match="3 lengths with 20 runs of the most frequent size; needed are 4"):
        list(WAYS[way](runs))


def test_it_has_to_have_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "losses", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "slimpajama_final_losses.csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["calibrate", "losses", "--data", str(tmp_path), "--num-sweeps", "3"]) == 2
    assert "--num-sweeps: not with losses" in capsys.readouterr().err
