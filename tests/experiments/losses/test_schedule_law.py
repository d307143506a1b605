"""The schedule-and-scale law: its diffusion, its rules, planted laws, and 200 public runs."""

import csv
import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from experiments.losses import schedule_law as law
from experiments.losses.curves import Run, score, usable_runs
from experiments.losses.schedule_law import Shape, bootstrap_scores, fit_schedule_law, noise_features
from theory import WSD, Cosine, InvalidParameter

# The diffusion

MODE_LOSS = law.derive_mode_loss()


def test_progress_is_the_laplace_transform_of_a_power_law_spectrum() -> None:
    assert sp.simplify(law.derive_progress() - law.S**-law.a) == 0


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 3.0), st.floats(0.1, 10.0))
def test_a_mode_at_constant_rate(relaxation: float, progress: float, rate: float) -> None:
    exact = MODE_LOSS.subs({law.e0: 0, law.c: 1}).subs(
        {law.h: sp.Float(relaxation, 40), law.S: sp.Float(progress, 40), law.r: sp.Float(rate, 40)}
    )
    (feature,) = noise_features([rate, rate], [0.3 * progress, 0.7 * progress], [relaxation])
    assert feature == pytest.approx(float(exact.evalf(30)), rel=1e-10)


def test_a_mode_obeys_its_equation_under_a_changing_rate() -> None:
    def rate(x: np.ndarray) -> np.ndarray:
        return 1 + 0.5 * np.sin(3 * x)

    def feature(end: float) -> float:
        edges = np.linspace(0, end, 200_001)
        return float(noise_features(rate((edges[1:] + edges[:-1]) / 2), np.diff(edges), [2.0])[0])

    step = 1e-3
    slope = (feature(1 + step) - feature(1 - step)) / (2 * step)
    assert slope == pytest.approx(2.0 * (float(rate(np.array(1.0))) - feature(1.0)), rel=1e-5)


def test_fast_modes_hold_the_last_rate_and_slow_ones_the_whole_run() -> None:
    rates, gained = np.array([1.0, 0.5, 0.2]), np.array([0.3, 0.2, 0.1])
    fast, slow = noise_features(rates, gained, [1e6, 1e-6])
    assert fast == pytest.approx(0.2)
    assert slow == pytest.approx(1e-6 * (rates @ gained), rel=1e-5)


def test_the_feature_is_the_mean_square_of_a_diffusing_mode() -> None:
    """z-score below 4: false alarm 6e-5; a noise 6 % too large would be caught with probability 0.97."""
    rng = np.random.default_rng(0)
    num_replicas, h, r = 20_000, 5.0, np.concatenate([np.full(300, 1.0), np.linspace(1, 0, 300)])
    dS = 1 / r.size
    w = np.zeros(num_replicas)
    for rate in r:  # dw = -h/2 w dS + sqrt(h r) dB, with its exact step: mean square tends to r
        kept = np.exp(-h * dS / 2)
        w = kept * w + np.sqrt(rate * (1 - kept**2)) * rng.standard_normal(num_replicas)
    (expected,) = noise_features(r, np.full(r.size, dS), [h])
    error = np.std(w**2) / np.sqrt(num_replicas)
    assert abs(np.mean(w**2) - expected) < 4 * error


# Planted runs

PEAKS = (2e-4, 5e-4, 1e-3, 2e-3)
ONE_SHAPE = (Shape(initial_rms=0.02, decay_fraction=1.0, progress_exponent=0.4, size_exponent=0.2),)


def made_run(peak: float, decay: float, num_steps: int, num_params: float = 1e8, batch: float = 5e4) -> Run:
    schedule = WSD(num_steps=num_steps, warmup_steps=100, decay_fraction=decay)
    return Run(
        learning_rates=peak * schedule.multipliers(),
        num_params=num_params,
        tokens_per_step=batch,
        weight_decay=0.1,
        setting=f"{decay} {peak}",
    )


def made_runs(*horizons: int, num_params: Sequence[float] = (1e8,)) -> list[Run]:
    return [
        made_run(peak, decay, num_steps, size)
        for size in num_params
        for num_steps in horizons
        for decay in (0.1, 0.3, 0.6, 0.9)
        for peak in PEAKS
    ]


