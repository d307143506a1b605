"""A study of tiny runs on a text of its own, for tests that sweep in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from experiments.runs.configs import config_to_dict
from experiments.sweeps.study import Adaptive, Study, StudyCell
from gpt.config import ModelConfig, TrainConfig
from theory import AdamW, Constant

ROOT = Path(__file__).parents[2]


def tiny_study(folder: Path, **changes: object) -> Study:
    """``num_rates`` x ``num_seeds`` runs of ``num_steps`` steps; 2 x 2 x 30 if not told otherwise."""
    settings: dict[str, int] = {"num_rates": 2, "num_seeds": 2, "num_steps": 30}
    adaptive = changes.pop("adaptive", None)
    settings |= changes  # type: ignore[arg-type]
    assert isinstance(adaptive, Adaptive | None)
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    if not text.exists():
        text.write_text("To be, or not to be, that is the question:\n" * 200)
    config = TrainConfig(
        model=ModelConfig(architecture="scale-invariant", context_length=16, num_layers=1, d_model=16),
        optimizer=AdamW(learning_rate=1e-2, weight_decay=0.3),
        non_matrix_learning_rate=3e-3,
        schedule=Constant(num_steps=settings["num_steps"], warmup_steps=5),
        batch_size=2,
        source=str(text),
        record_every=1,
        eval_batches=2,
        device="cpu",
    )
    return Study(
        name="tiny",
        question="Does a sweep lose runs?",
        hypothesis="It does not.",
        method="Runs of a second.",
        decision="All there, once, with the same numbers.",
        scientific=(),
        nuisance=("learning_rate", "seed"),
        fixed=("batch_size",),
        cells=(
            StudyCell(
                label="adamw",
                config=config,
                learning_rates=tuple(1e-3 * 2**k for k in range(settings["num_rates"])),
                seeds=tuple(range(settings["num_seeds"])),
                adaptive=adaptive,
            ),
        ),
    )


def write_study(study: Study, file: Path) -> Path:
    file.write_text(json.dumps(config_to_dict(study)))
    return file


def start_sweep(
    study: Path, out: Path, *flags: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """``lrbend sweep`` as a process with a group of its own."""
    command = [sys.executable, "-m", "experiments.cli.main", "sweep", str(study), "--out", str(out), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": _path(), **(environment or {})}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
    )


def _hear_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def numbers(out: Path) -> dict[str, tuple[str, ...]]:
    """Of every row of the table, by run, what must not depend on how the sweep went."""
    lines = (out / "table.csv").read_text().splitlines()
    header = lines[0].split(",")
    kept = [place for place, name in enumerate(header) if name not in ("tokens_per_second", "run")]
    rows = [line.split(",") for line in lines[1:]]
    found = {row[header.index("run")]: tuple(row[place] for place in kept) for row in rows}
    assert len(found) == len(rows), "a run is in the table twice"
    return found
