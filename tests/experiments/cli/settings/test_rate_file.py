"""A learning-rate series from a file as the schedule of predict, simulate and train."""

import os
from pathlib import Path

import pytest

from experiments.cli.main import main
from experiments.cli.settings.rate_file import read_rates
from experiments.files import BadInput
from tests.experiments.cli.said import refusal, strict_json
from theory import WSD


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lr.csv"
    path.write_text(text)
    return path


def predicted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["predict", *arguments, "--json"]) == 0
    return strict_json(capsys.readouterr().out)


def test_the_rates_of_a_schedule_are_that_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = 3e-3 * WSD(num_steps=400, warmup_steps=40).multipliers()
    path = written(tmp_path, "step,loss,lr\n" + "".join(f"{t},2.5,{rate}\n" for t, rate in enumerate(rates)))
    named = ["--learning-rate", "3e-3", "--num-steps", "400", "--schedule", "wsd", "--warmup-steps", "40"]
    expected = predicted(named, capsys)
    told = predicted(["--schedule", f"file:{path}", "--learning-rate", "3e-3"], capsys)
    own = predicted(["--schedule", f"file:{path}"], capsys)
    for name in ("final_rms", "num_relaxations", "final_angular_update"):
        assert told[name] == pytest.approx(expected[name], rel=1e-9)
        assert own[name] == pytest.approx(
            expected[name], rel=5e-4
        )  # the peak of the file is half a step of warmup lower


def test_rows_of_a_thinned_log_are_joined_by_lines(tmp_path: Path) -> None:
    rates = read_rates(written(tmp_path, "step,learning_rate\n0,0\n10,0.002\n20,\n30,0.001\n"))
    assert (rates.peak, rates.series.steps) == (0.002, (0, 10, 30))
    assert rates.schedule(None).multipliers()[[0, 5, 10, 20, 30]].tolist() == [0, 0.5, 1, 0.75, 0.5]
    assert rates.schedule(40).num_steps == 40
    with pytest.raises(BadInput, match="--num-steps 51: must be at most 50"):
        rates.schedule(51)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,loss\n0,1\n", "needs a column learning_rate or multiplier"),
        ("step,lr\n0,1e-3\n0,1e-3\n", "step 0 must be above 0"),
        ("step,lr\n0,-1e-3\n", "line 2: lr must be"),
        ("step,lr\n0,fast\n", "line 2: lr must be"),
        ("step,lr\n0.5,1e-3\n", "line 2: step must be"),
        ("step,lr\n0,0\n", "no lr above 0"),
        ("step,multiplier\n0,2\n", "at most 1"),
        ("epoch,lr\n0,0\n5,1e-3\n9,0\n", "no column step, and epoch counts upward"),
        ("lr,tokens\n0,512\n1e-3,1024\n", "no column step, and tokens counts upward"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    assert message in refusal(["predict", "--schedule", f"file:{path}", "--learning-rate", "1"], capsys)


def test_multipliers_need_a_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "step,multiplier\n0,1\n9,0.5\n")
    assert "--learning-rate: required" in refusal(["predict", "--schedule", f"file:{path}"], capsys)
    assert "--schedule" in refusal(["predict", "--schedule", "fast", "--learning-rate", "1e-3"], capsys)


@pytest.mark.parametrize("name", ["Step", "iteration", "iter", "global_step", "t", "_step", "trainer/global_step"])
def test_what_others_call_a_step(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without such a column has one row a step: under a name that is not known that is silently another run."""
    assert read_rates(written(tmp_path, f"{name},lr\n0,0\n500,1e-3\n900,0\n")).series.steps == (0, 500, 900)
    assert (capsys.readouterr().err != "") == (name != "Step")
    assert read_rates(written(tmp_path, "loss,lr\n3,0\n2,1e-3\n1,0\n")).series.steps == (0, 1, 2)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "--schedule", "file:"],
        ["convert", "--to", "adamh", "--schedule", "file:"],
        ["convert", "--to", "adamh", "--measured", ""],
    ],
)
def test_a_file_that_tells_of_more_steps_than_memory_holds_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything as long as that is made."""
    path = written(tmp_path, "step,learning_rate,angular_update\n0,1e-3,1e-3\n20000,1e-3,1e-3\n")
    monkeypatch.setattr(os, "sysconf", lambda name: 1000)
    assert "not enough memory" in refusal([*words[:-1], f"{words[-1]}{path}"], capsys)
