"""``lrbend plan``: what a study costs before anything starts."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.flags import add_folder, add_num_workers, add_study, num_workers
from experiments.cli.parser import number
from experiments.cli.waiting import waiting
from experiments.files import BadInput, to_json
from experiments.text import aligned, short_number

if TYPE_CHECKING:
    from experiments.sweeps.plan import Plan, TextPlan

LEAST_GPU_HOURS = 0.01  # below, starting the runs takes longer, and the figure says nothing
NOTE = "estimated from the FLOPs and an assumed utilisation; not run on a GPU"

SUMMARY = "what a study costs: runs, tokens, FLOPs, hours"
EXAMPLES = (
    "lrbend plan lr-transfer-small",
    "lrbend plan ladder --gpu H200 --utilisation 0.4",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    only = "of a study that has two: only its runs at gpu are planned (default: gpu)"
    parser.add_argument("--scale", choices=("cpu", "gpu"), help=only)
    add_folder(parser, "out", "those of the sweep; what is finished there costs nothing", without="runs/NAME")
    parser.add_argument("--gpu", default="H100 80GB", help="for which GPU hours are estimated; another name lists all")
    parser.add_argument("--utilisation", type=number, default=0.45, help="assumed share of the GPU's bfloat16 peak")
    add_num_workers(parser)


def run(options: argparse.Namespace) -> int:
    from experiments.studies.registered import STUDIES, load_study
    from experiments.sweeps.plan import make_plan

    if options.scale is not None:
        named = STUDIES.get(options.study)
        if named is None or "cpu|gpu" not in [one.value for one in named.options if one.name == "scale"]:
            raise BadInput(f"--scale {options.scale}: {options.study} has no scale; its one size is planned")
        if options.scale == "cpu":
            raise BadInput(f"--scale cpu: gpu alone is planned; {named.name} costs {named.cost}")
    workers = num_workers(options)
    study = load_study(options.study)
    with waiting("lrbend plan: timing a few steps of each size on this machine"):
        found = make_plan(
            study,
            options.out or Path("runs") / study.name,
            gpu=options.gpu,
            utilisation=options.utilisation,
            num_workers=workers,
        )
    print(to_json({**dataclasses.asdict(found), "gpu_note": NOTE}) if options.json else plan_in_words(found))
    return 0


def plan_in_words(found: Plan) -> str:
    """The table of arms, the texts, and hours here and on the GPU where they are more than a moment."""
    for_gpus = any(cell.gpu_hours >= LEAST_GPU_HOURS for cell in found.cells)
    rows = [
        (
            cell.arm,
            str(cell.d_model),
            short_number(cell.num_params),
            str(cell.num_runs),
            str(cell.num_finished),
            *map(short_number, (cell.num_tokens, cell.flops)),
            *([_hours(cell.gpu_hours)] if for_gpus else []),
        )
        for cell in found.cells
    ]
    total = map(short_number, (found.num_tokens, found.flops))
    rows.append(
        (
            "all",
            "",
            "",
            str(found.num_runs),
            str(found.num_finished),
            *total,
            *([_hours(found.gpu_hours)] if for_gpus else []),
        )
    )
    header = ("arm", "width", "params", "runs", "finished", "tokens", "FLOPs", "GPU hours")[: len(rows[0])]
    least = (24, 5, 8, 6, 8, 9, 9, 9)[: len(rows[0])]
    table = aligned(header, rows, align="<>>>>>>>"[: len(rows[0])], gap=" ", least=least)
    lines = [f"{found.study}: {found.question}", "", *table]
    if found.most_runs > found.num_runs:
        lines.append(f"Adaptive cells may come to {found.most_runs} runs; the figures are for those asked for now.")
    lines += [_text_in_words(text) for text in found.texts]
    if found.hours_here is None:
        lines.append(f"Hours on this machine: not known, {found.not_timed}.")
    else:
        lines.append(
            f"Hours on this machine for what is not finished: {found.hours_here:.3g}, with {found.num_workers}"
            " at a time, from a few steps timed now."
        )
    if found.gpu_hours >= LEAST_GPU_HOURS:
        hours = f"{found.gpu_hours:.3g}, {NOTE}; starting and compiling the runs is not counted"
        lines.append(f"Hours on one {found.gpu} at {found.utilisation:.0%} of its peak: {hours}.")
    return "\n".join(lines)


def _hours(hours: float) -> str:
    return short_number(hours) if hours >= LEAST_GPU_HOURS or hours == 0 else f"< {LEAST_GPU_HOURS}"


def _text_in_words(text: TextPlan) -> str:
    line = f"Text {text.source}: the longest run reads {short_number(text.tokens_needed)} tokens;"
    if text.missing is not None:
        absent = "No such file" in text.missing
        state = "none are on this machine" if absent else f"what lies there cannot be used: {text.missing}"
        return f"{line} {state}. lrbend prepare DATASET --out {text.source} writes them."
    if not text.tokens_found:  # none are known, or a cache that is empty, and made anew
        return f"{line} it is built at the first run and was not counted."
    return (
        f"{line} {short_number(text.tokens_found)} are there, which is {text.tokens_needed / text.tokens_found:.2g}"
        " times through."
    )
