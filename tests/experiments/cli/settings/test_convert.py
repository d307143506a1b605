"""``lrbend convert``: its JSON, its schedule read again, and conventions told back."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import refusal, strict_json
from theory import AdamW, Constant, adamh, predict_trajectory

RUN = ["--learning-rate", "1e-2", "--weight-decay", "0.3", "--num-steps", "300"]


def answer(command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    assert main([command, *arguments, "--json"]) == 0
    return strict_json(capsys.readouterr().out)


def test_a_whole_schedule_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, back = tmp_path / "adamh.csv", tmp_path / "adamw.csv"
    found = answer("convert", ["--from", "adamw", "--to", "adamh", *RUN, "--schedule-out", str(there)], capsys)
    assert found["weight_decay"] is None
    assert found["largest_angle_error"] < 1e-9 < found["unconverted_angle_error"]
    assert found["matching_learning_rate"] == pytest.approx(float(adamh.matching_learning_rate(1 - 0.003)), rel=1e-9)
    table = np.genfromtxt(there, delimiter=",", names=True)
    assert table["learning_rate"] == pytest.approx(found["learning_rate"] * table["multiplier"])
    assert found["schedule"] == pytest.approx(table["multiplier"][found["schedule_steps"]])
    # The file is a schedule of predict: its last angle is that of the AdamW run.
    run = predict_trajectory(AdamW(learning_rate=0.01, weight_decay=0.3), Constant(num_steps=300), initial_rms=0.02)
    predicted = answer("predict", ["--optimizer", "adamh", "--schedule", f"file:{there}"], capsys)
    assert predicted["final_angular_update"] == pytest.approx(run.angular_update[-1, 0], rel=1e-9)
    returned = ["--from", "adamh", "--to", "adamw", "--schedule", f"file:{there}", "--to-weight-decay", "0.3"]
    again = answer("convert", [*returned, "--schedule-out", str(back)], capsys)
    assert again["learning_rate"] == pytest.approx(0.01, rel=1e-6)
    assert np.genfromtxt(back, delimiter=",", names=True)["learning_rate"] == pytest.approx(0.01, rel=1e-6)


def test_what_is_known_of_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ratio, one for each step, or the angles themselves: a schedule for the same run each time."""
    to_adamh = ["--to", "adamh", *RUN, "--initial-rms", "2", "--schedule", "cosine"]
    network = ["--network", "scale-invariant", "--direction", "0.8"]
    short = answer("convert", [*to_adamh, *network], capsys)
    assert (short["network"], short["direction_ratio"], short["angles_measured"]) == ("scale-invariant", 0.8, False)
    plain = answer("convert", to_adamh, capsys)
    assert (plain["network"], plain["direction_ratio"]) == ("white-noise", 1)
    # Far from equilibrium the angle goes with the direction, and so does AdamH's rate.
    white = answer("convert", [*to_adamh, "--network", "scale-invariant", "--direction", "white"], capsys)
    assert short["schedule"][2] * short["learning_rate"] == pytest.approx(
        0.8 * white["schedule"][2] * white["learning_rate"], rel=0.01
    )
    ratios = tmp_path / "direction.csv"
    ratios.write_text("step,direction_ratio\n0,0.8\n299,0.8\n")
    told = answer("convert", [*to_adamh, *network[:2], "--direction", f"file:{ratios}"], capsys)
    assert told["learning_rate"] == pytest.approx(short["learning_rate"], rel=1e-12)
    records = tmp_path / "run.csv"
    predict = ["--optimizer", "adamw", *to_adamh[2:], *network, "--trajectory", str(records), "--record-every", "1"]
    assert main(["predict", *predict]) == 0
    capsys.readouterr()
    measured = answer("convert", [*to_adamh, "--measured", str(records)], capsys)
    assert measured["angles_measured"]
    rates, asked = ([share * found["learning_rate"] for share in found["schedule"]] for found in (measured, short))
    assert rates == pytest.approx(asked, rel=1e-5)  # predict takes finite beta2 by itself


@pytest.mark.parametrize(
    ("num_steps", "said"),
    [("300", "from step 100 on, when the averages have filled; here"), ("50", "from step 49 on; here")],
)
def test_the_page_says_from_which_step_on_angles_are_compared(
    num_steps: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "--to", "adamh", *RUN, "--num-steps", num_steps]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("told", [[], ["--num-steps", "300"]])
