"""Radial gradients: the recursion against weights that feel one, the reduced theory against its derivations."""

import functools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from theory import Cosine, InvalidParameter, NoEquilibrium, adamw, bernoulli, radial
from theory.measured import measured_moments
from theory.momentum import stationary_update_rms
from theory.radial import Law

BETA1, BETA2 = 0.9, 0.999
DOCS = Path(__file__).parents[2] / "docs"
UNIT = {"direction_ratio": 1.0}


def driven_weights(rates: np.ndarray, decay: float, force: float, entries: int, start: float) -> dict[str, np.ndarray]:
    """W under the first moment of g = xi + r W / <W^2>, so that <W g> = r; r = force * RMS. The second moment is 1."""
    rng = np.random.default_rng(3)
    w = rng.normal(size=entries)
    w *= start / np.sqrt(np.mean(w**2))
    m = np.zeros(entries)
    found: dict[str, list[float]] = {"rho": [], "s": [], "r": []}
    for t, eta in enumerate(rates):
        rho = np.mean(w**2)
        noise = rng.normal(size=entries)
        noise -= w * (np.mean(w * noise) / rho)
        noise /= np.sqrt(np.mean(noise**2))
        r = force * np.sqrt(rho)
        m = BETA1 * m + (1 - BETA1) * (noise + r * w / rho)
        u = m / (1 - BETA1 ** (t + 1))
        found["rho"].append(rho)
        found["s"].append(np.mean(u**2))
        found["r"].append(r)
        w = (1 - eta * decay) * w - eta * u
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("force", [-0.03, 0.05])
def test_measured_direction_and_radial_gradient_account_for_the_norm(force: float) -> None:
    """2 % of rho: noise of the moment has no radial part, earlier noise has one that scatters by 1/sqrt(entries)."""
    rates = 0.02 * np.linspace(1, 0.3, 1000)
    found = driven_weights(rates, 0.1, force, 4_000, 0.1)
    rho, _ = measured_moments(rates, 0.1 * rates, BETA1, np.sqrt(found["s"]), found["r"], 0.1)
    np.testing.assert_allclose(rho[:-1], found["rho"], rtol=0.02)
    without, _ = measured_moments(rates, 0.1 * rates, BETA1, np.sqrt(found["s"]), 0 * found["r"], 0.1)
    assert abs(without[-2] / found["rho"][-1] - 1) > 0.1


def test_noise_alone_is_the_recursion_of_adamw() -> None:
    rates = 3e-3 * Cosine(num_steps=400, warmup_steps=20).multipliers()[:, None] * np.array([1.0, 2.0])
    run = radial.moments(
        rates, 0.1 * rates, BETA1, 0.95, [0.02, 0.3], **UNIT, gradient_scale=np.ones(400), law=radial.NOISE
    )
    rho, p, s = adamw.moments(rates, 0.1, BETA1, 0.95, np.array([0.02, 0.3]))
    np.testing.assert_allclose(run.rho, rho, rtol=1e-12)
    np.testing.assert_allclose(run.p, p, rtol=1e-10, atol=1e-18)
    np.testing.assert_allclose(run.s[:, 0], s, rtol=1e-14)


def test_settings_side_by_side_are_settings_one_by_one() -> None:
    rates = np.linspace(1e-3, 1e-2, 300)[:, None] * np.array([1.0, 3.0])
    both = radial.moments(rates, 0.2 * rates, BETA1, BETA2, np.array([0.02, 0.5]))
    for place, start in enumerate((0.02, 0.5)):
        alone = radial.moments(rates[:, place], 0.2 * rates[:, place], BETA1, BETA2, start)
        np.testing.assert_allclose(both.rho[:, place], alone.rho, rtol=1e-14)
        np.testing.assert_allclose(both.p[:, place], alone.p, rtol=1e-14)
    from_one = radial.moments(rates, 0.2 * rates, BETA1, BETA2, 0.5)
    np.testing.assert_array_equal(from_one.rho[:, 1], both.rho[:, 1])


