"""What ``--measured`` of ``lrbend convert`` tells of the source: angles, and learning rates where it has them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.settings.rate_file import PREFIX, RATE
from experiments.cli.settings.series_file import SeriesFile, read_series
from experiments.cli.settings.setting_flags import require_memory, schedule_from
from experiments.files import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from theory import Schedule

ANGLE = ("angular_update",)
CLOSE = 0.01  # of the peak, up to which two series of rates say the same


def schedule_of_source(options: argparse.Namespace) -> Schedule:
    """That of the flags, else that of the measured run; rate and length stand in the options from then on.

    What was taken from the run, and flags that say something else, are told on stderr. Raises `BadInput` and
    `InvalidParameter`.
    """
    path: Path | None = options.measured
    if path is not None and path.is_dir():
        return _of_run(options, path)
    rates = None if path is None else _rates_of(path)
    if rates is None or options.schedule is not None:
        options.schedule = options.schedule or "constant"
        schedule = schedule_from(options)
        if rates is not None and options.schedule != f"{PREFIX}{path}":
            _compare(options, schedule, rates.steps, rates.values)
        return schedule
    return _of_table(options, rates)


def _of_table(options: argparse.Namespace, rates: SeriesFile) -> Schedule:
    from theory import Tabulated

    peak, path = max(rates.values), rates.path
    if options.warmup_steps:
        raise BadInput(f"--warmup-steps: the rates of {path} have their own; --schedule takes others")
    if options.learning_rate is None:
        options.learning_rate = peak
    elif abs(options.learning_rate / peak - 1) > CLOSE:
        _tell(f"--learning-rate is the peak; that of {path} is {peak:g}")
    if options.num_steps is None:
        options.num_steps = rates.steps[-1] + 1
    require_memory(options)
    _tell(f"the source has the learning rates of {path} over {options.num_steps} steps; --schedule takes others")
    values = tuple(value / peak for value in rates.values)
    return Tabulated(num_steps=options.num_steps, steps=rates.steps, values=values)


def _of_run(options: argparse.Namespace, path: Path) -> Schedule:
    from experiments.runs.run_files import load_run

    config = load_run(path).config
    rate, planned = config.optimizer.learning_rate, config.schedule
    if config.optimizer.name != options.optimizer:
        _tell(f"--from {options.optimizer} counts; the optimizer of {path} is {config.optimizer.name}")
    taken = [name for name in ("learning_rate", "num_steps") if getattr(options, name) is None]
    options.learning_rate = rate if options.learning_rate is None else options.learning_rate
    options.num_steps = planned.num_steps if options.num_steps is None else options.num_steps
    given = options.schedule is not None or options.num_steps != planned.num_steps or options.warmup_steps
    if not given:
        options.schedule = planned.name
        words = [*(name.replace("num_steps", "length").replace("_", " ") for name in taken), "schedule"]
        _tell(f"{', '.join(words)} of the source, {planned.name}, are those of {path}")
        if options.learning_rate != rate:
            _tell(f"--learning-rate {options.learning_rate:g} counts; that of {path} is {rate:g}")
        return planned
    options.schedule = options.schedule or "constant"
    schedule = schedule_from(options)
    steps = tuple(range(planned.num_steps))
    _compare(options, schedule, steps, tuple((rate * planned.multipliers()).tolist()))
    return schedule


def _compare(options: argparse.Namespace, schedule: Schedule, steps: tuple[int, ...], rates: tuple[float, ...]) -> None:
    """Say that flags and run differ, if they do."""
    import numpy as np

    ours = options.learning_rate * schedule.multipliers()
    places = np.array(steps)
    inside = places < len(ours)
    apart = np.abs(ours[places[inside]] - np.array(rates)[inside])  # steps rise: those inside are the first
    if apart.max(initial=0.0) > CLOSE * max(rates):
        worst = int(apart.argmax())
        step = steps[worst]
        _tell(
            f"the flags count; the rates of {options.measured} are others, at step {step} {rates[worst]:.3g} and not"
            f" {ours[step]:.3g}: without --schedule its own are taken"
        )


def measured_angles(path: Path, num_steps: int) -> NDArray[np.float64]:
    """(num_steps,) angles per step in radians from a run directory, the mean of its matrices, or from a table with a
    column ``angular_update``. Raises `BadInput`."""
    if not path.is_dir():
        return read_series(path, (ANGLE,)).each_step(num_steps)
    from experiments.runs.run_files import load_run

    run = load_run(path).trajectory
    angles = run.angular_update.mean(axis=1)
    return SeriesFile(path, "angular_update", tuple(run.steps.tolist()), tuple(angles.tolist())).each_step(num_steps)


def _rates_of(path: Path) -> SeriesFile | None:
    """The rates of a table of angles, None where it has none."""
    from experiments.tables.formats import read_raw

    read_series(path, (ANGLE,))  # what has no angles is refused for that
    named = {name.strip().lower() for name in read_raw(path).header} & set(RATE)
    return read_series(path, (RATE,)) if named else None


def _tell(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
