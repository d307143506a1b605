r"""AdamW on matrices that are not scale-invariant: gradients that push the norm, and a start of large gradients.

.. math::
   \rho_{t+1} = \alpha_t^2\rho_t - 2\alpha_t\eta_t p_t + \eta_t^2 s_t, \qquad
   p_{t+1} = c_t(\alpha_t p_t - \eta_t s_t) + w_{t+1} r_{t+1}

Legend: :math:`\rho, p, s` as in `theory.adamw`; :math:`r = \langle W g/\sqrt v\rangle`, the radial gradient, above 0
where a step against it shrinks the norm; :math:`\alpha = 1-\eta\lambda`; :math:`c\to\beta_1` carry of the direction,
:math:`w\to 1-\beta_1` weight of the newest gradient in it; D direction ratio, RMS of the direction over that of white
noise, :math:`s = D^2q`; :math:`z = \eta/\mathrm{RMS}` relative step; F force factor, f its value at small steps,
:math:`z_v` the step at which a valley halves it; R RMS at equilibrium, :math:`b = \eta/z_v`. With r and s measured at
every step this is an account of a run, exact for gradients whose noise is white (`theory.measured`).

**Reduced theory.** At constant rate p settles within the memory of momentum, and for :math:`\eta\lambda\to0`

.. math::
   \dot\rho = -2\eta\lambda\rho + \eta^2G, \qquad G = D^2 - 2r/\eta = D^2F(z), \qquad F = \frac f{1+z/z_v}

F is the *force factor*: noise alone has F = 1. At small relative steps gradients point outward (f > 1: a larger norm
fits better, the signal), at large ones inward: the step overshoots a valley. The loss knows such weights mostly through
their direction, so that its curvature per relative step is fixed, and :math:`1/(1+z/z_v)` is what a valley of curvature
:math:`a\propto z` makes of the mean square of momentum, :math:`(1-\beta_1)/(1+\beta_1+\beta_1a)`, normalised. With
:math:`b = \eta/z_v` and :math:`n^2 = D^2f\eta/(2\lambda)`:

.. math::
   R^2 + bR = n^2 \quad\text{at the equilibrium } R, \qquad
   t = \frac1{\eta\lambda}\Big[A\ln\frac{R-x_0}{R-x} - (1-A)\ln\frac{R+b+x}{R+b+x_0}\Big], \qquad
   A = \frac{R+b}{2R+b}

for the RMS to go from :math:`x_0` to x, from below or from above. Close to equilibrium :math:`\rho` relaxes in
:math:`A/(\eta\lambda)` steps, up to twice as long as for noise. In general, with :math:`\sigma = -d\ln G/d\ln z`, it
takes :math:`1/(2\eta\lambda(1-\sigma/2))` steps (`theory.bernoulli` has G as a power of z throughout).

**Start of training.** v remembers the first gradients for :math:`1/(1-\beta_2)` steps. With h the relative size of
gradients, D is multiplied by :math:`\sqrt{M/v}`, M and v the averages of :math:`h^2` over the memories of
:math:`\langle m^2\rangle` and of v: after a burst it is small until v has forgotten. By default
:math:`h^2 = 1+14.5e^{-t/50}`; to beta2 = 0.999 only its area matters, 725 steps' worth of later squared gradients.

Constants: f and :math:`z_v` from six runs of two-layer GPT-2s of width 32 (`docs/radial`), by kind of matrix in
`KINDS`. The default is the law of the MLP, which has most entries: f 1.7, :math:`z_v` 0.105; with one of the runs left
out 1.55 to 2.0 and 0.065 to 0.13, with values along the ridge where the two make up for each other. Pythia-70M by
itself gives 1.6 to 1.8 and 0.06 to 0.12. The burst is from Pythia, whose warmup is 200 steps: 350 steps' worth at a
rate of 3e-4, 690 and 810 at 1e-3. The models of width 32 begin without one: give a scale of ones there.

Where it fails: training that goes on from trained weights (another history: give it); queries and keys, which an
outward gradient drives throughout; and small models at rates that end low, where an outward gradient of relative size
:math:`r/\mathrm{RMS} = -\kappa/(2\sqrt n)` in n entries adds :math:`\kappa/(z\sqrt n)` to G: kappa is 0.8 to 2.1 in the
MLP, 0.1 to 0.6 in value and output, and what Pythia's G of 1.5 to 2 at the end of its schedules asks for is as much.

Derived here; the closed form of the valley and the power law are from this project's earlier notes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import momentum
from theory.checks import InvalidParameter, require_number
from theory.measured import newest_weight
from theory.models import Moments
from theory.recursion import affine_recursion
from theory.stationary import rate_and_product
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

# Mean of 180 matrices in 15 runs of one small scale-invariant GPT (docs/direction); 90 % of the matrices lie from .81
# to .945, the means of its three settings from .879 to .888.
DIRECTION_RATIO = 0.885
BURST, BURST_STEPS = 14.5, 50.0


@dataclass(frozen=True, kw_only=True)
class Law:
    r"""The force factor :math:`F(z) = f/(1+z/z_v)`.

    outward : f, above 0; 1 is noise alone. valley : :math:`z_v`, the relative step at which the valley halves growth,
    above 0; infinity is no valley.
    """

    outward: float
    valley: float

    def __post_init__(self) -> None:
        require_number("outward", self.outward, above=0)
        if self.valley != np.inf:
            require_number("valley", self.valley, above=0)

    def force(self, relative_step: Any) -> Any:
        """F at relative steps eta/RMS, a number or an array."""
        return self.outward / (1 + relative_step / self.valley)


DEFAULT = Law(outward=1.70, valley=0.105)
NOISE = Law(outward=1.0, valley=np.inf)
LEAST = 1e-12  # of a squared norm, that a step leaves
KINDS = {
    "query, key": Law(outward=29.5, valley=0.0026),
    "value, output": Law(outward=1.30, valley=0.096),
    "up, down": DEFAULT,
}


# Any schedule


def moments(
    rates: Array,
    shrinkage: Array,
    beta1: float,
    beta2: float,
    initial_rms: float | Array,
    *,
    direction_ratio: float | Array = DIRECTION_RATIO,
    gradient_scale: Array | None = None,
    law: Law = DEFAULT,
) -> Moments:
    """Second moments along a run of matrices that are not scale-invariant.

    Parameters
    ----------
    rates, shrinkage : (num_steps, ...) learning rate, and the fraction that decay takes off at every step.
    initial_rms : above 0, broadcasts against one row.
    direction_ratio : D, above 0, scalar or (num_steps,), apart from what the memory of ``gradient_scale`` does to it. A
        measured one that contains the start of training wants ``gradient_scale`` of ones.
    gradient_scale : (num_steps,) relative size of the gradients, above 0; by default `starting_gradients`.
    law : the force factor; `NOISE` with D = 1 and a constant scale is the recursion of `theory.adamw`.

    Raises
    ------
    InvalidParameter : a size that is not above 0, or an array that does not have num_steps entries.

    Examples
    --------
    Pythia-70M, of which 0.0202, 0.0284 and 0.0659 were measured after 128, 1,000 and 5,000 steps.

    >>> import numpy as np
    >>> from theory import Cosine, radial
    >>> rates = 1e-3 * Cosine(num_steps=20_000, warmup_steps=200, final_fraction=0.1).multipliers()
    >>> run = radial.moments(rates, 0.01 * rates, 0.9, 0.999, 0.02)
    >>> np.sqrt(run.rho[[128, 1000, 5000]]).round(4).tolist()
    [0.0202, 0.0283, 0.0658]
    """
    num_steps = len(rates)
    scale = starting_gradients(num_steps) if gradient_scale is None else _positive("gradient_scale", gradient_scale)
    ratio = _positive("direction_ratio", direction_ratio)
    for name, values in (("gradient_scale", scale), ("direction_ratio", ratio)):
        if values.shape != (num_steps,) and not (name == "direction_ratio" and values.ndim == 0):
            raise InvalidParameter(name, values.shape, f"({num_steps},) in shape, one value per step")
    steps = np.arange(num_steps)
    size = np.broadcast_to(ratio, (num_steps,)) / np.sqrt(_average(scale**2, beta2))  # u over m, in units of noise
    loudness = size**2 * _average(scale**2, beta1**2)
    variance = momentum.update_variance(steps, beta1) * loudness
    carry = momentum.update_carry(steps, beta1, beta2)
    carry[:-1] *= size[1:] / size[:-1]
    excess, s, weight, carry = (a.tolist() for a in (loudness, variance, newest_weight(num_steps, beta1), carry))
    row = np.broadcast_shapes(rates.shape[1:], np.shape(initial_rms))
    squares = np.broadcast_to(np.square(_positive("initial_rms", initial_rms)), row)
    table = np.broadcast_to(rates, (num_steps, *row)), np.broadcast_to(shrinkage, (num_steps, *row))
    single = squares.size == 1  # numbers of Python's are ten times as fast as arrays of one entry
    norms: list[Any] = [squares.item() if single else squares]
    means: list[Any] = []
    etas, taken = ((each.ravel().tolist() if single else list(each)) for each in table)
    mean: Any = 0.0
    for t, (eta, x) in enumerate(zip(etas, taken, strict=True)):
        radial = 0.5 * eta * excess[t] * (1 - law.force(eta / norms[t] ** 0.5))
        p = mean + weight[t] * radial
        norm = (1 - x) ** 2 * norms[t] - 2 * (1 - x) * eta * p + eta**2 * s[t]
        if norm <= 0 if single else (norm <= 0).any():
            norm, p = _above_zero(norm, p, norms[t], s[t], x, eta)
        norms.append(norm)
        means.append(p)
        mean = carry[t] * ((1 - x) * p - eta * s[t])
    rho, ps = np.array(norms).reshape(num_steps + 1, *row), np.array(means).reshape(num_steps, *row)
    column = (num_steps, *(1,) * len(row))
    return Moments(rho, ps, variance.reshape(column), *table)


def _above_zero(norm: Any, p: Any, before: Any, s: float, x: Any, eta: Any) -> tuple[Any, Any]:
    """Where a law far outside its fit pulls inward by more than the direction is long: p is at most the root of rho s
    (Cauchy and Schwarz), and what is left of the weights is what the step leaves."""
    most = np.sqrt(before * s)
    left = ((1 - x) * np.sqrt(before) - eta * np.sqrt(s)) ** 2 + LEAST * before
    norm, p = np.where(norm <= 0, left, norm), np.where(norm <= 0, most, p)
    return (norm, p) if norm.ndim else (float(norm), float(p))


def starting_gradients(num_steps: int) -> Array:
    r"""(num_steps,) relative size of gradients from the start of training, :math:`\sqrt{1+14.5e^{-t/50}}`, t from 1."""
    return np.sqrt(1 + BURST * np.exp(-np.arange(1, num_steps + 1) / BURST_STEPS))


# Reduced theory


def derive_growth() -> sp.Expr:
    """G of ``rho' = -2 eta lam rho + eta^2 G``, in D, r, eta: p at rest and no decay in the growth of a step."""
    eta, beta1, D, r = positive("eta beta_1 D r")
    p = sp.symbols("p")
    s = D**2 * (1 - beta1) / (1 + beta1)
    at_rest = sp.solve(sp.Eq(p, beta1 * (p - eta * s) + (1 - beta1) * r), p)[0]
    return sp.expand(sp.simplify((-2 * eta * at_rest + eta**2 * s) / eta**2))


