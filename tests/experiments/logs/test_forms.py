"""Logs as programs print them and as people keep them: forms of lines, encodings, packed files, tables in any order."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.logs.history import history_of
from experiments.logs.settings import Setting
from experiments.logs.sources.detect import read_source
from experiments.logs.sources.raw_log import RawLog
from experiments.logs.sources.text_lines import Form

STEPS = list(range(10, 210, 10))
LOSSES = {step: round(8 / step**0.5, 5) for step in STEPS}
RATES = {step: round(1e-3 * (1 - step / 400), 7) for step in STEPS}


def printed(form: str) -> str:
    return "".join(
        form.format(step=step, comma=f"{1000 * step:,}", loss=LOSSES[step], lr=RATES[step]) + "\n" for step in STEPS
    )


def series(log: RawLog, quantity: str) -> dict[int, float]:
    rows, values = log.series[quantity, ""]
    return dict(zip(log.steps[rows].astype(int).tolist(), values.tolist(), strict=True))


FORMS = {
    "torchtitan in colours": "[rank0]:[titan] 2025-03-01 12:00:01,123 - root - INFO - \x1b[31mstep: {step:2d}  "
    "\x1b[32mloss: {loss:8.5f}  \x1b[38;2;1;2;3mgrad_norm:  2.5000  \x1b[34mtps: 7,012  lr: {lr:.4e}\x1b[0m",
    "OLMo-core": "2025-01-01 12:00:00.000\thost:0\tlogger:74\tINFO\t[step={step}/200,epoch=1,eta=1:00:00]\n"
    "    optim/LR (group 0)={lr:.4E}\n    optim/total grad norm=2.5000\n    train/CE loss={loss}\n    train/PPL=9.2",
    "Composer": "[batch={step}/200]:\n\t Train time/batch: 3\n\t Train loss/train/total: {loss}\n"
    "\t Train lr-DecoupledAdamW/group0: {lr:.4e}\n\t Train l2_norm/grad/global: 2.5000",
    "NeMo": "Training epoch 0, iteration {step}/200 | lr: {lr:.4e} | global_batch_size: 512 | global_step: {step} | "
    "reduced_train_loss: {loss} | grad_norm: 2.5 | train_step_timing in s: 1.234",
    "Fairseq": '2024-01-01 | INFO | train_inner | {{"epoch": 1, "update": 0.1, "loss": "{loss}", "ppl": "5", '
    '"num_updates": "{step}", "lr": "{lr:.4e}", "gnorm": "2.5"}}',
    "Levanter's tracker": '2025-03-01 - 0 - levanter - INFO - {{"event": "log", "step": {step}, "metrics": '
    '{{"train/loss": {loss}, "optim/learning_rate": {lr:.4e}, "grad/norm/total": 2.5}}}}',
    "Hugging Face under its bar": "  5%|#         | {step}/200 [00:10<01:00,  5.31it/s]\r          \r"
    "{{'loss': {loss}, 'grad_norm': 2.5, 'learning_rate': {lr:.4e}, 'epoch': 0.5}}",
    "a bar": "  5%|#         | {step}/200 [00:10<01:00,  5.31it/s, loss={loss}, lr={lr:.4e}, gnorm=2.5]\r",
    "DeepSpeed": "[INFO] [Rank 0] step={step}, skipped=0, lr=[{lr:.4e}, {lr:.4e}], mom=[(0.9, 0.95), (0.9, 0.95)]\n"
    "steps: {step} loss: {loss} iter time (s): 1.234 samples/sec: 100.1 grad norm: 2.5",
    "LitGPT": "iter {comma} step {step}: loss {loss}, lr {lr:.4e}, grad norm 2.5, iter time: 345.67ms",
    "tensors": "step {step}.0: loss tensor({loss}, device='cuda:0', grad_fn=<NllLossBackward0>), lr {lr:.4e}, norm 2.5",
    "two processes": "[rank1]:step {step} | loss {loss} | lr {lr:.4e} | norm 2.5\n"
    "[rank0]:step {step} | loss 9.0 | lr {lr:.4e} | norm 2.5",
    "tutorials": "Epoch [1/3], Step [{step}/200], Loss: {loss}, LR: {lr:.4e}, Grad norm: 2.5",
    "Python's logging": "INFO:root:{{'step': {step}, 'train_loss': {loss}, 'lr': {lr:.4e}, 'grad_norm': 2.5}}",
}


@pytest.mark.parametrize("form", FORMS)
def test_lines_as_programs_print_them(form: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(
        ("Namespace(lr=0.1, steps=7)\n[rank0]:hello\n[rank1]:hello\n" + printed(FORMS[form]) + "done\n").encode()
    )
    log = read_source(path, {})
    assert series(log, "loss") == pytest.approx(LOSSES)
    assert series(log, "learning_rate") == pytest.approx(RATES)
    assert set(series(log, "gradient_norm").values()) == {2.5}
    assert log.num_broken == 0
    assert log.planned_steps == (200 if "/200" in FORMS[form] else None)


def test_a_form_holds_for_lines_with_other_numbers() -> None:
    """Letters and signs behind a number are not its own: it gives nothing back."""
    line = "7epochs - 3- 1e-5x 2024-01-02 12:00.5 step {} loss {} - 8elapsed"
    step, loss = (re.search(what, line.format(1, 2.5)) for what in (r"(step) (1)", r"(loss) (2\.5)"))
    assert step is not None
    assert loss is not None
    form = Form(line.format(1, 2.5), step, [("loss", loss)])
    assert form.match("12epochs - 0- 3.25e+10x 1999-10-31 01:59.75 step 20 loss 0.125 - 123elapsed")
    assert not form.match("12epochs - 0- 3.25e+10x 1999-10-31 01:59.75 step 20 other 0.125 - 123elapsed")


def test_steps_with_commas_between_thousands(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(printed("step {comma} | loss {loss} | lr {lr:.4e}"))
    assert series(read_source(path, {}), "loss") == pytest.approx({1000 * step: LOSSES[step] for step in STEPS})


def test_megatron_validates_between_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(
        printed(
            " [2024-01-01 00:00:00] iteration {step:8d}/     200 | learning rate: {lr:.6E} | lm loss: {loss:.6E} |\n"
            " validation loss at iteration {step} | lm loss value: 2.5E+00 | lm loss PPL: 1.2E+01 | "
        )
    )
    log = read_source(path, {})
    assert log.num_broken == 0
    assert series(log, "loss") == pytest.approx(LOSSES)
    assert series(log, "validation_loss") == dict.fromkeys(STEPS, 2.5)


TABLE = "step,lr,loss\n" + printed("{step},{lr:.7f},{loss}")


KEPT = {
    "Windows": TABLE.replace("\n", "\r\n").encode(),
    "old Mac": TABLE.replace("\n", "\r").encode(),
    "UTF-16": TABLE.replace("\n", "\r\n").encode("utf-16"),
    "UTF-16 big-endian": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "byte order mark": b"\xef\xbb\xbf" + TABLE.encode(),
    "packed": gzip.compress(TABLE.encode()),
    "packed in parts": gzip.compress(TABLE[:90].encode()) + gzip.compress(TABLE[90:].encode()),
    "comment": b"# made on Monday\n\n" + TABLE.encode(),
    "header in a comment": b"# " + TABLE.replace(",", " ").encode(),
    "blanks": TABLE.replace(",", "  ").encode(),
    "decimal commas": TABLE.replace(",", ";").replace(".", ",").encode(),
    "rows.json.gz": gzip.compress(json.dumps([{"step": s, "lr": RATES[s], "loss": LOSSES[s]} for s in STEPS]).encode()),
    "columns.json": json.dumps({"step": STEPS, "lr": [*RATES.values()], "loss": [*LOSSES.values()]}).encode(),
    "frame.json": json.dumps({"step": {str(s): s for s in STEPS}, "lr": RATES, "loss": LOSSES}).encode(),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_table_however_it_is_kept(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(KEPT[name])
    log = read_source(path, {})
    assert series(log, "loss") == pytest.approx(LOSSES)
    assert series(log, "learning_rate") == pytest.approx(RATES)
    assert log.num_broken == 0


def test_a_packed_log_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    rng = np.random.default_rng(0)
    path.write_bytes(gzip.compress("".join(f"step {s} | loss {rng.random()}\n" for s in range(5000)).encode())[:-2000])
    assert 4000 < max(series(read_source(path, {}), "loss")) < 4999
    path.write_bytes(gzip.compress(b"nothing")[:12])
    with pytest.raises(BadInput, match="what is read"):
        read_source(path, {})


def test_a_line_end_between_two_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.logs.sources import opening

    path = tmp_path / "log"
    path.write_bytes(b"a\r\nb\rc\n\nd\r")
    for size in range(1, 9):
        monkeypatch.setattr(opening, "CHUNK", size)
        assert list(opening.lines_of(path)) == ["a", "b", "c", "", "d"]


@pytest.mark.parametrize("order", ["downwards", "as text"])
def test_rows_in_another_order(order: str, tmp_path: Path) -> None:
    """Restarts and epochs have steps that are there twice, or that lie unevenly."""
    shown = STEPS[::-1] if order == "downwards" else sorted(range(1, 201), key=str)
    path = tmp_path / "log.csv"
    path.write_text("step,lr,loss\n" + "".join(f"{step},0.1,{8 / step}\n" for step in shown))
    history = history_of(read_source(path, {}), Setting())
    assert history.num_restarts == 0
    assert history.num_steps == 200
    assert (np.diff(history.series["loss"].values) < 0).all()
    assert any("not in the order of steps" in note for note in history.notes)


def test_records_without_steps(tmp_path: Path) -> None:
    """As Hugging Face prints them: counted if it is told how many steps lie between them."""
    path = tmp_path / "log.txt"
    path.write_text(
        printed("{{'loss': {loss}, 'learning_rate': {lr:.4e}, 'epoch': 0.5}}\n{{'eval_loss': 2.5, 'epoch': 0.5}}")
        + "{'train_runtime': 1.0, 'train_loss': 3.0, 'epoch': 1.0}\n"
    )
    with pytest.raises(BadInput, match="--steps-per-record"):
        read_source(path, {})
    log = read_source(path, {}, 10)
    assert series(log, "loss") == pytest.approx(LOSSES)
    assert series(log, "validation_loss") == dict.fromkeys(STEPS, 2.5)
    (tmp_path / "tokens.csv").write_text("tokens,lr,loss\n5000,0.1,3.0\n10000,0.1,2.0\n")
    with pytest.raises(BadInput, match=r"no step in it.* it has tokens, lr, loss"):
        read_source(tmp_path / "tokens.csv", {})
    assert series(read_source(tmp_path / "tokens.csv", {}, 5), "loss") == {5: 3.0, 10: 2.0}


def test_one_object_is_no_log(tmp_path: Path) -> None:
    """A configuration, or the summary of a run."""
    (tmp_path / "config.json").write_text('{"lr": 0.1, "steps": 100}')
    with pytest.raises(BadInput, match="what is read"):
        read_source(tmp_path / "config.json", {})
