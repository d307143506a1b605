r"""How long the transient lasts: in closed form, under a schedule, and over whole grids of settings.

The transient ends at `transient_steps`: the first step after which the weight RMS stays within a tolerance (5 %) of the
equilibrium of the peak rate (`theory.predict`). At constant rate, slow limit,

.. math::
   t_* = \frac{1}{2\eta\lambda}\,\ln\frac{|1-y|}{|1-f^2|}, \qquad
   y = \frac{2\lambda\,\mathrm{RMS}_0^2}{\eta}, \quad f = 1 \mp \mathrm{tolerance}

with the sign of the side that the RMS starts from. Under a schedule the natural clock is the decay time
:math:`2\kappa(t) = 2\lambda\int_0^t\eta`, in which the start is forgotten like :math:`e^{-2\kappa}`. The formula read
in decay time, :math:`\int_0^{t_*} s = t_*^{const}`, is exact on a hold. A warmup of :math:`T_w` steps deposits a third
of its length in the norm and not half, which delays the end by :math:`T_w/6` steps if the warmup is shorter than a
relaxation time; a longer one takes the norm along, and the transient ends with it. `slow_transient_steps` has both.

**Contours.** A run of T steps spends the fraction F of it in the transient on two curves in the plane of learning rate
and weight decay, with n the number of relaxation times as the parameter (derived here):

.. math::
   y = 1 - |1-f^2|\,e^{Fn} \;(\text{starts below}), \quad y = 1 + |1-f^2|\,e^{Fn} \;(\text{starts above}), \qquad
   \eta = \mathrm{RMS}_0\sqrt{\frac{n}{Ty}}, \quad \lambda = \frac{n}{2\eta T}

Between them lie settings that start within the tolerance and have no transient.

Assumptions: those of `theory.adamw`; `run_grid` has no slow limit in it, the closed forms have.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import adamw, momentum, network_grid, slow_norm
from theory.checks import InvalidParameter, require_number
from theory.networks import WHITE_NOISE, NetworkLike, as_network
from theory.roots import root_between
from theory.schedules import Schedule, ScheduleLike, as_schedule
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

MESH = 257  # times per segment in the search for the end of a transient
BLOCK = 4_096  # settings that advance together; with four steps of them what fits a cache


def forgetting_steps(
    schedule: ScheduleLike, remainder: ArrayLike, *, learning_rate: ArrayLike, weight_decay: ArrayLike
) -> Array:
    r"""Steps until :math:`e^{-2\kappa}`, the weight of the start in the squared RMS, is down to ``remainder``.

    ``remainder`` in (0, 1]; all arguments broadcast. inf where the run ends before.
    """
    left = np.asarray(remainder, np.float64)
    if not np.all((left > 0) & (left <= 1)):
        raise InvalidParameter("remainder", remainder, "above 0 and at most 1")
    return as_schedule(schedule).time_at_integral(-np.log(left) * adamw.relaxation_steps(learning_rate, weight_decay))


def decay_time_transient_steps(
    schedule: ScheduleLike,
    *,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_rms: ArrayLike,
    tolerance: float = 0.05,
) -> Array:
    """The formula for a constant rate, read in decay time; inf where the run ends before. Good while the rate does
    not decay: see the module for its error."""
    constant = adamw.slow_transient_steps(learning_rate, weight_decay, initial_rms, tolerance)
    return as_schedule(schedule).time_at_integral(constant)


def slow_transient_steps(
    schedule: ScheduleLike, *, learning_rate: float, weight_decay: float, initial_rms: float, tolerance: float = 0.05
) -> float:
    """End of the transient under any schedule, from the closed form of the norm; inf if there is none.

    The definition of `theory.settling.transient_steps` in continuous time. Excursions shorter than 1/256 of a segment
    are not seen.
    """
    require_number("tolerance", tolerance, above=0, below=1)
    schedule, target = as_schedule(schedule), np.sqrt(learning_rate / (2 * weight_decay))

    def beyond(x: Array) -> Array:
        """How far outside the tolerance."""
        rms = slow_norm.weight_rms(
            schedule, x, learning_rate=learning_rate, weight_decay=weight_decay, initial_rms=initial_rms
        )
        return np.abs(rms / target - 1) - tolerance

    ends = np.cumsum([0, *(segment.length for segment in schedule.segments())])
    mesh = np.unique(np.concatenate([np.linspace(a, b, MESH) for a, b in pairwise(ends)]))
    out = beyond(mesh) > 0
    peak_end = int(np.searchsorted(mesh, schedule.peak_end))
    if not out[peak_end]:
        before = np.flatnonzero(out[: peak_end + 1])
        if before.size == 0:
            return 0.0
        last = before[-1]
    else:
        after = np.flatnonzero(~out[peak_end:])
        if after.size == 0:
            return np.inf
        last = peak_end + after[0] - 1
    return float(root_between(beyond, mesh[last], mesh[last + 1]))


def transient_fraction(
    num_steps: ArrayLike,
    *,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_rms: ArrayLike,
    tolerance: float = 0.05,
) -> Array:
    """Share of a run at constant rate that is spent before equilibrium, at most 1; slow limit."""
    steps = adamw.slow_transient_steps(learning_rate, weight_decay, initial_rms, tolerance)
    return np.minimum(steps / np.asarray(num_steps, np.float64), 1.0)


def derive_contour() -> dict[str, dict[str, sp.Expr]]:
    r"""Learning rate and weight decay at which the transient takes the fraction F of T steps, from an RMS of R_0.

    Two curves, ``start below equilibrium`` and ``start above equilibrium``, each with its ``learning_rate`` and
    ``weight_decay``. The parameter along them is n, the relaxation times in the run; epsilon is :math:`|1-f^2|` where f
    is one minus the tolerance (below) or one plus it (above).
    """
    F, n, T, edge, rms0, eta, lam, y = positive("F n T epsilon R_0 eta lambda y")
    branches = {}
    for name, side in (("start below equilibrium", 1 - y), ("start above equilibrium", y - 1)):
        (start,) = sp.solve(sp.Eq(side, edge * sp.exp(F * n)), y)
        (solution,) = sp.solve([2 * lam * rms0**2 - start * eta, 2 * eta * lam * T - n], [eta, lam], dict=True)
        branches[name] = {"learning_rate": sp.simplify(solution[eta]), "weight_decay": sp.simplify(solution[lam])}
    return branches


def transient_contour(
    fraction: float,
    *,
    num_steps: int,
    initial_rms: float,
    tolerance: float = 0.05,
    num_relaxations: ArrayLike | None = None,
) -> dict[str, tuple[Array, Array]]:
    """Where a run at constant rate spends ``fraction`` of its steps in the transient.

    Returns (learning rates, weight decays), each (num_points,), for starts ``below`` and ``above`` equilibrium.
    ``num_relaxations`` (num_points,) is the parameter along the curves, by default 200 values that cover them; a value
    that the branch below does not reach is left out there.
    """
    require_number("fraction", fraction, above=0, at_most=1)
    require_number("tolerance", tolerance, above=0, below=1)
    require_number("initial_rms", initial_rms, above=0)
    below, above = 1 - (1 - tolerance) ** 2, (1 + tolerance) ** 2 - 1
    longest = -np.log(below) / fraction  # where a start of zero norm takes exactly so long
    default = np.concatenate([np.geomspace(1e-3, 1, 100) * longest, longest * (1 - np.geomspace(1e-6, 0.5, 100))])
    count = np.sort(default if num_relaxations is None else np.asarray(num_relaxations, np.float64))
    curves = {}
    for name, start in (
        ("below", 1 - below * np.exp(fraction * count)),
        ("above", 1 + above * np.exp(fraction * count)),
    ):
        reached = start > 1e-12
        rate = initial_rms * np.sqrt(count[reached] / (num_steps * start[reached]))
        curves[name] = (rate, count[reached] / (2 * rate * num_steps))
    return curves


@dataclass(frozen=True, kw_only=True)
class GridRun:
    """What was kept of a grid of runs. Arrays have the shape of the settings, records one axis more, in front.

    ``transient_steps``: inf where the run ends before, or has no equilibrium; ``transient_fraction``: of the run, at
    most 1; ``total_angle``: sum of the angular updates, None if not asked for; ``steps`` (num_records,);
    ``weight_rms``, ``angular_update`` (num_records, ...): at those steps, with the meaning of `Trajectory`;
    ``final_rms``: after the last step; ``final_angular_update``: of the last step, radians.
    """

    num_relaxations: Array
    transient_steps: Array
    transient_fraction: Array
    final_rms: Array
    final_angular_update: Array
    total_angle: Array | None
    steps: NDArray[np.int64]
    weight_rms: Array
    angular_update: Array


def run_grid(
    schedule: ScheduleLike,
    *,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_rms: ArrayLike,
    beta1: float = 0.9,
    beta2: float = 0.95,
    tolerance: float = 0.05,
    steps: ArrayLike = (),
    total_angle: bool = False,
    network: NetworkLike = WHITE_NOISE,
) -> GridRun:
    """The exact recursion of `theory.adamw` for many settings at once, in memory that does not grow with the steps.

    ``learning_rate`` (peak), ``weight_decay`` (0 allowed) and ``initial_rms`` broadcast. ``steps``: 0-based steps to
    record, increasing. ``total_angle`` costs about as much as everything else. ``network``: another than white noise
    takes its own recursion and equilibrium, and longer. Raises `InvalidParameter`.
    """
    require_number("tolerance", tolerance, above=0, below=1)
    schedule, network = as_schedule(schedule), as_network(network)
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "initial_rms": initial_rms}
    if empty := [name for name, values in given.items() if not np.size(values)]:
        raise InvalidParameter(empty[0], given[empty[0]], "at least one number")
    settings = np.broadcast_arrays(*(np.asarray(values, np.float64) for values in given.values()))
    shape, (eta, lam, initial) = settings[0].shape, (v.ravel() for v in settings)
    for name, values, allowed in (
        ("learning_rate", eta, eta > 0),
        ("weight_decay", lam, (lam >= 0) & (eta * lam < 1)),
        ("initial_rms", initial, initial > 0),
    ):
        if not np.all(np.isfinite(values) & allowed):
            raise InvalidParameter(name, values[~(np.isfinite(values) & allowed)][0], "a finite number in its range")
    records = np.asarray(steps, dtype=np.int64)
    if np.any((records < 0) | (records >= schedule.num_steps)) or np.any(np.diff(records) <= 0):
        raise InvalidParameter("steps", steps, f"increasing, between 0 and {schedule.num_steps - 1}")
    if network != WHITE_NOISE:
        blocks = [network_grid.advance(network, schedule, eta, lam, initial, beta1, beta2, tolerance, records)]
    else:
        blocks = [
            _advance(schedule, eta[i], lam[i], initial[i], beta1, beta2, tolerance, records, total_angle)
            for i in (slice(k, k + BLOCK) for k in range(0, eta.size, BLOCK))
        ]
    whole = {key: np.concatenate([block[key] for block in blocks], axis=-1) for key in blocks[0]}
    whole = {key: values.reshape((*values.shape[:-1], *shape)) for key, values in whole.items()}
    decay = 2 * settings[0] * settings[1] * float(schedule.integral(schedule.num_steps))
    return GridRun(
        num_relaxations=decay,
        transient_fraction=np.minimum(whole["transient_steps"] / schedule.num_steps, 1.0),
        total_angle=whole.pop("total_angle") if total_angle else None,
        steps=records,
        **{key: values for key, values in whole.items() if key != "total_angle"},
    )


def _advance(
    schedule: Schedule,
    eta: Array,
    lam: Array,
    initial: Array,
    beta1: float,
    beta2: float,
    tolerance: float,
    records: NDArray[np.int64],
    total_angle: bool,
) -> dict[str, Array]:
    """`run_grid` for one block of settings, shape (num_settings,) each; two numbers per setting move along."""
    multipliers, num_steps, peak_end = schedule.multipliers(), schedule.num_steps, schedule.peak_end
    drive = momentum.drive(num_steps, beta1, beta2)
    ((entry, carry),) = drive.modes()
    low, high = _band(eta, lam, beta1, tolerance)
    rho, p, shrink_peak = initial**2, np.zeros_like(eta), eta * lam
    last_outside, first_inside = np.full(eta.shape, -1.0), np.full(eta.shape, np.inf)
    turned, kept = np.zeros_like(eta), []

    def watch(first: int, rows: Array) -> None:
        """The squares (num, num_settings) before the steps from ``first`` on."""
        outside = ~((rows >= low) & (rows <= high))
        early, late = np.split(outside, [max(0, peak_end + 1 - first)])
        if len(early):
            end = first + len(early) - 1
            last_outside[early[-1]] = end
            came = np.flatnonzero(early.any(axis=0) & ~early[-1])  # in these few rows, and few settings do
            last_outside[came] = end - early[::-1, came].argmax(axis=0)
        if len(late):
            came = np.flatnonzero(np.isinf(first_inside) & ~late.all(axis=0))
            first_inside[came] = first + len(early) + late[:, came].argmin(axis=0)

    length = 4 * BLOCK // eta.size  # steps at once: what does not depend on the norm is ready before them
    for first in range(0, num_steps, length):
        part = np.arange(first, min(first + length, num_steps))
        rates, s = eta * multipliers[part, None], drive.variance[part, None]
        alpha = 1 - shrink_peak * multipliers[part, None]
        twice, grown = 2 * rates, rates * rates * s
        passed_on, entered = carry[part, None] * alpha, entry[part, None] * rates
        squares, products = np.empty_like(rates), np.empty_like(rates)
        for k in range(len(part)):
            squares[k], products[k] = rho, p
            rho = alpha[k] * (alpha[k] * rho - twice[k] * p) + grown[k]
            p = passed_on[k] * p - entered[k]
        watch(first, squares)
        asked = np.isin(part, records)
        which = np.flatnonzero(asked | total_angle | (part == num_steps - 1))
        rows, pulls, step = squares[which], products[which], rates[which]
        turns = np.arctan2(step * np.sqrt(rows * s[which] - pulls * pulls), alpha[which] * rows - step * pulls)
        asked = asked[which]
        kept.append((np.sqrt(rows[asked]), turns[asked]))
        if total_angle:
            for turn in turns:
                turned += turn
    watch(num_steps, rho[None])
    settled = np.where(last_outside < schedule.peak_end, last_outside + 1, first_inside)
    return {
        "transient_steps": settled,
        "final_rms": np.sqrt(rho),
        "final_angular_update": turns[-1],
        "total_angle": turned,
        "weight_rms": np.concatenate([rms for rms, _ in kept]),
        "angular_update": np.concatenate([turn for _, turn in kept]),
    }


def _band(eta: Array, lam: Array, beta1: float, tolerance: float) -> tuple[Array, Array]:
    """Squared RMS between which the norm counts as settled; infinite without weight decay."""
    target, decaying = np.full(eta.shape, np.inf), lam > 0
    target[decaying] = adamw.equilibrium_rms(eta[decaying], lam[decaying], beta1)
    return ((1 - tolerance) * target) ** 2, ((1 + tolerance) * target) ** 2


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
