"""``lrbend recommend``: planted laws, held-out cells, what is assumed and what is refused, and the command."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, chi2, norm
from scipy.stats import t as student

from experiments.bend.mean_angle import AngleOf, angle_setting, rates_of_angles
from experiments.calibration.made_sweeps import SCENARIOS, Scenario, make_sweep
from experiments.calibration.recommend import run_pilot, scenarios
from experiments.cli.main import main
from experiments.files import BadInput
from experiments.recommend.pilot_law import fit_pilot_law
from experiments.recommend.prediction import ASSUMED_BEND
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun
from experiments.tables.reading import table_from_frame
from theory import SCHEDULES, InvalidParameter
from theory.angle_law import AngleLaw, Setting, loss, mean_angle
from theory.optimal_lr import optimal_learning_rate

EXACT = Scenario(name="exact", noise=1e-6, bend=0.2, off=0.5, num_sizes=5, num_budgets=5)


def split(scenario: Scenario, seed: int) -> tuple[pd.DataFrame, TargetRun, float, list[float], list[float]]:
    """The lower four by four cells, the fifth of both as target, its optimum, sizes and budgets."""
    sweep = make_sweep(scenario, seed)
    table = sweep.table
    sizes, budgets = (sorted(table[name].unique().tolist()) for name in ("num_params", "num_tokens"))
    pilot = table[(table.num_params < sizes[-1]) & (table.num_tokens < budgets[-1])]
    target = TargetRun(num_params=sizes[-1], num_tokens=budgets[-1])
    return pilot, target, sweep.optima[sizes[-1], budgets[-1]], sizes, budgets


def half_width(low: float, high: float) -> float:
    return float(np.log(high / low) / 2)


def test_bent_law_without_noise_is_extrapolated_along_its_bend() -> None:
    pilot, target, truth, sizes, budgets = split(EXACT, 4)
    (found,) = recommend(pilot, target, further=False)
    answer = found.answer
    assert answer is not None
    assert answer.value == pytest.approx(truth, rel=2e-3)
    parts = answer.contributions
    assert set(parts) == {"num_params", "num_tokens", "num_params by num_tokens"}
    product = np.prod([part.value for part in parts.values()]) * answer.value_at_middle.value
    assert product == pytest.approx(answer.value, rel=1e-9)
    sweep, middle = make_sweep(EXACT, 4), answer.middle
    for axis, values in (("num_params", sizes), ("num_tokens", budgets)):
        centre = np.log(values).mean()  # of the planted law
        start, end = np.log(middle[axis]) - centre, np.log(values[-1]) - centre
        slope, bend = sweep.exponents[axis], sweep.curvature[axis]
        planted = slope * (end - start) + bend * (end**2 - start**2) / 2
        # the cross term is 0 at the middle of the law, not at that of the table
        other = next(name for name in parts if name not in (axis, "num_params by num_tokens"))
        other_values = sizes if other == "num_params" else budgets
        cross = np.log(parts["num_params by num_tokens"].value) / (
            np.log(sizes[-1] / middle["num_params"]) * np.log(budgets[-1] / middle["num_tokens"])
        )
        planted += cross * (end - start) * (np.log(middle[other]) - np.log(other_values).mean())
        assert np.log(parts[axis].value) == pytest.approx(planted, abs=5e-3)
    assert found.beyond == pytest.approx({"num_params": sizes[-1] / sizes[-2], "num_tokens": budgets[-1] / budgets[-2]})
    assert answer.leverage > answer.largest_leverage
    fitted = fit_pilot_law(table_from_frame(pilot), None)
    own = [fitted.coefficients.leverage(cell.key) for cell in fitted.cells]
    assert np.mean([leverage for leverage, _ in own]) == pytest.approx(6 / 16)  # terms over cells
    assert max(leverage for leverage, _ in own) == pytest.approx(answer.largest_leverage)
    assert any("2.38 beyond the table's largest" in phrase for phrase in found.warnings)


def test_coverage_of_held_out_cells() -> None:
    """Two scenarios of 30 sweeps, the target beyond on both axes and the one inside. At true coverage of 90 % fewer
    than 45 of 60 come less than once in 3,000; at 75 % they come in 4 of 10 tests. Errors over standard errors, were
    these exact, have a mean square between 0.5 and 1.7 in all but one of 1,000 tests, and below 0.4 in intervals 1.6
    times too wide."""
    assert binom.cdf(44, 60, 0.9) < 3.5e-4
    assert chi2.cdf(60 * 0.5, 60) + chi2.sf(60 * 1.7, 60) < 1.5e-3
    chosen = [item for item in scenarios() if item.name in ("scatter 0.1", "bend of 2 delta, low noise")]
    assert len(chosen) == 2
    results = [run_pilot(scenario, seed) for scenario in chosen for seed in range(30)]
    for kind in ("interpolated", "both"):
        found = [item for result in results if (item := result[kind]) is not None]
        assert len(found) == 60
        assert sum(item["covered"] for item in found) >= 45
        standard = [item["error"] / item["half_width"] * norm.ppf(0.95) for item in found]
        assert 0.5 < np.mean(np.square(standard)) < 1.7


def test_two_values_of_an_axis_assume_a_bend_and_say_so() -> None:
    pilot, target, _, sizes, _ = split(EXACT, 4)
    two = pilot[pilot.num_params.isin(sizes[1:3])]
    (found,) = recommend(two, target, further=False)
    assert found.answer is not None
    (assumed,) = found.assumptions
    assert "2 distinct values of num_params" in assumed
    # a bend c along an axis that was measured at two places is missed by c (x - x1)(x - x2)/2
    x, first, second = np.log(sizes[-1]), *np.log(sizes[1:3])
    missed = ASSUMED_BEND * (x - first) * (x - second) / 2
    quantile = student.ppf(0.95, fit_pilot_law(table_from_frame(two), None).joint.freedom)
    assert half_width(found.answer.low, found.answer.high) == pytest.approx(quantile * missed, rel=0.05)
    (inside,) = recommend(two, replace(target, num_params=sizes[1]), further=False)
    assert inside.answer is not None
    assert half_width(inside.answer.low, inside.answer.high) < 0.01


def test_a_cross_of_cells_does_not_tell_the_product() -> None:
    pilot, target, _, sizes, budgets = split(replace(EXACT, bend=0.0), 4)
    cross = pilot[(pilot.num_params == sizes[0]) | (pilot.num_tokens == budgets[0])]
    (found,) = recommend(cross, target, further=False)
    assert found.answer is not None
    (assumed,) = found.assumptions
    assert "product of num_params and num_tokens" in assumed
    missed = ASSUMED_BEND * np.log(sizes[-1] / sizes[0]) * np.log(budgets[-1] / budgets[0])
    quantile = student.ppf(0.95, fit_pilot_law(table_from_frame(cross), None).joint.freedom)
    assert half_width(found.answer.low, found.answer.high) == pytest.approx(quantile * missed, rel=0.05)


def test_axes_that_move_together_are_answered_on_their_line() -> None:
    """Off the line, where nothing tells the second axis, an exponent of 0 +- 1 is assumed, said and counted."""
    sweep = make_sweep(replace(EXACT, num_budgets=1, num_sizes=6, bend=0.0), 3)
    sizes = sorted(sweep.table.num_params.unique().tolist())
    table = sweep.table.assign(num_tokens=20 * sweep.table.num_params)
    pilot = table[table.num_params < sizes[-1]]
    (found,) = recommend(pilot, TargetRun(num_params=sizes[-1], num_tokens=20.5 * sizes[-1]))
    assert found.answer is not None
    (truth,) = (best for (size, _), best in sweep.optima.items() if size == sizes[-1])
    assert found.answer.value == pytest.approx(truth, rel=5e-3)
    assert set(found.answer.contributions) == {"num_params"}
    assert "num_tokens = 20 num_params^1" in found.notes[0]
    for run in found.next_runs:
        assert run.setting["num_tokens"] == pytest.approx(20 * run.setting["num_params"])
    (short,) = recommend(pilot, TargetRun(num_params=sizes[-1]), further=False)
    assert short.answer is not None
    assert short.answer.value == found.answer.value
    assert half_width(short.answer.low, short.answer.high) < half_width(found.answer.low, found.answer.high)
    assert short.target["num_tokens"] == pytest.approx(20 * sizes[-1])
    (off,) = recommend(pilot, TargetRun(num_params=sizes[-1], num_tokens=40 * sizes[-1]), further=False)
    assert off.answer is not None
    assert off.answer.value == pytest.approx(short.answer.value)
    assumed = norm.ppf((1 + off.confidence) / 2) * np.log(2)
    assert half_width(off.answer.low, off.answer.high) == pytest.approx(
        np.hypot(half_width(short.answer.low, short.answer.high), assumed), rel=0.15
    )
    assert any(
        "a factor of 2 off the line" in warning and "standard deviation of 1" in warning for warning in off.warnings
    )
    assert not any("off the line" in warning for warning in short.warnings)


def test_batch_size_as_a_covariate_and_tuned_along() -> None:
    frames = []
    for place, batch in enumerate((2.0**17, 2.0**18, 2.0**19)):
        table = make_sweep(replace(EXACT, bend=0.0), 5).table
        scaled = table.learning_rate * (batch / 2**18) ** 0.5
        frames.append(table.assign(learning_rate=scaled, batch_size=batch, loss=table.loss + 0.01 * abs(place - 1)))
    sweep, together = make_sweep(replace(EXACT, bend=0.0), 5), pd.concat(frames)
    (size, budget), best = list(sweep.optima.items())[-1]
    (found,) = recommend(together, TargetRun(num_params=size, num_tokens=budget, batch_size=2.0**20), further=False)
    assert found.answer is not None
    assert found.answer.value == pytest.approx(2 * best, rel=5e-3)
    assert found.answer.contributions["batch_size"].value == pytest.approx(4**0.5, rel=5e-3)
    with pytest.raises(BadInput, match="--batch-size: needed"):
        recommend(together, TargetRun(num_params=size, num_tokens=budget))
    (tuned,) = recommend(together, TargetRun(num_params=size, num_tokens=budget), batch="co-tuned", further=False)
    assert tuned.answer is not None
    assert tuned.answer.value == pytest.approx(best, rel=5e-3)


def test_refusals_name_what_is_missing() -> None:
    pilot, target, _, sizes, budgets = split(Scenario(name="test", noise=0.002, num_sizes=5, num_budgets=5), 1)
    best = pilot.loc[pilot.groupby(["num_params", "num_tokens"]).loss.idxmin()]
    lowest = best.set_index(["num_params", "num_tokens"]).learning_rate
    keys = pd.MultiIndex.from_frame(pilot[["num_params", "num_tokens"]])
    above = pilot[pilot.learning_rate.to_numpy() > 1.5 * lowest.loc[keys].to_numpy()]
    one = pilot[pilot.num_params == sizes[0]]
    noisy, *_ = split(Scenario(name="test", noise=0.03, num_sizes=5, num_budgets=5), 1)
    cases = (
        (above, target, "usable learning rates|inside its grid"),
        (one, target, "no slope along it is assumed"),
        (pilot.groupby(["num_params", "num_tokens"]).head(2), target, "three usable learning rates"),
        (pilot, replace(target, num_params=None), "--num-params: needed"),
        (pilot, replace(target, num_params=1e30), "mixed units"),
        (noisy, replace(target, num_params=1e13, num_tokens=1e15), "does not determine it"),
        (pilot[pilot.num_tokens == budgets[0]].drop(columns="num_tokens"), target, "no column num_tokens"),
        (pilot, replace(target, weight_decay=0.1), "no column weight_decay"),
    )
    for table, wanted, message in cases:
        with pytest.raises(BadInput, match=message):
            recommend(table, wanted)
    for name, value in (("num_params", 0.0), ("num_tokens", -1.0), ("batch_size", float("nan"))):
        with pytest.raises(InvalidParameter):
            replace(target, **{name: value})
    with pytest.raises(InvalidParameter):
        recommend(pilot, target, confidence=1.0)


def test_one_optimizer_that_cannot_be_answered_does_not_silence_the_other() -> None:
    pilot, target, *_ = split(Scenario(name="test", noise=0.002, num_sizes=5, num_budgets=5), 1)
    poor = pilot.groupby(["num_params", "num_tokens"]).head(2).assign(optimizer="lion")
    lion, sgd = recommend(pd.concat([poor, pilot.assign(optimizer="sgdm")]), target, further=False)
    assert (lion.optimizer, lion.answer) == ("lion", None)
    assert "three usable learning rates" in str(lion.reason)
    assert sgd.answer is not None


def test_a_further_cell_narrows_as_expected() -> None:
    """The cell one budget beyond the table, in eight sweeps. The median ratio of widths came out 0.71 where 0.68 was
    expected; both move by about 0.02."""
    scenario = replace(SCENARIOS[0], num_sizes=5, num_budgets=5)
    expected, seen = [], []
    for seed in range(8):
        pilot, target, _, sizes, budgets = split(scenario, seed)
        table = make_sweep(scenario, seed).table
        added = table[(table.num_params == sizes[-2]) & (table.num_tokens == budgets[-1])]
        (before,), (after,) = recommend(pilot, target), recommend(pd.concat([pilot, added]), target, further=False)
        assert before.answer is not None
        assert after.answer is not None
        (run,) = (
            item
            for item in before.next_runs
            if np.allclose([item.setting["num_params"], item.setting["num_tokens"]], [sizes[-2], budgets[-1]])
        )
        assert not run.repeats
        assert run.cost == pytest.approx(budgets[-1] / budgets[-2])
        expected.append(run.width)
        widths = [half_width(item.answer.low, item.answer.high) for item in (before, after) if item.answer]
        seen.append(widths[1] / widths[0])
        best = [item.width for item in before.next_runs]
        assert min(best) >= best[0] - 0.02
        assert all(0 < width <= 1 for width in best)
    assert np.median(seen) == pytest.approx(np.median(expected), abs=0.08)


def test_running_a_cell_again_tells_nothing_of_the_scatter_between_cells() -> None:
    pilot, target, *_ = split(Scenario(name="scattered", noise=1e-3, scatter=0.3, num_sizes=5, num_budgets=5), 0)
    (found,) = recommend(pilot, target)
    again = [run.width for run in found.next_runs if run.repeats]
    assert len(again) == 16
    assert min(again) > 0.97
    assert found.next_runs[0].width < 0.9


# In mean angle

LAW = AngleLaw(C1=1.0, a1=0.43, C2=12.96, a2=1.4, B2=0.3, noise_growth=0.25, L_inf=2.0)
HOW = AngleOf(schedule="linear")


def adamw_setting(size: float, budget: float) -> Setting:
    return Setting(
        num_params=size,
        num_tokens=budget,
        tokens_per_step=2.0**19,
        schedule=SCHEDULES["linear"](num_steps=100_000, warmup_steps=1000),
        weight_decay=0.1,
        initial_rms=0.02,
    )


@pytest.fixture(scope="module")
def adamw_table() -> pd.DataFrame:
    """The theory's losses of AdamW runs, four sizes and four budgets, noise of 1e-4."""
    rng, rows = np.random.default_rng(0), []
    for size in np.geomspace(2e7, 2e8, 4):
        for budget in np.geomspace(1e9, 3e10, 4):
            best = float(optimal_learning_rate(LAW, adamw_setting(size, budget), loss_resolution=0).learning_rate)
            rates = best * np.exp(rng.uniform(-0.4, 0.4)) * 2.0 ** np.arange(-2, 3)
            losses = loss(LAW, adamw_setting(size, budget), rates) + 1e-4 * rng.normal(size=5)
            rows += [(size, budget, rate, value) for rate, value in zip(rates, losses, strict=True)]
    table = pd.DataFrame(rows, columns=["num_params", "num_tokens", "learning_rate", "loss"])
    return table.assign(batch_size=2.0**19, weight_decay=0.1, initial_rms=0.02, optimizer="adamw")


