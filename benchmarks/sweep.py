"""Runs per hour of a sweep with two workers over that with one.

    python benchmarks/sweep.py [--json] [--rounds 5] [--runs 16] [--num-steps 150]

Sweeps of ``runs`` runs (cpu-32, 1,024 bytes a step) with one and with two workers take turns, each in a fresh
directory, and the median over the rounds of the ratio of their times is the figure. The workers have made a short run
before they are timed: what a process imports takes seconds, in a sweep of hours. The two need a core each; on a machine
that does other things the ratio says more about those, and the load average before each round is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.runs.local import try_jobs  # noqa: E402
from experiments.runs.produce import Job  # noqa: E402
from experiments.runs.run_directory import find_runs  # noqa: E402
from gpt.config import TrainConfig, preset  # noqa: E402
from theory import AdamW, Constant  # noqa: E402


def jobs(folder: Path, count: int, num_steps: int) -> list[Job]:
    return [
        Job(
            folder,
            f"run-{seed}",
            TrainConfig(
                model=preset("cpu-32", "scale-invariant"),
                optimizer=AdamW(learning_rate=1e-2, weight_decay=0.1),
                non_matrix_learning_rate=1e-2,
                schedule=Constant(num_steps=num_steps),
                seed=seed,
                device="cpu",
                eval_batches=5,
            ),
        )
        for seed in range(count)
    ]


def timed(count: int, num_steps: int, workers: int) -> float:
    """Seconds of a sweep with workers that are warm."""
    with tempfile.TemporaryDirectory() as folder:
        assert not try_jobs(jobs(Path(folder, "warm"), workers, 20), num_workers=workers)
        wanted = jobs(Path(folder, "timed"), count, num_steps)
        started = time.perf_counter()
        assert not try_jobs(wanted, num_workers=workers)
        ended = time.perf_counter()
        assert len(find_runs(Path(folder, "timed"))) == count
    return ended - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--num-steps", type=int, default=150)
    options = parser.parse_args()
    ratios, loads, rates = [], [], []
    for _ in range(options.rounds):
        loads.append(os.getloadavg()[0])
        one = timed(options.runs, options.num_steps, 1)
        two = timed(options.runs, options.num_steps, 2)
        ratios.append(one / two)
        rates.append(3600 * options.runs / two)
        print(f"one {one:.1f} s, two {two:.1f} s, ratio {one / two:.3f}, load average before {loads[-1]:.1f}")
    result = {
        "workers_two_over_one": statistics.median(ratios),
        "ratios": ratios,
        "load_average": loads,
        "runs_per_hour_with_two": statistics.median(rates),
        "num_steps": options.num_steps,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"Two workers make {result['workers_two_over_one']:.2f} times the runs per hour of one.")


if __name__ == "__main__":
    main()