def derive_equilibrium() -> dict[str, sp.Expr]:
    """R as ``rms``, and ``relaxation_steps`` (of rho, close by) of the law, in eta, lam, D, f and z_v."""
    eta, lam, D, f, z_v, x = positive("eta lambda D f z_v x")
    flow = -2 * eta * lam * x**2 + eta**2 * D**2 * f / (1 + eta / (x * z_v))  # of rho = x^2
    roots = sp.solve(sp.numer(sp.together(flow)), x)
    (rms,) = (root for root in roots if root.subs(dict.fromkeys(root.free_symbols, 1)).evalf() > 0)
    steps = sp.factor((-2 * x / flow.diff(x)).subs(f, sp.solve(flow, f)[0]))
    return {"rms": sp.simplify(rms), "relaxation_steps": sp.simplify(steps.subs(x, rms))}


def equilibrium_rms(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    *,
    direction_ratio: ArrayLike = DIRECTION_RATIO,
    law: Law = DEFAULT,
) -> Array:
    """Weight RMS at equilibrium for eta*lam to 0, a start of training forgotten. Arguments broadcast.

    Raises `NoEquilibrium` at zero weight decay.
    """
    eta, product = rate_and_product(learning_rate, weight_decay)
    half = eta / law.valley / 2
    noise = np.square(direction_ratio) * law.outward * eta**2 / (2 * product)
    return np.asarray(noise / (half + np.sqrt(half**2 + noise)))  # keeps its digits where the valley is all