def planted(runs: Sequence[Run], deviation: float, seed: int = 0) -> list[Run]:
    """Losses from a known member of the family, with measurement noise."""
    several = len({run.num_params for run in runs}) > 1
    size = [0.4] if several else []
    truth = law.ScheduleLaw(
        shapes=ONE_SHAPE,
        coefficients=(np.array([2.5, *size, 0.3, 5.0, 0, 20.0, 0, 60.0, 0, 0, 30.0, 10.0]),),
        longest=(40.0,),
        reference_tokens=5e4,
        validation_error=0.0,
        num_runs=0,
        trained={"num_params": (1e7 if several else 1e8, 1e8)},
    )
    noise = deviation * np.random.default_rng(seed).standard_normal(len(runs))
    return [replace(run, loss=float(loss)) for run, loss in zip(runs, truth.predict(runs) + noise, strict=True)]


def test_a_planted_law_is_recovered_at_a_longer_horizon() -> None:
    training, later = planted(made_runs(3000, 5000), 1e-3), planted(made_runs(8000), 0.0)
    fit = fit_schedule_law(training)
    result = score(fit.predict(later), [run.loss for run in later])
    assert result.regret < 2e-3
    assert result.spearman > 0.97
    assert result.relative_error < 0.003
    assert 0.5e-3 < fit.validation_error < 2e-3
    assert fit.num_runs == 32
    assert all(np.all(c >= 0) for c in fit.coefficients)


def test_a_planted_law_is_recovered_at_another_size() -> None:
    sizes = (1e7, 3e7, 1e8)
    training = planted(made_runs(3000, 5000, num_params=sizes), 1e-3)
    fit = fit_schedule_law(training, shapes=ONE_SHAPE)
    between = made_runs(5000, num_params=(6e7,))
    truth = planted([*between, *made_runs(3000, num_params=(1e7, 1e8))], 0.0)[: len(between)]
    assert score(fit.predict(between), [run.loss for run in truth]).relative_error < 0.002


def test_a_larger_batch_drifts_further_and_diffuses_less() -> None:
    fit = fit_schedule_law(planted(made_runs(3000, 5000), 1e-3), shapes=ONE_SHAPE)
    small, large = (made_run(1e-3, 0.0, 3000, batch=batch) for batch in (5e4, 2e5))
    (design,) = fit.designs([small, large])
    assert design[1, 1] == pytest.approx(design[0, 1] * 2**-0.4)  # S^-a with S twice as far
    assert design[1, -1] == pytest.approx(design[0, -1] / 2)  # noise of the last steps, half as high
    assert fit.outside(large) == ("tokens_per_step",)


def test_intervals_of_the_scores_cover_the_point_estimate_and_shrink_with_the_noise() -> None:
    later = planted(made_runs(8000), 0.0)
    widths = []
    for deviation in (1e-3, 4e-3):
        training = planted(made_runs(3000, 5000), deviation)
        fit = fit_schedule_law(training, shapes=ONE_SHAPE)
        low, high = bootstrap_scores(fit, training, [later], num_replicas=60)
        point = score(fit.predict(later), [run.loss for run in later])
        assert low.relative_error <= point.relative_error <= high.relative_error * 1.5
        assert low.spearman <= high.spearman <= 1
        widths.append(high.relative_error)
    assert widths[0] < widths[1]


def test_scores_by_hand() -> None:
    result = score([3.0, 2.0, 2.5], [3.0, 2.2, 2.0])
    assert result.regret == pytest.approx(0.2)
    assert result.spearman == pytest.approx(0.5)
    assert result.relative_error == pytest.approx((0 + 0.2 / 2.2 + 0.25) / 3)
    assert score([3.0, 2.0, 2.5], [3.0, 2.2, 2.0], eligible=[True, False, True]).regret == 0
    for tied in ([2.0, 2.0, 2.5], [2.5, 2.0, 2.0]):  # ranks 1.5, 1.5, 3 against 1, 2, 3
        assert abs(score(tied, [2.0, 2.1, 2.2]).spearman) == pytest.approx(0.75**0.5)
    assert np.isnan(score([2.0, 2.0, 2.0], [2.0, 2.1, 2.2]).spearman)


