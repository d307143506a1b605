r"""How much of a bend the angle schedule makes, how much the norm itself, and how much is left.

**Definition**, before use. The arms of `gpt.arms` are corners of a 2 x 2. An arm's schedule of *angles* is AdamW's
``own`` (transient included) or ``steady`` (that of the equilibrium at the same learning rate, so without a transient);
its *norm* is AdamW's ``own`` or ``fixed``. Let :math:`\kappa_{an}` be the curvature of
:math:`\ln\eta_*` along an axis in the arm with angles a and norm n, second derivative as in `experiments.bend.fit`,
o for own, s for steady, f for fixed:

=================  ==============================================================================================
part               curvature
=================  ==============================================================================================
bend               :math:`\kappa_{oo}`
angle              :math:`\frac12[(\kappa_{oo} - \kappa_{so}) + (\kappa_{of} - \kappa_{sf})]`
norm               :math:`\frac12[(\kappa_{oo} - \kappa_{of}) + (\kappa_{so} - \kappa_{sf})]`
left               :math:`\kappa_{sf}`, what bends with neither
interaction        :math:`\kappa_{oo} - \kappa_{of} - \kappa_{so} + \kappa_{sf}`, half of it in each main effect
both               :math:`\kappa_{oo} - \kappa_{sf}` = angle + norm
=================  ==============================================================================================

so that bend = angle + norm + left. A part whose arms are not all there is ``not-identifiable``: of AdamW and AdamH
alone only ``both`` is known. With three arms the simple effects ``angle, norm own``
:math:`= \kappa_{oo}-\kappa_{so}`, ``angle, norm fixed``, ``norm, angles own`` and ``norm, angles steady`` say what can
be said.

``both, straight law`` :math:`= \kappa_{oo} - (p_{oo}/p_{sf})\,\kappa_{sf}`, with
:math:`p = d\ln\eta/d\ln(\text{mean angle})` near the optimum of an arm, is what ``both`` would be in a problem whose
law in angle is straight. A problem's own bend counts p times in an arm, and a transient lowers p from 2 towards 1,
which ``angle`` holds as well.

**Deviation** of the optimum at the far end of an axis from the straight line that leaves its near end:
:math:`\frac12 \kappa L^2`, L the range of the logarithm of the axis over the cells used.

**One coordinate.** :math:`\eta` is AdamW's learning rate in every arm: that of the run whose angles are replayed, or
whose equilibrium angles are taken. An arm whose rate is itself an angle, AdamH's, enters with
:math:`\ln\eta = 2\ln\theta` + constant, the equilibrium law at fixed weight decay. This doubles its slopes and
curvature: what the problem itself bends counts twice in ``left``, as it would in an AdamW without a transient.

**Intervals** are joint: `experiments.joint.regression` over the cells whose optimum lies inside its grid in
every arm. Arms of one cell share seeds, data and whatever the quadratic law misses; the covariance of arms is estimated
from the residuals of the same cells, so that a contrast has the interval of a paired comparison. Verdicts are those of
`experiments.bend.verdict`, on the part: ``straight`` contributes no bend beyond delta. A share, part / bend, has
Fieller's interval, none where the bend itself is not told from 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from experiments.attribution.arm_optima import pair
from experiments.bend.optimum import CellOptimum
from experiments.bend.scaling_law import AXES
from experiments.bend.verdict import curvature_of
from experiments.joint.regression import Regression, cell_weights, regress, share_interval
from experiments.joint.regressors import Regressors
from theory import InvalidParameter
from theory.bend import DELTA, Direction
from theory.checks import require_delta

Array = NDArray[np.float64]
Angle = Literal["own", "steady"]
Norm = Literal["own", "fixed"]
Rate = Literal["learning-rate", "angle"]
Corner = tuple[str, str]

OWN, REPLAYED, STEADY, STEADY_FIXED = ("own", "own"), ("own", "fixed"), ("steady", "own"), ("steady", "fixed")
CORNERS: tuple[Corner, ...] = (OWN, REPLAYED, STEADY, STEADY_FIXED)
LEAST_FREEDOM = 2

PARTS: Mapping[str, Mapping[Corner, float]] = {
    "bend": {OWN: 1},
    "angle": {OWN: 0.5, STEADY: -0.5, REPLAYED: 0.5, STEADY_FIXED: -0.5},
    "norm": {OWN: 0.5, REPLAYED: -0.5, STEADY: 0.5, STEADY_FIXED: -0.5},
    "left": {STEADY_FIXED: 1},
    "interaction": {OWN: 1, REPLAYED: -1, STEADY: -1, STEADY_FIXED: 1},
    "both": {OWN: 1, STEADY_FIXED: -1},
    "angle, norm own": {OWN: 1, STEADY: -1},
    "angle, norm fixed": {REPLAYED: 1, STEADY_FIXED: -1},
    "norm, angles own": {OWN: 1, REPLAYED: -1},
    "norm, angles steady": {STEADY: 1, STEADY_FIXED: -1},
}
STRAIGHT_LAW = "both, straight law"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Where an arm stands in the 2 x 2, and what its column of learning rates holds: AdamW's ``learning-rate``, or an
    ``angle`` in radians per step. Raises `InvalidParameter` for other words."""

    angle: Angle
    norm: Norm
    rate: Rate = "learning-rate"

    def __post_init__(self) -> None:
        for name, kind in (("angle", Angle), ("norm", Norm), ("rate", Rate)):
            if getattr(self, name) not in get_args(kind):
                raise InvalidParameter(name, getattr(self, name), "one of " + ", ".join(get_args(kind)))

    @property
    def corner(self) -> Corner:
        return self.angle, self.norm

    @property
    def power(self) -> float:
        """d ln(AdamW's learning rate) / d ln(rate)."""
        return 2.0 if self.rate == "angle" else 1.0


