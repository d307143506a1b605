"""``lrbend prepare``: what is in the way is said before the network is asked."""

from pathlib import Path

import pytest

from experiments.cli.main import main


def test_shards_in_the_way_are_named_before_missing_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ["prepare", "fineweb", "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "package tokenizers not found: must be installed" in capsys.readouterr().err
    (tmp_path / "train-00000.bin").touch()
    assert main(arguments) == 2
    assert "--out" in capsys.readouterr().err
