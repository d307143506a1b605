"""The study of conversions: what its arms are, and its decision rule, on a run of a few steps."""

from pathlib import Path

import numpy as np
import pytest

from experiments.runs.local import run_jobs
from experiments.runs.produce import Job
from experiments.runs.run_files import load_run
from experiments.studies import conversion
from theory import AdamH


def test_the_arms_of_a_short_run(tmp_path: Path) -> None:
    config = conversion.original(0, num_steps=12, warmup_steps=2)
    job = Job(tmp_path, "adamw", config)
    run_jobs([job], num_workers=1)
    recorded = load_run(job.path)
    arms = conversion.arms_of(config, recorded)
    assert tuple(arms) == conversion.ARMS
    assert arms["twin"].optimizer == config.optimizer
    assert arms["unconverted"].matrix_schedule is None
    for name in ("converted", "measured"):
        assert isinstance(arms[name].optimizer, AdamH)
        assert arms[name].schedule == config.schedule  # of all that is no block matrix
    measured = Job(tmp_path, "measured", arms["measured"])
    run_jobs([measured], num_workers=1)
    # Real directions are not white: the rates are from the angles, the angles made by them are near these.
    assert conversion.angle_ratio(load_run(measured.path), recorded) == pytest.approx(1, abs=0.15)


def test_the_decision_rule() -> None:
    rng = np.random.default_rng(0)
    losses = 2 + 0.01 * rng.normal(size=5)
    near, far = rng.normal(size=(2, 5)) * 1e-3
    rows = [
        {
            "setting": "fast",
            "adamw": a,
            "twin": a + n,
            "converted": a + n,
            "measured": a + 0.004 + 4 * f,
            "unconverted": a + 0.1 + f,
        }
        | {f"{arm}_angle": 1.0 for arm in conversion.ARMS}
        for a, n, f in zip(losses, near, far, strict=True)
    ]
    table = {row["arm"]: row for row in conversion.answers_of(rows)}
    assert table["converted"]["seed_noise"] == pytest.approx(losses.std(ddof=1) / 5**0.5)
    assert table["converted"]["rerun_noise"] == pytest.approx(np.sqrt(np.mean(near**2)))
    assert [table[arm]["verdict"] for arm in conversion.ARMS] == ["agrees", "agrees", "agrees", "differs"]
    assert conversion.verdict_of(0.03, 0.011, 0.01) == "not-resolved"