@pytest.mark.parametrize("beta2", [0.99, 0.999])
def test_memory_of_larger_gradients_against_simulated_adam(beta2: float) -> None:
    """Adam on noise whose scale falls: 2 % is the scatter of v among 5,000 entries and its finite memory."""
    rng = np.random.default_rng(5)
    steps, eta, decay = 800, 1e-2, 0.1
    scale = np.sqrt(1 + 30 * np.exp(-np.arange(steps) / 40))
    w = rng.normal(size=5_000) * 0.1
    start = float(np.sqrt(np.mean(w**2)))
    m, v = np.zeros_like(w), np.zeros_like(w)
    rho = []
    for t in range(steps):
        rho.append(np.mean(w**2))
        g = rng.normal(size=w.size) * scale[t]
        m, v = BETA1 * m + (1 - BETA1) * g, beta2 * v + (1 - beta2) * g**2
        u = m / (1 - BETA1 ** (t + 1)) / np.sqrt(v / (1 - beta2 ** (t + 1)))
        w = (1 - eta * decay) * w - eta * u
    rates = np.full(steps, eta)
    given = (rates, decay * rates, BETA1, beta2, start)
    run = radial.moments(*given, **UNIT, gradient_scale=scale, law=radial.NOISE)
    np.testing.assert_allclose(np.sqrt(run.rho[:-1]), np.sqrt(rho), rtol=0.02)
    forgetful = radial.moments(*given, **UNIT, gradient_scale=np.ones(steps), law=radial.NOISE)
    assert np.max(np.abs(np.sqrt(forgetful.rho[:-1] / rho) - 1)) > 0.06


def test_a_direction_ratio_is_a_rate_where_the_force_does_not_ask_for_the_step() -> None:
    """D and eta act as their product, whatever D does from step to step; p is D times that of D = 1, s its square."""
    law = Law(outward=1.5, valley=np.inf)
    D = 1 + 0.4 * np.sin(np.arange(60.0))
    rates, ones = np.linspace(2e-3, 2e-2, 60), np.ones(60)
    given = {"beta1": BETA1, "beta2": 0.95, "initial_rms": 0.05, "law": law, "gradient_scale": ones}
    run = radial.moments(rates, 0.1 * rates, **given, direction_ratio=D)
    plain = radial.moments(D * rates, 0.1 * rates, **given, direction_ratio=ones)
    np.testing.assert_allclose(run.rho, plain.rho, rtol=1e-12)
    np.testing.assert_allclose(run.p, D * plain.p, rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(run.s, D**2 * plain.s, rtol=1e-12)


def test_the_direction_remembers_earlier_sizes_through_both_averages() -> None:
    r""":math:`s_t = D^2\sum a_i^2h_i^2/\sum b_ih_i^2`, with the weights of the two bias-corrected averages."""
    h, rates = 1 + 3 * np.exp(-np.arange(40) / 5), np.full(40, 1e-3)
    run = radial.moments(rates, 0 * rates, BETA1, 0.95, 0.1, direction_ratio=0.8, gradient_scale=h)
    for t in (0, 1, 7, 39):
        past = np.arange(t, -1, -1)
        a, b = (beta**past / np.sum(beta**past) for beta in (BETA1, 0.95))
        expected = 0.8**2 * np.sum(a**2 * h[: t + 1] ** 2) / np.sum(b * h[: t + 1] ** 2)
        assert float(run.s[t]) == pytest.approx(expected, rel=1e-12)


def test_the_burst_and_the_constants_are_those_that_are_written_down() -> None:
    burst = radial.starting_gradients(400) ** 2 - 1
    assert burst.shape == (400,)
    np.testing.assert_allclose(burst[[0, 49, 99]], [14.5 * np.exp(-0.02), 14.5 / np.e, 14.5 / np.e**2], rtol=1e-12)
    fits = pd.read_csv(DOCS / "radial" / "pythia.csv")
    of_all = fits[(fits["law_from"] == "small models") & (fits["fitted_to"].str.count(r"\+") == 2)]
    assert of_all["burst"].unique().tolist() == [radial.BURST]
    laws = pd.read_csv(DOCS / "radial" / "laws.csv")
    laws = laws[laws["left_out"].isna()].set_index("kind")
    for kind, law in radial.KINDS.items():
        assert law.outward == pytest.approx(laws.loc[kind, "outward"], rel=0.005)
        assert law.valley == pytest.approx(laws.loc[kind, "valley"], rel=0.02)
    matrices = pd.read_csv(DOCS / "direction" / "matrices.csv")
    assert (matrices["as_recorded"] / matrices["noise"]).mean() == pytest.approx(radial.DIRECTION_RATIO, abs=1e-3)


# Reduced theory


def test_growth_per_step_is_what_the_law_says() -> None:
    D, r, eta = sp.symbols("D r eta", positive=True)
    assert sp.simplify(radial.derive_growth() - (D**2 - 2 * r / eta)) == 0
    law, ratio, start = Law(outward=1.5, valley=0.1), 0.8, 0.5
    rates = np.full(400, 0.02)
    run = radial.moments(
        rates, 0 * rates, BETA1, 0.95, start, direction_ratio=ratio, gradient_scale=np.ones(400), law=law
    )
    growth = np.diff(run.rho[300:]) / 0.02**2
    z = 0.02 / np.sqrt(run.rho[300:-1])
    np.testing.assert_allclose(growth, ratio**2 * law.force(z), rtol=2e-3)
    np.testing.assert_allclose(run.s[-1], ratio**2 * stationary_update_rms(BETA1) ** 2, rtol=1e-12)


positive = st.floats(0.05, 5)
derive_equilibrium = functools.cache(radial.derive_equilibrium)
derive_fixed_point = functools.cache(radial.derive_fixed_point)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-4, 3e-2), st.floats(1e-2, 1), positive, positive, st.floats(0.01, 1))
def test_closed_forms_are_the_derived_ones(eta: float, lam: float, D: float, f: float, z_v: float) -> None:
    values = dict(zip(sp.symbols("eta lambda D f z_v", positive=True), (eta, lam, D, f, z_v), strict=True))
    law = Law(outward=f, valley=z_v)
    found = radial.equilibrium_rms(eta, lam, direction_ratio=D, law=law)
    exact = derive_equilibrium()
    assert float(found) == pytest.approx(float(exact["rms"].evalf(40, subs=values)), rel=1e-9)
    steps = radial.relaxation_steps(eta, lam, direction_ratio=D, law=law)
    assert float(steps) == pytest.approx(float(exact["relaxation_steps"].evalf(40, subs=values)), rel=1e-8)


