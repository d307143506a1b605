"""The flags of a setting: optimizer, schedule and matrix, and the specs that they stand for."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import NETWORKS, SCHEDULES
from experiments.cli.parser import number, whole_number
from experiments.cli.settings.decay_flags import MUON_SCALES, add_decay, with_decay
from experiments.cli.settings.rate_file import PREFIX, read_rates
from experiments.files import BadInput
from experiments.text import flag

if TYPE_CHECKING:
    from theory import Optimizer, Schedule

DEFAULT_WEIGHT_DECAY, DEFAULT_INITIAL_RMS = 0.1, 0.02
NAMES = (*SCHEDULES, "cosine-restarts")
OF_EQUILIBRIUM = "equilibrium"
STEP_BYTES, NETWORK_STEP_BYTES = 150, 350  # of a prediction, measured at 3 and 10 million steps


@dataclasses.dataclass(frozen=True)
class OfEquilibrium:
    """An initial RMS as a multiple, above 0, of the equilibrium RMS at the peak rate. text : as it was written."""

    factor: float
    text: str


def add_setting(
    parser: argparse.ArgumentParser,
    optimizers: Sequence[str],
    *,
    several: bool = False,
    required: bool = True,
    optimizer_flag: str = "--optimizer",
    measured: bool = False,
) -> None:
    """Optimizer and schedule. ``several`` allows lists of learning rates and decays.

    ``required``: rate and steps, where no file gives them; without it ``--config`` may. ``measured``: a file of
    ``--measured`` may too, and the schedule is None where no flag tells it.
    """
    group = parser.add_argument_group("optimizer and schedule")
    parser.set_defaults(several_rates=several)
    many: dict[str, Any] = {"nargs": "+"} if several else {}
    words = ", one or more; every pair of rate and decay is a row" if several else ""
    files = "those of a file: schedule" + (" or of --measured" if measured else "")
    unless = f" (default: {files}; {'needed' if required else 'or of --config, needed'} without it)"
    group.add_argument(
        optimizer_flag,
        dest="optimizer",
        default="adamw",
        choices=optimizers,
        help="what turns gradients into steps",
    )
    group.add_argument("--learning-rate", type=number, help=f"peak of the schedule{words}{unless}", **many)
    group.add_argument(
        "--weight-decay",
        type=number,
        help=f"in the convention of --decay, by default a step takes learning rate x decay of the weights{words}"
        f" (default: {DEFAULT_WEIGHT_DECAY:g}; adamh and muonh have none)",
        **many,
    )
    add_decay(group)
    for name, meaning in (
        ("beta1", "memory of the mean of gradients, or the momentum (default: the optimizer's own, 0.9 for Adam)"),
        ("beta2", "memory of the mean of their squares (default: the optimizer's own, 0.95 for Adam)"),
        ("eps", "added to the root of the mean square (default: the optimizer's own, 1e-8 for Adam)"),
    ):
        group.add_argument(f"--{name}", type=number, help=meaning)
    group.add_argument("--num-steps", type=whole_number, help=f"length of the run{unless}")
    group.add_argument(
        "--schedule",
        default=None if measured else "constant",
        metavar="NAME",
        help=f"of the learning rate behind the warmup: {', '.join(NAMES)}; or file:PATH, a table with columns step and"
        " learning_rate or multiplier, straight between its rows"
        + (" (default: the rates of --measured, else constant)" if measured else ""),
    )
    group.add_argument("--warmup-steps", type=whole_number, default=0, help="steps of linear rise to the peak")
    group.add_argument(
        "--final-fraction", type=number, default=0.0, help="of the peak, where a decay ends; not for constant"
    )
    group.add_argument(
        "--decay-fraction", type=number, default=0.2, help="of the run, in which wsd decays; for wsd only"
    )
    group.add_argument(
        "--num-cycles", type=whole_number, default=2, help="descents of equal length; for cosine-restarts only"
    )


def add_matrix(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """The matrix that is trained, and the noise that stands for its gradients.

    ``several`` allows a list of initial RMS, which is then None where none is given.
    """
    group = parser.add_argument_group("matrix and noise")
    start = (
        "root mean square of the weights at the start; equilibrium, or 2x for twice that, of theory at the peak rate"
    )
    if several:
        text = f"{start}, one or more; each is a row (default: {DEFAULT_INITIAL_RMS:g})"
        group.add_argument("--initial-rms", type=start_rms, metavar="RMS", nargs="+", help=text)
    else:
        group.add_argument("--initial-rms", type=start_rms, metavar="RMS", default=DEFAULT_INITIAL_RMS, help=start)
    group.add_argument(
        "--gradient-rms", type=number, default=1.0, help="root mean square of the noise; matters to sgdm and adam-l2"
    )
    group.add_argument(
        "--shape",
        type=whole_number,
        nargs=2,
        metavar=("ROWS", "COLUMNS"),
        help="of the matrix; muon and muonh need it (default: no shape)",
    )
    group.add_argument(
        "--muon-scale",
        choices=MUON_SCALES,
        help="factor on the polar factor of ROWS x COLUMNS: keller-jordan and torch sqrt(max(1, ROWS/COLUMNS)),"
        " moonlight .2 sqrt(max(ROWS, COLUMNS)) (default: keller-jordan)",
    )
    group.add_argument(
        "--update-ratio",
        type=number,
        help="RMS of Muon's polar factor as computed over that of the exact one; five steps of Newton-Schulz on"
        " white noise make .93 of a square of 768, .86 of a square of 64 (default: 1)",
    )


def start_rms(text: str) -> float | OfEquilibrium:
    """The ``type`` of an initial RMS."""
    plain = text.strip().lower()
    if plain == OF_EQUILIBRIUM:
        return OfEquilibrium(1.0, plain)
    try:
        if not plain.endswith("x"):
            return number(text)
        factor = number(plain.removesuffix("x"))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text}: must be a number, {OF_EQUILIBRIUM}, or a multiple like 2x") from None
    if factor <= 0:
        raise argparse.ArgumentTypeError(f"{text}: the multiple of the equilibrium must be above 0")
    return OfEquilibrium(factor, plain)


def start_from(asked: float | OfEquilibrium, optimizer: Optimizer, **model: Any) -> float:
    """The initial RMS that a flag asks for; ``model`` are the keywords of `theory.networks.model_of`."""
    from theory import NoEquilibrium
    from theory.models import OnSphere
    from theory.networks import model_of

    if not isinstance(asked, OfEquilibrium):
        return asked
    found = model_of(optimizer, **model)
    if isinstance(found, OnSphere):
        raise BadInput(f"--initial-rms {asked.text}: {optimizer.name} holds the norm where it starts; give a number")
    try:
        return asked.factor * found.equilibrium(DEFAULT_INITIAL_RMS).weight_rms
    except NoEquilibrium:
        raise BadInput(f"--initial-rms {asked.text}: without decay there is no equilibrium; give a number") from None


def optimizer_from(options: argparse.Namespace, learning_rate: float, weight_decay: float | None) -> Optimizer:
    """The spec from the flags that were given; the rest stays at the optimizer's own defaults.

    Says on stderr which flags the optimizer has no use for. Raises `InvalidParameter` and `BadInput`.
    """
    given = {name: getattr(options, name) for name in ("beta1", "beta2", "eps")}
    muon = {"scale": getattr(options, "muon_scale", None), "update_ratio": getattr(options, "update_ratio", None)}
    return build_optimizer(options.optimizer, learning_rate, weight_decay, options.decay, {**given, **muon})


MUON_FLAGS = {"scale": "muon_scale"}


def build_optimizer(
    optimizer: str,
    learning_rate: float,
    weight_decay: float | None,
    decay: str | None,
    given: Mapping[str, Any],
    *,
    prefix: str = "",
) -> Optimizer:
    """`optimizer_from` of values; those of ``given`` that are None were not. ``prefix`` : of the names of the flags."""
    from theory import OPTIMIZERS, InvalidParameter

    name, keywords = with_decay(optimizer, decay, flag=f"--{prefix}decay")
    cls = OPTIMIZERS[name]
    names = {field.name for field in dataclasses.fields(cls)}
    keywords["learning_rate"] = learning_rate
    if "weight_decay" in names:
        amount = DEFAULT_WEIGHT_DECAY if weight_decay is None else weight_decay
        keywords["weight_decay"] = amount / learning_rate if decay == "relative" and learning_rate > 0 else amount
    elif weight_decay:
        print(f"note: {cls.name} has no weight decay; --{prefix}weight-decay is ignored", file=sys.stderr)
    for field, value in given.items():
        if value is not None and field in names:
            keywords[field] = value
        elif value is not None:
            told = flag(MUON_FLAGS.get(field, field)).replace("--", f"--{prefix}")
            print(f"note: {cls.name} has no {field}; {told} is ignored", file=sys.stderr)
    try:
        return cls(**keywords)
    except InvalidParameter as error:
        if error.name != "weight_decay" or weight_decay is not None:
            raise
        limit = 1 / DEFAULT_WEIGHT_DECAY
        allowed = f"below {limit:g}, one over the default weight decay; or give --weight-decay"
        raise InvalidParameter("learning_rate", learning_rate, allowed) from None


def schedule_from(options: argparse.Namespace) -> Schedule:
    """The spec from the flags. What its file says of peak and length stands in the options from then on.

    Raises `InvalidParameter` and `BadInput`.
    """
    from theory import ALL_SCHEDULES, WSD, Constant, CosineRestarts

    given_name: str = options.schedule
    if given_name.startswith(PREFIX):
        return _schedule_of_file(options, Path(given_name.removeprefix(PREFIX)))
    name = given_name.lower().replace("_", "-")
    if name not in NAMES:
        raise BadInput(f"--schedule {given_name!r}: must be one of {', '.join(NAMES)}, or file:PATH")
    missing = [flag(field) for field in ("learning_rate", "num_steps") if getattr(options, field) is None]
    if missing:
        raise BadInput(f"{' and '.join(missing)}: required, where no file is the schedule")
    require_memory(options)
    cls: Any = ALL_SCHEDULES[name]
    given: dict[str, Any] = {"num_steps": options.num_steps, "warmup_steps": options.warmup_steps}
    if cls is not Constant:
        given["final_fraction"] = options.final_fraction
    if cls is WSD:
        given["decay_fraction"] = options.decay_fraction
    if cls is CosineRestarts:
        given["num_cycles"] = options.num_cycles
    schedule: Schedule = cls(**given)
    return schedule


def require_memory(options: argparse.Namespace) -> None:
    """Raise `MemoryError` where arrays of that many steps cannot fit: Linux grants them, and kills who uses them."""
    network = getattr(options, "network", NETWORKS[0])
    needed = options.num_steps * (STEP_BYTES if network == NETWORKS[0] else NETWORK_STEP_BYTES)
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise MemoryError


def _schedule_of_file(options: argparse.Namespace, path: Path) -> Schedule:
    if options.warmup_steps:
        raise BadInput("--warmup-steps: a schedule from a file has its own")
    rates = read_rates(path)
    if options.learning_rate is None:
        if rates.peak is None:
            raise BadInput(f"--learning-rate: required, since {path} holds multipliers")
        options.learning_rate = [rates.peak] if options.several_rates else rates.peak
    elif rates.peak is not None and options.learning_rate not in (rates.peak, [rates.peak]):
        print(f"note: --learning-rate is the peak; that of {path} is {rates.peak:g}", file=sys.stderr)
    schedule = rates.schedule(options.num_steps)
    options.num_steps = schedule.num_steps
    require_memory(options)
    return schedule


def shape_from(options: argparse.Namespace) -> tuple[int, int] | None:
    return None if options.shape is None else (options.shape[0], options.shape[1])
