"""Every kind of log gives the same series; what cannot be read is counted, or refused in a line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.logs.sources.detect import read_source
from experiments.logs.sources.raw_log import RawLog
from tests.experiments.logs.made_logs import event_file, write_csv, write_json_lines, write_trainer_state
from tests.patience import HANGS

STEPS = range(10, 210, 10)
LOSSES = [float(np.float32(8 / step**0.5)) for step in STEPS]
RATES = [float(np.float32(1e-3 * (1 - step / 400))) for step in STEPS]
ROWS = [{"step": step, "lr": rate, "loss": loss} for step, rate, loss in zip(STEPS, RATES, LOSSES, strict=True)]


def series(log: RawLog, quantity: str, matrix: str = "") -> dict[int, float]:
    rows, values = log.series[quantity, matrix]
    return dict(zip(log.steps[rows].astype(int).tolist(), values.tolist(), strict=True))


def of(values: list[float]) -> dict[int, float]:
    return dict(zip(STEPS, values, strict=True))


def text_lines(form: str) -> str:
    return "".join(form.format(step=row["step"], lr=row["lr"], loss=row["loss"]) + "\n" for row in ROWS)


TEXTS = {
    "nanogpt": "iter {step}: loss {loss:.9g}, time 135.22ms, mfu 40.10%",
    "llm.c": "step {step:5d}/200 | loss {loss:.9g} (+nanz)| norm 2.5000 (+nanz)| lr {lr:.9e} | 3056.36 ms | 171533"
    " tok/s",
    "main.log": "s:{step} trl:{loss:.9g} lr:{lr:.9g} norm:2.50",
    "modded": "step:{step}/200 train_loss:{loss:.9g} train_time:17000ms step_avg:nanms",
    "build": "{step} train {loss:.9f}",
    "megatron": " iteration {step:8d}/     200 | consumed samples: 16 | learning rate: {lr:.9E} | global batch size: 8"
    " |"
    " lm loss: {loss:.9E} | loss scale: 1.0 | grad norm: 2.5 |",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_logs(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(
        "import torch\nclass Block: step = 0  # of the source\n\n" + text_lines(TEXTS[kind]) + "peak memory 5\n"
    )
    log = read_source(path, {})
    assert log.num_broken == 0
    np.testing.assert_allclose(list(series(log, "loss").values()), LOSSES, rtol=1e-7)
    assert list(series(log, "loss")) == list(STEPS)
    if "lr" in TEXTS[kind].replace("trl", "") or "learning" in TEXTS[kind]:
        np.testing.assert_allclose(list(series(log, "learning_rate").values()), RATES, rtol=1e-7)
        assert set(series(log, "gradient_norm").values()) == {2.5}
    assert log.planned_steps == (200 if "200" in TEXTS[kind] else None)


def test_a_block_of_lines_under_a_step(tmp_path: Path) -> None:
    path = tmp_path / "olmo.log"
    path.write_text(
        "".join(
            f"[step={row['step']}/200,epoch=0]\n    optim/total_grad_norm=2.5\n"
            f"    train/CrossEntropyLoss={row['loss']}\n    optim/learning_rate_group0={row['lr']}\n    Memory=4\n"
            for row in ROWS
        )
    )
    log = read_source(path, {})
    assert series(log, "loss") == of(LOSSES)
    assert series(log, "learning_rate") == of(RATES)


def test_losses_of_two_kinds_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(
        "step 0: train loss 10.9, val loss 10.8\niter 0: loss 10.7, time 5ms\nstep 100: train loss 5.2, val loss 5.1\n"
        "iter 100: loss 5.0, time 5ms\n"
    )
    log = read_source(path, {})
    assert series(log, "loss") == {0: 10.7, 100: 5.0}
    assert series(log, "validation_loss") == {0: 10.8, 100: 5.1}


def test_names_and_values(tmp_path: Path) -> None:
    history = [
        {"_step": row["step"], "train": {"loss": row["loss"]}, "train/lr": row["lr"], "_runtime": 1} for row in ROWS
    ]
    paths = [
        write_csv(tmp_path / "plain.csv", ROWS),
        write_json_lines(tmp_path / "wandb.jsonl", history),
        write_trainer_state(tmp_path / "checkpoint-9" / "trainer_state.json", [{"step": 1, "loss": 9}]).parent.parent,
    ]
    write_trainer_state(
        tmp_path / "checkpoint-200" / "trainer_state.json",
        [{"step": row["step"], "loss": row["loss"], "learning_rate": row["lr"], "epoch": 0.1} for row in ROWS],
        max_steps=400,
    )
    (tmp_path / "events").mkdir()
    for tensors in (False, True):
        records = [
            (row["step"], tag, row[name]) for row in ROWS for tag, name in (("train/loss", "loss"), ("train/lr", "lr"))
        ]
        file = tmp_path / "events" / f"events.out.tfevents.{int(tensors)}"
        file.write_bytes(event_file([(step, tag, value) for step, tag, value in records], tensors=tensors))
        paths.append(file)
    paths.append(tmp_path / "events")
    for path in paths:
        log = read_source(path, {})
        assert series(log, "loss") == of(LOSSES), path
        assert series(log, "learning_rate") == of(RATES), path
        assert log.num_broken == 0
    assert read_source(tmp_path, {}).planned_steps == 400


def test_a_chart_as_wandb_exports_it(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    rows = [{'"Step"': step, '"my-run - train/loss"': 3.5, '"my-run - train/loss__MIN"': 3.0} for step in STEPS]
    assert series(read_source(write_csv(path, rows), {}), "loss") == dict.fromkeys(STEPS, 3.5)
    both = [{**row, '"other - train/loss"': 4.5} for row in rows]
    write_csv(path, both)
    with pytest.raises(
        BadInput, match=r"loss could be my-run - train/loss or other - train/loss: choose with --column"
    ):
        read_source(path, {})
    assert set(series(read_source(path, {"loss": "other - train/loss"}), "loss").values()) == {4.5}


def test_matrices_by_name_and_by_row(tmp_path: Path) -> None:
    wide = [
        {"step": step, "weight_rms/layers.0.mlp": 0.1, "layers.1.mlp.weight_norm": 3.0, "param/blocks.2.w.norm": 4.0}
        for step in STEPS
    ]
    log = read_source(write_csv(tmp_path / "wide.csv", wide), {})
    assert set(log.series) == {
        ("weight_rms", "layers.0.mlp"),
        ("weight_norm", "layers.1.mlp"),
        ("weight_norm", "blocks.2.w"),
    }
    long: list[dict[str, Any]] = [
        {"step": step, "lr": 0.1, "matrix": name, "num_entries": size, "weight_rms": size / 100}
        for step in STEPS
        for name, size in (("a", 5), ("b", 7))
    ]
    log = read_source(write_csv(tmp_path / "long.csv", long), {})
    assert series(log, "weight_rms", "b") == dict.fromkeys(STEPS, 0.07)
    assert log.num_entries == {"a": 5, "b": 7}


def test_broken_lines_are_counted(tmp_path: Path) -> None:
    good = write_csv(tmp_path / "a.csv", ROWS).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*good[:5], '12,"', "x,1,2", *good[5:], "210,0.1"]))
    lines = write_json_lines(tmp_path / "a.jsonl", ROWS).read_text().splitlines()
    (tmp_path / "a.jsonl").write_text("\n".join(['{"step": 1, "lo', *lines, "[1]", '{"step": 21']))
    text = text_lines(TEXTS["llm.c"]).splitlines()
    (tmp_path / "a.txt").write_text(
        "\n".join([*text[:3], "step 35/200 | loss ? | norm", *text[3:], "step 41/200 | lo"])
    )
    events = event_file([(row["step"], "loss", row["loss"]) for row in ROWS])
    (tmp_path / "a.tfevents").write_bytes(events[:-7])
    for name, broken, last in (("a.csv", 3, 200), ("a.jsonl", 3, 200), ("a.txt", 2, 200), ("a.tfevents", 1, 190)):
        log = read_source(tmp_path / name, {})
        assert (name, log.num_broken) == (name, broken)
        assert log.broken
        assert max(series(log, "loss")) == last


def test_what_is_missing_is_not_what_is_not_finite(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": None},
        {"step": 3, "loss": float("nan")},
        {"step": 4, "loss": "NaN"},
    ]
    for path in (write_json_lines(tmp_path / "a.jsonl", rows), tmp_path / "a.csv"):
        if path.suffix == ".csv":
            path.write_text("step,loss\n1,3.0\n2,\n3,nan\n4,inf\n")
        assert series(read_source(path, {}), "loss") == {1: 3.0, 3: float("inf"), 4: float("inf")}


def test_a_name_that_stands_twice_in_the_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,seconds,seconds\n" + "".join(f"{step},3.0,1,2\n" for step in STEPS))
    assert series(read_source(path, {}), "loss") == of([3.0] * len(STEPS))
    path.write_text("step,loss,loss\n" + "".join(f"{step},3.0,4.0\n" for step in STEPS))
    with pytest.raises(BadInput, match="column 'loss' stands 2 times in the header"):
        read_source(path, {})


LONG = 10**400  # beyond any float, and yet a number in JSON


def test_whole_numbers_of_hundreds_of_digits_are_not_finite(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{**row, "other": LONG, "weight_norm": 20.0, "num_entries": LONG} for row in ROWS]
    rows[3]["loss"] = rows[5]["step"] = LONG
    log = read_source(write_json_lines(tmp_path / "log.jsonl", rows), {})
    losses = [float("inf") if place == 3 else loss for place, loss in enumerate(LOSSES) if place != 5]
    kept = np.isfinite(log.steps)
    np.testing.assert_array_equal(log.series["loss", ""][1][kept], losses)
    assert log.num_entries == {}
    state = {"log_history": ROWS, "max_steps": LONG, "global_step": 1e300}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    log = read_source(tmp_path / "trainer_state.json", {})
    assert (log.planned_steps, log.steps_done) == (None, None)


def test_what_only_looks_like_an_object_or_a_count_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    odd = ["{[1]}", "{{}: 1}", r"{'step': 210, 'loss': 1.0, 'note': '\d \777'}", "{1if 1else 2}"]
    path.write_text(text_lines(f"step {{step}}/{'9' * 5000} loss {{loss:.9g}}") + "".join(f"{one}\n" for one in odd))
    log = read_source(path, {})
    assert list(series(log, "loss")) == [*STEPS, 210]
    assert log.planned_steps is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("a.md", b"# A page\n\nwith steps and losses in words\n"),
        ("a.json", b'{"model": "gpt2", "layers": 12}'),
        ("empty.csv", b""),
        ("a.py", b"step = 3\nprint(step)\n"),
    ],
)
def test_other_files_get_a_line_that_lists_what_is_read(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=r"what is read: Hugging Face's trainer_state.json .* TensorBoard .* CSV"):
        read_source(tmp_path / name, {})


LONG_LINES = {
    "blanks behind a step": "step" + " " * 100_000 + "x",
    "blanks behind a loss": "step 5 loss" + " " * 100_000 + "x",
    "a number that is none": "step 5 loss " + "9" * 100_000 + "x",
    "numbers behind numbers": "\n".join(f"step 5 loss 2.0 {'+1' * 40} {end}" for end in "xyz"),
}


@pytest.mark.parametrize("kind", LONG_LINES)
def test_a_line_of_any_kind_is_soon_read(kind: str, tmp_path: Path) -> None:
    """Each would take minutes or not end if it could be divided in many ways that were all tried."""
    path = tmp_path / "log.txt"
    path.write_text(text_lines("step {step} loss {loss:.9g}") + LONG_LINES[kind] + "\n")
    started = time.process_time()
    assert read_source(path, {}).num_lines > len(STEPS)
    assert time.process_time() - started < HANGS


def test_bytes_that_only_look_like_events(tmp_path: Path) -> None:
    """Lengths are checked, so that nothing is read beyond the end."""
    whole = event_file([(1, "loss", 2.0), (2, "loss", 3.0)])
    rng = np.random.default_rng(0)
    for _ in range(200):
        bent = bytearray(whole)
        for place in rng.integers(12, len(whole), 3):
            bent[place] = rng.integers(256)
        (tmp_path / "tfevents").write_bytes(bent)
        try:
            log = read_source(tmp_path / "tfevents", {})
        except BadInput:
            continue
        assert 1 <= len(log.steps) <= 2
