"""``lrbend simulate``: against the theory, within its own standard error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import strict_json


def test_simulate_agrees_with_theory(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "simulate",
        "--learning-rate",
        "1e-2",
        "--weight-decay",
        "0.3",
        "--beta2",
        "0.999",
        "--num-steps",
        "300",
    ]
    assert main([*arguments, "--dim", "512", "--num-replicas", "64", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["outcome"] == "completed"
    assert float(str(result["max_abs_z"])) < 4.5
    assert float(str(result["max_relative_error"])) < 0.03
    assert float(str(result["coordinate_steps_per_second"])) > 0


@pytest.mark.long
@pytest.mark.parametrize(
    "variable", [{"NUMBA_NUM_THREADS": "0"}, {"NUMBA_NUM_THREADS": "x"}, {"NUMBA_THREADING_LAYER": "x"}]
)
def test_variables_that_leave_numba_no_threads(variable: dict[str, str]) -> None:
    command = "simulate --learning-rate 1e-2 --weight-decay 1 --num-steps 5 --dim 8 --num-replicas 2"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), **variable}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli.main", *command.split()],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert next(iter(variable)) in done.stderr
