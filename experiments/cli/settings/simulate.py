"""``lrbend simulate``: Monte Carlo of one setting, and how far it is from the closed form."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import OPTIMIZERS, add_seed
from experiments.cli.parser import whole_number
from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.settings.decay_flags import conventions, conventions_in_words
from experiments.cli.settings.setting_flags import (
    add_matrix,
    add_setting,
    optimizer_from,
    schedule_from,
    shape_from,
    start_from,
)
from experiments.cli.settings.setting_words import matrix_in_title, optimizer_in_title, schedule_in_title
from experiments.cli.waiting import waiting
from experiments.files import BadInput, csv_text, to_json, write_whole
from experiments.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.runs.simulation import SimulationConfig
    from sim import Simulation
    from theory import Trajectory

UNRESOLVED = "updates are below the resolution of weights in float32"

SMALLEST_START = 1e-12  # weight RMS of a simulation that stands for 0

SUMMARY = "Monte Carlo of gradient noise against the theory"
EXAMPLES = (
    "lrbend simulate --learning-rate 1e-2 --weight-decay 0.3 --num-steps 1e3",
    "lrbend simulate --optimizer lion --learning-rate 1e-3 --weight-decay 1 --num-steps 1e3 --num-replicas 128",
    "lrbend simulate --optimizer muon --shape 8 16 --learning-rate 1e-2 --weight-decay 1 --num-steps 200",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser, OPTIMIZERS)
    add_matrix(parser)
    parser.add_argument(
        "--dim", type=whole_number, help="entries of the matrix (default: those of --shape, 1024 without it)"
    )
    parser.add_argument("--num-replicas", type=whole_number, default=64, help="independent matrices, at least 2")
    add_seed(parser, "the noise")
    parser.add_argument(
        "--record-every", type=whole_number, default=10, help="steps between records of weight RMS and angle"
    )
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="write weight RMS and angle with their standard errors and the closed form to FILE, a row per record"
        " (default: no file)",
    )
    add_plot(parser, "the simulation with its error band, the closed form and their difference")


def run(options: argparse.Namespace) -> int:
    from experiments.runs.simulation import (
        SimulationConfig,
        compare_with_theory,
        run_simulation,
        theory_of,
        why_no_comparison,
    )
    from theory.growth import start_of

    check_plot(options)
    schedule, shape = schedule_from(options), shape_from(options)
    entries = 1024 if shape is None else shape[0] * shape[1]
    optimizer = optimizer_from(options, options.learning_rate, options.weight_decay)
    asked = start_from(options.initial_rms, optimizer, gradient_rms=options.gradient_rms, shape=shape)
    start = start_of(optimizer, asked, gradient_rms=options.gradient_rms, shape=shape)
    config = SimulationConfig(
        optimizer=optimizer,
        schedule=schedule,
        initial_rms=start if asked else max(start, SMALLEST_START),
        dim=entries if options.dim is None else options.dim,
        shape=shape,
        gradient_rms=options.gradient_rms,
        num_replicas=options.num_replicas,
        seed=options.seed,
        record_every=options.record_every,
    )
    with waiting(f"lrbend simulate: {schedule.num_steps} steps of {config.num_replicas} replicas"):
        simulation = run_simulation(config)
    result: dict[str, Any] = {
        "outcome": simulation.outcome.value,
        "diverged_at_step": simulation.diverged_at_step,
        "coordinate_steps_per_second": simulation.coordinate_steps_per_second,
        "max_abs_z": None,
        "max_relative_error": None,
        "not_compared": why_no_comparison(config.optimizer, gradient_rms=config.gradient_rms),
        **conventions(optimizer),
    }
    theory = None
    if simulation.outcome.value == "completed" and result["not_compared"] is None:
        theory = theory_of(config, simulation.trajectory.steps)
        agreement = compare_with_theory(config, theory, simulation.trajectory, simulation.standard_error)
        result |= {"not_compared": UNRESOLVED} if agreement is None else dataclasses.asdict(agreement)
    if options.csv is not None:
        _write_trajectory(options.csv, simulation, theory)
    write_plot(options, lambda: _draw(config, simulation, theory, result))
    if options.json:
        print(to_json(result))
        return 0
    if simulation.outcome.value != "completed":
        print(f"The simulation diverged at step {simulation.diverged_at_step}.")
        return 0
    print(conventions_in_words(optimizer))
    print(
        f"{config.num_replicas} replicas of {config.dim} entries, {config.schedule.num_steps} steps,"
        f" {result['coordinate_steps_per_second']:.3g} coordinate-steps per second."
    )
    if result["not_compared"] is not None:
        print(f"Not compared: {result['not_compared']}. Final weight RMS {simulation.final_rms:.5g}.")
        return 0
    bias, where = result["mean_relative_bias"], f"{result['largest_in'].replace('_', ' ')}, step"
    print(
        f"Simulation against theory from step {result['first_step']} on, weight RMS and angular update:\n"
        f"  largest difference  {result['max_relative_error']:.3%} ({where} {result['largest_at_step']}),"
        f" {result['max_abs_z']:.1f} Monte Carlo standard errors\n"
        f"  mean bias           RMS {bias['weight_rms']:+.3%}, angle {bias['angular_update']:+.3%}\n"
        f"  standard error      at most {result['max_relative_standard_error']:.3%}"
    )
    if result["num_unresolved"]:
        print(f"  not compared        {counted(result['num_unresolved'], 'record')}: the {UNRESOLVED}")
    return 0


def _write_trajectory(path: Path, simulation: Simulation, theory: Trajectory | None) -> None:
    """A row per record; without a closed form its columns are empty."""
    simulated, error = simulation.trajectory, simulation.standard_error
    rows = []
    for place, step in enumerate(simulated.steps.tolist()):
        row: dict[str, object] = {"step": step}
        for name in ("weight_rms", "angular_update"):
            row[name] = float(getattr(simulated, name)[place, 0])
            row[f"{name}_standard_error"] = float(getattr(error, name)[place, 0])
            row[f"{name}_theory"] = "" if theory is None else float(getattr(theory, name)[place, 0])
        rows.append(row)
    try:
        write_whole(path, csv_text(rows).encode())
    except BadInput as fault:
        raise BadInput(f"--csv {fault}") from None


def _draw(
    config: SimulationConfig, simulation: Simulation, theory: Trajectory | None, result: Mapping[str, Any]
) -> Figure:
    from experiments.figures.trajectories import simulation_figure
    from experiments.runs.simulation import compared_from, is_resolved

    steps = simulation.trajectory.steps
    compared = None
    if theory is not None:
        compared = (steps >= compared_from(config, steps)) & is_resolved(theory)
    optimizer, end = config.optimizer, simulation.diverged_at_step
    title = [optimizer_in_title(optimizer, learning_rate=optimizer.learning_rate), f"from RMS {config.initial_rms:.4g}"]
    title += [
        schedule_in_title(config.schedule),
        *matrix_in_title({"gradient_rms": config.gradient_rms, "shape": config.shape}),
    ]
    title.append(f"{config.num_replicas} replicas of {config.dim} entries")
    return simulation_figure(
        simulation.trajectory,
        simulation.standard_error,
        theory,
        compared,
        title=", ".join(title) + ("" if end is None else f": diverged at step {end}"),
        why_not=result["not_compared"] if end is None else "the simulation diverged",
    )
