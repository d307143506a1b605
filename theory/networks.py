r"""Which network a prediction speaks of: how gradients depend on the norm, and how large Adam's direction is.

- ``white-noise``: gradients whose scale does not change. The closed forms, and the limit of the others.
- ``scale-invariant``: gradients go like one over the norm (`theory.inverse_norm`): matrices behind a normalisation.
- ``gpt2``: classic GPT-2, whose gradients push the norm itself, and are large at the start (`theory.radial`).

The *direction ratio* is the RMS of Adam's direction over that of white noise; it multiplies the norm and leaves the
angle at equilibrium alone. On real networks successive gradients of an entry swing back, and it is below 1 (``make
direction``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from theory import inverse_norm, models, radial
from theory.checks import InvalidParameter, require_number
from theory.driven import Drive
from theory.models import Decoupled, Equilibrium, FedBack, Moments, OnSphere
from theory.optimizers import AdamC, AdamH, AdamW, Optimizer
from theory.radial import DIRECTION_RATIO, Law
from theory.stationary import Autocovariance

Array = NDArray[np.float64]

WHITE = 1.0


@dataclass(frozen=True, kw_only=True)
class EarlyGradients:
    r"""A gradient that is larger at the start of training, :math:`h_t = 1 + (f-1)e^{-t/\tau}` at unit norm.

    factor : f, size at step 0 over the later one. steps : :math:`\tau`, in which the excess falls to 1/e. Both above 0.
    """

    factor: float
    steps: float

    def __post_init__(self) -> None:
        require_number("factor", self.factor, above=0, at_most=1e6)
        require_number("steps", self.steps, above=0)

    def __call__(self, num_steps: int) -> Array:
        """(num_steps,) relative sizes."""
        return 1 + (self.factor - 1) * np.exp(-np.arange(num_steps) / self.steps)


@dataclass(frozen=True, kw_only=True)
class DirectionHistory:
    """Adam's direction along a run, from measurements: straight between ``steps``, constant outside of them.

    steps : increasing, at least 0. ratios : one per step, above 0. Raises `InvalidParameter`.
    """

    steps: tuple[int, ...]
    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.steps or self.steps[0] < 0 or np.any(np.diff(self.steps) <= 0):
            raise InvalidParameter("steps", self.steps, "increasing whole numbers of at least 0")
        if len(self.ratios) != len(self.steps):
            raise InvalidParameter("ratios", self.ratios, f"{len(self.steps)} numbers, one per step")
        for ratio in self.ratios:
            require_number("ratios", ratio, at_least=1e-3, at_most=1e3)

    def __call__(self, num_steps: int) -> Array:
        """(num_steps,) ratios."""
        return np.interp(np.arange(num_steps), self.steps, self.ratios)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A kind of network.

    Parameters
    ----------
    name : ``white-noise``, ``scale-invariant`` or ``gpt2``.
    direction_ratio : RMS of Adam's direction over that of white noise, from 1e-3 to 1e3.
    gradient_history : number of steps to the (num_steps,) relative size of the gradient, at unit norm where it follows
        the norm; None is constant, for ``gpt2`` the start of training of `theory.radial.starting_gradients`.
    direction_history : number of steps to (num_steps,) factors on ``direction_ratio``, for ``scale-invariant``; None is
        constant. What a signal that lasts makes of the start of training belongs here.
    law : force factor of ``gpt2``, that of the MLP by default; `theory.radial.KINDS` has others.
    worth : what its predictions are known to be worth, in a sentence.

    Raises
    ------
    InvalidParameter : a ratio outside its range.

    Examples
    --------
    From a small start the second moment remembers large gradients, and the transient lasts twice as long.

    >>> from theory import AdamW, Constant, predict
    >>> from theory.networks import SCALE_INVARIANT, WHITE_NOISE
    >>> optimizer = AdamW(learning_rate=1e-2, weight_decay=0.3, beta2=0.99)
    >>> for network in (WHITE_NOISE, SCALE_INVARIANT):
    ...     run = predict(optimizer, Constant(num_steps=2000), initial_rms=0.035, network=network)
    ...     print(f"{network.name:16} {run.transient_steps} steps to {run.equilibrium_rms:.3f}")
    white-noise      361 steps to 0.127
    scale-invariant  695 steps to 0.112
    """

    name: str
    direction_ratio: float = WHITE
    gradient_history: Callable[[int], Array] | None = None
    direction_history: Callable[[int], Array] | None = None
    law: Law = radial.DEFAULT
    worth: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        require_number("direction_ratio", self.direction_ratio, at_least=1e-3, at_most=1e3)

    @property
    def kind(self) -> str | None:
        """The kind of matrix in `theory.radial.KINDS` whose law this is; None where no law acts, or one of your own."""
        return next((kind for kind, law in radial.KINDS.items() if self.name == "gpt2" and law == self.law), None)

    def direction_ratios(self, num_steps: int) -> Array:
        """(num_steps,) ratio of every step."""
        factors = np.ones(num_steps) if self.direction_history is None else self.direction_history(num_steps)
        return self.direction_ratio * factors


