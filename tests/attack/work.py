"""Commands that write, and what has to come out of them whatever happened on the way."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.calibration import real_tables
from experiments.calibration.real_tables import write_table
from experiments.explore import server
from experiments.runs.configs import read_config
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import verify_run
from experiments.studies import simulation_grid, validate
from gpt import prepare, zipf
from gpt.config import TrainConfig

OLD = b"old\n"
TRAIN = "train --config config.json --out made --checkpoint-every 2"
SWEEP = "sweep study.json --out made --num-workers 1 --checkpoint-every 2 --json"
GRID = "study simulation-grid --option settings=12 --option optimizers=adamw --runs made/rows --results made"
CACHE = "train --preset cpu-16 --source zipf --learning-rate 1e-2 --num-steps 3 --batch-size 2 --out made --device cpu"
KEPT_OF_A_RUN = ("loss.csv", "config.json")


@dataclass(frozen=True)
class Work:
    """A command, the files it replaces, and what makes it small in the child: ``verdict`` if it may end with 1."""

    command: str
    files: tuple[str, ...] = ()
    prepare: Callable[[], None] = lambda: None
    verdict: bool = False

    def words(self, run: str) -> list[str]:
        return self.command.replace("RUN", run).split()

    def put_old(self, sandbox: Path) -> None:
        for name in self.files:
            (sandbox / name).parent.mkdir(parents=True, exist_ok=True)
            (sandbox / name).write_bytes(OLD)

    def results(self, sandbox: Path) -> dict[str, str]:
        """What does not depend on how often it was begun: losses and configs of its runs by name, files by digest."""
        found: dict[str, str] = {}
        made = sandbox / "made"
        for path in find_runs(made) if made.is_dir() else []:
            found |= {f"{path.name}/{name}": _digest(path / name) for name in KEPT_OF_A_RUN if (path / name).exists()}
            found[path.name] = str(json.loads((path / "summary.json").read_text())["final_loss"])
            found |= {f"{path.name} is damaged": fault for fault in verify_run(path)}
        return found | {name: _digest(sandbox / name) for name in self.files}


def small_validation() -> None:
    """Two runs of a second in place of minutes."""
    config = read_config(json.loads(Path("config.json").read_text()), where="config.json")
    assert isinstance(config, TrainConfig)
    vars(validate).update(
        simulation_configs=lambda: [],  # whose kernels are compiled for longer than they run
        training_configs=lambda device: [replace(config, seed=seed) for seed in (0, 1)],
    )


def small_grid() -> None:
    """Settings that are measured at once."""

    def measure(setting: simulation_grid.Setting) -> dict[str, Any]:
        time.sleep(0.01)
        numbers = {name: 1e-4 * (1 + setting.seed % 7) for name, kind in simulation_grid.ROW.items() if kind is float}
        return {"num_replicas": 64, "dim": 4096, **numbers}

    vars(simulation_grid).update(measure=measure)


def small_cache() -> None:
    zipf.zipf_text.__defaults__ = (4000, 400)


WORKS = {
    "train": Work(TRAIN),
    "sweep": Work(SWEEP),
    "validate": Work("validate --out made --num-workers 1 --device cpu", prepare=small_validation, verdict=True),
    "study": Work(GRID, ("made/agreement.csv", "made/config.json"), small_grid, verdict=True),
    "cache": Work(CACHE, prepare=small_cache),
    "report": Work("report runs", ("runs/report.html",)),
    "table": Work("predict --learning-rate 1e-3 3e-3 --weight-decay 0.1 --num-steps 2000 --csv out.csv", ("out.csv",)),
    "schedule": Work("convert --to adamh --learning-rate 1e-3 --num-steps 3000 --schedule-out out.csv", ("out.csv",)),
    "picture": Work("fit table.csv --plot out.png", ("out.png",)),
    "log": Work("read logs/norms.csv --weight-decay 1 --initial-rms 0.02 --csv out.csv", ("out.csv",)),
    "answers": Work(
        "attribute optima.csv --optima --arm reference=own:own --arm adamh=steady:fixed:angle --out made",
        ("made/attribution.html", "made/attribution/parts.csv"),
    ),
}


def small_shards() -> None:
    """Texts of one's own in place of a download."""
    vars(prepare).update(
        gpt2_encoder=lambda: lambda texts: [np.arange(20, dtype=np.uint16) for _ in texts],
        fineweb_documents=lambda: iter(["text"] * 100),
    )


def small_calibration() -> None:
    """A table that is there at once."""
    vars(real_tables).update(calibrate_on_real=_no_splits)


def _no_splits(data: Path | None, out: Path, **options: object) -> pd.DataFrame:
    table = pd.DataFrame({"group": ["a"], "covered": [0.95]})
    write_table(table, out / real_tables.TABLE, out / "real.json", {})
    return table


def served_for_a_moment() -> None:
    """A server that ends by itself."""
    vars(server).update(Server=type("Server", (server.Server,), {"serve_forever": lambda self: None}))


# Every command, the quick ones first, to be run with streams that nobody takes.
ANSWERS = {
    "predict": WORKS["table"],
    "convert": WORKS["schedule"],
    "explore": Work("explore --no-browser --run RUN", prepare=served_for_a_moment),
    "verify": Work("verify runs half"),
    "read": WORKS["log"],
    "plan": Work("plan study.json"),
    "fit": Work("fit table.csv"),
    "recommend": Work("recommend table.csv --num-params 1e9 --num-tokens 1e11"),
    "losses": Work("losses losses.csv --num-params 100000000 --num-steps 2000"),
    "prepare": Work(
        "prepare fineweb --out made --num-tokens 100 --tokens-per-shard 50 --validation-tokens 10", prepare=small_shards
    ),
    "calibrate": Work("calibrate real --data . --out made --num-sweeps 1", prepare=small_calibration),
    "attribute": WORKS["answers"],
    "study": WORKS["study"],
    "diagnose": Work("diagnose RUN --num-batches 2"),
    "simulate": Work("simulate --learning-rate 1e-2 --weight-decay 1 --num-steps 3 --dim 8 --num-replicas 2"),
    "replay": Work("replay RUN --norm fixed --out made"),
    "train": WORKS["train"],
    "sweep": WORKS["sweep"],
    "validate": WORKS["validate"],
    "report": WORKS["report"],
}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
