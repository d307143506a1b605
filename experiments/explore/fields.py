"""The fields of the page: what can be set, in which order, and between which values a slider moves.

Names are the flags of ``lrbend predict`` with underscores. A box beside a slider takes any value; the slider is for the
range that people use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from theory import ALL_SCHEDULES, OPTIMIZERS, Tabulated
from theory.angle_law import EXAMPLE
from theory.networks import NETWORKS
from theory.schedules import WSD, Constant, CosineRestarts

Scale = Literal["log", "linear", "log-complement"]  # the last: of 1 - value, for memories


@dataclass(frozen=True, kw_only=True)
class Field:
    """group : the heading it stands under. kind : what it is edited with. choices : of a select. default : as text."""

    name: str
    label: str
    group: str
    kind: Literal["slider", "select", "text", "check"]
    default: str = ""
    hint: str = ""
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    scale: Scale = "linear"
    whole: bool = False


OPTIMIZER, SCHEDULE, MATRIX, MORE = "Optimizer", "Schedule", "Weights", "More"
SCHEDULE_NAMES = tuple(name for name in ALL_SCHEDULES if name != Tabulated.name)
FIELDS = (
    Field(
        name="optimizer",
        label="optimizer",
        group=OPTIMIZER,
        kind="select",
        default="adamw",
        choices=tuple(OPTIMIZERS),
        hint="what turns gradients into steps",
    ),
    Field(
        name="learning_rate",
        label="learning rate η",
        group=OPTIMIZER,
        kind="slider",
        default="1e-3",
        low=1e-6,
        high=1.0,
        scale="log",
        hint="peak of the schedule",
    ),
    Field(
        name="weight_decay",
        label="weight decay λ",
        group=OPTIMIZER,
        kind="slider",
        default="0.1",
        low=1e-4,
        high=10.0,
        scale="log",
        hint="0 is allowed: the norm then grows",
    ),
    Field(
        name="decay",
        label="decay convention",
        group=OPTIMIZER,
        kind="select",
        hint="what a step takes of the weights",
    ),
    Field(
        name="beta1",
        label="β₁",
        group=OPTIMIZER,
        kind="slider",
        low=0.0,
        high=0.999,
        scale="log-complement",
        hint="memory of the mean of gradients, or the momentum",
    ),
    Field(
        name="beta2",
        label="β₂",
        group=OPTIMIZER,
        kind="slider",
        low=0.0,
        high=0.9999,
        scale="log-complement",
        hint="memory of the mean of their squares",
    ),
    Field(
        name="schedule",
        label="schedule",
        group=SCHEDULE,
        kind="select",
        default="constant",
        choices=SCHEDULE_NAMES,
        hint="of the learning rate, behind the warmup",
    ),
    Field(
        name="num_steps",
        label="length (steps)",
        group=SCHEDULE,
        kind="slider",
        default="20000",
        low=100,
        high=1e6,
        scale="log",
        whole=True,
    ),
    Field(
        name="warmup_steps",
        label="warmup (steps)",
        group=SCHEDULE,
        kind="slider",
        default="0",
        high=10_000,
        whole=True,
        hint="of linear rise to the peak",
    ),
    Field(
        name="final_fraction",
        label="ends at (of the peak)",
        group=SCHEDULE,
        kind="slider",
        default="0",
        hint="where a decay ends",
    ),
    Field(
        name="decay_fraction",
        label="decays in the last (of the run)",
        group=SCHEDULE,
        kind="slider",
        default="0.2",
    ),
    Field(
        name="num_cycles",
        label="cycles",
        group=SCHEDULE,
        kind="slider",
        default="2",
        low=1,
        high=12,
        whole=True,
    ),
    Field(
        name="initial_rms",
        label="initial RMS",
        group=MATRIX,
        kind="slider",
        default="0.02",
        low=1e-4,
        high=1.0,
        scale="log",
        hint="root mean square of the weights at the start",
    ),
    Field(
        name="network",
        label="network",
        group=MATRIX,
        kind="select",
        default="white-noise",
        choices=tuple(NETWORKS),
        hint="how gradients depend on the weight norm",
    ),
    Field(
        name="shape",
        label="shape (rows columns)",
        group=MATRIX,
        kind="text",
        hint="of the matrix, as 768 3072",
    ),
    Field(
        name="direction",
        label="direction ratio",
        group=MORE,
        kind="text",
        hint="RMS of Adam's direction over that of white noise: a number, white, measured or valley(1.15,0.31)",
    ),
    Field(
        name="finite_beta2",
        label="correct for the noise of Adam's second moment",
        group=MORE,
        kind="check",
    ),
    Field(
        name="gradient_rms",
        label="gradient RMS",
        group=MORE,
        kind="text",
        default="1",
        hint="matters to sgdm and adam-l2",
    ),
    Field(
        name="tolerance",
        label="tolerance",
        group=MORE,
        kind="slider",
        default="0.05",
        low=0.005,
        high=0.5,
        scale="log",
        hint="distance from the equilibrium RMS at which a transient ends",
    ),
)
NAMES = tuple(field.name for field in FIELDS)
LAW = {name: getattr(EXAMPLE, name) for name in ("C1", "a1", "C2", "a2", "B2", "noise_growth")}
SCALE = {"num_params": EXAMPLE.reference_params, "num_tokens": 2.5e9, "tokens_per_step": EXAMPLE.reference_batch}
OF_OPTIMIZERS = ("weight_decay", "beta1", "beta2")  # an optimizer has them or not
OF_SCHEDULES = {"final_fraction": (), "decay_fraction": (WSD.name,), "num_cycles": (CosineRestarts.name,)}
OF_FEW = {
    "shape": ("muon", "muonh"),
    "gradient_rms": ("sgdm", "adam-l2"),
    "finite_beta2": ("adamw", "adamc", "adamh", "adam-l2"),
    "direction": ("adamw", "adamc", "adamh"),
}


def fields_of(optimizer: str, schedule: str) -> tuple[str, ...]:
    """The names of the fields that mean something to an optimizer and a schedule of these names."""
    has = {field.name for field in fields(OPTIMIZERS[optimizer])} if optimizer in OPTIMIZERS else set(OF_OPTIMIZERS)
    left_out = {name for name in OF_OPTIMIZERS if name not in has}
    left_out |= {name for name, own in OF_FEW.items() if optimizer in OPTIMIZERS and optimizer not in own}
    left_out |= {"decay"} if "weight_decay" in left_out else set()
    left_out |= {name for name, own in OF_SCHEDULES.items() if own and schedule not in own}
    left_out |= {"final_fraction"} if schedule == Constant.name else set()
    return tuple(name for name in NAMES if name not in left_out)


def _written(value: float) -> str:
    """As short as a box wants it: 51200, 8.5e7."""
    text = f"{value:.4g}" if value >= 1e6 else f"{value:.10g}"
    return text.replace("e+0", "e").replace("e+", "e")


def for_page(decays: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The fields as the page wants them; ``decays`` : by convention, the optimizers that have it."""
    conventions = ("", *decays)
    shown = [asdict(field) | ({"choices": conventions} if field.name == "decay" else {}) for field in FIELDS]
    return {
        "fields": shown,
        "decays": decays,
        "applies": {name: {s: fields_of(name, s) for s in SCHEDULE_NAMES} for name in OPTIMIZERS},
        "law": {
            "starts": {name: _written(value) for name, value in {**SCALE, **LAW}.items()},
            "reference": [EXAMPLE.reference_params, EXAMPLE.reference_batch],
        },
        "defaults": {
            name: {f.name: f"{f.default:g}" for f in fields(cls) if f.name in ("beta1", "beta2")}
            for name, cls in OPTIMIZERS.items()
        },
    }
