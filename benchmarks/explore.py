"""Seconds that the explorer computes for one move of a slider, by network and optimizer, and for its slower answers.

    python benchmarks/explore.py [--json] [--num-steps 100000] [--rounds 5]

Every question has another learning rate, so that no answer is in memory already. Seconds are those of the processor,
which other work on the machine does not stretch; the median over the rounds is the figure. What a browser adds, and the
way there and back, is measured by ``make test-browser``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.cli.settings.explore import Fields  # noqa: E402
from experiments.explore.server import Explorer  # noqa: E402
from experiments.files import to_json  # noqa: E402

MOVES = {
    "adamw": {},
    "adamw, scale-invariant": {"network": "scale-invariant"},
    "adamw, gpt2": {"network": "gpt2"},
    "lion": {"optimizer": "lion"},
    "adamh": {"optimizer": "adamh"},
    "sgdm": {"optimizer": "sgdm"},
    "adam-l2": {"optimizer": "adam-l2"},
}
OTHERS = ("map", "optimum")


def timed(explorer: Explorer, question: str, fields: dict[str, str], rounds: int) -> float:
    """Median seconds of a processor, from the fields to the bytes of the answer."""
    seconds = []
    for place in range(rounds + 1):
        asked = {
            **fields,
            "learning_rate": f"{1e-3 * (1 + 0.01 * place):.6g}",
            "initial_rms": f"{0.02 + 1e-5 * place:g}",
        }
        began = time.process_time()
        to_json(explorer.answer(question, asked)).encode()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds[1:])  # the first one imports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--num-steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    base = {"num_steps": str(options.num_steps), "schedule": "cosine", "warmup_steps": str(options.num_steps // 100)}
    explorer = Explorer(Fields().read, [])
    result = {
        f"move, {name}": timed(explorer, "setting", {**base, **more}, options.rounds) for name, more in MOVES.items()
    }
    result |= {name: timed(explorer, name, base, options.rounds) for name in OTHERS}
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in result.items()}))
    else:
        for name, value in result.items():
            print(f"{name:28} {1000 * value:8.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