class Settled(NamedTuple):
    """Where one setting settles: weight RMS, angle per step in radians, cosine of W and u."""

    weight_rms: Array
    angular_update: Array
    cosine: Array


def equilibrium(
    learning_rate: float,
    weight_decay: float,
    beta1: float,
    *,
    direction_ratio: float = DIRECTION_RATIO,
    law: Law = DEFAULT,
) -> Settled:
    r"""The fixed point of `moments`, exact in :math:`\eta\lambda`: its RMS R is the positive root of

    .. math:: R^3 + bR^2 - K(A-B+Bf)R - K(A-B)b = 0, \qquad
       K = \frac{\eta^2D^2}{1-\alpha^2},\; A = \frac{q(1+\alpha\beta_1)}{1-\alpha\beta_1},\;
       B = \frac{\alpha(1-\beta_1)}{1-\alpha\beta_1}

    with :math:`b = \eta/z_v` and A > B (`derive_fixed_point`). Raises `NoEquilibrium` at zero weight decay.
    """
    eta, x = (float(each) for each in rate_and_product(learning_rate, weight_decay))
    kept = 1 - x
    q = float(momentum.stationary_update_rms(beta1)) ** 2
    pushed = kept * (1 - beta1) / (1 - kept * beta1)  # B
    rest = (1 - beta1) * x / ((1 + beta1) * (1 - kept * beta1))  # A - B, with its digits
    scale, b = (eta * direction_ratio) ** 2 / (x * (2 - x)), eta / law.valley
    roots = np.roots([1.0, b, -scale * (rest + pushed * law.outward), -scale * rest * b])
    rms = float(roots[np.argmax(roots.real)].real)
    s = direction_ratio**2 * q
    force = float(law.force(eta / rms))
    p = (0.5 * (1 - beta1) * eta * direction_ratio**2 * (1 - force) - beta1 * eta * s) / (1 - kept * beta1)
    across = eta * np.sqrt(max(s * rms**2 - p**2, 0.0))
    return Settled(
        weight_rms=np.array(rms),
        angular_update=np.arctan2(across, kept * rms**2 - eta * p),
        cosine=np.array(p / (rms * np.sqrt(s))),
    )


