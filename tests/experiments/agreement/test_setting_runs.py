"""Seeds of one setting are one group, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.agreement.setting_runs import group_runs
from experiments.runs.run_files import Run
from gpt.config import TrainConfig
from theory import Cosine


def test_seeds_are_pooled_and_nothing_else(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    settings = group_runs(runs)
    assert sorted(len(setting.runs) for setting in settings) == [1, 1, 2]
    (pooled,) = (setting for setting in settings if len(setting.runs) == 2)
    assert pooled.title == "AdamW lr=0.03 wd=2, scale-invariant"
    assert {run.config.seed for run in pooled.runs} == {0, 1}
    assert set(pooled.measured["run"]) == {run.path.name for run in pooled.runs}


def test_settings_with_one_name_say_more(study: tuple[Path, list[Run]]) -> None:
    """First the length and the schedule; where these are the same too, the hash of the config."""
    run = study[1][0]
    config = run.config
    assert isinstance(config, TrainConfig)
    shorter = replace(run, config=replace(config, schedule=Cosine(num_steps=60)))
    larger = replace(run, config=replace(config, batch_size=4))
    assert [setting.title for setting in group_runs([run])] == ["AdamW lr=0.03 wd=2, scale-invariant"]
    long = "AdamW lr=0.03 wd=2, scale-invariant, width 16, "
    found = [setting.title for setting in group_runs([run, shorter])]
    assert found == [long + "constant, 60 steps", long + "cosine, 60 steps"]
    found = [setting.title for setting in group_runs([run, larger, shorter])]
    assert found[2] == long + "cosine, 60 steps"
    assert len(set(found)) == 3
    assert all(title.startswith(long + "constant, 60 steps [") for title in found[:2])
    assert [setting.title for setting in group_runs([run, replace(run, config=replace(config, device="auto"))])] == [
        "AdamW lr=0.03 wd=2, scale-invariant"
    ]


def test_a_simulation_belongs_to_the_setting_whose_start_it_has(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    scale_invariant, adamh, gpt2 = group_runs(runs)
    assert scale_invariant.simulation in runs
    assert adamh.simulation in runs
    assert adamh.simulation is not scale_invariant.simulation
    assert gpt2.simulation is None
    assert group_runs(runs[:4])[0].simulation is None
