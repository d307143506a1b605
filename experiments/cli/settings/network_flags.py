"""The flags that say which network a prediction speaks of, and the network that they stand for."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.flags import KINDS, NETWORKS
from experiments.cli.parser import number
from experiments.cli.settings.rate_file import PREFIX
from experiments.cli.settings.series_file import read_series
from experiments.files import BadInput

if TYPE_CHECKING:
    from theory.networks import Network

VALLEY = re.compile(r"valley\(([^()]*)\)")
# Parameters of a network that have other names on the command line.
FLAG_OF = {
    "direction_ratio": "--direction",
    "direction_history": "--direction file:PATH",
    "ratios": "--direction file:PATH",
    "gradient_history": "--early-gradients",
    "factor": "--early-gradients FACTOR",
    "steps": "--early-gradients STEPS",
}


def add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--network",
        default=NETWORKS[0],
        choices=NETWORKS,
        help="how gradients depend on the weight norm; all but white-noise take beta2 as it is",
    )
    group.add_argument(
        "--kind",
        choices=KINDS,
        help=f"of matrix, for gpt2: each has a law of its own (default: {KINDS[0]}, the matrices of the MLP)",
    )
    group.add_argument(
        "--direction",
        metavar="RATIO",
        help="RMS of Adam's direction over that of white noise: a number, white (1), measured (0.885, small runs; 90 %%"
        " of matrices within .81 to .945), or valley(CURVATURE,SHAPE), by what the loss curves in a step"
        " (theory.valley; 1.15,0.31 in small runs); or file:PATH, a table with columns step and direction_ratio, for"
        " scale-invariant (default: white for white-noise, else measured)",
    )
    group.add_argument(
        "--early-gradients",
        type=number,
        nargs=2,
        metavar=("FACTOR", "STEPS"),
        help="gradients FACTOR times as large at step 0, at equal norm; the excess falls to 1/e in STEPS steps"
        " (default: as large as later)",
    )


def direction_ratio(text: str, beta1: float) -> float:
    """What ``--direction`` means: a ratio, the name of one, or a valley at this ``beta1``. Raises `BadInput`."""
    from theory import InvalidParameter, networks, valley

    if found := VALLEY.fullmatch(text):
        try:
            curvature, *shape = (number(each.strip()) for each in found[1].split(","))
            if len(shape) > 1:
                raise BadInput(f"--direction {text}: must be valley(CURVATURE) or valley(CURVATURE,SHAPE)")
            return float(valley.direction_ratio(curvature, beta1, *shape))
        except InvalidParameter as error:
            raise BadInput(f"--direction {text}: {error.name} must be {error.allowed}") from None
        except argparse.ArgumentTypeError as error:
            raise BadInput(f"--direction {text}: {error}") from None
    named = {"white": networks.WHITE, "measured": networks.DIRECTION_RATIO}
    try:
        ratio = named[text] if text in named else number(text)
    except argparse.ArgumentTypeError:
        ratio = 0.0
    if ratio <= 0:
        raise BadInput(
            f"--direction {text}: must be a number above 0, white, measured, valley(CURVATURE,SHAPE) or file:PATH"
        )
    return ratio


def network_from(options: argparse.Namespace) -> Network:
    """The network of the flags; raises `InvalidParameter` and `BadInput`."""
    from dataclasses import replace

    from theory import networks

    network = networks.NETWORKS[options.network]
    if options.kind is not None:
        if network.kind is None:
            raise BadInput(f"--kind {options.kind}: needs --network gpt2")
        network = networks.gpt2_matrices(options.kind.replace("-", ", "))
    if options.direction is not None and options.direction.startswith(PREFIX):
        network = _with_history(network, Path(options.direction.removeprefix(PREFIX)))
    elif options.direction is not None:
        network = replace(network, direction_ratio=direction_ratio(options.direction, _beta1(options)))
    if options.early_gradients is not None:
        factor, steps = options.early_gradients
        network = replace(network, gradient_history=networks.EarlyGradients(factor=factor, steps=steps))
    return network


def _with_history(network: Network, path: Path) -> Network:
    """Of that ratio at every step; the last one is that of later, and of equilibrium."""
    from dataclasses import replace

    from theory.networks import DirectionHistory

    series = read_series(path, (("direction_ratio",),))
    last = series.values[-1]
    if last <= 0:
        raise BadInput(f"{path}: the last {series.name} must be above 0")
    history = DirectionHistory(steps=series.steps, ratios=tuple(value / last for value in series.values))
    return replace(network, direction_ratio=last, direction_history=history)


def _beta1(options: argparse.Namespace) -> float:
    """Of the flags, or the optimizer's own; that of AdamW where it has none."""
    from theory import OPTIMIZERS, AdamW

    if options.beta1 is not None:
        return float(options.beta1)
    cls = OPTIMIZERS[options.optimizer or AdamW.name]
    return float(getattr(cls, "beta1", AdamW.beta1))


@contextmanager
def told_by_flag() -> Iterator[None]:
    """Inside the block, what is wrong with a network is told by the names of the flags."""
    from theory import InvalidParameter

    try:
        yield
    except InvalidParameter as error:
        if error.name not in FLAG_OF:
            raise
        given = f" {error.value:g}" if isinstance(error.value, float) else ""
        raise BadInput(f"{FLAG_OF[error.name]}{given}: must be {error.allowed}") from None
