"""What the explorer draws: the numbers of the theory at the steps that are drawn, and honest gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.cli.settings.explore import Fields
from experiments.explore.answers import (
    DECAYS,
    MOST_POINTS,
    RATES,
    SIMULATING,
    drawn_steps,
    simulation_of,
    trajectory_of,
    transient_map,
)
from experiments.explore.asked import RefusedField
from experiments.explore.optimum import OTHER_SIGN, optimum_of
from experiments.files import BadInput, to_json
from theory import predict, predict_trajectory
from theory.angle_law import EXAMPLE, Setting
from theory.bend import predict_bend
from theory.transient_map import slow_transient_map

READ = Fields().read


def asked(**fields: str):  # type: ignore[no-untyped-def]
    return READ({"learning_rate": "3e-3", "num_steps": "4000", "schedule": "linear", "warmup_steps": "100", **fields})


@pytest.mark.parametrize("num_steps", [1, 2, 999, 1001, 10**6])
def test_few_steps_are_drawn_and_both_ends(num_steps: int) -> None:
    steps = drawn_steps(num_steps)
    assert len(steps) <= MOST_POINTS
    assert (steps[0], steps[-1]) == (0, num_steps - 1)
    assert np.all(np.diff(steps) > 0)


def test_a_curve_is_the_trajectory_at_its_steps() -> None:
    setting = asked()
    shown = trajectory_of(setting)
    run = predict_trajectory(setting.optimizer, setting.schedule, initial_rms=0.02)
    steps = shown["curve"]["step"]
    np.testing.assert_allclose(shown["curve"]["weight_rms"], run.weight_rms[steps, 0], rtol=1e-5)
    np.testing.assert_allclose(shown["curve"]["angular_update"], run.angular_update[steps, 0], rtol=1e-5)
    assert shown["answer"]["mean_angle"] == pytest.approx(run.angular_update.mean(), rel=1e-12)
    assert max(shown["curve"]["learning_rate"]) == pytest.approx(3e-3, rel=1e-3)
    assert len(to_json(shown)) < 80_000


def test_from_zero_the_first_angle_is_left_out_of_nothing() -> None:
    shown = trajectory_of(asked(initial_rms="0", weight_decay="0"))
    assert shown["answer"]["equilibrium_rms"] is None
    assert all(value is not None for value in shown["curve"]["weight_rms"])


@pytest.mark.parametrize("fields", [{}, {"optimizer": "lion"}, {"decay": "relative", "schedule": "constant"}])
def test_the_map_agrees_with_single_settings(fields: dict[str, str]) -> None:
    """Within two hundredths of the run, where the slow limit holds."""
    found = transient_map(asked(**fields))
    for i, j in ((18, 20), (22, 24), (26, 18)):
        rate, decay = float(RATES[i]), float(DECAYS[j])
        given = decay * rate if fields.get("decay") == "relative" else decay
        one = asked(**fields, learning_rate=repr(rate), weight_decay=repr(given))
        steps = predict(one.optimizer, one.schedule, initial_rms=0.02).transient_steps
        assert found["fraction"][j][i] == pytest.approx(1.0 if steps is None else steps / 4000, abs=0.02)


def test_the_map_is_as_close_between_its_settings_as_it_says() -> None:
    """At the middle of every four settings the mean of their logarithms, as `page/map.js` draws it, has another colour
    than the exact share in at most 6 %: a middle is the worst place."""
    setting = asked(schedule="constant", warmup_steps="0", num_steps="20000")
    found = transient_map(setting)
    share = np.array(found["fraction"], np.float64)
    logs = np.log(np.where(share >= 1, 1.4, np.maximum(share, 0.003)))
    drawn = np.exp((logs[1:, 1:] + logs[:-1, 1:] + logs[1:, :-1] + logs[:-1, :-1]) / 4)
    rates, decays = (np.sqrt(axis[1:] * axis[:-1]) for axis in (RATES, DECAYS))
    exact = slow_transient_map(setting.schedule, rates, decays, initial_rms=0.02).transient_fraction
    inside = np.isfinite(drawn) & (share[:-1, :-1] > 0) & (exact > 0.003)
    colours = [np.digitize(values[inside], [0.01, 0.03, 0.1, 0.3, 1]) for values in (np.minimum(drawn, 1), exact)]
    assert 0.005 < np.mean(colours[0] != colours[1]) < 0.06
    assert "2 to 4 %" in found["said"]


def test_the_map_leaves_out_steps_that_remove_the_weights() -> None:
    fraction = transient_map(asked())["fraction"]
    assert fraction[-1][-1] is None
    assert fraction[0][-1] is not None


@pytest.mark.parametrize(
    "fields", [{"optimizer": "adamh"}, {"optimizer": "sgdm"}, {"decay": "independent", "weight_decay": "1e-4"}]
)
def test_where_there_is_no_map_it_says_why(fields: dict[str, str]) -> None:
    found = transient_map(asked(**fields))
    assert found["fraction"] is None
    assert len(found["said"]) > 20


def test_a_simulation_lies_about_the_theory() -> None:
    """Within six standard errors of the norm at every record behind the start: false alarms below one in a million."""
    setting = asked(num_steps="400", learning_rate="2e-2", weight_decay="0.5", finite_beta2="1")
    found = simulation_of(setting)
    run = predict_trajectory(
        setting.optimizer, setting.schedule, initial_rms=0.02, finite_beta2=True, record_every=1
    ).weight_rms[found["curve"]["step"], 0]
    errors = np.array(found["standard_error"]["weight_rms"], np.float64)
    z = (np.array(found["curve"]["weight_rms"]) - run)[120:] / errors[120:]
    assert np.all(np.abs(z) < 6)
    assert np.std(z) > 0.05


def test_simulations_that_are_refused() -> None:
    with pytest.raises(BadInput, match="white-noise"):
        simulation_of(asked(network="gpt2"))
    with pytest.raises(BadInput, match="--num-steps 1000000"):
        simulation_of(asked(num_steps="1e6"))
    with SIMULATING, pytest.raises(BadInput, match="one at a time"):
        simulation_of(asked())


def test_the_optimum_is_that_of_the_theory() -> None:
    setting = asked(schedule="constant", warmup_steps="0")
    found = optimum_of(setting, {"num_params": "3e7", "num_tokens": "2e9"})
    middle = Setting(num_params=3e7, num_tokens=2e9, tokens_per_step=51_200, schedule=setting.schedule)
    bend = predict_bend(EXAMPLE, middle, "num_params")
    assert found["learning_rate"] == pytest.approx(float(bend.learning_rate))
    assert found["slope"] == pytest.approx(float(bend.slope))
    middle = len(found["curves"][0]["scale"]) // 2
    assert found["curves"][0]["learning_rate"][middle] == pytest.approx(found["learning_rate"], rel=1e-4)
    lowest = min(value for value in found["loss"]["excess"] if value is not None)
    assert found["own"]["excess"] >= lowest * (1 - 1e-6)
    assert any(f"{found['slope']:.2f}" in line for line in found["words"])


@pytest.mark.parametrize(("start", "sign"), [("0.02", "down"), ("0.3", "up")])
def test_a_bend_downward_is_told_to_be_the_other_way_than_reported(start: str, sign: str) -> None:
    found = optimum_of(asked(schedule="constant", warmup_steps="0", initial_rms=start), {})
    assert f"bends {sign}" in " ".join(found["words"])
    assert (OTHER_SIGN in found["words"]) == (sign == "down")


@pytest.mark.long
def test_the_length_of_the_run_is_told_and_can_be_that_of_the_setting() -> None:
    setting = asked(schedule="cosine", num_steps="20000")
    found = optimum_of(setting, {"num_tokens": "2e9", "tokens_per_step": "40000"})
    assert (found["num_steps"], found["own_steps"]) == (50_000, 20_000)
    assert "D / B = 50,000 steps" in found["words"][0]
    again = optimum_of(setting, {"num_tokens": str(found["tokens_as_long"]), "tokens_per_step": "40000"})
    assert again["num_steps"] == again["own_steps"] == 20_000


@pytest.mark.parametrize(
    ("given", "outside"),
    [
        ({}, ""),
        ({"num_tokens": "2.5e11"}, "steps 4.88e+06, fitted from 15000 to 50000"),
        ({"num_tokens": "2.5e11", "C1": "2.3"}, ""),  # a law of one's own was fitted to nothing that is known
    ],
)
def test_what_lies_outside_of_the_fit_is_told(given: dict[str, str], outside: str) -> None:
    words = optimum_of(asked(schedule="constant", warmup_steps="0"), given)["words"]
    told = [line for line in words if "outside the fit" in line]
    assert len(told) == bool(outside)
    assert all(outside in line for line in told)


def test_where_real_transients_were_not_as_long_as_predicted_is_told() -> None:
    assert "docs/transient-length" not in asked(learning_rate="1e-3", weight_decay="0.1", beta2="0.95").worth
    assert "docs/transient-length" in asked(learning_rate="0.03", weight_decay="0.3", beta2="0.95").worth
    assert "docs/transient-length" not in asked(optimizer="adamh", learning_rate="0.03", weight_decay="").worth


@pytest.mark.long
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
def test_the_page_starts_with_an_optimum_that_one_could_train_with(schedule: str) -> None:
    setting = asked(schedule=schedule, warmup_steps="0")
    found = optimum_of(setting, {})
    assert 1e-4 < found["learning_rate"] < 1e-2
    optimizer = replace(setting.optimizer, learning_rate=found["learning_rate"])
    longer = replace(setting.schedule, num_steps=round(found["num_steps"]))
    at_peak = predict(optimizer, longer, initial_rms=setting.model["initial_rms"]).steps_to_equilibrium
    assert at_peak is not None
    share = longer.time_at_integral(at_peak) / longer.num_steps
    assert found["transient_share"] == pytest.approx(share, rel=0.01)
    assert ("twice as steeply" in found["words"][1]) == (share < 0.1)


@pytest.mark.parametrize("rate", ["10", "1e15", "1e20"])
def test_a_rate_on_the_sphere_that_adamw_cannot_have_beside_it(rate: str) -> None:
    setting = asked(optimizer="adamh", schedule="cosine", learning_rate=rate)
    with pytest.raises(RefusedField, match="must be below 10,") as caught:
        optimum_of(setting, {})
    assert caught.value.field == "learning_rate"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"a1": "steep"}, "a1"),
        ({"B2": "-1"}, "B2"),
        ({"num_params": "0"}, "num_params"),
        ({"num_tokens": "1e400"}, "num_tokens"),
        ({"axis": "width"}, "axis"),
    ],
)
def test_a_law_that_is_none(given: dict[str, str], field: str) -> None:
    with pytest.raises(RefusedField) as caught:
        optimum_of(asked(schedule="constant", warmup_steps="0"), given)
    assert caught.value.field == field
