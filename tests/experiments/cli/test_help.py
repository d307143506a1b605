"""All flags of all commands: a text, a default, one way to write numbers, one meaning of folders; their examples."""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import flags
from experiments.cli.flags import FOLDERS, outside_runs
from experiments.cli.main import COMMANDS, build_parser, main
from experiments.cli.parser import Parser, number, size, whole_number
from experiments.cli.settings.setting_flags import start_rms

NUMBERS = (number, size, whole_number, start_rms)


@functools.cache
def parser() -> Parser:
    return build_parser()


def parser_of(command: str) -> Parser:
    (subparsers,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    found = subparsers.choices[command]
    assert isinstance(found, Parser)
    return found


def options_of(parser: Parser) -> Iterator[argparse.Action]:
    """Its flags but ``--help``."""
    return (action for action in parser._actions if action.option_strings and action.dest != "help")


def shown(parser: Parser, action: argparse.Action) -> str:
    """What the help says of a flag, as it is printed."""
    return parser._get_formatter()._expand_help(action)


commands = pytest.mark.parametrize("command", COMMANDS)


@commands
def test_the_shape_of_a_command(command: str) -> None:
    module = import_module(f"experiments.cli.{COMMANDS[command]}")
    assert module.__doc__
    assert module.__doc__.startswith(f"``lrbend {command}``: ")
    assert module.SUMMARY.strip(". ") == module.SUMMARY != ""
    assert list(inspect.signature(module.add_flags).parameters) == ["parser"]
    assert list(inspect.signature(module.run).parameters) == ["options"]


@commands
def test_examples_parse_and_are_shown(command: str) -> None:
    examples = import_module(f"experiments.cli.{COMMANDS[command]}").EXAMPLES
    assert 2 <= len(examples) <= 3
    for example in examples:
        program, *arguments = shlex.split(example)
        assert (program, arguments[0]) == ("lrbend", command)
        assert parser().parse_args(arguments).run
        assert f"\n  {example}\n" in parser_of(command).format_help()


@commands
def test_tables_of_examples_are_in_the_checkout(command: str) -> None:
    for example in import_module(f"experiments.cli.{COMMANDS[command]}").EXAMPLES:
        for word in shlex.split(example):
            assert not word.startswith("docs/") or (Path(__file__).parents[3] / word).is_file(), word


@commands
def test_every_flag_has_a_text_and_shows_its_default(command: str) -> None:
    parser = parser_of(command)
    for action in parser._actions:
        text = shown(parser, action)
        assert text.split("(default: ")[0].strip(), action
        assert "None" not in text, action
        assert argparse.SUPPRESS not in text, action
    for action in options_of(parser):
        text = shown(parser, action)
        if action.required:
            assert text.endswith(" (required)")
        elif action.default is False:
            assert text.endswith(" (default: off)")
        elif action.default is None:
            assert text.split(" (default: ")[1].strip(")"), action
        else:
            assert text.endswith(f" (default: {action.default})")
        assert text.count("(default: ") + text.count("(required)") == 1


@commands
def test_one_parser_for_all_numbers(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``1e3`` wherever a number is taken; nonsense is refused, with the flag and the value in one line."""
    parser = parser_of(command)
    for action in parser._actions:
        assert action.type in (None, Path, outside_runs, *NUMBERS), action
    for action in (action for action in options_of(parser) if action.type in NUMBERS):
        (flag,) = action.option_strings
        count = action.nargs if isinstance(action.nargs, int) else 1
        for text in ("nan", "inf", "-inf", "1e999", "many", "", "1e"):
            with pytest.raises(SystemExit) as stop:
                parser.parse_args([flag, *[text] * count])
            said = capsys.readouterr().err
            assert (stop.value.code, said.count("\n")) == (2, 1)
            assert said.startswith(f"lrbend {command}: error: {flag} ")
            assert text in said
    whole = [action for action in options_of(parser) if action.type is whole_number]
    for action in whole:
        count = action.nargs if isinstance(action.nargs, int) else 1
        probe = Parser()
        probe.add_argument(*action.option_strings, type=action.type, nargs=action.nargs)
        given = vars(probe.parse_args([*action.option_strings, *["1e3"] * count]))[action.dest]
        assert given == (1000 if action.nargs is None else [1000] * count)


COUNTS = ("num_", "_steps", "_every", "seed", "dim", "shape", "_tokens", "tokens_", "_size", "_minutes", "pus", "_gb")


@commands
def test_what_is_counted_is_whole(command: str) -> None:
    for action in options_of(parser_of(command)):
        counted = action.choices is None and any(part in action.dest for part in COUNTS)
        if command != "recommend" and counted:
            assert action.type is whole_number, action


@commands
def test_folders_mean_the_same_everywhere(command: str) -> None:
    for action in options_of(parser_of(command)):
        if action.dest in FOLDERS:
            assert action.type is outside_runs
            assert action.metavar == "DIR"
            assert str(action.help).startswith(f"{FOLDERS[action.dest]}: ")


def test_a_folder_where_there_is_no_place_any_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        tmp_path.rmdir()
        with pytest.raises(SystemExit) as stop:
            main(["plan", "bend", "--out", "x"])
    finally:
        os.chdir(before)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "lrbend plan: error: --out x: no such place (No such file or directory)\n"


def test_names_are_those_of_the_theory() -> None:
    from gpt.config import TRAINABLE_OPTIMIZERS
    from theory import OPTIMIZERS, SCHEDULES
    from theory.loss_laws import LOSS_LAWS
    from theory.networks import NETWORKS
    from theory.radial import KINDS

    assert {kind.replace(", ", "-") for kind in KINDS} == {*flags.KINDS}
    assert tuple(NETWORKS) == flags.NETWORKS
    assert tuple(OPTIMIZERS) == flags.OPTIMIZERS
    assert tuple(TRAINABLE_OPTIMIZERS) == flags.TRAINABLE_OPTIMIZERS
    assert tuple(SCHEDULES) == flags.SCHEDULES
    assert tuple(LOSS_LAWS) == flags.LOSS_LAWS


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: item.default for name, item in inspect.signature(function).parameters.items()}


def test_defaults_are_those_of_what_is_called() -> None:
    """Where a flag cannot take its default from a module that is slow to import, the two agree all the same."""
    import gpt.diagnose
    from experiments.attribution.parts import attribute
    from experiments.attribution.rivals import judge_rival
    from experiments.bend.fit import fit_bend
    from experiments.bend.mean_angle import AngleOf
    from experiments.recommend.recommendation import recommend
    from experiments.runs.produce import Job
    from experiments.runs.slurm import SlurmOptions
    from gpt.config import TrainConfig
    from gpt.estimates import DEFAULT_GPU, DEFAULT_UTILISATION
    from gpt.prepare import prepare
    from theory import predict

    pairs: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
        ("predict", defaults(predict), ("tolerance", "finite_beta2", "gradient_rms")),
        ("train", defaults(TrainConfig), ("seed", "device")),
        ("train", defaults(Job), ("checkpoint_every",)),
        ("sweep", defaults(Job), ("checkpoint_every",)),
        ("diagnose", defaults(gpt.diagnose.diagnose), ("num_batches",)),
        ("prepare", defaults(prepare), ("tokens_per_shard", "validation_tokens")),
        ("plan", {"gpu": DEFAULT_GPU, "utilisation": DEFAULT_UTILISATION}, ("gpu", "utilisation")),
        ("fit", defaults(fit_bend), ("delta",)),
        ("fit", defaults(AngleOf), ("warmup_fraction", "beta1")),
        ("attribute", defaults(attribute), ("delta",)),
        ("attribute", defaults(judge_rival), ("steepest",)),
        ("recommend", defaults(recommend), ("confidence",)),
    ]
    for command, called, names in pairs:
        for name in names:
            assert parser_of(command).get_default(name) == called[name], (command, name)
    sweep = parser_of("sweep")
    for action in options_of(sweep):
        if action.dest in ("time_minutes", "gpus", "cpus", "max_parallel"):
            assert shown(sweep, action).endswith(f"(default: {getattr(SlurmOptions(), action.dest)})")
