"""Public tables by one command: what the study fits is what `lrbend fit` reads with the flags that it names."""

import os
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.calibration.real_tables import RealTable
from experiments.cli.main import build_parser
from experiments.cli.tables.table_flags import read_runs
from experiments.files import BadInput
from experiments.studies.public_tables.run import fits_of, run_study
from experiments.studies.public_tables.tables import TABLES, PublicTable
from experiments.studies.workplace import Workplace

DOCS = Path(__file__).parents[3] / "docs"


def made(folder: Path) -> PublicTable:
    """Two series of three depths whose optimum falls like depth to the -0.3 and -0.1, and rows of another width."""
    rng, rows = np.random.default_rng(1), []
    for series, slope in (("a", -0.3), ("b", -0.1)):
        for depth in (4, 8, 16):
            for rate in 0.01 * depth**slope * 2.0 ** np.arange(-2, 3):
                loss = 3 + 0.05 * np.log(rate / (0.01 * depth**slope)) ** 2 + 0.001 * rng.normal()
                rows.append({"lr": rate, "loss": loss, "num_layers": depth, "series": series, "hidden dim": 128})
                rows.append({"lr": rate, "loss": loss + rate, "num_layers": depth, "series": series, "hidden dim": 256})
    pd.DataFrame(rows).to_csv(folder / "made table.csv", index=False)
    runs = RealTable(
        name="made",
        file="made table.csv",
        where=("hidden dim=128",),
        groups=("series",),
        axes={"depth": "num_layers"},
        columns={"learning_rate": "lr"},
        constants={"num_params": 1e8},
    )
    return PublicTable(runs=runs, source="made here")


def test_a_row_has_the_planted_exponents_and_a_command_that_reads_the_same_runs(tmp_path: Path) -> None:
    table = made(tmp_path)
    fits, differences = fits_of(tmp_path, [table])
    assert list(fits["group"]) == ["a", "b"]  # size has one value and is no scale
    assert list(fits["axis"]) == ["depth", "depth"]
    assert fits["exponent"].tolist() == pytest.approx([-0.3, -0.1], abs=0.02)
    assert differences["value"].tolist() == pytest.approx([-0.2], abs=0.03)
    program, command, file, *flags = shlex.split(fits["command"].iloc[0])
    assert (program, file) == ("lrbend", table.runs.file)
    asked = read_runs(build_parser().parse_args([command, str(tmp_path / file), *flags]))
    own = table.runs.read(tmp_path)
    assert asked.axes == own.axes
    assert list(asked.group_names) == list(own.group_names)
    assert asked.numbers.keys() == own.numbers.keys()
    for name, values in own.numbers.items():
        np.testing.assert_array_equal(asked.numbers[name], values)
    assert len(own) == fits["runs"].sum()


def test_without_the_folder_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRBEND_PUBLIC_DATA", raising=False)
    with pytest.raises(BadInput, match="--option data: needed"):
        run_study(Workplace(runs=tmp_path / "runs", results=tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_a_committed_fit_follows_from_the_public_table() -> None:
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: wd_blog/scripts/transfer of WhenWen.github.io is not here")
    (table,) = [one for one in TABLES if one.runs.name == "width at 4 layers, no warmup"]
    found, _ = fits_of(Path(root), [table])
    committed = pd.read_csv(DOCS / "public-tables" / "fits.csv")
    committed = committed[committed["table"] == table.runs.name]
    for name in ("runs", "cells", "optima", "exponent", "exponent_low", "curvature", "low", "high"):
        np.testing.assert_allclose(found[name].to_numpy(float), committed[name].to_numpy(float), rtol=1e-3)
    assert list(found["command"]) == list(committed["command"])
