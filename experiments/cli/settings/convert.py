"""``lrbend convert``: the setting of another optimizer that makes the same angles, its schedule included."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import OPTIMIZERS
from experiments.cli.parser import number
from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.settings.decay_flags import MUON_SCALES, add_decay, conventions, conventions_in_words
from experiments.cli.settings.measured_run import measured_angles, schedule_of_source
from experiments.cli.settings.network_flags import add_network, network_from, told_by_flag
from experiments.cli.settings.setting_flags import (
    add_matrix,
    add_setting,
    build_optimizer,
    optimizer_from,
    shape_from,
    start_from,
)
from experiments.cli.settings.setting_words import (
    matrix_in_title,
    optimizer_in_title,
    schedule_in_title,
    worth_in_words,
)
from experiments.files import BadInput, csv_text, to_json, write_whole
from experiments.text import as_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theory import Optimizer, Schedule
    from theory.conversion import Conversion

TARGETS = ("adamw", "adamh", "lion", "signsgdm", "muon", "muonh")
CONVENTIONS = ("pytorch", "independent")
SHOWN = 50  # multipliers of the schedule that are printed
MOST_DRAWN = 1000  # steps in a picture
LATE = 0.5  # of its peak, where a source is taken to stay near it beyond its first steps
TEMPLATE_RATE = 1e-3  # of a target whose own rate is still to be found

SUMMARY = "the setting of another optimizer with the same angles, schedule included"
EXAMPLES = (
    "lrbend convert --from adamw --to adamh --learning-rate 1e-3 --num-steps 2e4 --schedule-out adamh.csv",
    "lrbend convert --from adamw --to lion --learning-rate 1e-3 --num-steps 2e4 --schedule cosine --direction 0.885",
    "lrbend convert --from adamh --to adamw --learning-rate 0.01 --num-steps 2e3 --to-weight-decay 0.1 --plot a.png",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser, OPTIMIZERS, optimizer_flag="--from", measured=True)
    add_matrix(parser)
    parser.add_argument("--finite-beta2", action="store_true", help="count the noise of Adam's second moment")
    add_network(parser)
    parser.add_argument(
        "--measured",
        type=Path,
        metavar="FILE",
        help="angles of the source as they were, in place of predicted ones: a run directory, or a table with columns"
        " step and angular_update in radians, such as lrbend read --csv writes; without --schedule its learning rates,"
        " if it has any, are those of the source (default: predicted)",
    )
    group = parser.add_argument_group(
        "what it becomes",
        "The averages of both optimizers have filled by first_step of the answer, ten memories of the first moment or\n"
        "the last step of a shorter run; differences of angles are the largest from there on.",
    )
    group.add_argument("--to", choices=TARGETS, required=True, help="the other optimizer")
    group.add_argument(
        "--to-weight-decay",
        type=number,
        help="its decay (default: the one with which it settles at the RMS where the source settles)",
    )
    add_decay(group, "to-", "a step of it takes of the weights", CONVENTIONS)
    group.add_argument(
        "--to-initial-rms", type=number, help="root mean square of its weights at the start (default: the source's)"
    )
    for name, meaning in (("beta1", "gradients, or its momentum"), ("beta2", "their squares")):
        text = f"memory of its mean of {meaning} (default: the source's within a family, else its own)"
        group.add_argument(f"--to-{name}", type=number, help=text)
    group.add_argument(
        "--to-muon-scale", choices=MUON_SCALES, help="factor on its polar factor (default: keller-jordan)"
    )
    group.add_argument("--to-update-ratio", type=number, help="as --update-ratio, of the target (default: 1)")
    parser.add_argument(
        "--schedule-out",
        type=Path,
        metavar="FILE",
        help="write step, multiplier and learning_rate of every step, which --schedule file:FILE reads"
        " (default: no file)",
    )
    add_plot(parser, "learning rates, angles and norms of both optimizers along the run")


def run(options: argparse.Namespace) -> int:
    from theory.conversion import convert

    check_plot(options)
    schedule = schedule_of_source(options)
    source = optimizer_from(options, options.learning_rate, options.weight_decay)
    with told_by_flag():
        network = network_from(options)
    model = {"finite_beta2": options.finite_beta2, "gradient_rms": options.gradient_rms, "shape": shape_from(options)}
    angles = None if options.measured is None else measured_angles(options.measured, schedule.num_steps)
    with told_by_flag():
        start = start_from(options.initial_rms, source, network=network, **model)
        found = convert(
            source,
            schedule,
            _target(options, source),
            initial_rms=start,
            target_initial_rms=options.to_initial_rms,
            keep_decay=options.to_weight_decay is not None,
            angles=angles,
            network=network,
            **model,
        )
    if options.schedule_out is not None:
        _write_schedule(options.schedule_out, found, _headline(found, schedule)[0])
    model["network"] = network
    write_plot(options, lambda: _draw(source, schedule, found, start, model, angles is not None))
    headline, meaning = _headline(found, schedule)
    result = {**_summary(found, headline), "network": network.name, "direction_ratio": network.direction_ratio}
    result["angles_measured"] = angles is not None
    if options.json:
        print(to_json({**result, "source": {"optimizer": source.name, **conventions(source)}}))
        return 0
    print(conventions_in_words(source))
    for line in _in_words(found, headline, meaning):
        print(line)
    for name, value in result.items():
        if not isinstance(value, list):
            print(f"{name:28} {as_cell(value)}")
    print(conventions_in_words(found.optimizer))
    measured = f"The angles of the source are those of the file, its schedule is {schedule.name}."
    print(measured if angles is not None else worth_in_words(network))
    if options.schedule_out is None:
        print("--schedule-out FILE writes the rates of all steps.")
    return 0


def _target(options: argparse.Namespace, source: Optimizer) -> Optimizer:
    """The spec of the target at a rate that does not matter, and a decay that does only if it is given."""
    given = {name: getattr(options, f"to_{name}") for name in ("beta1", "beta2")}
    given |= {"scale": options.to_muon_scale, "update_ratio": options.to_update_ratio}
    adams, muons = ("adamw", "adamh", "adamc", "adam-l2"), ("muon", "muonh")
    for family, kept in (
        (adams, ("beta1", "beta2", "eps")),
        (muons, ("beta1", "nesterov")),
        (("lion",), ("beta1", "beta2")),
    ):
        if source.name in family and options.to in family:
            given |= {name: getattr(source, name) for name in kept if given.get(name) is None}
    decay = options.to_weight_decay
    rate = TEMPLATE_RATE if decay is None or decay * TEMPLATE_RATE < 1 else 0.5 / decay
    on_sphere = options.to in ("adamh", "muonh")
    return build_optimizer(
        options.to, rate, decay if decay is not None or on_sphere else 0.0, options.to_decay, given, prefix="to-"
    )


def _rates(found: Conversion) -> Any:
    """(num_steps,) learning rates of the target."""
    return found.optimizer.learning_rate * found.schedule.multipliers()


def _headline(found: Conversion, schedule: Schedule) -> tuple[float, str]:
    """The rate that the schedule multiplies, and what it is: never the spike of the first steps, in which no average
    has filled. That of equilibrium if the source is near its peak beyond them, else the highest from there on."""
    matching = found.matching_learning_rate
    if matching is not None and schedule.multipliers()[found.first_step] > LATE:
        return matching, "at equilibrium it turns as far as the source at its peak"
    highest = float(_rates(found)[found.first_step :].max())
    if highest > 0:
        return highest, f"the highest from step {found.first_step} on"
    return float(_rates(found).max()), "the highest of the run"


def _summary(found: Conversion, headline: float) -> dict[str, Any]:
    import numpy as np

    multipliers = _rates(found) / headline
    shown = np.unique(np.linspace(0, len(multipliers) - 1, SHOWN).round().astype(int))
    return {
        "optimizer": found.optimizer.name,
        "learning_rate": headline,
        "weight_decay": getattr(found.optimizer, "weight_decay", None),
        **conventions(found.optimizer),
        "initial_rms": found.initial_rms,
        "matching_learning_rate": found.matching_learning_rate,
        "schedule": multipliers[shown].tolist(),
        "schedule_steps": shown.tolist(),
        "first_step": found.first_step,
        "largest_angle_error": found.largest_angle_error,
        "unconverted_angle_error": found.unconverted_angle_error,
    }


def _draw(
    source: Optimizer,
    schedule: Schedule,
    found: Conversion,
    initial_rms: float,
    model: dict[str, Any],
    measured: bool,
) -> Figure:
    """Source and target, and the target at the rate of equilibrium under the source's schedule where it can be."""
    from dataclasses import replace

    from experiments.figures.conversions import ConvertedRun, conversion_figure
    from theory import predict_trajectory
    from theory.conversion import network_of_target

    target: Any = found.optimizer
    runs = [(source.name, source, schedule, initial_rms), (target.name, target, found.schedule, found.initial_rms)]
    if found.unconverted_angle_error is not None:
        unconverted = replace(target, learning_rate=found.matching_learning_rate)
        runs.append((f"{target.name}, unconverted", unconverted, schedule, found.initial_rms))
    every = max(1, -(-schedule.num_steps // MOST_DRAWN))
    shown: list[ConvertedRun] = []
    network = model["network"]
    for name, spec, of_run, start in runs:
        model["network"] = network_of_target(target, network) if shown else network
        trajectory = predict_trajectory(spec, of_run, initial_rms=start, record_every=every, **model)
        if measured and not shown:
            trajectory = replace(trajectory, angular_update=found.angles[trajectory.steps, None])
        rates = spec.learning_rate * of_run.multipliers()[trajectory.steps]
        shown.append(ConvertedRun(name=name, trajectory=trajectory, learning_rate=rates))
    rate, meaning = _headline(found, schedule)
    title = [
        optimizer_in_title(source, learning_rate=source.learning_rate),
        f"from RMS {initial_rms:.4g}",
        schedule_in_title(schedule),
        *matrix_in_title({**model, "network": None}),
        f"to {optimizer_in_title(target, learning_rate=rate, meaning=meaning)}",
    ]
    title += [f"from RMS {found.initial_rms:.4g}"] if found.initial_rms != initial_rms else []
    known = "angles of the first as measured" if measured else f"direction {network.direction_ratio:g} of white noise"
    assumed = f"Closed forms, network {network.name}, {known}"
    return conversion_figure(
        shown, title=f"Conversion of {', '.join(title)}", first_step=found.first_step, assumed=assumed
    )


def _in_words(found: Conversion, headline: float, meaning: str) -> list[str]:
    rates = _rates(found)
    places = {0: "first", len(rates) // 10: "after a tenth", len(rates) // 2: "halfway", len(rates) - 1: "last"}
    told = ", ".join(f"{where} {rates[place]:.4g}" for place, where in places.items())
    shares = ", ".join(f"{rates[place] / headline:.3g}" for place in places)
    lines = [
        f"learning_rate, {headline:.4g}: {meaning}. The schedule multiplies it: by {shares}.",
        f"Learning rate of a step: {told}.",
    ]
    if found.unconverted_angle_error is not None:
        lines.append(
            f"With the rate of equilibrium, {found.matching_learning_rate:.4g}, and the source's own schedule the"
            f" angles would differ by up to {found.unconverted_angle_error:.2%} from step {found.first_step} on"
            + (", when the averages have filled" if found.first_step < len(rates) - 1 else "")
            + f"; here by {found.largest_angle_error:.2g} of themselves."
        )
    return lines


def _write_schedule(path: Path, found: Conversion, headline: float) -> None:
    rates = _rates(found).tolist()
    multipliers = (_rates(found) / headline).tolist()
    rows = [
        {"step": step, "multiplier": multiplier, "learning_rate": rate}
        for step, (multiplier, rate) in enumerate(zip(multipliers, rates, strict=True))
    ]
    try:
        write_whole(path, csv_text(rows).encode())
    except BadInput as error:
        raise BadInput(f"--schedule-out {error}") from None
