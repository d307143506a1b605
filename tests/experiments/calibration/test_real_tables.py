"""Halves of tables: on one whose law is planted, and that there has to be a table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.calibration.real_tables import RealTable, calibrate_on_real
from experiments.cli.main import main
from experiments.files import BadInput

PLANTED = RealTable(name="planted", file="runs.csv")


@pytest.mark.long
def test_halves_of_a_planted_law_predict_each_other(tmp_path: Path) -> None:
    make_sweep(Scenario(name="planted", noise=0.003), 5).table.to_csv(tmp_path / "runs.csv", index=False)
    (row,) = calibrate_on_real(tmp_path, tmp_path / "out", num_splits=4, tables=[PLANTED]).to_dict("records")
    assert row["num_cells"] == 16
    assert row["answered"] == 1.0
    assert row["covered"] > 0.8
    assert row["rms_error"] < 0.3
    again = calibrate_on_real(tmp_path, tmp_path / "again", num_splits=4, tables=[PLANTED])
    assert again.to_csv() == pd.read_csv(tmp_path / "out" / "real.csv").to_csv()


@pytest.mark.long
def test_a_law_that_holds_in_no_half_is_not_covered(tmp_path: Path) -> None:
    """Optima that jump without any law: predictions miss by as much, and those that are made know it."""
    rng, rows = np.random.default_rng(0), []
    for place, size in enumerate(np.geomspace(1e7, 1e9, 12)):
        best = 1e-3 * np.exp((0.6, -0.7, 0.1, -0.4)[place % 4])
        for rate in best * 2.0 ** np.arange(-2, 3):
            loss = 3 + 0.1 * np.log(rate / best) ** 2 + 1e-3 * rng.normal()
            rows.append({"num_params": size, "learning_rate": rate, "loss": loss})
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    (row,) = calibrate_on_real(tmp_path, tmp_path / "out", num_splits=4, tables=[PLANTED]).to_dict("records")
    assert row["rms_error"] > 0.4
    assert row["median_half_width"] > 0.4
    assert row["median_own_half_width"] < 0.1


def test_it_has_to_have_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.delenv("LRBEND_PUBLIC_DATA", raising=False)
    with pytest.raises(BadInput, match="--data: needed"):
        calibrate_on_real(None, tmp_path)
    assert main(["calibrate", "fit", "--data", str(tmp_path)]) == 2
    assert "--data: only with real" in capsys.readouterr().err
