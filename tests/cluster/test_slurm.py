"""A sweep on a Slurm cluster that the test starts: job arrays, a requeued job, a killed one, the same numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.runs.local import try_jobs
from experiments.sweeps.sweep import sweep as sweep_here
from tests.cluster import loopback
from tests.experiments.tiny_study import numbers, start_sweep, tiny_study, write_study

pytestmark = pytest.mark.slurm


def why_not() -> str | None:
    if missing := loopback.missing():
        return f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)"
    try:
        import submitit  # noqa: F401
    except ImportError:
        return "submitit is not installed"
    return None


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    if reason := why_not():
        pytest.skip(reason)
    try:
        with loopback.cluster(tmp_path / "cluster") as environment:
            yield environment
    except TimeoutError as error:
        pytest.skip(f"the cluster did not come up here: {error}")


def wait_for(condition: Callable[[], object], sweep: subprocess.Popen[bytes], timeout: float = 120) -> object:
    """What the condition returns once it is true; fails if the sweep ends before."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def test_requeued_and_killed_jobs_go_on_and_nothing_changes(cluster: dict[str, str], tmp_path: Path) -> None:
    # Long enough that a job found half-way is still running when Slurm has acted on it.
    study = tiny_study(tmp_path / "study", num_rates=1, num_seeds=3, num_steps=2000)
    whole, out = tmp_path / "whole", tmp_path / "out"
    flags = ("--checkpoint-every", "50", "--json")
    slurm = {name: cluster[name] for name in ("SLURM_CONF", "PATH")}

    def ask(*command: str) -> str:
        return subprocess.run(command, env=cluster, capture_output=True, text=True, timeout=30, check=True).stdout

    file = write_study(study, tmp_path / "study.json")
    sweep = start_sweep(file, out, "--executor", "slurm", *flags, environment=slurm)
    try:

        def half_done() -> list[tuple[str, str]]:
            """Running jobs, by run, of those with a checkpoint."""
            ledger = (out / ".slurm" / "jobs.json").read_text() if (out / ".slurm" / "jobs.json").exists() else "{}"
            jobs = {number: name for name, number in json.loads(ledger).items()}
            running = ask("squeue", "-h", "-r", "-t", "running", "-o", "%i").split()
            return [
                (number, jobs[number])
                for number in running
                if number in jobs and (out / f".{jobs[number]}.partial" / "checkpoint.pt").exists()
            ]

        (number, name), *_ = wait_for(half_done, sweep)  # type: ignore[misc]
        assert "_" in number, "not a job of an array"
        ask("scontrol", "requeue", number)
        requeued = out / name
        partial = out / f".{name}.partial"
        wait_for(lambda: "PENDING" in ask("squeue", "-h", "-r", "-j", number, "-o", "%T"), sweep)
        assert not requeued.exists(), "the run was over before its job was requeued"
        assert partial.is_dir()
        ask("scontrol", "update", f"jobid={number}", "StartTime=now")  # Slurm would wait for two minutes

        def another() -> list[tuple[str, str]]:
            return [found for found in half_done() if found[0] != number]

        (second, killed), *_ = wait_for(another, sweep)  # type: ignore[misc]
        raw = ask("squeue", "-h", "-j", second, "-o", "%A").split()[0]
        victims = _processes_of(raw)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        assert victims, "no process of the job was found"
        assert not (out / killed).exists(), "the run was over before its job was killed"
        output, error = sweep.communicate(timeout=600)
        assert sweep.returncode == 0, error.decode()[-2000:]
        assert b'"num_finished": 3' in output
    finally:
        if sweep.poll() is None:
            sweep.kill()
            sweep.communicate()
    log = (out / ".slurm" / f"{number}_0_log.err").read_text()
    assert "REQUEUE" in log
    ledger = json.loads((out / ".slurm" / "jobs.json").read_text())
    assert ledger[name] == number, "the requeued job was submitted again instead of going on"
    assert ledger[killed] != second, "the killed job was not submitted again"
    undisturbed = sweep_here(study, whole, lambda jobs: try_jobs(jobs, num_workers=1))
    assert not undisturbed.faults
    assert numbers(out) == numbers(whole)
    assert len(numbers(out)) == 3


def _processes_of(job: str) -> list[int]:
    """The Python processes of a Slurm job, by the variable that Slurm gives to them."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"SLURM_JOB_ID={job}".encode() in environment and b"_submit" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found
