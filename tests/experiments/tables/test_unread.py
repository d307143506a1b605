"""Columns that vary inside a cell are named with their values; measurements, names and rates in disguise are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.tables.reading import How, read_table
from experiments.tables.run_table import RunTable
from tests.experiments.tables.made import RATES, sweep, write_csv


def read(tmp_path: Path, rows: list[dict[str, Any]], how: How | None = None) -> RunTable:
    return read_table(write_csv(tmp_path / "runs.csv", rows), how)


def deep(**columns: Any) -> list[dict[str, Any]]:
    """Three depths, 0.3 nats apart, in one cell."""
    return [
        run for place, depth in enumerate((4, 16, 64)) for run in sweep(floor=3 - 0.3 * place, depth=depth, **columns)
    ]


def test_a_hidden_setting_is_named_with_its_values_and_a_remedy(tmp_path: Path) -> None:
    for columns in ({}, {"seed": 0}):
        (warning,) = read(tmp_path, deep(**columns)).warnings
        for phrase in (
            "depth (4, 16, 64)",
            "not read" if not columns else "count as one setting",
            "--axis depth=depth",
            "--where",
        ):
            assert phrase in warning
    assert "5 of 5 repeated learning rates have losses more than 0.05 nats apart" in read(tmp_path, deep()).warnings[0]


def test_each_remedy_is_one(tmp_path: Path) -> None:
    from experiments.tables.filters import Condition

    for how in (How(axes={"depth": "depth"}), How(where=[Condition.read("depth=4")]), How(groups=["depth"])):
        assert not read(tmp_path, deep(), how).warnings


def test_a_setting_with_sweeps_of_its_own_is_one_even_if_no_rate_repeats(tmp_path: Path) -> None:
    rows = [*sweep(width=128), *sweep(width=256, best=5e-3, rates=[1.3 * rate for rate in RATES])]
    (warning,) = read(tmp_path, rows).warnings
    assert "runs that differ in width (128, 256) count as one setting: --axis width=width" in warning


def test_what_differs_between_rates_only_is_a_note(tmp_path: Path) -> None:
    rows = [{**run, "warmup": 0.1 if place > 3 else 0} for place, run in enumerate([*sweep(), *sweep(rates=(0.02,))])]
    table = read(tmp_path, rows)
    assert any("not read, though it differs inside cells: warmup (0, 0.1)" in note for note in table.notes)
    assert not table.warnings


def test_measurements_names_and_rates_in_disguise_are_left_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            **run,
            "seed": seed,
            "Name": f"run-{seed}-{place}",
            "_runtime": rng.uniform(),
            "Runtime": 100 * (1 + place % 2) + seed % 2,
            "adam_lr": run["learning_rate"] / 10 if size == 1 else "",
            "dataset": "web",
            "width": size,
        }
        for seed in range(3)
        for size in (1, 2)
        for place, run in enumerate(sweep(num_params=size * 1e8))
    ]
    table = read(tmp_path, rows)
    assert not table.notes
    assert not table.warnings


def test_one_bad_replicate_is_named_by_its_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for seeds in (True, False):
        rows = [run for seed in range(2) for run in sweep(**({"seed": seed} if seeds else {}))]
        for row in rows:
            row["loss"] = round(row["loss"] + 0.002 * rng.normal(), 6)
        rows[7]["loss"] += 0.8
        (warning,) = read(tmp_path, rows).warnings
        assert "1 of 5 repeated learning rates" in warning
        assert "most in lines 4 and 9 (0.8" in warning
        assert f"--where loss!={rows[7]['loss']:.10g} leaves it out" in warning


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("off", [-0.5, 0.5])
@pytest.mark.parametrize("place", [0, 3, 4])
def test_the_run_that_does_not_belong_is_left_out_whichever_side_it_is_on(
    seeds: int, off: float, place: int, tmp_path: Path
) -> None:
    rows = [{**run, "loss": run["loss"] + 1e-3 * seed} for seed in range(seeds) for run in sweep(seed=seed)]
    rows[place]["loss"] = round(rows[place]["loss"] + off, 6)
    (warning,) = read(tmp_path, rows).warnings
    assert f"--where loss!={rows[place]['loss']:.10g} leaves it out" in warning


def test_a_remedy_can_be_pasted_into_a_shell_and_sizes_make_an_axis(tmp_path: Path) -> None:
    rows = [run for floor, size in ((3, "70 M"), (2.99, "1.3b")) for run in sweep(floor=floor, **{"which model": size})]
    (warning,) = read(tmp_path, rows).warnings
    assert "--axis 'which_model=which model' or --where 'which model=70 M' or --group 'which model'" in warning


def test_seeds_of_a_noisy_table_are_not_bad_replicates(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = [{**run, "loss": run["loss"] + 0.1 * rng.normal()} for seed in range(4) for run in sweep(seed=seed)]
    assert not read(tmp_path, rows).warnings


def test_a_replicate_that_diverged_is_not_far_apart(tmp_path: Path) -> None:
    rows = [*sweep(), {"learning_rate": 16e-3, "loss": 7.1}, {"learning_rate": 16e-3, "loss": "nan"}]
    assert not read(tmp_path, rows).warnings


def test_a_remedy_with_a_decimal_comma_chooses_those_rows(tmp_path: Path) -> None:
    from experiments.tables.filters import Condition

    rows = [
        {name: str(value).replace(".", ",") for name, value in {**run, "init_std": std}.items()}
        for floor, std in ((3, "0,02"), (2.7, "0,1"))
        for run in sweep(floor=floor)
    ]
    path = write_csv(tmp_path / "runs.csv", rows, ";")
    (warning,) = read_table(path).warnings
    assert "--axis init_std=init_std or --where init_std=0,02 or" in warning
    assert len(read_table(path, How(where=[Condition.read("init_std=0,02")]))) == len(RATES)
    assert read_table(path, How(axes={"init_std": "init_std"})).scales == ("init_std",)


def test_numbers_come_before_names_that_join_them(tmp_path: Path) -> None:
    rows = [run for width in (64, 128) for run in sweep(floor=3 - width / 500, name=f"w{width}", width=width)]
    (warning,) = read(tmp_path, rows).warnings
    assert "they differ in width (64, 128), name (w128, w64), not read: --axis width=width" in warning


def test_sizes_in_names_are_to_become_a_column(tmp_path: Path) -> None:
    rows = [run for floor, name in ((3, "pythia-160m"), (2.7, "pythia-1.4B")) for run in sweep(floor=floor, model=name)]
    (warning,) = read(tmp_path, rows).warnings
    assert "its names tell sizes, as it seems (pythia-1.4B: 1.4B): put those into a column num_params" in warning
