"""What the sweep does with Slurm's answers; Slurm itself is in tests/cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.runs import slurm
from experiments.runs.produce import Job
from experiments.runs.slurm import MOST_ATTEMPTS, SlurmOptions, SlurmPool, SlurmRun
from experiments.sweeps.sweep import states
from tests.experiments.sweeps.test_sweep import pretend
from tests.experiments.tiny_study import tiny_study
from theory import InvalidParameter


class Cluster:
    """Stands for Slurm: jobs run when it is looked at, if they are allowed to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.submitted: list[str] = []
        self.waiting: dict[str, Job] = {}
        self.killed = 0  # of the next jobs, how many end without a result
        self.silent = 0  # looks at which squeue does not answer
        monkeypatch.setattr(slurm, "active_jobs", self.look)
        monkeypatch.setattr(SlurmPool, "_submit", lambda _, jobs: self.submit(jobs))
        monkeypatch.setattr(slurm, "SHORTEST_PAUSE", 0.001)
        monkeypatch.setattr(slurm, "LONGEST_PAUSE", 0.002)

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        numbers = [f"{len(self.submitted) + place}_0" for place in range(len(jobs))]
        self.submitted += [job.path.name for job in jobs]
        self.waiting |= dict(zip(numbers, jobs, strict=True))
        return numbers

    def look(self) -> set[str] | None:
        if self.silent:
            self.silent -= 1
            return None
        active = set(self.waiting)
        for job in self.waiting.values():
            if self.killed:
                self.killed -= 1
            else:
                pretend(job)
        self.waiting = {}
        return active


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (state,) = states(tiny_study(tmp_path / "s"), tmp_path / "out")
    return list(state.jobs)


def test_every_run_is_submitted_once(cluster: Cluster, jobs: list[Job], tmp_path: Path) -> None:
    cluster.silent = 3
    assert SlurmPool(tmp_path / "out", "tiny", SlurmOptions()).run(jobs) == {}
    assert sorted(cluster.submitted) == sorted(job.path.name for job in jobs)


def test_a_job_that_is_gone_is_submitted_again_but_not_for_ever(
    cluster: Cluster, jobs: list[Job], tmp_path: Path
) -> None:
    cluster.killed = 2
    assert SlurmPool(tmp_path / "out", "tiny", SlurmOptions()).run(jobs) == {}
    assert len(cluster.submitted) == len(jobs) + 2
    cluster.killed, cluster.submitted = 10**6, []
    faults = SlurmPool(tmp_path / "other", "tiny", SlurmOptions()).run(
        [Job(tmp_path / "other", job.label, job.config) for job in jobs[:1]]
    )
    assert len(cluster.submitted) == MOST_ATTEMPTS
    assert "without progress" in next(iter(faults.values()))


def test_a_sweep_that_starts_again_finds_the_jobs_of_the_one_before(
    cluster: Cluster, jobs: list[Job], tmp_path: Path
) -> None:
    folder = tmp_path / "out" / ".slurm"
    folder.mkdir(parents=True)
    (folder / "jobs.json").write_text(json.dumps({jobs[0].path.name: "77_3"}))
    cluster.waiting = {"77_3": jobs[0]}
    assert SlurmPool(tmp_path / "out", "tiny", SlurmOptions()).run(jobs) == {}
    assert sorted(cluster.submitted) == sorted(job.path.name for job in jobs[1:])


def test_a_fault_of_the_run_itself_is_not_tried_again(jobs: list[Job], tmp_path: Path, cluster: Cluster) -> None:
    (tmp_path / "s" / "text.txt").unlink()
    (tmp_path / "out" / ".slurm").mkdir(parents=True)

    def fail(job: Job) -> None:
        SlurmRun(job, 0, 1, tmp_path / "out" / ".slurm" / f"{job.path.name}.fault")()

    cluster.submit = lambda chosen: [fail(job) or "1" for job in chosen]  # type: ignore[method-assign, func-returns-value]
    faults = SlurmPool(tmp_path / "out", "tiny", SlurmOptions()).run(jobs)
    assert len(faults) == len(jobs)
    assert all("text.txt" in line for line in faults.values())


def test_numbers_out_of_range_are_refused() -> None:
    for wrong in ({"gpus": -1}, {"cpus": 0}, {"time_minutes": 0}, {"memory_gb": 0}, {"max_parallel": 0}):
        with pytest.raises(InvalidParameter):
            SlurmOptions(**wrong)  # type: ignore[arg-type]
