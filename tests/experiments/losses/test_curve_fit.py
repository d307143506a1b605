"""Laws fitted to loss curves: planted laws, named outcomes, and the public curves of three model sizes."""

import csv
import functools
import os
from pathlib import Path

import numpy as np
import pytest

from experiments.losses.curve_fit import Curve, FitOutcome, fit_law
from theory import WSD, Constant, Cosine, InvalidParameter
from theory import loss_laws as laws
from theory.loss_laws import FunctionalLaw, MomentumLaw, MultiPowerLaw, condense
from theory.slow_norm import slow_angular_updates

FUNCTIONAL = FunctionalLaw(L0=2.5, C1=0.6, B1=0.02, a1=0.5, C2=8.0, B2=0.01, a2=1.2)
MOMENTUM = MomentumLaw(L0=2.5, A=0.6, alpha=0.5, C=0.7, decay=0.998)
MULTI_POWER = MultiPowerLaw(L0=2.5, A=0.6, alpha=0.5, B=400.0, C=2.0, beta=0.6, gamma=0.65)


def curves_of(law: laws.LossLaw, noise: float = 0.0) -> list[Curve]:
    rng = np.random.default_rng(0)
    steps = np.arange(300, 3000, 60)
    schedules = [
        3e-4 * Cosine(num_steps=3000, warmup_steps=200, final_fraction=0.1).multipliers(),
        3e-4 * Constant(num_steps=3000, warmup_steps=200).multipliers(),
        3e-4 * np.where(np.arange(3000) < 1500, 1.0, 0.3) * np.minimum(np.arange(1, 3001) / 200, 1),
    ]
    return [
        Curve(rates=r, steps=steps, losses=law.loss(r, steps) * np.exp(noise * rng.standard_normal(steps.size)))
        for r in schedules
    ]


@pytest.mark.long
@pytest.mark.parametrize("law", [FUNCTIONAL, MOMENTUM, MULTI_POWER])
def test_a_fit_recovers_a_planted_law(law: laws.LossLaw) -> None:
    fit = fit_law(type(law), curves_of(law), block=1, num_starts=2, seed=1)
    assert fit.mean_absolute_error < 1e-5
    other = 3e-4 * WSD(num_steps=6000, warmup_steps=200).multipliers()
    steps = np.arange(500, 6000, 50)
    assert np.abs(fit.law.loss(other, steps) - law.loss(other, steps)).max() < 1e-3
    assert fit.num_records == 135


@pytest.mark.long
def test_outcomes_are_named() -> None:
    curves = curves_of(MULTI_POWER, noise=1e-3)
    good = fit_law(MultiPowerLaw, curves, num_starts=3)
    assert good.outcome is FitOutcome.CONVERGED
    assert good.at_bound == ()
    assert good.costs == tuple(sorted(good.costs))
    again = fit_law(MultiPowerLaw, curves, num_starts=1, near=good.law)
    assert again.costs[0] == pytest.approx(good.costs[0], rel=1e-6)
    assert fit_law(MultiPowerLaw, curves, num_starts=1, max_evaluations=3).outcome is FitOutcome.NOT_CONVERGED
    # one constant rate says nothing about annealing
    alone = fit_law(MultiPowerLaw, curves[1:2], num_starts=3)
    assert alone.outcome is not FitOutcome.CONVERGED


def test_what_cannot_be_fitted_is_refused() -> None:
    (curve, *_) = curves_of(MOMENTUM)
    with pytest.raises(InvalidParameter, match="losses = nan"):
        Curve(rates=curve.rates, steps=curve.steps[:2], losses=np.array([3.0, np.nan]))
    with pytest.raises(InvalidParameter, match="losses"):
        Curve(rates=curve.rates, steps=curve.steps[:2], losses=np.array([3.0]))
    few = Curve(rates=curve.rates, steps=curve.steps[:4], losses=curve.losses[:4])
    with pytest.raises(InvalidParameter, match="at least 5 records"):
        fit_law(MomentumLaw, [few])


# The public curves: 25M, 100M and 400M parameters under nine schedules, peak 3e-4, end 3e-5, warmup 2160 steps.
# Weight decay 0.1 and initial RMS 0.02 are not in the data: they are the usual settings of such models.

