"""A study is read back as it was written, and one that cannot be meant is refused with one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.files import BadInput
from experiments.runs.configs import config_from_dict, config_to_dict
from experiments.sweeps.study import Adaptive, Study, StudyCell, read_study
from tests.experiments.conftest import tiny_config
from tests.experiments.tiny_study import tiny_study
from theory import InvalidParameter


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(extra=1), "unknown key 'extra'"),
        (lambda d: d.pop("decision"), "missing key 'decision'"),
        (lambda d: d.update(question=" "), "question"),
        (lambda d: d.update(fixed="batch_size"), "fixed: str is not a list"),
        (lambda d: d.update(name="../up"), "name"),
        (lambda d: d.update(cells=[]), "cells"),
        (lambda d: d["cells"][0].update(learning_rates=[1e-3, "2e-3"]), "cells.0.learning_rates.1"),
        (lambda d: d["cells"][0].update(learning_rates=[1e-3, 1e-3]), "without repetitions"),
        (lambda d: d["cells"][0].update(learning_rates=[1e-3, 10.0]), "weight_decay"),
        (lambda d: d["cells"][0].update(seeds=[-1]), "seeds"),
        (lambda d: d["cells"][0].update(label="a/b"), "label"),
        (lambda d: d["cells"][0].update(arm=" "), "arm"),
        (lambda d: d["cells"][0]["config"]["model"].update(depth=3), "cells.0.config.model: unknown key 'depth'"),
        (lambda d: d["cells"][0].update(adaptive={"interval": 0.3, "max_runs": 9}), "at least three"),
        (lambda d: d["cells"].append(d["cells"][0]), "the same run"),
    ],
)
def test_what_cannot_be_meant_is_one_line(change: Any, named: str, tmp_path: Path) -> None:
    data = config_to_dict(tiny_study(tmp_path))
    change(data)
    file = tmp_path / "study.json"
    file.write_text(json.dumps(data))
    with pytest.raises(BadInput) as caught:
        read_study(file)
    assert named in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cell_that_starts_at_equilibrium_does_so_at_each_of_its_rates() -> None:
    """sqrt(eta / 2 lam) for small eta lam: twice the rate, sqrt(2) times the RMS."""
    cell = StudyCell(label="a", config=tiny_config(), learning_rates=(1e-4, 2e-4), start="equilibrium")
    small, large = (cell.run(rate, 0).block_rms or 0.0 for rate in cell.learning_rates)
    assert small == pytest.approx((1e-4 / 4) ** 0.5, rel=0.01)
    assert large / small == pytest.approx(2**0.5, rel=0.01)


def test_two_adaptive_cells_that_would_meet_are_refused(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, num_rates=3, adaptive=Adaptive(interval=0.3, max_runs=12))
    (cell,) = study.cells
    other = config_to_dict(cell) | {"label": "other", "learning_rates": [0.1, 0.2, 0.3]}
    data = config_to_dict(study)
    data["cells"].append(other)
    with pytest.raises(BadInput, match="the same run"):
        config_from_dict(Study, data, where="here")


def test_numbers_out_of_range_are_refused() -> None:
    for wrong in ({"interval": 0.0}, {"max_runs": 0}, {"factor": 1.0}, {"lowest": 2.0}):
        with pytest.raises(InvalidParameter):
            Adaptive(**({"interval": 0.3, "max_runs": 10} | wrong))  # type: ignore[arg-type]