def test_angles_of_a_log_that_ends_between_two_records(
    told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last record is of step 288, twelve after the one before; the table of it has a row for every step or two."""
    log, angles = tmp_path / "log.csv", str(tmp_path / "angles.csv")
    rows = [f"{step},{0.01 * (1 - step / 600)},{3 / step}" for step in range(12, 300, 12)]
    log.write_text("\n".join(["step,learning_rate,loss", *rows]) + "\n")
    assert main(["read", str(log), "--weight-decay", "0.3", "--csv", angles, *told]) == 0
    capsys.readouterr()
    assert main(["convert", "--to", "adamh", *RUN, "--measured", angles, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count("ends at step 287: its last angular_update is held") == (not told)
    found = strict_json(said.out)
    assert found["angles_measured"]
    # Rate, length and schedule are those of the table, unless flags say others: which is told.
    assert "the source has the learning rates of" in said.err
    alone = ["--to", "adamh", *RUN[2:4], "--measured", angles]
    assert answer("convert", alone, capsys) == answer("convert", [*alone, "--schedule", f"file:{angles}"], capsys)
    assert main(["convert", "--to", "adamh", *RUN, "--measured", angles, "--schedule", "constant", "--json"]) == 0
    said = capsys.readouterr()
    assert f"the flags count; the rates of {angles} are others, at step" in said.err
    assert strict_json(said.out)["unconverted_angle_error"] != pytest.approx(found["unconverted_angle_error"], rel=0.05)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--measured", "FILE"], "needs a column angular_update"),
        (["--measured", "WIDE"], "angles 1.7: must be at least 0 and below pi/2"),
        (["--measured", "ANGLES"], "--num-steps 300: must be from 200 to 209"),
        (["--network", "scale-invariant", "--direction", "file:FILE"], "needs a column direction_ratio"),
        (["--direction", "file:HISTORY"], "--direction file:PATH: must be left out for white-noise"),
        (["--network", "scale-invariant", "--direction", "file:RATIOS"], "the last direction_ratio must be above 0"),
        (["--network", "gpt2"], "white-noise or scale-invariant for a conversion"),
    ],
)
def test_what_cannot_be_known_of_a_source_is_refused(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"FILE": "step,lr\n0,1\n", "RATIOS": "step,direction_ratio\n0,1\n9,0\n"}
    texts["WIDE"] = "step,angular_update\n0,1.7\n299,0\n"
    texts["HISTORY"] = "step,direction_ratio\n0,1\n9,0.8\n"
    texts["ANGLES"] = "step,angular_update\n" + "".join(f"{step},0.01\n" for step in (*range(0, 200, 10), 199))
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
        flags = [flag.replace(name, str(tmp_path / f"{name}.csv")) for flag in flags]
    assert message in refusal(["convert", "--to", "adamh", *RUN, *flags], capsys)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--weight-decay", "1e-4"], {"decay": "pytorch", "independent_weight_decay": 1e-7}),
        (["--decay", "independent", "--weight-decay", "1e-4"], {"decay": "independent", "weight_decay": 1e-4}),
        (["--decay", "relative", "--weight-decay", "1e-4"], {"decay": "pytorch", "weight_decay": 0.1}),
        (["--decay", "coupled"], {"decay": "coupled", "weight_decay": 0.1}),
        (["--decay", "adamc"], {"decay": "adamc", "independent_weight_decay": 1e-4}),
        (["--optimizer", "adamh"], {"decay": None}),
        (
            ["--optimizer", "muon", "--shape", "8", "16", "--muon-scale", "moonlight", "--update-ratio", "0.9"],
            {"decay": "pytorch", "muon_scale": "moonlight", "update_ratio": 0.9},
        ),
    ],
)
def test_conventions_are_told_back(flags: list[str], told: dict, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer("predict", ["--learning-rate", "1e-3", "--num-steps", "100", *flags], capsys)
    assert {name: found[name] for name in told} == pytest.approx(told)


def test_a_decay_of_its_own_names_one_dynamics(capsys: pytest.CaptureFixture[str]) -> None:
    """At a constant rate three conventions are one; under a decay of the rate they are three."""
    ways = [["--weight-decay", "0.1"]] + [
        ["--decay", name, "--weight-decay", "1e-4"] for name in ("independent", "relative")
    ]
    for schedule, differ in (("constant", False), ("linear", True)):
        setting = ["--learning-rate", "1e-3", "--num-steps", "9000", "--schedule", schedule]
        plain, independent, relative = (answer("predict", [*setting, *way], capsys)["final_rms"] for way in ways)
        assert relative == pytest.approx(plain, rel=1e-12)
        assert (abs(independent / plain - 1) > 0.05) is differ


def test_no_decay_and_no_start_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    setting = ["--learning-rate", "1e-3", "--num-steps", "20000"]
    grown = answer("predict", [*setting, "--weight-decay", "0", "--initial-rms", "0"], capsys)
    assert grown["equilibrium_rms"] is grown["transient_steps"] is grown["adamh_learning_rate"] is None
    assert (grown["reaches_equilibrium"], grown["exponent"]) == (False, 0.5)
    assert grown["final_rms"] == pytest.approx(1e-3 * 20_000**0.5, rel=2e-3)
    assert grown["final_angular_update"] == pytest.approx((1 / 19 / 20_000) ** 0.5, rel=2e-3)
    sgdm = answer("predict", [*setting, "--weight-decay", "0", "--optimizer", "sgdm"], capsys)
    assert sgdm["exponent"] == 0.25
    started = answer("predict", [*setting, "--initial-rms", "0"], capsys)
    near = answer("predict", [*setting, "--initial-rms", "1e-6"], capsys)
    assert started["final_rms"] == pytest.approx(near["final_rms"], rel=1e-6)
    assert "zero has no direction" in refusal(
        ["predict", *setting, "--optimizer", "adamh", "--initial-rms", "0"], capsys
    )
    assert main(["predict", *setting, "--weight-decay", "0"]) == 0
    assert "square root of the steps" in capsys.readouterr().out


def test_a_table_holds_rows_with_and_without_decay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.csv"
    setting = ["--learning-rate", "1e-3", "--num-steps", "500", "--weight-decay", "0.1", "0", "--csv", str(path)]
    rows = answer("predict", setting, capsys)["settings"]
    assert [row["exponent"] for row in rows] == [None, 0.5]
    table = np.genfromtxt(path, delimiter=",", names=True, usecols=("equilibrium_rms", "rms_per_growth"))
    assert np.isnan(table["equilibrium_rms"]).tolist() == [False, True]
    assert np.isnan(table["rms_per_growth"]).tolist() == [True, False]


def test_simulations_without_decay_from_zero(capsys: pytest.CaptureFixture[str]) -> None:
    setting = ["--learning-rate", "1e-2", "--num-steps", "200", "--dim", "512", "--num-replicas", "16"]
    found = answer("simulate", [*setting, "--weight-decay", "0", "--initial-rms", "0"], capsys)
    assert (found["outcome"], found["decay"]) == ("completed", "pytorch")
    assert found["max_relative_error"] < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", *RUN, "--optimizer", "lion", "--decay", "adamc"], "--decay adamc: lion has no such decay"),
        (["predict", *RUN[:2], "--num-steps", "9", "--decay", "independent", "--weight-decay", "1"], "below 1"),
        (["convert", *RUN, "--from", "adamw", "--to", "muon"], "--shape"),
        (["convert", *RUN, "--from", "adamw", "--to", "adamh", "--initial-rms", "0"], "initial"),
        (["convert", *RUN, "--from", "adamw", "--to", "lion", "--to-initial-rms", "0"], "target_initial_rms"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(arguments, capsys)


def test_an_adamw_trains_with_an_independent_decay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = tmp_path / "lr.csv"
    schedule.write_text("step,learning_rate\n0,0\n2,0.01\n5,0\n")
    matrices, out = tmp_path / "matrices.csv", tmp_path / "run"
    matrices.write_text("step,learning_rate\n0,0.04\n5,0.02\n")
    rates = ["--schedule", f"file:{schedule}", "--matrix-schedule", str(matrices)]
    setting = [*rates, "--decay", "independent", "--weight-decay", "0.5", "--preset", "cpu-16"]
    small = ["--source", "zipf", "--batch-size", "2", "--record-every", "1", "--device", "cpu", "--start", "drawn"]
    result = answer("train", [*setting, *small, "--out", str(out)], capsys)
    written = json.loads((Path(result["run_dir"]) / "config.json").read_text())
    assert written["optimizer"]["decay"] == "independent"
    assert written["schedule"] == {"name": "tabulated", "num_steps": 6, "steps": [0, 2, 5], "values": [0.0, 1.0, 0.0]}
    assert written["optimizer"]["learning_rate"] == 0.04
    assert written["matrix_schedule"] == {"name": "tabulated", "num_steps": 6, "steps": [0, 5], "values": [1.0, 0.5]}
    summary = json.loads((Path(result["run_dir"]) / "summary.json").read_text())
    assert any("whatever the rate" in line for line in summary["parameter_groups"])
