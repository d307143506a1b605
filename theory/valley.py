r"""Adam in a quadratic valley: a step against a gradient comes back in the next gradients, and shortens the direction.

.. math::
   g_t = h x_t + n_t, \qquad m_t = \beta_1m_{t-1} + (1-\beta_1)g_t, \qquad x_{t+1} = x_t - \eta\,\frac{m_t}r

Legend: x displacement from the bottom along one direction of curvature h; n white noise; r RMS of the gradient, which
is Adam's :math:`\sqrt{\hat v}` for :math:`\beta_2\to1`; :math:`a = \eta h/r` the curvature as Adam's steps see it;
U RMS of the direction :math:`u = m/r`, :math:`U_0` that in noise alone; :math:`\nu` share of the noise in
:math:`\langle g^2\rangle`; :math:`\rho_k` autocorrelation of the gradient.

.. math::
   U^2 = \frac{1-\beta_1}{1+\beta_1+\beta_1a}, \qquad
   \frac U{U_0} = \Big(1+\frac{\beta_1a}{1+\beta_1}\Big)^{-1/2}, \qquad
   \nu = \frac{1+\beta_1-\frac a2(1-\beta_1)}{1+\beta_1+\beta_1a}

in units of the *whole* gradient, noise and slope, which is what Adam divides by; in units of the noise alone
:math:`U^2/\nu` grows with a. Stable for :math:`a < 2(1+\beta_1)/(1-\beta_1)`, where :math:`\nu = 0`. Slope, direction
and gradient carry on by the roots of

.. math::   z^2 - \big(1+\beta_1-a(1-\beta_1)\big)z + \beta_1 = 0

a damped swing by :math:`\sqrt{\beta_1}` per step for a between :math:`(1-\sqrt{\beta_1})/(1+\sqrt{\beta_1})` and the
inverse of that: positive lags first, then negative ones. All :math:`\rho_k` sum to -1/2 and all lags of the direction
to 0, since the displacement stays bounded.

**A spectrum.** Where each entry of a matrix mixes many directions, all entries have one r, and everything that is
quadratic in the gradient is a mean over curvatures, each with its share w of :math:`\langle g^2\rangle`. With a gamma
law of mean :math:`\bar a` and shape s, at :math:`z = s(1+\beta_1)/(\beta_1\bar a)`,
:math:`(U/U_0)^2 = z^s\,\Psi(s, s, z)` with Tricomi's function.

**Another setting** (`Valley.moved`). What stays is the noise per direction and h. So shares are taken back to the
noise, :math:`p\propto w\nu`, and r is solved for: :math:`r^2 = \sum p/\nu(a)` in units of the noise. It has one
solution for any learning rate: where a direction comes near its limit the gradient grows, and Adam divides by it. On
scale-invariant weights h goes as :math:`1/\|W\|^2` and r as :math:`1/\|W\|`, so a goes with the *relative* step
:math:`\eta/\mathrm{RMS}`, at equilibrium with :math:`\sqrt{\eta\lambda}`; and with the root of the batch size, since r
is mostly noise. Networks do not hold still for that: they train until the sharpest directions are near the edge of
stability (Cohen et al., arXiv 2207.14484). `Valley.scaled` therefore keeps the shares of the gradient instead.

Derivation: the stationary means of :math:`y^2`, :math:`y m_{t-1}` and :math:`m^2`, with :math:`y = hx`, close.

Limits: :math:`a\to0` or :math:`\beta_1 = 0` is noise alone. At the edge of stability :math:`U/U_0 = \sqrt{(1-\beta_1)/
(1+\beta_1)}`, the smallest it can be. Weight decay, :math:`x_{t+1} = \alpha x_t - \eta m_t/r`, changes :math:`U^2` by a
fraction of order :math:`\eta\lambda/(1-\beta_1)` where the bottom stays (`derive_moments` has it); scale-invariant
weights and their bottom shrink alike, and nothing changes.

What it is for: on tangent gradients the norm knows of the gradients' memory through U and in no other way
(`theory.persistent_gradients`). W is a large matrix and x a small part of it; the rest of W turns on.

Where it fails: entries with a valley each of their own have an r each of their own, and are single valleys; a bottom
that moves adds a signal; beta2 near beta1 (U .9 % lower at 0.95 both). In networks the curvature depends on how they
are trained: fitted at one beta1, U is right to 1.3 % at others, but a grows less than :math:`\sqrt{\eta\lambda}` and
more than the root of the batch (`docs/valley`). The recursion is heavy-ball momentum (Polyak 1964); derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter, require_number
from theory.momentum import stationary_update_rms
from theory.roots import root_between
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

LARGEST = 1e9  # curvature or shape; the integral over a gamma law, whose shape is at least 1/LARGEST, holds as far
EDGE = 0.98  # of the stability limit: as far as curvatures go
SUMMED = 1e3  # weight of the condition that shares sum to 1, against lags of order 1
GRID = np.concatenate([[0.0], np.geomspace(1e-4, 1, 240)])  # curvatures of a fit, over the largest
BINS = np.geomspace(1e-6, 1, 400)  # edges of a gamma law, over the largest curvature


# Derivations


def derive_moments() -> dict[str, sp.Expr]:
    r"""``U2``, ``noise`` (:math:`\nu`) and ``ym`` (mean of :math:`y_tm_{t-1}`) per :math:`\langle g^2\rangle`, in a,
    beta_1 and alpha; ``yy`` is :math:`1-\nu`."""
    a, beta1, alpha = positive("a beta_1 alpha")
    yy, before, mm, nn = sp.symbols("yy before mm nn")
    along = beta1 * before + (1 - beta1) * yy  # mean of y m
    equations = [
        sp.Eq(yy, alpha**2 * yy - 2 * alpha * a * along + a**2 * mm),
        sp.Eq(before, alpha * along - a * mm),
        sp.Eq(mm, beta1**2 * mm + 2 * beta1 * (1 - beta1) * before + (1 - beta1) ** 2 * (yy + nn)),
    ]
    (found,) = sp.solve(equations, [yy, before, mm], dict=True)
    whole = found[yy] + nn
    return {name: sp.cancel(v / whole) for name, v in (("U2", found[mm]), ("noise", nn), ("ym", found[before]))}


def derive_stability_limit() -> sp.Expr:
    """The curvature at which a root of the recursion without noise reaches -1."""
    a, beta1 = positive("a beta_1")
    z = sp.Symbol("z")
    step = sp.Matrix([[1 - a * (1 - beta1), -a * beta1], [1 - beta1, beta1]])  # of (y_t, m_{t-1})
    (limit,) = sp.solve(step.charpoly(z).as_expr().subs(z, -1), a)
    return sp.factor(limit)


def derive_lags(num_lags: int) -> dict[str, dict[str, sp.Expr]]:
    r"""``gradient``: :math:`\rho_k` from lag 1 on; ``direction``: :math:`\langle u_tu_{t+k}\rangle` from lag 0 on.

    Without decay; keys ``lag k``.
    """
    a, beta1, alpha = positive("a beta_1 alpha")
    at = {name: value.subs(alpha, 1) for name, value in derive_moments().items()}
    gm = beta1 * at["ym"] + (1 - beta1)  # mean of g_t m_t
    ym = beta1 * at["ym"] + (1 - beta1) * (1 - at["noise"])
    of_gradient: dict[str, sp.Expr] = {}
    of_direction = {"lag 0": at["U2"]}
    for state, lags in (
        ([1 - at["noise"] - a * gm, gm], of_gradient),
        ([ym - a * at["U2"], at["U2"]], of_direction),
    ):
        y, m = state
        for k in range(num_lags):
            after = beta1 * m + (1 - beta1) * y
            lags[f"lag {k + 1}"] = sp.cancel(y if lags is of_gradient else after)
            y, m = y - a * after, after
    return {"gradient": of_gradient, "direction": of_direction}


# One curvature, or a gamma law


def stability_limit(beta1: ArrayLike) -> Array:
    """The curvature a at which the swing no longer decays."""
    b = _momentum(beta1)
    return 2 * (1 + b) / (1 - b)


def noise_share(curvature: ArrayLike, beta1: ArrayLike) -> Array:
    r""":math:`\nu`; 0 at the stability limit, and not a share beyond."""
    x, b = np.asarray(curvature, dtype=np.float64), _momentum(beta1)
    return (1 + b - x * (1 - b) / 2) / (1 + b + b * x)


def direction_ratio(curvature: ArrayLike, beta1: ArrayLike, shape: ArrayLike | None = None) -> Array:
    r"""U/U_0: the RMS of Adam's direction over that in white noise (`theory.momentum.stationary_update_rms`).

    Parameters
    ----------
    curvature : a, at least 0; with ``shape`` the mean of a gamma law, weighted by the mean square of the gradient.
    shape : of the gamma law, above 0; none is one curvature, below the stability limit. Both within `LARGEST`.

    All arguments broadcast: a curvature per step gives a ratio per step.

    Raises
    ------
    InvalidParameter : a value outside its range.

    Examples
    --------
    >>> from theory.valley import direction_ratio
    >>> direction_ratio(1.0, 0.9).round(4).item(), direction_ratio(1.0, 0.9, shape=0.5).round(4).item()
    (0.8238, 0.8748)
    """
    x, b = np.asarray(curvature, dtype=np.float64), _momentum(beta1)
    if not np.all((x >= 0) & (x <= LARGEST)):
        raise InvalidParameter("curvature", curvature, f"a number of at least 0 and at most {LARGEST:g}")
    if shape is None:
        if not np.all(x < stability_limit(b)):
            raise InvalidParameter("curvature", curvature, "below the stability limit 2 (1 + beta1)/(1 - beta1)")
        return 1 / np.sqrt(1 + b * x / (1 + b))
    s = np.asarray(shape, dtype=np.float64)
    if not np.all((s >= 1 / LARGEST) & (s <= LARGEST)):
        raise InvalidParameter("shape", shape, f"a number of at least {1 / LARGEST:g} and at most {LARGEST:g}")
    return np.sqrt(_mean_reciprocal(b * x / (1 + b), s))


# A spectrum at one setting


@dataclass(frozen=True, kw_only=True, eq=False)
class Valley:
    r"""Curvatures as Adam's steps see them at one setting, with their shares.

    Parameters
    ----------
    beta1 : of the setting, in [0, 1).
    curvatures : (n,) a, from 0 to below the stability limit.
    shares : (n,) of the mean square of the gradient, at least 0; they sum to 1.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    beta1: float
    curvatures: Array
    shares: Array

    def __post_init__(self) -> None:
        limit = float(stability_limit(require_number("beta1", self.beta1, at_least=0, below=1)))
        if self.curvatures.ndim != 1 or not np.all((self.curvatures >= 0) & (self.curvatures < limit)):
            raise InvalidParameter(
                "curvatures", self.curvatures, f"a list of numbers of at least 0 and below {limit:g}"
            )
        if (
            self.shares.shape != self.curvatures.shape
            or not np.all(self.shares >= 0)
            or not abs(self.shares.sum() - 1) < 1e-6
        ):
            raise InvalidParameter("shares", self.shares, "numbers of at least 0 that sum to 1, one per curvature")

    @classmethod
    def gamma(cls, mean: float, shape: float, beta1: float) -> Self:
        """A gamma law in bins, each at its own mean; what lies beyond 0.98 of the stability limit is put there."""
        from scipy.special import gammainc

        require_number("mean", mean, above=0)
        require_number("shape", shape, above=0)
        edges = np.concatenate([[0.0], EDGE * float(stability_limit(beta1)) * BINS])
        below = np.append(gammainc(shape, edges * shape / mean), 1.0)
        moment = np.append(gammainc(shape + 1, edges * shape / mean), 1.0)
        shares, sums = np.diff(below), mean * np.diff(moment)
        kept = shares > 1e-9
        at = np.minimum(sums[kept] / shares[kept], edges[-1])
        return cls(beta1=beta1, curvatures=at, shares=shares[kept] / shares[kept].sum())

    @classmethod
    def fitted(cls, autocorrelation: ArrayLike, beta1: float, *, largest: float | None = None) -> Self:
        r"""The spectrum of non-negative shares whose :math:`\rho_1,\rho_2,\dots` come nearest, by least squares.

        largest : curvature that is tried, above 0; 0.98 of the stability limit by default. Those near it are hard to
        tell from errors of the lags, and matter much to `moved`.
        """
        from scipy.optimize import nnls

        lags, edge = _lags(autocorrelation), EDGE * float(stability_limit(beta1))
        curvatures = GRID * require_number("largest", edge if largest is None else largest, above=0, at_most=edge)
        table = _carried(curvatures, beta1, len(lags), of_direction=False)
        rows = np.vstack([table, np.full(len(curvatures), SUMMED)])
        shares, _ = nnls(rows, np.append(lags, SUMMED))
        kept = shares > 0
        return cls(beta1=beta1, curvatures=curvatures[kept], shares=shares[kept] / shares.sum())

    @classmethod
    def fitted_gamma(cls, autocorrelation: ArrayLike, beta1: float) -> tuple[float, float]:
        r"""Mean and shape of the gamma law whose :math:`\rho_1,\rho_2,\dots` come nearest, by least squares."""
        from scipy.optimize import least_squares

        lags = _lags(autocorrelation)

        def misses(logarithms: Array) -> Array:
            mean, shape = np.exp(logarithms)
            return cls.gamma(mean, shape, beta1).gradient_autocorrelation(len(lags)) - lags

        found = least_squares(misses, np.log([1.0, 0.5]), bounds=(np.log([1e-3, 0.02]), np.log([20.0, 20.0])))
        mean, shape = np.exp(found.x).tolist()
        return mean, shape

    @property
    def direction_ratio(self) -> float:
        r""":math:`U/U_0`."""
        return float(np.sqrt(self.shares @ direction_ratio(self.curvatures, self.beta1) ** 2))

    def gradient_autocorrelation(self, num_lags: int) -> Array:
        r"""(num_lags,) :math:`\rho_1,\rho_2,\dots`"""
        return _carried(self.curvatures, self.beta1, num_lags, of_direction=False) @ self.shares

    def direction_autocovariance(self, num_lags: int) -> Array:
        r"""(num_lags + 1,) :math:`\langle u_tu_{t+k}\rangle` from :math:`U^2` at k = 0 on."""
        return _carried(self.curvatures, self.beta1, num_lags, of_direction=True) @ self.shares

    def moved(self, *, factor: float = 1.0, beta1: float | None = None) -> Self:
        r"""The same valley at another setting, noise and curvature h as they were.

        factor : of :math:`\eta h` over the RMS of the *noise*; a moves by less, since r has the slope in it as well.
        """
        after = require_number("beta1", self.beta1 if beta1 is None else beta1, at_least=0, below=1)
        require_number("factor", factor, above=0)
        share = self.shares * noise_share(self.curvatures, self.beta1)
        noise = share.sum()
        power, curvature = share / noise, factor * self.curvatures / np.sqrt(noise)

        def excess(r: Array) -> Array:
            by_direction = r[..., None]
            return 1 - np.sum(power / (by_direction**2 * noise_share(curvature / by_direction, after)), axis=-1)

        edge = float(curvature.max() / stability_limit(after))
        low, high = max(edge * (1 + 1e-12), 1 - 1e-12), max(2 * edge, np.sqrt(2 / (1 - after)))
        at_limit = excess(np.array(low)) >= 0  # to twelve digits
        r = low if at_limit else float(root_between(excess, low, high))
        shares = power / (r**2 * noise_share(curvature / r, after))
        if at_limit:
            shares[curvature.argmax()] += 1 - shares.sum()
        return type(self)(beta1=after, curvatures=curvature / r, shares=shares / shares.sum())

    def scaled(self, *, factor: float = 1.0, beta1: float | None = None) -> Self:
        """With all curvatures ``factor`` times as large, shares as they were; what comes beyond 0.98 of the stability
        limit is put there."""
        after = require_number("beta1", self.beta1 if beta1 is None else beta1, at_least=0, below=1)
        require_number("factor", factor, at_least=0)
        at = np.minimum(factor * self.curvatures, EDGE * float(stability_limit(after)))
        return type(self)(beta1=after, curvatures=at, shares=self.shares)


