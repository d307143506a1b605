"""What a table of runs beside a log tells of it, and what the log says in words."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from experiments.logs.reading import read_log
from experiments.logs.settings import Setting, beside, from_words
from experiments.logs.sources.detect import read_source
from experiments.logs.sources.names import meaning
from experiments.logs.sources.stated import stated_in
from tests.patience import HANGS
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
    for value in ("nan", "inf", "-inf", "1e999"):
        (folder / "runs.csv").write_text(f"run,num_steps,weight_decay,initial_rms\na,{value},{value},{value}\n")
        assert beside(folder / "a.csv", Setting()) == (Setting(), ())
    (folder / "runs.csv").write_bytes(b"\xff\xfe\x00")
    assert beside(folder / "a.csv", Setting()) == (Setting(), ())


@pytest.mark.parametrize(
    "setting",
    [{"initial_rms": 0.0}, {"num_steps": 0}, {"num_entries": 0}, {"learning_rate": -1.0}, {"learning_rate": 1e200}],
)
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter):
        Setting(**setting)  # type: ignore[arg-type]


LOG = "".join(f"step {step}: loss {3 + 5 / step:.4f}, lr 1e-3\n" for step in range(10, 500, 10))
HEADS = {
    "lr=1e-3 wd=0.1 betas=(0.8, 0.99)\n": (0.1, 0.8, 0.99),
    "Namespace(lr=0.0006, weight_decay=0.1, adam_beta1=0.8, adam_beta2=0.99, max_steps=500)\n": (0.1, 0.8, 0.99),
    "{'learning_rate': 0.0006, 'weight_decay': 0.1, 'betas': [0.8, 0.99]}\n": (0.1, 0.8, 0.99),
    'config {"optimizer": {"weight_decay": 1e-1, "beta2": "0.99"}}\n': (0.1, None, 0.99),
    '{"weight_decay": 0.1, "learning_rate": 6e-4, "betas": [0.8, 0.99]}\n': (0.1, 0.8, 0.99),
    '{\n  "weight_decay": 0.1,\n  "adam_beta2": 0.99\n}\n': (0.1, None, 0.99),
    "optimizer:\n  betas:\n  - 0.8\n  - 0.99\n  weight_decay: 0.1\n": (0.1, 0.8, 0.99),
    '{\n  "betas": [\n    0.8,\n    0.99\n  ],\n  "weight_decay": 0.1\n}\n': (0.1, 0.8, 0.99),
    "betas:\n  - 0.8\nweight_decay: 0.1\n  - 0.99\n": (0.1, None, None),
    "  weight_decay ............ 0.1\n  end_weight_decay ........ 0.2\n  adam_beta1 .... 0.8\n": (0.1, 0.8, None),
    "+ python train.py --weight-decay 0.1 --adam-beta2=0.99\n": (0.1, None, 0.99),
    "AdamW\n  betas: (0.8, 0.99)\n  weight_decay: 0.1\n  betas: (0.8, 0.99)\n  weight_decay: 0.0\n": (None, 0.8, 0.99),
    "import torch\nAdamW(betas=(0.8, 0.99), weight_decay=0.1)\n": (None, None, None),
    "weight_decay=0.1/2 wd=5% beta2 = 1.5 step_decay=0.1 weight decay from 0.1\n": (None, None, None),
}


@pytest.mark.parametrize(("head", "told"), HEADS.items())
def test_settings_that_a_log_says_in_words(head: str, told: tuple[float | None, ...], tmp_path: Path) -> None:
    """And its rates are those of its records."""
    (tmp_path / "log.txt").write_text(head + LOG)
    log = read_source(tmp_path / "log.txt", {})
    found, notes = from_words(log, Setting(), 1e-3)
    assert (found.weight_decay, found.beta1, found.beta2) == told
    assert len(log.series["learning_rate", ""][0]) == LOG.count("\n")
    assert bool(notes) == (told != (None, None, None))


@pytest.mark.parametrize(
    "text", ["wd=1" + "1" * 100_000 + "x", "betas=(0.9" + " " * 100_000 + "x", "a." * 100_000 + "wd"]
)
def test_a_line_of_any_length_is_soon_read(text: str) -> None:
    start = time.process_time()
    assert not list(stated_in(text))
    assert time.process_time() - start < HANGS


def test_settings_above_lines_of_json(tmp_path: Path) -> None:
    """Their rate is no record, and does not stand for the rates of the records."""
    rows = "".join(f'{{"step": {step}, "loss": 3.5, "lr": 1e-3}}\n' for step in range(10, 500, 10))
    for head in ('{"learning_rate": 6e-4, "weight_decay": 0.1}\n', '{"config": {"optim": {"weight_decay": 0.1}}}\n'):
        (tmp_path / "log.jsonl").write_text(head + rows)
        found = read_log(tmp_path / "log.jsonl", Setting())
        assert (found.learning_rate, found.weight_decay, found.num_steps) == (1e-3, 0.1, 490)


def test_where_settings_in_words_are_from_and_what_comes_before_them(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("a run\nwd=0.1 beta2=0.99\nwd=0.2\n" + LOG)
    notes = read_log(path, Setting()).notes
    assert "beta2 0.99: from line 2 of the log" in notes
    assert (
        "weight_decay is not taken from the log, which says 0.1 in line 2, 0.2 in line 3: give --weight-decay" in notes
    )
    found = read_log(path, Setting(weight_decay=0.3, optimizer="muon", shape=(4, 4)))
    assert found.weight_decay == 0.3
    assert "weight_decay 0.3 is what was told; the log says 0.1 in line 2, 0.2 in line 3" in found.notes
    assert not any("beta2" in note for note in found.notes)
    path.write_text("wd=10\n" + LOG.replace("1e-3", "0.2"))
    assert read_log(path, Setting()).weight_decay is None  # more than the weights


def test_a_rate_in_words_is_named_and_its_schedule_asked_for(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("learning_rate = 6e-4\nweight_decay = 0.1\n" + LOG.replace(", lr 1e-3", ""))
    found = read_log(tmp_path / "log.txt", Setting())
    assert (found.learning_rate, found.weight_decay) == (None, 0.1)
    said = "the log says learning_rate 0.0006 in line 1: --learning-rate 0.0006 --schedule NAME takes them"
    assert said in found.notes
    header = "learning_rate = 6e-4\nwarmup_iters = 20\nmax_iters = 500\nlr_decay_iters = 500\nmin_lr = 6e-5\n"
    (tmp_path / "nano.txt").write_text(header + LOG.replace(", lr 1e-3", ""))
    found = read_log(tmp_path / "nano.txt", Setting())
    flags = "--learning-rate 0.0006 --schedule cosine --warmup-steps 20 --num-steps 500 --final-fraction 0.1 takes them"
    assert any(flags in note for note in found.notes), found.notes
    told = read_log(tmp_path / "log.txt", Setting(learning_rate=6e-4, schedule="cosine"))
    last = told.series["angular_update"][-1]
    assert told.series["adamh_learning_rate"][-1] == pytest.approx(last, rel=1e-6)  # next to nothing, and not 0


def test_comments_above_a_table_say_settings_too(tmp_path: Path) -> None:
    rows = "".join(f"{step},1e-3,3\n" for step in range(1, 50))
    (tmp_path / "log.csv").write_text(f"\n# weight_decay: 0.1\nstep,lr,weight_rms\n{rows}")
    found = read_log(tmp_path / "log.csv", Setting())
    assert found.weight_decay == 0.1
    assert "weight_decay 0.1: from line 2 of the log" in found.notes


@pytest.mark.parametrize(
    "name", ["lr_decay_iters", "lr_warmup_steps", "learning_rate_decay", "lr_min", "lr_scheduler_gamma"]
)
def test_what_a_schedule_is_set_to_is_no_learning_rate(name: str, tmp_path: Path) -> None:
    rate = meaning("lr_AdamW_pg1", {})
    assert (meaning(name, {}), rate and rate.quantity) == (None, "learning_rate")
    lines = "".join(f"iter {step}: loss {9 - step / 100:.2f}\n" for step in range(0, 400, 20))
    (tmp_path / "log.txt").write_text(f"learning_rate=6e-4 {name}=2000\n{lines}")
    assert read_log(tmp_path / "log.txt", Setting()).final_loss == pytest.approx(9 - 3.8)
