"""What each command does with its parsed flags. Each returns an exit code."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import itertools
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.parser import flag
from experiments.files import BadInput, read_json, to_json, write_whole
from theory import OPTIMIZERS, SCHEDULES, WSD, Constant, InvalidParameter, Optimizer, Prediction, Schedule
from theory import predict as predict_setting
from theory.checks import require_integer, require_number

if TYPE_CHECKING:
    from gpt.config import TrainConfig

DEFAULT_WEIGHT_DECAY = 0.1
MOST_TOKENS = 2**16  # values of a token in 16 bits


def predict(options: argparse.Namespace) -> int:
    schedule = _schedule(options)
    rates: list[float] = options.learning_rate
    decays: list[float] = getattr(options, "weight_decay", [DEFAULT_WEIGHT_DECAY])
    settings: list[dict[str, Any]] = []
    for rate, decay in itertools.product(rates, decays):
        optimizer = _optimizer(options, rate, decay)
        prediction = predict_setting(
            optimizer,
            schedule,
            initial_rms=options.initial_rms,
            tolerance=options.tolerance,
            finite_beta2=options.finite_beta2,
            gradient_rms=options.gradient_rms,
            shape=options.shape and tuple(options.shape),
        )
        named = {"learning_rate": rate, "weight_decay": getattr(optimizer, "weight_decay", None)}
        settings.append({**named, **dataclasses.asdict(prediction)})
    if options.csv is not None:
        _write_csv(options.csv, settings)
    if options.json:
        print(to_json(settings[0] if len(settings) == 1 else {"settings": settings}))
    elif len(settings) == 1:
        print(_describe(settings[0], schedule, options.tolerance))
    else:
        columns = [field.name for field in dataclasses.fields(Prediction) if field.name != "adamh_learning_rate"]
        print(_align([("learning_rate", "weight_decay", *columns)], settings))
    return 0


def simulate(options: argparse.Namespace) -> int:
    from experiments.runs.simulation import SimulationConfig, compare_with_theory, run_simulation, why_no_comparison

    decay = getattr(options, "weight_decay", DEFAULT_WEIGHT_DECAY)
    shape: tuple[int, int] | None = options.shape and tuple(options.shape)
    entries = 1024 if shape is None else shape[0] * shape[1]
    config = SimulationConfig(
        optimizer=_optimizer(options, options.learning_rate, decay),
        schedule=_schedule(options),
        initial_rms=options.initial_rms,
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
    }
    if simulation.outcome.value == "completed" and result["not_compared"] is None:
        result |= dataclasses.asdict(compare_with_theory(config, simulation.trajectory, simulation.standard_error))
    if options.json:
        print(to_json(result))
        return 0
    if simulation.outcome.value != "completed":
        print(f"The simulation diverged at step {simulation.diverged_at_step}.")
        return 0
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


def train(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from experiments.runs.produce import Job, train_run, training_label
    from experiments.runs.run_directory import is_finished
    from experiments.runs.run_files import load_run
    from gpt.distributed import is_first_process

    config = _train_config(options)
    require_integer("checkpoint_every", options.checkpoint_every, at_least=1)
    if options.peak_flops is not None:
        require_number("peak_flops", options.peak_flops, above=0)
    job = Job(
        options.out,
        training_label(config),
        config,
        checkpoint_every=options.checkpoint_every,
        device_peak_flops=options.peak_flops,
    )
    if is_finished(job.path):
        print(f"note: {job.path} is finished already and kept", file=sys.stderr)
    bars: list[Any] = []  # made at the first report, so that an error before it stands alone

    first_step, started = 0, 0.0

    def show(step: int, loss: float) -> None:
        nonlocal first_step, started
        if not bars:
            first_step, started = step, time.perf_counter()
            keywords = {"unit": "step", "disable": options.json, "dynamic_ncols": True}
            bars.append(tqdm(total=config.schedule.num_steps, initial=step, **keywords))
        bars[0].update(step - bars[0].n)
        speed = (step - first_step) * config.tokens_per_step / (time.perf_counter() - started)
        bars[0].set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)

    try:
        path = train_run(job, show)
    finally:
        for bar in bars:
            bar.close()
    if not is_first_process():
        return 0
    run = load_run(path)
    keys = ("outcome", "final_loss", "final_loss_se", "loss_floor", "tokens_per_second", "mfu", "num_params")
    result = {"run_dir": str(run.path), **{key: run.summary.get(key) for key in keys}}
    if options.json:
        print(to_json(result))
        return 0
    for line in run.summary.get("parameter_groups", []):
        print(line)
    for key, value in result.items():
        print(f"{key:18} {value}")
    return 0


def validate(options: argparse.Namespace) -> int:
    from experiments.reports.report import text_table, write_report
    from experiments.studies.validate import run_validation, verdicts
    from theory.checks import require_integer

    if options.num_workers is not None:
        require_integer("num_workers", options.num_workers, at_least=1)
    runs = run_validation(options.out, device=options.device, num_workers=options.num_workers)
    rows, passed = verdicts(runs)
    page = write_report(runs, options.out, title="Closed form, simulation and real runs")
    if options.json:
        print(to_json({"passed": passed, "report": str(page), "rows": [_row_dict(row) for row in rows]}))
    else:
        judged = [row for row in rows if row.verdict]
        print(text_table(rows))
        print(f"\n{sum(row.verdict == 'pass' for row in judged)} of {len(judged)} checks pass.  Report: {page}")
    return 0 if passed else 1


def fit(options: argparse.Namespace) -> int:
    from experiments.cli.tables import fit as fit_command

    return fit_command.run(options)


def recommend(options: argparse.Namespace) -> int:
    from experiments.cli.tables import recommend as recommend_command

    return recommend_command.run(options)


def attribute(options: argparse.Namespace) -> int:
    from experiments.cli.tables import attribute as attribute_command

    return attribute_command.run(options)


def report(options: argparse.Namespace) -> int:
    from experiments.reports.report import report_directory

    page = report_directory(options.directory)
    print(to_json({"report": str(page)}) if options.json else page)
    return 0


def _row_dict(row: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(row), "verdict": row.verdict}


def _optimizer(options: argparse.Namespace, learning_rate: float, weight_decay: float) -> Optimizer:
    """The spec from the flags that were given; the rest stays at the optimizer's own defaults."""
    cls = OPTIMIZERS[options.optimizer]
    names = {field.name for field in dataclasses.fields(cls)}
    given: dict[str, Any] = {"learning_rate": learning_rate}
    if "weight_decay" in names:
        given["weight_decay"] = weight_decay
    elif getattr(options, "weight_decay", None) not in (None, 0, [0]):
        print(f"note: {cls.name} has no weight decay; --weight-decay is ignored", file=sys.stderr)
    for name in ("beta1", "beta2", "eps"):
        if hasattr(options, name):
            if name in names:
                given[name] = getattr(options, name)
            else:
                print(f"note: {cls.name} has no {name}; --{name} is ignored", file=sys.stderr)
    try:
        return cls(**given)
    except InvalidParameter as error:
        if error.name != "weight_decay" or hasattr(options, "weight_decay"):
            raise
        allowed = f"below {1 / weight_decay:g}, one over the default weight decay; or give --weight-decay"
        raise InvalidParameter("learning_rate", learning_rate, allowed) from None


