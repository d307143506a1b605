"""``lrbend losses``: from final losses or loss curves to the final loss of another schedule, size and length."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import LOSS_LAWS, SCHEDULES
from experiments.cli.parser import number, whole_number
from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.tables.table_flags import add_source, conditions_from, pairs, rows_in_words, sentence, with_rows
from experiments.cli.waiting import waiting
from experiments.files import BadInput, to_json
from experiments.text import aligned, flag, short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.figures.ranking import Entry
    from experiments.losses.final_loss import Prediction, Target
    from experiments.losses.settings import Setting

MOST_SHOWN = 20
ONE_VALUE = "(default: the table's, if it has one value only)"
FREQUENT = "(default: the table's most frequent)"
ANGLE = {"weight_decay": 0.1, "initial_rms": 0.02}  # of curves, which do not tell them

SUMMARY = "from final losses or loss curves to the loss of another schedule, size and length, ranked"
EXAMPLES = (
    "lrbend losses docs/samples/losses.csv",
    "lrbend losses docs/samples/losses.csv --num-params 1e8 --num-steps 20000 --schedule cosine wsd"
    " --learning-rate 1e-3 2e-3 --decay-fraction 0.1 0.4",
    "lrbend losses curves --num-steps 72000 --schedule cosine wsd linear --json",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = add_source(
        parser,
        "one run a row: loss (nats), learning_rate, schedule, num_steps and what else there is; or a folder of loss"
        " curves, one CSV file a run with step, learning_rate and loss, a subfolder for every model",
    )
    group.add_argument("--curves", action="store_true", help="TABLE is a folder of loss curves, as any folder is")
    group.add_argument(
        "--dataset-column", metavar="COLUMN", help="names what a loss is measured on (default: dataset, if it is there)"
    )
    parser.add_argument(
        "--law",
        choices=("schedule-and-scale", *LOSS_LAWS),
        help="what is fitted (default: schedule-and-scale to final losses, multi-power to curves)",
    )
    parser.add_argument(
        "--rates", choices=("angle", "learning-rate"), default="angle", help="what the law of curves is a law in"
    )
    parser.add_argument("--confidence", type=number, default=0.90, help="of the intervals")
    target = parser.add_argument_group("the run to be made")
    target.add_argument("--num-params", type=whole_number, help=f"its size {ONE_VALUE}")
    target.add_argument("--num-steps", type=whole_number, help="its length (default: from --num-tokens)")
    target.add_argument("--num-tokens", type=whole_number, help="its length in tokens (default: from --num-steps)")
    target.add_argument("--tokens-per-step", type=whole_number, help=f"its batch {FREQUENT}")
    target.add_argument("--weight-decay", type=number, help=f"PyTorch convention {FREQUENT}")
    target.add_argument("--dataset", help=f"that its loss is measured on {ONE_VALUE}")
    choice = parser.add_argument_group("candidates, all combinations")
    choice.add_argument("--schedule", nargs="+", choices=list(SCHEDULES), help="its kind (default: the table's)")
    choice.add_argument("--learning-rate", nargs="+", type=number, help="peak (default: the table's)")
    choice.add_argument(
        "--decay-fraction", nargs="+", type=number, help="of the run, wsd only (default: the table's, else 0.2)"
    )
    choice.add_argument(
        "--decay-type", nargs="+", choices=("linear", "sqrt"), help="wsd only (default: linear if the table has it)"
    )
    choice.add_argument(
        "--final-fraction",
        nargs="+",
        type=number,
        help="of the peak, where a decay ends (default: the table's, else 0)",
    )
    choice.add_argument("--warmup-steps", type=whole_number, help=f"of a straight rise {FREQUENT}")
    add_plot(parser, "the ranking, or the rows without a loss, with their intervals")


def run(options: argparse.Namespace) -> int:
    from theory.checks import require_number

    check_plot(options)
    require_number("confidence", options.confidence, above=0, below=1)
    read, groups = _of_curves(options) if options.curves or options.table.is_dir() else _of_table(options)
    write_plot(options, lambda: _draw(groups, options.confidence))
    found = with_rows(read, groups)
    print(to_json(found) if options.json else losses_in_words(read, groups))
    return 0


def _draw(groups: Sequence[dict[str, Any]], confidence: float) -> Figure:
    from experiments.figures.ranking import ranking_figure

    panels = [(str(group.get("group") or ""), _drawn_entries(group)) for group in groups]
    panels = [(name, entries) for name, entries in panels if entries]
    if not panels:
        raise BadInput("--plot: nothing to rank; give --num-steps and candidates, or rows without a loss")
    is_ranked = any(group["ranking"] for group in groups)
    title = "Which run ends lowest" if is_ranked else "Rows without a loss, predicted"
    return ranking_figure(panels, confidence=confidence, title=title)


def _drawn_entries(group: dict[str, Any]) -> list[Entry]:
    """The ranking, where there is none the rows without a loss that could be predicted."""
    from experiments.figures.ranking import Entry

    entries = group["ranking"] or [one for one in group.get("predictions", ()) if one.get("loss") is not None]
    return [
        Entry(name=_run_name(one), loss=one["loss"], low=one["low"], high=one["high"], outside=bool(one["outside"]))
        for one in entries
    ]


def _decay(one: dict[str, Any]) -> str:
    """Over which part of the run its rate decays, and how: never to be read as a weight decay."""
    return "" if one["decay_fraction"] is None else f"last {100 * one['decay_fraction']:.3g} %, {one['decay_type']}"


def _run_name(one: dict[str, Any]) -> str:
    decay = f", decays over {_decay(one)}" if _decay(one) else ""
    end = "" if one["final_fraction"] is None else f", ends at {one['final_fraction']:g}"
    line = f"line {one['line']}: " if "line" in one else ""
    return f"{line}{one['schedule']}, rate {one['learning_rate']:g}{decay}{end}"


def _of_table(options: argparse.Namespace) -> tuple[Any, list[dict[str, Any]]]:
    from experiments.losses.final_loss import LAW, fit_final_losses, predict_unmeasured, rank, settle_target
    from experiments.losses.loss_table import TableHow, read_final_losses
    from experiments.losses.settings import candidates

    if options.law not in (None, LAW):
        raise BadInput(f"--law {options.law}: is fitted to a folder of loss curves; final losses take {LAW}")
    columns = pairs("--column", options.column)
    if options.dataset_column is not None:
        columns["dataset"] = options.dataset_column
    how = TableHow(columns=columns, constants=pairs("--constant", options.constant), where=conditions_from(options))
    table = read_final_losses(options.table, how)
    target: Target | None = None
    notes: list[str] = []
    settings: list[Setting] = []
    if _asks(options):
        target, notes = settle_target(
            table,
            **{
                name: getattr(options, name)
                for name in ("num_params", "num_steps", "num_tokens", "tokens_per_step", "weight_decay", "dataset")
            },
        )
        settings = candidates(table.settings, num_steps=target.num_steps, **_choice(options))
    doing = f"lrbend losses: fitting the law to {len(table.runs)} runs, and again without parts of them"
    with waiting(doing):
        fitted = fit_final_losses(table, level=options.confidence)
    with waiting("lrbend losses: following the candidates"):
        ranking = rank(fitted, target, settings, level=options.confidence) if target else []
    if target:
        notes += fitted.beyond(target)
    group = {
        "law": {
            "name": LAW,
            "constants": [item._asdict() for item in fitted.constants],
            "interval": {
                "scatter": fitted.errors.scatter,
                "per_distance": fitted.errors.per_distance,
                "quantile": fitted.errors.quantile(options.confidence),
            },
        },
        "residual_rms": fitted.residual_rms,
        "rerun_deviation": table.rerun_deviation,
        "num_runs": len(table.runs),
        "trained": fitted.law.trained,
        "target": dataclasses.asdict(target) if target else None,
        "confidence": options.confidence,
        "ranking": [_entry(item) for item in ranking],
        "predictions": [
            {"line": row.line, **(_entry(found) if found else {**dataclasses.asdict(row.setting), "reason": reason})}
            for row, found, reason in predict_unmeasured(fitted, level=options.confidence)
        ],
        "notes": [*fitted.notes, *notes],
    }
    return table, [group]


def _of_curves(options: argparse.Namespace) -> tuple[Any, list[dict[str, Any]]]:
    from experiments.losses.curve_files import MOST_STEPS, read_curves
    from experiments.losses.curve_law import Angles, curve_settings, fit_curves, rank_curves
    from experiments.losses.settings import candidates
    from theory.checks import require_integer

    law = options.law or "multi-power"
    if law not in LOSS_LAWS:
        raise BadInput(f"--law {law}: is fitted to a table of final losses; curves take one of {', '.join(LOSS_LAWS)}")
    for name in ("num_params", "num_tokens", "tokens_per_step", "weight_decay", "dataset", "dataset_column"):
        if getattr(options, name) is not None:
            raise BadInput(f"{flag(name)}: a law of curves knows no size, batch or data set; give --num-steps")
    if _asks(options) and options.num_steps is None:
        raise BadInput("--num-steps: needed, the length of the run to be made")
    if options.num_steps is not None:
        require_integer("num_steps", options.num_steps, at_least=1, at_most=MOST_STEPS)
    constants, angles, assumed = dict(ANGLE), None, []
    for name, text in pairs("--constant", options.constant).items():
        if name not in ANGLE:
            raise BadInput(f"--constant {name}: of curves it is one of {', '.join(ANGLE)}")
        try:
            constants[name] = float(text)
        except ValueError:
            raise BadInput(f"--constant {name}={text}: {text!r} is not a number") from None
    if options.rates == "angle":
        angles = Angles(**constants)
        assumed = [f"angles per step are AdamW's, at {_told(constants)} (--constant NAME=VALUE)"]
    folder = read_curves(options.table, columns=pairs("--column", options.column), where=conditions_from(options))
    groups = []
    for name, curves in folder.groups.items():
        settings = []
        if options.num_steps is not None:
            settings = candidates(curve_settings(curves), num_steps=options.num_steps, **_choice(options))
        doing = f"lrbend losses: {name}: fitting {law} to {len(curves)} curves, and again without parts of them"
        with waiting(doing):
            fitted = fit_curves(curves, law, angles=angles, level=options.confidence)
            ranking = rank_curves(fitted, settings, level=options.confidence)
        groups.append(
            {
                "group": name,
                "law": {
                    "name": law,
                    "rates": options.rates,
                    "outcome": fitted.fit.outcome.value,
                    "constants": [item._asdict() for item in fitted.constants],
                    "interval": {"scatter": fitted.scatter, "per_distance": fitted.per_distance},
                },
                "residual_rms": fitted.residual_rms,
                "num_runs": len(curves),
                "trained": {"num_steps": fitted.lengths, "peak_learning_rate": fitted.peaks},
                "target": {"num_steps": options.num_steps} if settings else None,
                "confidence": options.confidence,
                "ranking": [_entry(item) for item in ranking],
                "notes": [*assumed, *fitted.notes],
            }
        )
    return folder, groups


def _asks(options: argparse.Namespace) -> bool:
    """Whether any flag of a target or of candidates is given."""
    names = ("num_params", "num_steps", "num_tokens", "tokens_per_step", "weight_decay", "dataset")
    return any(getattr(options, name) is not None for name in (*names, *CHOICE, "warmup_steps"))


CHOICE = {
    "schedule": "schedules",
    "learning_rate": "learning_rates",
    "decay_fraction": "decay_fractions",
    "decay_type": "decay_types",
    "final_fraction": "final_fractions",
}


def _choice(options: argparse.Namespace) -> dict[str, Any]:
    """Candidates' flags as `candidates` takes them."""
    lists = {argument: getattr(options, name) or () for name, argument in CHOICE.items()}
    return {**lists, "warmup_steps": options.warmup_steps}


