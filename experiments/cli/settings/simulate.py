"""``lrbend simulate``: Monte Carlo of one setting, and how far it is from the closed form."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from experiments.cli.flags import OPTIMIZERS, add_seed
from experiments.cli.parser import whole_number
from experiments.cli.settings.decay_flags import conventions, conventions_in_words
from experiments.cli.settings.setting_flags import add_matrix, add_setting, optimizer_from, schedule_from, shape_from
from experiments.files import to_json

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


def run(options: argparse.Namespace) -> int:
    from experiments.runs.simulation import SimulationConfig, compare_with_theory, run_simulation, why_no_comparison
    from theory.growth import start_of

    schedule, shape = schedule_from(options), shape_from(options)
    entries = 1024 if shape is None else shape[0] * shape[1]
    optimizer = optimizer_from(options, options.learning_rate, options.weight_decay)
    start = start_of(optimizer, options.initial_rms, gradient_rms=options.gradient_rms, shape=shape)
    config = SimulationConfig(
        optimizer=optimizer,
        schedule=schedule,
        initial_rms=start if options.initial_rms else max(start, SMALLEST_START),
        dim=entries if options.dim is None else options.dim,
        shape=shape,
        gradient_rms=options.gradient_rms,
        num_replicas=options.num_replicas,
        seed=options.seed,
        record_every=options.record_every,
    )
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
    if simulation.outcome.value == "completed" and result["not_compared"] is None:
        result |= dataclasses.asdict(compare_with_theory(config, simulation.trajectory, simulation.standard_error))
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
    bias = result["mean_relative_bias"]
    print(
        f"Simulation against theory from step {result['first_step']} on, weight RMS and angular update:\n"
        f"  largest difference  {result['max_relative_error']:.3%},"
        f" {result['max_abs_z']:.1f} Monte Carlo standard errors\n"
        f"  mean bias           RMS {bias['weight_rms']:+.3%}, angle {bias['angular_update']:+.3%}\n"
        f"  standard error      at most {result['max_relative_standard_error']:.3%}"
    )
    return 0