def test_the_law_in_angle_comes_back_as_a_learning_rate(adamw_table: pd.DataFrame) -> None:
    """Inside the table and one size beyond. AdamW's law in learning rate bends there and the shape of its losses
    changes along; the angle's does less."""
    for size, budget in ((1e8, 6e9), (4.3e8, 3e10)):
        truth = optimal_learning_rate(LAW, adamw_setting(size, budget), loss_resolution=0)
        (found,) = recommend(adamw_table, TargetRun(num_params=size, num_tokens=budget), effective=HOW, further=False)
        turned, answer = found.in_angle, found.answer
        assert turned is not None
        assert answer is not None
        assert turned.low is not None
        assert turned.high is not None
        assert turned.angle.value == pytest.approx(float(truth.mean_angle), rel=0.02)
        assert turned.value == pytest.approx(float(truth.learning_rate), rel=0.04)
        assert turned.low < float(truth.learning_rate) < turned.high
        assert half_width(turned.angle.low, turned.angle.high) < half_width(answer.low, answer.high)


def test_angles_invert_to_learning_rates() -> None:
    rates = np.array([1e-6, 3e-5, 1.234e-3, 2e-2, 0.3])
    setting = angle_setting(HOW, 20_000.0, 0.1, 0.02)
    assert rates_of_angles(setting, mean_angle(setting, rates).tolist()) == pytest.approx(rates, rel=1e-3)
    assert rates_of_angles(setting, [1e-12, 10.0]) == [None, None]
    held = 1e-5  # learning rate times decay: with it the angle is that of the rate as long as the run is short
    short = angle_setting(HOW, 200.0, held / rates, 0.02)
    turned = rates_of_angles(short, mean_angle(short, rates).tolist(), independent=held)
    assert turned == pytest.approx(rates, rel=1e-3)


