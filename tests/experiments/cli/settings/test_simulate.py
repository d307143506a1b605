"""``lrbend simulate``: against the theory, within its own standard error."""

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
