"""Tables of final losses: what a row says, what is assumed, what is left out, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.losses.loss_table import FinalLosses, TableHow, read_final_losses
from experiments.tables.filters import Condition

HEADER = (
    "file,n_layer,n_embd,params,lr,scheduler,decay_type,wsd_fract_decay,iterations,batch_size,seq_len,warmup,"
    "final_val_loss,last_val_loss"
)
ROWS = (
    "cos-10-a,2,64,999999,1e-3,cos,sqrt,0,400,8,128,40,3.1,3.0",
    "grad_norm/cos-zero-b,2,64,999999,1e-3,cos,,0,400,8,128,40,3.2,3.0",
    "cos-210m-c,2,64,999999,2e-3,cos,,0,400,8,128,40,3.3,3.0",
    "d,2,64,999999,1e-3,wsd,linear,0.25,400,8,128,40,3.4,3.0",
    "e,2,64,999999,1e-3,wsd,sqrt,0.25,400,8,128,40,3.5,3.0",
    "f,2,64,999999,1e-3,wsd,,0,800,8,128,40,3.6,3.0",
)


def read(tmp_path: Path, text: str, **how: object) -> FinalLosses:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    return read_final_losses(path, TableHow(**how))  # type: ignore[arg-type]


def table_of(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows)) + "\n"


def test_rows_say_what_they_say(tmp_path: Path) -> None:
    table = read(tmp_path, table_of(*ROWS))
    assert [run.schedule for run in table.runs] == [
        *("cosine to 0.1", "cosine to 0", "cosine to 0.1", "wsd 0.25", "wsd 0.25 sqrt", "constant")
    ]
    assert [run.loss for run in table.runs] == [3.1, 3.2, 3.3, 3.4, 3.5, 3.6]
    assert {run.num_params for run in table.runs} == {12 * 2 * 64**2}
    assert {run.tokens_per_step for run in table.runs} == {8 * 128}
    assert {run.weight_decay for run in table.runs} == {0.1}
    assert table.whole_sizes == {999999: 12 * 2 * 64**2}
    told = " ".join(table.notes)
    for phrase in (
        "loss from final_val_loss",
        "weight_decay is not told: 0.1",
        "not told in 1 rows: at 0.1",
        "in 2 rows",
    ):
        assert phrase in told
    np.testing.assert_allclose(table.runs[0].learning_rates[[0, 39, -1]], [1.25e-5, 9.875e-4, 1e-4], rtol=1e-3)


def test_other_columns_tell_the_same(tmp_path: Path) -> None:
    header = "learning_rate;schedule;tokens;tokens_per_step;cooldown_steps;min_lr;warmup_ratio;loss"
    table = read(tmp_path, table_of("1e-3;wsd;1M;1000;250;1e-4;0.1;3", "1e-3;linear;1M;1000;;0;0.1;3.1", header=header))
    wsd, linear = table.runs
    assert (wsd.num_steps, wsd.schedule, linear.schedule) == (1000, "wsd 0.25 to 0.1", "linear")
    assert np.argmax(wsd.learning_rates) == 100
    assert wsd.num_params == linear.num_params == 1
    assert table.tokens_known


@pytest.mark.parametrize("how", [{}, {"columns": {"num_tokens": "tokens (B)", "num_steps": "steps_k"}}])
def test_names_tell_units(tmp_path: Path, how: dict[str, object]) -> None:
    """As in `lrbend fit`; a value with a suffix of its own is what it says."""
    header = "lr,schedule,steps_k,tokens (B),params_M,warmup_k,loss"
    rows = ("1e-3,linear,10,1.5,130,0.5,3", "1e-3,cosine,10,1.5,130,0.5,3.1")
    table = read(tmp_path, table_of(*rows, header=header), **how)
    assert {run.num_params for run in table.runs} == {130e6}
    assert {run.tokens_per_step for run in table.runs} == {1.5e5}
    assert {(one.num_steps, one.warmup_steps) for one in table.settings} == {(10000, 500)}
    assert "num_params from params_M in units of 1e+06" in " ".join(table.notes)
    own = read(tmp_path, table_of(*(row.replace("130", "130M") for row in rows), header=header))
    assert {run.num_params for run in own.runs} == {130e6}
    plain = read(tmp_path, table_of(*(row.replace("1.5", "1.5e9") for row in rows), header=header.replace(" (B)", "")))
    assert {run.tokens_per_step for run in plain.runs} == {1.5e5}


def test_flags_map_fix_and_choose(tmp_path: Path) -> None:
    how = {
        "columns": {"loss": "last_val_loss", "num_params": "params", "dataset": "file"},
        "constants": {"final_fraction": "0.05", "weight_decay": "0.3"},
        "where": [Condition.read("num_steps=400"), Condition.read("file!=cos-10-a")],
    }
    table = read(tmp_path, table_of(*ROWS), **how)
    assert len(table.runs) == 4
    assert {run.loss for run in table.runs} == {3.0}
    assert {run.num_params for run in table.runs} == {999999}
    assert {run.weight_decay for run in table.runs} == {0.3}
    assert table.runs[0].schedule == "cosine to 0.05"
    assert table.runs[-1].dataset == "e"


def test_missing_diverged_repeated_and_unreadable_rows_are_counted(tmp_path: Path) -> None:
    odd = (
        ROWS[0].replace("3.1,3.0", "3.3,3.0"),
        ROWS[3].replace("3.4,3.0", ",3.0"),
        ROWS[3].replace("3.4,3.0", "9.4,3.0").replace("0.25", "0.5"),
        ROWS[3].replace(",wsd,", ",steps,"),
        ROWS[3].replace(",0.25,", ",,"),
        ROWS[3].replace(",0.25,", ",1.5,"),
        ROWS[3].replace(",linear,", ",round,"),
        ROWS[3].replace(",1e-3,", ",0,"),
        ROWS[3].replace(",3.4,", ",high,"),
        ROWS[3].replace(",3.4,", ",nan,"),
        ROWS[3].replace(",400,8,", ",,8,"),
        "short,row",
    )
    table = read(tmp_path, table_of(*ROWS, *odd))
    assert table.runs[0].loss == pytest.approx(3.2)
    assert table.rerun_deviation == pytest.approx(np.std([3.1, 3.3], ddof=1))
    assert table.num_repeats == 1
    assert [(row.line, row.run.schedule) for row in table.unmeasured] == [(9, "wsd 0.25")]
    reasons = {item.reason.split(":")[0]: item.count for item in table.exclusions}
    assert sum(reasons.values()) == 10
    assert reasons.pop("a loss that is not a finite number above 0") == 2
    assert set(reasons.values()) == {1}
    assert table.num_rows == len(ROWS) + len(odd)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "header"),
        (table_of(), "no rows"),
        (table_of("1,2", header="lr,speed"), "no column loss, no column schedule, no column num_steps"),
        (table_of("1e-3,cos,10M,3", header="lr,schedule,tokens,loss"), "tokens_per_step"),
        (table_of("1e-3,500,3", "1e-3,900,2", header="lr,iterations,loss"), "no column schedule"),
        (table_of("0,1e-3,4", "1,1e-3,3", header="step,lr,loss"), "one loss curve"),
        (
            table_of("adam,1e-3,cos,10,3", "muon,1e-3,cos,10,3", header="optimizer,lr,schedule,steps,loss"),
            "--where optimizer=adam",
        ),
        (table_of("1e-3,cos,10,", header="lr,schedule,steps,loss"), "none of 1 rows has a loss"),
        (table_of("1e-3,cos,10,-3", header="lr,schedule,steps,loss"), "none of 1 rows has a loss"),
        (table_of("1e-3,cos,3e8,3", header="lr,schedule,steps,loss"), "3e+08 steps"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(tmp_path, text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


ZEROS = {
    "lr,schedule,steps,tokens,loss": ("1e-3,cos,0,1e6,3", "no tokens_per_step above 0"),
    "lr,schedule,tokens,batch_size,seq_len,loss": ("1e-3,cos,0,0,128,3", "no tokens_per_step above 0"),
    "lr,schedule,steps,cooldown_steps,loss": ("1e-3,wsd,0,0,3", "no num_steps above 0"),
    "lr,schedule,steps,min_lr,loss": ("0,cos,10,0,3", "no learning_rate from 1e-12 to 10"),
}


@pytest.mark.parametrize("header", ZEROS)
def test_a_zero_that_something_is_divided_by_costs_its_row_alone(header: str, tmp_path: Path) -> None:
    zero, reason = ZEROS[header]
    values = {"lr": "1e-3", "schedule": "cos", "steps": "10", "tokens": "1e4", "batch_size": "8", "seq_len": "128"}
    values |= {"cooldown_steps": "5", "min_lr": "1e-4", "loss": "3"}
    table = read(tmp_path, table_of(zero, ",".join(values[name] for name in header.split(",")), header=header))
    assert len(table.runs) == 1
    assert [(item.reason, item.count) for item in table.exclusions] == [(reason, 1)]


def test_flags_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for how, says in (
        ({"columns": {"speed": "lr"}}, "--column speed: must be one of learning_rate, loss"),
        ({"columns": {"loss": "nothing"}}, "no such column"),
        ({"constants": {"weight_decay": "much"}}, "'much' is not a number"),
        ({"columns": {"loss": "lr"}, "constants": {"loss": "3"}}, "mapped to a column as well"),
        ({"where": [Condition.read("lr=5")]}, "no such row"),
    ):
        with pytest.raises(BadInput, match=says):
            read(tmp_path, table_of(*ROWS), **how)


def test_decimal_commas_and_percentages(tmp_path: Path) -> None:
    header = "lr;schedule;tokens;tokens_per_step;decay_fraction;loss"
    table = read(
        tmp_path, table_of("0,001;wsd;1.000.000;1.000;20%;3,25", "1/512;cosine;1.000.000;1.000;;3,5", header=header)
    )
    assert [run.loss for run in table.runs] == [3.25, 3.5]
    assert [run.peak_learning_rate for run in table.runs] == pytest.approx([1e-3, 1 / 512])
    assert {run.num_steps for run in table.runs} == {1000}
    assert table.runs[0].schedule == "wsd 0.2"
