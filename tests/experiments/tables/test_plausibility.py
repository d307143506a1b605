"""Absolute numbers that cannot be: named with a probable cause and a remedy, and nothing said of those that can."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.tables.reading import How, read_table
from experiments.tables.run_table import RunTable
from tests.experiments.tables.made import sweep, write_csv


def read(tmp_path: Path, rows: list[dict[str, Any]], how: How | None = None) -> RunTable:
    return read_table(write_csv(tmp_path / "runs.csv", rows), how)


def test_a_sound_table_has_no_warnings(tmp_path: Path) -> None:
    table = read(tmp_path, sweep(num_params=1e8, num_tokens=2e9, batch_size=5e5, weight_decay=0.1))
    assert not table.warnings
    assert table.notes == (
        "a run has 4e+03 steps, 5e+05 tokens a step, 0.8 to 12.8 relaxation times of the norm at the peak rate",
    )


def test_a_log_is_no_table_of_runs(tmp_path: Path) -> None:
    log = [{"step": 10 * row, "lr": 1e-3 / row, "loss": 2 + 1 / row} for row in range(1, 201)]
    with pytest.raises(BadInput, match=r"log of one run, 200 rows with step rising .* lrbend read"):
        read(tmp_path, log)
    assert len(read(tmp_path, [{**row, "num_params": 1e8} for row in log])) < 200
    assert read(tmp_path, log[::-1]).num_rows == 200
    assert read(tmp_path, log[:99]).num_rows == 99


def test_a_batch_in_sequences_is_found_by_the_steps(tmp_path: Path) -> None:
    rows = [
        run
        for batch in (256, 512)
        for run in sweep(num_params=1e8, num_tokens=4e9, batch_size=batch, num_steps=round(4e9 / batch / 2048))
    ]
    table = read(tmp_path, rows)
    assert table.sequence_length == 2048
    assert any("in sequences of 2048 tokens" in note for note in table.notes)
    assert not table.warnings
    assert table.num_steps is not None
    assert set(table.num_steps) == {7629, 3815}


def test_a_batch_in_sequences_without_steps_tells_no_steps(tmp_path: Path) -> None:
    table = read(tmp_path, sweep(num_params=1e8, num_tokens=4e9, batch_size=512, weight_decay=0.1))
    assert table.sequence_length is None
    assert table.num_steps is None
    (warning,) = table.warnings
    assert "7.81e+06 steps of 512 tokens: is the batch in sequences?" in warning


@pytest.mark.parametrize(("name", "value", "length"), [("seq_len", "1k", 1000), ("config.block_size", 2048, 2048)])
def test_a_column_of_sequence_lengths_tells_the_steps(name: str, value: Any, length: int, tmp_path: Path) -> None:
    rows = sweep(num_params=1e8, num_tokens=4e9, batch_size=512, **{name: value})
    table = read(tmp_path, rows)
    assert table.sequence_length == length
    assert not table.warnings
    rows[0][name] = 512
    assert read(tmp_path, rows).sequence_length is None
    rows = sweep(num_params=1e8, num_tokens=4e9, batch_size=524288, **{name: value})
    assert read(tmp_path, rows).sequence_length == 1


@pytest.mark.parametrize(("steps", "batch"), [(1600, 1024), (3e5, 12288), (5e6, 524288)])
def test_long_runs_and_small_batches_are_believed_apart(steps: float, batch: int, tmp_path: Path) -> None:
    table = read(tmp_path, sweep(num_params=1e7, num_tokens=batch * steps, batch_size=batch))
    assert table.sequence_length == 1.0
    assert not table.warnings


@pytest.mark.parametrize(
    ("steps", "said"),
    [((4000, 16000), "0.5 to 2 times num_steps x batch_size"), ((16000, 16000), "0.5 times num_steps x batch_size")],
)
def test_steps_that_fit_no_unit(steps: tuple[int, int], said: str, tmp_path: Path) -> None:
    rows = [
        run
        for size, number in zip((1e8, 2e8), steps, strict=True)
        for run in sweep(num_params=size, num_tokens=8e9, batch_size=1e6, num_steps=number)
    ]
    table = read(tmp_path, rows)
    assert any(said in warning for warning in table.warnings)
    assert table.sequence_length is None


@pytest.mark.parametrize("power", [np.log, np.log10, np.log2])
def test_logarithms_of_learning_rates(power: Any, tmp_path: Path) -> None:
    rows = [{**run, "learning_rate": power(run["learning_rate"])} for run in sweep()]
    with pytest.raises(BadInput, match="are logarithms, as it seems: put the rates themselves"):
        read(tmp_path, rows)


def test_logarithms_by_name(tmp_path: Path) -> None:
    rows = [{"minus_log10_lr": -np.log10(run["learning_rate"]), "loss": run["loss"]} for run in sweep()]
    with pytest.raises(BadInput, match=r"1\.796 to 3 in minus_log10_lr are logarithms"):
        read(tmp_path, rows, How(columns={"learning_rate": "minus_log10_lr"}))


def test_losses_in_other_units(tmp_path: Path) -> None:
    nats = read(tmp_path, sweep()).numbers["loss"]
    for unit, turned in (("perplexity", np.exp), ("bits", lambda loss: loss / np.log(2))):
        rows = [{**run, "loss": turned(run["loss"])} for run in sweep()]
        np.testing.assert_allclose(read(tmp_path, rows, How(loss_unit=unit)).numbers["loss"], nats)
    large = [{**run, "loss": np.exp(run["loss"])} for run in [*sweep(), {"learning_rate": 0.1, "loss": "nan"}][:5]]
    with pytest.raises(BadInput, match=r"20.09 to 20.09 in loss.*10.8 nats.*--loss-unit perplexity"):
        read(tmp_path, large)
    assert len(read(tmp_path, large, How(loss_unit="nats"))) == 5


@pytest.mark.parametrize(
    ("name", "unit"), [("val/ppl", "perplexity"), ("perplexity", "perplexity"), ("val_bpb", "bits")]
)
def test_losses_in_another_unit_by_name(name: str, unit: str, tmp_path: Path) -> None:
    rows = [{"learning_rate": run["learning_rate"], name: run["loss"]} for run in sweep()]
    with pytest.raises(BadInput, match=f"{name} is in {unit}, by its name: --loss-unit {unit}"):
        read(tmp_path, rows, How(columns={"loss": name}))


def test_diverged_losses_are_no_perplexities(tmp_path: Path) -> None:
    assert len(read(tmp_path, [*sweep(), {"learning_rate": 0.1, "loss": 40.0}])) == 6


def test_runs_that_diverge_below_the_best(tmp_path: Path) -> None:
    rows = sweep()
    rows[0]["loss"] = rows[4]["loss"] = "nan"
    (warning,) = read(tmp_path, rows).warnings
    assert "1 of 2 runs without a finite loss have learning rates below the best" in warning


def test_units_that_do_not_fit(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, sweep(num_params=130, num_tokens=2e9)).warnings
    assert "tokens per parameter" in warning
    (warning,) = read(tmp_path, sweep(num_tokens=100, batch_size=512)).warnings
    assert "a run of 0.195 steps" in warning
    (warning,) = read(tmp_path, sweep(num_params=130, num_tokens=2.6)).warnings
    assert "no run has more than 2.6 tokens: num_tokens in another unit" in warning
    (warning,) = read(tmp_path, sweep(weight_decay=100)).warnings
    assert "removes the weights in one step" in warning


@pytest.mark.parametrize("name", ["num_params", "num_tokens", "depth"])
def test_rounding_noise_of_a_scale_is_one_value(name: str, tmp_path: Path) -> None:
    values = [124439808, 124475904, 124439808, 124439808, 124000000]
    rows = [{**run, name: value} for run, value in zip(sweep(), values, strict=True)]
    rows += sweep(**{name: 140000000})
    table = read(tmp_path, rows, How(axes={"depth": "depth"} if name == "depth" else {}))
    assert set(table.numbers[name]) == {124439808.0, 140000000.0}
    assert any(f"3 values of {name} that lie within 1 % of another are read as 1" in note for note in table.notes)


def test_close_values_do_not_chain(tmp_path: Path) -> None:
    """Each within 1 % of the next, the ends 4 % apart: not one value."""
    rows = [{**run, "num_params": 1e8 * 1.008**place} for place, run in enumerate(sweep())]
    assert len(set(read(tmp_path, rows).numbers["num_params"])) == 3


def test_steps_of_a_batch_in_any_unit() -> None:
    numbers = {name: np.array([value]) for name, value in (("loss", 3.0), ("num_tokens", 4e9), ("batch_size", 512.0))}
    for length, steps in ((1.0, 7812500.0), (2048.0, 3814.697265625), (None, None)):
        table = RunTable(numbers=numbers, labels={}, num_rows=1, exclusions=(), sequence_length=length)
        assert (None if table.num_steps is None else table.num_steps.tolist()) == (None if steps is None else [steps])


def test_sequences_of_two_lengths_are_told_by_their_column(tmp_path: Path) -> None:
    rows = [
        run
        for size, length in ((1e8, 1024), (1e9, 2048))
        for run in sweep(num_params=size, num_tokens=4e9, batch_size=256, seq_len=length, steps=4e9 / 256 / length)
    ]
    (warning,) = read(tmp_path, rows).warnings
    assert "num_steps x batch_size x 1024 to 2048: the batch is in sequences whose length differs" in warning
    (warning,) = read(tmp_path, [{**row, "seq_len": 512} for row in rows]).warnings
    assert "one of the three is another quantity" in warning


@pytest.mark.parametrize("mark", [0, -1])
def test_marks_of_a_failed_run_are_no_losses(mark: float, tmp_path: Path) -> None:
    rows = sweep()
    rows[1]["loss"] = mark
    (left_out,) = read(tmp_path, rows).exclusions
    assert left_out.reason == "a loss of 0 or below, as of a run that failed"


def test_losses_above_the_best_may_be_0(tmp_path: Path) -> None:
    rows = [{**run, "loss": run["loss"] - 3} for run in sweep()]
    assert len(read(tmp_path, rows)) == 5
    assert len(read(tmp_path, [{**run, "loss": run["loss"] - 9} for run in sweep()])) == 5


def test_missing_losses_above_the_best_may_have_diverged(tmp_path: Path) -> None:
    dead = [{"learning_rate": 0.05 * 2**k, "loss": ""} for k in range(3)]
    assert any("3 of the 3 rows without a loss" in note for note in read(tmp_path, [*sweep(), *dead]).notes)
    below = [{**run, "learning_rate": run["learning_rate"] / 100} for run in dead]
    assert not any("without a loss" in note for note in read(tmp_path, [*sweep(), *below]).notes)


def test_a_scale_that_differs_from_run_to_run_tears_the_cells(tmp_path: Path) -> None:
    rows = [{**run, "num_tokens": 2e9 * (1 + 0.03 * k), "num_params": 1e8} for k, run in enumerate(sweep())]
    (warning,) = read(tmp_path, rows).warnings
    assert "no cell has 3 learning rates, since num_tokens differs from run to run (5 values" in warning
    assert not read(tmp_path, sweep(rates=(1e-3, 2e-3), num_tokens=2e9)).warnings
