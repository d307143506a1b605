"""The command line: flags to specs, errors to one line and exit code 2.

Parsing is argparse: its errors can be put on one line, and it starts at once. Torch, Numba and pandas are imported
by the commands that need them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from experiments.cli import commands
from experiments.cli.parser import Parser, answer, number, whole_number
from experiments.cli.runs import diagnose as diagnose_command
from experiments.cli.runs import prepare as prepare_command
from experiments.cli.runs import replay as replay_command
from experiments.cli.runs import study as study_command
from experiments.cli.runs import study_commands
from experiments.cli.tables import calibrate as calibrate_command
from gpt.config import TRAINABLE_OPTIMIZERS
from theory import OPTIMIZERS, SCHEDULES

TARGET = {
    "num-params": "of the run to be made; needed if the table has several",
    "num-tokens": "of the run to be made; needed if the table has several",
    "batch-size": "of the run to be made; needed if the table has several and they are not tuned along",
    "weight-decay": "of the run to be made; needed if the table has several",
    "num-steps": "of the run to be made, for --effective (default: tokens over batch)",
    "initial-rms": "of the run to be made, for --effective; needed if the table has several",
}
ARM_STARTS = ("drawn", "equilibrium")

DESCRIPTION = "Why the optimal learning rate bends: closed forms, simulation and real GPT-2 runs of the same settings."


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``lrbend``; returns the exit code."""
    options = build_parser().parse_args(arguments)
    return answer(options.run, options, prog=f"lrbend {options.command}")


