"""Other names of our columns: taken where there is one, noted, refused where there are two."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.tables.filters import Condition
from experiments.tables.reading import How, read_table, table_from_frame
from experiments.tables.run_table import RunTable
from tests.experiments.tables.made import sweep, write_csv
from tests.patience import HANGS


def read(tmp_path: Path, names: Mapping[str, str], how: How | None = None, **columns: Any) -> RunTable:
    """One cell, some of its columns under other names."""
    rows = [{names.get(name, name): value for name, value in run.items()} for run in sweep(**columns)]
    return read_table(write_csv(tmp_path / "runs.csv", rows), how)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        *(
            ("learning_rate", name)
            for name in ("lr", "LR", "peak_lr", "max_lr", "Learning Rate", "config.optimizer.lr")
        ),
        *(
            ("loss", name)
            for name in ("val_loss", "val/loss", "eval/loss", "final_loss", "validation_loss", "summary.loss")
        ),
        ("loss", "summary/val/loss"),
        *(("num_params", name) for name in ("hparams.params", "parameters/n_params", "size", "# Params", "hp/params")),
        *(("learning_rate", name) for name in ("params_lr", "hparam/lr", "LR_max")),
        ("loss", "Val Loss (nats)"),
        *(("num_params", name) for name in ("N", "params", "n_params", "model_size", "num_parameters")),
        *(("num_tokens", name) for name in ("D", "tokens", "n_tokens", "tokens_seen")),
        *(("batch_size", name) for name in ("bs", "batch", "global_batch_size")),
        *(("num_steps", name) for name in ("steps", "_step", "iterations", "num_train_steps", "global_step")),
        ("weight_decay", "wd"),
        ("optimizer", "opt"),
        ("seed", "random_seed"),
    ],
)
def test_usual_names_are_taken_and_noted(ours: str, theirs: str, tmp_path: Path) -> None:
    columns = {} if ours in ("learning_rate", "loss") else {ours: 7}
    table = read(tmp_path, {ours: theirs}, **columns)
    assert ours in (table.labels if ours in ("optimizer", "seed") else table.numbers)
    assert f"{ours} is read from {theirs}" in table.notes


@pytest.mark.parametrize(
    "theirs", ["n", "d", "train_loss", "summary.train.loss", "decay", "rate", "micro_batch", "width"]
)
def test_other_names_are_left_alone(theirs: str, tmp_path: Path) -> None:
    table = read(tmp_path, {}, **{theirs: 7})
    assert set(table.numbers) == {"learning_rate", "loss"}
    assert not table.labels


def test_the_loss_in_training_is_no_loss_by_itself(tmp_path: Path) -> None:
    for theirs in ("train_loss", "train/loss", "summary.train.loss"):
        with pytest.raises(BadInput, match=f"no column loss: map one with --column loss=NAME, perhaps {theirs}"):
            read(tmp_path, {"loss": theirs})


def test_a_given_column_wins_over_names(tmp_path: Path) -> None:
    how = How(columns={"num_params": "width", "loss": "train_loss"})
    table = read(tmp_path, {}, how, num_params=3, params=4, width=5, train_loss=2.5)
    assert set(table.numbers["num_params"]) == {5.0}
    assert set(table.numbers["loss"]) == {2.5}
    assert not any(note.startswith("num_params is read") for note in table.notes)


def test_two_that_could_be_it(tmp_path: Path) -> None:
    for columns, said in (
        ({"params": 4, "model_size": 5}, "num_params could be params and model_size: choose with --column num_params="),
        ({"tokens": 4, "D": 5, "batch": 1, "bs": 2}, "num_tokens could be .*; batch_size could be batch and bs"),
    ):
        with pytest.raises(BadInput, match=said):
            read(tmp_path, {}, **columns)
    table = read(tmp_path, {}, params=4, model_size="4.0")
    assert set(table.numbers["num_params"]) == {4.0}
    table = read(tmp_path, {}, steps=4, iterations=5)
    assert "num_steps" not in table.numbers
    assert any("num_steps is not read, since it could be steps and iterations" in note for note in table.notes)


def test_our_own_name_wins_and_the_other_is_told(tmp_path: Path) -> None:
    table = read(tmp_path, {}, val_loss=1.5)
    assert table.numbers["loss"].min() == pytest.approx(3.0)
    assert any(note.startswith("loss is read, val_loss is not") for note in table.notes)
    assert not any("is not: choose" in note for note in read(tmp_path, {}, model_size=3).notes)


def test_a_name_of_numbers_is_no_name_of_words(tmp_path: Path) -> None:
    assert "num_params" not in read(tmp_path, {}, model_size="small").numbers
    assert set(read(tmp_path, {}, model_size="small", params="130M").numbers["num_params"]) == {1.3e8}


def test_steps_that_some_runs_lack_cost_no_rows(tmp_path: Path) -> None:
    rows = [{**run, "_step": "" if place == 2 else 100} for place, run in enumerate(sweep())]
    assert len(read_table(write_csv(tmp_path / "runs.csv", rows))) == 5


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    names = {"learning_rate": "rate", "loss": "perplexity"}
    with pytest.raises(BadInput) as error:
        read(tmp_path, names)
    for phrase in ("no column learning_rate", "perhaps rate", "no column loss", "perhaps perplexity", "--loss-unit"):
        assert phrase in str(error.value)
    with pytest.raises(BadInput, match="learning_rate=a: no such column; --column loss=b: no such column"):
        read(tmp_path, {}, How(columns={"learning_rate": "a", "loss": "b"}))


def test_flags_that_name_no_column_are_told_together() -> None:
    how = How(
        axes={"depth": "layers"},
        groups=["arm"],
        others=["sharpness"],
        where=[Condition.read("state=done")],
        columns={"seed": "s"},
    )
    with pytest.raises(BadInput) as told:
        table_from_frame(pd.DataFrame({"learning_rate": [1.0], "x": [2.0]}), how)
    for name in ("no column loss", "depth=layers", "--group arm", "'sharpness'", "--where state=done", "seed=s"):
        assert name in str(told.value)


def test_axes_and_groups(tmp_path: Path) -> None:
    rows = [
        run for opt in ("adam", "adamh") for depth in (4, 8) for run in sweep(opt=opt, num_layers=depth, arch="gpt")
    ]
    path = write_csv(tmp_path / "runs.csv", rows)
    table = read_table(path, How(axes={"depth": "num_layers"}, groups=["arch", "optimizer"]))
    assert table.axes == ("depth",)
    assert table.scales == ("depth",)
    np.testing.assert_array_equal(np.unique(table.numbers["depth"]), [4, 8])
    assert [(name, len(runs), runs.optimizer) for name, runs in table.groups()] == [
        ("gpt adam", 10, "adam"),
        ("gpt adamh", 10, "adamh"),
    ]
    assert [name for name, _ in read_table(path).groups()] == ["adam", "adamh"]
    (only,) = read_table(path, How(axes={"depth": "num_layers"}, groups=["arch"])).groups()
    assert only[1].optimizer == "adam, adamh"
    assert any("optimizer (adam, adamh)" in warning for warning in only[1].warnings)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"axes": {"depth": "layers"}}, "--axis depth=layers: .* no such column"),
        ({"axes": {"num_params": "lr"}}, "--axis num_params: that name is ours: --column num_params=lr"),
        ({"axes": {"1st": "lr"}}, "--axis 1st: must be a name"),
        ({"groups": ["arm"]}, "--group arm: .* no such column"),
        ({"groups": ["seed", "seed"]}, "given twice"),
        ({"columns": {"depth": "lr"}}, "another scale is an --axis"),
        ({"loss_unit": "pounds"}, "--loss-unit pounds: must be one of nats, bits, perplexity"),
    ],
)
def test_flags_that_cannot_be(how: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        read(tmp_path, {}, How(**how))


def test_runs_without_a_group_are_left_out_unless_none_has_one(tmp_path: Path) -> None:
    rows = [*sweep(optimizer="adam"), *sweep(optimizer="", floor=4.0)]
    table = read_table(write_csv(tmp_path / "runs.csv", rows))
    assert [(name, len(runs)) for name, runs in table.groups()] == [("adam", 5)]
    assert [(item.reason, item.count) for item in table.exclusions] == [("no optimizer", 5)]
    (nameless,) = read_table(write_csv(tmp_path / "runs.csv", sweep(optimizer=""))).groups()
    assert nameless[0] is None
    assert len(nameless[1]) == 5


@pytest.mark.parametrize(
    ("theirs", "unit"),
    [
        ("params_M", 1e6),
        ("params (M)", 1e6),
        ("n_params_millions", 1e6),
        ("config.model.n_paramsB", 1e9),
        ("N (in billions)", 1e9),
        ("model_size_k", 1e3),
        ("params", 1.0),
    ],
)
def test_a_unit_in_a_name_is_one_of_its_values(theirs: str, unit: float, tmp_path: Path) -> None:
    for how in (How(), How(columns={"num_params": theirs})):
        table = read(tmp_path, {"num_params": theirs}, how, num_params=22)
        np.testing.assert_allclose(table.numbers["num_params"], 22 * unit)
        assert any(f"{theirs}, in units of {unit:g}" in note for note in table.notes) == (unit > 1)
    told = read(tmp_path, {"num_params": theirs}, num_params="22M")
    np.testing.assert_allclose(told.numbers["num_params"], 22e6)


@pytest.mark.parametrize("theirs", ["N_t", "params_mb", "item", "paramsm"])
def test_no_unit_is_seen_where_there_is_none(theirs: str, tmp_path: Path) -> None:
    assert "num_params" not in read(tmp_path, {"num_params": theirs}, num_params=22).numbers


@pytest.mark.long
def test_a_table_of_very_many_columns_is_soon_read(tmp_path: Path) -> None:
    """A minute and more, on a fast machine, when each name was looked for among all others."""
    others = {f"metrics.c{place} (M)": place for place in range(20_000)}
    rows = [{**run, **others} for run in sweep()[:3]]
    started = time.process_time()
    table = read_table(write_csv(tmp_path / "runs.csv", rows))
    assert time.process_time() - started < HANGS
    assert len(table) == len(rows)


@pytest.mark.parametrize(
    ("theirs", "unit"), [("tokens [10^9]", 1e9), ("D (1e9)", 1e9), ("tokens (x1e-9)", 1e9), ("n_tokens/10**6", 1e6)]
)
def test_units_as_powers_of_ten(theirs: str, unit: float, tmp_path: Path) -> None:
    table = read(tmp_path, {"num_tokens": theirs}, num_tokens=2)
    assert set(table.numbers["num_tokens"]) == {2 * unit}
    assert f"in units of {unit:g} by its name" in table.notes[0]


@pytest.mark.parametrize("theirs", ["lr [1e-3]", "lr (x1e3)", "peak_lr/1e-3"])
def test_a_learning_rate_in_thousandths(theirs: str, tmp_path: Path) -> None:
    rows = [{theirs: 1000 * run["learning_rate"], "loss": run["loss"]} for run in sweep()]
    for how in (None, How(columns={"learning_rate": theirs})):
        table = read_table(write_csv(tmp_path / "runs.csv", rows), how)
        np.testing.assert_allclose(table.numbers["learning_rate"], [run["learning_rate"] for run in sweep()])


def test_a_size_is_that_of_the_model_if_nothing_else_is(tmp_path: Path) -> None:
    table = read(tmp_path, {"num_params": "params", "num_tokens": "size"}, num_params=1e8, num_tokens=512)
    assert set(table.numbers["num_params"]) == {1e8}
    assert "num_params is read from params" in table.notes


@pytest.mark.parametrize(
    "header", ["width,1e-4,3e-4,1e-3", "width,LR=8e-3,LR=1.6e-2,LR=3.2e-2", "batch,2^-8,2^-9,2^-10,note"]
)
def test_a_table_with_a_learning_rate_a_column_is_refused_as_such(tmp_path: Path, header: str) -> None:
    """It was told that it lacks two columns, and to map one of them to the corner of the table."""
    path = tmp_path / "wide.csv"
    path.write_text(f"{header}\n64" + ",3.1" * header.count(",") + "\n")
    with pytest.raises(BadInput, match="look like learning rates, with the losses below them: one run a row"):
        read_table(path)


@pytest.mark.parametrize("header", ["0.3,0.1,0.2,3.1", "1,2,3,4", "lr,0.1,0.2,0.3"])
def test_other_numbers_in_a_header_are_no_learning_rates(tmp_path: Path, header: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n1,2,3,4\n")
    with pytest.raises(BadInput, match="no column loss"):
        read_table(path)


@pytest.mark.parametrize("theirs", ["Val BPB", "val_bpc", "final bits"])
def test_bits_are_offered_with_their_flag(tmp_path: Path, theirs: str) -> None:
    with pytest.raises(BadInput, match=rf"perhaps {theirs} \(bits with --loss-unit bits\)"):
        read(tmp_path, {"loss": theirs})
