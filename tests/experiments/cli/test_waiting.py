"""What a command is doing is told once it takes long, and leaves no line behind."""

from __future__ import annotations

import threading

import pytest

from experiments.cli import waiting as told
from experiments.cli.main import main
from experiments.cli.waiting import waiting


def test_what_nobody_watches_is_done_without_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "SOON", 0.0)
    with waiting("counting"):
        threading.Event().wait(0.1)
    assert capsys.readouterr().err == ""


def test_what_is_short_is_done_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("counting"):
        pass
    assert capsys.readouterr().err == ""


def test_what_is_long_is_told_until_it_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "SOON", 0.0)
    monkeypatch.setattr(told, "_is_watched", lambda: True)
    monkeypatch.setattr(told, "OFTEN", 0.01)
    with waiting("counting"):
        threading.Event().wait(0.2)
    shown = capsys.readouterr().err
    assert "\rcounting ... 00:00" in shown
    assert "\n" not in shown, "an error that follows has a line of its own"
    assert shown.split("\r")[-2].strip() == "", "nothing is left on the terminal"


def test_a_command_tells_what_it_does(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "SOON", 0.0)
    monkeypatch.setattr(told, "_is_watched", lambda: True)
    assert main(["losses", "docs/samples/losses.csv", "--where", "num_params=5e7"]) == 0
    assert "lrbend losses: fitting the law to 3" in capsys.readouterr().err