def build_parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    parser = Parser(prog="lrbend", description=DESCRIPTION)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    predict = _command(subparsers, "predict", commands.predict, "the closed form for one setting, or a table of them")
    _add_setting(predict, OPTIMIZERS, several=True)
    _add_initial_rms(predict)
    predict.add_argument(
        "--finite-beta2", action="store_true", help="correct for the noise of Adam's second moment (about 1 %% at 0.95)"
    )
    predict.add_argument("--gradient-rms", type=number, default=1.0, help="of the noise; matters to sgdm and adam-l2")
    predict.add_argument("--shape", type=whole_number, nargs=2, metavar=("ROWS", "COLUMNS"), help="for muon and muonh")
    predict.add_argument("--tolerance", type=number, default=0.05, help="band around the equilibrium RMS")
    predict.add_argument("--csv", type=Path, metavar="FILE", help="write the table to FILE")

    simulate = _command(subparsers, "simulate", commands.simulate, "Monte Carlo of gradient noise against the theory")
    _add_setting(simulate, OPTIMIZERS)
    _add_initial_rms(simulate)
    simulate.add_argument("--dim", type=whole_number, help="entries of the matrix (default: 1024, or those of --shape)")
    simulate.add_argument("--shape", type=whole_number, nargs=2, metavar=("ROWS", "COLUMNS"), help="for muon and muonh")
    simulate.add_argument("--gradient-rms", type=number, default=1.0, help="of the noise; see predict")
    simulate.add_argument("--num-replicas", type=whole_number, default=64, help="independent matrices")
    simulate.add_argument("--seed", type=whole_number, default=0, help=" ")
    simulate.add_argument("--record-every", type=whole_number, default=10, help="steps between records")

    train = _command(subparsers, "train", commands.train, "one real run into a run directory")
    _add_setting(train, TRAINABLE_OPTIMIZERS, needs_steps=False)
    train.add_argument("--preset", default="cpu-32", help="model size, e.g. cpu-16 ... cpu-128")
    train.add_argument("--architecture", default="scale-invariant", choices=("scale-invariant", "gpt2"), help=" ")
    train.add_argument("--vocab-size", type=whole_number, help="token values (default: those of the preset)")
    train.add_argument("--seed", type=whole_number, default=0, help=" ")
    train.add_argument("--dtype", default="float32", choices=("float32", "float64", "bfloat16"), help=" ")
    train.add_argument("--source", default="pysource", metavar="TEXT", help="pysource, zipf, or a path such as ./text")
    train.add_argument(
        "--batch-size", type=whole_number, default=16, help="sequences per step, of all processes together"
    )
    train.add_argument("--accumulation-steps", type=whole_number, default=1, help="parts a batch is computed in")
    train.add_argument("--gradient-clip", type=number, help="largest norm of the gradient")
    train.add_argument("--compile", action="store_true", help="run the model through torch.compile")
    train.add_argument(
        "--record-every", type=whole_number, default=10, help="steps between records of norm and angle; 1 allows replay"
    )
    train.add_argument("--start", default="drawn", choices=ARM_STARTS, help="norm of the initial matrices")
    train.add_argument(
        "--non-matrix-learning-rate", type=number, default=1e-2, help="Adam on embeddings, gains, biases and head"
    )
    train.add_argument("--config", type=Path, metavar="FILE", help="a config.json; in place of the flags above")
    _add_device(train)
    train.set_defaults(defaults={action.dest: action.default for action in train._actions})
    train.add_argument("--out", type=Path, default=Path("runs/train"), metavar="DIR", help="holds the run directory")
    train.add_argument("--checkpoint-every", type=whole_number, default=250, help="steps between checkpoints")
    train.add_argument("--peak-flops", type=number, help="of the device, for the MFU; known for some GPUs")

    replay = _command(subparsers, "replay", replay_command.replay, "a recorded run's angles again under another norm")
    replay_command.add_flags(replay)
    diagnose = _command(
        subparsers,
        "diagnose",
        diagnose_command.diagnose,
        "noise scale, sharpness and Adam's statistics of finished runs",
    )
    diagnose_command.add_flags(diagnose)

    prepare = _command(subparsers, "prepare", prepare_command.prepare, "tokens of a public data set as .bin shards")
    prepare_command.add_flags(prepare)

    validate = _command(
        subparsers, "validate", commands.validate, "theory, simulation and real runs side by side, with verdicts"
    )
    _add_device(validate)
    validate.add_argument("--out", type=Path, default=Path("runs/validate"), metavar="DIR", help="runs and report")
    validate.add_argument("--num-workers", type=whole_number, help="processes (default: one per core)")

    plan = _command(subparsers, "plan", study_commands.plan, "what a study costs: runs, tokens, FLOPs, hours")
    study_commands.add_plan_flags(plan)

    sweep = _command(subparsers, "sweep", study_commands.sweep, "all runs of a study; restart it at any time")
    study_commands.add_sweep_flags(sweep)

    study = _command(subparsers, "study", study_command.run, study_command.SUMMARY)
    study_command.add_flags(study)

    fit = _command(subparsers, "fit", commands.fit, "a table of runs to optima, exponents and a verdict on the bend")
    _add_table(fit)
    fit.add_argument("--delta", type=number, default=0.07, help="curvature that counts as straight")

    recommend = _command(
        subparsers, "recommend", commands.recommend, "from a table of pilot runs to the learning rate of a larger one"
    )
    _add_table(recommend)
    for name, meaning in TARGET.items():
        recommend.add_argument(f"--{name}", type=number, help=meaning)
    recommend.add_argument("--confidence", type=number, default=0.90, help="of the interval")

    attribute = _command(
        subparsers, "attribute", commands.attribute, "how much of a bend angles, norm or something else can make"
    )
    _add_attribute(attribute)

    calibrate = _command(subparsers, "calibrate", calibrate_command.run, calibrate_command.SUMMARY)
    calibrate_command.add_flags(calibrate)

    report = _command(subparsers, "report", commands.report, "one HTML page for all finished runs below a directory")
    report.add_argument("directory", type=Path, metavar="DIR")
    return parser


