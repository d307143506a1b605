r"""A loss law in effective learning rate, and the loss that it gives a run of AdamW or of AdamH.

.. math::
   L = L_\infty + A N^{-a} + C_1 (B_1 + S)^{-a_1}
       + C_2 \Big(\frac{N}{N_r}\Big)^{g}\frac{B_r}{B} \int_0^S (B_2 + S - S')^{-a_2}\, r\, dS', \qquad
   S = \sum_t r_t, \quad r_t = d(B)\,\theta_t

Legend: N parameters; D tokens; B tokens per step; :math:`T = D/B` steps; :math:`\theta_t` angle per step: for AdamW in
the slow limit of `theory.slow_norm`, transient and lag included, for AdamH the learning rate itself; d the share of the
angle that goes along the signal (`theory.effective_lr`). A direction of another size than that of white noise, by
signal or by ``direction_ratio``, enters norm and step alike: in its units the norm starts lower, and nothing else
changes. Without its scale terms it is the functional law of `theory.loss_laws`, here as an integral over continuous
time.

Assumptions: the loss sees a run only through its angles (scale-invariant matrices, all else fixed); drift and noise
add; the noise grows with N like a power, and only there does N move the optimum; the constants depend on neither D nor
B. Batch size enters twice, as 1/B in the noise and through d.

The slow limit costs little: for 19,073 steps, decay 0.1 and RMS_0 0.02 the optimum (`theory.optimal_lr`) is within
0.4 % of that of the exact recursion, 0.01 % with a warmup of 1 %. It fails without warmup where the first steps are as
large as the start, :math:`\eta \gtrsim \mathrm{RMS}_0/3`: Adam's first steps are sign updates, and their angles count.

Where it fails: on small real runs, in which what the other parameters have learned decides what an angle is worth, and
when: chi^2 947 for 26 cells of AdamH, 593 with an offset per length (`docs/log.md`). `theory.two_angles` has a law for
those.

Source of the law: arXiv 2608.24814, 2509.19189; its dependence on N and B is an assumption made here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import slow_norm, slow_radial
from theory.checks import InvalidParameter, require_number
from theory.effective_lr import signal_share, update_rms
from theory.momentum import stationary_update_rms
from theory.networks import GPT2, WHITE_NOISE, Network, as_network
from theory.schedules import Schedule, as_schedule, coarsened

Array = NDArray[np.float64]

AXES = ("num_params", "num_tokens", "tokens_per_step", "weight_decay", "initial_rms", "direction_ratio")

NODES = 131  # per segment: the integrals of a run are good to 1e-5, and smooth in every parameter
OFFSETS = np.arange(-3.0, 5.0)
STEP_WEIGHTS = np.linalg.solve(np.vander(OFFSETS, increasing=True).T, 1 / np.arange(1.0, 9.0))  # of the step 0 to 1
CHUNK = 1_000_000  # angles held in memory at once


@dataclass(frozen=True, kw_only=True)
class AngleLaw:
    """The law above. Its constants have no defaults: they are measured, or those of `EXAMPLE`.

    Parameters
    ----------
    C1, a1, C2, a2, B2 : above 0. B1 : at least 0.
    noise_growth : g; above 0 the optimum falls with N.
    noise_batch : tokens per step at which signal and noise of a gradient are equal; None leaves out the share d.
    L_inf, A, a : the part that no learning rate changes.
    reference_params, reference_batch : N_r and B_r, where C2 is the coefficient.
    fitted_rates, fitted_steps : lowest and highest peak rate of AdamW, and number of steps, of the runs that the
        constants were fitted to; None where they were not. What lies `outside` of them is an extrapolation.
    """

    C1: float
    a1: float
    C2: float
    a2: float
    B2: float
    B1: float = 0.0
    noise_growth: float = 0.0
    noise_batch: float | None = None
    L_inf: float = 0.0
    A: float = 0.0
    a: float = 0.0
    reference_params: float = 1e8
    reference_batch: float = 2.0**19
    fitted_rates: tuple[float, float] | None = None
    fitted_steps: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("C1", "a1", "C2", "a2", "B2", "reference_params", "reference_batch"):
            require_number(name, getattr(self, name), above=0)
        require_number("B1", self.B1, at_least=0)
        if self.noise_batch is not None:
            require_number("noise_batch", self.noise_batch, above=0)
        for name in ("noise_growth", "L_inf", "A", "a"):
            require_number(name, getattr(self, name))

    def outside(self, learning_rate: ArrayLike, num_steps: ArrayLike) -> str:
        """Which of these lie outside the runs of the fit, in a line; empty where none does, or nothing was fitted.

        >>> from theory.angle_law import EXAMPLE
        >>> EXAMPLE.outside([0.02, 0.9], 20_000)
        'outside the fit: learning rate 0.02 to 0.9, fitted from 0.0001 to 0.002'
        """
        asked = (("learning rate", learning_rate, self.fitted_rates), ("steps", num_steps, self.fitted_steps))
        told = []
        for what, values, fitted in asked:
            known = np.asarray(values, np.float64)
            low, high = np.nanmin(known, initial=np.inf), np.nanmax(known, initial=-np.inf)
            if fitted is not None and (low < fitted[0] * (1 - 1e-9) or high > fitted[1] * (1 + 1e-9)):
                span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
                told.append(f"{what} {span}, fitted from {fitted[0]:g} to {fitted[1]:g}")
        return "outside the fit: " + "; ".join(told) if told else ""


EXAMPLE = AngleLaw(
    C1=2.22,
    a1=0.524,
    C2=10.7,
    a2=1.254,
    B2=0.0306,
    noise_growth=0.4,
    L_inf=2.73,
    reference_params=8.5e7,
    reference_batch=51_200,
    fitted_rates=(1e-4, 2e-3),
    fitted_steps=(15_000, 50_000),
)
"""Least squares to 110 public runs of AdamW (github.com/fabian-sp/lr-scheduling; 12 layers of 768, 51,200 tokens a
step, 15,000 to 50,000 steps, cosine, WSD and constant rates of 1e-4 to 2e-3), which it meets within 0.008 nats, root
mean square. Standard errors: 5 % of C1, a1 and a2, 9 % of C2, half of B2. They have one size and one batch, so that
``noise_growth`` is assumed, and so is that the noise goes like 1/B."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained, but for the learning rate: numbers above 0, or arrays that broadcast.

    ``schedule`` gives the shape and is stretched to num_tokens / tokens_per_step steps; a long array of multipliers
    is taken in 200 pieces (`theory.schedules.coarsened`), which moves an optimum by 0.2 %. ``weight_decay`` (PyTorch
    convention, 0 allowed) and ``initial_rms`` matter to AdamW only, as do ``network``, which says how the norm moves
    (its name will do), and ``direction_ratio``, which multiplies that of the network: the RMS of Adam's direction over
    that of white noise, about 0.885 on real gradients (`docs/direction`). What the second moment remembers, and with
    it a history of the gradient's size, is not in the slow limit. Raises `InvalidParameter`.
    """

    num_params: ArrayLike
    num_tokens: ArrayLike
    schedule: Schedule
    optimizer: Literal["adamw", "adamh"] = "adamw"
    tokens_per_step: ArrayLike = 2.0**19
    weight_decay: ArrayLike = 0.1
    initial_rms: ArrayLike = 0.02
    direction_ratio: ArrayLike = 1.0
    beta1: float = 0.9
    network: Network = WHITE_NOISE

    def __post_init__(self) -> None:
        for name in AXES:
            values = np.asarray(getattr(self, name), np.float64)
            allowed = values >= 0 if name == "weight_decay" else values > 0
            if not np.all(np.isfinite(values) & allowed):
                bound = "of at least 0" if name == "weight_decay" else "above 0"
                raise InvalidParameter(name, getattr(self, name), f"a finite number {bound}")
        if self.optimizer not in ("adamw", "adamh"):
            raise InvalidParameter("optimizer", self.optimizer, "'adamw' or 'adamh'")
        require_number("beta1", self.beta1, at_least=0, below=1)
        object.__setattr__(self, "schedule", coarsened(as_schedule(self.schedule)))
        object.__setattr__(self, "network", as_network(self.network))

    @property
    def num_steps(self) -> Array:
        """T, not rounded."""
        return np.asarray(self.num_tokens, np.float64) / np.asarray(self.tokens_per_step, np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape to which the arrays broadcast."""
        return np.broadcast_shapes(*(np.shape(getattr(self, name)) for name in AXES))

    def at(self, axis: str, values: ArrayLike) -> Setting:
        """The same with another value, or array of values, of one of `AXES`."""
        if axis not in AXES:
            raise InvalidParameter("axis", axis, f"one of {', '.join(AXES)}")
        return replace(self, **{axis: values})  # type: ignore[arg-type]

    def num_relaxations(self, learning_rate: ArrayLike) -> Array:
        r"""Relaxation times of AdamW's norm in the run, :math:`2\lambda\sum_t\eta_t`, at a peak learning rate."""
        mean = self.schedule.integral(self.schedule.num_steps) / self.schedule.num_steps
        return 2 * np.asarray(self.weight_decay) * np.asarray(learning_rate) * mean * self.num_steps


