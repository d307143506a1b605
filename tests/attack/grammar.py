"""Hostile commands: one that works, from the corpus, with flags added, dropped, doubled and given odd values.

The flags are read from the parsers themselves, so that a new command or flag is attacked as soon as it is there.
"""

from __future__ import annotations

import argparse
import random
from functools import cache

from experiments.cli.main import build_parser
from experiments.cli.parser import number, whole_number
from experiments.cli.settings.setting_flags import start_rms
from tests.attack.templates import TEMPLATES

NUMBERS = (
    *("nan", "inf", "-inf", "0", "-0", "-0.0", "1e308", "-1e308", "1.7976931348623157e308", "1e309", "1e-310"),
    *("1e300", "1e-300", "-1", "1", "2", "3", "0.5", "1e-8", "1 ", " 1", "1_000", "0x10", "1,5", "1e", "--1", "\u0661"),
)
WHOLE_NUMBERS = (
    *("0", "-1", "1", "2", "3", "7", "1.5", "1e4", "1e15", "1e16", "9007199254740993", "2147483648", "4294967296"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "1" + "0" * 60, "9" * 5000, "1e300"),
    *("nan", "inf", "-inf", "1e-310", "", " ", "x", "True", "None", "\u0663", "1__0"),
)
WORDS = (
    *("", " ", "-", "--", "=", "a=", "=a", "a=b", "a=b=c", "x" * 300, "x" * 5000, "..", "\u00e9", "\U0001f600"),
    *("\x1b[2J", "=1+1", "$a_b$", "$\\frac{1}", "a\nb", "a\tb", "\udcff", "%s", "{}", "*", "[", "(", "\\", "NaN"),
    *("loss=loss", "learning_rate=loss", "num_params=0", "num_params=nan", "num_params=1e-310", "loss=1e308"),
    *("reference=own:own", "a=own:fixed", "adamh=steady:fixed:angle", "x=y:z", "a=own:own:own:own", "num_params"),
    *("num_params!=1e7", "num_params=*", "optimizer!=adamw", "loss=1,2,,", "table=missing.csv", "settings=1e9"),
    *("cpu-16", "cpu-32", "708m", "gpt2", "adamw", "zipf", "pysource", "zipf:0", "H100 80GB"),
)
PATHS = (
    *("config.json", "study.json", "table.csv", "table.json", "table.jsonl", "optima.csv", "losses.csv", "curves"),
    *("shard.bin", "shards", "lr.csv", "multipliers.csv", "semicolons.csv", "arms.csv", "losses.jsonl", "grid"),
    *("logs", "logs/checkpoint-200", "logs/history.csv", "logs/history.jsonl", "logs/list.json", "logs/nanogpt.txt"),
    *("logs/llmc.log", "logs/modded.txt", "logs/events", "logs/norms.csv", "logs/matrices.jsonl"),
    *("text.txt", "runs", "half", "swept", "RUN", "RUN/summary.json", "RUN/trajectory.nc"),
    *("RUN/checkpoint.pt", "RUN/loss.csv", "RUN/checksums.json", ".", "..", "", "missing", "missing/deep/er"),
    *("odd/pipe", "odd/loop", "odd/socket", "odd/directory", "odd/empty", "odd/full", "odd/zero", "odd/secret"),
    *("odd/dangling", "odd/pipe/x", "odd/empty/x", "odd/s p a c e", "odd/\u00e9\U0001f600", "odd/\udcff", "odd/a\nb"),
    *("odd/" + "x" * 300, "x/" * 3000, "odd/locked/x", "odd/big.json", "/proc/version"),
)
NUMBER_OF_RUNS = {"num_sweeps", "settings", "num_workers"}  # honest work; small, or refused
SIZES = ("0", "-1", "1", "2", "nan", "1.5", "", "x")
PICTURES = (
    *("out.png", "out.svg", "out.pdf", "out.PNG", "out.png.svg", "out.txt", "out", ".png", "x.png/", "odd/pipe.png"),
    *(
        "odd/directory/out.pdf",
        "odd/locked/out.svg",
        "missing/out.png",
        "odd/loop",
        "a\nb.png",
        "odd/full",
        "table.csv",
    ),
)
SCHEDULES = (
    *("constant", "linear", "cosine", "wsd", "cosine-restarts", "x", "", "file:", "file:x", "file:lr.csv"),
    *("file:multipliers.csv", "file:file:lr.csv", "file:odd/pipe", *(f"file:{path}" for path in PATHS[::3])),
)
SKIPPED = {"help", "executor"}  # there may be a cluster behind the second

