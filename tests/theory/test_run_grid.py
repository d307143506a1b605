"""Grids of runs: against single runs, in blocks and networks, at the edges of what counts as settled."""

import functools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from theory import (
    WSD,
    AdamW,
    Constant,
    Cosine,
    InvalidParameter,
    Linear,
    Schedule,
    adamw,
    network_grid,
    predict,
    predict_trajectory,
    transient,
)
from theory.models import Moments
from theory.networks import GPT2, SCALE_INVARIANT, WHITE_NOISE, Network, moments_of
from theory.predict import final_rms

SCHEDULES: list[Schedule] = [
    Constant(num_steps=1500),
    WSD(num_steps=1500, warmup_steps=100),
    Cosine(num_steps=1500, warmup_steps=100, final_fraction=0.1),
    Linear(num_steps=1500),
]
RATES, DECAYS = np.array([2e-4, 3e-3, 3e-2]), np.array([0.01, 0.1, 1.0])[:, None]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_a_grid_equals_its_runs_one_by_one(schedule: Schedule) -> None:
    steps = [0, 1, 7, 900, 1499]
    grid = transient.run_grid(
        schedule, learning_rate=RATES, weight_decay=DECAYS, initial_rms=0.03, steps=steps, total_angle=True
    )
    assert grid.total_angle is not None
    for i, j in np.ndindex(3, 3):
        optimizer = AdamW(learning_rate=float(RATES[j]), weight_decay=float(DECAYS[i, 0]))
        prediction = predict(optimizer, schedule, initial_rms=0.03)
        trajectory = predict_trajectory(optimizer, schedule, initial_rms=0.03)
        expected = np.inf if prediction.transient_steps is None else prediction.transient_steps
        assert grid.transient_steps[i, j] == expected
        assert grid.transient_fraction[i, j] == min(expected / 1500, 1)
        assert grid.num_relaxations[i, j] == pytest.approx(prediction.num_relaxations)
        assert grid.final_rms[i, j] == pytest.approx(final_rms(optimizer, schedule, initial_rms=0.03), rel=1e-12)
        assert grid.final_angular_update[i, j] == pytest.approx(prediction.final_angular_update, rel=1e-11)
        assert grid.total_angle[i, j] == pytest.approx(trajectory.angular_update.sum(), rel=1e-11)
        np.testing.assert_allclose(grid.weight_rms[:, i, j], trajectory.weight_rms[steps, 0], rtol=1e-11)
        np.testing.assert_allclose(grid.angular_update[:, i, j], trajectory.angular_update[steps, 0], rtol=1e-11)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_blocks_do_not_show(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does in which of the few steps at once a norm settles, before or after the peak ends."""
    starts = np.array([0.01, 0.1, 0.3, 0.6])[:, None, None]
    setting = {"learning_rate": RATES, "weight_decay": DECAYS, "initial_rms": starts, "steps": [3, 5]}
    whole = transient.run_grid(schedule, **setting)
    assert len(np.unique(whole.transient_steps[np.isfinite(whole.transient_steps)])) > 3
    monkeypatch.setattr(transient, "BLOCK", 4)
    blocks = transient.run_grid(schedule, **setting)
    for name in ("final_rms", "weight_rms", "transient_steps"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(blocks, name))


def test_without_decay_a_grid_has_no_transient() -> None:
    grid = transient.run_grid(Constant(num_steps=300), learning_rate=1e-3, weight_decay=0.0, initial_rms=0.02)
    assert np.isinf(grid.transient_steps)
    assert grid.total_angle is None
    assert grid.final_rms > 0.02


@pytest.mark.parametrize(("start", "steps"), [(1, 0), (0.75, 0), (1.25, 0), (0.75 - 1e-6, 1), (1.25 + 1e-6, 1)])
def test_the_edges_of_the_tolerance_are_within_it(start: float, steps: int) -> None:
    """Starts in parts of equilibrium, to which the norm comes nearer with each step."""
    setting = {"learning_rate": 0.01, "weight_decay": 0.5}
    initial = start * float(adamw.equilibrium_rms(**setting, beta1=0.9))
    grid = transient.run_grid(Constant(num_steps=50), **setting, initial_rms=initial, tolerance=0.25)
    assert grid.transient_steps == steps


@pytest.mark.parametrize("start", [0.3, 1.5])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_norm_that_comes_in_around_the_end_of_the_peak(start: float, after: int) -> None:
    """The edge lies between the norms before two steps, the second of them so many after the peak's last."""
    schedule, setting = WSD(num_steps=400, decay_fraction=0.5), {"learning_rate": 0.01, "weight_decay": 0.2}
    target = float(adamw.equilibrium_rms(**setting, beta1=0.9))
    last = int(schedule.peak_end) + after
    run = functools.partial(transient.run_grid, schedule, **setting, initial_rms=start * target)
    tolerance = abs(1 - run(steps=[last - 1, last]).weight_rms.mean() / target)
    assert run(tolerance=tolerance).transient_steps == last


def test_ten_thousand_settings_in_little_memory() -> None:
    """Under 8 MB; all their records would be 80 MB an array."""
    rates, decays = np.geomspace(1e-5, 0.1, 100), np.geomspace(1e-3, 1, 100)[:, None]
    tracemalloc.start()
    transient.run_grid(Constant(num_steps=1000), learning_rate=rates, weight_decay=decays, initial_rms=0.02)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"learning_rate": [1e-3, -1.0]}, "learning_rate"),
        ({"learning_rate": 0.0, "weight_decay": 0.0}, "learning_rate"),
        ({"weight_decay": [0.1, 1000.0]}, "weight_decay"),
        ({"weight_decay": [0.1, 1500.0]}, "weight_decay"),
        ({"weight_decay": 2000.0}, "weight_decay"),
        ({"initial_rms": 0.0}, "initial_rms"),
        ({"initial_rms": [0.02, 0.0]}, "initial_rms"),
        ({"steps": [5, 5]}, "steps"),
        ({"steps": [10]}, "steps"),
        ({"tolerance": 1.0}, "tolerance"),
    ],
)
def test_bad_grids_are_refused_by_name(broken: dict[str, object], name: str) -> None:
    arguments = {"learning_rate": 1e-3, "weight_decay": 0.1, "initial_rms": 0.02, **broken}
    with pytest.raises(InvalidParameter) as caught:
        transient.run_grid(Constant(num_steps=10), **arguments)  # type: ignore[arg-type]
    assert caught.value.name == name
    assert caught.value.value == (broken[name] if name == "steps" else np.ravel(broken[name])[-1])