WHITE_NOISE = Network(
    name="white-noise",
    worth="exact for noise of constant scale; real norms mostly settle lower, 12 to 15 % in make validate and up to"
    " 40 % elsewhere (docs/held-out), and later where beta2 remembers long",
)
SCALE_INVARIANT = Network(
    name="scale-invariant",
    direction_ratio=DIRECTION_RATIO,
    worth="simulations to 0.5 %; held-out small models in the median (at worst): angle to 2.5 % (16 %), norm to 7.6 %"
    " (30 %)",
)
# By kind of matrix; norms, and for queries and keys the way to them, are those of docs/held-out.
GPT2_WORTH = {
    "up, down": "a draft; in make validate 2 of 9 predictions of angle and norm are off by more than 20 % (25 % at"
    " worst); norms of Pythia-70M, all matrices as one, to 3 %; norms of held-out small models in the median (at"
    " worst): to 9 % (33 %)",
    "value, output": "a draft; in make validate 6 of 9 predictions of angle and norm are off by more than 20 % (78 % at"
    " worst); norms of held-out small models in the median (at worst): to 22 % (54 %)",
    "query, key": "no law is known that holds; norms of held-out small models in the median (at worst): to 23 %"
    " (126 %), on the way 1.16 times as far off as white noise",
}


def gpt2_matrices(kind: str) -> Network:
    """The network ``gpt2`` for a kind of matrix, a key of `theory.radial.KINDS`. Raises `InvalidParameter`."""
    if kind not in radial.KINDS:
        raise InvalidParameter("kind", kind, f"one of {'; '.join(radial.KINDS)}")
    return Network(name="gpt2", direction_ratio=DIRECTION_RATIO, law=radial.KINDS[kind], worth=GPT2_WORTH[kind])


GPT2 = gpt2_matrices("up, down")
NETWORKS = {network.name: network for network in (WHITE_NOISE, SCALE_INVARIANT, GPT2)}
NetworkLike = Network | str


def as_network(network: NetworkLike) -> Network:
    """The network itself, or that of `NETWORKS` of this name; raises `InvalidParameter`.

    >>> from theory.networks import as_network
    >>> as_network("scale-invariant").direction_ratio
    0.885
    """
    if isinstance(network, Network) and network.name in NETWORKS:
        return network
    if isinstance(network, str) and network in NETWORKS:
        return NETWORKS[network]
    given = network.name if isinstance(network, Network) else network
    raise InvalidParameter(
        "network", given, f"one of {', '.join(NETWORKS)}, or a theory.networks.Network of such a name"
    )


@dataclass(frozen=True, eq=False)
class InverseNorm:
    """Scale-invariant weights under AdamW or AdamC; ``settled`` is the same at constant norm."""

    settled: Decoupled
    beta1: float
    beta2: float
    network: Network

    def equilibrium(self, initial_rms: float) -> Equilibrium:
        rate = inverse_norm.relaxation_rates(self.settled.learning_rate * self.settled.weight_decay, self.beta2)
        return replace(self.settled.equilibrium(initial_rms), relaxation_steps=float(1 / rate))

    def moments(self, rates: Array, initial_rms: Array) -> Moments:
        taken = self.settled.shrinkage(rates)[:, None]
        return moments_of(self.network, rates[:, None], taken, self.beta1, self.beta2, initial_rms)

    def rates_for_angles(
        self, angles: Array, initial_rms: float, *, weight_decay: float = 0.0, share: float = 0.0
    ) -> Array:
        """`theory.inverse_norm.rates_for_angles` with the betas and the network of this model."""
        history = self.network.gradient_history
        return inverse_norm.rates_for_angles(
            angles,
            self.beta1,
            self.beta2,
            initial_rms,
            weight_decay=weight_decay,
            share=share,
            direction_ratio=self.network.direction_ratios(len(angles)),
            gradient_scale=None if history is None else history(len(angles)),
        )

    def num_relaxations(self, rates: Array) -> float | None:
        return float(np.sum(inverse_norm.relaxation_rates(self.settled.shrinkage(rates), self.beta2)))


