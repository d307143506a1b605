"""Loss curves as files, a law fitted to them, and the ranking it gives: planted curves, refusals, public curves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.losses.curve_files import LossCurve, distinct_schedules, read_curves
from experiments.losses.curve_law import Angles, curve_settings, fit_curves, rank_curves
from experiments.losses.settings import Setting, candidates
from experiments.tables.filters import Condition
from tests.experiments.losses.public_runs import public_folder
from theory.loss_laws import MultiPowerLaw
from theory.slow_norm import slow_angular_updates

TRUTH = MultiPowerLaw(L0=2.5, A=1.5, alpha=0.5, B=60.0, C=0.5, beta=0.4, gamma=0.5)
SHAPES = (
    {"schedule": "cosine", "final_fraction": 0.1},
    {"schedule": "constant"},
    {"schedule": "wsd", "decay_fraction": 0.4},
    {"schedule": "linear", "final_fraction": 0.3},
)


def rates_of(shape: dict[str, object], num_steps: int) -> np.ndarray:
    return Setting(**{"learning_rate": 1e-3, "num_steps": num_steps, "warmup_steps": 100, **shape}).learning_rates()  # type: ignore[arg-type]


def planted_loss(rates: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return TRUTH.loss(slow_angular_updates(rates, weight_decay=0.1, initial_rms=0.02), steps)


def write_curve(path: Path, rates: np.ndarray, every: int = 40, noise: float = 0.0) -> None:
    steps = np.arange(120, len(rates), every)
    losses = planted_loss(rates, steps) + noise * np.random.default_rng(len(path.stem)).standard_normal(steps.size)
    path.parent.mkdir(exist_ok=True, parents=True)
    rows = [f"{t},{rates[t]},{y}" for t, y in zip(steps, losses, strict=True)]
    path.write_text("\n".join(["step,lr,loss", *rows]) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, shape in enumerate(SHAPES):
        for num_steps in (2000, 3000):
            write_curve(tmp_path / "small" / f"{place}-{num_steps}.csv", rates_of(shape, num_steps))
    return tmp_path


def test_a_planted_law_predicts_another_schedule_and_its_interval_holds_the_truth(folder: Path) -> None:
    (curves,) = read_curves(folder).groups.values()
    assert len(curves) == 8
    assert distinct_schedules(curves) == 4
    fitted = fit_curves(curves, "multi-power", angles=Angles())
    assert fitted.residual_rms["train"] < 2e-3  # type: ignore[operator]
    settings = candidates(curve_settings(curves), num_steps=5000, warmup_steps=100)
    assert {one.schedule for one in settings} == {"constant", "cosine", "linear", "wsd"}
    ranking = rank_curves(fitted, settings)
    truth = {one: planted_loss(one.learning_rates(), np.array([4999]))[0] for one in settings}
    assert [one.setting for one in ranking] == sorted(truth, key=lambda one: truth[one])
    for one in ranking:
        assert one.loss == pytest.approx(truth[one.setting], abs=5e-3)
        assert one.low <= truth[one.setting] <= one.high
        assert one.outside == ("num_steps",)
    assert {one.name for one in fitted.constants} == {"L0", "A", "alpha", "B", "C", "beta", "gamma"}
    assert all(one.low <= one.value <= one.high for one in fitted.constants)


def test_conditions_columns_and_groups(folder: Path) -> None:
    for path in (folder / "small").iterdir():
        path.write_text(path.read_text().replace("step,lr,loss", "t,eta,nll"))
    columns = {"step": "t", "learning_rate": "eta", "loss": "nll"}
    found = read_curves(folder, columns=columns, where=[Condition.read("curve!=0-*")])
    assert {curve.name for curve in found.groups["small"]} == {f"{i}-{n}" for i in (1, 2, 3) for n in (2000, 3000)}
    with pytest.raises(BadInput, match="no column learning_rate and no column loss"):
        read_curves(folder, columns={"step": "t"})


def test_rates_between_records_and_before_the_first(folder: Path) -> None:
    (curve, *_) = read_curves(folder).groups["small"]
    exact = rates_of(SHAPES[0], 2000)[: curve.num_steps]
    np.testing.assert_allclose(curve.learning_rates[120:], exact[120:], rtol=3e-3)  # rates are written every 40 steps
    np.testing.assert_allclose(curve.learning_rates[:121], np.arange(121) * exact[120] / 120)


def test_rows_without_a_loss_tell_the_rate(folder: Path) -> None:
    path = folder / "small" / "0-2000.csv"
    (before, *_) = read_curves(folder).groups["small"]
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, "60,9e-4,", *rows]) + "\n")
    (after, *_) = read_curves(folder).groups["small"]
    assert after.steps.tolist() == before.steps.tolist()
    assert after.learning_rates[[30, 60]] == pytest.approx([4.5e-4, 9e-4])


def _one_schedule(folder: Path) -> None:
    _keep(folder, "0-*")
    write_curve(folder / "small" / "0-2600.csv", rates_of(SHAPES[0], 2600))


def _longer(folder: Path) -> None:
    write_curve(folder / "small" / "long.csv", rates_of(SHAPES[0], 90_000), every=3000)


def _keep(folder: Path, pattern: str) -> None:
    for path in set((folder / "small").iterdir()) - set((folder / "small").glob(f"{pattern}.csv")):
        path.unlink()


def _rewritten(text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "small" / "0-2000.csv").write_text(text)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_one_schedule, "one schedule only"),
        (_longer, "very different length, 0-2000 with"),
        (_rewritten("step,loss\n1,3\n"), "0-2000.csv: no column learning_rate"),
        (_rewritten("step,lr,loss\n"), "0-2000.csv: no rows"),
        (_rewritten("step,lr,loss\n1,1e-3,3\n"), "1 records; needed are 10"),
        (_rewritten("step,lr,loss\n2,1e-3,3\n1,1e-3,3\n"), "step must rise"),
        (_rewritten("step,lr,loss\n1.5,1e-3,3\n"), "whole numbers"),
        (_rewritten("step,lr,loss\n1,-1e-3,3\n"), "learning rates must lie between 0 and 10"),
        (lambda folder: _keep(folder, "[01]-3000"), "2 curves; needed are 3"),
        (lambda folder: _keep(folder, "none"), r"no \*.csv file"),
    ],
)
def test_curves_of_which_no_law_can_be_told_are_refused(folder: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(folder)
    with pytest.raises(BadInput, match=says):
        read_curves(folder)


def test_a_diverged_curve_is_left_out(folder: Path) -> None:
    path = folder / "small" / "0-2000.csv"
    path.write_text(path.read_text() + "2500,1e-3,nan\n")
    found = read_curves(folder)
    assert len(found.groups["small"]) == 7
    assert [(item.count, item.example) for item in found.exclusions] == [(1, "0-2000.csv")]


def ends(curve: LossCurve) -> float:
    return float(curve.losses[-3:].mean())


@pytest.mark.long
@pytest.mark.parametrize("size", ["csv_25", "csv_100", "csv_400"])
def test_public_curves_of_one_length_predict_the_longer_ones(size: str) -> None:
    curves = read_curves(public_folder("multipowerlaw")).groups[size]
    assert (len(curves), distinct_schedules(curves)) == (9, 9)
    short = [curve for curve in curves if curve.num_steps < 30_000]
    fitted = fit_curves(short, "multi-power", angles=Angles(), num_starts=1)
    schedule = {"constant": {}, "cosine": {"final_fraction": 0.1}}
    for name, more in schedule.items():
        (measured,) = (ends(curve) for curve in curves if curve.name == f"{name}_72000")
        setting = Setting(schedule=name, learning_rate=3e-4, num_steps=72000, warmup_steps=2160, **more)  # type: ignore[arg-type]
        (found,) = rank_curves(fitted, [setting])
        assert found.loss == pytest.approx(measured, abs=0.015)
        assert found.low <= measured <= found.high