def _schedule(options: argparse.Namespace) -> Schedule:
    cls = SCHEDULES[options.schedule]
    given: dict[str, Any] = {"num_steps": options.num_steps, "warmup_steps": options.warmup_steps}
    if cls is not Constant:
        given["final_fraction"] = options.final_fraction
    if cls is WSD:
        given["decay_fraction"] = options.decay_fraction
    return cls(**given)


def _train_config(options: argparse.Namespace) -> TrainConfig:
    from experiments.runs.configs import read_config
    from gpt.arms import at_equilibrium
    from gpt.config import TrainableOptimizer, TrainConfig, preset

    if options.config is not None:
        kept = {"command", "run", "json", "config", "out", "defaults", "checkpoint_every", "peak_flops"}
        for name, value in vars(options).items():
            if name not in kept and value != options.defaults.get(name):
                raise BadInput(f"{flag(name)}: cannot be given with --config, which holds all settings")
        config = read_config(read_json(options.config), where=str(options.config))
        if not isinstance(config, TrainConfig):
            raise BadInput(f"{options.config}: not the config of a training run")
        return config
    for name in ("learning_rate", "num_steps"):
        if getattr(options, name) is None:
            raise BadInput(f"{flag(name)}: required, unless --config is given")
    decay = getattr(options, "weight_decay", DEFAULT_WEIGHT_DECAY)
    optimizer = _optimizer(options, options.learning_rate, decay)
    assert isinstance(optimizer, TrainableOptimizer)  # by the choices of the flag
    model = preset(options.preset, options.architecture)
    if options.vocab_size is not None:
        require_integer("vocab_size", options.vocab_size, at_least=1, at_most=MOST_TOKENS)
        model = dataclasses.replace(model, vocab_size=options.vocab_size)
    config = TrainConfig(
        model=model,
        optimizer=optimizer,
        schedule=_schedule(options),
        seed=options.seed,
        dtype=options.dtype,
        device=options.device,
        record_every=options.record_every,
        non_matrix_learning_rate=options.non_matrix_learning_rate,
        source=options.source,
        batch_size=options.batch_size,
        accumulation_steps=options.accumulation_steps,
        gradient_clip=options.gradient_clip,
        compile=options.compile,
    )
    return at_equilibrium(config) if options.start == "equilibrium" else config


def _describe(setting: Mapping[str, Any], schedule: Schedule, tolerance: float) -> str:
    """One setting in words a person can check."""
    lines = [f"{name:28} {_cell(value)}" for name, value in setting.items()]
    transient, last = setting["transient_steps"], setting["final_rms"] / setting["equilibrium_rms"] - 1
    band, decays = f"{tolerance:.3%}".replace(".000", ""), schedule.peak_end < schedule.num_steps
    if setting["relaxation_steps"] is None:
        verdict = "The norm is fixed: there is no transient."
    elif transient is None:
        verdict = f"In {schedule.num_steps} steps the weight RMS does not come within {band} of its equilibrium."
    else:
        verdict = (
            f"The weight RMS is within {band} of its equilibrium{' at the peak' if decays else ''} after {transient} of"
            f" {schedule.num_steps} steps ({transient / schedule.num_steps:.0%} of the run)."
        )
        if decays and abs(last) > tolerance:
            verdict += f" The decay takes it away again: it ends {abs(last):.0%} {'below' if last < 0 else 'above'}."
    return "\n".join([*lines, verdict])


def _align(header: list[tuple[str, ...]], rows: Iterable[Mapping[str, Any]]) -> str:
    table = [*header, *(tuple(_cell(row[name]) for name in header[0]) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_whole(path, buffer.getvalue().encode())
    except BadInput as error:
        raise BadInput(f"--csv {error}") from None
