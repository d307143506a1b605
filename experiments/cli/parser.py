"""What every command line here has in common: what a user can mend is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from experiments.files import BadInput
from theory import InvalidParameter

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except that there is none or a flag is off."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """argparse with errors on one line, no abbreviated flags, and numbers like -1e-3 or -inf read as values."""

    def __init__(self, **keywords: object) -> None:
        keywords.setdefault("formatter_class", _Help)
        super().__init__(allow_abbrev=False, **keywords)  # type: ignore[arg-type]
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|inf|nan)$")

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {' '.join(message.split())}\n")


def answer(
    run: Callable[[argparse.Namespace], int],
    options: argparse.Namespace,
    *,
    prog: str,
    when_stopped: str = "finished runs are kept, the same command goes on from there",
) -> int:
    """Run a command; returns its exit code, or says what was wrong with what it was given."""
    where = f"{prog}: error:"
    try:
        return run(options)
    except InvalidParameter as error:
        name = flag(error.name) if hasattr(options, error.name) else error.name
        return _fail(f"{where} {name} {str(error.value)[:400]}: must be {error.allowed}")
    except BadInput as error:
        return _fail(f"{where} {error}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = error.filename or getattr(options, "out", "output")
        return _fail(f"{where} {place}: {error.strerror or error}")
    except MemoryError:
        return _fail(f"{where} not enough memory; ask for fewer steps, replicas or dimensions")
    except KeyboardInterrupt:
        _fail(f"{prog}: stopped; {when_stopped}")
        return EXIT_INTERRUPTED


def flag(name: str) -> str:
    """``num_steps`` as it is typed."""
    return "--" + name.replace("_", "-")


def _fail(message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return EXIT_BAD_INPUT
