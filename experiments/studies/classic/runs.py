"""The arms, what shares a recording, and the order in which runs are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.runs.configs import config_hash
from experiments.studies.ensembles.tasks import Making, Run, Task, Trained, made_alone
from experiments.studies.moved_optimum.runs import (
    GAPS,
    MOST_ADDED,
    NUMBERS,
    SEEDS,
    TEXTS,
    Arm,
    config_of,
    grid,
    in_columns,
    rate_beyond,
    row_of,
)
from experiments.studies.workplace import Workplace
from gpt.arms import steered
from gpt.config import TrainConfig
from gpt.replay import Recording, recording_of
from theory.outcome import RunOutcome

Array = NDArray[np.float64]

LENGTHS = (800, 1600)
SMALL_RMS, LARGE_RMS, LARGER_RMS = 0.02, 0.18, 0.54
WEIGHT_DECAY = 0.1


def _arm(name: str, decay: float | None, rms: float | None, *, corrected: bool = False) -> Arm:
    return Arm(name, decay, rms, LENGTHS, architecture="gpt2", corrected=corrected)


SMALL, LARGE = _arm("small", WEIGHT_DECAY, SMALL_RMS), _arm("large", WEIGHT_DECAY, LARGE_RMS)
HELD = tuple(
    _arm(f"adamh {rms:g}", None, rms) for rms in (SMALL_RMS, LARGE_RMS, LARGER_RMS)
)  # in the order of the norms
EQUILIBRIUM = _arm("equilibrium", WEIGHT_DECAY, None)
CORRECTED = _arm("adamc", WEIGHT_DECAY, LARGE_RMS, corrected=True)

CROSSED = {"large angles, small norm": ("large", "small"), "small angles, large norm": ("small", "large")}
STEERED: Mapping[str, tuple[str, str]] = {  # whose angles, and which of `norm_histories`
    **CROSSED,
    "large angles, large then small norm": ("large", "large, then small"),
    "small angles, small norm fixed": ("small", "small, fixed"),
    "large angles, large norm fixed": ("large", "large, fixed"),
}
ALL_ARMS = (SMALL.name, LARGE.name, *STEERED, *(arm.name for arm in HELD), EQUILIBRIUM.name, CORRECTED.name)


@dataclass(frozen=True)
class Group:
    """Runs that are made together: ``arm`` by itself, or with ``paired`` the small start, the large one and all of
    `STEERED`. ``centre`` of the grid. ``late``: after all seeds of the groups that are not."""

    arm: Arm
    centre: float
    paired: bool = False
    late: bool = False

    @property
    def widening(self) -> tuple[str, ...]:
        """Arms whose lowest mean loss has to lie inside the grid."""
        return (SMALL.name, LARGE.name, *CROSSED) if self.paired else (self.arm.name,)

    def config(self, num_steps: int, learning_rate: float, seed: int) -> TrainConfig:
        """By whose hash the rows are known; of a pair that of the small start, every step recorded."""
        config = config_of(self.arm, num_steps, learning_rate, seed)
        return replace(config, record_every=1) if self.paired else config

    def making(self, config: TrainConfig) -> Making:
        """The rows of one `config`."""
        rows = yield from _paired(config) if self.paired else _alone(self.arm.name, config)
        return rows.assign(run=config_hash(config))

    def rows(self, config: TrainConfig) -> pd.DataFrame:
        """The rows of one `config`, made by itself."""
        return made_alone(self.making(config))


PAIRED_CENTRE, HELD_CENTRE, EQUILIBRIUM_CENTRE = 5e-3, 1.6e-2, 1e-2
GROUPS = (
    Group(SMALL, PAIRED_CENTRE, paired=True),
    Group(HELD[0], HELD_CENTRE),
    Group(HELD[1], HELD_CENTRE),
    Group(HELD[2], HELD_CENTRE, late=True),
    Group(EQUILIBRIUM, EQUILIBRIUM_CENTRE, late=True),
    Group(CORRECTED, PAIRED_CENTRE, late=True),
)


def make_runs(
    place: Workplace, lengths: Sequence[int], groups: Sequence[Group] = GROUPS, all_lengths: Sequence[int] = LENGTHS
) -> Iterator[pd.DataFrame]:
    """All finished rows, and again after every group of runs that share a recording; those missing of ``lengths`` are
    made.

    A length at a time: all groups of one seed before the next, late ones afterwards, then the grids that have to be
    wider, a factor of 2 at a time and `MOST_ADDED` times at most.
    """
    place.make_folders()
    known = _known(place, groups, all_lengths)
    if known:
        yield _together(known)
    for num_steps in (length for length in all_lengths if length in lengths):
        for name, group, config in _in_order(num_steps, groups, known):
            if name not in known:
                known[name] = _rows(place, group, config)
                yield _together(known)


def wanted(place: Workplace, lengths: Sequence[int] = LENGTHS, groups: Sequence[Group] = GROUPS) -> list[Task]:
    """What `make_runs` would make, as far as finished runs tell."""
    known = _known(place, groups, LENGTHS)
    return [
        Task(place, config, group.making)
        for num_steps in LENGTHS
        if num_steps in lengths
        for name, group, config in _in_order(num_steps, groups, known)
        if name not in known
    ]


def finished_cells(runs: pd.DataFrame) -> set[tuple[str, int]]:
    """Arm and length of every cell in these rows whose group wants no further run."""
    known = {str(name): rows for name, rows in runs.groupby("run")}
    found: set[tuple[str, int]] = set()
    for num_steps in sorted({int(each) for each in runs["num_steps"]}):
        for group in GROUPS:
            if all(name in known for name, _, _ in _in_order(num_steps, [group], known)):
                arms = (SMALL.name, LARGE.name, *STEERED) if group.paired else (group.arm.name,)
                found |= {(arm, num_steps) for arm in arms}
    return found


def _known(place: Workplace, groups: Sequence[Group], lengths: Sequence[int]) -> dict[str, pd.DataFrame]:
    """The finished rows by their name."""
    known: dict[str, pd.DataFrame] = {}
    for num_steps in lengths:
        for name, group, config in _in_order(num_steps, groups, known):
            if place.file_of(config).exists():
                known[name] = _rows(place, group, config)
    return known


def _rows(place: Workplace, group: Group, config: TrainConfig) -> pd.DataFrame:
    (rows,) = place.run_tables([config], group.rows, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS))
    return rows


def _in_order(
    num_steps: int, groups: Sequence[Group], known: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[str, Group, TrainConfig]]:
    """In their order; grids are widened by what is ``known`` once everything before has been taken."""
    rates = {group: list(grid(group.centre)) for group in groups}
    done: set[str] = set()
    while True:
        tasks = [(g.late, seed, i, rate) for i, g in enumerate(groups) for seed in SEEDS for rate in rates[g]]
        for _, seed, index, rate in sorted(tasks, key=lambda task: task[:3]):
            config = groups[index].config(num_steps, rate, seed)
            name = config_hash(config)
            if name not in done:
                done.add(name)
                yield name, groups[index], config
        wider = [group for group, own in rates.items() if _widen(group, num_steps, own, known)]
        if not wider:
            return


def _together(known: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return in_columns(pd.concat(known.values(), ignore_index=True))


def _widen(group: Group, num_steps: int, rates: list[float], known: Mapping[str, pd.DataFrame]) -> bool:
    """Whether ``rates`` got another one: only where all runs of the group are known."""
    names = [config_hash(group.config(num_steps, rate, seed)) for rate in rates for seed in SEEDS]
    if len(rates) >= len(grid(group.centre)) + MOST_ADDED or not set(names) <= set(known):
        return False
    table = pd.concat([known[name] for name in names], ignore_index=True)
    beyond = [rate_beyond(table[table["arm"] == arm]) for arm in group.widening]
    added = next((rate for rate in beyond if rate is not None and rate not in rates), None)
    if added is not None:
        rates.append(added)
    return added is not None


def _row(arm: str, config: TrainConfig, trained: Trained) -> dict[str, object]:
    return {"arm": arm} | row_of(config, trained) | {"device": trained.device}


def _alone(arm: str, config: TrainConfig) -> Making:
    (trained,) = yield [Run(config)]
    return pd.DataFrame([_row(arm, config, trained)])


def _paired(config: TrainConfig) -> Making:
    """The small start, the large one, and what is steered by their recordings; not what needs one that diverged."""
    starts = [replace(config, block_rms=arm.initial_rms) for arm in (SMALL, LARGE)]
    trained = yield [Run(start) for start in starts]
    rows, recordings = [], {}
    for arm, start, one in zip((SMALL, LARGE), starts, trained, strict=True):
        rows.append(_row(arm.name, start, one))
        found = one.result
        if found.outcome is RunOutcome.COMPLETED:
            recordings[arm.name] = recording_of(found.trajectory, found.final_weight_rms, config.schedule.num_steps)
    if len(recordings) == len(starts):
        histories = norm_histories(recordings[SMALL.name].rms, recordings[LARGE.name].rms, config.schedule.warmup_steps)
        runs = [steered_run(config, recordings[angles], histories[norm]) for angles, norm in STEERED.values()]
        trained = yield runs
        rows += [_row(arm, run.config, one) for arm, run, one in zip(STEERED, runs, trained, strict=True)]
    return pd.DataFrame(rows)


def steered_run(config: TrainConfig, angles: Recording, rms: Array) -> Run:
    """The angles of a recording under other norms, (num_steps + 1, num_matrices), all matrices at one RMS at first;
    gradients as they come."""
    prescribed = Recording(matrices=angles.matrices, angles=angles.angles, rms=rms)
    config = replace(config, block_rms=float(f"{rms[0].mean():.6g}"))
    return Run(steered(config, norm="recorded", recording=prescribed, rescale_gradients=False), prescribed)


def norm_histories(small: Array, large: Array, warmup: int) -> dict[str, Array]:
    """By name, from those of both starts: as recorded, held at the start, and the large one that goes over into the
    small one, evenly in ln RMS, between the end of the warmup and twice its length."""
    share = np.clip((np.arange(len(small)) - warmup) / max(warmup, 1), 0.0, 1.0)[:, None]
    return {
        "small": small,
        "large": large,
        "large, then small": np.exp((1 - share) * np.log(large) + share * np.log(small)),
        "small, fixed": np.tile(small[0], (len(small), 1)),
        "large, fixed": np.tile(large[0], (len(large), 1)),
    }
