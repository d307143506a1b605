"""A parameter that many functions share has one default, whichever of them is asked."""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

import theory
from theory.radial import DIRECTION_RATIO

DEFAULTS = {
    "beta1": 0.9,  # arXiv 1412.6980
    "beta2": 0.95,  # arXiv 2005.14165, appendix B
    "eps": 1e-8,  # arXiv 1412.6980
    "finite_beta2": False,
    "decoupled": False,
    "nesterov": True,  # as Muon was published
    "tangent": True,
    "gradient_rms": 1.0,
    "update_ratio": 1.0,
    "variance": 1.0,
    "stretch": 1.0,
    "hold": 1.0,
    "aspect": 1.0,
    "power": 1.0,
    "factor": 1.0,
    "share": 0.0,
    "weight_decay": 0.0,
    "noise_growth": 0.0,
    "rms_exponent": 0.0,
    "L_inf": 0.0,
    "A": 0.0,
    "a": 0.0,
    "B1": 0.0,
    "shrink": 1.0,  # without weight decay
    "growth": 1.0,
    "cosine": 0.0,
    "final_fraction": 0.0,
    "warmup_steps": 0,
    "record_every": 1,
    "tolerance": 0.05,  # the 5 % of the README
    "loss_resolution": 1e-3,
    "widest": 10.0,
    "straight_within": 0.07,  # the README's smallest bend
    "kurtosis": 3.0,  # of a Gaussian
    "lag": 0,
    "block": 1,  # exact sums
    "negligible": 1e-12,
    "absolute": 0.0,
    "keep_decay": True,
    "total_angle": False,
    "num_iterations": 5,  # as Muon was published
    "at_most": 2**53,  # the largest whole number up to which floats hold all
    "reference_params": 1e8,
    "reference_batch": 2**19,  # as arXiv 2005.14165 has it, in its table 2.1
    "tokens_per_step": 2**19,
    "initial_rms": 0.02,  # of GPT-2's code
    "direction_ratio": 1.0,
    "step": 0.1,
}
OTHERS = {
    ("muon", "beta1"): 0.95,
    ("Muon", "beta1"): 0.95,
    ("MuonH", "beta1"): 0.95,
    ("Setting", "weight_decay"): 0.1,  # arXiv 2005.14165, appendix B
    ("lion", "beta2"): 0.99,  # arXiv 2302.06675
    ("Lion", "beta2"): 0.99,
    ("radial", "direction_ratio"): DIRECTION_RATIO,  # measured
    ("slow_radial", "direction_ratio"): DIRECTION_RATIO,
}
MODULES = [path.stem for path in sorted(Path(theory.__file__).parent.glob("[!_]*.py"))]


def defaults(module: ModuleType) -> dict[tuple[str, str], set[object]]:
    """Those of a module's functions, and of its classes, by owner and parameter."""
    found = defaultdict(set)
    for name, each in vars(module).items():
        if getattr(each, "__module__", "") != module.__name__ or not callable(each):
            continue
        own = vars(each).values() if inspect.isclass(each) else [inspect.unwrap(each)]
        owner = name if inspect.isclass(each) else module.__name__.split(".")[1]
        for function in filter(inspect.isfunction, own):
            for parameter in inspect.signature(function).parameters.values():
                if parameter.default is not parameter.empty and parameter.default is not None:
                    found[owner, parameter.name].add(parameter.default)
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_shared_parameter_has_one_default(name: str) -> None:
    found = defaults(importlib.import_module(f"theory.{name}"))
    for (owner, parameter), values in found.items():
        if parameter in DEFAULTS:
            assert values == {OTHERS.get((owner, parameter), DEFAULTS[parameter])}, f"{owner}: {parameter}"


def test_every_convention_is_of_something() -> None:
    names = {name for module in MODULES for _, name in defaults(importlib.import_module(f"theory.{module}"))}
    assert set(DEFAULTS) <= names
