"""The check of a GPU, rehearsed on the CPU at a hundredth of its size: every part, the verdicts, the files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gpt import zipf
from gpt.gpu_check import check, parity
from gpt.gpu_check.__main__ import main, write_report
from gpt.gpu_check.rows import COLUMNS, Report, Row
from gpt.gpu_check.sizes import Size

TINY = Size(torch.device("cpu"), 0.004)


@pytest.fixture
def short_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = zipf.zipf_text
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(zipf, "zipf_text", lambda: whole(2**13, 2**12))


@pytest.mark.long
def test_every_part_runs_by_the_code_that_a_gpu_runs(short_text: None, tmp_path: Path) -> None:
    """Two seconds: it is the only run of all that an hour on a GPU depends on."""
    told: list[Row] = []
    report = check.run_check(device="cpu", scale=TINY.scale, on_row=told.append)
    assert tuple(told) == report.rows
    assert {row.part for row in report.rows} == set(check.PARTS) == set(report.seconds)
    assert not [row for row in report.rows if row.what == "runs to its end"], report.in_words()
    values = {row.what: row.value for row in report.rows}
    assert values["loss, float64"] == 0  # the same device
    assert 0 < values["loss, float32"] < 1e-5 < values["loss, bfloat16"]  # type: ignore[operator]
    assert all(row.passed for row in report.rows if row.part in ("paths", "adamh"))
    assert all(values[f"{size}, {name}"] for size in ("22M", "64M") for name in ("AdamW", "AdamH"))
    notes = [row.note for row in report.rows if row.unit == "tokens/s" and row.part == "speed"]
    assert all(note.startswith("at 0.") for note in notes)
    assert "NOT RUN ON A GPU" in report.in_words()
    whole, table = write_report(report, tmp_path / "new")
    kept = json.loads(whole.read_text())
    assert (kept["on_gpu"], kept["scale"], len(kept["rows"])) == (False, TINY.scale, len(report.rows))
    with table.open() as file:
        assert [row["what"] for row in csv.DictReader(file)] == [row.what for row in report.rows]


def test_a_wrong_adamh_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> dict[str, bool | None]:
        return {row.what: row.passed for row in parity.adamh_rows(TINY)}

    assert all(rows().values())
    right = parity.AdamH
    monkeypatch.setattr(parity, "AdamH", lambda matrices, *, lr, **rest: right(matrices, lr=1.01 * lr, **rest))
    assert rows() == {"largest error of a weight": False, "change of a norm": True}
    monkeypatch.setattr(parity, "AdamH", lambda matrices, *, lr, betas, eps: torch.optim.Adam(matrices, lr, betas, eps))
    assert not any(rows().values())


def _dies(size: Size) -> Iterator[Row]:
    yield Row(part="dies", what="first", value=1.0, unit="m")
    raise RuntimeError("CUDA error:\nan illegal memory access")


def test_a_part_that_fails_is_a_row_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "PARTS", {"dies": _dies, "adamh": parity.adamh_rows})
    assert main(["--device", "cpu", "--scale", "0.004", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "RuntimeError: CUDA error: an illegal memory access" in said
    assert "FAILED on CPU" in said
    rows = json.loads((tmp_path / "gpu-check.json").read_text())["rows"]
    assert [(row["part"], row["passed"]) for row in rows] == [
        ("dies", None),
        ("dies", False),
        ("adamh", True),
        ("adamh", True),
    ]
    monkeypatch.setattr(check, "PARTS", {"adamh": parity.adamh_rows})
    assert main(["--device", "cpu", "--scale", "0.004", "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("value", "limit", "passed"),
    [(1.0, None, None), (1.0, 2.0, True), (3.0, 2.0, False), (float("nan"), 2.0, False), (None, 2.0, False)],
)
def test_what_is_judged(value: float | None, limit: float | None, passed: bool | None) -> None:
    row = Row(part="a", what="b", value=value, unit="c", limit=limit)
    assert row.passed is passed
    report = Report(device="d", on_gpu=True, scale=1.0, torch="2", cuda="12", seconds={"a": 1.0}, rows=(row,))
    assert report.passed is (passed is not False)
    (kept,) = json.loads(report.to_json())["rows"]  # strict: NaN is null
    assert tuple(kept) == COLUMNS


@pytest.mark.parametrize(
    ("flags", "said"),
    [([], "--device auto: must be cpu"), (["--device", "cpu", "--scale", "2"], "--scale 2.0: must be")],
)
def test_what_cannot_be_is_one_line(
    flags: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
