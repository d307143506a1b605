"""``lrbend train``: flags that make the model fit its data, and a config in place of flags."""

from pathlib import Path

import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import refusal


def test_vocabulary_of_a_small_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shards of 16-bit tokens need more than a preset's bytes."""
    import numpy as np

    from experiments.runs.run_files import load_run

    shard = tmp_path / "tokens.bin"
    (np.arange(5000) * 7 % 1000).astype("<u2").tofile(shard)
    setting = ["--preset", "cpu-16", "--learning-rate", "1e-2", "--num-steps", "2", "--batch-size", "2"]
    arguments = ["train", *setting, "--source", str(shard), "--out", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(arguments) == 2
    assert "--vocab-size 256: must be at least 1000, the token values of" in capsys.readouterr().err
    assert main([*arguments, "--vocab-size", "1000", "--json"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    config = load_run(run).config
    assert config.model.vocab_size == 1000  # type: ignore[union-attr]


@pytest.mark.parametrize("flag", [["--device", "cpu"], ["--weight-decay", "0.1"], ["--compile"], ["--num-steps", "5"]])
def test_no_setting_beside_a_config(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{flag[0]}: cannot be given with --config" in refusal(["train", "--config", "c.json", *flag], capsys)


def test_what_is_no_setting_may_stand_beside_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    beside = ["--out", "elsewhere", "--checkpoint-every", "7", "--peak-flops", "1e12", "--json"]
    assert "/no/such.json" in refusal(["train", "--config", "/no/such.json", *beside], capsys)
