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
from experiments.cli.settings.growth_words import growth_verdict, predicted
from experiments.cli.settings.network_flags import add_network, network_from, told_by_flag
from experiments.cli.settings.setting_flags import (
    DEFAULT_INITIAL_RMS,
    OfEquilibrium,
    add_matrix,
    add_setting,
    optimizer_from,
    schedule_from,
    shape_from,
    start_from,
)
from experiments.cli.settings.setting_words import (
    adamh_in_words,
    assumed_in_words,
    defined_in_words,
    domain_in_words,
    idle_beta2_in_words,
    last_angle_in_words,
    matrix_in_title,
    nearest_in_words,
    numbers_in_words,
    optimizer_in_title,
    schedule_in_title,
    start_in_words,
    verdict_in_words,
    worth_in_words,
)
from experiments.files import BadInput, csv_text, to_json, write_whole
from experiments.text import aligned, as_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.figures.trajectories import PredictedRun
    from theory import Optimizer, Schedule, Trajectory

SUMMARY = "the closed form for one setting, or a table of them"
EXAMPLES = (
    "lrbend predict --learning-rate 1e-3 --weight-decay 0.1 --num-steps 2e4 --initial-rms 0.02",
    "lrbend predict --learning-rate 1e-3 3e-3 --weight-decay 0.1 --initial-rms 0.02 0.3 --num-steps 2e4 --csv t.csv",
    "lrbend predict --network scale-invariant --beta2 0.999 --learning-rate 1e-3 --num-steps 2e4 --trajectory run.csv",
)