@pytest.mark.parametrize("start", [0.02, 0.8])
def test_the_way_to_equilibrium_takes_the_steps_that_the_closed_form_says(start: float) -> None:
    eta, lam = 3e-3, 0.1
    rates = np.full(8000, eta)
    run = radial.moments(rates, lam * rates, BETA1, 0.95, start, gradient_scale=np.ones(8000))
    rms = np.sqrt(run.rho)
    for step in (1000, 2000, 3000):  # later the way left is short against corrections of order eta lam
        expected = radial.steps_between(start, rms[step], eta, lam)
        assert float(expected) == pytest.approx(step, abs=0.01 * step + 20)
    settled = float(radial.equilibrium_rms(eta, lam))
    there = radial.moments(rates, lam * rates, BETA1, 0.95, settled, gradient_scale=np.ones(8000))
    assert np.sqrt(there.rho[-1]) == pytest.approx(settled, rel=0.01)
    beyond = 1.1 * settled if start < settled else 0.9 * settled
    assert radial.steps_between(start, beyond, eta, lam) == np.inf


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 2), st.floats(1e-3, 2), st.floats(0.02, 1))
def test_steps_are_the_integral_of_one_over_the_flow(start: float, end: float, z_v: float) -> None:
    """Towards equilibrium, and with a minus sign away from it; none where it lies between."""
    eta, lam, law = 2e-3, 0.3, Law(outward=1.4, valley=z_v)
    given = {"direction_ratio": 0.9, "law": law}
    settled = float(radial.equilibrium_rms(eta, lam, **given))
    near = min(abs(rms / settled - 1) for rms in (start, end))
    found = float(radial.steps_between(start, end, eta, lam, **given))
    if (start - settled) * (end - settled) < 0:
        assert found == np.inf
    elif near > 1e-3:

        def pace(rms: float) -> float:
            return 2 * rms / (eta**2 * 0.9**2 * law.force(eta / rms) - 2 * eta * lam * rms**2)

        assert found == pytest.approx(quad(pace, start, end, epsrel=1e-11, limit=400)[0], rel=1e-8, abs=1e-6)