# Rules


def test_missing_diverged_and_repeated_runs() -> None:
    base = made_run(1e-3, 0.3, 2000)
    others = [made_run(peak, 0.3, 2000) for peak in (2e-4, 5e-4, 2e-3)]
    runs = [replace(base, loss=3.00), replace(base, loss=3.02), *(replace(o, loss=3.1) for o in others)]
    runs += [replace(made_run(5e-3, 0.3, 2000), loss=7.6), replace(made_run(4e-3, 0.3, 2000), loss=float("nan"))]
    usable = usable_runs(runs)
    assert [run.loss for run in usable.runs] == pytest.approx([3.01, 3.1, 3.1, 3.1])
    assert [run.loss for run in usable.far_above] == [7.6]
    assert len(usable.missing) == 1
    assert usable.rerun_deviation == pytest.approx(np.std([3.0, 3.02], ddof=1))
    assert len(usable_runs(runs, far_above=10.0).runs) == 5


def test_the_law_refuses_what_it_cannot_know() -> None:
    training = planted(made_runs(3000, 5000), 1e-3)
    fit = fit_schedule_law(training, shapes=ONE_SHAPE)
    with pytest.raises(InvalidParameter, match="num_params = 20000000"):
        fit.predict([made_run(1e-3, 0.3, 3000, num_params=2e7)])
    too_high = made_run(4e-3, 0.3, 8000)
    assert fit.outside(too_high) == ("num_steps", "peak_learning_rate")
    candidates = [made_run(2.5e-3, 0.6, 8000), made_run(5e-4, 0.1, 8000), made_run(2e-4, 0.1, 8000)]
    assert np.argmin(fit.predict(candidates)) == 0
    assert fit.recommend(candidates) == 1
    with pytest.raises(InvalidParameter, match="peak rate"):
        fit.recommend([too_high])
    with pytest.raises(InvalidParameter, match="at least 24 runs"):
        fit_schedule_law(training[:10])
    with pytest.raises(InvalidParameter, match="loss = nan"):
        fit_schedule_law([*training, made_run(1e-3, 0.2, 3000)])


# The public runs: Llama-style models on SlimPajama with AdamW, weight decay 0.1, warmup of 300 steps.

DENSE = 12 * 768  # layers times width of the size with the dense table
VOCABULARY = 50304
SPLITS = (
    ((15000, 25000), (35000, 50000)),
    ((15000, 35000), (25000, 50000)),
    ((25000,), (35000, 50000)),
    ((25000, 35000), (50000,)),
    ((15000, 25000, 35000), (50000,)),
    ((25000, 50000), (15000, 35000)),
)


def cooldown(num_steps: int, decay_fraction: float, shape: str) -> np.ndarray:
    """Hold, then to zero over the last ``decay_fraction``: in a line, or as 1 - sqrt (Haegele et al., 2405.18392)."""
    if shape == "linear":
        return WSD(num_steps=num_steps, warmup_steps=300, decay_fraction=decay_fraction).multipliers()
    decay_steps = round(decay_fraction * num_steps)
    z = np.clip((np.arange(num_steps) + 0.5 - (num_steps - decay_steps)) / decay_steps, 0, 1)
    held = WSD(num_steps=num_steps, warmup_steps=300, decay_fraction=0.0).multipliers()
    return held * (1 - np.sqrt(z))


