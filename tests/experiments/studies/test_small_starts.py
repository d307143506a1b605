"""Small starts: answers on losses that a law or the pilot makes, and on seeds that differ."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.studies.angle_law.answers import adamw_angles
from experiments.studies.moved_optimum.answers import fitted_optima
from experiments.studies.moved_optimum.predictions import read_constants, read_law
from experiments.studies.moved_optimum.runs import grid
from experiments.studies.small_starts import ADAMH, ARMS, CONTROLS, NUM_STEPS
from experiments.studies.small_starts.chances import chance_within, number_met, pilot_chances
from experiments.studies.small_starts.run import answer_of, controls_of, predictions_of, run_study
from experiments.studies.workplace import Workplace
from theory.final_loss import FinalLossLaw
from theory.two_angles import TwoAngleLaw

DOCS = Path(__file__).parents[3] / "docs"
LAWS: dict[str, FinalLossLaw] = {
    "two_angles": read_constants(DOCS / "angle-law" / "law.csv", TwoAngleLaw),
    "two_clocks": read_law(DOCS / "angle-law" / "two-clocks.csv"),
}
START = ARMS[0]


def test_losses_of_the_law_refute_the_pilot_and_those_moved_to_its_optimum_the_laws() -> None:
    predictions = predictions_of(LAWS)
    row, rng = predictions.iloc[0], np.random.default_rng(2)
    rates, clock = np.array(grid(row["centre"])), START.scheduled(NUM_STEPS).multipliers()
    for shift, nearest, refuted in ((1.0, "two_", {"pilot"}), (0.53, "pilot", {"two_angles", "two_clocks"})):
        losses = LAWS["two_angles"].loss(adamw_angles(shift * rates, NUM_STEPS, START.initial_rms), clock)
        runs = pd.DataFrame(
            [
                {"learning_rate": rate, "loss": loss + 0.002 * rng.normal(), "seed": seed}
                for rate, loss in zip(rates, losses, strict=True)
                for seed in (0, 1, 2)
            ]
        ).assign(arm=START.name, num_steps=NUM_STEPS, num_params=25248, num_tokens=1024 * NUM_STEPS)
        optima = fitted_optima(runs, [START.name]).merge(predictions, on=["arm", "num_steps"])
        verdict = answer_of(optima.iloc[0])["verdict"]
        assert verdict.split("nearest: ")[1].startswith(nearest)
        assert {name for name in ("pilot", *LAWS) if f"refutes {name}" in verdict} == refuted
    assert answer_of(optima.assign(high=np.nan).iloc[0])["verdict"] == "the optimum has no interval"


@pytest.mark.parametrize(("difference", "refuted"), [(0.03, True), (0.002, False)])
def test_the_control_is_paired_by_seed_and_judged_by_all_seeds(difference: float, refuted: bool) -> None:
    """Seeds differ by far more than rates do: unpaired, nothing could be told."""
    of_seed = 0.3 * np.random.default_rng(1).normal(size=7)
    pairs, (arm, rates, new) = 0.006 * np.array([-1.5, -1, -0.5, 0, 0.5, 1, 1.5]), CONTROLS[0]
    assert arm is ADAMH
    rows = [
        {"learning_rate": rate, "seed": seed, "loss": 2 + of_seed[seed] + add}
        for seed in range(7)
        for rate, add in zip(rates, (difference + pairs[seed], 0.0), strict=True)
    ]
    table = pd.DataFrame(rows).assign(arm=arm.name, num_steps=NUM_STEPS)
    found = list(controls_of(table[table["seed"].isin(new)], table[~table["seed"].isin(new)], LAWS))
    told = [(row["quantity"].split(", ")[-1], row["seeds"]) for row in found]
    assert told == [("old seeds", 3), ("new seeds", 4), ("all seeds", 7)]
    assert found[-1]["value"] == pytest.approx(difference, abs=1e-9)
    assert ("refutes two_angles" in found[-1]["verdict"]) == refuted
    assert all("verdict" not in row for row in found[:2])


def test_chances_of_a_right_law_are_those_of_draws() -> None:
    """Two million draws: within four standard errors."""
    measured = np.exp(0.2 * np.random.default_rng(4).normal(size=2_000_000))
    met = np.abs(1 / measured - 1) <= 0.25
    assert chance_within(0.25, 0.2) == pytest.approx(met.mean(), abs=4 * met.std() / np.sqrt(met.size))
    assert number_met([0.5, 0.2]) == pytest.approx([0.4, 0.5, 0.1])


def test_a_pilots_optimum_has_the_error_of_its_own_start_trained_again() -> None:
    again = pd.DataFrame(
        {"num_steps": 1600, "initial_rms": [0.177], "learning_rate": 0.02, "low": 0.02 * np.exp(-0.98)}
    )
    starts = {"arm": ["start 1.6", "start 14.4", "adamh"], "initial_rms": [1.6, 14.4, np.nan]}
    moved = pd.DataFrame(starts | {"num_steps": 1600, "error": [0.1, 0.4, 0.01]})
    found = pilot_chances(again, moved).set_index(["num_steps", "initial_rms"])["error"]
    assert [found[1600, rms] for rms in (0.177, 1.6, 4.8)] == pytest.approx([0.5, 0.1, 0.2])
    assert found[3200, 1.6] == found[1600, 0.53] == 0.1


def test_committed_answers_follow_from_the_committed_runs(tmp_path: Path) -> None:
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    folder = DOCS / "small-starts"
    same, law = DOCS / "same-angle", DOCS / "angle-law"
    run_study(
        place,
        earlier=folder / "runs.csv",
        table_only=True,
        same_angle=same,
        angle_law=law,
        moved_optimum=DOCS / "moved-optimum",
    )
    for name in ("predictions", "runs", "optima", "answers", "chances"):
        one, other = (pd.read_csv(path / f"{name}.csv") for path in (place.results, folder))
        pd.testing.assert_frame_equal(one, other, rtol=1e-3, check_dtype=False)