TRAINING = ("cosine_24000", "constant_24000", "wsdcon_9")
OTHERS = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
TARGET = {"25": 0.005, "100": 0.005, "400": 0.006}
SPLITS = (
    TRAINING,
    ("cosine_24000", "constant_24000", "wsdcon_3"),
    ("constant_24000", "wsd_20000_24000", "wsdcon_9"),
    ("constant_72000", "wsd_20000_24000", "wsdcon_3"),
)


def public_rates(name: str) -> np.ndarray:
    """Learning rate at every step of a public schedule."""
    peak, end, warmup = 3e-4, 3e-5, 2160
    num_steps = 72000 if "72000" in name else 16000 if "wsdcon" in name else 24000
    step = np.arange(num_steps)
    if name.startswith("cosine"):
        rates = end + (peak - end) * (1 + np.cos(np.pi * (step - warmup) / (num_steps - warmup))) / 2
    elif name.startswith("wsdcon"):
        rates = np.where(step < 8000, peak, 1e-5 * int(name.removeprefix("wsdcon_")))
    else:
        z = np.clip((step - 20000) / 4000, 0, 1)
        decays = {"constant": peak + 0 * z, "wsd": peak * (end / peak) ** z, "wsdld": peak + (end - peak) * z}
        rates = decays[name.split("_")[0]]
    rates[:warmup] = peak * step[:warmup] / warmup
    return rates


@functools.cache
def public_curve(size: str, name: str, angles: bool, thin: int = 4) -> Curve:
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip(
            "LRBEND_PUBLIC_DATA is unset: loss_curve_repo of github.com/thu-yao-01-luo/MultiPowerLaw is not here"
        )
    with (Path(root) / "multipowerlaw" / f"csv_{size}" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(row["step"]) for row in rows])
    rates = public_rates(name)
    np.testing.assert_allclose(rates[steps], [float(row["lr"]) for row in rows], rtol=1e-9)
    if angles:
        rates = slow_angular_updates(rates, weight_decay=0.1, initial_rms=0.02)
    losses = np.array([float(row["loss"]) for row in rows])
    return Curve(rates=rates, steps=steps[::thin], losses=losses[::thin])


def error(law: laws.LossLaw, curve: Curve) -> float:
    return float(np.abs(law.at(condense(curve.rates, curve.steps, block=64)) - curve.losses).mean())


def held_out_error(law: type[laws.LossLaw], size: str, angles: bool, training: tuple[str, ...], thin: int = 4) -> float:
    """Mean over the curves not trained on of their mean absolute error."""
    fit = fit_law(law, [public_curve(size, name, angles, thin) for name in training], num_starts=2)
    others = [name for name in {*TRAINING, *OTHERS} if name not in training]
    return float(np.mean([error(fit.law, public_curve(size, name, angles, thin)) for name in others]))


@pytest.mark.parametrize("size", TARGET)
def test_published_constants_reproduce_the_curves_and_need_the_warmup(size: str) -> None:
    law = laws.PUBLISHED_MULTI_POWER[f"{size}M"]
    curves = [public_curve(size, name, False) for name in (*TRAINING, *OTHERS)]
    assert np.mean([error(law, curve) for curve in curves]) < 0.0055
    without = []
    for curve in curves:
        schedule = condense(curve.rates, curve.steps, block=64)
        after = schedule.drop_step >= 2160
        kept = {name: getattr(schedule, name)[after] for name in schedule._fields if name.startswith("drop")}
        without.append(np.abs(law.at(schedule._replace(**kept)) - curve.losses).mean())
    assert 0.1 < np.mean(without) < 0.16


@pytest.mark.long
@pytest.mark.parametrize("size", TARGET)
def test_three_curves_predict_the_other_six(size: str) -> None:
    errors = {
        (law.name, angles): held_out_error(law, size, angles, TRAINING)
        for law in (FunctionalLaw, MultiPowerLaw)
        for angles in (False, True)
    }
    assert min(errors.values()) <= TARGET[size]
    # in angle both laws meet it, and each is better than in learning rate
    for law in ("functional", "multi-power"):
        assert errors[law, True] < min(0.8 * TARGET[size], errors[law, False])


@pytest.mark.slow
@pytest.mark.parametrize("training", SPLITS)
@pytest.mark.parametrize("size", TARGET)
def test_other_triples_of_curves_predict_the_rest(size: str, training: tuple[str, ...]) -> None:
    for law in (FunctionalLaw, MultiPowerLaw):
        in_rate, in_angle = (held_out_error(law, size, angles, training, thin=2) for angles in (False, True))
        assert in_angle <= TARGET[size]
        assert in_angle < in_rate
