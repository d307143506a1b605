"""``lrbend predict``: the closed form for one setting, or for all pairs of several rates and decays."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import OPTIMIZERS
from experiments.cli.parser import number, whole_number
from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.settings.decay_flags import conventions, conventions_in_words
from experiments.cli.settings.growth_words import growth_in_words, predicted
from experiments.cli.settings.network_flags import add_network, network_from, told_by_flag
from experiments.cli.settings.setting_flags import add_matrix, add_setting, optimizer_from, schedule_from, shape_from
from experiments.files import BadInput, csv_text, to_json, write_whole
from experiments.text import aligned, as_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.figures.trajectories import PredictedRun
    from theory import Optimizer, Schedule, Trajectory
    from theory.networks import Network

SUMMARY = "the closed form for one setting, or a table of them"
EXAMPLES = (
    "lrbend predict --learning-rate 1e-3 --weight-decay 0.1 --num-steps 2e4 --initial-rms 0.02",
    "lrbend predict --learning-rate 1e-3 3e-3 --weight-decay 0.1 0.3 --num-steps 2e4 --csv table.csv",
    "lrbend predict --network scale-invariant --beta2 0.999 --learning-rate 1e-3 --num-steps 2e4 --trajectory run.csv",
)

RECORDED = ("step", "weight_rms", "angular_update")
MARKED = ("equilibrium_rms", "angular_update_equilibrium", "transient_steps")  # in a picture
MOST_RECORDS = 1000  # of a trajectory, unless --record-every asks for more


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser, OPTIMIZERS, several=True)
    add_matrix(parser)
    add_network(parser)
    parser.add_argument(
        "--finite-beta2", action="store_true", help="correct for the noise of Adam's second moment, 1 %% at beta2 0.95"
    )
    parser.add_argument(
        "--tolerance",
        type=number,
        default=0.05,
        help="relative distance from the equilibrium RMS where a transient ends",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to FILE too (default: no file)")
    parser.add_argument(
        "--trajectory",
        type=Path,
        metavar="FILE",
        help="write step, weight_rms and angular_update to FILE, a row per record (default: no file)",
    )
    parser.add_argument(
        "--record-every",
        type=whole_number,
        help=f"steps between the records of --trajectory (default: as few as leave at most {MOST_RECORDS})",
    )
    add_plot(parser, "weight RMS and angle per step of every setting, with equilibrium and end of the transient")


def run(options: argparse.Namespace) -> int:
    from theory import Prediction

    check_plot(options)
    schedule, records = schedule_from(options), _record_every(options)
    settings: list[dict[str, Any]] = []
    trajectory: list[dict[str, Any]] = []
    drawn: list[PredictedRun] = []
    with told_by_flag():
        model = model_from(options)
        network = model["network"]
        for rate, decay in itertools.product(options.learning_rate, options.weight_decay or [None]):
            optimizer = optimizer_from(options, rate, decay)
            prediction = setting_answer(
                optimizer, network, predicted(optimizer, schedule, tolerance=options.tolerance, **model)
            )
            named = {name: prediction[name] for name in ("learning_rate", "weight_decay")}
            settings.append(prediction)
            if options.trajectory is not None:
                trajectory += [{**named, **row} for row in _records(_recorded(optimizer, schedule, records, model))]
            if options.plot is not None:
                from experiments.figures.trajectories import PredictedRun

                shown = _recorded(optimizer, schedule, max(1, -(-options.num_steps // MOST_RECORDS)), model)
                said = {name: prediction[name] for name in MARKED}
                drawn.append(PredictedRun(name=_name(options, optimizer), trajectory=shown, **said))
    every = dict.fromkeys(name for row in settings for name in row)  # a row without decay has columns of its own
    settings = [{**dict.fromkeys(every), **row} for row in settings]
    if options.csv is not None:
        _write_csv("--csv", options.csv, settings)
    if options.trajectory is not None:
        setting_columns = ("learning_rate", "weight_decay") if len(settings) > 1 else ()
        columns = (*setting_columns, *RECORDED)
        _write_csv("--trajectory", options.trajectory, [{name: row[name] for name in columns} for row in trajectory])
    write_plot(options, lambda: _draw(drawn, f"{options.optimizer}, network {network.name}", options.tolerance))
    if options.json:
        print(to_json(settings[0] if len(settings) == 1 else {"settings": settings}))
        return 0
    if len(settings) == 1:
        words = setting_in_words if settings[0]["equilibrium_rms"] is not None else growth_in_words
        print(words(settings[0], schedule, options.tolerance))
        print(conventions_in_words(optimizer))
    else:
        names = ("learning_rate", "weight_decay", *(field.name for field in dataclasses.fields(Prediction)))
        print("\n".join(aligned(names, [[as_cell(row[name]) for name in names] for row in settings], align=">")))
    print(worth_in_words(network))
    return 0


def model_from(options: argparse.Namespace) -> dict[str, Any]:
    """The keywords of `theory.predict.predict` that say what is predicted, with the initial RMS as it was given."""
    return {
        "initial_rms": options.initial_rms,
        "finite_beta2": options.finite_beta2,
        "gradient_rms": options.gradient_rms,
        "shape": shape_from(options),
        "network": network_from(options),
    }


def setting_answer(optimizer: Optimizer, network: Network, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object of one setting."""
    return {
        "learning_rate": optimizer.learning_rate,
        "weight_decay": getattr(optimizer, "weight_decay", None),
        **prediction,
        "network": network.name,
        "direction_ratio": network.direction_ratio,
        **conventions(optimizer),
    }


