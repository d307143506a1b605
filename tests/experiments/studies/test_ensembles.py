"""Runs made many at once are those of the normal path: what is wanted, how it is grouped, what a kill leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.studies.bend import runs as bend
from experiments.studies.classic import runs as classic
from experiments.studies.ensembles import command, many, tasks
from experiments.studies.ensembles.wanted import wishes_of
from experiments.studies.moved_optimum import runs as moved
from experiments.studies.small_starts import CONTROLS
from experiments.studies.small_starts import run as small_starts
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from gpt.train import TrainResult
from tests.experiments.studies.pretended import Device, pretended

LACKING = {"xarray", "h5netcdf", "h5py", "submitit", "cattrs", "attr", "numba", "adjustText", "jinja2"}
Make = Callable[[Workplace], object]
Wanted = Callable[[Workplace], Callable[[], list[tasks.Task]]]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Device:
    device, module = Device(), ModuleType("gpt.ensemble")
    vars(module).update(same_shape=device.same_shape, train_ensemble=device.train_ensemble)
    monkeypatch.setitem(sys.modules, "gpt.ensemble", module)
    return device


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One to four cells of every study, a seed or two, three rates or four."""
    for module in (moved, classic, small_starts):
        monkeypatch.setattr(module, "SEEDS", (0,))
        monkeypatch.setattr(module, "grid", lambda centre: (centre / 2, centre, 2 * centre))
    monkeypatch.setattr(moved, "NUM_RATES", 3)
    monkeypatch.setattr(bend, "WIDTHS", (bend.LAST_WIDTH,))
    monkeypatch.setattr(bend, "LAST_SEEDS", bend.LAST_SEEDS[:1])
    monkeypatch.setattr(bend, "LATE_SEEDS", bend.LATE_SEEDS[:1])
    monkeypatch.setattr(bend, "LENGTHS", bend.LENGTHS[:1])
    monkeypatch.setattr(bend, "ARMS", bend.ARMS[:1])
    monkeypatch.setattr(classic, "LENGTHS", (20, 40))
    monkeypatch.setattr(small_starts, "CONTROLS", CONTROLS[:1])
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


CELLS = pd.DataFrame(
    [{"arm": name, "num_steps": 6400, "centre": 0.02} for name in ("start 1.6", "adamh")]
    + [{"arm": "adamh", "num_steps": 12800, "centre": 0.01}]
)
CENTRES = {(arm.name, steps): 0.02 for arm in bend.ARMS for steps in bend.LENGTHS}
GROUPS = classic.GROUPS[:2]
STARTS = pd.DataFrame({"centre": [0.03, 0.01]})


def moved_made(place: Workplace) -> object:
    return moved.make_cells(place, CELLS, moved.ARMS, (6400, 12800), [])


def small_starts_made(place: Workplace) -> object:
    cells = small_starts.cells_of(STARTS)
    return [small_starts._made(place, arm, configs, False) for arm, configs in cells]


PATHS: dict[str, tuple[Make, Wanted]] = {
    "moved-optimum": (
        moved_made,
        lambda place: lambda: moved.wanted_of_cells(place, CELLS, moved.ARMS, (6400, 12800)),
    ),
    "bend": (
        lambda place: list(bend.make_runs(place, CENTRES)),
        lambda place: (lambda known: lambda: bend.wanted(place, CENTRES, known))({}),
    ),
    "classic": (
        lambda place: list(classic.make_runs(place, (20,), GROUPS, (20, 40))),
        lambda place: lambda: classic.wanted(place, (20,), GROUPS),
    ),
    "small-starts": (small_starts_made, lambda place: lambda: small_starts.wanted(place, STARTS)),
}


def place_in(folder: Path) -> Workplace:
    place = Workplace(runs=folder / "runs", results=folder / "results")
    place.make_folders()
    return place


def kept(place: Workplace) -> dict[str, pd.DataFrame]:
    tables = {file.stem: pd.read_csv(file) for file in place.runs.glob("*.csv")}
    return {name: table.drop(columns=["seconds", "device"]) for name, table in tables.items()}


