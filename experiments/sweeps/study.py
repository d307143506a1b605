"""A study: what is asked, what will be concluded from which result, and the runs that answer it.

The first four fields are written before the runs. The runs are cells, each a config at some learning rates and seeds;
a cell of one rate and one seed is a single run. A study can be written as a JSON file with these same fields, which a
sweep also leaves beside its runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiments.files import read_json
from experiments.runs.configs import config_from_dict, config_hash
from experiments.runs.produce import Job
from gpt.config import TrainConfig
from theory import InvalidParameter
from theory.checks import require_integer, require_number


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """How a cell's grid of learning rates grows; `experiments.sweeps.adaptive` has the rule.

    Parameters
    ----------
    interval : full width asked of the 95 % interval of ln(optimal learning rate), above 0.
    max_runs : budget of the cell, all seeds counted, the first grid included.
    factor : between rates where the grid widens, above 1.
    lowest, highest : rates that are never left; 0 < lowest < highest.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    interval: float
    max_runs: int
    factor: float = 2.0
    lowest: float = 1e-6
    highest: float = 1.0

    def __post_init__(self) -> None:
        require_number("interval", self.interval, above=0)
        require_integer("max_runs", self.max_runs, at_least=1)
        require_number("factor", self.factor, above=1)
        require_number("lowest", self.lowest, above=0)
        require_number("highest", self.highest, above=self.lowest)


@dataclass(frozen=True, kw_only=True)
class StudyCell:
    """One config at several learning rates and seeds.

    Parameters
    ----------
    label : the first part of the names of its runs: letters, digits, dots, dashes and underscores.
    arm : which cells are compared as one law of the optimum, for the table's column; None: each cell by itself, under
        its label.
    config : everything but learning rate and seed, which the two lists replace; an empty list takes the config's own.
    learning_rates : peak rates of the block matrices, different from each other; of an adaptive cell the first grid.
    seeds : different from each other.
    adaptive : None for a grid that stays as it is.
    start : "equilibrium" rescales the initial matrices of each run to the equilibrium RMS of its own rate.

    Raises
    ------
    InvalidParameter : a value outside its range, a list with repetitions, a config that replays a recorded run (a sweep
        has none), an adaptive cell whose first grid is above its budget or has fewer than three rates.
    """

    label: str
    config: TrainConfig
    learning_rates: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    adaptive: Adaptive | None = None
    start: Literal["drawn", "equilibrium"] = "drawn"
    arm: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", self.label):
            raise InvalidParameter("label", self.label, "letters, digits, dots, dashes, underscores; at most 80")
        if self.arm is not None and not (isinstance(self.arm, str) and self.arm.strip()):
            raise InvalidParameter("arm", self.arm, "a name, or null for the label")
        if self.start not in ("drawn", "equilibrium"):
            raise InvalidParameter("start", self.start, "one of drawn, equilibrium")
        if self.config.steering is not None and self.config.steering.recording is not None:
            raise InvalidParameter("steering", "a recording", "without one in a study; see lrbend replay")
        object.__setattr__(self, "learning_rates", self.learning_rates or (self.config.optimizer.learning_rate,))
        object.__setattr__(self, "seeds", self.seeds or (self.config.seed,))
        for rate in self.learning_rates:
            require_number("learning_rates", rate, above=0)
        for seed in self.seeds:
            require_integer("seeds", seed, at_least=0, at_most=2**32 - 1)
        for name in ("learning_rates", "seeds"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise InvalidParameter(name, getattr(self, name), "without repetitions")
        if self.adaptive is not None:
            least = len(self.learning_rates) * len(self.seeds)
            if len(self.learning_rates) < 3:
                raise InvalidParameter("learning_rates", self.learning_rates, "at least three in an adaptive cell")
            if least > self.adaptive.max_runs:
                raise InvalidParameter("max_runs", self.adaptive.max_runs, f"at least {least}, the first grid")
        for rate in self.learning_rates:
            self.run(rate, self.seeds[0])

    def run(self, learning_rate: float, seed: int) -> TrainConfig:
        """The config of one run. Raises `InvalidParameter` where the optimizer cannot take the rate."""
        from gpt.arms import at_equilibrium

        optimizer = replace(self.config.optimizer, learning_rate=learning_rate)
        config = replace(self.config, optimizer=optimizer, seed=seed)
        return at_equilibrium(config) if self.start == "equilibrium" else config

    def job(self, directory: Path, learning_rate: float, seed: int) -> Job:
        """The run in the directory of its study."""
        return Job(directory, f"{self.label}-lr{learning_rate:.4g}-seed{seed}", self.run(learning_rate, seed))


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and the runs behind its answer.

    Parameters
    ----------
    name : of the study: letters, digits, dots, dashes and underscores.
    question, hypothesis, method, decision : in words; what is asked, what is expected, how it is measured, and the rule
        that turns the result into an answer.
    scientific, nuisance, fixed : the hyperparameters whose effect is asked for; those that are varied so that the
        comparison is fair; those that stay.
    cells : at least one; no run may be in it twice.

    Raises
    ------
    InvalidParameter : a name that cannot be used, no cell, two cells with one label and setting, a run given twice.
    """

    name: str
    question: str
    hypothesis: str
    method: str
    decision: str
    scientific: tuple[str, ...]
    nuisance: tuple[str, ...]
    fixed: tuple[str, ...]
    cells: tuple[StudyCell, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", self.name):
            raise InvalidParameter("name", self.name, "letters, digits, dots, dashes, underscores; at most 80")
        for name in ("question", "hypothesis", "method", "decision"):
            if not getattr(self, name).strip():
                raise InvalidParameter(name, getattr(self, name), "not empty")
        if not self.cells:
            raise InvalidParameter("cells", "()", "at least one")
        seen: dict[str, str] = {}
        for cell in self.cells:
            # an adaptive cell may come to any rate, so that another one must differ from it in more than the rate
            rates = cell.learning_rates[:1] if cell.adaptive else cell.learning_rates
            for rate in rates:
                for seed in cell.seeds:
                    run = cell.run(1e-9 if cell.adaptive else rate, seed)
                    digest = config_hash(run)
                    if digest in seen:
                        allowed = f"different from the cell {seen[digest]}: both hold the same run"
                        raise InvalidParameter("cells", cell.label, allowed)
                    seen[digest] = cell.label


def read_study(path: Path) -> Study:
    """A study from a JSON file; raises `BadInput`, one line."""
    return config_from_dict(Study, read_json(path), where=str(path))


def geometric(start: float, factor: float, count: int) -> tuple[float, ...]:
    """``count`` rates from ``start`` upwards.

    >>> geometric(0.001, 10**0.5, 3)
    (0.001, 0.00316228, 0.01)
    """
    return tuple(rounded_rate(start * factor**k) for k in range(count))


def rounded_rate(rate: float) -> float:
    """To six digits: the same number on every machine, and one that names and files show whole."""
    return float(f"{rate:.6g}")