def _carried(curvatures: Array, beta1: float, num_lags: int, *, of_direction: bool) -> Array:
    """Lags by curvature: of the gradient from lag 1 on, (num_lags, n), or of the direction from lag 0 on."""
    b, noise = beta1, noise_share(curvatures, beta1)
    square = stationary_update_rms(b) ** 2 * direction_ratio(curvatures, b) ** 2
    before = -curvatures * square / 2  # mean of y_t m_{t-1}
    if of_direction:
        y, m = before, square
    else:
        m = b * before + 1 - b
        y = 1 - noise - curvatures * m
    rows = [square] if of_direction else []
    for _ in range(num_lags):
        after = b * m + (1 - b) * y
        rows.append(after if of_direction else y)
        y, m = y - curvatures * after, after
    return np.array(rows)


def _mean_reciprocal(mean: Array, shape: Array) -> Array:
    r"""Mean of 1/(1 + X) over a gamma law, :math:`z^s\Psi(s,s,z)` = :math:`z^se^z\Gamma(1-s,z)` at z = shape/mean.

    As the integral over :math:`e^{-t}`, which keeps its digits for any shape:
    :math:`\int_0^\infty e^{-t}(1 + t\,mean/shape)^{-shape}dt`.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t = np.exp(nodes * 21 - 17)  # from e^-38 to e^4
    scale = np.asarray(mean / shape)[..., None]
    return np.sum(weights * 21 * t * np.exp(-t - shape[..., None] * np.log1p(t * scale)), axis=-1)


def _momentum(beta1: ArrayLike) -> Array:
    b = np.asarray(beta1, dtype=np.float64)
    if not np.all((b >= 0) & (b < 1)):
        raise InvalidParameter("beta1", beta1, "at least 0 and below 1")
    return b


def _lags(autocorrelation: ArrayLike) -> Array:
    lags = np.asarray(autocorrelation, dtype=np.float64)
    if lags.ndim != 1 or len(lags) < 2 or not np.all(np.isfinite(lags)):
        raise InvalidParameter("autocorrelation", autocorrelation, "a list of at least two finite numbers, from lag 1")
    return lags


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