KNOWN_ARMS: Mapping[str, Arm] = {
    "adamw": Arm(angle="own", norm="own"),
    "replay": Arm(angle="own", norm="fixed"),
    "equilibrium": Arm(angle="steady", norm="own"),
    "adamh": Arm(angle="steady", norm="fixed", rate="angle"),
}


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What a part makes of a bend.

    value : its curvature; low, high : the 95 % interval; low_90, high_90 : the 90 % interval; all None, with a
    ``reason``, where it is not identifiable. verdict : on that curvature, as in `experiments.bend.verdict`. deviation :
    in ln(learning rate) over the axis, with low and high end at 95 %. share : of the bend, the same; low and high are
    None where the bend is not told from 0.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    low_90: float | None = None
    high_90: float | None = None
    verdict: Direction = Direction.NOT_IDENTIFIABLE
    deviation: tuple[float, float, float] | None = None
    share: tuple[float, float | None, float | None] | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class AxisAttribution:
    """What is said of one axis. parts : by their names. arms : what every arm does by itself, by name. log_range : the
    range L of ln(axis), None where nothing could be fitted."""

    parts: Mapping[str, Contribution]
    arms: Mapping[str, Contribution]
    log_range: float | None


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """The parts of a bend. axes : by name. arms : as given. num_cells : those used, of num_cells_in_all. freedom : the
    degrees of freedom, None if nothing could be fitted. delta : that of the verdicts. notes : phrases."""

    axes: Mapping[str, AxisAttribution]
    arms: Mapping[str, Arm]
    num_cells: int
    num_cells_in_all: int
    freedom: int | None
    delta: float
    notes: tuple[str, ...]


def attribute(
    optima: Mapping[str, Sequence[CellOptimum]],
    arms: Mapping[str, Arm],
    *,
    axes: Sequence[str] = AXES,
    delta: float = DELTA,
    steepness: Mapping[str, float] | None = None,
) -> Attribution:
    """Decompose the bend of AdamW's optimum.

    Parameters
    ----------
    optima : by arm, from `experiments.bend.fit` (``GroupFit.cells``) or `experiments.attribution.arm_optima`.
    arms : which of them to use, and where each stands. No two in one corner; at least one.
    axes : of the curvature.
    delta : curvature that counts as none, 1e-6 to 100.
    steepness : p by arm, d ln(learning rate) / d ln(mean angle), as if exactly known; of an arm whose rate is an angle
        it is 2 already.

    Raises
    ------
    InvalidParameter : an arm without optima, two arms in one corner.
    """
    require_delta(delta)
    check_arms(arms, optima)
    paired = pair(optima, list(arms))
    settings, notes = paired.settings, []
    if len(settings) < paired.num_in_all:
        missing = paired.num_in_all - len(settings)
        notes.append(f"{missing} of {paired.num_in_all} cells left out: not in every arm an optimum inside its grid")
    if any(arm.rate == "angle" for arm in arms.values()):
        turned = ", ".join(name for name, arm in arms.items() if arm.rate == "angle")
        notes.append(f"{turned}: an angle, entered as the AdamW learning rate whose equilibrium angle it is (power 2)")
    straight = _straight_law(arms, steepness or {})
    model, fit, reason = None, None, "no cell has an optimum inside its grid in every arm"
    if settings:
        model = Regressors.of(settings, axes, skip_batch=False)
        powers = np.array([arm.power for arm in arms.values()])
        reason = f"{len(settings)} cells for {model.columns.shape[1]} terms, at least {LEAST_FREEDOM} more are needed"
        if len(settings) >= model.columns.shape[1] + LEAST_FREEDOM:
            y = paired.log_optimum * powers
            fit = regress(model.columns, y, cell_weights(model.columns, y, paired.error * powers))
    return Attribution(
        axes={axis: _axis(axis, settings, model, fit, reason, arms, delta, straight) for axis in axes},
        arms=dict(arms),
        num_cells=len(settings),
        num_cells_in_all=paired.num_in_all,
        freedom=None if fit is None else fit.freedom,
        delta=delta,
        notes=tuple(notes),
    )


