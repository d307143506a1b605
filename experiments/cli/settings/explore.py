"""``lrbend explore``: a page in the browser that shows what the theory says while one moves a slider."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import shlex
import threading
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.cli.parser import EXIT_INTERRUPTED, Parser, told, whole_number
from experiments.cli.settings import predict
from experiments.cli.settings.decay_flags import OF, convention_of, conventions_in_words
from experiments.cli.settings.growth_words import predicted_run
from experiments.cli.settings.network_flags import told_by_flag
from experiments.cli.settings.rate_file import PREFIX
from experiments.cli.settings.setting_flags import DEFAULT_INITIAL_RMS, optimizer_from, schedule_from
from experiments.cli.settings.setting_words import domain_in_words, worth_in_words
from experiments.files import BadInput, to_json
from experiments.text import flag

if TYPE_CHECKING:
    from experiments.explore.asked import Asked
    from experiments.explore.measured import Measured
    from theory import Optimizer, Schedule

SUMMARY = "a page in the browser: norm, angle and transient of a setting, as fast as a slider moves"
EXAMPLES = (
    "lrbend explore",
    "lrbend explore --port 8765 --no-browser",
    "lrbend explore --run docs/radial/trajectories.csv --run docs/same-angle/runs.csv",
)
FIELD = re.compile(r"--([a-z0-9-]+)")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=whole_number, default=0, help="of 127.0.0.1, where the page is served; 0 takes a free one"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    parser.add_argument(
        "--run",
        dest="paths",
        action="append",
        type=Path,
        metavar="PATH",
        help="lay what was measured over the predictions: a run directory, a folder of them, a log as lrbend read takes"
        " it, a table with a run or a record a row; repeatable (default: nothing)",
    )


def run(options: argparse.Namespace) -> int:
    from experiments.explore.fields import for_page
    from experiments.explore.page import page_maker
    from experiments.explore.server import Explorer, Server
    from theory.checks import require_integer

    require_integer("port", options.port, at_least=0, at_most=65535)
    measured = [for_browser(each) for path in options.paths or () for each in _measured(path)]
    page = page_maker(for_page(OF))
    try:
        server = Server(options.port, Explorer(Fields().read, measured), page)
    except OSError as error:
        raise BadInput(f"--port {options.port}: cannot be served on ({error.strerror or error})") from None
    try:
        with server:
            print(to_json({"address": server.url}) if options.json else server.url, flush=True)
            if not options.no_browser:  # some browsers keep who opens them waiting
                threading.Thread(target=_open, args=(server.url,), daemon=True).start()
            server.serve_forever()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _open(address: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(address)


def _measured(path: Path) -> list[Measured]:
    from experiments.explore.measured import read_measured, require_some
    from theory import InvalidParameter

    try:
        found = read_measured(path)
    except InvalidParameter as error:
        raise BadInput(f"--run {path}: {error}") from None
    require_some(found)
    return found


class Fields:
    """Fields of the page as flags of ``lrbend predict``: the same parser, the same checks, the same numbers."""

    def __init__(self) -> None:
        self._parser = _Refusing(prog="lrbend predict")
        predict.add_flags(self._parser)

    def read(self, fields: Mapping[str, str]) -> Asked:
        """The setting of the fields that mean something to its optimizer and schedule. Raises `RefusedField`."""
        from experiments.explore.asked import MOST, RefusedField
        from experiments.explore.fields import NAMES, fields_of

        given = {name: text.strip() for name, text in fields.items() if text.strip()}
        unknown = next((name for name in given if name not in NAMES), None)
        if unknown is not None:
            raise RefusedField(f"{unknown[:40]}: not a field of the page", None)
        for name in ("schedule", "direction"):
            if given.get(name, "").startswith(PREFIX):
                raise RefusedField(f"--{name} {given[name]}: the page reads no file", name)
        meant = fields_of(given.get("optimizer", "adamw"), given.get("schedule", "constant"))
        words = [word for name in meant if name in given for word in _words(name, given[name])]
        options = argparse.Namespace()
        with _told_by_field(options):
            self._parser.parse_args(words, options)
            for name, most in MOST.items():
                value = getattr(options, name)
                largest = max(value) if isinstance(value, list) else value
                if largest is not None and largest > most:
                    raise BadInput(f"{flag(name)} {largest}: must be at most {most} in the page")
            return self._asked(options, " ".join(["lrbend", "predict", *map(shlex.quote, words)]))

    def _asked(self, options: argparse.Namespace, command: str) -> Asked:
        from experiments.explore.asked import Asked, Solved
        from theory.growth import start_of
        from theory.networks import model_of
        from theory.optimizers import pytorch_decay

        schedule = schedule_from(options)
        decay = None if options.weight_decay is None else options.weight_decay[0]
        optimizer = optimizer_from(options, options.learning_rate[0], decay)
        model = predict.model_from(options, optimizer, (options.initial_rms or [DEFAULT_INITIAL_RMS])[0])
        network = model["network"]
        model_of(optimizer, **{name: value for name, value in model.items() if name != "initial_rms"})

        worth = [conventions_in_words(optimizer), worth_in_words(network, optimizer)]
        if hasattr(optimizer, "weight_decay"):
            worth.append(domain_in_words(optimizer, optimizer.learning_rate * pytorch_decay(optimizer)) or "")

        def solve() -> Solved:
            with _told_by_field(options):
                prediction, run = predicted_run(optimizer, schedule, tolerance=options.tolerance, **model)
            answer = predict.setting_answer(optimizer, model, prediction, schedule, options.tolerance)
            return Solved(answer=answer, words=answer["note"], run=run)

        return Asked(
            optimizer=optimizer,
            schedule=schedule,
            model={**model, "initial_rms": start_of(optimizer, **model)},
            tolerance=options.tolerance,
            worth=" ".join(filter(None, worth)),
            command=command,
            solve=solve,
        )


@contextlib.contextmanager
def _told_by_field(options: argparse.Namespace) -> Iterator[None]:
    """Inside the block, what is wrong with a flag is a `RefusedField`, in the words of the command line."""
    from experiments.explore.asked import RefusedField
    from experiments.explore.fields import NAMES
    from theory import InvalidParameter

    try:
        with told_by_flag():
            yield
    except (InvalidParameter, BadInput) as error:
        line = told(error, options)
        found = FIELD.match(line)
        name = found[1].replace("-", "_") if found else getattr(error, "name", None)
        raise RefusedField(line, name if name in NAMES else None) from None


class _Refusing(Parser):
    """Raises where the command line would end."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise BadInput((message or "").removeprefix(f"{self.prog}: error: ").strip())