def test_noise_alone_relaxes_as_noise_does() -> None:
    given = {"direction_ratio": 1.0, "law": radial.NOISE}
    assert radial.equilibrium_rms(1e-2, 0.3, **given) == pytest.approx(np.sqrt(1e-2 / 0.6))
    assert radial.relaxation_steps(1e-2, 0.3, **given) == pytest.approx(1 / (2 * 3e-3))
    assert radial.steps_between(0.01, 0.1, 1e-2, 0.3, **given) == pytest.approx(
        np.log((1e-2 / 0.6 - 1e-4) / (1e-2 / 0.6 - 1e-2)) / 6e-3
    )
    with pytest.raises(NoEquilibrium):
        radial.equilibrium_rms(1e-2, 0.0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("eta", "lam", "beta1"), [(1e-3, 0.1, 0.9), (0.03, 1.0, 0.9), (0.2, 1.5, 0.5), (0.01, 0.3, 0.0)]
)
def test_the_recursion_comes_to_rest_at_the_fixed_point(eta: float, lam: float, beta1: float) -> None:
    law = Law(outward=1.7, valley=0.105)
    settled = radial.equilibrium(eta, lam, beta1, direction_ratio=0.8, law=law)
    symbols = sp.symbols("eta alpha beta_1 D f b", positive=True)
    values = dict(zip(symbols, (eta, 1 - eta * lam, beta1, 0.8, law.outward, eta / law.valley), strict=True))
    cubic = [float(each.subs(values)) for each in derive_fixed_point().values()]
    residual = np.polyval(cubic, float(settled.weight_rms))
    assert abs(residual) < 1e-9 * float(settled.weight_rms) ** 3
    rates = np.full(int(40 / (eta * lam)) + 400, eta)
    ones = np.ones(len(rates))
    start = 1.2 * float(settled.weight_rms)
    run = radial.moments(rates, lam * rates, beta1, 0.95, start, direction_ratio=0.8, gradient_scale=ones, law=law)
    rho, p, s = run.rho[-2], run.p[-1], run.s[-1, 0] if run.s.ndim > 1 else run.s[-1]
    assert np.sqrt(rho) == pytest.approx(float(settled.weight_rms), rel=1e-9)
    assert p / np.sqrt(rho * s) == pytest.approx(float(settled.cosine), rel=1e-7, abs=1e-12)
    across = eta * np.sqrt(s * rho - p**2)
    angle = np.arctan2(across, (1 - eta * lam) * rho - eta * p)
    assert float(settled.angular_update) == pytest.approx(angle, rel=1e-9)


def test_the_fixed_point_without_a_push_is_that_of_adamw() -> None:
    settled = radial.equilibrium(1e-2, 0.3, 0.9, direction_ratio=1.0, law=radial.NOISE)
    assert float(settled.weight_rms) == pytest.approx(float(adamw.equilibrium_rms(1e-2, 0.3)), rel=1e-12)
    angle = float(adamw.angular_update_equilibrium(1e-2, 0.3))
    assert float(settled.angular_update) == pytest.approx(angle, rel=1e-12)
    slow = radial.equilibrium(1e-5, 0.1, 0.9)
    assert float(slow.weight_rms) == pytest.approx(float(radial.equilibrium_rms(1e-5, 0.1)), rel=1e-5)


@pytest.mark.parametrize("start", [0.02, 0.6])
def test_a_power_law_of_growth_is_a_bernoulli_equation(start: float) -> None:
    eta, lam, growth, sigma, u = 1e-2, 0.1, 0.3, 0.57, 0.25
    symbols = sp.symbols("eta lambda m C t y_0", positive=True)
    m = 1 - (sigma - u) / 2
    C = eta ** (2 - sigma) * growth
    values = dict(zip(symbols, (eta, lam, m, C, 700.0, start ** (2 * m)), strict=True))
    derived = float(bernoulli.derive_power_law_rms().evalf(30, subs=values))
    found = bernoulli.power_law_rms(700, eta, lam, start, growth=growth, step_exponent=sigma, rms_exponent=u)
    assert float(found) == pytest.approx(derived, rel=1e-10)
    rho = start**2
    for _ in range(1400):  # the differential equation in halves of a step
        z = eta / np.sqrt(rho)
        rho += 0.5 * (-2 * eta * lam * rho + eta**2 * growth * z**-sigma * rho ** (-u / 2))
    assert float(found) == pytest.approx(np.sqrt(rho), rel=1e-3)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("rate", "decay"), [(5.0, 0.1), (1.0, 0.9), (20.0, 0.01), (1e3, 1e-4)])