@functools.cache
def public_runs() -> dict[int, list[Run]]:
    """Usable runs by layers times width; N without the embedding."""
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: the table made from github.com/fabian-sp/lr-scheduling is not here")
    runs, models = [], {}
    with (Path(root) / "lr_scheduling" / "slimpajama_final_losses.csv").open() as file:
        for row in csv.DictReader(file):
            num_steps, fraction = int(row["iterations"]), float(row["wsd_fract_decay"])
            if row["scheduler"] == "cos":
                to_zero = row["file"].removeprefix("grad_norm/").startswith("cos-zero")
                final = 0.0 if to_zero else 0.1
                shape = Cosine(num_steps=num_steps, warmup_steps=300, final_fraction=final).multipliers()
                name = f"cosine to {final}"
            else:
                kind = row["decay_type"] if fraction and row["decay_type"] else "linear"
                shape, name = cooldown(num_steps, fraction, kind), f"{kind} {fraction}"
            num_params = int(row["params"]) - VOCABULARY * int(row["n_embd"])
            models[num_params] = int(row["n_layer"]) * int(row["n_embd"])
            runs.append(
                Run(
                    learning_rates=float(row["lr"]) * shape,
                    num_params=num_params,
                    tokens_per_step=float(int(row["batch_size"]) * int(row["acc_steps"]) * int(row["seq_len"])),
                    weight_decay=float(row["weight_decay"]),
                    loss=float(row["final_val_loss"] or "nan"),
                    setting=f"{name}, {float(row['lr']):g}",
                )
            )
    usable = usable_runs(runs)
    assert len(usable.missing) == 4
    assert [round(run.loss, 2) for run in usable.far_above] == [7.59]
    assert 5e-4 < usable.rerun_deviation < 2e-3
    by_model: dict[int, list[Run]] = {}
    for run in usable.runs:
        by_model.setdefault(models[int(run.num_params)], []).append(run)
    return by_model


def dense(*horizons: int) -> list[Run]:
    return [run for run in public_runs()[DENSE] if len(run.learning_rates) in horizons]


def copied_regret(source: Sequence[Run], target: Sequence[Run]) -> float:
    """Regret of taking the settings in the order in which they ended at another horizon."""
    there = {run.setting: run.loss for run in source}
    shared = [run for run in target if run.setting in there]
    pick = min(shared, key=lambda run: there[run.setting])
    return pick.loss - min(run.loss for run in target)


def test_two_short_horizons_rank_the_settings_of_two_long_ones() -> None:
    training, horizons = dense(15000, 25000), [dense(35000), dense(50000)]
    fit = fit_schedule_law(training)
    scores = [score(fit.predict(runs), [run.loss for run in runs], eligible=fit.eligible(runs)) for runs in horizons]
    assert np.mean([s.regret for s in scores]) <= 0.002
    assert np.mean([s.regret for s in scores]) <= np.mean([copied_regret(dense(25000), runs) for runs in horizons])
    assert min(s.spearman for s in scores) >= 0.9
    assert max(s.relative_error for s in scores) <= 0.005
    assert [runs[fit.recommend(runs)].setting for runs in horizons] == ["linear 0.6, 0.002"] * 2
    low, high = bootstrap_scores(fit, training, horizons, num_replicas=60)
    assert low.regret == 0
    assert high.regret < 0.008
    assert low.spearman > 0.8
    assert high.relative_error < 0.005


def test_a_size_between_others_is_predicted_from_them() -> None:
    by_model = public_runs()
    held_out = 16 * 768
    training = [run for model, runs in by_model.items() if model != held_out for run in runs]
    grid = tuple(Shape(0.02, fraction, 0.3, nu) for fraction in (0.6, 1.0) for nu in (0.1, 0.15))
    fit = fit_schedule_law(training, shapes=grid)
    target = by_model[held_out]
    assert score(fit.predict(target), [run.loss for run in target]).relative_error < 0.005


@pytest.mark.slow
@pytest.mark.parametrize(("trained", "asked"), SPLITS)
def test_other_horizons(trained: tuple[int, ...], asked: tuple[int, ...]) -> None:
    fit = fit_schedule_law(dense(*trained))
    for horizon in asked:
        runs = dense(horizon)
        result = score(fit.predict(runs), [run.loss for run in runs], eligible=fit.eligible(runs))
        assert result.regret <= 0.002
        assert result.spearman >= 0.9
        assert result.relative_error <= 0.005


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [8 * 384, 8 * 512, 10 * 512, 12 * 640, 16 * 768, 24 * 768, 24 * 1024])
def test_every_size_from_the_others(held_out: int) -> None:
    by_model = public_runs()
    training = [run for model, runs in by_model.items() if model != held_out for run in runs]
    fit = fit_schedule_law(training)
    target = by_model[held_out]
    error = score(fit.predict(target), [run.loss for run in target]).relative_error
    assert error < (0.02 if held_out == 24 * 1024 else 0.007)  # the largest has twice the batch of all others
