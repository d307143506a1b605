"""Two sweeps, a training and a report of the same runs at once, and a reader: nobody sees half a file."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from experiments.files import BadInput
from experiments.runs.configs import config_text
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import verify_run
from experiments.sweeps.study import Study
from gpt.checkpoint import verify_checkpoint
from tests.experiments.tiny_study import ROOT, numbers, start_sweep, tiny_study, write_study
from theory import InvalidParameter

READS = 20_000  # of each of the two kinds of locks
# In every process: a list of what got its final name, and where it is asked for, locks that reach nobody else.
SITE = """
import fcntl, os
before = os.replace
def replace(source, target, **more):
    before(source, target, **more)
    if os.path.isdir(target):
        with open(os.environ["PUBLISHED"], "a") as file:
            file.write(f"{os.path.basename(target)}\\n")
os.replace = replace
if os.environ["LOCAL_LOCKS"] == "yes":
    fcntl.flock = lambda descriptor, operation: None
"""
REPORT = """
from experiments.cli.main import main
while True:
    code = main(["report", {out!r}])
    with open({codes!r}, "a") as file:
        file.write(f"{{code}}\\n")
"""


def whole(path: Path) -> bool:
    """Whether what one process reads of a file, while others write, is all of it. A missing file counts as nothing."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    assert content, path
    if path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".csv":
        text = content.decode()
        header, *rows = csv.reader(text.splitlines(), strict=True)
        assert text.endswith("\n"), path
        assert all(len(row) == len(header) for row in rows), path
    elif path.suffix == ".html":
        assert content.rstrip().endswith(b"</html>"), path
    elif path.suffix == ".nc":
        assert content.startswith(b"\x89HDF"), path
    elif path.suffix == ".pt":
        try:
            verify_checkpoint(path)
        except InvalidParameter as gone:
            if "No such file" not in str(gone):
                raise
    return True


def is_read(path: Path) -> bool:
    """What is in an unfinished run is its own business, its checkpoints aside."""
    if ".partial" in path.parent.name:
        return path.name in ("checkpoint.pt", "checkpoint.previous.pt")
    return path.suffix in (".json", ".csv", ".html", ".nc", ".pt") and not path.name.startswith(".")


def read_on(out: Path, processes: list[subprocess.Popen[bytes]], rng: random.Random) -> Counter[str]:
    """Read what there is until enough is read and all have ended; counts by the end of the name."""
    seen = Counter[str]()
    deadline = time.monotonic() + 1500
    while seen.total() < READS or any(process.poll() is None for process in processes[:3]):
        assert time.monotonic() < deadline, seen
        files = [Path(folder, name) for folder, _, names in os.walk(out) for name in names]
        chosen = [path for path in files if is_read(path)]
        for path in rng.sample(chosen, min(len(chosen), 200)):
            seen[path.suffix] += whole(path)
        time.sleep(0.005)
    return seen


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("study")
    one = tiny_study(folder, num_rates=4, num_seeds=2, num_steps=60)
    return one, write_study(one, folder / "study.json")


@pytest.mark.slow
@pytest.mark.parametrize("local_locks", ["no", "yes"])
def test_nothing_is_seen_half_written_and_nothing_is_made_twice(
    local_locks: str, study: tuple[Study, Path], tmp_path: Path
) -> None:
    one, file = study
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    out, published = tmp_path / "out", tmp_path / "published"
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "PUBLISHED": str(published), "LOCAL_LOCKS": local_locks}
    environment |= {"OMP_NUM_THREADS": "1"}
    config = tmp_path / "config.json"
    config.write_text(config_text(one.cells[0].config))
    flags = ("--num-workers", "1", "--checkpoint-every", "10")
    train = f"train --config {config} --out {out} --checkpoint-every 5".split()
    report = REPORT.format(out=str(out), codes=str(tmp_path / "codes"))
    processes = [start_sweep(file, out, *flags, environment=environment) for _ in range(2)]
    start = [sys.executable, "-m", "experiments.cli.main", *train], [sys.executable, "-c", report]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes += [subprocess.Popen(command, env=environment, **quiet) for command in start]  # type: ignore[call-overload]
    try:
        seen = read_on(out, processes, random.Random(0))
    finally:
        processes[3].kill()
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
    print(dict(seen))
    assert [process.returncode for process in processes[:3]] == [0, 0, 0]
    made = Counter(published.read_text().split())
    runs = find_runs(out)
    assert len(runs) in (8, 9)  # the one that train was asked for may be one of the study's
    assert made == Counter(path.name for path in runs)
    for path_of_run in runs:
        try:
            assert verify_run(path_of_run) == []
        except BadInput as error:
            pytest.fail(str(error))
    assert len(numbers(out)) == 8
    codes = (tmp_path / "codes").read_text().split()
    assert set(codes[codes.index("0") :]) == {"0"}, codes  # before the first run is finished there is none to report
    assert {".json", ".csv", ".html", ".nc", ".pt"} <= set(seen)
