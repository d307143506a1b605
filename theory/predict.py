"""From a specification to a predicted trajectory: the theory's side of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import adamh
from theory.checks import InvalidParameter, require_magnitude, require_number
from theory.models import Equilibrium, FedBack, Moments, OnSphere
from theory.networks import WHITE_NOISE, Model, NetworkLike, model_of
from theory.optimizers import AdamC, AdamH, AdamL2, AdamW, Optimizer
from theory.schedules import Schedule, ScheduleLike, as_schedule
from theory.settling import decay_time_steps, settles, steps_to_equilibrium, transient_steps
from theory.trajectory import Trajectory, record_steps

Array = NDArray[np.float64]

MEMORY = 2000  # steps that are run before a norm is taken to relax exponentially: the start of the averages is over


def equilibrium(
    optimizer: Optimizer,
    *,
    initial_rms: float,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
    network: NetworkLike = WHITE_NOISE,
) -> Equilibrium:
    """Equilibrium at the peak learning rate; ``initial_rms`` matters on the sphere only, which keeps it.

    The other keywords are those of `theory.networks.model_of`. Raises `NoEquilibrium` at zero weight decay.

    Examples
    --------
    Four times the learning rate at the same product with the decay: another norm, the same rotation.

    >>> from theory import AdamW, equilibrium
    >>> for rate, decay in ((1e-3, 0.1), (4e-3, 0.025)):
    ...     settled = equilibrium(AdamW(learning_rate=rate, weight_decay=decay), initial_rms=0.02)
    ...     print(f"RMS {settled.weight_rms:.4f}, {settled.angular_update:.6f} rad per step")
    RMS 0.0707, 0.003245 rad per step
    RMS 0.2827, 0.003245 rad per step
    """
    model = model_of(optimizer, network, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=shape)
    return model.equilibrium(float(_positive("initial_rms", initial_rms)))


def predict_trajectory(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    initial_rms: ArrayLike,
    matrices: Sequence[str] = ("matrix",),
    record_every: int = 1,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
    network: NetworkLike = WHITE_NOISE,
) -> Trajectory:
    """The trajectory that a network of that kind would give, white noise by default, by its second-moment recursion.

    Parameters
    ----------
    initial_rms : weight RMS at the start, above 0; scalar or (num_matrices,).
    matrices : names, one per matrix.
    record_every : thinning; the last step is always recorded.
    finite_beta2, gradient_rms, shape, network : see `theory.networks.model_of`.

    Raises
    ------
    InvalidParameter : an initial RMS that is not a positive number.

    Examples
    --------
    A small start: the norm grows to its equilibrium, and the angle per step falls to its own.

    >>> from theory import AdamW, Constant, predict_trajectory
    >>> optimizer = AdamW(learning_rate=1e-3, weight_decay=0.1)
    >>> run = predict_trajectory(optimizer, Constant(num_steps=20_000), initial_rms=0.02, record_every=5000)
    >>> run.steps.tolist()
    [0, 5000, 10000, 15000, 19999]
    >>> run.weight_rms[:, 0].round(4).tolist()
    [0.02, 0.0575, 0.0661, 0.069, 0.0701]
    >>> run.angular_update[:, 0].round(4).tolist()
    [0.05, 0.004, 0.0035, 0.0033, 0.0033]
    """
    initial = np.broadcast_to(_positive("initial_rms", initial_rms), (len(matrices),))
    schedule = as_schedule(schedule)
    model = model_of(optimizer, network, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=shape)
    rates = optimizer.learning_rate * schedule.multipliers()
    keep = record_steps(schedule.num_steps, record_every)
    return _trajectory(model, model.moments(rates, initial), keep, matrices)


def final_rms(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    initial_rms: float,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
    network: NetworkLike = WHITE_NOISE,
) -> float:
    """Weight RMS after the last step (a `Trajectory` holds the one before it)."""
    initial = _positive("initial_rms", initial_rms).reshape(1)
    model = model_of(optimizer, network, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=shape)
    rates = optimizer.learning_rate * as_schedule(schedule).multipliers()
    return float(np.sqrt(model.moments(rates, initial).rho[-1, 0]))


def num_relaxations(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    network: NetworkLike = WHITE_NOISE,
) -> float | None:
    r"""Relaxation times that fit in the run, :math:`2\lambda\sum_t\eta_t` for AdamW; None on the sphere.

    Each step counts as one over the relaxation time at its rate.
    """
    model = model_of(optimizer, network, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=(1, 1))
    return model.num_relaxations(optimizer.learning_rate * as_schedule(schedule).multipliers())


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The closed form for one setting, under the project's names; None where a quantity does not exist.

    transient_steps : first step after which the RMS is within the tolerance of the equilibrium of the peak rate.
    reaches_equilibrium : whether the run is long enough for it, by `reaches_equilibrium`.
    steps_to_equilibrium : steps at the peak rate that it takes, in this run or beyond it, by `steps_to_equilibrium`.
    adamh_learning_rate : rate of the AdamH that turns by ``angular_update_equilibrium``, by `adamh_learning_rate`.
    """

    equilibrium_rms: float
    relaxation_steps: float | None
    num_relaxations: float | None
    transient_steps: int | None
    reaches_equilibrium: bool
    steps_to_equilibrium: float | None
    angular_update_equilibrium: float
    adamh_learning_rate: float | None
    final_rms: float
    final_angular_update: float