def test_a_law_far_outside_its_fit_leaves_norms_above_zero(rate: float, decay: float, several: bool) -> None:
    """Rates that rise to that value: the valley would pull inward by more than the direction is long."""
    rates = np.linspace(0.01 * rate, rate, 400)
    rates[:-1] *= 1e-4
    starts = np.array([0.02, 0.5]) if several else 0.02
    column = (slice(None), None) if several else (slice(None),)
    run = radial.moments(rates[column], (decay * rates)[column], 0.9, 0.95, starts)
    assert np.isrealobj(run.rho)
    assert np.isfinite(run.rho).all()
    assert (run.rho > 0).all()


def test_beside_a_norm_that_is_held_above_zero_others_are_as_if_alone() -> None:
    """The account of the norm closes at every step, and p is at most the root of rho s (Cauchy and Schwarz); what is
    left of a norm that would fall below zero is what a step along the weights leaves, and 1e-12 of the norm before."""
    rates = np.stack([np.linspace(0.2, 20, 400), np.full(400, 1e-2)], axis=1)
    rates[:-1, 0] *= 1e-4
    starts = np.array([0.02, 0.5])
    both = radial.moments(rates, 0.01 * rates, 0.9, 0.95, starts)
    for place, start in enumerate(starts):
        alone = radial.moments(rates[:, place], 0.01 * rates[:, place], 0.9, 0.95, start)
        np.testing.assert_allclose(both.rho[:, place], alone.rho, rtol=1e-13)
        rho, p, s = alone.rho, alone.p, alone.s
        kept, eta = 1 - 0.01 * rates[:, place], rates[:, place]
        assert np.all(p**2 <= rho[:-1] * s * (1 + 1e-12))
        account = kept**2 * rho[:-1] - 2 * kept * eta * p + eta**2 * s
        np.testing.assert_allclose(rho[1:], account, rtol=1e-9)
        held = p >= np.sqrt(rho[:-1] * s) * (1 - 1e-12)
        assert held.any() == (place == 0)
    norms, means = radial._above_zero(np.array([-1.0, 0.0, 0.5]), np.array([9.0, 9.0, 9.0]), 4.0, 1.0, 0.5, 1.0)
    np.testing.assert_allclose(norms, [4e-12, 4e-12, 0.5], rtol=1e-12)  # 0.5 of the weights less a step as long
    assert means.tolist() == [2.0, 2.0, 9.0]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("gradient_scale", np.ones(7)),
        ("gradient_scale", np.zeros(50)),
        ("gradient_scale", 2.0),
        ("direction_ratio", -1.0),
        ("direction_ratio", np.ones(7)),
        ("initial_rms", 0.0),
        ("initial_rms", [0.02, 0.0]),
    ],
)
def test_bad_input(name: str, bad: object) -> None:
    rates = np.full(50, 1e-3)
    given = {"initial_rms": 0.02, **{name: bad}}
    with pytest.raises(InvalidParameter, match=name):
        radial.moments(rates, 0.1 * rates, BETA1, BETA2, **given)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="valley"):
        Law(outward=1.0, valley=0.0)


# Somebody else's runs


@pytest.mark.parametrize("run", ["pythia_lr1e-3_wd0.01_seed4", "pythia_lr1e-3_wd0.05", "pythia_lr3e-4_matrices"])
def test_pythia_with_predicted_direction(run: str) -> None:
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if root is None:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: github.com/tiexinding/NPM-Weibull-public is not here")
    folder = Path(root) / "npm_weibull"
    setting = pd.read_csv(folder / "runs.csv").set_index("run").loc[run]
    table = pd.read_csv(folder / f"{run}.csv")
    if "matrix" in table:
        table = (
            table.assign(square=table["num_entries"] * table["weight_rms"] ** 2).groupby("step", as_index=False).sum()
        )
        table["weight_rms"] = np.sqrt(table["square"] / table["num_entries"])
    schedule = Cosine(num_steps=int(setting["num_steps"]), warmup_steps=200, final_fraction=0.1)
    rates = setting["learning_rate"] * schedule.multipliers()
    found = radial.moments(rates, setting["weight_decay"] * rates, BETA1, BETA2, table["weight_rms"].iloc[0])
    error = np.abs(np.sqrt(found.rho[table["step"]]) / table["weight_rms"] - 1)
    late = table["step"] >= 5000
    assert error[~late].max() < 0.2
    assert error[late].max() < 0.1
