"""``lrbend read``: the page, the object, the refusals."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.logs.made_logs import white_noise_rows, write_csv, write_trainer_state
from tests.patience import HANGS
from theory import AdamW, Constant

ADAMW = AdamW(learning_rate=0.01, weight_decay=0.1, beta1=0.9, beta2=0.95)
FLAGS = ["--weight-decay", "0.1", "--beta1", "0.9", "--beta2", "0.95"]
CONTRACT = {
    *("num_steps", "learning_rate", "num_relaxations", "reaches_equilibrium", "equilibrium_step"),
    *("adamh_learning_rate", "weight_rms_error", "weight_rms_error_predicted", "notes"),
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = white_noise_rows(ADAMW, Constant(num_steps=4000), initial_rms=0.05, every=10)
    return write_csv(tmp_path / "log.csv", [{**row, "loss": 3 / row["step"] ** 0.1} for row in rows])


def test_the_object_and_the_page(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    assert main(["read", str(log), *FLAGS, "--json", "--csv", str(table)]) == 0
    found = strict_json(capsys.readouterr().out)
    assert found.keys() >= CONTRACT
    assert found["weight_rms_error"] < 0.01
    assert found["reaches_equilibrium"] is True
    assert found["belongs"] is True
    assert found["groups"][0]["force_budget"]["alignment_white_noise"] == pytest.approx(20)
    written = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["angular_update"]) for row in written[1:]] == pytest.approx(found["series"]["angular_update"][1:])
    assert main(["read", str(log), *FLAGS]) == 0
    page = capsys.readouterr().out
    for text in (f"equilibrium_step             {found['equilibrium_step']}", "momentum", "scaling fit: belongs"):
        assert text in page


@pytest.mark.parametrize(("last", "every"), [(500, 10), (499, 1), (500, 1)])
def test_a_log_from_step_0_to_its_end_has_as_many_steps(
    last: int, every: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"step": step, "learning_rate": 1e-3, "loss": 3 / (step + 1)} for step in range(0, last + 1, every)]
    path = str(write_csv(tmp_path / "log.csv", rows))
    for flags in ((), ("--num-steps", "500")):
        assert main(["read", path, "--json", *flags]) == 0
        assert strict_json(capsys.readouterr().out)["num_steps"] == 500


def test_a_checkpoint_folder_of_a_run_that_diverged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "step": step,
            "learning_rate": 2e-5,
            "loss": 2 + 5 / step + max(0, step - 300) / 20,
            "grad_norm": 1 + step / 500,
        }
        for step in range(10, 510, 10)
    ]
    write_trainer_state(tmp_path / "checkpoint-500" / "trainer_state.json", rows, max_steps=1000)
    assert main(["read", str(tmp_path / "checkpoint-500"), "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    assert (found["outcome"], found["diverged_step"]) == ("diverged", 300)
    assert (found["num_steps"], found["planned_steps"], found["belongs"]) == (500, 1000, False)
    assert any("no weight RMS is logged" in note for note in found["notes"])
    assert any(note.startswith("before that the gradient norm went from") for note in found["notes"])


@pytest.mark.parametrize(
    ("told", "num_steps", "belongs"),
    [
        ({"global_step": 8000}, 8000, True),
        ({"global_step": 7900}, 7900, False),
        ({"global_step": 10**12}, 8000, True),  # no length of a run: the records tell it
        ({"global_step": 8000, "max_steps": float("inf")}, 8000, True),
    ],
)
def test_a_trainer_state_tells_where_its_run_ended(
    told: dict, num_steps: int, belongs: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"step": step, "learning_rate": 1e-3, "loss": 2 + 5 / step} for step in range(300, 7801, 300)]
    write_trainer_state(tmp_path / "trainer_state.json", rows, **{"max_steps": 8000, **told})
    assert main(["read", str(tmp_path / "trainer_state.json"), "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    assert (found["num_steps"], found["belongs"]) == (num_steps, belongs)


def test_a_run_off_equilibrium_is_told_the_command_that_replays_its_angles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"step": step, "learning_rate": 1e-3, "loss": 2 + 5 / step} for step in range(10, 510, 10)]
    assert main(["read", str(write_csv(tmp_path / "log.csv", rows)), *FLAGS]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "times larger" in line)
    assert "lrbend convert --measured FILE" in line
    assert "--csv FILE" in line


def test_refusals(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "page.html"
    other.write_text("<html>a page</html>")
    for arguments, said in (
        ([str(other)], "what is read: Hugging Face's trainer_state.json"),
        ([str(tmp_path / "none")], "no such file"),
        ([str(log), "--column", "speed=lr"], "--column speed"),
        ([str(log), "--column", "loss=val"], "no such name"),
        ([str(log), "--weight-decay", "-1"], "--weight-decay -1"),
        ([str(log), "--weight-decay", "1000"], "--weight-decay 1000"),
        ([str(log), "--beta1", "1"], "--beta1 1"),
        ([str(log), "--optimizer", "muon"], "--shape"),
        ([str(log), "--initial-rms", "0"], "--initial-rms 0"),
        ([str(log), "--initial-rms", "1e-310", "--network", "scale-invariant"], "--initial-rms 1e-310"),
        ([str(log), "--num-entries", "0"], "--num-entries 0"),
        ([str(log), "--num-steps", "0"], "--num-steps 0"),
        ([str(log), *FLAGS, "--csv", str(tmp_path)], "--csv"),
    ):
        assert said in refusal(["read", *arguments], capsys)


@pytest.mark.long
def test_a_long_log_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A million lines take 5 s of processor time, or 30 s on a slow machine; read again at each fault, hours."""
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        for step in range(1, 200_001):
            file.write(
                f"step {step}/200000 | loss {3 + 5 / step:.6f} | norm 1.0 | lr {1e-3 * (1 - step / 4e5):.4e} | 30 ms\n"
            )
            if step % 20_000 == 0:
                file.write("step 20001/200000 | lo\n")
    start = time.process_time()
    assert main(["read", str(log), *FLAGS, "--json"]) == 0
    assert time.process_time() - start < HANGS
    found = strict_json(capsys.readouterr().out)
    assert found["num_steps"] == 200_000
    assert found["num_broken"] == 10


