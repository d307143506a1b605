"""Seconds until a fresh process has ``import theory``, and until ``lrbend predict`` has answered, over `import numpy`.

    python benchmarks/startup.py [--json] [--rounds 10]

Processes alternate, with compiled bytecode at hand; medians count. ``sympy``, which a derivation loads when it is first
called, is measured beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREDICT = "predict --optimizer adamw --learning-rate 1e-3 --weight-decay 0.1 --num-steps 1000"
CODES = {
    "numpy": "import numpy",
    "sympy": "import sympy",
    "theory": "import theory",
    "predict": f"from experiments.cli.main import main; main({PREDICT.split()!r})",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in CODES}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(options.rounds + 1):
        for name, code in CODES.items():
            begun = time.perf_counter()
            command = [sys.executable, "-c", code]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
            if turn:  # the first writes the bytecode
                seconds[name].append(time.perf_counter() - begun)
    row = {f"{name}_seconds": round(statistics.median(taken), 3) for name, taken in seconds.items()}
    row |= {"ratio": round(row["theory_seconds"] / row["numpy_seconds"], 2)}
    print(json.dumps(row) if options.json else ", ".join(f"{name} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