# The loss of a run


def excess_loss(law: AngleLaw, setting: Setting, learning_rate: ArrayLike) -> Array:
    """Final loss in nats above the part that no learning rate changes; ``learning_rate`` broadcasts."""
    return angle_and_excess(law, setting, learning_rate)[1]


def loss(law: AngleLaw, setting: Setting, learning_rate: ArrayLike) -> Array:
    """Final loss in nats; ``learning_rate`` broadcasts against the setting."""
    settled = law.L_inf + law.A * np.asarray(setting.num_params, np.float64) ** -law.a
    return settled + excess_loss(law, setting, learning_rate)


def mean_angle(setting: Setting, learning_rate: ArrayLike) -> Array:
    """Angle per step in radians, averaged over the run; no law needed."""
    any_law = AngleLaw(C1=1.0, a1=1.0, C2=1.0, a2=1.0, B2=1.0)
    return angle_and_excess(any_law, setting, learning_rate)[0]


def angle_and_excess(law: AngleLaw, setting: Setting, learning_rate: ArrayLike) -> tuple[Array, Array]:
    """Mean angle and excess loss together, of the shape that (learning rate, setting) broadcast to."""
    arrays = [np.asarray(learning_rate, np.float64), *(np.asarray(getattr(setting, name), np.float64) for name in AXES)]
    if not np.all(np.isfinite(arrays[0]) & (arrays[0] > 0)):
        raise InvalidParameter("learning_rate", learning_rate, "a finite number above 0")
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    columns = [np.broadcast_to(array, shape).ravel() for array in arrays]
    times, weights = _nodes(setting.schedule)
    size = max(1, CHUNK // times.size)
    parts = []
    for start in range(0, columns[0].size, size):
        eta, params, tokens, batch, decay, initial, ratio = (column[start : start + size] for column in columns)
        parts.append(_integrate(law, setting, eta, params, tokens, batch, decay, initial, ratio, times, weights))
    mean, excess = (np.concatenate(column).reshape(shape) for column in zip(*parts, strict=True))
    return mean, excess


def _integrate(
    law: AngleLaw,
    setting: Setting,
    eta: Array,
    params: Array,
    tokens: Array,
    batch: Array,
    decay: Array,
    initial: Array,
    ratio: Array,
    times: Array,
    weights: Array,
) -> tuple[Array, Array]:
    """`angle_and_excess` for rows of numbers, by quadrature over the nodes (num_segments, NODES)."""
    x, steps = times[:, :, None], tokens / batch
    stretch = steps / setting.schedule.num_steps
    angle = eta * setting.schedule.value(x)
    if setting.optimizer == "adamw":
        if law.noise_batch is not None:
            ratio = ratio * update_rms(batch, law.noise_batch, setting.beta1) / stationary_update_rms(setting.beta1)
        angle = angle * _angle_per_rate(setting, x, eta, decay, initial, ratio, stretch)
    share = np.ones(1) if law.noise_batch is None else signal_share(batch, law.noise_batch, setting.beta1)
    turned = angle * share * weights[:, :, None] * stretch  # what each node adds to S
    whole = turned.sum(axis=1, keepdims=True)
    later = np.concatenate([np.cumsum(whole[:0:-1], axis=0)[::-1], np.zeros_like(whole[:1])])
    left = np.maximum(_remaining(turned), 0.0) + later
    total = whole.sum(axis=(0, 1))
    noise = (turned * angle * share * (law.B2 + left) ** -law.a2).sum(axis=(0, 1))
    strength = law.C2 * (params / law.reference_params) ** law.noise_growth * law.reference_batch / batch
    return total / (share * steps), law.C1 * (law.B1 + total) ** -law.a1 + strength * noise


def _angle_per_rate(
    setting: Setting, x: Array, eta: Array, decay: Array, initial: Array, ratio: Array, stretch: Array
) -> Array:
    r"""AdamW's angle over its learning rate at the times x: the one place where a law asks for the norm.

    :math:`U/\mathrm{RMS}` with :math:`\dot\rho = -2\lambda\eta\rho + \eta^2U^2F/q`: without a force, F = 1, the norm in
    units of :math:`U/\sqrt q` is that of white noise from a start that is smaller by this ratio.
    """
    ratio = ratio * setting.network.direction_ratio
    white = stationary_update_rms(setting.beta1)
    if setting.network.name == GPT2.name:
        rms = slow_radial.weight_rms(
            setting.schedule,
            x.ravel(),
            learning_rate=eta,
            weight_decay=decay,
            initial_rms=initial,
            direction_ratio=ratio,
            stretch=stretch,
            law=setting.network.law,
        )
        return ratio * white / rms.reshape(*x.shape[:-1], -1)
    root = np.sqrt(stretch)  # k times as long is the same path at sqrt(k) eta and sqrt(k) lam
    rms = slow_norm.weight_rms_at_nodes(
        setting.schedule,
        x[:, :, 0],
        learning_rate=eta * root,
        weight_decay=decay * root,
        initial_rms=initial / ratio,
    )
    return white / rms


def _nodes(schedule: Schedule) -> tuple[Array, Array]:
    """Times in each segment, even in the logit of the place in it, and weights; (num_segments, NODES) each.

    What happens in a run is spread over powers of ten from either end of a segment; in the logit it is smooth, and
    sums converge like exp(-10/spacing).
    """
    logit = np.linspace(-26, 26, NODES)
    place, rest = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))
    lengths = np.array([segment.length for segment in schedule.segments()], np.float64)[:, None]
    return np.cumsum(lengths, axis=0) - lengths * rest, lengths * place * rest * (logit[1] - logit[0])


def _remaining(turned: Array) -> Array:
    """What is still to come after each node, from samples on a uniform grid along axis 1 that vanish at its ends.

    Each step is the integral of the polynomial through eight samples about it. Summed from the end, so that the small
    remainders there keep their digits.
    """
    padded = np.pad(turned, ((0, 0), (3, 4), (0, 0)))
    steps = sum(weight * padded[:, k : k + NODES] for k, weight in enumerate(STEP_WEIGHTS))
    return np.flip(np.cumsum(np.flip(steps, axis=1), axis=1), axis=1)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