def check_arms(arms: Mapping[str, Arm], names: Collection[str]) -> None:
    """Raise `InvalidParameter` if an arm is not among ``names``, or two are in one corner."""
    if not arms:
        raise InvalidParameter("arms", "none", f"at least one of {', '.join(names)[:200]}, with its place")
    taken: dict[Corner, str] = {}
    for name, arm in arms.items():
        if name not in names:
            raise InvalidParameter("arm", name, f"one of {', '.join(names)[:200]}")
        if arm.corner in taken:
            raise InvalidParameter("arm", name, f"in another corner than {taken[arm.corner]}")
        taken[arm.corner] = name


def _axis(
    axis: str,
    settings: Sequence[Mapping[str, float]],
    model: Regressors | None,
    fit: Regression | None,
    reason: str,
    arms: Mapping[str, Arm],
    delta: float,
    straight: Mapping[Corner, float] | None,
) -> AxisAttribution:
    if model is not None and fit is not None and axis not in model.halves:
        fit, reason = (
            None,
            model.lost.get(axis) or model.lost.get(f"{axis} squared") or f"fewer than 3 values of {axis}",
        )
    if model is None or fit is None:
        nothing = Contribution(reason=reason)
        return AxisAttribution(
            parts=dict.fromkeys((*PARTS, STRAIGHT_LAW), nothing), arms=dict.fromkeys(arms, nothing), log_range=None
        )
    values = np.log([setting[axis] for setting in settings])
    log_range, which = float(np.ptp(values)), model.halves[axis]
    place = {arm.corner: index for index, arm in enumerate(arms.values())}
    bend = _over_arms(PARTS["bend"], place)

    def contribution(weights: Array) -> Contribution:
        value, low, high = fit.interval(which, weights, 0.95)
        _, low_90, high_90 = fit.interval(which, weights, 0.90)
        lever = log_range**2 / 2
        return Contribution(
            **vars(curvature_of(value, (low, high), (low_90, high_90), delta)),
            deviation=(lever * value, lever * low, lever * high),
            share=None if bend is None else _share(fit, which, weights, bend),
        )

    parts = {}
    for name, corners in PARTS.items():
        chosen = _over_arms(corners, place)
        absent = [" angles, norm ".join(corner) for corner in corners if corner not in place]
        parts[name] = (
            Contribution(reason=f"no arm with {', '.join(absent)}") if chosen is None else contribution(chosen)
        )
    chosen = None if straight is None else _over_arms(straight, place)
    parts[STRAIGHT_LAW] = (
        Contribution(reason="needs the mean angles: --mean-angle COLUMN") if chosen is None else contribution(chosen)
    )
    by_arm = {name: contribution(np.eye(len(arms))[index]) for index, name in enumerate(arms)}
    return AxisAttribution(parts=parts, arms=by_arm, log_range=log_range)


def _straight_law(arms: Mapping[str, Arm], steepness: Mapping[str, float]) -> Mapping[Corner, float] | None:
    """Weights of `STRAIGHT_LAW`; None where a steepness is missing."""
    known = {arm.corner: steepness.get(name, 2.0 if arm.rate == "angle" else None) for name, arm in arms.items()}
    own, fixed = known.get(OWN), known.get(STEADY_FIXED)
    return None if own is None or fixed is None else {OWN: 1.0, STEADY_FIXED: -own / fixed}


def _over_arms(corners: Mapping[Corner, float], place: Mapping[Corner, int]) -> Array | None:
    """Weights over the arms that are there; None if one that is needed is not."""
    if not set(corners) <= set(place):
        return None
    weights = np.zeros(len(place))
    for corner, weight in corners.items():
        weights[place[corner]] = weight
    return weights


def _share(fit: Regression, which: int, part: Array, bend: Array) -> tuple[float, float | None, float | None]:
    value, whole = fit.combination(which, part)[0], fit.combination(which, bend)[0]
    covariance = (
        fit.covariance(which, part, part),
        fit.covariance(which, part, bend),
        fit.covariance(which, bend, bend),
    )
    found = share_interval(value, whole, covariance, fit.half_width(0.95))
    return (value / whole if whole else np.nan, *(found or (None, None)))
