"""Figures of an attribution whose arms have odd names."""

from pathlib import Path

import pandas as pd
import pytest

from experiments.reports.attribution_figures import optima_figure
from experiments.reports.page import write_page


@pytest.mark.parametrize("name", ["$a_b$", r"$\frac{1}$", "a$b", "\U0001f600", "=1+1"])
def test_an_arm_is_called_what_it_is_called(name: str, tmp_path: Path) -> None:
    """Neither mathematics, which may be wrong, nor a warning for want of a letter, nor a formula."""
    rows = [{"arm": name, "num_params": n, "learning_rate": 1e-3, "low": 9e-4, "high": 2e-3} for n in (1e7, 1e8)]
    figure = optima_figure(pd.DataFrame(rows))
    assert figure is not None
    assert figure.png.startswith(b"\x89PNG")
    write_page("", {}, [figure], tmp_path, name="page", digits=5)
    first = (tmp_path / "page" / "optima.csv").read_text().splitlines()[1]
    assert first.startswith("'=1+1," if name == "=1+1" else f"{name},")
