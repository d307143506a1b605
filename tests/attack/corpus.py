"""The files that are attacked, intact: small ones of every kind that commands read, made by the commands themselves.

Everything lies in one folder, and every path in it is relative, so that a copy anywhere is as good.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np

from experiments.cli.main import main
from experiments.runs.configs import config_text
from experiments.runs.produce import Job, train_run, training_label
from experiments.runs.run_directory import find_runs, partial_path
from tests.attack.foreign import make_logs, make_studies
from tests.experiments.logs.made_logs import write_csv
from tests.experiments.tiny_study import tiny_study, write_study

RUN_STEPS = 20


def make_corpus(folder: Path) -> None:
    """Write all of it; takes a few seconds, the first time that a process does it."""
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    os.environ["LRBEND_CACHE"] = "cache"
    try:
        _make_tables()
        make_logs()
        make_studies()
        study = tiny_study(Path(), num_rates=1, num_seeds=1, num_steps=RUN_STEPS)
        write_study(study, Path("study.json"))
        config = study.cells[0].config
        Path("config.json").write_text(config_text(config))
        _make_shards()
        job = Job(Path("runs"), training_label(config), config, checkpoint_every=RUN_STEPS)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
            train_run(job)
            half = Job(Path("half"), training_label(config), config, checkpoint_every=4)
            with contextlib.suppress(_Stopped):
                train_run(half, _stop_late)
            assert main(["sweep", "study.json", "--out", "swept", "--num-workers", "1"]) == 0
        assert (partial_path(half.path) / "checkpoint.previous.pt").exists()
        for lock in Path().rglob("lock"):
            lock.unlink()
    finally:
        os.chdir(before)


class _Stopped(BaseException):
    pass


def _stop_late(done: int, loss: float) -> None:
    if done == 11:
        raise _Stopped


def copy_corpus(corpus: Path, sandbox: Path) -> str:
    """A copy to attack; returns the path of its finished run, relative to it."""
    shutil.copytree(corpus, sandbox)
    return str(find_runs(corpus / "runs")[0].relative_to(corpus))


def _make_tables() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for n, d, x in itertools.product((1e7, 3e7, 1e8), (1e9, 4e9), np.log(2.0) * np.arange(-2, 3)):
        best = -6 - 0.3 * np.log(n / 1e7) - 0.2 * np.log(d / 1e9)
        loss = 2 + (n / 1e7) ** -0.1 + (d / 1e9) ** -0.1 + 0.05 * x**2 + 0.001 * rng.normal()
        rows.append(
            {
                "num_params": n,
                "num_tokens": d,
                "batch_size": 5e5,
                "weight_decay": 0.1,
                "learning_rate": float(np.exp(best + x)),
                "loss": float(loss),
                "optimizer": "adamw",
            }
        )
    write_csv(Path("table.csv"), rows)
    Path("semicolons.csv").write_text(Path("table.csv").read_text().replace(",", ";"))
    arms = [{**row, "optimizer": arm} for row in rows for arm in ("adamw", "adamh")]
    write_csv(Path("arms.csv"), arms)
    Path("table.json").write_text(json.dumps(rows))
    Path("table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    optima = [
        {"num_params": n, "num_tokens": d, "arm": arm, "learning_rate": rate, "low": 0.9 * rate, "high": 1.1 * rate}
        for n, d, arm in itertools.product((1e7, 3e7, 1e8), (1e9, 4e9, 1.6e10), ("reference", "adamh"))
        for rate in [1e-3 * (n / 1e7) ** -0.3 * (d / 1e9) ** (-0.1 if arm == "adamh" else -0.2)]
    ]
    write_csv(Path("optima.csv"), [{**row, "status": "interior"} for row in optima])
    losses = [
        {
            "schedule": schedule,
            "learning_rate": rate,
            "num_steps": steps,
            "warmup_steps": 100,
            "decay_fraction": 0.2 if schedule == "wsd" else 1.0,
            "num_params": 100_000_000,
            "tokens_per_step": 50_000,
            "weight_decay": 0.1,
            "loss": 2.5 + 20 * steps**-0.5 + 0.02 * np.log(rate / 1e-3) ** 2 + 0.001 * rng.normal(),
        }
        for schedule, rate, steps in itertools.product(("cosine", "wsd"), (5e-4, 1e-3, 2e-3), (1000, 1500, 2500))
    ]
    write_csv(Path("losses.csv"), losses)
    Path("losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
    Path("curves").mkdir()
    for peak in (1e-3, 2e-3):
        steps = np.arange(0, 400, 20)
        rate = peak * np.minimum(1, (steps + 1) / 40) * (1 - steps / 400)
        loss = 2.5 + 5 * (1 + np.cumsum(rate) / peak * 0.05) ** -0.5
        lines = [
            {"step": int(s), "learning_rate": float(r), "loss": float(y)}
            for s, r, y in zip(steps, rate, loss, strict=True)
        ]
        write_csv(Path("curves") / f"peak-{peak}.csv", lines)


def _make_shards() -> None:
    tokens = np.arange(4000, dtype="<u2") % 250
    tokens.tofile("shard.bin")
    Path("shards").mkdir()
    header = np.zeros(256, dtype="<i4")
    header[:3] = 20240520, 1, len(tokens)
    for name in ("train_1", "train_2", "val_1"):
        Path(f"shards/{name}.bin").write_bytes(header.tobytes() + tokens.tobytes())