def _entry(item: Prediction) -> dict[str, Any]:
    values = {"loss": item.loss, "low": item.low, "high": item.high, "outside": list(item.outside)}
    return {**dataclasses.asdict(item.setting), **values}


def losses_in_words(read: Any, groups: Sequence[dict[str, Any]]) -> str:
    """The same in words and small tables."""
    lines = rows_in_words(read)
    for group in groups:
        lines += ["", *_group_in_words(group)]
    return "\n".join(lines)


def _group_in_words(group: dict[str, Any]) -> list[str]:
    law, level = group["law"], f"{100 * group['confidence']:.3g} %"
    name = f"{group['group']}: " if group.get("group") else ""
    lines = [f"{name}{law['name']} law of {group['num_runs']} runs"]
    lines += aligned(
        ("constant", "value", f"{level} low", "high", ""),
        [
            (one["name"], *(short_number(one[key], 4) for key in ("value", "low", "high")), one["meaning"])
            for one in law["constants"]
        ],
        indent="  ",
    )
    errors = [
        f"{key.replace('_', ' ')} {value:.4f}" for key, value in group["residual_rms"].items() if value is not None
    ]
    lines.append(f"  rms of errors in nats: {', '.join(errors)}")
    lines += [f"  {sentence(note)}" for note in group["notes"]]
    if group["target"]:
        shown = " ".join(
            f"{key}={value:.6g}" for key, value in group["target"].items() if isinstance(value, int | float)
        )
        lines += ["", f"  candidates at {shown}, lowest loss first"]
        lines += _ranking(group["ranking"], level)
    if group.get("predictions"):
        lines += ["", "  rows without a loss, predicted"]
        lines += _ranking(group["predictions"], level, first="line")
    return lines


def _ranking(entries: Sequence[dict[str, Any]], level: str, first: str | None = None) -> list[str]:
    setting = ("schedule", "learning rate", "rate decays over", "ends at")
    header = (*setting, "loss", f"{level} low", "high", "beyond the table in")
    rows = []
    for one in entries[:MOST_SHOWN]:
        decay = _decay(one) or "-"
        losses = [f"{one[key]:.4f}" if one.get(key) is not None else "-" for key in ("loss", "low", "high")]
        beyond = ", ".join(one["outside"]) if "outside" in one else one["reason"]
        cells = (
            one["schedule"],
            f"{one['learning_rate']:g}",
            decay,
            short_number(one["final_fraction"]),
            *losses,
            beyond,
        )
        rows.append((str(one[first]), *cells) if first else cells)
    lines = aligned((first, *header) if first else header, rows, indent="    ")
    if len(entries) > MOST_SHOWN:
        lines.append(f"    ... and {len(entries) - MOST_SHOWN} more (--json gives all)")
    return lines


def _told(values: dict[str, float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in values.items())
