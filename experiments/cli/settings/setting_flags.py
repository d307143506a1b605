"""The flags of a setting: optimizer, schedule and matrix, and the specs that they stand for."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import SCHEDULES
from experiments.cli.parser import number, whole_number

if TYPE_CHECKING:
    from theory import Optimizer, Schedule

DEFAULT_WEIGHT_DECAY = 0.1


def add_setting(
    parser: argparse.ArgumentParser, optimizers: Sequence[str], *, several: bool = False, required: bool = True
) -> None:
    """Optimizer and schedule. ``several`` allows lists of learning rates and decays; ``required``: rate and steps."""
    group = parser.add_argument_group("optimizer and schedule")
    many: dict[str, Any] = {"nargs": "+"} if several else {}
    words = ", one or more; every pair of rate and decay is a row" if several else ""
    unless = "" if required else " (default: none; needed unless --config is given)"
    group.add_argument("--optimizer", default="adamw", choices=optimizers, help="what turns gradients into steps")
    group.add_argument(
        "--learning-rate", type=number, required=required, help=f"peak of the schedule{words}{unless}", **many
    )
    group.add_argument(
        "--weight-decay",
        type=number,
        help=f"PyTorch's convention, a step takes learning rate x decay of the weights{words}"
        f" (default: {DEFAULT_WEIGHT_DECAY:g}; adamh and muonh have none)",
        **many,
    )
    for name, meaning in (
        ("beta1", "memory of the mean of gradients, or the momentum (default: the optimizer's own, 0.9 for Adam)"),
        ("beta2", "memory of the mean of their squares (default: the optimizer's own, 0.95 for Adam)"),
        ("eps", "added to the root of the mean square (default: the optimizer's own, 1e-8 for Adam)"),
    ):
        group.add_argument(f"--{name}", type=number, help=meaning)
    group.add_argument("--num-steps", type=whole_number, required=required, help=f"length of the run{unless}")
    group.add_argument(
        "--schedule", default="constant", choices=SCHEDULES, help="of the learning rate behind the warmup"
    )
    group.add_argument("--warmup-steps", type=whole_number, default=0, help="steps of linear rise to the peak")
    group.add_argument(
        "--final-fraction", type=number, default=0.0, help="of the peak, where a decay ends; not for constant"
    )
    group.add_argument(
        "--decay-fraction", type=number, default=0.2, help="of the run, in which wsd decays; for wsd only"
    )


def add_matrix(parser: argparse.ArgumentParser) -> None:
    """The matrix that is trained, and the noise that stands for its gradients."""
    group = parser.add_argument_group("matrix and noise")
    group.add_argument("--initial-rms", type=number, default=0.02, help="root mean square of the weights at the start")
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


def optimizer_from(options: argparse.Namespace, learning_rate: float, weight_decay: float | None) -> Optimizer:
    """The spec from the flags that were given; the rest stays at the optimizer's own defaults.

    Says on stderr which flags the optimizer has no use for. Raises `InvalidParameter`.
    """
    from theory import OPTIMIZERS, InvalidParameter

    cls = OPTIMIZERS[options.optimizer]
    names = {field.name for field in dataclasses.fields(cls)}
    given: dict[str, Any] = {"learning_rate": learning_rate}
    if "weight_decay" in names:
        given["weight_decay"] = DEFAULT_WEIGHT_DECAY if weight_decay is None else weight_decay
    elif weight_decay:
        print(f"note: {cls.name} has no weight decay; --weight-decay is ignored", file=sys.stderr)
    for name in ("beta1", "beta2", "eps"):
        if (value := getattr(options, name)) is not None:
            if name in names:
                given[name] = value
            else:
                print(f"note: {cls.name} has no {name}; --{name} is ignored", file=sys.stderr)
    try:
        return cls(**given)
    except InvalidParameter as error:
        if error.name != "weight_decay" or weight_decay is not None:
            raise
        limit = 1 / DEFAULT_WEIGHT_DECAY
        allowed = f"below {limit:g}, one over the default weight decay; or give --weight-decay"
        raise InvalidParameter("learning_rate", learning_rate, allowed) from None


def schedule_from(options: argparse.Namespace) -> Schedule:
    """The spec from the flags; raises `InvalidParameter`."""
    from theory import SCHEDULES, WSD, Constant

    cls = SCHEDULES[options.schedule]
    given: dict[str, Any] = {"num_steps": options.num_steps, "warmup_steps": options.warmup_steps}
    if cls is not Constant:
        given["final_fraction"] = options.final_fraction
    if cls is WSD:
        given["decay_fraction"] = options.decay_fraction
    return cls(**given)


def shape_from(options: argparse.Namespace) -> tuple[int, int] | None:
    return None if options.shape is None else (options.shape[0], options.shape[1])
