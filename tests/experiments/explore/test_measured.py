"""What can be laid over a prediction: runs, folders of runs, logs, tables of studies; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.cli.main import main
from experiments.cli.settings.explore import Fields, for_browser
from experiments.explore.measured import read_measured, require_some
from experiments.files import BadInput, to_json
from experiments.runs.run_files import Run
from theory import AdamW, Constant, predict_trajectory

ROOT = Path(__file__).parents[3]


def test_a_run_directory_is_its_trajectory(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    run = runs[0]
    (found,) = read_measured(run.path)
    assert len(found.curves) == min(12, len(run.trajectory.matrices))
    names = list(run.trajectory.matrices)
    for curve in found.curves:
        column = names.index(curve["name"])
        assert curve["step"] == run.trajectory.steps.tolist()
        np.testing.assert_allclose(curve["weight_rms"], run.trajectory.weight_rms[:, column], rtol=1e-5)


def test_the_setting_of_a_run_can_be_taken(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    shown = for_browser(read_measured(runs[0].path)[0])
    asked = Fields().read(shown["fields"])
    assert asked.optimizer == runs[0].config.optimizer
    assert asked.schedule == runs[0].config.schedule
    assert to_json(shown)


def test_a_folder_of_runs_is_all_of_them(study: tuple[Path, list[Run]]) -> None:
    directory, runs = study
    assert {each.name for each in read_measured(directory)} == {run.path.name for run in runs}


@pytest.mark.parametrize(
    ("table", "curves", "ends"), [("radial/trajectories.csv", True, False), ("same-angle/runs.csv", False, True)]
)
def test_committed_studies(table: str, curves: bool, ends: bool) -> None:
    (found,) = read_measured(ROOT / "docs" / table)
    assert (bool(found.curves), bool(found.ends)) == (curves, ends)
    assert found.name == table
    assert len(to_json(for_browser(found))) < 500_000


def test_a_log_is_read_as_lrbend_read_does(tmp_path: Path) -> None:
    """Norms as recorded, and the closed form that the log's own rates make."""
    run = predict_trajectory(AdamW(learning_rate=1e-2, weight_decay=0.0), Constant(num_steps=100), initial_rms=0.05)
    log = tmp_path / "history.csv"
    rows = [f"{step + 1},0.01,{rms}" for step, rms in zip(run.steps[1:], run.weight_rms[1:, 0], strict=True)]
    log.write_text("\n".join(["step,learning_rate,weight_rms", *rows]))
    (found,) = read_measured(log)
    drawn = [curve for curve in found.curves if not curve.get("predicted")]
    assert np.nanmax(np.array(drawn[0]["weight_rms"], np.float64)) == pytest.approx(run.weight_rms.max(), rel=0.02)


@pytest.mark.parametrize("text", ["step,learning_rate\n1,0.1\n2,0.1\n", "a,b\n1,2\n", ""])
def test_what_has_nothing_to_draw(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(BadInput):
        require_some(read_measured(path))


def test_numbers_that_are_none_are_gaps(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("learning_rate,num_steps,final_rms\n0.01,100,nan\n,x,0.3\n")
    (found,) = read_measured(path)
    assert [end["final_rms"] for end in found.ends] == [None, 0.3]
    assert found.ends[1]["learning_rate"] is None


@pytest.mark.parametrize(
    "text",
    [
        "step,weight_rms,run\n0,0.1,a\n1,0.2\n2,0.3,a,b,c\n",
        "step,weight_rms,run\n0,0.1,a,b\n1,0.2,a\n",
        "step,learning_rate,angular_update,adamh_learning_rate,weight_rms\n0,1,1,1,0.1,x\n1,1\n2,1,1,1,0.3\n",
        "learning_rate,num_steps,final_rms\n1,1,1,1\n1\n",
    ],
)
def test_rows_of_other_lengths_than_the_header(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    (found,) = read_measured(tmp_path / "table.csv")
    assert found.curves or found.ends
    assert to_json(for_browser(found))


@pytest.mark.parametrize(("norm", "drawn"), [(True, ["all weights", "its closed form"]), (False, ["its closed form"])])
def test_the_table_of_read_is_drawn_without_a_word_on_its_columns(
    norm: bool, drawn: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, table = tmp_path / "log.csv", tmp_path / "run.csv"
    head = "step,loss,lr" + (",weights/h.0/rms" if norm else "")
    rows = [f"{step},{4 - step / 500},1e-3" + (f",{0.02 + step / 1e5}" if norm else "") for step in range(0, 500, 10)]
    log.write_text("\n".join([head, *rows]) + "\n")
    (bare,) = read_measured(log)
    assert not any("--weight-decay, " in note for note in bare.notes)
    assert any("--csv run.csv" in note for note in bare.notes)
    if not norm:
        with pytest.raises(BadInput, match=r"lrbend read log.csv --weight-decay ... --csv run.csv"):
            require_some([bare])
    assert main(["read", str(log), "--weight-decay", "0.1", "--csv", str(table)]) == 0
    capsys.readouterr()
    (found,) = read_measured(table)
    assert [curve["name"] for curve in found.curves] == drawn
    assert len({len(curve[name]) for curve in found.curves for name in ("step", "weight_rms", "angular_update")}) == 1
    assert not found.notes
    assert main(["read", str(table)]) == 0
    assert "not read" not in capsys.readouterr().out
