"""What is no file under the name of one is refused at once by every command that reads a path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.experiments.cli.said import refusal

COMMANDS = (
    "train --config PATH",
    "train --source PATH --learning-rate 1e-2 --num-steps 5",
    "plan PATH",
    "sweep PATH",
    "fit PATH",
    "recommend PATH --num-params 1e9 --num-tokens 1e11",
    "attribute PATH",
    "losses PATH --num-params 1e8 --num-steps 1000",
    "report PATH",
    "verify PATH",
    "replay PATH --norm fixed",
    "diagnose PATH",
    "study same-angle --option table=PATH",
    "study replay --option earlier=PATH",
    "predict --learning-rate 1e-3 --weight-decay 0.1 --num-steps 100 --csv PATH",
    "explore --no-browser --run PATH",
)


@pytest.mark.parametrize("kind", ["pipe", "loop"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_that_is_no_file(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "path.json"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    monkeypatch.chdir(tmp_path)
    assert "path.json" in refusal(command.replace("PATH", str(path)).split(), capsys)


def test_a_device_that_is_full_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    command = "predict --learning-rate 1e-3 2e-3 --weight-decay 0.1 --num-steps 100 --csv /dev/full"
    assert "No space left on device" in refusal(command.split(), capsys)
