"""Advice over one's own runs: the sentence follows from what was measured, and names the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.agreement.advice import advise
from experiments.agreement.setting_runs import group_runs
from experiments.runs.run_files import Run
from tests.experiments.conftest import ADAMW, tiny_config
from theory import Constant, Cosine, Schedule, predict_trajectory


def said(
    run: Run, *, rms: float = 1.0, direction: float = 1.0, schedule: Schedule | None = None, seeds: int = 2
) -> list[str]:
    """On runs that are the theory itself, but for a factor on their norms and on the size of Adam's direction."""
    schedule = schedule or Constant(num_steps=400, warmup_steps=5)
    theory = predict_trajectory(ADAMW, schedule, initial_rms=0.25, record_every=5)
    made = replace(theory, weight_rms=theory.weight_rms * rms, update_rms=theory.update_rms * direction)
    runs = [
        replace(run, path=Path(f"run-{seed}"), config=tiny_config(seed=seed, schedule=schedule), trajectory=made)
        for seed in range(seeds)
    ]
    found = advise(group_runs(runs))
    assert all("AdamW lr=0.03 wd=2" in case for item in found for case in item.cases)
    return [item.text for item in found]


@pytest.mark.parametrize(
    ("rms", "direction", "words"),
    [
        (1.0, 1.0, "Angle and norm are those of white noise"),
        (0.88, 0.88, "the measured size U of Adam's direction"),
        (0.88, 1.0, "Even with the measured U the norm is off"),
    ],
)
def test_the_part_of_the_theory_that_fails_is_named(
    study: tuple[Path, list[Run]], rms: float, direction: float, words: str
) -> None:
    (text,) = said(study[1][0], rms=rms, direction=direction)
    assert words in text


def test_a_run_that_does_not_settle_is_told_why(study: tuple[Path, list[Run]]) -> None:
    run = study[1][0]
    assert "Too short to settle" in said(run, schedule=Constant(num_steps=20, warmup_steps=5))[0]
    assert "rate falls before" in said(run, schedule=Cosine(num_steps=400))[0]
    assert "One seed" in said(run, seeds=1)[-1]
