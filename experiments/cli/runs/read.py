"""``lrbend read``: somebody else's training run from its log."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import SCHEDULES
from experiments.cli.parser import number, whole_number
from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.settings.decay_flags import DECAYS, add_decay, with_decay
from experiments.cli.settings.network_flags import add_network, network_from, told_by_flag
from experiments.cli.tables.table_flags import pairs
from experiments.files import BadInput, csv_text, to_json, write_whole
from experiments.text import aligned, as_cell, short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.logs.answer import Reading
    from experiments.logs.verdicts import GradientNorm

SUMMARY = "somebody else's training run from its log: norms, angles, equilibrium"
EXAMPLES = (
    "lrbend read checkpoint-400 --weight-decay 0.01",
    "lrbend read history.csv --weight-decay 0.1 --beta2 0.95 --json",
    "lrbend read log.txt --learning-rate 6e-4 --schedule cosine --warmup-steps 700 --weight-decay 0.1",
)

OPTIMIZERS = ("adamw", "adamh", "adamc", "lion", "signsgdm", "muon", "muonh")  # whose norm a log can tell
TOP = (
    *("outcome", "diverged_step", "num_steps", "planned_steps", "learning_rate", "weight_decay", "final_loss"),
    *("num_relaxations", "reaches_equilibrium", "equilibrium_step", "adamh_learning_rate", "mean_angle"),
    *("weight_rms_error", "weight_rms_error_predicted"),
)
UNITS = {
    "final_loss": "as logged",
    "adamh_learning_rate": "AdamH's rate for the angle per step at equilibrium, at the peak rate",
    "mean_angle": "rad per step, root mean square over the run",
}
GROUP_COLUMNS = (
    "First and last weight RMS, or the norm where no size is told; step from which it is within 5 % of equilibrium;",
    "largest error of theory with the logged and with the predicted direction; shares of what drove the norm outward,",
    "noise, momentum and signal, and the decay against them:",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "log",
        type=Path,
        metavar="LOG",
        help="trainer_state.json or a checkpoint folder, a W&B history (CSV or JSON lines), a text log of nanoGPT,"
        " llm.c, modded-nanogpt and others, TensorBoard events, or a CSV file; packed by gzip too",
    )
    parser.add_argument(
        "--column",
        action="append",
        metavar="OURS=THEIRS",
        help="map a name: learning_rate=sched/lr; repeatable (default: our names, or the usual other ones)",
    )
    group = parser.add_argument_group("what the log does not tell")
    group.add_argument("--optimizer", choices=OPTIMIZERS, help="what turned gradients into steps (default: adamw)")
    for name, meaning in (
        ("weight-decay", "in the convention of --decay (default: what the log says in words, else not known)"),
        ("beta1", "memory of the mean of gradients, or the momentum (default: the log's, else 0.9 for Adam)"),
        ("beta2", "memory of the mean of their squares (default: the log's, else 0.95 for Adam)"),
        ("initial-rms", "root mean square of the weights before the first step (default: the first record)"),
        ("learning-rate", "peak of the schedule, for a log without rates (default: the logged rates)"),
        ("final-fraction", "of the peak, where a decay ends, for a log without rates (default: 0)"),
        ("decay-fraction", "of the run, in which wsd decays, for a log without rates (default: 0.2)"),
    ):
        group.add_argument(f"--{name}", type=number, help=meaning)
    group.add_argument(
        "--schedule", choices=SCHEDULES, help="behind the warmup, for a log without rates (default: constant)"
    )
    group.add_argument("--warmup-steps", type=whole_number, help="for a log without rates (default: 0)")
    group.add_argument(
        "--num-steps", type=whole_number, help="length that the run was to have (default: what the log tells)"
    )
    group.add_argument(
        "--steps-per-record",
        type=whole_number,
        help="steps between losses, for a log that numbers none (default: the log's steps)",
    )
    group.add_argument(
        "--num-entries",
        type=whole_number,
        help="of the weights whose norm is logged, if it is one norm, to make an RMS of it (default: not known)",
    )
    group.add_argument(
        "--matrix-entries",
        action="append",
        metavar="MATRIX=NUMBER",
        help="the same of one of several matrices, by its name in the table of the answer; repeatable (default: not"
        " known)",
    )
    group.add_argument(
        "--shape",
        type=whole_number,
        nargs=2,
        metavar=("ROWS", "COLUMNS"),
        help="of the matrix; muon and muonh need it (default: no shape)",
    )
    group.add_argument(
        "--recorded", choices=("after", "before"), default="after", help="whether a record was made after its step"
    )
    add_decay(group, what="a step took of the weights")
    add_network(parser)
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="write rates, angles and norms along the run to FILE (default: no file)",
    )
    add_plot(parser, "weight RMS, angle per step and learning rate along the run, measured beside theory,")


def run(options: argparse.Namespace) -> int:
    from experiments.logs.reading import read_log
    from experiments.logs.settings import Setting

    check_plot(options)
    names = [field.name for field in dataclasses.fields(Setting) if field.name != "network"]
    given = {name: getattr(options, name) for name in names}
    given["matrix_entries"] = _entries(options.matrix_entries)
    given["shape"] = None if options.shape is None else tuple(options.shape)
    with_decay(options.optimizer or "adamw", options.decay)
    with told_by_flag():
        setting = Setting(**given, network=network_from(options))
        reading = read_log(options.log, setting, dict(pairs("--column", options.column)))
    if options.csv is not None:
        _write_csv(options.csv, reading)
    if options.plot is not None and not reading.series:
        raise BadInput(f"--plot {options.plot}: {_without_rates(reading, 'draw')}")
    write_plot(options, lambda: _draw(reading, options.log.name))
    if options.json:
        print(to_json(as_object(reading)))
    else:
        print(in_words(reading))
    return 0


def _entries(given: list[str] | None) -> dict[str, int]:
    """Sizes of matrices by name. Raises `BadInput`."""
    try:
        return {name: whole_number(text) for name, text in pairs("--matrix-entries", given, column=False).items()}
    except argparse.ArgumentTypeError as error:
        raise BadInput(f"--matrix-entries: {error}") from None


def _draw(reading: Reading, name: str) -> Figure:
    from experiments.figures.logs import reading_figure

    return reading_figure(
        reading.series,
        title=f"{name}, {reading.optimizer}",
        settled=reading.equilibrium_step,
        angles_from=reading.angles_from or "",
        missing=_missing(reading),
    )


def _missing(reading: Reading) -> str:
    """Why a picture has neither a norm nor an angle."""
    if any(group.num_records for group in reading.groups):
        return "norms are logged, but not of how many entries: --num-entries or --matrix-entries gives RMS and angles"
    if reading.weight_decay is None:
        return "no weight norm is read, and without a weight decay theory has none (--weight-decay)"
    return "no weight norm is read, and theory has none for this decay"


def as_object(reading: Reading) -> dict[str, Any]:
    """The answer under its JSON keys."""
    shown = {field.name: getattr(reading, field.name) for field in dataclasses.fields(reading)}
    del shown["trajectory"]
    for name in ("groups", "gradient_norm"):
        value = shown[name]
        shown[name] = [dataclasses.asdict(one) for one in value] if name == "groups" else value
    return shown


def _step_of_equilibrium(reading: Reading) -> str:
    if reading.equilibrium.startswith("not known"):
        return "not known"
    if reading.equilibrium.startswith(("never", "not reached")):
        return "never"
    return as_cell(reading.equilibrium_step)


def _gradient_in_words(gradient: GradientNorm) -> str:
    if gradient.cause == "does not rise":
        return f"does not rise: at the end it is {gradient.rise:.3g} times its lowest behind the warmup"
    fall = "" if gradient.weight_fall is None else f", one over the weight norm by {gradient.weight_fall:.3g}"
    steps = f"from step {gradient.from_step} to {gradient.to_step}"
    return f"grows by a factor of {gradient.rise:.3g} {steps}{fall}: {gradient.cause}"


def in_words(reading: Reading) -> str:
    """The page."""
    lines = [f"{reading.kind}, {reading.num_lines} lines, {reading.optimizer}"]
    for name in TOP:
        value = getattr(reading, name)
        shown = _step_of_equilibrium(reading) if name == "equilibrium_step" else as_cell(value)
        unit = UNITS.get(name, "") if value is not None else ""
        lines.append(f"{name:28} {shown:12} {unit}".rstrip())
    lines.append(f"equilibrium: {reading.equilibrium}")
    if reading.weight_decay is not None:
        lines.append(
            f"Decay {reading.weight_decay:g} in the convention {reading.decay}: a step took {DECAYS[reading.decay]}."
        )
    gradient = reading.gradient_norm
    if gradient is not None:
        lines.append(f"gradient norm: {_gradient_in_words(gradient)}")
    if any(group.num_records for group in reading.groups):
        lines += ["", *_groups(reading)]
    if "angular_update" in reading.series:
        lines += ["", *_schedule(reading)]
    verdict = "belongs in a fit of the best learning rate" if reading.belongs else "does not belong in such a fit"
    lines += ["", f"scaling fit: {verdict}" + "".join(f"; {reason}" for reason in reading.reasons)]
    lines += [f"to change: {change}" for change in reading.changes]
    lines += [f"note: {note}" for note in reading.notes]
    return "\n".join(lines)


def _groups(reading: Reading) -> list[str]:
    header = (
        "group",
        "first",
        "last",
        "equilibrium at",
        "error",
        "error predicted",
        "noise",
        "momentum",
        "signal",
        "decay",
    )
    rows = []
    for group in reading.groups:
        budget = group.force_budget
        forces = ["-"] * 4
        if budget is not None:
            forces = [f"{value:.3f}" for value in (budget.noise, budget.momentum, budget.signal, budget.decay)]
        rows.append(
            [
                group.name,
                short_number(group.weight_rms_first, 4),
                short_number(group.weight_rms_last, 4),
                {True: as_cell(group.equilibrium_step), False: "never", None: "not known"}[group.settles],
                _percent(group.weight_rms_error),
                _percent(group.weight_rms_error_predicted),
                *forces,
            ]
        )
    return [*GROUP_COLUMNS, *aligned(header, rows, align="<" + ">" * (len(header) - 1))]


def _schedule(reading: Reading) -> list[str]:
    """Ten points of the series."""
    names = [name for name in reading.series if name != "step"]
    steps = reading.series["step"]
    places = sorted({round(share * (len(steps) - 1) / 9) for share in range(10)})
    rows = [
        [f"{steps[place]:.0f}", *(short_number(reading.series[name][place], 4) for name in names)] for place in places
    ]
    table = aligned(("step", *(name.replace("_", " ") for name in names)), rows, align=">")
    angles = "angular update, in radians per step, and adamh learning rate, which turns AdamH by as much,"
    return [f"{angles} are by {reading.angles_from}:", *table]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _without_rates(reading: Reading, wanted: str) -> str:
    """Why there is no series, and the notes that say what to do."""
    notes = [note for note in reading.notes if "--learning-rate" in note]
    return "; ".join([f"without learning rates there is nothing to {wanted}", *notes])


def _write_csv(path: Path, reading: Reading) -> None:
    if not reading.series:
        raise BadInput(f"--csv {path}: {_without_rates(reading, 'write')}")
    names = list(reading.series)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*reading.series.values(), strict=True)]
    try:
        write_whole(path, csv_text(rows, names).encode())
    except BadInput as error:
        raise BadInput(f"--csv {error}") from None
