"""What should happen: closed forms, derivations and schedules of weight-norm dynamics.

``docs/theory.md`` lists what each module derives; ``python -m theory.adamw``, and so the others, prints it.
"""

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from theory import adamh, adamw
from theory.checks import InvalidParameter, NoEquilibrium
from theory.models import Equilibrium
from theory.optimizers import (
    OPTIMIZERS,
    SGDM,
    AdamC,
    AdamH,
    AdamL2,
    AdamW,
    Lion,
    Muon,
    MuonH,
    Optimizer,
    SignSGDM,
)
from theory.outcome import RunOutcome
from theory.predict import Prediction, equilibrium, predict, predict_trajectory
from theory.schedules import (
    ALL_SCHEDULES,
    SCHEDULES,
    WSD,
    Constant,
    Cosine,
    CosineRestarts,
    Linear,
    Schedule,
    Tabulated,
)
from theory.trajectory import Trajectory, record_steps

__all__ = [
    "ALL_SCHEDULES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGDM",
    "WSD",
    "AdamC",
    "AdamH",
    "AdamL2",
    "AdamW",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Equilibrium",
    "InvalidParameter",
    "Linear",
    "Lion",
    "Muon",
    "MuonH",
    "NoEquilibrium",
    "Optimizer",
    "Prediction",
    "RunOutcome",
    "Schedule",
    "SignSGDM",
    "Tabulated",
    "Trajectory",
    "adamh",
    "adamw",
    "equilibrium",
    "predict",
    "predict_trajectory",
    "record_steps",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """A module of the package that no import here names, as `theory.transient`, when it is first asked for."""
        if name.startswith("_") or not Path(__file__).with_name(f"{name}.py").is_file():
            raise AttributeError(f"module 'theory' has no attribute {name!r}")
        return importlib.import_module(f"theory.{name}")


# A module that is run prints the derivations of its imported twin; Python warns of the two.
warnings.filterwarnings("ignore", "'theory.* found in sys.modules", RuntimeWarning, "runpy")