def _command(
    subparsers: argparse._SubParsersAction[Parser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> Parser:
    parser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)
    return parser


def _add_setting(parser: Parser, optimizers: Iterable[str], *, several: bool = False, needs_steps: bool = True) -> None:
    """Optimizer and schedule; ``several`` allows lists of learning rates and decays."""
    parser.add_argument("--optimizer", default="adamw", choices=list(optimizers), help=" ")
    many = {"nargs": "+"} if several else {}
    parser.add_argument(
        "--learning-rate",
        type=number,
        required=needs_steps,
        help="peak" + (", one or more" if several else ""),
        **many,
    )
    parser.add_argument(
        "--weight-decay",
        type=number,
        help="decoupled, PyTorch convention (default: 0.1; adamh has none)",
        default=argparse.SUPPRESS,
        **many,  # type: ignore[arg-type]
    )
    for name, value in (("beta1", 0.9), ("beta2", 0.95), ("eps", 1e-8)):
        parser.add_argument(f"--{name}", type=number, default=argparse.SUPPRESS, help=f"(default: {value:g} for Adam)")
    parser.add_argument("--num-steps", type=whole_number, required=needs_steps, help="length of the run")
    parser.add_argument("--schedule", default="constant", choices=list(SCHEDULES), help=" ")
    parser.add_argument("--warmup-steps", type=whole_number, default=0, help=" ")
    parser.add_argument("--final-fraction", type=number, default=0.0, help="of the peak, where a decay ends")
    parser.add_argument("--decay-fraction", type=number, default=0.2, help="of the run, wsd only")


def _add_initial_rms(parser: Parser) -> None:
    parser.add_argument("--initial-rms", type=number, default=0.02, help="weight RMS at the start")


def _add_table(parser: Parser) -> None:
    """A table of runs, and how its law is fitted."""
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="one run a row; learning_rate and loss (nats)")
    parser.add_argument(
        "--column", action="append", metavar="OURS=THEIRS", help="map a column: learning_rate=lr; repeatable"
    )
    parser.add_argument(
        "--constant", action="append", metavar="NAME=VALUE", help="one value for all: num_params=1.3e8; repeatable"
    )
    parser.add_argument(
        "--batch",
        choices=("fixed", "co-tuned", "covariate"),
        help="how batch size is treated (default: fixed with one in the table, covariate with several)",
    )
    parser.add_argument("--effective", action="store_true", help="fit in AdamW's mean angle too; needs --schedule")
    parser.add_argument("--schedule", choices=list(SCHEDULES), help="of the runs, for --effective")
    parser.add_argument("--warmup-fraction", type=number, default=0.01, help="of the run, for --effective")
    parser.add_argument("--beta1", type=number, default=0.9, help="of the runs, for --effective")


def _add_attribute(parser: Parser) -> None:
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="one run a row, as for fit, with its arm")
    parser.add_argument(
        "--arm",
        action="append",
        metavar="NAME=ANGLES:NORM",
        help="place of an arm: angles own or steady, norm own or fixed, ':angle' behind if its learning rate is one;"
        " known by name: adamw=own:own, replay=own:fixed, equilibrium=steady:own, adamh=steady:fixed:angle; repeatable",
    )
    parser.add_argument("--arm-column", metavar="COLUMN", help="names the arm (default: arm, else optimizer)")
    parser.add_argument("--optima", action="store_true", help="one cell of an arm a row: learning_rate, low, high")
    parser.add_argument("--where", action="append", metavar="COLUMN=VALUE", help="with --optima, only these rows")
    parser.add_argument("--column", action="append", metavar="OURS=THEIRS", help="map a column; repeatable")
    parser.add_argument("--constant", action="append", metavar="NAME=VALUE", help="one value for all; repeatable")
    parser.add_argument("--delta", type=number, default=0.07, help="curvature that counts as none")
    parser.add_argument("--mean-angle", metavar="COLUMN", help="mean angle per step; takes the problem's own bend out")
    parser.add_argument(
        "--rival",
        action="append",
        metavar="COLUMN[=EXPONENT]",
        help="could this column do it instead; optimum ~ column^EXPONENT, estimated if not given; repeatable",
    )
    parser.add_argument("--steepest", type=number, default=2.0, help="exponent beyond which no rival is believed")
    parser.add_argument("--out", type=Path, metavar="DIR", help="page, figures and their tables")


def _add_device(parser: Parser) -> None:
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help=" ")


if __name__ == "__main__":
    sys.exit(main())
