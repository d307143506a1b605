"""What every command has in common: its shape, its numbers, its help, and one line on stderr for bad input.

A command is a module with ``SUMMARY``, ``EXAMPLES``, ``add_flags`` and ``run`` (`Command`), one line of ``main``.
It imports what is slow (theory, NumPy and all that stands on them) inside ``run``, so that help comes at once.
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeGuard

from experiments.cli.interrupts import was_heard
from experiments.cli.suggestions import plain, suggested
from experiments.files import BadInput, one_line
from experiments.streams import Stream
from experiments.tables.written import whole, written
from experiments.text import flag

if TYPE_CHECKING:
    from theory import InvalidParameter

REQUIRED = "the following arguments are required: "
EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
NO_READER = os.strerror(errno.EPIPE)


class Command(Protocol):
    """The shape of a command's module.

    SUMMARY : one phrase, small letter first, no full stop. EXAMPLES : whole command lines that run, two or three.
    """

    SUMMARY: str
    EXAMPLES: tuple[str, ...]

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Its flags. Each has a text; where its default is None the text ends in "(default: ...)", in words."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit code. Raises `BadInput` or `InvalidParameter`."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows the default of every flag, unless its text tells it in words."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if not action.option_strings or "(default: " in text or action.default is argparse.SUPPRESS:
            return text
        if action.required:
            return f"{text} (required)"
        return f"{text} (default: {'off' if action.default is False else '%(default)s'})"


class Parser(argparse.ArgumentParser):
    """argparse with errors on one line, no abbreviated flags, and numbers like -1e-3 or -inf read as values.

    Choices are read in any case. Flags that there are not are told before anything else, all of them, each with the one
    that is meant.
    """

    def __init__(self, **keywords: object) -> None:
        keywords.setdefault("formatter_class", _Help)
        super().__init__(allow_abbrev=False, **keywords)  # type: ignore[arg-type]
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|inf|nan)$")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        words = sys.argv[1:] if args is None else list(args)
        has_commands = any(isinstance(action, argparse._SubParsersAction) for action in self._actions)
        # What follows the name of a command is the command's.
        self._require_known(list(takewhile(lambda word: word.startswith("-"), words)) if has_commands else words)
        return super().parse_known_args(words, namespace)

    def _require_known(self, words: Sequence[str]) -> None:
        unknown = list(dict.fromkeys(self._unknown(words)))
        if not unknown:
            return
        flags = [name for name in self._option_string_actions if name.startswith("--")]
        meant = {name: suggested(name, flags) for name in unknown}
        help_shows = f"{self.prog} --help shows all"
        if len(unknown) > 1:
            told = ", ".join(f"{name} ({other}?)" if other else name for name, other in meant.items())
            self.error(f"{told}: no such flags; {help_shows}")
        for name, other in meant.items():
            self.error(f"{name}: no such flag; {f'did you mean {other}?' if other else help_shows}")

    def _unknown(self, words: Sequence[str]) -> Iterator[str]:
        for word in words:
            name = word.partition("=")[0]
            if word == "--":
                return
            if not re.match(r"--?[^\W\d]", name) or " " in word or name in self._option_string_actions:
                continue
            if not self._negative_number_matcher.match(word):
                yield name

    def _get_value(self, action: argparse.Action, arg_string: str) -> object:
        if action.choices is not None and not isinstance(action, argparse._SubParsersAction):
            known = {plain(choice): choice for choice in action.choices if isinstance(choice, str)}
            arg_string = known.get(plain(arg_string), arg_string)
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = list(action.choices or ())
        if isinstance(action, argparse._SubParsersAction) and value not in known:
            meant = suggested(str(value), known)
            more = f"did you mean {meant}?" if meant else f"{self.prog} --help shows all"
            self.error(f"{value}: no such command; {more}")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        text = " ".join(message.split())
        if text.endswith("required: COMMAND"):
            text = f"COMMAND is missing; {self.prog} --help shows all"
        if text.endswith("required: STUDY"):
            text = "STUDY is missing; lrbend study lists those there are"
        if text.startswith(REQUIRED):
            text = f"{text.removeprefix(REQUIRED)}: required"
        if text.startswith("argument "):  # "argument --x: y" as all other errors are: "--x y"
            text = " ".join(text.removeprefix("argument ").split(": ", maxsplit=1))
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {text}\n")


class Version(argparse.Action):
    """Prints what to cite, and stops."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> NoReturn:
        from experiments.runs.provenance import version

        print(version())
        parser.exit()


