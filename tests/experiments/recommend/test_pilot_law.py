"""What a pilot table tells, what is assumed in its place, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.files import BadInput
from experiments.recommend.pilot_law import fit_pilot_law
from experiments.recommend.prediction import ASSUMED_BEND
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun
from experiments.tables.reading import table_from_frame
from tests.experiments.recommend.pilots import EXACT, half_width, split
from theory import InvalidParameter


def test_two_values_of_an_axis_assume_a_bend_and_say_so() -> None:
    pilot, target, _, sizes, _ = split(EXACT, 4)
    two = pilot[pilot.num_params.isin(sizes[1:3])]
    (found,) = recommend(two, target, further=False)
    assert found.answer is not None
    (assumed,) = found.assumptions
    assert "2 distinct values of num_params" in assumed
    # a bend c along an axis that was measured at two places is missed by c (x - x1)(x - x2)/2; c has a normal prior,
    # whatever the degrees of freedom of the noise
    x, first, second = np.log(sizes[-1]), *np.log(sizes[1:3])
    missed = ASSUMED_BEND * (x - first) * (x - second) / 2
    assert half_width(found.answer.low, found.answer.high) == pytest.approx(norm.ppf(0.95) * missed, rel=0.05)
    (inside,) = recommend(two, replace(target, num_params=sizes[1]), further=False)
    assert inside.answer is not None
    assert half_width(inside.answer.low, inside.answer.high) < 0.01


def test_a_cross_of_cells_does_not_tell_the_product() -> None:
    pilot, target, _, sizes, budgets = split(replace(EXACT, bend=0.0), 4)
    cross = pilot[(pilot.num_params == sizes[0]) | (pilot.num_tokens == budgets[0])]
    (found,) = recommend(cross, target, further=False)
    assert found.answer is not None
    (assumed,) = found.assumptions
    assert "how num_params and num_tokens act together" in assumed
    missed = ASSUMED_BEND * np.log(sizes[-1] / sizes[0]) * np.log(budgets[-1] / budgets[0])
    joint = fit_pilot_law(table_from_frame(cross), None).joint
    quantile = student.ppf(0.95, joint.averages.freedom)
    assert half_width(found.answer.low, found.answer.high) == pytest.approx(quantile * missed, rel=0.05)


def test_axes_that_move_together_are_answered_on_their_line_and_hardly_off_it() -> None:
    sweep = make_sweep(replace(EXACT, num_budgets=1, num_sizes=6, bend=0.0), 3)
    sizes = sorted(sweep.table.num_params.unique().tolist())
    table = sweep.table.assign(num_tokens=20 * sweep.table.num_params)
    pilot = table[table.num_params < sizes[-1]]
    (found,) = recommend(pilot, TargetRun(num_params=sizes[-1], num_tokens=20 * sizes[-1]))
    assert found.answer is not None
    (truth,) = (best for (size, _), best in sweep.optima.items() if size == sizes[-1])
    assert found.answer.value == pytest.approx(truth, rel=5e-3)
    assert set(found.answer.contributions) == {"num_params"}
    assert "num_tokens = 20 num_params^1" in found.notes[0]
    for run in found.next_runs:
        assert run.setting["num_tokens"] == pytest.approx(20 * run.setting["num_params"])
    (short,) = recommend(pilot, TargetRun(num_params=sizes[-1]), further=False)
    assert short.answer == found.answer
    assert short.target["num_tokens"] == pytest.approx(20 * sizes[-1])
    (off,) = recommend(pilot, TargetRun(num_params=sizes[-1], num_tokens=40 * sizes[-1]), further=False)
    assert off.answer is not None
    assert off.answer.value == pytest.approx(found.answer.value)
    assert half_width(off.answer.low, off.answer.high) > 10 * half_width(found.answer.low, found.answer.high)


@pytest.mark.parametrize("power", [141.0, -60.0])
def test_an_axis_that_moves_steeply_with_another_is_on_its_line(power: float) -> None:
    """Whose factor no number holds: 1.05 in size is 1,000 in tokens."""
    sizes = 1e8 * 1.05 ** np.arange(3)
    rows = [
        {"num_params": size, "num_tokens": 1e12 * (size / sizes[1]) ** power, "learning_rate": rate, "loss": loss}
        for size in sizes
        for rate, loss in zip(1e-3 * 2.0 ** np.arange(-2, 3), (3.08, 3.02, 3.0, 3.02, 3.08), strict=True)
    ]
    (found,) = recommend(pd.DataFrame(rows), TargetRun(num_params=sizes[2]), further=False)
    assert found.answer is not None
    assert found.answer.value == pytest.approx(1e-3, rel=0.05)
    assert found.target["num_tokens"] == pytest.approx(1e12 * 1.05**power)
    assert found.pilot is not None
    assert str(found.pilot.lines[0]).startswith(f"num_tokens = e^{np.log(1e12) - power * np.log(sizes[1]):.3g} ")


def test_a_batch_that_is_tuned_along_steeply_stays_a_number() -> None:
    sizes = 1e8 * 1.02 ** np.arange(3)
    rows = [
        {"num_params": size, "batch_size": 1e3 * (size / 1e8) ** 340, "learning_rate": rate, "loss": loss}
        for size in sizes
        for rate, loss in zip(1e-3 * 2.0 ** np.arange(-2, 3), (3.08, 3.02, 3.0, 3.02, 3.08), strict=True)
    ]
    (found,) = recommend(pd.DataFrame(rows), TargetRun(num_params=1e9), batch="co-tuned", further=False, straight=True)
    assert any("batch of about 1e+300" in note for note in found.notes)


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


def test_three_cells_near_a_line_are_answered_on_it() -> None:
    """One of three is 5 % off: exponents of both axes and three assumed bends made the interval a factor of 2 wide."""
    rows = []
    for size, off in ((1e8, 1.0), (3e8, 1.05), (9e8, 1.0)):
        best, rng = 3e-3 * (size / 1e8) ** -0.5, np.random.default_rng(int(size))
        for rate in best * 1.6 ** (np.arange(7) - 3.2):
            loss = 3 + 0.05 * np.log(rate / best) ** 2 + 0.001 * rng.normal()
            rows.append({"num_params": size, "num_tokens": 20 * size * off, "learning_rate": rate, "loss": loss})
    (found,) = recommend(pd.DataFrame(rows), TargetRun(num_params=2.7e9), further=False)
    assert found.answer is not None
    assert found.answer.low < 3e-3 * 27**-0.5 < found.answer.high
    assert half_width(found.answer.low, found.answer.high) < 0.5
    assert any("num_params^1 in the table to 2.3 %: the answer holds there" in note for note in found.notes)
    (exact,) = recommend(
        pd.DataFrame(rows).assign(num_tokens=lambda table: 20 * table.num_params), TargetRun(num_params=2.7e9)
    )
    assert exact.answer is not None
    assert half_width(exact.answer.low, exact.answer.high) < half_width(found.answer.low, found.answer.high)


def test_cells_of_two_rates_speak_where_one_size_has_three() -> None:
    """Training diverges above; the curvature of the smallest size tells where the others' optima lie."""
    rows = []
    rng = np.random.default_rng(5)
    for place, size in enumerate((1e8, 3e8, 9e8)):
        for budget in (2e9, 8e9):
            best = 3e-3 * (size / 1e8) ** -0.5 * (budget / 2e9) ** -0.1
            exponents = np.array([-1.3, -0.3, 0.7] if place == 0 else [-0.6, 0.4])
            for rate in best * 2.0**exponents:
                loss = 3 + 0.05 * np.log(rate / best) ** 2 + 0.001 * rng.normal()
                rows.append({"num_params": size, "num_tokens": budget, "learning_rate": rate, "loss": loss})
            rows.append({"num_params": size, "num_tokens": budget, "learning_rate": 8 * best, "loss": np.nan})
    target = TargetRun(num_params=2.7e9, num_tokens=8e9)
    (found,) = recommend(pd.DataFrame(rows), target, further=False)
    assert found.answer is not None
    assert found.answer.low < 3e-3 * 27**-0.5 * 4**-0.1 < found.answer.high
    assert half_width(found.answer.low, found.answer.high) < 0.6
    assert any("4 cells with two usable learning rates: they speak" in note for note in found.notes)
