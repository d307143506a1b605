"""Conventions of weight decay and of Muon's scale: the flags, the specs they stand for, and how they are told back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.files import BadInput

if TYPE_CHECKING:
    from theory import Optimizer

# What a step takes of the weights, beside its update.
DECAYS = {
    "pytorch": "learning rate x decay",
    "independent": "decay, whatever the learning rate",
    "relative": "decay x learning rate / its peak",
    "coupled": "nothing, since decay x weights is part of the gradient",
    "adamc": "learning rate x decay x learning rate / its peak",
}
PLAIN = ("adamw", "lion", "signsgdm", "muon")  # decoupled, in any convention but adamc
MUON_SCALES = ("keller-jordan", "moonlight", "torch")
OF = {
    "pytorch": (*PLAIN, "sgdm"),
    "independent": PLAIN,
    "relative": (*PLAIN, "sgdm"),
    "coupled": ("adamw", "adam-l2", "sgdm"),
    "adamc": ("adamw", "adamc"),
}


def add_decay(
    group: argparse._ActionsContainer,
    prefix: str = "",
    what: str = "a step takes of the weights",
    choices: Sequence[str] = tuple(DECAYS),
) -> None:
    told = "; ".join(f"{name}: {DECAYS[name]}" for name in choices)
    group.add_argument(
        f"--{prefix}decay", choices=choices, help=f"what {what}. {told} (default: the optimizer's own, mostly pytorch)"
    )


def with_decay(optimizer: str, decay: str | None, *, flag: str = "--decay") -> tuple[str, dict[str, Any]]:
    """Name and keywords of the spec that an optimizer is in this convention. ``relative`` is left to `relative_decay`.

    Raises `BadInput` where the optimizer has no such thing.
    """
    if decay is None or optimizer in ("adamh", "muonh"):
        return optimizer, {}
    if optimizer not in OF[decay]:
        raise BadInput(f"{flag} {decay}: {optimizer} has no such decay, but {', '.join(OF[decay])}")
    if decay == "adamc":
        return "adamc", {}
    if optimizer == "sgdm":
        return optimizer, {"decoupled": decay != "coupled"}
    if decay == "coupled":
        return "adam-l2", {}
    return optimizer, {"decay": "independent"} if decay == "independent" else {}


def conventions(optimizer: Optimizer) -> dict[str, Any]:
    """What the numbers of a setting mean: convention of the decay, decay of a step at the peak, Muon's scale."""
    from theory import Muon
    from theory.optimizers import pytorch_decay

    told: dict[str, Any] = {"decay": convention_of(optimizer)}
    if told["decay"] not in (None, "coupled"):
        told["independent_weight_decay"] = optimizer.learning_rate * pytorch_decay(optimizer)
    if isinstance(optimizer, Muon):
        told |= {"muon_scale": optimizer.scale, "update_ratio": optimizer.update_ratio}
    return told


def convention_of(optimizer: Optimizer) -> str | None:
    """A key of `DECAYS`; None on the sphere."""
    from theory import SGDM, AdamC, AdamH, AdamL2, MuonH

    match optimizer:
        case AdamH() | MuonH():
            return None
        case AdamC():
            return "adamc"
        case AdamL2():
            return "coupled"
        case SGDM():
            return "pytorch" if optimizer.decoupled else "coupled"
        case _:
            return optimizer.decay


def conventions_in_words(optimizer: Optimizer) -> str:
    """The same as a sentence."""
    from theory import AdamH, Muon, MuonH

    name = convention_of(optimizer)
    if name is None or isinstance(optimizer, AdamH | MuonH):
        return f"{optimizer.name} has no weight decay."
    words = f"Decay {optimizer.weight_decay:g} in the convention {name}: a step takes {DECAYS[name]}."
    if isinstance(optimizer, Muon):
        words += f" Muon's scale: {optimizer.scale}, update {optimizer.update_ratio:g} times the exact polar factor."
    return words
