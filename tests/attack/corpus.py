"""The files that are attacked, intact: small ones of every kind that commands read, made by the commands themselves.

Everything lies in one folder, and every path in it is relative, so that a copy anywhere is as good.
"""

from __future__ import annotations

import contextlib
import csv
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
from tests.experiments.tiny_study import tiny_study, write_study

RUN_STEPS = 20

# Commands that do something with the corpus as it is. What they are attacked with is in `tests.attack.grammar`.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "predict": (
        "--learning-rate 1e-3 3e-3 --weight-decay 0.1 --num-steps 2000 --csv out.csv",
        "--learning-rate 1e-3 --weight-decay 0.1 --num-steps 500 --trajectory out.csv --network scale-invariant",
        "--optimizer lion --learning-rate 1e-4 --weight-decay 1 --num-steps 2000",
    ),
    "simulate": ("--learning-rate 1e-2 --weight-decay 1 --num-steps 20 --dim 8 --num-replicas 2",),
    "train": (
        "--config config.json --out made",
        "--config config.json --out half --checkpoint-every 4",
        "--preset cpu-16 --source text.txt --learning-rate 1e-2 --num-steps 3 --batch-size 2 --out made",
        "--preset cpu-16 --source shard.bin --learning-rate 1e-2 --num-steps 3 --batch-size 2 --out made",
    ),
    "replay": ("RUN --norm fixed --out made",),
    "diagnose": ("runs --num-batches 3", "RUN"),
    "verify": ("runs", "RUN", "runs half"),
    "prepare": ("fineweb --out made --num-tokens 100 --tokens-per-shard 50 --validation-tokens 10",),
    "validate": ("--out made --num-workers 1",),
    "plan": ("study.json", "lr-transfer-small"),
    "sweep": ("study.json --out swept --num-workers 1", "study.json --out made --num-workers 1"),
    "study": ("", "same-angle --option table=table.csv", "replay --option earlier=runs --runs made"),
    "fit": ("table.csv", "table.json", "table.jsonl", "table.csv --effective --schedule cosine", "swept/table.csv"),
    "recommend": ("table.csv --num-params 1e9 --num-tokens 1e11", "table.json --num-params 1e9 --num-tokens 1e11"),
    "attribute": ("optima.csv --optima --arm reference=own:own --arm adamh=steady:fixed:angle --out made",),
    "losses": ("losses.csv --num-params 100000000 --num-steps 2000", "losses.csv", "curves --curves --num-steps 300"),
    "calibrate": (
        "fit --num-sweeps 1 --out made --num-workers 1",
        "real --data . --out made --num-workers 1",
        "losses --data . --out made",
    ),
    "report": ("runs", "RUN", "made"),
}

# The files that a template reads besides those that it names.
ALSO_READ = {
    "train": ("half", "text.txt", "shard.bin", "cache"),
    "sweep": ("swept", "text.txt", "cache"),
    "diagnose": ("runs", "text.txt", "cache"),
    "replay": ("runs", "text.txt", "cache"),
    "report": ("runs",),
    "verify": ("runs", "half"),
    "study": ("table.csv", "runs"),
    "calibrate": ("table.csv",),
}


def make_corpus(folder: Path) -> None:
    """Write all of it; takes a few seconds, the first time that a process does it."""
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    os.environ["LRBEND_CACHE"] = "cache"
    try:
        _make_tables()
        study = tiny_study(Path(), num_rates=1, num_seeds=1, num_steps=RUN_STEPS)
        write_study(study, Path("study.json"))
        config = study.cells[0].config
        Path("config.json").write_text(config_text(config))
        np.arange(4000, dtype="<u2").__mod__(250).tofile("shard.bin")
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
    _write_csv(Path("table.csv"), rows)
    Path("table.json").write_text(json.dumps(rows))
    Path("table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    optima = [
        {"num_params": n, "num_tokens": d, "arm": arm, "learning_rate": rate, "low": 0.9 * rate, "high": 1.1 * rate}
        for n, d, arm in itertools.product((1e7, 3e7, 1e8), (1e9, 4e9, 1.6e10), ("reference", "adamh"))
        for rate in [1e-3 * (n / 1e7) ** -0.3 * (d / 1e9) ** (-0.1 if arm == "adamh" else -0.2)]
    ]
    _write_csv(Path("optima.csv"), [{**row, "status": "interior"} for row in optima])
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
    _write_csv(Path("losses.csv"), losses)
    Path("curves").mkdir()
    for peak in (1e-3, 2e-3):
        steps = np.arange(0, 400, 20)
        rate = peak * np.minimum(1, (steps + 1) / 40) * (1 - steps / 400)
        loss = 2.5 + 5 * (1 + np.cumsum(rate) / peak * 0.05) ** -0.5
        lines = [
            {"step": int(s), "learning_rate": float(r), "loss": float(y)}
            for s, r, y in zip(steps, rate, loss, strict=True)
        ]
        _write_csv(Path("curves") / f"peak-{peak}.csv", lines)


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
