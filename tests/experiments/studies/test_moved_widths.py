"""The shift at other widths: which runs come next, which count, what is made of them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.runs.configs import config_hash
from experiments.studies.ensembles import tasks
from experiments.studies.moved_optimum import widths
from experiments.studies.moved_optimum.runs import ARMS, SEEDS, config_of, missing_of
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig, cpu_model
from gpt.train import TrainResult
from tests.experiments.studies.pretended import pretended

DOCS = Path(__file__).parents[3] / "docs"
PREDICTIONS = pd.read_csv(DOCS / "moved-optimum" / "predictions.csv")
CENTRES = widths.centres_of(PREDICTIONS)


def place_with_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, best: Callable[[TrainConfig], float]
) -> tuple[Workplace, list[TrainConfig]]:
    """Whose runs have their lowest loss at the ``best`` rate, and those that were made."""
    made: list[TrainConfig] = []

    def train(config: TrainConfig, recording: None) -> TrainResult:
        made.append(config)
        loss = 2 + np.log(config.optimizer.learning_rate / best(config)) ** 2 + 1e-3 * config.seed
        return replace(pretended(config, recording), final_loss=float(loss))

    monkeypatch.setattr(tasks, "train", train)
    place = Workplace(runs=folder / "runs", results=folder / "results")
    place.make_folders()
    return place, made


def centre_or_far(config: TrainConfig) -> float:
    """Far beyond the grid for one cell: from 14.4 at width 64."""
    start = "start 1.6" if config.block_rms == 1.6 else "start 14.4"
    return CENTRES[start] * (40 if start == "start 14.4" and config.model.d_model == 64 else 1)


@pytest.fixture(scope="module")
def all_made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, list[TrainConfig]]:
    """Every run of the study, and their order."""
    with pytest.MonkeyPatch.context() as patch:
        place, made = place_with_runs(tmp_path_factory.mktemp("widths"), patch, centre_or_far)
        widths.make_widths(place, PREDICTIONS)
    return place, made


@pytest.mark.long
def test_a_width_after_another_a_seed_after_another_and_added_rates_last(
    all_made: tuple[Workplace, list[TrainConfig]],
) -> None:
    place, made = all_made
    order = [(config.model.d_model, config.seed) for config in made]
    planned = [(width, seed) for width in (16, 64) for seed in SEEDS for _ in range(10)]
    assert order == planned + [(64, seed) for seed in SEEDS] * 2
    assert {config.block_rms for config in made[:10]} == {1.6, 14.4}
    assert {(config.schedule.num_steps, config.optimizer.weight_decay) for config in made} == {(3200, 0.1)}  # type: ignore[union-attr]
    assert len(set(made)) == len(made)
    rows = widths.rows_of_widths(place, PREDICTIONS)
    assert len(rows) == len(made)
    assert not widths.wanted(place, PREDICTIONS)


def test_only_whole_seeds_and_rates_count(all_made: tuple[Workplace, list[TrainConfig]], tmp_path: Path) -> None:
    whole, made = all_made
    place = replace(whole, runs=Path(shutil.copytree(whole.runs, tmp_path / "runs")))

    def left(lost: TrainConfig) -> pd.DataFrame:
        text = place.file_of(lost).read_text()
        place.file_of(lost).unlink()
        rows = widths.rows_of_widths(place, PREDICTIONS).query("width == 64")
        place.file_of(lost).write_text(text)
        return rows

    added, planned = made[-1], made[59]
    assert (added.seed, planned.seed) == (SEEDS[-1], SEEDS[-1])
    without = left(added)
    assert len(without) == 33
    assert added.optimizer.learning_rate not in set(without["learning_rate"])
    assert set(left(planned)["seed"]) == set(SEEDS[:-1])
    for config in made[30:40]:
        place.file_of(config).unlink()
    assert missing_of(place, widths.missing_at(place, PREDICTIONS, 64)) == made[30:40]


@pytest.mark.parametrize(("growth", "verdict"), [(0.9, "grows"), (0.0, "not shown")])
def test_the_shift_at_each_width_and_what_it_is_less_others(growth: float, verdict: str) -> None:
    rng, shift = np.random.default_rng(3), {16: 0.3, 64: 0.3 + growth}
    rows = [
        {"width": width, "arm": arm.name, "num_steps": 3200, "num_params": 100 * width, "num_tokens": 3.3e6}
        | {"learning_rate": rate, "seed": seed}
        | {"loss": 2 + 0.1 * np.log(rate / best) ** 2 + 0.003 * rng.normal() - 0.005 * width}
        for width in (16, 64)
        for arm in widths.arms_of(width)
        for best in [0.03 * np.exp(shift[width] * (arm.initial_rms == 14.4))]
        for rate in 0.035 * 2.0 ** np.arange(-2, 3)
        for seed in SEEDS
    ]
    runs = pd.DataFrame(rows)
    optima = widths.optima_at(runs, PREDICTIONS)
    assert optima[["width", "arm"]].to_numpy().tolist() == [[w, a] for w in (16, 64) for a in reversed(CENTRES)]
    at_32 = {"value": 0.3, "error": 0.05, "law": 0.45, "mean_angle": 0.42}
    found = widths.answers_at(runs, optima, PREDICTIONS, at_32).set_index("quantity")
    values = found["value"].to_dict()
    for width, value in shift.items():
        for name in (f"shift, width {width}", f"alone, width {width}"):
            assert abs(values[name] - value) < 0.1
        assert values[f"width {width} less 32"] == pytest.approx(values[f"shift, width {width}"] - 0.3)
    assert found.loc["shift, width 16", "law"] == pytest.approx(np.log(0.044737 / 0.028594), abs=1e-3)
    assert found.loc["width 64 less 16", "verdict"] == verdict
    assert found.loc["width 64 less 16", "law"] == 0
    assert (found.loc["width 64 less 32", "verdict"] == "differs") == (growth > 0)
    narrow = widths.answers_at(runs[runs["width"] == 16], optima[optima["width"] == 16], PREDICTIONS, at_32)
    assert list(narrow["quantity"]) == ["shift, width 16", "width 16 less 32"]


def test_a_width_is_all_that_changes() -> None:
    for width in widths.WIDTHS:
        for arm in widths.arms_of(width):
            own = next(one for one in ARMS if one.name == arm.name)
            config = config_of(arm, 3200, 0.02, 1)
            assert config.model == cpu_model(width, "scale-invariant")
            same = config_of(own, 3200, 0.02, 1)
            assert replace(config, model=same.model) == same


def test_rows_of_other_widths_are_their_runs_and_not_among_those_of_the_study() -> None:
    table = pd.read_csv(DOCS / "moved-optimum" / "width-runs.csv")
    arms = {(arm.width, arm.name): arm for width in widths.WIDTHS for arm in widths.arms_of(width)}
    for row in table.to_dict("records"):
        arm = arms[row["width"], row["arm"]]
        assert config_hash(config_of(arm, row["num_steps"], row["learning_rate"], row["seed"])) == row["run"]
    assert not set(table["run"]) & set(pd.read_csv(DOCS / "moved-optimum" / "runs.csv")["run"])