@pytest.mark.long
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("study", PATHS)
def test_ensembles_make_the_rows_of_the_normal_path(
    study: str, tmp_path: Path, gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them and no other, wider grids and steered runs included; and then nothing is wanted."""
    make, wanted = PATHS[study]
    alone, together = place_in(tmp_path / "alone"), place_in(tmp_path / "together")
    order: list[TrainConfig] = []
    monkeypatch.setattr(tasks, "train", lambda config, recording: order.append(config) or pretended(config, recording))
    make(alone)
    first = wanted(together)()
    assert order[0] == next(first[0].make(first[0].config))[0].config
    lines: list[str] = []
    many.in_ensembles({study: wanted(together)}, done=lambda ensemble: lines.append(str(ensemble)))
    assert ["steered" in line for line in lines] == [ensemble[0].steering is not None for ensemble in gpu.ensembles]
    one, other = kept(alone), kept(together)
    assert one.keys() == other.keys()
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name])
    assert Counter(order) == Counter(config for ensemble in gpu.ensembles for config in ensemble)
    assert len(first) < len(one) or study == "small-starts"  # it was widened
    assert wanted(together)() == []
    monkeypatch.setattr(tasks, "train", lambda *_, **__: pytest.fail("a run was made again"))
    make(together)


STOP = "the ensembles are made"
PATCHES: dict[str, dict[str, object]] = {  # in place of what reads and predicts before the runs
    "moved_optimum": {"begin": lambda *_: (CELLS, None)},
    "schedule_exponent": {"begin": lambda *_: (CELLS[1:2], None)},
    "small_starts": {"begin": lambda *_: STARTS, "read_laws": lambda _: {}, "read_rows": lambda *_, **__: None},
    "classic": {"predictions_of": lambda _: STARTS, "read_law": lambda _: None},
    "bend": {"begin": lambda *_: (None, STARTS), "centres_of": lambda _: CENTRES, "read_rows": lambda *_, **__: None},
}


@pytest.mark.long
@pytest.mark.usefixtures("small", "gpu")
@pytest.mark.parametrize("study", PATCHES)
def test_the_option_of_a_study_makes_what_it_wants(study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def caught(wishes: many.Wishes, **_: object) -> None:
        many.in_ensembles(wishes, done=lambda ensemble: made.append(ensemble))
        raise RuntimeError(STOP)

    module = import_module(f"experiments.studies.{study}.run")
    made: list[many.Ensemble] = []
    for name, stand_in in (PATCHES[study] | {"in_ensembles": caught}).items():
        monkeypatch.setattr(module, name, stand_in)
    place = place_in(tmp_path)
    with pytest.raises(RuntimeError, match=STOP):
        module.run_study(place, ensembles=True, **({"lengths": classic.LENGTHS} if study == "classic" else {}))
    assert {request.study for ensemble in made for request in ensemble.requests} == {study.replace("_", "-")}
    assert sorted(file for ensemble in made for file in ensemble.files) == sorted(place.runs.glob("*.csv"))


def test_runs_of_a_table_are_made_again_whatever_the_results_say(tmp_path: Path) -> None:
    """Those of a core, of which five are compared with a GPU's; the others stand."""
    docs = Path(__file__).parents[3] / "docs"
    rows = pd.read_csv(docs / "small-starts" / "runs.csv")
    rows[:5].to_csv(tmp_path / "again.csv", index=False)
    plain, again = (
        wishes_of(["small-starts"], tmp_path / name, docs, table)["small-starts"]()
        for name, table in (("plain", None), ("again", tmp_path / "again.csv"))
    )
    more = {task.file.stem for task in again} - {task.file.stem for task in plain}
    assert more == set(rows["run"][:5])
    assert len(again) == len(plain) + 5


@pytest.mark.slow  # a process that imports torch and predicts all optima
def test_the_command_needs_little_more_than_torch(tmp_path: Path) -> None:
    """Nothing that a borrowed machine lacks is imported on the way; every study is in the plan."""
    code = (
        "import sys\n"
        "class Lacking:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {LACKING!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Lacking())\n"
        "from experiments.studies.ensembles.command import main\n"
        f"sys.exit(main(['--runs', {str(tmp_path)!r}, '--plan']))\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.splitlines()[-1].endswith(command.LATER)


@pytest.mark.usefixtures("small")
def test_the_rows_say_where_they_were_computed(tmp_path: Path, gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_in(tmp_path)
    monkeypatch.setattr(tasks, "train", pretended)
    moved.make_cells(place, CELLS[:1], moved.ARMS, (6400,), [])
    early = pd.read_csv(place.results / "runs.csv").drop(columns="device")  # as tables were before
    other = place_in(tmp_path / "other")
    moved.plant(other, early)
    many.in_ensembles({"moved-optimum": PATHS["moved-optimum"][1](other)}, done=lambda ensemble: None)
    moved_made(other)
    table = pd.read_csv(other.results / "runs.csv")
    assert list(table.columns) == [*moved.COLUMNS, "device"]
    where = table["device"].to_numpy(str)
    assert set(where[: len(early)]) == {"cpu"}
    assert set(where[len(early) :]) == {"NVIDIA H200"}


@pytest.fixture
def wishes(tmp_path: Path) -> Callable[[], many.Wishes]:
    """Two studies that share a cell."""
    places = {name: place_in(tmp_path / name) for name in ("one", "two")}

    def fresh() -> many.Wishes:
        return {
            "one": lambda: moved.wanted_of_cells(places["one"], CELLS[:2], moved.ARMS, (6400,)),
            "two": lambda: moved.wanted_of_cells(places["two"], CELLS[1:], moved.ARMS, (6400, 12800)),
        }

    return fresh


@pytest.mark.usefixtures("small")
def test_what_two_studies_want_is_trained_once(wishes: Callable[[], many.Wishes], gpu: Device) -> None:
    lines: list[str] = []
    many.in_ensembles(wishes(), most=4, done=lambda ensemble: lines.append(str(ensemble)))
    assert max(Counter(config for ensemble in gpu.ensembles for config in ensemble).values()) == 1
    assert gpu.sizes[:2] == [4, 2]
    assert max(gpu.sizes) <= 4
    assert lines[0].startswith("one + two: scale-invariant, width 32, 6400 steps, a record every 20: 4 runs, ")
    assert lines[0].endswith(" ms per step, NVIDIA H200")


@pytest.mark.usefixtures("small")
def test_a_kill_loses_the_ensemble_under_way_alone(wishes: Callable[[], many.Wishes], gpu: Device) -> None:
    gpu.killed_at = 2
    with pytest.raises(KeyboardInterrupt):
        many.in_ensembles(wishes(), most=4, done=lambda ensemble: None)
    gpu.killed_at = -1
    many.in_ensembles(wishes(), most=4, done=lambda ensemble: None)
    assert max(Counter(config for ensemble in gpu.ensembles for config in ensemble).values()) == 1
    assert all(wanted() == [] for wanted in wishes().values())


@pytest.mark.usefixtures("small")
def test_too_little_memory_halves_an_ensemble(wishes: Callable[[], many.Wishes], gpu: Device) -> None:
    gpu.memory = 2
    many.in_ensembles(wishes(), done=lambda ensemble: None)
    assert max(gpu.sizes) <= 2
    assert all(wanted() == [] for wanted in wishes().values())


@pytest.mark.usefixtures("small")
def test_no_ensemble_begins_that_would_not_end_in_time(
    wishes: Callable[[], many.Wishes], gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A millisecond a step: of 6,400 steps 6.4 s. One of 12,800 steps begins where 12.8 s are left, and not later."""
    clock = SimpleNamespace(now=0.0)
    train, lengths = gpu.train_ensemble, []

    def slow(configs: Sequence[TrainConfig], **options: object) -> list[TrainResult]:
        lengths.append(configs[0].schedule.num_steps)
        clock.now += 1e-3 * lengths[-1]
        return train(configs)

    monkeypatch.setattr(sys.modules["gpt.ensemble"], "train_ensemble", slow)
    monkeypatch.setattr(many, "time", SimpleNamespace(monotonic=lambda: clock.now, perf_counter=lambda: clock.now))
    many.in_ensembles(wishes(), seconds=31.9, done=lambda ensemble: None)
    assert lengths == [6400, 6400, 6400]  # 12.7 s are left
    assert planned_lengths(wishes()) == [12800]
    many.in_ensembles(wishes(), seconds=0, done=lambda ensemble: pytest.fail("an ensemble began"))


def planned_lengths(wishes: many.Wishes) -> list[int]:
    return [ensemble.config.schedule.num_steps for ensemble in many.planned(wishes)]


def test_a_larger_ensemble_or_a_wider_model_is_expected_to_take_longer(gpu: Device) -> None:
    def ensemble(num_models: int, width: int, seconds: float = np.nan) -> many.Ensemble:
        configs = [bend.config_of(bend.ARMS[0], width, 500, 0.01, seed) for seed in range(num_models)]
        begun = many._Begun("bend", SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
        return many.Ensemble([many.Request(begun, 0, tasks.Run(config), ()) for config in configs], seconds)

    pace = many.Pace()
    assert pace.seconds(ensemble(10, 8)) == 0
    pace.learn(ensemble(10, 8, seconds=2.0))
    assert pace.seconds(ensemble(10, 8)) == pace.seconds(ensemble(64, 8)) == pytest.approx(2)
    assert pace.seconds(ensemble(128, 8)) == pytest.approx(4)
    assert pace.seconds(ensemble(10, 32)) == pytest.approx(8)


@pytest.fixture
def commanded(wishes: Callable[[], many.Wishes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "wishes_of", lambda *_: wishes())
    monkeypatch.setattr(command, "load_text", lambda name: SimpleNamespace(fingerprint="f00d"))


@pytest.mark.usefixtures("small", "commanded")
def test_the_archive_holds_all_new_rows_after_every_ensemble(
    tmp_path: Path, gpu: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, flags = tmp_path / "rows.tar.gz", ["--runs", str(tmp_path), "--most", "4"]
    assert command.main([*flags, "--plan"]) == 0
    assert capsys.readouterr().out.endswith("3 ensembles, 9 runs, 25600 steps; " + command.LATER + "\n")
    gpu.killed_at = 2
    with pytest.raises(KeyboardInterrupt):
        command.main([*flags, "--out", str(archive)])
    made = {str(file.relative_to(tmp_path)) for file in tmp_path.glob("*/runs/*.csv")}
    with tarfile.open(archive) as tar:
        assert set(tar.getnames()) == made
        name = min(made)
        content = tar.extractfile(name)
        assert content is not None
        assert content.read() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("flags", [["--most", "0"], ["--minutes", "-1"], ["--minutes", "nan"], ["--docs", "nowhere"]])
def test_what_cannot_be_meant_is_said_on_one_line(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--study", "small-starts", "--runs", str(tmp_path), *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1