def test_pilot_runs_short_of_equilibrium_are_warned_of(adamw_table: pd.DataFrame) -> None:
    target = TargetRun(num_params=4e8, num_tokens=6e10)
    (found,) = recommend(adamw_table, target, effective=AngleOf(schedule="constant", warmup_fraction=0), further=False)
    assert found.norms is not None
    rate, steps = adamw_table.learning_rate, adamw_table.num_tokens / adamw_table.batch_size
    start = 2 * 0.1 * 0.02**2 / rate  # squared initial over squared equilibrium RMS
    edge = np.where(start < 1, 1 - 0.95**2, 1.05**2 - 1)
    relaxations = np.log(np.maximum(np.abs(1 - start) / edge, 1))
    short = relaxations >= 2 * rate * 0.1 * steps
    assert 0 < short.sum() < len(short)
    assert found.norms.num_short == short.sum()
    best = adamw_table.groupby(["num_params", "num_tokens"]).loss.idxmin()
    assert found.norms.num_best_short == short[best].sum() > 0
    assert any("within 5 % of equilibrium" in phrase for phrase in found.warnings)
    (long,) = recommend(adamw_table.assign(batch_size=2.0**10), target, further=False)
    assert not any("equilibrium" in phrase for phrase in long.warnings)


# The command