PATH_FLAGS = {"study", "source", "dataset", "direction"}


@cache
def flags() -> dict[str, tuple[argparse.Action, ...]]:
    """The flags of every command."""
    parser = build_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {
        name: tuple(action for action in sub._actions if action.dest not in SKIPPED)
        for name, sub in commands.choices.items()
    }


def hostile_command(rng: random.Random, command: str, run: str, *, changes: int) -> list[str]:
    """One command line. run : the finished run of the corpus. changes : of it, to one that works."""
    words = [command, *rng.choice(TEMPLATES.get(command, ("",))).split()]
    for _ in range(changes):
        words = _changed(rng, words)
    if rng.random() < 0.4 and "--json" not in words:
        words.append("--json")
    if changes and rng.random() < 0.02:
        words = rng.choice((["--help"], [command, "--help"], [], ["no-such-command"], ["--version"], [command, "--"]))
    return [word.replace("RUN", run) for word in words]


def _changed(rng: random.Random, words: list[str]) -> list[str]:
    words = list(words)
    kind = rng.random()
    places = [place for place in range(1, len(words)) if not words[place].startswith("--")]
    if kind < 0.35 and places:  # another value for something that is there
        place = rng.choice(places)
        action = _flag_before(words, place)
        words[place] = _value(rng, action) if action else rng.choice(PATHS + WORDS if place == 1 else NUMBERS + PATHS)
    elif kind < 0.85:  # a flag more
        action = rng.choice(flags()[words[0]])
        if action.option_strings:
            words += [rng.choice(action.option_strings), *_values(rng, action)]
    elif kind < 0.93 and len(words) > 1:  # something less
        del words[rng.randrange(1, len(words))]
    elif len(words) > 1:  # something twice
        words.insert(rng.randrange(1, len(words)), rng.choice(words[1:]))
    return words


def _flag_before(words: list[str], place: int) -> argparse.Action | None:
    for word in reversed(words[1:place]):
        if word.startswith("--"):
            return next((action for action in flags()[words[0]] if word in action.option_strings), None)
    return None


def _values(rng: random.Random, action: argparse.Action) -> list[str]:
    if action.nargs == 0:
        return []
    if isinstance(action.nargs, int):
        return [_value(rng, action) for _ in range(action.nargs)]
    return [_value(rng, action) for _ in range(rng.choice((1, 1, 2, 3)) if action.nargs == "+" else 1)]


def _value(rng: random.Random, action: argparse.Action) -> str:
    if action.dest in NUMBER_OF_RUNS:
        return rng.choice(SIZES)
    if rng.random() < 0.05:
        return rng.choice(NUMBERS + WHOLE_NUMBERS + WORDS + PATHS)
    if action.dest == "plot":
        return rng.choice(PICTURES)
    if action.dest == "schedule" and not action.choices:
        return rng.choice(SCHEDULES)
    if action.choices:
        return rng.choice([*map(str, action.choices), "x"])
    if action.type in (number, start_rms):
        return rng.choice(NUMBERS)
    if action.type is whole_number:
        return rng.choice(WHOLE_NUMBERS)
    return rng.choice(WORDS) if action.type is None and action.dest not in PATH_FLAGS else rng.choice(PATHS)
