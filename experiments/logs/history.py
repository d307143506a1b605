"""The history of one run: steps in order, a rate at every step, and what was recorded of the weights.

A step that goes back is a restart from a checkpoint, and what was made again counts; or it is a counter that begins
anew with every epoch, and is carried on. Which of the two is told by the epoch if there is one, else by rate and loss:
a restart repeats them, an epoch carries them on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.logs.settings import HIGHEST_RATE, Setting
from experiments.logs.sources.names import OF_MATRICES
from experiments.logs.sources.raw_log import RawLog
from experiments.text import counted, listed

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

MOST_STEPS = 10**7
MOST_RESTARTS = 1000
EXCURSIONS = 5  # steps that go back, of a table in another order
ROUND = 10  # steps, of a run whose every step is logged
JUMP = 1.5  # ratio of neighbouring rates
WIDE = 20  # gap between rates, in usual gaps
SHORT = 20  # of a run's length, of which one part may lie after its last record, where it tells no end
LARGEST_RMS = 1e20  # of weights, as in theory; the smallest is its inverse


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """What was recorded of one quantity. done : (num_records,) steps made by then, rising. values : same shape, inf for
    what was logged and is not finite."""

    done: Steps
    values: Array

    def at(self, done: Array) -> Array:
        """On straight lines between records, level outside them; finite ones only."""
        known = np.isfinite(self.values)
        return np.interp(done, self.done[known], self.values[known])

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.values).any())


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """Of one matrix, or of all together (name ""): RMS of its weights and of the direction, mean of their products.

    norm_only : the weights are in units of their own, since a norm was logged and nobody told of how many entries.
    """

    name: str
    num_entries: float | None
    weight_rms: Series | None
    update_rms: Series | None
    mean_w_u: Series | None
    norm_only: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """learning_rates : (num_steps,) of every step, None where they are unknown. series : loss, validation_loss,
    gradient_norm. planned_steps : of the whole run, if told. jumps : steps at which the rate jumps. num_restarts : how
    often steps went back to be made again. unread_norms : names in the log that may be norms of weights."""

    num_steps: int
    planned_steps: int | None
    learning_rates: Array | None
    series: dict[str, Series]
    matrices: tuple[Matrix, ...]
    jumps: tuple[int, ...]
    num_restarts: int
    unread_norms: tuple[str, ...]
    notes: tuple[str, ...]


def history_of(log: RawLog, setting: Setting) -> History:
    """Put a log in order. Raises `BadInput` for steps that no run can have."""
    log, of_order = _by_step(log)
    steps, dropped, notes, num_restarts = _unrolled(log)
    made = steps[~dropped & np.isfinite(steps)]
    if not len(made):
        raise BadInput(f"{log.where}: no row has a step")
    first = 0 if made.min() < 1 else 1
    num_steps = int(made.max()) + 1 - first
    planned = setting.num_steps or log.planned_steps
    told_end = log.steps_done is not None and made.max() <= log.steps_done <= MOST_STEPS
    if log.steps_done is not None and told_end:
        num_steps = log.steps_done
    elif first == 0 and _end_recorded(np.unique(made), planned):
        num_steps -= 1  # step 0 is the start, and the last record the end
    if num_steps < 1:
        raise BadInput(f"{log.where}: its only step is 0: nothing was made yet")
    if planned is not None and not told_end and num_steps < planned <= num_steps + _interval(made, planned):
        notes.append(f"the last record is of step {made.max():.0f}: taken to have gone on to its end, step {planned}")
        num_steps = planned
    shift = 1 - first if setting.recorded == "after" else -first
    series = {
        key: _in_order(steps, dropped, rows, values, shift if key[0] in OF_MATRICES else 1 - first, num_steps)
        for key, (rows, values) in log.series.items()
    }
    rates, jumps, told = _rates(series.get(("learning_rate", "")), num_steps, planned, setting)
    return History(
        num_steps=num_steps,
        planned_steps=planned,
        learning_rates=rates,
        series={name: one for (name, matrix), one in series.items() if not matrix and name not in OF_MATRICES},
        matrices=_matrices(series, log, setting),
        jumps=jumps,
        num_restarts=num_restarts,
        unread_norms=log.unread_norms,
        notes=(*of_order, *notes, *told),
    )


def _end_recorded(steps: Array, planned: int | None) -> bool:
    """Whether a log whose steps begin at 0 has a record more than its run has steps: one before the first.

    It has by its plan; without one, if the last step is a round number of records or of steps. steps : ascending.
    """
    last = int(steps[-1])
    if planned is not None:
        return last == planned
    spacing = int(np.diff(steps).min(initial=last or 1))
    return last > 0 and last % (spacing if spacing > 1 else ROUND) == 0


def _interval(steps: Array, planned: int) -> int:
    """The usual one between records, in which a run may end without one; at most a twentieth of the run."""
    gaps = np.diff(np.unique(steps))
    return min(int(np.median(gaps)), planned // SHORT) if len(gaps) else 0


def _by_step(log: RawLog) -> tuple[RawLog, list[str]]:
    """The rows of a table that was sorted by something else, by steps as text or downwards: each step is there once,
    they lie evenly, and no run has made them in this order."""
    known = max((rows for rows, _ in log.series.values()), key=len, default=np.empty(0, np.int64))
    steps = log.steps[known]
    steps = steps[np.isfinite(steps)]
    gaps = np.diff(np.sort(steps))
    back = int(np.sum(np.diff(steps) < 0))
    if len(steps) < 3 or not gaps[0] > 0 or np.any(gaps != gaps[0]) or back < min(EXCURSIONS, len(steps) - 1):
        return log, []
    order = np.argsort(log.steps, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    series = {}
    for key, (rows, values) in log.series.items():
        moved = place[rows]
        rising = np.argsort(moved)
        series[key] = moved[rising], values[rising]
    return replace(log, steps=log.steps[order], series=series), ["its rows are not in the order of steps: sorted"]


def _unrolled(log: RawLog) -> tuple[Array, NDArray[np.bool_], list[str], int]:
    """Steps that only rise but for rows that are dropped, those rows, notes, and the number of restarts."""
    steps, dropped, notes = log.steps.copy(), np.zeros(len(log.steps), bool), []
    known = np.flatnonzero(np.isfinite(steps))
    if np.any(steps[known] < 0) or np.any(steps[known] != np.round(steps[known])):
        raise BadInput(f"{log.where}: steps must be whole numbers of at least 0")
    known = max((rows for rows, _ in log.series.values()), key=len, default=known)
    known = known[np.isfinite(steps[known])]
    back = _places_back(steps[known])
    if len(back) > MOST_RESTARTS:
        raise BadInput(f"{log.where}: steps go back at {len(back)} places: not one run in its order")
    forward = np.diff(steps[known])
    forward = forward[forward > 0]
    usual = float(np.median(forward)) if len(forward) else 1.0
    epochs = num_restarts = 0
    for place in back:
        row, before = known[place], known[place - 1]
        if _carries_on(log, known, place):
            steps[row:] += steps[before] + usual - steps[row]
            epochs += 1
            continue
        again = (steps[:row] >= steps[row]) & ~dropped[:row]
        num_restarts += 1
        if num_restarts <= 3:
            notes.append(
                f"a restart: steps go back from {steps[before]:.0f} to {steps[row]:.0f};"
                f" {counted(int(again.sum()), 'earlier record')} of steps made again dropped"
            )
        dropped[:row] |= again
    if num_restarts > 3:
        notes.append(f"{num_restarts} restarts in all")
    if epochs:
        notes.append(f"steps begin anew {epochs} times, as with every epoch: they are carried on")
    return _checked(log, steps), dropped, notes, num_restarts


def _checked(log: RawLog, steps: Array) -> Array:
    if np.nanmax(steps, initial=0) > MOST_STEPS:
        raise BadInput(
            f"{log.where}: step {np.nanmax(steps):.0f} is beyond {MOST_STEPS:g}: if it counts tokens or samples, map"
            " another"
            " name with --column step=NAME"
        )
    return steps


def _places_back(steps: Array) -> list[int]:
    """Where steps go back for more than one row in a strange place."""
    highest = np.maximum.accumulate(steps)
    places = []
    for place in np.flatnonzero(np.diff(steps) < 0) + 1:
        if place + 1 < len(steps) and steps[place + 1] >= highest[place - 1] > steps[place]:
            continue
        places.append(int(place))
    return places


def _carries_on(log: RawLog, known: Steps, place: int) -> bool:
    """Whether steps that go back are those of a new epoch, for which they have to go back to where they began."""
    steps = log.steps
    if steps[known[place]] > steps[known[0]] + 1:
        return False
    if (epoch := log.series.get(("epoch", ""))) is not None:
        before, after = _around(epoch, known, place)
        if before is not None and after is not None:
            return after >= before
    for quantity in ("learning_rate", "loss"):
        if (series := log.series.get((quantity, ""))) is None:
            continue
        before, after = _around(series, known, place)
        _, values = series
        start = values[0] if len(values) else None
        if before is None or after is None or start is None:
            continue
        if not all(0 < value < math.inf for value in (before, after, start)):
            continue
        to_last, to_first = abs(math.log(after / before)), abs(math.log(after / start))
        if max(to_last, to_first) > 0.02:
            return bool(to_last < to_first)
    return False


def _around(series: tuple[Steps, Array], known: Steps, place: int) -> tuple[float | None, float | None]:
    """The last value before a row, and the first from it on."""
    rows, values = series
    cut = int(np.searchsorted(rows, known[place]))
    return (float(values[cut - 1]) if cut else None), (float(values[cut]) if cut < len(rows) else None)


def _in_order(
    steps: Array, dropped: NDArray[np.bool_], rows: Steps, values: Array, shift: int, num_steps: int
) -> Series:
    """Of each step the last record, by steps made."""
    kept = ~dropped[rows] & np.isfinite(steps[rows])
    done, values = steps[rows[kept]].astype(np.int64) + shift, values[kept]
    order = np.argsort(done, kind="stable")
    done, values = done[order], values[order]
    last = np.append(np.diff(done) > 0, True)[: len(done)]
    return Series(done=np.clip(done[last], 0, num_steps), values=values[last])


def _rates(
    logged: Series | None, num_steps: int, planned: int | None, setting: Setting
) -> tuple[Array | None, tuple[int, ...], list[str]]:
    notes: list[str] = []
    known = None if logged is None else np.isfinite(logged.values)
    if logged is None or known is None or not np.any(logged.values[known]):
        if setting.learning_rate is None:
            return None, (), ["no learning rate is logged: give --learning-rate, and --schedule"]
        length = max(planned or num_steps, num_steps)
        if length > MOST_STEPS:
            raise BadInput(
                f"a run of {length:.10g} steps was planned: a schedule has at most {MOST_STEPS:g};"
                " --num-steps tells another length"
            )
        schedule = setting.planned_schedule(length)
        notes.append(
            f"no learning rate is logged: {schedule.name} from --learning-rate {setting.learning_rate:g} over {length}"
            " steps"
        )
        return setting.learning_rate * schedule.multipliers()[:num_steps], (), notes
    done, rates = logged.done[known], logged.values[known]
    if rates.min() < 0 or rates.max() > HIGHEST_RATE:
        raise BadInput(
            f"learning rates from {rates.min():g} to {rates.max():g}: must lie between 0 and {HIGHEST_RATE:g}"
        )
    if not known.all():
        notes.append(f"{int((~known).sum())} learning rates are not finite")
    if setting.learning_rate is not None and abs(setting.learning_rate / rates.max() - 1) > 0.01:
        notes.append(
            f"the logged rates count, with a peak of {rates.max():g}, not --learning-rate {setting.learning_rate:g}"
        )
    gaps = np.diff(done)
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    for place in np.flatnonzero(gaps > WIDE * usual)[:3]:
        notes.append(f"rates are missing from step {done[place]} to {done[place + 1]}: taken on a straight line")
    if num_steps - done[-1] > WIDE * usual:
        notes.append(f"rates are missing after step {done[-1]}: taken as the last one, {rates[-1]:g}")
    rising = len(rates) > 1 and rates[1] > rates[0] and done[0] > 1
    places = np.append(0, done) if rising else done
    values = np.append(0.0, rates) if rising else rates
    every = np.interp(np.arange(1, num_steps + 1), places, values)
    jumps = _jumps(done, rates)
    for step, before, after in jumps[:3]:
        notes.append(
            f"the learning rate jumps from {before:.3g} to {after:.3g} at step {step}: a schedule that was changed or"
            " begun anew"
        )
    return every, tuple(step for step, _, _ in jumps), notes


def _jumps(done: Steps, rates: Array) -> list[tuple[int, float, float]]:
    """Where a rate that did not rise, rises at once: no warmup does."""
    before, after = rates[1:-1], rates[2:]
    up = (after > JUMP * before) & (before <= rates[:-2]) & (np.maximum.accumulate(rates)[1:-1] > 0)
    return [(int(done[place + 2]), float(before[place]), float(after[place])) for place in np.flatnonzero(up)]


def _matrices(series: dict[tuple[str, str], Series], log: RawLog, setting: Setting) -> tuple[Matrix, ...]:
    names = list(dict.fromkeys(matrix for quantity, matrix in series if quantity in OF_MATRICES))
    found = []
    for name in setting.matrix_entries:
        if name not in names:
            raise BadInput(f"--matrix-entries {name}: no such matrix in {log.where}; it has {listed(names)}")
    for name in names:
        alone = not name or len(names) == 1
        told = setting.matrix_entries.get(name) or (setting.num_entries if alone else None)
        entries = told or log.num_entries.get(name)
        rms, norm = series.get(("weight_rms", name)), series.get(("weight_norm", name))
        norm_only = rms is None and norm is not None and entries is None
        if rms is None and norm is not None:
            rms = norm if entries is None else Series(done=norm.done, values=norm.values / np.sqrt(entries))
        if rms is not None:  # what theory has no size for is no weight
            sized = (rms.values >= 1 / LARGEST_RMS) & (rms.values <= LARGEST_RMS)
            rms = Series(done=rms.done, values=np.where(sized | (rms.values == 0), rms.values, np.inf))
        found.append(
            Matrix(
                name=name,
                num_entries=entries,
                weight_rms=rms if rms is not None and rms.known else None,
                update_rms=series.get(("update_rms", name)),
                mean_w_u=series.get(("mean_w_u", name)),
                norm_only=norm_only,
            )
        )
    if len(found) > 1:
        return tuple(one for one in found if one.name)
    return tuple(found)
