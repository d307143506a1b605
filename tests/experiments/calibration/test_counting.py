"""Calibrations in small: the same rows on any number of workers, what is written, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments.calibration import fit, recommend
from experiments.calibration.counting import Calibration, calibrate
from experiments.calibration.made_sweeps import Scenario, run_sweep
from experiments.cli.main import main
from tests.experiments.cli.said import refusal, strict_json

SMALL = {"fit": ("low noise", "bend that power names, low noise"), "recommend": ("low noise",)}
MODULES = {"fit": (fit, "FIT"), "recommend": (recommend, "RECOMMEND")}


def small(estimator: str) -> Calibration:
    module, name = MODULES[estimator]
    whole: Calibration = getattr(module, name)
    return replace(whole, scenarios=tuple(item for item in whole.scenarios if item.name in SMALL[estimator]))


@pytest.fixture(params=SMALL)
def estimator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the two, with few scenarios."""
    module, name = MODULES[request.param]
    monkeypatch.setattr(module, name, small(request.param))
    return str(request.param)


@pytest.mark.long
def test_few_sweeps_from_the_command_line(estimator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = small(estimator)
    flags = ["--num-sweeps", "1", "--first-seed", "5", "--num-workers", "1", "--out", str(tmp_path / "new")]
    assert main(["calibrate", estimator, *flags, "--json"]) == 0
    said = capsys.readouterr()
    result = strict_json(said.out)
    assert result["table"] == str(tmp_path / "new" / what.table)
    assert [row["name"] for row in result["scenarios"]] == [item.name for item in what.scenarios]
    assert len(said.err.splitlines()) == len(what.scenarios)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {what.table, what.config}
    table = pd.read_csv(tmp_path / "new" / what.table)
    assert list(table["num_sweeps"]) == [4 if item.named_bend else 1 for item in what.scenarios]
    made = json.loads((tmp_path / "new" / what.config).read_text())
    assert (made["num_sweeps"], made["first_seed"], made["num_workers"]) == (1, 5, 1)
    assert set(what.settings) <= set(made)


def test_rows_do_not_depend_on_the_number_of_workers(estimator: str, tmp_path: Path) -> None:
    what = replace(small(estimator), scenarios=small(estimator).scenarios[:1])
    for workers in (1, 2):
        calibrate(what, tmp_path / str(workers), num_workers=workers, num_sweeps=2)
    one, two = ((tmp_path / folder / what.table).read_bytes() for folder in ("1", "2"))
    assert one == two


@pytest.mark.long
def test_rows_are_those_of_the_seeds(tmp_path: Path) -> None:
    what = replace(small("fit"), scenarios=small("fit").scenarios[:1])
    table = calibrate(what, tmp_path, num_workers=1, num_sweeps=2, first_seed=11)
    scenario = what.scenarios[0]
    row = what.summarise(scenario, [run_sweep(scenario, seed) for seed in (11, 12)])
    for name in ("optimum_coverage", "half_width", "smallest_bend"):
        assert table.loc[0, name] == pytest.approx(row[name], abs=5e-5)


def test_a_sweep_that_fails_is_named_and_costs_no_other_row(tmp_path: Path) -> None:
    """The second scenario fails; what the first one counted is there for the next call, and gone after it."""
    first, second = small("fit").scenarios
    judged: list[tuple[str, int]] = []

    def judge(scenario: Scenario, seed: int) -> int:
        judged.append((scenario.name, seed))
        if scenario is second and broken:
            raise ValueError("no minimum")
        return seed

    what = replace(
        small("fit"), judge=judge, summarise=lambda scenario, found: {"name": scenario.name, "sum": sum(found)}
    )
    what, broken = replace(what, shown=("sum",)), True
    with pytest.raises(ValueError, match="no minimum") as failed:
        calibrate(what, tmp_path, num_workers=1, num_sweeps=2, first_seed=11)
    assert f"in the sweep of scenario {second.name!r} by seed 11" in failed.value.__notes__
    assert not (tmp_path / what.table).exists()
    broken = False
    judged.clear()
    table = calibrate(what, tmp_path, num_workers=1, num_sweeps=2, first_seed=11)
    assert judged == [(second.name, seed) for seed in range(11, 19)]
    assert table["sum"].tolist() == [11 + 12, sum(range(11, 19))]
    assert {path.name for path in tmp_path.iterdir()} == {what.table, what.config}
    judged.clear()
    calibrate(what, tmp_path, num_workers=1, num_sweeps=2, first_seed=12)
    assert judged[0] == (first.name, 12)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "estimator"),
        (["laws"], "estimator"),
        (["fit", "--num-sweeps", "0"], "--num-sweeps 0"),
        (["recommend", "--num-sweeps", "many"], "--num-sweeps"),
        (["recommend", "--num-workers", "0"], "--num-workers 0"),
        (["fit", "--first-seed", "-1"], "--first-seed -1"),
        (["fit", "--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert named in refusal(["calibrate", *arguments], capsys)
