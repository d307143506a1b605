"""A parameter is taken at the edge of its range and refused beyond it, by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from theory import (
    OPTIMIZERS,
    WSD,
    AdamW,
    Constant,
    CosineRestarts,
    InvalidParameter,
    Linear,
    Muon,
    Optimizer,
    Tabulated,
    effective_lr,
    muon,
    predict,
    second_moment,
    slopes,
    transient,
)
from theory.angle_law import EXAMPLE, Setting
from theory.bernoulli import power_law_rms
from theory.loss_laws import condense
from theory.models import model_of
from theory.networks import DirectionHistory, EarlyGradients, Network
from theory.optimal_lr import law_with_optimum, optimal_learning_rate
from theory.radial import Law
from theory.regression import PowerLawRegression
from theory.settling import transient_steps
from theory.slow_norm import slow_angular_updates
from theory.transient_map import slow_transient_map
from theory.valley import Valley, direction_ratio
from theory.varying_scale import ExactDirection

NEXT = 1e-9  # beside an edge
RUN = Constant(num_steps=10)
SETTING = Setting(num_params=1e8, num_tokens=1e10, schedule=Constant(num_steps=1000))
SPHERE = ("adamh", "muonh")
ADAM = AdamW(learning_rate=1e-3, weight_decay=0.1)
SLOW = {"learning_rate": 1e-3, "weight_decay": 0.1, "initial_rms": 0.02}
VALLEY = Valley(beta1=0.9, curvatures=np.array([0.1]), shares=np.array([1.0]))
REGRESSION = PowerLawRegression(num_features=4)


def optimizer(name: str, **given: float) -> Optimizer:
    decayed = {} if name in SPHERE else {"weight_decay": 0.1}
    return OPTIMIZERS[name](**{"learning_rate": 1e-3, **decayed, **given})


def calls() -> list[tuple[str, Callable[[float], object], list[float], list[float]]]:
    """Parameter, what takes it, values at the edges of its range, values beyond them."""
    found: list[tuple[str, Callable[[float], object], list[float], list[float]]] = []

    def add(name: str, call: Callable[[float], object], inside: list[float], outside: list[float]) -> None:
        found.append((name, call, inside, outside))

    def above(name: str, call: Callable[[float], object], bound: float = 0.0) -> None:
        add(name, call, [bound + 0.01], [bound])

    def share(name: str, call: Callable[[float], object], low: float = 0.0) -> None:
        """From ``low``, which is taken, up to 1, which is not."""
        add(name, call, [low, 1 - 1e-3], [low - NEXT, 1.0])

    for name in ("C1", "a1", "C2", "a2", "B2", "reference_params", "reference_batch", "noise_batch"):
        above(name, lambda v, name=name: replace(EXAMPLE, **{name: v}))
    add("B1", lambda v: replace(EXAMPLE, B1=v), [0.0], [-NEXT])
    for name in ("num_params", "num_tokens", "tokens_per_step", "initial_rms", "direction_ratio"):
        above(name, lambda v, name=name: replace(SETTING, **{name: v}))
    add("weight_decay", lambda v: replace(SETTING, weight_decay=v), [0.0], [-NEXT])
    share("beta1", lambda v: replace(SETTING, beta1=v))
    add("loss_resolution", lambda v: optimal_learning_rate(EXAMPLE, SETTING, loss_resolution=v), [0.0], [-NEXT])
    above("widest", lambda v: optimal_learning_rate(EXAMPLE, SETTING, widest=v), 1.0)
    above("learning_rate", lambda v: law_with_optimum(EXAMPLE, SETTING, v))

    for kind in OPTIMIZERS:
        above("learning_rate", lambda v, kind=kind: optimizer(kind, learning_rate=v))
        share("beta1", lambda v, kind=kind: optimizer(kind, beta1=v))
        if kind not in SPHERE:
            add("weight_decay", lambda v, kind=kind: optimizer(kind, weight_decay=v), [0.0, 999.0], [-NEXT, 1000.0])
    for kind in ("adamw", "adamh", "adamc", "adam-l2", "lion"):
        share("beta2", lambda v, kind=kind: optimizer(kind, beta2=v))
    for kind in ("adamw", "adamh", "adamc", "adam-l2"):
        add("eps", lambda v, kind=kind: optimizer(kind, eps=v), [0.0], [-NEXT])
    ratio = {"learning_rate": 1e-3, "weight_decay": 0.1, "scale": "moonlight"}
    add("update_ratio", lambda v: Muon(**ratio, update_ratio=v), [1e-3, 1e3], [0.99e-3, 1000.5])

    add("factor", lambda v: EarlyGradients(factor=v, steps=1.0), [0.01, 1e6], [0.0, 1e6 + 0.5])
    above("steps", lambda v: EarlyGradients(factor=1.0, steps=v))
    edges = [1e-3, 1e3], [0.99e-3, 1000.5]
    add("ratios", lambda v: DirectionHistory(steps=(0,), ratios=(v,)), *edges)
    add("steps", lambda v: DirectionHistory(steps=(int(v),), ratios=(1.0,)), [0], [-1])
    add("direction_ratio", lambda v: Network(name="white-noise", direction_ratio=v), *edges)
    above("outward", lambda v: Law(outward=v, valley=1.0))
    above("valley", lambda v: Law(outward=1.0, valley=v))

    add("num_features", lambda v: replace(REGRESSION, num_features=v), [2, 2**24], [1, 2**24 + 1])
    add("batch_size", lambda v: replace(REGRESSION, batch_size=v), [1, 2**31], [0, 2**31 + 1])
    add("spectrum_exponent", lambda v: replace(REGRESSION, spectrum_exponent=v), [0.0, 4.0], [-NEXT, 4.01])
    add("target_exponent", lambda v: replace(REGRESSION, target_exponent=v), [1.01, 8.0], [1.0, 8.01])
    add("label_noise", lambda v: replace(REGRESSION, label_noise=v), [0.0], [-NEXT])

    add("warmup_steps", lambda v: Linear(num_steps=10, warmup_steps=v), [0, 10], [-1, 11])
    add("num_steps", lambda v: Constant(num_steps=v), [1], [0])
    add("final_fraction", lambda v: Linear(num_steps=10, final_fraction=v), [0.0, 1.0], [-NEXT, 1 + NEXT])
    add("decay_fraction", lambda v: WSD(num_steps=10, decay_fraction=v), [0.0, 1.0], [-NEXT, 1 + NEXT])
    add("num_cycles", lambda v: CosineRestarts(num_steps=10, warmup_steps=3, num_cycles=v), [1, 7], [0, 8])
    for warmup in (3, 4):
        add("num_cycles", lambda v, w=warmup: CosineRestarts(num_steps=4, warmup_steps=w, num_cycles=v), [1], [2])
    add("steps", lambda v: Tabulated(num_steps=9, steps=(v,), values=(1.0,)), [0], [-1])
    add("values", lambda v: Tabulated(num_steps=9, steps=(0, 1), values=(1.0, v)), [0.0, 1.0], [-NEXT, 1 + NEXT])

    decayed = {"steps": 1, "learning_rate": 1e-3, "weight_decay": 0.1, "initial_rms": 0.02, "growth": 1.0}
    add("step_exponent", lambda v: power_law_rms(**decayed, step_exponent=v), [1.99], [2.0])
    above("dof", lambda v: second_moment.StudentT(dof=v), 2.0)
    for law in (second_moment.autocovariance, lambda beta1, beta2: ExactDirection(1, beta1, beta2)):
        add("beta1", lambda v, law=law: law(v, 0.5), [0.0, 0.5], [-NEXT, 1.0])
        add("beta2", lambda v, law=law: law(0.5, v), [0.1, 0.5], [0.1 - NEXT, 1.0])
    add("aspect", lambda v: muon.weights(3, v), [NEXT, 1.0], [0.0, 1 + NEXT])
    add("num_iterations", lambda v: muon.newton_schulz_rms((4, 4), v), [0], [-1])
    add("shape", lambda v: model_of(optimizer("muon"), shape=(4, v)), [1], [0])
    add("block", lambda v: condense(np.ones(3), block=v), [1], [0])

    add("tolerance", lambda v: predict(ADAM, RUN, initial_rms=0.02, tolerance=v), [0.01, 0.99], [0.0, 1.0])
    add("tolerance", lambda v: transient_steps(np.ones(3), 1.0, peak_end=2, tolerance=v), [0.01, 0.99], [0.0, 1.0])
    add("tolerance", lambda v: transient.slow_transient_steps(RUN, **SLOW, tolerance=v), [0.01, 0.99], [0.0, 1.0])
    add("tolerance", lambda v: transient.run_grid(RUN, **SLOW, tolerance=v), [0.01, 0.99], [0.0, 1.0])
    rows = np.array([1e-3]), np.array([0.1])
    add("tolerance", lambda v: slow_transient_map(RUN, *rows, initial_rms=0.02, tolerance=v), [0.01, 0.99], [0.0, 1.0])
    contour = {"num_steps": 1000, "initial_rms": 0.02}
    add("fraction", lambda v: transient.transient_contour(v, **contour), [0.01, 1.0], [0.0, 1 + NEXT])
    add("tolerance", lambda v: transient.transient_contour(0.5, **contour, tolerance=v), [0.01, 0.99], [0.0, 1.0])
    above("initial_rms", lambda v: transient.transient_contour(0.5, num_steps=1000, initial_rms=v))
    add("deviation", lambda v: slopes.onset_relaxations(1.0, 0.5, v), [0.01, 0.99], [0.0, 1.0])
    add("weight_decay", lambda v: slow_angular_updates([1e-3], weight_decay=v, initial_rms=0.02), [0.0], [-NEXT])
    above("initial_rms", lambda v: slow_angular_updates([1e-3], weight_decay=0.1, initial_rms=v))
    share("beta1", lambda v: slow_angular_updates([1e-3], weight_decay=0.1, initial_rms=0.02, beta1=v))

    for angle in (effective_lr.angle_from_norm_ratio, effective_lr.norm_ratio_from_angle, effective_lr.norm_growth):
        above("update_norm", lambda v, angle=angle: angle(0.1, v))
        add("cosine", lambda v, angle=angle: angle(0.1, 1.0, cosine=v), [NEXT - 1, 1 - NEXT], [-1.0, 1.0])

    add("curvature", lambda v: direction_ratio(v, 0.9, 0.5), [0.0, 1e9], [-NEXT, 1.01e9])
    add("shape", lambda v: direction_ratio(1.0, 0.9, v), [1e-9, 1e9], [0.99e-9, 1.01e9])
    share("beta1", lambda v: replace(VALLEY, beta1=v))
    above("mean", lambda v: Valley.gamma(v, 1.0, 0.9))
    above("shape", lambda v: Valley.gamma(0.1, v, 0.9))
    above("factor", lambda v: VALLEY.moved(factor=v))
    share("beta1", lambda v: VALLEY.moved(beta1=v))
    add("factor", lambda v: VALLEY.scaled(factor=v), [0.0], [-NEXT])
    share("beta1", lambda v: VALLEY.scaled(beta1=v))
    return found


CALLS = calls()


@pytest.mark.parametrize(("name", "call", "inside", "outside"), CALLS, ids=[name for name, *_ in CALLS])
def test_the_edge_is_taken_and_what_is_beyond_it_refused(
    name: str, call: Callable[[float], object], inside: list[float], outside: list[float]
) -> None:
    for value in inside:
        call(value)
    for value in outside:
        with pytest.raises(InvalidParameter, match=f"^{name} = "):
            call(value)
