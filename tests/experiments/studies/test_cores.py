"""Runs made each by itself, on cores that are not there: who is told of what, what is asked again, when it ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.files import BadInput
from experiments.studies.ensembles import cores, tasks
from experiments.studies.moved_optimum import runs as moved
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from tests.experiments.studies.pretended import pretended


class Result:
    """Of a task that ends while its pool looks for the ``looks``-th time whether it has."""

    def __init__(self, work: Callable[[], None], looks: float) -> None:
        self.work, self.left = work, looks

    def ready(self) -> bool:
        self.left -= 1
        return self.left <= 0

    def get(self) -> None:
        assert self.left <= 0, "waited for a task that has not ended"
        self.work()


class Cores:
    """In place of `multiprocessing` and `time`: the n-th task asked for ends at the n-th of ``looks``; waiting takes
    its time off a clock."""

    def __init__(self) -> None:
        self.looks: Iterator[float] = itertools.repeat(1.0)
        self.asked: list[tasks.Task] = []
        self.seconds, self.num_cores, self.is_open = 0.0, 0, False

    def get_context(self, method: str) -> Cores:
        assert method == "spawn"  # torch has threads, which a fork would lose
        return self

    def Pool(self, num_cores: int) -> Cores:
        self.num_cores = num_cores
        return self

    def __enter__(self) -> Cores:
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

    def apply_async(self, function: Callable[[tasks.Task], None], args: tuple[tasks.Task]) -> Result:
        assert self.is_open
        self.asked += args
        return Result(lambda: function(*args), next(self.looks))

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        assert self.seconds < 120, "nothing ends it"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Cores:
    found = Cores()
    for name in ("multiprocessing", "time"):
        monkeypatch.setattr(cores, name, found)
    monkeypatch.setattr(tasks, "train", pretended)
    return found


@pytest.fixture
def wanted(tmp_path: Path) -> Callable[[], list[tasks.Task]]:
    """Three rates of one cell, and after them two more rates one by one: its losses fall with the rate."""
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    place.make_folders()

    def now() -> list[tasks.Task]:
        rates = [0.01, 0.02, 0.04]
        rates += [rate for rate in (0.08, 0.16) if place.file_of(config(rate / 2)).exists()]
        return moved.tasks_of(place, [config(rate) for rate in rates])

    def config(rate: float) -> TrainConfig:
        return moved.config_of(moved.ADAMH, 40, rate, 0)

    return now


@pytest.mark.parametrize("looks", [1, 2, 3, 4])
def test_every_file_is_told_once_whenever_it_ends(
    looks: int, machine: Cores, wanted: Callable[[], list[tasks.Task]]
) -> None:
    """Also one that ends between two looks of the same round, beside one that has ended before."""
    first = wanted()
    machine.looks = itertools.cycle([1.0, float(looks)])
    told: list[tuple[str, Path]] = []
    cores.on_cores({"study": wanted}, 2, done=lambda *what: told.append(what))
    assert machine.num_cores == 2
    assert not machine.is_open
    assert [task.file for task in machine.asked[: len(first)]] == [task.file for task in first]
    assert len(told) == len(set(told)) == len(machine.asked) == len(first) + 2
    assert all(study == "study" and file.exists() for study, file in told)
    assert wanted() == []


def test_what_is_not_finished_at_the_deadline_is_lost(machine: Cores, wanted: Callable[[], list[tasks.Task]]) -> None:
    never = float("inf")
    machine.looks = itertools.chain([1.0], itertools.repeat(never))
    told: list[Path] = []
    cores.on_cores({"study": wanted, "later": wanted}, 2, seconds=60, done=lambda _, file: told.append(file))
    assert told == [machine.asked[0].file]
    assert 60 < machine.seconds <= 60 + 2 * cores.LOOK_EVERY
    assert not machine.is_open
    assert machine.asked[0].file not in {task.file for task in wanted()}


def test_what_a_process_raises_ends_all(
    machine: Cores, wanted: Callable[[], list[tasks.Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(task: tasks.Task, rows: object) -> None:
        raise BadInput(f"{task.file.name}: no space")

    monkeypatch.setattr(tasks.Task, "keep", full)
    with pytest.raises(BadInput, match="no space"):
        cores.on_cores({"study": wanted}, 2, done=lambda *_: pytest.fail("told of a file that is not there"))
    assert not machine.is_open