@overload
def predict(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    initial_rms: float,
    tolerance: float = 0.05,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
    network: NetworkLike = WHITE_NOISE,
) -> Prediction: ...


@overload
def predict(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    initial_rms: Sequence[float] | Array,
    tolerance: float = 0.05,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
    network: NetworkLike = WHITE_NOISE,
) -> tuple[Prediction, ...]: ...


def predict(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    initial_rms: float | Sequence[float] | Array,
    tolerance: float = 0.05,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
    network: NetworkLike = WHITE_NOISE,
) -> Prediction | tuple[Prediction, ...]:
    """Equilibrium, transient and end of one run, or of several that differ in their initial RMS, in that order.

    The keywords after ``tolerance`` are those of `model_of`. Raises `NoEquilibrium` at zero weight decay, and
    `InvalidParameter` for an ``initial_rms`` not above 0 or a ``tolerance`` outside (0, 1).

    Examples
    --------
    A constant rate has four relaxation times in 20,000 steps and is within 5 % of its equilibrium after 56 % of them.
    A cosine has two, and never gets there.

    >>> from theory import AdamW, Constant, Cosine, predict
    >>> optimizer = AdamW(learning_rate=1e-3, weight_decay=0.1)
    >>> for schedule in (Constant(num_steps=20_000), Cosine(num_steps=20_000)):
    ...     run = predict(optimizer, schedule, initial_rms=0.02)
    ...     print(f"{run.num_relaxations:.1f}", run.transient_steps, f"{run.equilibrium_rms:.4f} {run.final_rms:.4f}")
    4.0 11210 0.0707 0.0701
    2.0 None 0.0707 0.0519

    Rates of your own, and several starts; the longest transient would end long after the run.

    >>> [run.steps_to_equilibrium for run in predict(optimizer, [1.0] * 9000, initial_rms=[0.02, 0.07, 0.7])]
    [11210.0, 0.0, 34268.0]
    """
    starts = _positive("initial_rms", initial_rms)
    require_number("tolerance", tolerance, above=0, below=1)
    schedule = as_schedule(schedule)
    model = model_of(optimizer, network, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=shape)
    last = np.array([schedule.num_steps - 1])
    predictions, _ = _predicted(model, optimizer, schedule, starts.reshape(-1), tolerance, last)
    return predictions[0] if starts.ndim == 0 else predictions


def predict_run(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    initial_rms: float,
    tolerance: float = 0.05,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
    network: NetworkLike = WHITE_NOISE,
) -> tuple[Prediction, Trajectory]:
    """`predict` and `predict_trajectory` of one matrix, every step recorded, at the cost of one of them.

    Raises what `predict` does.
    """
    start = _positive("initial_rms", initial_rms).reshape(1)
    require_number("tolerance", tolerance, above=0, below=1)
    schedule = as_schedule(schedule)
    model = model_of(optimizer, network, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=shape)
    (prediction,), run = _predicted(model, optimizer, schedule, start, tolerance, record_steps(schedule.num_steps))
    return prediction, run