@pytest.mark.parametrize("network", [WHITE_NOISE, GPT2])
@pytest.mark.parametrize("empty", ["learning_rate", "weight_decay", "initial_rms"])
def test_a_grid_of_nothing_is_refused_by_name(empty: str, network: Network) -> None:
    arguments = {"learning_rate": 1e-3, "weight_decay": 0.1, "initial_rms": 0.02, empty: []}
    with pytest.raises(InvalidParameter, match=f"^{empty} = .* must be at least one number$"):
        transient.run_grid(Constant(num_steps=10), network=network, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [GPT2, SCALE_INVARIANT, replace(WHITE_NOISE, direction_ratio=0.9)])
def test_a_grid_in_a_network_is_its_single_predictions(network: Network) -> None:
    """In blocks of one setting or of all; without decay there is no transient to end."""
    schedule, rates = WSD(num_steps=300, warmup_steps=5), np.array([0.01, 0.03])
    records = np.array([0, 100, 299])
    setting = {"learning_rate": rates, "weight_decay": np.array([[1.5], [6.0], [0.0]]), "initial_rms": 0.05}
    found = transient.run_grid(schedule, **setting, steps=records, total_angle=True, network=network)
    for i, j in np.ndindex(2, 2):
        optimizer = AdamW(learning_rate=rates[j], weight_decay=setting["weight_decay"][i, 0])
        one = predict(optimizer, schedule, initial_rms=0.05, network=network)
        path = predict_trajectory(optimizer, schedule, initial_rms=0.05, network=network)
        assert found.transient_steps[i, j] == (np.inf if one.transient_steps is None else one.transient_steps)
        assert found.final_rms[i, j] == pytest.approx(one.final_rms, rel=1e-6)
        assert found.final_angular_update[i, j] == pytest.approx(one.final_angular_update, rel=1e-6)
        np.testing.assert_allclose(found.weight_rms[:, i, j], path.weight_rms[records, 0], rtol=1e-6)
        np.testing.assert_allclose(found.angular_update[:, i, j], path.angular_update[records, 0], rtol=1e-6)
        assert found.total_angle is not None
        assert found.total_angle[i, j] == pytest.approx(path.angular_update.sum(), rel=1e-6)
    assert np.all(np.isinf(found.transient_steps[2]))
    assert len(np.unique(found.transient_steps[:2])) > 2


@pytest.mark.parametrize(("entries", "sizes"), [(99, [2, 2, 1]), (1, [1] * 5)])
def test_a_grid_in_a_network_is_the_same_in_blocks(
    monkeypatch: pytest.MonkeyPatch, entries: int, sizes: list[int]
) -> None:
    """Of as many settings as their 40 steps allow, of one at least."""
    setting = {"learning_rate": np.geomspace(0.01, 0.03, 5), "weight_decay": 1.5, "initial_rms": 0.05}
    whole = transient.run_grid([1.0] * 40, **setting, steps=[0, 39], network=SCALE_INVARIANT)
    taken = []

    def noted(network: Network, rates: np.ndarray, *rest: object) -> Moments:
        taken.append(rates.shape[1])
        return moments_of(network, rates, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(network_grid, "ENTRIES", entries)
    monkeypatch.setattr(network_grid, "moments_of", noted)
    found = transient.run_grid([1.0] * 40, **setting, steps=[0, 39], network=SCALE_INVARIANT)
    assert taken == sizes
    for name in ("final_rms", "final_angular_update", "transient_steps", "weight_rms", "angular_update"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-6)
