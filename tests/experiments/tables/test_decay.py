"""Which weight decay makes a cell: what the sweeps hold, said, and chosen by one flag."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.tables.reading import How, read_table
from experiments.tables.run_table import RunTable
from tests.experiments.tables.made import sweep, write_csv

HELD = 1e-4


def read(
    tmp_path: Path, rows: list[dict[str, Any]], decay: Literal["pytorch", "independent", "ignored"] | None = None
) -> RunTable:
    return read_table(write_csv(tmp_path / "runs.csv", rows), How(decay=decay))


def independent_rows(**columns: Any) -> list[dict[str, Any]]:
    """Two cells at a constant product, decay rounded to three digits."""
    rows = [run for size in (1e8, 1e9) for run in sweep(num_params=size)]
    return [{**row, "weight_decay": float(f"{HELD / row['learning_rate']:.3g}"), **columns} for row in rows]


@pytest.mark.parametrize("name", ["independent_wd", "independent_weight_decay", "lam0"])
def test_the_product_as_a_column_makes_the_cells(name: str, tmp_path: Path) -> None:
    table = read(tmp_path, independent_rows(**{name: HELD}))
    assert table.scales == ("num_params", "independent_weight_decay")
    assert set(table.numbers["independent_weight_decay"]) == {HELD}
    assert any("learning_rate x weight_decay" in note for note in table.notes)
    if name != "independent_weight_decay":
        assert any(name in note for note in table.notes)
    product = table.numbers["weight_decay"] * table.numbers["learning_rate"]
    np.testing.assert_allclose(product, HELD, rtol=0.01)


def test_without_that_column_it_is_refused_until_asked_for(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"weight_decay falls as 1/learning_rate.*--decay independent"):
        read(tmp_path, independent_rows())
    table = read(tmp_path, independent_rows(), "independent")
    assert table.scales == ("num_params", "independent_weight_decay")
    assert len(np.unique(table.numbers["independent_weight_decay"])) == 1


def test_pytorchs_convention_stays_where_the_sweeps_hold_it(tmp_path: Path) -> None:
    """Also on a whole grid of rates and decays, where products are equal along the diagonals."""
    rates = [2.0**-k for k in range(4, 12)]
    grids = ((0.1,), (0.1, 0.2, 0.4), tuple(0.1 * 2.0**k for k in range(8)))
    for decays in grids:
        table = read(tmp_path, [run for decay in decays for run in sweep(rates=rates, weight_decay=decay)])
        assert table.scales == ("weight_decay",)
        assert not any("weight_decay" in note for note in table.notes)


def test_too_few_rates_say_nothing_of_what_is_held(tmp_path: Path) -> None:
    assert read(tmp_path, sweep(rates=(1e-3, 2e-3), weight_decay=0.1)).scales == ("weight_decay",)


def test_both_columns_and_a_choice(tmp_path: Path) -> None:
    rows = [{**run, "independent_wd": 0.1 * run["learning_rate"]} for run in sweep(weight_decay=0.1)]
    assert read(tmp_path, rows).scales == ("weight_decay",)
    with pytest.raises(BadInput, match="--decay independent: the sweeps hold weight_decay"):
        read(tmp_path, rows, "independent")
    with pytest.raises(BadInput, match="--decay pytorch: the sweeps hold learning_rate x weight_decay"):
        read(tmp_path, independent_rows(independent_wd=HELD), "pytorch")
    with pytest.raises(BadInput, match="has no weight_decay"):
        read(tmp_path, sweep(), "independent")


def test_the_independent_column_alone(tmp_path: Path) -> None:
    table = read(tmp_path, sweep(independent_wd=HELD))
    assert table.scales == ("independent_weight_decay",)
    np.testing.assert_allclose(table.numbers["weight_decay"], HELD / table.numbers["learning_rate"])


def test_a_column_of_that_name_that_is_another_thing(tmp_path: Path) -> None:
    table = read(tmp_path, sweep(weight_decay=0.1, independent_wd=0.3))
    assert table.scales == ("weight_decay",)
    assert any("independent_weight_decay is not learning_rate x weight_decay" in note for note in table.notes)


def test_decays_of_two_digits_have_one_product(tmp_path: Path) -> None:
    rates = [float(f"{1e-3 * 1.37**k:.3g}") for k in range(12)]
    rows = [{**run, "weight_decay": float(f"{HELD / run['learning_rate']:.2g}")} for run in sweep(rates=rates)]
    assert len(set(read(tmp_path, rows, "independent").numbers["independent_weight_decay"])) == 1


def test_a_decay_of_its_own_in_every_run_may_be_ignored(tmp_path: Path) -> None:
    """A random search: neither decay makes cells, and products that agree by chance are no convention."""
    rng = np.random.default_rng(0)
    rates = 4e-3 * np.exp(rng.uniform(-1, 1, 40))
    decays = 10 ** rng.uniform(-2, -0.5, 40)
    rows = [{**run, "weight_decay": decay} for run, decay in zip(sweep(rates=rates), decays, strict=True)]
    with pytest.raises(BadInput, match=r"weight_decay differs from run to run.*--decay ignored"):
        read(tmp_path, rows)
    table = read(tmp_path, rows, "ignored")
    assert table.scales == ()
    assert len(table) == 40


def test_sweeps_of_either_kind_in_one_table_are_told(tmp_path: Path) -> None:
    rows = [*independent_rows(), *(run for size in (1e8, 1e9) for run in sweep(num_params=size, weight_decay=0.1))]
    assert any("falls as 1/learning_rate in the sweeps of 8 other runs" in note for note in read(tmp_path, rows).notes)
