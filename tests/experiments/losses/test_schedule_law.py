"""The schedule-and-scale law: its diffusion, its rules, and planted laws."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from experiments.losses import features
from experiments.losses.features import noise_features
from experiments.losses.finished_runs import score, usable_runs
from experiments.losses.intervals import bootstrap_scores
from experiments.losses.schedule_law import fit_schedule_law
from tests.experiments.losses.planted_runs import ONE_SHAPE, made_run, made_runs, planted
from theory import InvalidParameter

# The diffusion

derive_mode_loss = functools.cache(features.derive_mode_loss)


def test_progress_is_the_laplace_transform_of_a_power_law_spectrum() -> None:
    assert sp.simplify(features.derive_progress() - features.S**-features.a) == 0


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 3.0), st.floats(0.1, 10.0))
def test_a_mode_at_constant_rate(relaxation: float, progress: float, rate: float) -> None:
    exact = (
        derive_mode_loss()
        .subs({features.e0: 0, features.c: 1})
        .subs(
            {features.h: sp.Float(relaxation, 40), features.S: sp.Float(progress, 40), features.r: sp.Float(rate, 40)}
        )
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


# Planted laws


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


def test_an_offset_is_no_matter() -> None:
    runs = planted(made_runs(3000, 5000), 1e-3)
    raised = [replace(run, loss=run.loss + 100) for run in runs]
    laws = [fit_schedule_law(some, shapes=ONE_SHAPE) for some in (runs, raised)]
    np.testing.assert_allclose(laws[1].predict(runs) - laws[0].predict(runs), 100, atol=1e-7)


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
    with pytest.raises(InvalidParameter, match="at least 10 runs"):
        fit_schedule_law(training[:9])
    with pytest.raises(InvalidParameter, match="loss = nan"):
        fit_schedule_law([*training, made_run(1e-3, 0.2, 3000)])