def test_inputs_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """A fine-tune whose loss rises after step 220."""
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    folder = Path(root or "").parent / "cases" / "training" / "trainer_state_log"
    if not root or not folder.is_dir():
        pytest.skip("the inputs that failed are not here: they lie beside the folder of LRBEND_PUBLIC_DATA")
    assert main(["read", str(folder / "checkpoint-400"), "--weight-decay", "0.01", "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    assert (found["outcome"], found["diverged_step"], found["planned_steps"]) == ("diverged", 220, 1000)
    assert found["learning_rate"] == 2e-5


@pytest.mark.parametrize("rms", ["1e200", "1e-310"])
def test_weights_of_no_size_are_not_logged(rms: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,learning_rate,weight_rms\n" + "".join(f"{step},0.001,{rms}\n" for step in range(1, 41)))
    assert main(["read", str(log), "--weight-decay", "0.1", "--network", "scale-invariant"]) == 0
    assert "no weight norm is logged" in capsys.readouterr().out


def test_one_norm_has_the_size_that_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under a name as under none; without a size nothing is said to be missing that is there."""
    log = tmp_path / "log.csv"
    rows = [f"{step},0.001,{20 + step / 100},1.5\n" for step in range(0, 400, 10)]
    log.write_text("step,learning_rate,weight_norm/layer0,grad_norm\n" + "".join(rows))
    words = ["read", str(log), "--weight-decay", "0.1"]
    assert main([*words, "--num-entries", "10000", "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    assert found["groups"][0]["weight_rms_first"] == pytest.approx(0.2)
    assert found["mean_angle"] is not None
    assert not [note for note in found["notes"] if "weight norm is logged" in note]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "the logged norms are of no known size: an initial RMS" in said
    assert "no weight norm is logged" not in said
    assert "gradient norm: does not rise: at the end it is 1 times its lowest" in said


def test_a_picture_without_rates_is_refused_with_the_flags_that_the_log_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "nano.log"
    log.write_text("learning_rate = 6e-4\nmin_lr = 6e-5\n" + "".join(f"iter {i}: loss {9 - i}\n" for i in range(5)))
    for flag in ("--plot", "--csv"):
        said = refusal(["read", str(log), flag, str(tmp_path / "out.png")], capsys)
        assert "--learning-rate 0.0006 --schedule cosine --final-fraction 0.1" in said
