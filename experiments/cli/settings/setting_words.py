"""A predicted setting in words: its numbers with their units, how far the run gets, and what was assumed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Container, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from experiments.cli.settings.decay_flags import convention_of
from experiments.text import as_cell

if TYPE_CHECKING:
    from theory import Optimizer, Schedule, Trajectory
    from theory.networks import Network

LONGEST_MEMORY, LARGEST_DECAY = (
    0.25,
    0.002,
)  # 2 x rate x decay / (1 - beta2), and rate x decay, of docs/transient-domain
ANGLES = ("angular_update_equilibrium", "final_angular_update")
UNITS = {
    "initial_rms": "per entry of the matrix",
    "equilibrium_rms": "per entry of the matrix",
    "final_rms": "per entry of the matrix",
    "relaxation_steps": "steps at the peak rate, in which what the squared RMS lacks falls to 1/e",
    "num_relaxations": "of these times in the run, by its rates",
    "transient_steps": "steps",
    "steps_to_equilibrium": "steps at the peak rate",
    **dict.fromkeys(ANGLES, "rad per step"),
    "exponent": "of the steps, with which the RMS grows",
    "rms_per_growth": "RMS over the steps to that exponent, at the peak rate",
    "outgrown_steps": "steps, after which the start matters no more",
    "direction_ratio": "RMS of the optimizer's direction over that of white noise",
    "independent_weight_decay": "of the weights in a step at the peak rate",
}


def numbers_in_words(setting: Mapping[str, Any]) -> list[str]:
    """A line per number, with its unit."""
    lines = []
    for name, value in setting.items():
        unit = UNITS.get(name, "") if value is not None else ""
        if unit and name in ANGLES:
            unit += f", {math.degrees(value):.3g} degrees"
        lines.append(f"{name:28} {as_cell(value):12} {unit}".rstrip())
    return lines


def verdict_in_words(setting: Mapping[str, Any], schedule: Schedule, tolerance: float) -> str:
    """Whether a setting with an equilibrium comes to it."""
    from theory.settling import decay_time_steps, passes_equilibrium

    transient, last = setting["transient_steps"], setting["final_rms"] / setting["equilibrium_rms"] - 1
    band, decays = _percent(tolerance), schedule.peak_end < schedule.num_steps
    if setting["relaxation_steps"] is None:
        return f"The norm is fixed: there is no transient.{last_angle_in_words(schedule)}"
    if transient is None:
        which = "the equilibrium of the peak rate" if decays else "its equilibrium"
        verdict = f"In {schedule.num_steps} steps the weight RMS does not come within {band} of {which}."
    else:
        after = f"{transient} of {schedule.num_steps} steps ({transient / schedule.num_steps:.0%} of the run)"
        if passes_equilibrium(transient, 1 + last, peak_end=schedule.peak_end, tolerance=tolerance):
            verdict = (
                f"The weight RMS is first within {band} of the equilibrium of the peak rate after {after}, and passes"
                " it: no end of a transient."
            )
        else:
            which = "its equilibrium" + (" at the peak" if decays else "")
            verdict = f"The weight RMS is within {band} of {which} after {after}."
        if decays and abs(last) > tolerance:
            verdict += f" The decay takes it away again: it ends {abs(last):.0%} {'below' if last < 0 else 'above'}."
    if decays:
        would = "would" if setting["reaches_equilibrium"] else "would not"
        verdict += (
            f" By its decay time the run holds {setting['num_relaxations']:.3g} relaxations: as many at a constant rate"
            f" {would} reach equilibrium (reaches_equilibrium)."
        )
    needed, worth = setting["steps_to_equilibrium"], decay_time_steps(schedule.multipliers())
    if needed > worth:
        verdict += (
            f" At the peak rate it takes {needed:,.0f} steps, and the run is worth {worth:,} of those"
            f" ({worth / needed:.0%}); it ends at {1 + last:.0%} of that RMS."
        )
    return verdict + last_angle_in_words(schedule)


def last_angle_in_words(schedule: Schedule) -> str:
    """Why the last angle is next to nothing, where it is."""
    ends_at_zero = schedule.peak_end < schedule.num_steps and getattr(schedule, "final_fraction", None) == 0
    return " The schedule ends at 0, and with it the angle." if ends_at_zero else ""


def defined_in_words(tolerance: float) -> str:
    """What two columns of a table mean."""
    return (
        f"transient_steps: first step after which the weight RMS stays within {_percent(tolerance)} of the equilibrium"
        " of the peak rate, up to where the rate decays; else the first step behind that at which it is, where it may"
        " only pass; - where it never is.\n"
        "reaches_equilibrium: whether as many steps at the peak rate as the run is worth (sum of its rates over the"
        " peak) come that near. Under a decay one may be yes and the other -."
    )


def _percent(tolerance: float) -> str:
    return f"{tolerance:.3%}".replace(".000", "")


def nearest_in_words(run: Trajectory, equilibrium_rms: float) -> str:
    """Where a run that does not come within the tolerance is nearest to the equilibrium of its peak rate."""
    away = run.weight_rms[:, 0] / equilibrium_rms - 1
    k = int(abs(away).argmin())
    return (
        f"The RMS is nearest at step {run.steps[k]:,}, {abs(away[k]):.1%} {'below' if away[k] < 0 else 'above'}; the"
        " falling rate has an equilibrium of its own, which falls too."
    )


def start_in_words(setting: Mapping[str, Any], settled_start: float) -> str:
    """From which start there is no transient.

    settled_start : how many steps at the peak rate it takes from a start at the equilibrium RMS.
    """
    start = f"An initial RMS of {setting['equilibrium_rms']:.4g}"
    if settled_start:
        start += (
            f", where it settles, has a transient too, of {settled_start:,.0f} steps: the averages start from zero."
        )
    else:
        start += " would have no transient."
    return start


def network_in_words(network: Network) -> str:
    """Of which kind of matrix it speaks, where its constants depend on that."""
    from theory import radial

    if network.kind is None:
        return network.name
    which = " (the MLP's; --kind for others)" if network.law == radial.DEFAULT else ""
    return f"{network.name} for {network.kind} matrices{which}"


def optimizer_in_title(
    optimizer: Optimizer, *, learning_rate: float, meaning: str = "", varied: Container[str] = ()
) -> str:
    """An optimizer above a picture: its rate, its decay and what that means, beta2, and what is not at its default.

    meaning : of the rate. varied : of learning_rate and weight_decay, what a legend tells.
    """
    from theory import AdamH, MuonH

    parts = [optimizer.name]
    if "learning_rate" not in varied:
        parts.append(f"learning rate {learning_rate:.4g}" + (f" ({meaning})" if meaning else ""))
    if not isinstance(optimizer, AdamH | MuonH):
        convention = convention_of(optimizer)
        named = "" if convention in ("pytorch", optimizer.name) else f" ({convention})"
        amount = "" if "weight_decay" in varied else f" {optimizer.weight_decay:.4g}"
        parts += [f"decay{amount}{named}"] if amount or named else []
    told = ("learning_rate", "weight_decay", "decay", "decoupled")
    for field in fields(optimizer):
        value = getattr(optimizer, field.name)
        if field.default is MISSING or field.name in told or (value == field.default and field.name != "beta2"):
            continue
        parts.append(f"{field.name.replace('_', ' ')} {f'{value:g}' if isinstance(value, float) else value}")
    return ", ".join(parts)


def schedule_in_title(schedule: Schedule) -> str:
    """A schedule above a picture, with all that its name leaves open."""
    from theory import Tabulated

    words = {
        "warmup_steps": "warmup {:g}",
        "decay_fraction": "decay over {:g} of it",
        "final_fraction": "down to {:g} of the peak",
        "num_cycles": "{:g} cycles",
    }
    known = {} if isinstance(schedule, Tabulated) else {name: getattr(schedule, name, 0) for name in words}
    told = ", ".join(words[name].format(value) for name, value in known.items() if value)
    return f"{schedule.name} schedule of {schedule.num_steps} steps" + (f" ({told})" if told else "")


def matrix_in_title(model: Mapping[str, Any]) -> list[str]:
    """The keywords of `theory.predict.predict`, but for the start, above a picture: what is not at its default."""
    network, shape, told = model.get("network"), model.get("shape"), []
    if shape is not None:
        told.append(f"{shape[0]} x {shape[1]}")
    if model["gradient_rms"] != 1:
        told.append(f"gradient RMS {model['gradient_rms']:g}")
    if model.get("finite_beta2"):
        told.append("finite beta2")
    if network is not None:
        told.append(f"network {network_in_words(network)}")
        if network.direction_history is not None:
            told.append("direction of a file")
        elif network.direction_ratio != 1:
            told.append(f"direction {network.direction_ratio:.4g} of white noise")
    return told


def worth_in_words(network: Network, optimizer: Optimizer | None = None) -> str:
    """What the predictions of a network are known to be worth; nothing rests on it if ``optimizer`` holds the norm."""
    from theory import AdamH, MuonH

    if isinstance(optimizer, AdamH | MuonH):
        return f"{optimizer.name} holds the norm: its rate sets the angle, whatever the network."
    return (
        f"Network {network_in_words(network)}, direction {network.direction_ratio:g} of white noise: {network.worth}."
    )


def domain_in_words(optimizer: Optimizer, independent_decay: float | None) -> str | None:
    """Where AdamW's transient lies outside the settings in which real ones were as long as predicted.

    The bounds are those of `experiments.studies.transient_domain`, registered before its runs.
    """
    from theory import AdamW

    if not isinstance(optimizer, AdamW) or not independent_decay:
        return None
    memory = 2 * independent_decay / (1 - optimizer.beta2)
    if memory <= LONGEST_MEMORY and independent_decay <= LARGEST_DECAY:
        return None
    return (
        f"Real transients were as long as predicted, to 7 % in the median, where 2 x rate x decay / (1 - beta2) is at"
        f" most {LONGEST_MEMORY:g} and rate x decay at most {LARGEST_DECAY:g} (docs/transient-domain). Here they are"
        f" {memory:.3g} and {independent_decay:.3g}: outside, lengths were off by up to a factor of 2 and"
        " more (docs/transient-length)."
    )


def adamh_in_words(optimizer: Optimizer) -> str:
    """What to do with ``adamh_learning_rate``."""
    from theory import AdamW

    line = "adamh_learning_rate turns AdamH by the angle at equilibrium."
    if isinstance(optimizer, AdamW) and optimizer.decay == "pytorch":
        line += " Along a schedule AdamW's angle goes like the root of its rate and AdamH's like the rate: give AdamH"
        line += " the root of the multipliers, or, with the transient,"
    else:
        line += " Its schedule is another one:"
    return f"{line} those of lrbend convert --to adamh."


def assumed_in_words(options: argparse.Namespace, optimizer: Optimizer, initial_rms: float | None) -> str:
    """The values that no flag gave, and those of the moments that one did. initial_rms : the default, if taken."""
    values = {"weight decay": getattr(optimizer, "weight_decay", None)} if options.weight_decay is None else {}
    names = ("beta1", "beta2", "eps")
    values |= {name: getattr(optimizer, name, None) for name in names if getattr(options, name) is None}
    values["initial RMS"] = initial_rms
    told = [f"{name} {value:g}" for name, value in values.items() if value is not None]
    if options.schedule == "constant":
        told.append("a constant rate" + ("" if options.warmup_steps else " without warmup"))
    assumed = f"Assumed: {', '.join(told)}." if told else "Nothing was assumed that no flag gave."
    given = [
        f"{name} {getattr(optimizer, name):g}"
        for name in names
        if getattr(options, name) is not None and hasattr(optimizer, name)
    ]
    return f"{assumed} Given: {', '.join(given)}." if given else assumed


def idle_beta2_in_words(options: argparse.Namespace, optimizer: Optimizer, network: Network) -> str | None:
    """That a beta2 which was given changes nothing here; None where it acts, or where none was given."""
    from theory import AdamC, AdamW
    from theory.networks import WHITE_NOISE

    if options.beta2 is None or options.finite_beta2 or network.name != WHITE_NOISE.name:
        return None
    if not isinstance(optimizer, AdamW | AdamC):
        return None
    return f"beta2 {optimizer.beta2:g} does not act in white noise; --network scale-invariant counts it."
