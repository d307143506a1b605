"""What a process of ``torchrun`` does with its job, without torchrun."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.files import BadInput
from experiments.runs.produce import Job
from experiments.runs.run_directory import is_finished
from experiments.runs.torchrun import job_from_json, job_to_json, main, torchrun_command
from tests.experiments.tiny_study import tiny_study


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (cell,) = tiny_study(tmp_path / "s").cells
    return cell.job(tmp_path / "out", cell.learning_rates[0], cell.seeds[0])


def test_the_command_trains_the_run(job: Job, tmp_path: Path) -> None:
    """Its last part, without torchrun and in this process."""
    file = tmp_path / "job.json"
    command = torchrun_command(job, 2, file)
    assert "--nproc-per-node=2" in command
    assert job_from_json(file) == job
    switch, module, *arguments = command[-3:]
    assert (switch, module) == ("-m", main.__module__)
    assert main(arguments) == 0
    assert is_finished(job.path)


def test_a_file_that_is_no_job_is_refused(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.json"
    for text in ("[]", "{}", job_to_json(job).replace("adamw", "none")):
        file.write_text(text)
        with pytest.raises(BadInput):
            job_from_json(file)
        assert main([str(file)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"torchrun: {file}: ")
        assert said.err.count("\n") == 1
    assert main([]) == 2