def _predicted(
    model: Model, optimizer: Optimizer, schedule: Schedule, initial: Array, tolerance: float, keep: NDArray[np.int64]
) -> tuple[tuple[Prediction, ...], Trajectory]:
    """The predictions of runs from (num_starts,) RMS, and their records at the steps ``keep``, whose last is that of
    the run."""
    rates = optimizer.learning_rate * schedule.multipliers()
    moments = model.moments(rates, initial)
    runs = np.sqrt(moments.rho)
    lasting = decay_time_steps(rates)
    at_peak = np.sqrt(model.moments(np.full(max(lasting, MEMORY), float(rates.max())), initial).rho)
    recorded = _trajectory(model, moments, keep, [""] * len(initial) if len(initial) > 1 else ("matrix",))
    power = model.power if isinstance(model, FedBack) else 1.0
    predictions = []
    for column, start in enumerate(initial.tolist()):
        settled = model.equilibrium(start)
        rms, at = runs[:, column], settled.weight_rms
        prediction = Prediction(
            equilibrium_rms=at,
            relaxation_steps=settled.relaxation_steps,
            num_relaxations=model.num_relaxations(rates),
            transient_steps=transient_steps(rms, at, peak_end=schedule.peak_end, tolerance=tolerance),
            reaches_equilibrium=settles(at_peak[:, column], lasting, settled, tolerance),
            steps_to_equilibrium=steps_to_equilibrium(at_peak[:, column], settled, tolerance=tolerance, power=power),
            angular_update_equilibrium=settled.angular_update,
            adamh_learning_rate=adamh_learning_rate(optimizer, settled.angular_update),
            final_rms=float(rms[-1]),
            final_angular_update=float(recorded.angular_update[-1, column]),
        )
        predictions.append(prediction)
    return tuple(predictions), recorded


def adamh_learning_rate(optimizer: Optimizer, angle: float) -> float | None:
    """Learning rate at which AdamH turns by an equilibrium angle, None where it cannot: of the same beta1 as another
    Adam, of its own default beta1 for other optimizers. Under a schedule AdamH's angle goes like its rate, AdamW's like
    the root of its own."""
    if isinstance(optimizer, AdamH):
        return optimizer.learning_rate
    beta1 = optimizer.beta1 if isinstance(optimizer, AdamW | AdamC | AdamL2) else AdamH.beta1
    rate = float(adamh.learning_rate_of_angle(angle, beta1))
    return rate if np.isfinite(rate) else None


def _trajectory(model: Model, moments: Moments, keep: NDArray[np.int64], matrices: Sequence[str]) -> Trajectory:
    """The records at the steps ``keep`` of a run."""
    columns = (len(keep), len(matrices))
    rho, p, s, step, shrinkage = (np.broadcast_to(each[keep], columns) for each in moments)
    across = np.sqrt(np.maximum(rho * s - p**2, 0))  # rounding, where u lies along W
    angle = np.arctan2(step * across, (1 - shrinkage) * rho - step * p)
    if isinstance(model, OnSphere):
        relative = 2 * np.sin(angle / 2)
    else:
        relative = np.sqrt(shrinkage**2 + (2 * shrinkage * step * p + step**2 * s) / rho)
    return Trajectory(
        steps=keep,
        matrices=tuple(matrices),
        weight_rms=np.sqrt(rho),
        angular_update=angle,
        relative_update=relative,
        update_rms=np.sqrt(s),
        cosine=p / np.sqrt(rho * s),
    )


def _positive(name: str, value: ArrayLike) -> Array:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        allowed = "a finite number above 0; that of equilibrium is theory.equilibrium(...).weight_rms"
        raise InvalidParameter(name, value, allowed) from None
    if not np.all(np.isfinite(array) & (array > 0)):
        raise InvalidParameter(name, value, "a finite number above 0")
    for number in (array.min(initial=1.0), array.max(initial=1.0)):
        require_magnitude(name, float(number))
    return array


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
