"""What a table of runs beside a log tells of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.logs.reading import read_log
from experiments.logs.settings import Setting, beside
from theory import Cosine, InvalidParameter

TABLE = (
    "run,weight_decay,beta2,schedule,warmup_steps,num_steps,learning_rate,initial_rms,optimizer\n"
    "a,0.1,0.999,cosine to a tenth,20,400,0.01,0.02,AdamW\n"
    'b,0.2,,"drawn by hand",,,,"drawn, RMS 0.02",other\n'
    "twice,0.1,,,,,,,\ntwice,0.2,,,,,,,\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs.csv").write_text(TABLE)
    return tmp_path


def test_settings_of_the_row_with_the_name_of_the_log(folder: Path) -> None:
    log = folder / "a.csv"
    log.write_text("step,weight_rms\n" + "".join(f"{step},0.02\n" for step in range(10, 401, 10)))
    found = read_log(log, Setting())
    expected = 0.01 * Cosine(num_steps=400, warmup_steps=20, final_fraction=0.1).multipliers()
    assert found.learning_rate == pytest.approx(expected.max())
    assert found.weight_decay == 0.1
    assert found.series["learning_rate"][-1] == pytest.approx(expected[-1])
    assert found.num_relaxations == pytest.approx(2 * 0.1 * np.sum(expected))
    assert any(note.startswith("runs.csv beside it tells weight_decay 0.1, beta2 0.999") for note in found.notes)


def test_flags_come_first(folder: Path) -> None:
    setting, notes = beside(folder / "a.csv", Setting(weight_decay=0.3, schedule="linear", final_fraction=0.5))
    assert (setting.weight_decay, setting.schedule, setting.final_fraction) == (0.3, "linear", 0.5)
    assert (setting.beta2, setting.optimizer, setting.num_steps) == (0.999, "adamw", 400)
    assert "weight_decay" not in notes[0]


def test_what_is_no_setting_is_passed_over(folder: Path) -> None:
    assert beside(folder / "b.csv", Setting())[0] == Setting(weight_decay=0.2)
    for name in ("twice.csv", "other.csv", "runs.csv"):
        assert beside(folder / name, Setting()) == (Setting(), ())
    (folder / "runs.csv").write_bytes(b"\xff\xfe\x00")
    assert beside(folder / "a.csv", Setting()) == (Setting(), ())


@pytest.mark.parametrize(
    "setting", [{"initial_rms": 0.0}, {"num_steps": 0}, {"num_entries": 0}, {"learning_rate": -1.0}]
)
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter):
        Setting(**setting)  # type: ignore[arg-type]
