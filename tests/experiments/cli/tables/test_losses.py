"""``lrbend losses``: strict JSON, words, candidates, one line for bad input; planted tables, public ones and curves."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.losses.planted_runs import PEAKS, made_run, planted
from tests.experiments.losses.public_runs import public_folder

FRACTIONS = (0.1, 0.3, 0.6, 0.9)
HEADER = (
    "corpus",
    "lr",
    "lr_schedule",
    "cooldown_fraction",
    "steps",
    "N",
    "tokens_per_batch",
    "wd",
    "warmup",
    "val_loss",
)


def rows_of(
    *horizons: int, sizes: tuple[float, ...] = (1e8,), dataset: str = "web", offset: float = 0.0, seed: int = 0
) -> list[list[object]]:
    """Rows of planted runs, all rates and cooldown fractions at every horizon and size."""
    settings = [(n, t, f, p) for n in sizes for t in horizons for f in FRACTIONS for p in PEAKS]
    runs = planted([made_run(p, f, t, n) for n, t, f, p in settings], 1e-3, seed)
    return [
        [dataset, p, "wsd", f, t, n, 50000, 0.1, 100, run.loss + offset]
        for (n, t, f, p), run in zip(settings, runs, strict=True)
    ]


def write(path: Path, rows: list[list[object]], header: tuple[str, ...] = HEADER) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture
def table(tmp_path: Path) -> str:
    return write(tmp_path / "runs.csv", rows_of(1500, 2500))


def test_json_has_the_agreed_keys_and_ranks_a_longer_run(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "losses",
        table,
        "--num-tokens",
        "2e8",
        "--schedule",
        "wsd",
        "linear",
        "--decay-fraction",
        "0.1",
        "0.6",
    ]
    assert main([*arguments, "--learning-rate", "1e-3", "2e-3", "3e-3", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    (group,) = result["groups"]
    assert all(result[key] == group[key] for key in group if key != "notes")
    ranking = result["ranking"]
    assert len(ranking) == 3 * 3
    assert {"schedule", "learning_rate", "decay_fraction", "num_steps", "loss", "low", "high"} <= set(ranking[0])
    assert all(one["low"] < one["loss"] < one["high"] and one["num_steps"] == 4000 for one in ranking)
    inside = [one for one in ranking if "peak_learning_rate" not in one["outside"]]
    assert ranking[: len(inside)] == sorted(inside, key=lambda one: one["loss"])
    assert {one["learning_rate"] for one in ranking[len(inside) :]} == {3e-3}
    asked = [one for one in inside if one["schedule"] == "wsd"]
    truth = planted([made_run(one["learning_rate"], one["decay_fraction"], 4000) for one in asked], 0.0)
    assert [one["loss"] for one in asked] == pytest.approx([run.loss for run in truth], abs=0.02)
    assert result["law"]["name"] == "schedule-and-scale"
    assert {"name", "value", "low", "high"} <= set(result["law"]["constants"][0])
    memories = {one["name"]: one["meaning"] for one in result["law"]["constants"] if one["name"].startswith("noise")}
    assert {"noise_memory_2", "noise_memory_0.02"} <= set(memories)
    assert all(f"forgotten in {name.split('_')[2]} of" in meaning for name, meaning in memories.items())
    assert 5e-4 < result["residual_rms"]["train"] < 2e-3
    assert result["residual_rms"]["leave_one_horizon_out"] > result["residual_rms"]["train"]
    assert result["residual_rms"]["leave_one_size_out"] is None
    assert any("loss from val_loss" in note for note in result["notes"])
    assert any("num_steps of the target, 4000, is outside" in note for note in result["notes"])


def test_words_say_the_same_and_candidates_default_to_the_table(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["losses", table, "--num-steps", "2500"]) == 0
    shown = capsys.readouterr().out
    assert "32 of 32 rows read." in shown
    assert "schedule-and-scale law of 32 runs" in shown
    assert sum(line.startswith("    wsd ") for line in shown.splitlines()) == len(FRACTIONS) * len(PEAKS)
    assert main(["losses", table]) == 0
    assert "candidates" not in capsys.readouterr().out


def test_a_data_set_gets_its_offset_from_a_few_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = rows_of(2000, dataset="code", offset=-1.0, seed=1)
    truth = [float(str(row[-1])) for row in other]
    for row in other[3:]:
        row[-1] = ""
    path = write(tmp_path / "runs.csv", [*rows_of(1500, 2500), *other])
    assert main(["losses", path, "--dataset-column", "corpus", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    found = {one["line"]: one for one in result["predictions"]}
    losses = [found[line]["loss"] for line in sorted(found)]
    assert len(losses) == 13
    np.testing.assert_allclose(losses, truth[3:], rtol=0.006)
    offsets = [one["value"] for one in result["law"]["constants"] if one["name"].startswith("offset")]
    assert offsets[1] - offsets[0] == pytest.approx(-1, abs=0.01)
    said = refusal(["losses", path, "--dataset-column", "corpus", "--num-steps", "2000"], capsys)
    assert "--dataset: needed, since the table has code, web" in said
    said = refusal(["losses", path, "--num-steps", "2000", "--dataset", "code", "--where", "corpus=web"], capsys)
    assert "--dataset code: must be one with a loss to train on: web" in said
    assert main(["losses", path, "--num-steps", "2000", "--dataset", "code", "--json"]) == 0


def test_a_row_that_cannot_be_predicted_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = rows_of(1500, dataset="unseen")[0]
    lost[-1] = ""
    assert main(["losses", write(tmp_path / "runs.csv", [*rows_of(1500, 2500), lost])]) == 0
    assert "dataset = 'unseen' must be one with a loss to train on: web" in capsys.readouterr().out


def refused(rows: list[list[object]], column: int, value: object) -> list[list[object]]:
    return [[*row[:column], value, *row[column + 1 :]] for row in rows]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--num-steps", "4000", "--num-params", "2e7"], "--num-params 20000000.0: must be 1e+08, the only size"),
        (["--num-steps", "4000", "--num-tokens", "1e8"], "--num-steps or --num-tokens: one of them"),
        (["--schedule", "wsd"], "the table has 1500 to 2500 steps"),
        (["--num-steps", "4000", "--decay-fraction", "2"], "--decay-fraction 2.0: must be"),
        (["--num-steps", "40", "--warmup-steps", "41"], "--warmup-steps 41: must be"),
        (["--num-steps", "1e8"], "more than 1e+08 steps"),
        (["--num-tokens", "1" + "0" * 299], "must be at most 1e+08 steps of 50000"),
        (["--confidence", "1"], "--confidence 1.0: must be"),
        (["--law", "momentum"], "--law momentum: is fitted to a folder of loss curves"),
        (
            ["--where", "steps=1500", "--num-steps", "2500"],
            "--num-steps 2500: must be 1500, the only horizon in the table",
        ),
        (
            ["--where", "cooldown_fraction=0.1"],
            "one schedule only (wsd 0.1) in 8 runs with 1 schedule, 4 learning rates",
        ),
        (
            ["--where", "lr=1e-3"],
            "8 runs with 4 schedules, 1 learning rate, 2 horizons, 1 size; needed are at least 10 runs",
        ),
        (["--where", "val_loss=-1"], "no such row"),
        (["--column", "speed=lr"], "--column speed: must be one of learning_rate, loss"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_is_missing(
    table: str, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refusal(["losses", table, *flags], capsys)


def test_a_table_of_several_sizes_wants_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "runs.csv", rows_of(1500, 2500, sizes=(1e7, 1e8)))
    said = refusal(["losses", path, "--num-steps", "2500"], capsys)
    assert "--num-params: needed, since the table has 2: 1e+07 to 1e+08" in said
    both = "1e+07 to 1e+08; --num-steps or --num-tokens: one of them is needed"
    assert both in refusal(["losses", path, "--schedule", "wsd"], capsys)
    assert main(["losses", path, "--num-steps", "2500", "--num-params", "100100000", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["target"]["num_params"] == 1e8
    assert any("taken as the table's 1e+08" in note for note in result["notes"])


def test_files_that_are_not_there_or_no_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read" in refusal(["losses", str(tmp_path / "nothing.csv")], capsys)
    assert "no *.csv file" in refusal(["losses", str(tmp_path)], capsys)
    empty = write(tmp_path / "empty.csv", [])
    assert "no rows" in refusal(["losses", empty], capsys)
    said = refusal(["losses", empty, "--curves"], capsys)
    assert "not a folder" in said
    said = refusal(["losses", str(tmp_path), "--curves", "--num-steps", "130M"], capsys)
    assert "--num-steps 130000000: must be a whole number of at least 1 and at most 10000000" in said


@pytest.mark.long
def test_the_command_needs_neither_torch_nor_drawing(table: str) -> None:
    code = (
        "import json, sys; from experiments.cli.main import main; main(['losses', sys.argv[1], '--num-steps', '2500']);"
        "print(json.dumps([name for name in ('torch', 'numba', 'matplotlib', 'pandas') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code, table], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.long
def test_the_public_table_is_answered_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(public_folder("lr_scheduling") / "slimpajama_final_losses.csv")
    assert main(["losses", path, "--num-params", "123587328", "--num-steps", "50000", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["target"]["num_params"] == 12 * 12 * 768**2
    assert len(result["predictions"]) == 4
    best = result["ranking"][0]
    assert 2.93 < best["low"] < best["loss"] < best["high"] < 2.97


@pytest.mark.long
def test_public_curves_are_answered_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(public_folder("multipowerlaw"))
    arguments = ["losses", folder, "--num-steps", "72000", "--schedule", "constant", "cosine", "--warmup-steps", "2160"]
    assert main([*arguments, "--where", "group=csv_100", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert [one["schedule"] for one in result["ranking"]] == ["cosine", "constant"]
    measured = {"cosine": 2.8632, "constant": 2.9413}  # the last records of the two curves of this length
    for one in result["ranking"]:
        assert one["low"] < measured[one["schedule"]] < one["high"]
        assert one["loss"] == pytest.approx(measured[one["schedule"]], abs=0.005)
    assert result["residual_rms"]["leave_one_curve_out"] < 0.01
    assert "--num-params: a law of curves knows no size" in refusal(["losses", folder, "--num-params", "1e8"], capsys)
    assert "--num-steps: needed" in refusal(["losses", folder, "--schedule", "wsd"], capsys)
    assert "--law schedule-and-scale" in refusal(["losses", folder, "--law", "schedule-and-scale"], capsys)
    assert "curve or group" in refusal(["losses", folder, "--where", "size=100"], capsys)