@pytest.fixture
def table(tmp_path: Path) -> tuple[str, list[str]]:
    pilot, target, *_ = split(Scenario(name="test", noise=0.003, num_sizes=5, num_budgets=5), 2)
    path = tmp_path / "pilot.csv"
    pilot.to_csv(path, index=False)
    return str(path), ["--num-params", repr(target.num_params), "--num-tokens", repr(target.num_tokens)]


def test_command_in_json_and_in_words(table: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    path, target = table
    assert main(["recommend", path, *target, "--json"]) == 0
    result = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (group,) = result["groups"]
    for key in ("learning_rate", "low", "high", "contributions", "next_runs", "warnings", "beyond", "leverage"):
        assert result[key] == group[key]
    assert result["low"] < result["learning_rate"] < result["high"]
    assert result["confidence"] == 0.9
    assert {"setting", "lowest", "highest", "num_rates", "width", "cost"} <= set(result["next_runs"][0])
    assert main(["recommend", path, *target, "--confidence", "0.5", "--json"]) == 0
    narrower = json.loads(capsys.readouterr().out)
    assert result["low"] < narrower["low"] < narrower["high"] < result["high"]
    assert main(["recommend", path, *target]) == 0
    shown = capsys.readouterr().out
    for phrase in (
        "learning rate at N=7.07e+08",
        "along num_params",
        "beyond the table's",
        "further pilot cell",
        "90 %",
    ):
        assert phrase in shown
    assert "nan" not in shown


BAD = {
    "no target": (["TABLE"], "--num-params: needed"),
    "zero": (
        ["TABLE", "--num-params", "0", "--num-tokens", "1e11"],
        "--num-params 0.0: must be a finite number above 0",
    ),
    "text": (["TABLE", "--num-params", "big"], "'big' is not a number"),
    "confidence": (["TABLE", "TARGET", "--confidence", "90"], "--confidence 90.0"),
    "no file": (["/no/such.csv", "TARGET"], "/no/such.csv"),
    "column": (["TABLE", "TARGET", "--column", "loss=l"], "no such column"),
    "no schedule": (["TABLE", "TARGET", "--effective"], "--schedule"),
    "no decay": (["TABLE", "TARGET", "--effective", "--schedule", "wsd"], "needs weight_decay; initial_rms"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input(
    arguments: list[str], named: str, table: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = table
    filled = [word for item in arguments for word in {"TABLE": [path], "TARGET": target}.get(item, [item])]
    try:
        code = main(["recommend", *filled])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert named in captured.err


def test_public_sweep_predicts_its_largest_budgets() -> None:
    """MuonH's budgets up to 48B tokens: the optimum at 128B by a fit that has it lies in the interval."""
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: wd_blog/scripts/lr_datasize of WhenWen.github.io is not here")
    frame = pd.read_csv(Path(root) / "hyperball" / "lr_datasize_muon_vs_muonh.csv")
    (found,) = recommend(
        frame[(frame.optimizer_name == "muonh") & (frame.num_tokens < 5e10)],
        TargetRun(num_tokens=128e9),
        columns={"optimizer": "optimizer_name"},
        constants={"num_params": 1.3e8},
    )
    whole = fit_pilot_law(table_from_frame(frame[frame.optimizer_name == "muonh"]), None)
    measured = float(np.exp(whole.joint.optimum[-1]))
    assert found.answer is not None
    assert found.answer.low < measured < found.answer.high
    assert half_width(found.answer.low, found.answer.high) < 0.3
    assert found.beyond["num_tokens"] == pytest.approx(128 / 48)