def number(text: str) -> float:
    """The ``type`` of every flag that takes a number: a finite one, as `experiments.tables.written` reads it."""
    value = written(text.strip())
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text}: must be a finite number")
    return value


def size(text: str) -> float:
    """The ``type`` of every flag for a size that may have a fraction; ``130M`` is a fine way to write it."""
    value = written(text.strip(), suffixes=True)
    return number(text) if value is None or not math.isfinite(value) else value


def whole_number(text: str) -> int:
    """The ``type`` of every flag that counts something; ``1e4``, ``100k`` and ``130M`` are fine ways to write it."""
    value = whole(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number (20000, 1e5 or 100k are)")
    return value


def answer(
    run: Callable[[argparse.Namespace], int],
    options: argparse.Namespace,
    *,
    prog: str,
    output: Stream | None = None,
    when_stopped: str = "finished runs are kept, the same command goes on from there",
) -> int:
    """Run a command; returns its exit code, or says what was wrong with what it was given, or with its ``output``."""
    from gpt.memory import is_out_of_memory

    where = f"{prog}: error:"
    try:
        code = run(options)
        if code not in (0, EXIT_INTERRUPTED) and was_heard():  # what failed may have failed of it
            _fail(f"{prog}: stopped; {when_stopped}")
            return EXIT_INTERRUPTED
        return (0 if output is None else missing_output(output, prog=prog)) or code
    except BaseException as error:
        if was_heard() or came_of_ctrl_c(error):  # first: what Ctrl-C broke off can look like a damaged file
            _fail(f"{prog}: stopped; {when_stopped}")
            return EXIT_INTERRUPTED
        if isinstance(error, BadInput) or _is_invalid_parameter(error):
            return _fail(f"{where} {told(error, options)}")
        if isinstance(error, MemoryError):
            return _fail(f"{where} not enough memory; ask for fewer steps, replicas or dimensions")
        if isinstance(error, OSError | RuntimeError) and is_out_of_memory(error):
            return _fail(f"{where} not enough memory ({one_line(error)[:200]})")
        if not isinstance(error, OSError):
            raise
        place = error.filename or getattr(options, "out", "output")
        return _fail(f"{where} {place}: {error.strerror or error}")


def came_of_ctrl_c(error: BaseException) -> bool:
    """Whether an error is a Ctrl-C or follows from one: compiled code makes an ImportError or a TypeError of it."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        if isinstance(following, KeyboardInterrupt):
            return True
        seen.add(id(following))
        following = following.__cause__ or following.__context__
    return False


def _is_invalid_parameter(error: BaseException) -> TypeGuard[InvalidParameter]:
    """Whoever raised one has imported the theory, which takes a second; who has not need not for this."""
    checks = sys.modules.get("theory.checks")
    return checks is not None and isinstance(error, checks.InvalidParameter)


def told(error: BaseException, options: argparse.Namespace) -> str:
    """What an `InvalidParameter` or a `BadInput` says, with the flag where the parameter is one of ``options``."""
    if not _is_invalid_parameter(error):
        return str(error)
    name = flag(error.name) if hasattr(options, error.name) else error.name
    value = "" if error.value is None else f" {str(error.value)[:400]}"
    return f"{name}{value}: must be {error.allowed}"


def missing_output(output: Stream, *, prog: str) -> int:
    """The exit code of a command that has done its work: 2, and a line, if not all of its output was taken."""
    output.flush()
    left = ": its reader left before the end, as head does" if output.fault == NO_READER else ""
    return _fail(f"{prog}: error: stdout: cannot be written ({output.fault}{left})") if output.fault else 0


def _fail(message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return EXIT_BAD_INPUT