@dataclass(frozen=True, eq=False)
class RadialGradients:
    """Matrices whose gradients push the norm, under AdamW or AdamC; ``white`` gives rate, decay and shrinkage."""

    white: Decoupled
    beta1: float
    beta2: float
    network: Network

    def equilibrium(self, initial_rms: float) -> Equilibrium:
        rate, decay = self.white.learning_rate, self.white.weight_decay
        ratio, law = self.network.direction_ratio, self.network.law
        settled = radial.equilibrium(rate, decay, self.beta1, direction_ratio=ratio, law=law)
        steps = radial.relaxation_steps(rate, decay, direction_ratio=ratio, law=law)
        return Equilibrium(
            weight_rms=float(settled.weight_rms),
            angular_update=float(settled.angular_update),
            cosine=float(settled.cosine),
            relaxation_steps=float(steps),
        )

    def moments(self, rates: Array, initial_rms: Array) -> Moments:
        taken = self.white.shrinkage(rates)[:, None]
        return moments_of(self.network, rates[:, None], taken, self.beta1, self.beta2, initial_rms)

    def num_relaxations(self, rates: Array) -> float | None:
        taken = self.white.shrinkage(rates)
        decays = taken[taken > 0] / self.white.learning_rate  # the product with a rate is all that matters
        ratio, law = self.network.direction_ratio, self.network.law
        steps = radial.relaxation_steps(self.white.learning_rate, decays, direction_ratio=ratio, law=law)
        return float(np.sum(1 / steps))


def moments_of(
    network: Network, rates: Array, shrinkage: Array, beta1: float, beta2: float, initial_rms: Array
) -> Moments:
    """Of AdamW's weights in any of `NETWORKS`.

    ``rates`` and ``shrinkage`` (num_steps, ...) at every step; ``initial_rms`` broadcasts against a row.
    """
    history = network.gradient_history
    scale = None if history is None else history(len(rates))
    if network.name == "scale-invariant":
        ratios = network.direction_ratios(len(rates))
        return inverse_norm.moments(
            rates, shrinkage, beta1, beta2, initial_rms, direction_ratio=ratios, gradient_scale=scale
        )
    ratio, law = network.direction_ratio, network.law
    if network.name == "white-noise":
        law, scale = radial.NOISE, np.ones(len(rates))
    return radial.moments(
        rates, shrinkage, beta1, beta2, initial_rms, direction_ratio=ratio, gradient_scale=scale, law=law
    )


Model = Decoupled | OnSphere | FedBack | InverseNorm | RadialGradients


def model_of(
    optimizer: Optimizer,
    network: NetworkLike = WHITE_NOISE,
    *,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
) -> Model:
    """The model of a specification in a network, by its name if it is one of `NETWORKS` as it stands; the other
    keywords are those of `theory.models.model_of`.

    Networks other than white noise take beta2 as it is, whatever ``finite_beta2``.

    Raises
    ------
    InvalidParameter : what `theory.models.model_of` refuses; a network that is not known; a network or a direction
        ratio for an optimizer that is not AdamW, AdamC or AdamH; a gradient history where gradients keep their scale.
    """
    network = as_network(network)
    _require_fitting(optimizer, network)
    white = network.name == WHITE_NOISE.name
    model = models.model_of(optimizer, finite_beta2=finite_beta2 or not white, gradient_rms=gradient_rms, shape=shape)
    if not isinstance(optimizer, AdamW | AdamC) or not isinstance(model, Decoupled):
        return model  # on the sphere the size of the update does not act, and that of the gradient stays
    if network.direction_ratio != WHITE:
        model = _resized(model, network.direction_ratio)
    match network.name:
        case "scale-invariant":
            return InverseNorm(model, optimizer.beta1, optimizer.beta2, network)
        case "gpt2":
            return RadialGradients(model, optimizer.beta1, optimizer.beta2, network)
        case _:
            return model


def _require_fitting(optimizer: Optimizer, network: Network) -> None:
    white = network.name == WHITE_NOISE.name
    if not isinstance(optimizer, AdamW | AdamC | AdamH):
        if not white:
            allowed = f"white-noise for {optimizer.name}; others are for adamw, adamc and adamh"
            raise InvalidParameter("network", network.name, allowed)
        if network.direction_ratio != WHITE:
            allowed = f"1 for {optimizer.name}; others are for adamw, adamc and adamh"
            raise InvalidParameter("direction_ratio", network.direction_ratio, allowed)
    if network.direction_history is not None and network.name != SCALE_INVARIANT.name:
        raise InvalidParameter("direction_history", network.direction_history, f"left out for {network.name}")
    if network.gradient_history is not None and (white or isinstance(optimizer, AdamH)):
        where = "white-noise" if white else optimizer.name
        raise InvalidParameter("gradient_history", network.gradient_history, f"left out for {where}")


def _resized(model: Decoupled, ratio: float) -> Decoupled:
    """The same with an update that is ``ratio`` times as large."""

    def autocovariance() -> Autocovariance:
        c = model.autocovariance()
        return replace(c, variance=ratio**2 * c.variance, lags=ratio**2 * c.lags, amplitudes=ratio**2 * c.amplitudes)

    def drive(num_steps: int) -> Drive:
        d = model.drive(num_steps)
        return Drive(
            variance=ratio**2 * d.variance,
            modes=lambda: ((ratio**2 * entry, carry) for entry, carry in d.modes()),
            lags=ratio**2 * d.lags,
        )

    return replace(model, autocovariance=autocovariance, drive=drive)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
