"""What is drawn of one setting: its trajectory, the map of transients about it, and a simulation with its errors."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.explore.asked import MOST_PIECES, Asked
from experiments.files import BadInput
from theory import Lion, Muon, SignSGDM, Trajectory
from theory.models import Decoupled, OnSphere
from theory.networks import InverseNorm, RadialGradients, model_of
from theory.optimizers import AdamW
from theory.settling import passes_equilibrium
from theory.transient_map import slow_transient_map

Array = NDArray[np.float64]

MOST_POINTS = 600  # of a curve, on an axis of as many pixels
DIGITS = 6
RATES, DECAYS = np.geomspace(1e-6, 1.0, 43), np.geomspace(1e-4, 10.0, 36)  # of the map, seven a decade
INTERPOLATED = (
    f"Computed at {len(RATES)} x {len(DECAYS)} settings, seven a decade; between them colours are interpolated, and 2"
    " to 4 % of the picture, along its borders, would have another colour if computed."
)
DIM, NUM_REPLICAS = 256, 16
MOST_COORDINATE_STEPS = 10**9
SIMULATING = threading.Lock()  # Numba's threads are those of one caller at a time


def trajectory_of(asked: Asked) -> dict[str, Any]:
    """The answer of ``lrbend predict`` with what it is read from: curves at up to `MOST_POINTS` steps, mean angle."""
    solved = asked.solve()
    run = solved.run
    drawn = run.at(drawn_steps(asked.schedule.num_steps))
    last, settled = solved.answer["final_rms"], solved.answer["equilibrium_rms"]
    multipliers = asked.schedule.multipliers()[drawn.steps]
    return {
        "answer": {**solved.answer, "mean_angle": float(run.angular_update.mean())},
        "words": solved.words,
        "worth": asked.worth,
        "command": asked.command,
        "num_steps": asked.schedule.num_steps,
        "peak_end": asked.schedule.peak_end,
        "tolerance": asked.tolerance,
        "passes_equilibrium": settled is not None
        and passes_equilibrium(
            solved.answer["transient_steps"],
            last / settled,
            peak_end=asked.schedule.peak_end,
            tolerance=asked.tolerance,
        ),
        "curve": {**curve_of(drawn), "learning_rate": shortened(asked.optimizer.learning_rate * multipliers)},
    }


def drawn_steps(num_steps: int) -> NDArray[np.int64]:
    """Up to `MOST_POINTS` steps that show a run on a linear axis and on a logarithmic one, its ends among them."""
    if num_steps <= MOST_POINTS:
        return np.arange(num_steps, dtype=np.int64)
    even = np.linspace(0, num_steps - 1, 7 * MOST_POINTS // 10)
    early = np.geomspace(1, num_steps - 1, 3 * MOST_POINTS // 10)
    return np.unique(np.concatenate([even, early]).round().astype(np.int64))


def curve_of(run: Trajectory, matrix: int = 0) -> dict[str, list[Any]]:
    """One matrix of a trajectory as lists; None for what is not known."""
    return {
        "step": run.steps.tolist(),
        "weight_rms": shortened(run.weight_rms[:, matrix]),
        "angular_update": shortened(run.angular_update[:, matrix]),
    }


def shortened(values: ArrayLike) -> list[float | None]:
    """To `DIGITS` significant digits; None for what is not finite."""
    flat = np.asarray(values, np.float64).ravel()
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in flat.tolist()]


def transient_map(asked: Asked) -> dict[str, Any]:
    """The share of the run that is spent before equilibrium, at every rate and decay of a grid.

    In the slow limit of white noise, where all decoupled optimizers are one but for the size of what an update adds.
    ``fraction`` (num_decays, num_rates): at most 1, None where a step would remove the weights; ``said``: why there is
    no map, else what it leaves out.
    """
    why, said = None, f"White noise in the slow limit, every other field as set. {INTERPOLATED}"
    optimizer, model = asked.optimizer, model_of(asked.optimizer, **_network(asked))
    if isinstance(model, OnSphere):
        why = f"{optimizer.name} holds the norm: there is no transient at any rate."
    elif not isinstance(optimizer, AdamW | Lion | SignSGDM | Muon):
        why = f"The map is for decay beside the gradient that goes like the rate; {optimizer.name} has another."
    elif optimizer.decay == "independent":
        why = "The map is for a decay that goes like the learning rate; an independent one does not."
    elif len(asked.schedule.segments()) > MOST_PIECES:
        why = f"The map is for schedules of at most {MOST_PIECES} pieces, a warmup and each descent being one."
    if why is not None:
        return {"said": why, "fraction": None}
    if isinstance(model, InverseNorm | RadialGradients):
        said += f" The norms of {asked.model['network'].name} take longer where beta2 remembers long."
        model = model_of(optimizer)
    assert isinstance(model, Decoupled)
    share = float(np.sqrt(model.autocovariance().total)) * asked.model["network"].direction_ratio
    found = slow_transient_map(
        asked.schedule, RATES, DECAYS, initial_rms=asked.model["initial_rms"] / share, tolerance=asked.tolerance
    )
    possible = RATES * DECAYS[:, None] < 1
    fraction = np.where(possible, found.transient_fraction, np.nan)
    return {
        "said": said,
        "learning_rate": shortened(RATES),
        "weight_decay": shortened(DECAYS),
        "fraction": [[None if np.isnan(cell) else round(cell, 3) for cell in row] for row in fraction.tolist()],
    }


def simulation_of(asked: Asked) -> dict[str, Any]:
    """Monte Carlo of a setting: mean over replicas and its standard error, at the steps of a thinned record.

    Raises `BadInput` for one that would take too long, is of no white noise, or comes while another runs.
    """
    if asked.model["network"].name != "white-noise":
        raise BadInput(f"--network {asked.model['network'].name}: the simulation is of white-noise")
    shape = asked.model["shape"]
    dim = DIM if shape is None else shape[0] * shape[1]
    cost = asked.schedule.num_steps * dim * NUM_REPLICAS
    if cost > MOST_COORDINATE_STEPS:
        most = MOST_COORDINATE_STEPS // (dim * NUM_REPLICAS)
        raise BadInput(f"--num-steps {asked.schedule.num_steps}: must be at most {most} for a simulation in the page")
    if not SIMULATING.acquire(blocking=False):
        raise BadInput("a simulation is running: one at a time")
    try:
        from experiments.runs.simulation import SimulationConfig, run_simulation

        config = SimulationConfig(
            optimizer=asked.optimizer,
            schedule=asked.schedule,
            initial_rms=asked.model["initial_rms"],
            dim=dim,
            shape=shape,
            gradient_rms=asked.model["gradient_rms"],
            num_replicas=NUM_REPLICAS,
            record_every=max(1, -(-asked.schedule.num_steps // MOST_POINTS)),
        )
        done = run_simulation(config)
    finally:
        SIMULATING.release()
    return {
        "said": f"{NUM_REPLICAS} replicas of {dim} entries; band: two standard errors either side"
        + ("" if done.diverged_at_step is None else f"; diverged at step {done.diverged_at_step}"),
        "curve": curve_of(done.trajectory),
        "standard_error": curve_of(done.standard_error),
    }


def _network(asked: Asked) -> dict[str, Any]:
    return {name: asked.model[name] for name in ("network", "finite_beta2", "gradient_rms", "shape")}
