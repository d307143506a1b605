"""The study of the bend in a solvable model, in small: what it runs, what it keeps, what it concludes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.studies.solvable_bend import answers
from experiments.studies.solvable_bend import run as study_run
from experiments.studies.solvable_bend.study import (
    EIGENVECTORS,
    MIXED,
    STUDY,
    Arm,
    Zoom,
    make_run,
    run_arm,
    schedule_of,
)
from experiments.studies.workplace import Workplace
from sim.regression import simulate_regression
from theory import AdamH, AdamW, equilibrium, predict_trajectory

SMALL = replace(
    STUDY,
    problems=(EIGENVECTORS,),
    arms={
        "eigenvectors": (
            Arm(name="adamh"),
            Arm(name="reference", weight_decay=0.1, initial_rms=0.1),
            Arm(name="reference predicted", weight_decay=0.1, initial_rms=0.1, predicted=True),
        )
    },
    num_features=(32, 64, 128),
    num_steps=(50, 100, 200),
    rounds=(Zoom(stride=4, reach=0, num_seeds=2), Zoom(stride=2, reach=3, num_seeds=4)),
)


@pytest.mark.long
def test_a_study_keeps_what_is_finished_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    study_run.run_study(place, SMALL)
    written = sorted(file.name for file in place.results.iterdir())
    assert written == ["answers.csv", "carried.png", "config.json", "eigenvectors.png", "optima.csv", "parts.csv"]
    assert len(list(place.runs.iterdir())) == 3
    optima, answers = (pd.read_csv(place.results / name) for name in ("optima.csv", "answers.csv"))
    assert len(optima) == 3 * 9
    interior = optima[optima["status"] == "interior"]
    assert len(interior) >= 12
    assert (interior["low"].fillna(0) < interior["learning_rate"]).all()
    assert set(answers["quantity"]) == {
        "learning rate",
        "mean angle",
        "over adamh",
        "mean angle over adamh",
        "over predicted",
    }
    parts = pd.read_csv(place.results / "parts.csv")
    assert set(parts["arm"]) == {"reference"}
    assert parts["curvature"].isna().all()  # no arm from its equilibrium, and few cells
    before = (place.results / "answers.csv").read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("a finished arm was run again")

    monkeypatch.setattr(study_run, "run_arm", never)
    for name in ("draw", "draw_carried"):
        monkeypatch.setattr(study_run.figure, name, lambda *_: b"")  # once is enough
    study_run.run_study(place, SMALL)
    assert (place.results / "answers.csv").read_bytes() == before
    with pytest.raises(AssertionError, match="run again"):
        study_run.run_study(place, replace(SMALL, num_steps=(50, 100)))


def test_the_best_rate_is_inside_the_last_grid() -> None:
    table = run_arm(SMALL, EIGENVECTORS, Arm(name="adamh"))
    rows = answers.last_round(table)
    for _, cell in rows.groupby(["num_params", "num_tokens"]):
        means = cell.groupby("power")["loss"].mean()
        assert means.min() == pytest.approx(1)  # losses are relative to the least mean
        place = int(means.to_numpy().argmin())
        assert 2 <= place < len(means) - 2
        assert cell.groupby("seed").size().nunique() == 1  # every seed at every rate


def test_a_predicted_run_turns_as_the_theory_says() -> None:
    """AdamH along AdamW's angles, where the update is tangent: within 4 % of the theory at the median."""
    arm = Arm(name="reference predicted", weight_decay=0.1, initial_rms=0.1, predicted=True)
    run = make_run(MIXED, arm, 1024, 400, 0.004, seed=0)
    measured = simulate_regression(run).trajectory.angular_update[:, 0]
    optimizer = AdamW(learning_rate=0.004, weight_decay=0.1)
    theory = predict_trajectory(optimizer, schedule_of(400), initial_rms=0.1, finite_beta2=True).angular_update[:, 0]
    assert isinstance(run.optimizer, AdamH)
    assert np.median(np.abs(measured / theory - 1)[20:]) < 0.04


def test_an_equilibrium_start_is_at_the_equilibrium_of_its_own_rate() -> None:
    arm = Arm(name="equilibrium start", weight_decay=0.1, initial_rms=None)
    for rate in (1e-3, 1e-2):
        run = make_run(MIXED, arm, 1024, 100, rate, seed=0)
        at_rest = equilibrium(AdamW(learning_rate=rate, weight_decay=0.1), initial_rms=1.0, finite_beta2=True)
        assert run.initial_rms == at_rest.weight_rms


def test_a_planted_ratio_is_recovered() -> None:
    """Slope and curvature inside their intervals, whose width is that of the planted scatter."""
    n, d = (x.ravel() for x in np.meshgrid(2.0 ** np.arange(5), 2.0 ** np.arange(5)))
    rng = np.random.default_rng(3)
    x, z = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean()
    noise = 0.02 * rng.standard_normal(25)
    one = pd.DataFrame({"num_params": n, "num_tokens": d, "learning_rate": np.exp(-0.3 * x + 0.1 * x**2 / 2 + noise)})
    other = pd.DataFrame({"num_params": n, "num_tokens": d, "learning_rate": np.exp(0.2 * z)})
    rows = answers.log_ratio_rows(one, other, "q").set_index("axis")
    planted = {"num_params": (-0.3, 0.1), "num_tokens": (-0.2, 0.0)}
    for axis, values in planted.items():
        for name, value in zip(("slope", "curvature"), values, strict=True):
            low, high = rows.loc[axis, f"{name}_low"], rows.loc[axis, f"{name}_high"]
            assert low < value < high
            assert high - low < 0.1
    few = answers.log_ratio_rows(one.head(5), other, "q")
    assert "curvature" not in few.columns


def test_planted_parts_are_told_apart() -> None:
    """Curvature along N by 0.2 of the angles, 0.1 of the norm and 0.05 of the problem, twice in a learning rate."""
    rng, tables = np.random.default_rng(0), []
    for arm, angle, norm in (
        ("reference", 1, 1),
        ("reference predicted", 1, 0),
        ("equilibrium start", 0, 1),
        ("adamh", 0, 0),
    ):
        n, d = np.meshgrid(np.arange(-2.0, 3.0), np.arange(-2.0, 3.0))
        ln_rate = (0.2 * angle + 0.1 * norm + 0.1) * n.ravel() ** 2 / 2 + 1e-4 * rng.normal(size=n.size)
        rate = np.exp(ln_rate if arm != "adamh" else ln_rate / 2)
        cells = {"num_params": np.exp(n.ravel()), "num_tokens": np.exp(d.ravel())}
        rates = {"learning_rate": rate, "low": rate * 0.99, "high": rate * 1.01, "status": "interior"}
        tables.append(pd.DataFrame(cells | rates).assign(problem="mixed", arm=arm))
    parts = answers.parts_of(pd.concat(tables, ignore_index=True))
    assert set(parts["arm"]) == {"reference"}
    found = parts[parts["axis"] == "num_params"].set_index("part")["curvature"]
    planted = {"bend": 0.4, "angle": 0.2, "norm": 0.1, "left": 0.1, "interaction": 0.0, "both": 0.3}
    for part, value in planted.items():
        assert found[part] == pytest.approx(value, abs=1e-3)
    along_d = parts[parts["axis"] == "num_tokens"].set_index("part")["curvature"]
    assert np.abs(along_d).max() < 1e-3


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for runs, results in (("file", "results"), ("runs", "file/results")):
        with pytest.raises(BadInput, match=r"file.*: cannot be written"):
            study_run.run_study(Workplace(runs=tmp_path / runs, results=tmp_path / results), SMALL)