def _words(name: str, text: str) -> Sequence[str]:
    """A field as the words of a command line."""
    if name == "finite_beta2":
        return [flag(name)] if text == "1" else []
    if name == "shape":
        return [flag(name), *text.replace(",", " ").replace("x", " ").split()]
    return [flag(name), text]


def for_browser(measured: Measured) -> dict[str, Any]:
    """Something measured as the page takes it; ``fields`` : its setting, None where it is not known."""
    return {
        "name": measured.name,
        "kind": measured.kind,
        "curves": measured.curves,
        "ends": measured.ends,
        "notes": measured.notes,
        "fields": None if measured.setting is None else fields_from(*measured.setting),
    }


def fields_from(optimizer: Optimizer, schedule: Schedule, initial_rms: float) -> dict[str, str] | None:
    """The fields that stand for a setting, `Fields.read` backwards; None for a schedule that no field names."""
    from experiments.explore.fields import SCHEDULE_NAMES, fields_of

    if schedule.name not in SCHEDULE_NAMES:
        return None
    convention = convention_of(optimizer)
    known: dict[str, Any] = {
        **{field.name: getattr(optimizer, field.name) for field in dataclasses.fields(optimizer)},
        **{field.name: getattr(schedule, field.name) for field in dataclasses.fields(schedule)},
        "optimizer": optimizer.name,
        "schedule": schedule.name,
        "initial_rms": float(f"{initial_rms:.6g}"),
        "decay": convention if convention in OF and optimizer.name in OF[convention] else "",
    }
    return {
        name: str(known[name]) for name in fields_of(optimizer.name, schedule.name) if known.get(name) not in (None, "")
    }