def derive_fixed_point() -> dict[str, sp.Expr]:
    """The cubic of `equilibrium` in R, which is 0 there: what stands before its powers, in eta, alpha, beta_1, D, f, b.

    From rho and p at rest, with the law's r.
    """
    eta, kept, beta1, D, f, b, R = positive("eta alpha beta_1 D f b R")
    rho, p = sp.symbols("rho p")
    s = D**2 * (1 - beta1) / (1 + beta1)
    r = eta * D**2 * (1 - f / (1 + b / R)) / 2
    at_rest = sp.solve(
        [
            sp.Eq(p, beta1 * (kept * p - eta * s) + (1 - beta1) * r),
            sp.Eq(rho, kept**2 * rho - 2 * kept * eta * p + eta**2 * s),
        ],
        [rho, p],
        dict=True,
    )[0]
    cubic = sp.Poly(sp.expand(sp.cancel((R**2 - at_rest[rho]) * (R + b))), R)
    return {f"R^{power}": sp.factor(cubic.coeff_monomial(R**power)) for power in (3, 2, 1, 0)}


def relaxation_steps(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    *,
    direction_ratio: ArrayLike = DIRECTION_RATIO,
    law: Law = DEFAULT,
) -> Array:
    r"""Steps in which a small deviation of :math:`\rho` falls by e, :math:`\frac{R+b}{2R+b}/(\eta\lambda)`."""
    eta, product = rate_and_product(learning_rate, weight_decay)
    rms = equilibrium_rms(learning_rate, weight_decay, direction_ratio=direction_ratio, law=law)
    return np.asarray((rms + eta / law.valley) / (2 * rms + eta / law.valley) / product)


def steps_between(
    initial_rms: ArrayLike,
    final_rms: ArrayLike,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    *,
    direction_ratio: ArrayLike = DIRECTION_RATIO,
    law: Law = DEFAULT,
) -> Array:
    """Steps that the RMS takes at constant rate, slow limit; infinite where equilibrium lies before the end.

    Negative where the way leads away from equilibrium: then it was there so long ago.
    """
    eta, product = rate_and_product(learning_rate, weight_decay)
    start, end = _positive("initial_rms", initial_rms), _positive("final_rms", final_rms)
    rms = equilibrium_rms(learning_rate, weight_decay, direction_ratio=direction_ratio, law=law)
    b = eta / law.valley
    share = (rms + b) / (2 * rms + b)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = (rms - end) / (rms - start)
        steps = -(share * np.log(left) + (1 - share) * np.log((rms + b + end) / (rms + b + start))) / product
    return np.where(left > 0, steps, np.inf)


def _average(values: Array, beta: float) -> Array:
    """Bias-corrected running mean."""
    kept = np.full(len(values), beta)
    sums = [affine_recursion(kept, each, np.zeros(()))[1:] for each in (values, np.ones_like(values))]
    return sums[0] / sums[1]


def _positive(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if not np.all(np.isfinite(array) & (array > 0)):
        raise InvalidParameter(name, value, "finite numbers above 0")
    return array


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
