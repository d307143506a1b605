"""How far runs are, told on a terminal and in a file."""

from __future__ import annotations

import pytest

from experiments.runs import progress


def test_in_a_file_progress_has_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINES_APART", 0.0)
    for _ in progress.bar(iterable=range(3), desc="runs", unit="run"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("|")[0] for line in lines][:1] == ["runs:   0%"]
    assert [line.split("|")[0] for line in lines][-1:] == ["runs: 100%"]
    assert 3 <= len(lines) <= 5
    monkeypatch.setattr(progress, "LINES_APART", 30.0)
    for _ in progress.bar(iterable=range(10_000), mininterval=0.0):
        pass
    said = capsys.readouterr().err
    assert said.count("\n") == 2  # the first and the last
    assert "\r" not in said