def worth_in_words(network: Network) -> str:
    """What the predictions of a network are known to be worth."""
    return f"Network {network.name}, direction {network.direction_ratio:g} of white noise: {network.worth}."


def setting_in_words(setting: Mapping[str, Any], schedule: Schedule, tolerance: float) -> str:
    """One setting in words a person can check."""
    lines = [f"{name:28} {as_cell(value)}" for name, value in setting.items()]
    return "\n".join([*lines, verdict_in_words(setting, schedule, tolerance)])


def verdict_in_words(setting: Mapping[str, Any], schedule: Schedule, tolerance: float) -> str:
    """Whether a setting with an equilibrium comes to it."""
    transient, last = setting["transient_steps"], setting["final_rms"] / setting["equilibrium_rms"] - 1
    band, decays = f"{tolerance:.3%}".replace(".000", ""), schedule.peak_end < schedule.num_steps
    if setting["relaxation_steps"] is None:
        verdict = "The norm is fixed: there is no transient."
    elif transient is None:
        which = "the equilibrium of the peak rate" if decays else "its equilibrium"
        verdict = f"In {schedule.num_steps} steps the weight RMS does not come within {band} of {which}."
    else:
        verdict = (
            f"The weight RMS is within {band} of its equilibrium{' at the peak' if decays else ''} after {transient} of"
            f" {schedule.num_steps} steps ({transient / schedule.num_steps:.0%} of the run)."
        )
        if decays and abs(last) > tolerance:
            verdict += f" The decay takes it away again: it ends {abs(last):.0%} {'below' if last < 0 else 'above'}."
    if decays and setting["relaxation_steps"] is not None:
        would = "would" if setting["reaches_equilibrium"] else "would not"
        verdict += (
            f" By its decay time the run holds {setting['num_relaxations']:.3g} relaxations: as many at a constant rate"
            f" {would} reach equilibrium."
        )
    return verdict


def _record_every(options: argparse.Namespace) -> int:
    from theory.checks import require_integer

    if options.record_every is None:
        return max(1, -(-options.num_steps // MOST_RECORDS))
    if options.trajectory is None:
        raise BadInput("--record-every: needs --trajectory")
    return require_integer("record_every", options.record_every, at_least=1)


def _recorded(optimizer: Optimizer, schedule: Schedule, record_every: int, model: Mapping[str, Any]) -> Trajectory:
    from theory import predict_trajectory
    from theory.growth import start_of

    start = start_of(optimizer, **model)
    return predict_trajectory(optimizer, schedule, record_every=record_every, **{**model, "initial_rms": start})


def _records(run: Trajectory) -> list[dict[str, float]]:
    values = zip(run.steps.tolist(), run.weight_rms[:, 0].tolist(), run.angular_update[:, 0].tolist(), strict=True)
    return [dict(zip(RECORDED, row, strict=True)) for row in values]


def _name(options: argparse.Namespace, optimizer: Optimizer) -> str:
    """A setting by what differs between them; a single one by both."""
    several = len(options.learning_rate) > 1, len(options.weight_decay or ()) > 1
    decay = getattr(optimizer, "weight_decay", None)
    named = {
        "learning rate": optimizer.learning_rate if several[0] or not several[1] else None,
        "decay": decay if several[1] or not several[0] else None,
    }
    if all(several):
        return f"rate {optimizer.learning_rate:g}, decay {'none' if decay is None else format(decay, 'g')}"
    return ", ".join(f"{what} {value:g}" for what, value in named.items() if value is not None)


def _draw(runs: Sequence[PredictedRun], network: str, tolerance: float) -> Figure:
    from experiments.figures.trajectories import prediction_figure

    return prediction_figure(runs, network=network, tolerance=tolerance)


def _write_csv(flag: str, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        write_whole(path, csv_text(rows).encode())
    except BadInput as error:
        raise BadInput(f"{flag} {error}") from None