NAMED = ("learning_rate", "weight_decay", "initial_rms")  # what tells settings of a table apart
RECORDED = ("step", "weight_rms", "angular_update")
MARKED = ("equilibrium_rms", "angular_update_equilibrium", "transient_steps")  # in a picture
MOST_RECORDS = 1000  # of a trajectory, unless --record-every asks for more


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser, OPTIMIZERS, several=True)
    add_matrix(parser, several=True)
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
    drawn: list[tuple[Optimizer, str, PredictedRun]] = []
    with told_by_flag():
        starts = options.initial_rms or [DEFAULT_INITIAL_RMS]
        tells_start = len(starts) > 1 or isinstance(starts[0], OfEquilibrium)
        for rate, decay, asked in itertools.product(options.learning_rate, options.weight_decay or [None], starts):
            optimizer = optimizer_from(options, rate, decay)
            model = model_from(options, optimizer, asked)
            network, start = model["network"], model["initial_rms"]
            said = predicted(optimizer, schedule, tolerance=options.tolerance, **model)
            prediction = setting_answer(optimizer, model, said, schedule, options.tolerance)
            named = {name: prediction[name] for name in NAMED}
            settings.append(prediction)
            if options.trajectory is not None:
                trajectory += [{**named, **row} for row in _records(_recorded(optimizer, schedule, records, model))]
            if options.plot is not None:
                from experiments.figures.trajectories import PredictedRun

                shown = _recorded(optimizer, schedule, max(1, -(-options.num_steps // MOST_RECORDS)), model)
                marked = {name: prediction[name] for name in MARKED}
                passes = _passes(prediction, schedule, options.tolerance)
                line = PredictedRun(name="", trajectory=shown, passes_equilibrium=passes, **marked)
                drawn.append((optimizer, _start(asked, start), line))
    every = dict.fromkeys(name for row in settings for name in row)  # a row without decay has columns of its own
    settings = [{**dict.fromkeys(every), **row} for row in settings]
    if options.csv is not None:
        _write_csv("--csv", options.csv, [_numbers(row) for row in settings])
    if options.trajectory is not None:
        setting_columns = _names(tells_start) if len(settings) > 1 else ()
        columns = (*setting_columns, *RECORDED)
        _write_csv("--trajectory", options.trajectory, [{name: row[name] for name in columns} for row in trajectory])
    write_plot(options, lambda: _draw(drawn, schedule, model, options.tolerance))
    if options.json:
        print(to_json(settings[0] if len(settings) == 1 else {"settings": settings}))
        return 0
    if len(settings) == 1:
        print("\n".join(numbers_in_words(_numbers(settings[0]))))
        print(_verdict(settings[0], optimizer, schedule, options.tolerance, model))
        print(conventions_in_words(optimizer))
    else:
        names = (*_names(tells_start), *(field.name for field in dataclasses.fields(Prediction)))
        units = "Angles are in radians per step; an RMS is that of the entries of the matrix."
        print(units + last_angle_in_words(schedule))
        print(defined_in_words(options.tolerance) + "\n")
        print("\n".join(aligned(names, [[as_cell(row[name]) for name in names] for row in settings], align=">")) + "\n")
    if optimizer.name != "adamh" and any(row["adamh_learning_rate"] is not None for row in settings):
        print(adamh_in_words(optimizer))
    print(assumed_in_words(options, optimizer, None if options.initial_rms else DEFAULT_INITIAL_RMS))
    if idle := idle_beta2_in_words(options, optimizer, network):
        print(idle)
    print(worth_in_words(network, optimizer))
    if outside := domain_in_words(optimizer, max(row.get("independent_weight_decay") or 0.0 for row in settings)):
        print(outside)
    return 0


def model_from(options: argparse.Namespace, optimizer: Optimizer, start: float | OfEquilibrium) -> dict[str, Any]:
    """The keywords of `theory.predict.predict` that say what is predicted."""
    model = {
        "finite_beta2": options.finite_beta2,
        "gradient_rms": options.gradient_rms,
        "shape": shape_from(options),
        "network": network_from(options),
    }
    return {"initial_rms": start_from(start, optimizer, **model), **model}


def setting_answer(
    optimizer: Optimizer,
    model: Mapping[str, Any],
    prediction: Mapping[str, Any],
    schedule: Schedule,
    tolerance: float,
) -> dict[str, Any]:
    """The JSON object of one setting, with how far its run gets in words; ``model`` from `model_from`."""
    network = model["network"]
    grows = prediction["equilibrium_rms"] is None
    return {
        "learning_rate": optimizer.learning_rate,
        "weight_decay": getattr(optimizer, "weight_decay", None),
        "initial_rms": model["initial_rms"],
        **prediction,
        "network": network.name,
        **({} if network.kind is None else {"matrix_kind": network.kind}),
        "direction_ratio": network.direction_ratio,
        **conventions(optimizer),
        "note": growth_verdict(prediction) if grows else verdict_in_words(prediction, schedule, tolerance),
    }


def _numbers(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "note"}


def _names(tells_start: bool) -> tuple[str, ...]:
    """The columns that tell settings of a table apart; the initial RMS only where there are several."""
    return ("learning_rate", "weight_decay", *(("initial_rms",) if tells_start else ()))


def _passes(setting: Mapping[str, Any], schedule: Schedule, tolerance: float) -> bool:
    from theory.settling import passes_equilibrium

    if setting["equilibrium_rms"] is None:
        return False
    ratio = setting["final_rms"] / setting["equilibrium_rms"]
    return passes_equilibrium(setting["transient_steps"], ratio, peak_end=schedule.peak_end, tolerance=tolerance)


def _verdict(
    setting: Mapping[str, Any], optimizer: Optimizer, schedule: Schedule, tolerance: float, model: Mapping[str, Any]
) -> str:
    """How far the run of a `setting_answer` gets, in words."""
    settled, verdict = setting["equilibrium_rms"], str(setting["note"])
    if settled is None or setting["relaxation_steps"] is None:
        return verdict
    if setting["transient_steps"] is None and schedule.peak_end < schedule.num_steps:
        run = _recorded(optimizer, schedule, max(1, schedule.num_steps // MOST_RECORDS), model)
        verdict += f" {nearest_in_words(run, settled)}"
    there = predicted(optimizer, schedule, tolerance=tolerance, **{**model, "initial_rms": settled})
    return f"{verdict}\n{start_in_words(setting, there['steps_to_equilibrium'])}"


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


def _start(asked: float | OfEquilibrium, start: float) -> str:
    """An initial RMS in a picture, with what it was asked for as."""
    if not isinstance(asked, OfEquilibrium):
        return f"from RMS {start:.4g}"
    return f"from {asked.text}{' equilibrium' if asked.text.endswith('x') else ''}, RMS {start:.4g}"


def _draw(
    settings: Sequence[tuple[Optimizer, str, PredictedRun]],
    schedule: Schedule,
    model: Mapping[str, Any],
    tolerance: float,
) -> Figure:
    """Of optimizers, their starts in words and their runs: lines are named by what differs, the title has the rest."""
    from experiments.figures.trajectories import prediction_figure

    optimizers, starts, runs = zip(*settings, strict=True)
    values = {name: [getattr(each, name, None) for each in optimizers] for name in ("learning_rate", "weight_decay")}
    varied = {name: column for name, column in values.items() if len(set(column)) > 1}
    words = {"learning_rate": "rate" if len(varied) > 1 else "learning rate", "weight_decay": "decay"}
    named = [
        [f"{words[name]} {'none' if value is None else format(value, '.4g')}" for value in column]
        for name, column in varied.items()
    ]
    if len(set(starts)) > 1:
        named.append(list(starts))
    names = [", ".join(parts) for parts in zip(*named, strict=True)] or ["closed form"] * len(runs)
    title = [optimizer_in_title(optimizers[0], learning_rate=optimizers[0].learning_rate, varied=varied)]
    title += [] if len(set(starts)) > 1 else [starts[0]]
    title += [schedule_in_title(schedule), *matrix_in_title(model)]
    shown = [dataclasses.replace(run, name=name) for run, name in zip(runs, names, strict=True)]
    return prediction_figure(shown, title=", ".join(title), tolerance=tolerance)


def _write_csv(flag: str, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        write_whole(path, csv_text(rows).encode())
    except BadInput as error:
        raise BadInput(f"{flag} {error}") from None
