"""``lrbend train``: flags that make the model fit its data, and a config in place of flags."""

from pathlib import Path
from typing import Any

import pytest

from experiments.cli.main import build_parser, main
from experiments.cli.training.preset_flags import with_preset
from experiments.cli.training.train_words import Progress, result_in_words
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


LARGE = ["train", "--preset", "302M", "--learning-rate", "1e-3", "--num-steps", "5"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--preset 302M: is for a GPU, and none is found here; --device cpu trains it all the same"),
        (["--device", "cpu"], "--preset 302M: needs a text; add --source FOLDER"),
    ],
)
def test_a_size_for_gpus_asks_for_what_it_lacks(
    flags: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert said in refusal([*LARGE, *flags], capsys)


def implied(*flags: str) -> dict[str, Any]:
    return with_preset(build_parser().parse_args([*LARGE, *flags]))


def test_a_preset_implies_arithmetic_compiler_and_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    (tmp_path / "train.bin").touch()
    whole = {"dtype": "bfloat16", "compile": True, "batch_size": 512, "accumulation_steps": 32, "vocab_size": None}
    assert implied("--source", str(tmp_path)) == {**whole, "source": str(tmp_path)}
    assert "512 sequences of 1,024 (524,288 tokens) a step in 32 parts" in capsys.readouterr().err
    own = implied("--source", "pysource", "--dtype", "float32", "--no-compile", "--batch-size", "64")
    assert own == {
        **whole,
        "source": "pysource",
        "vocab_size": 256,
        "dtype": "float32",
        "compile": False,
        "batch_size": 64,
    }
    small = {"dtype": "float32", "compile": False, "batch_size": 16, "accumulation_steps": 1}
    assert implied("--source", "zipf", "--device", "cpu") == {**small, "source": "zipf", "vocab_size": 256}
    capsys.readouterr()
    assert implied("--preset", "cpu-16") == {**small, "source": "pysource", "vocab_size": None}
    assert capsys.readouterr().err == ""


def test_where_a_run_goes_on_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.cli.training.train import _config

    config = _config(build_parser().parse_args(["train", "--learning-rate", "1e-3", "--num-steps", "8"]))
    for done, said in ((0, ""), (3, "note: resumed from step 3 of 8\n"), (8, "note: all steps were made before;")):
        with Progress(config, bars=False) as shown:
            shown.start(done)
        assert capsys.readouterr().err.startswith(said)
    with Progress(config, bars=True) as shown:
        shown.start(0)
        shown.step(8, 2.0)
        shown.evaluation(0, 50)
        shown.evaluation(50, 50)
    assert "validation: 100%" in capsys.readouterr().err


def test_a_figure_that_is_missing_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be, " * 200)
    flags = ["--preset", "cpu-16", "--learning-rate", "1e-2", "--num-steps", "2", "--batch-size", "2"]
    place = ["--source", str(tmp_path / "text.txt"), "--out", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(["train", *flags, *place]) == 0
    assert (
        "mfu                not known: no peak FLOP/s is known for this device; --peak-flops" in capsys.readouterr().out
    )
    assert main(["train", *flags, *place]) == 0
    assert "is finished already: nothing is trained" in capsys.readouterr().err
    diverged = {"outcome": "diverged", "diverged_at_step": 7}
    lines = result_in_words({"outcome": "diverged", "final_loss": None, "mfu": 0.412, "loss_floor": None}, diverged)
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "diverged at step 7",
        "none: the run diverged",
        "41.2% of the peak FLOP/s",
    ]


@pytest.mark.parametrize(("flags", "told", "threads"), [("", None, 1), ("", "2", 2), ("--preset 22M", None, 2)])
def test_a_small_model_takes_one_thread(
    flags: str, told: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.cli.training.train import _config, _few_threads

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    taken, now = [], {"threads": 2}
    monkeypatch.setattr("torch.get_num_threads", lambda: now["threads"])
    monkeypatch.setattr("torch.set_num_threads", lambda count: now.update(threads=count))
    words = f"train --device cpu --source zipf --learning-rate 1e-3 --num-steps 8 {flags}".split()
    with _few_threads(_config(build_parser().parse_args(words))):
        taken.append(now["threads"])
    assert (taken, now["threads"]) == ([threads], 2)
