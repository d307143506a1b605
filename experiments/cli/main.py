"""The list of commands, and the way to them: flags to options, errors to one line and exit code 2.

Parsing is argparse: its errors can be put on one line, and it starts at once. To read the flags of all commands takes
a tenth of a second, since a command imports what it works with when it runs.
"""

from __future__ import annotations

import sys

try:
    import contextlib
    import os
    from collections.abc import Iterator, Sequence
    from importlib import import_module
    from typing import cast

    from experiments.cli.interrupts import interrupts_arrive
    from experiments.cli.parser import EXIT_INTERRUPTED, Command, Parser, Version, answer, missing_output
    from experiments.streams import lasting_streams
except KeyboardInterrupt:  # Ctrl-C in the first moment
    sys.exit(130)

COMMANDS = {
    "predict": "settings.predict",
    "simulate": "settings.simulate",
    "convert": "settings.convert",
    "explore": "settings.explore",
    "train": "training.train",
    "replay": "runs.replay",
    "diagnose": "runs.diagnose",
    "verify": "runs.verify",
    "read": "runs.read",
    "prepare": "runs.prepare",
    "validate": "runs.validate",
    "plan": "runs.plan",
    "sweep": "runs.sweep",
    "study": "runs.study",
    "fit": "tables.fit",
    "recommend": "tables.recommend",
    "attribute": "tables.attribute",
    "losses": "tables.losses",
    "calibrate": "tables.calibrate",
    "report": "runs.report",
}

DESCRIPTION = "Why the optimal learning rate bends: closed forms, simulation and real GPT-2 runs of the same settings."
QUIET = "ignore:resource_tracker"  # joblib warns of what workers leave that were stopped, and removes it
EPILOG = "lrbend COMMAND --help: its flags, their defaults, and examples."


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``lrbend``; returns the exit code."""
    try:
        with _environment(), lasting_streams() as output, interrupts_arrive():
            try:
                words = sys.argv[1:] if arguments is None else arguments
                options = build_parser(words[:1]).parse_args(words)
                return answer(options.run, options, prog=f"lrbend {options.command}", output=output)
            except SystemExit as stop:
                raise SystemExit(stop.code or missing_output(output, prog="lrbend")) from None
    except KeyboardInterrupt:
        print("lrbend: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """The environment of a command and of what it starts; a notebook that calls one has its own again behind it."""
    known = os.environ.get("PYTHONWARNINGS", "")
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or "1"
    ours = {
        "OPENBLAS_NUM_THREADS": threads,  # matrices are small here: more threads wait for each other
        "PYTHONSAFEPATH": "1",  # no process that a command starts takes code from the current folder
        "MPLBACKEND": "Agg",  # figures become files here; a name that matplotlib does not know stops its import
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "FATAL"),  # the command says what is wrong, once
        "PYTHONWARNINGS": known if QUIET in known else f"{known},{QUIET}".strip(","),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def build_parser(command_of: Sequence[str] = ()) -> Parser:
    """All commands and flags; those of one command alone where its name is the first of the words."""
    parser = Parser(prog="lrbend", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=Version, help="print the version and the commit, and stop")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name in [word for word in command_of[:1] if word in COMMANDS] or COMMANDS:
        command = cast(Command, import_module(f"experiments.cli.{COMMANDS[name]}"))
        summary, examples = command.SUMMARY, "".join(f"\n  {example}" for example in command.EXAMPLES)
        subparser = subparsers.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=f"examples:{examples}"
        )
        subparser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        command.add_flags(subparser)
        subparser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
