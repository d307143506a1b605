"""From an optimizer's specification to its model: three kinds of dynamics, each with its equilibrium and its moments.

- `Decoupled`: decay beside an update that does not depend on the weights (AdamW, AdamC, Lion, SignSGDM, Muon).
- `OnSphere`: the norm is held (AdamH, MuonH).
- `FedBack`: the norm acts on the size of the update, or the decay goes through it (SGDM, Adam with L2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from theory import adam_l2, adamc, driven, lion, momentum, muon, second_moment, sgdm, stationary
from theory.checks import InvalidParameter, require_integer, require_magnitude
from theory.driven import Drive
from theory.optimizers import (
    SGDM,
    AdamC,
    AdamH,
    AdamL2,
    AdamW,
    Lion,
    Muon,
    MuonH,
    Optimizer,
    SignSGDM,
    pytorch_decay,
)
from theory.stationary import Autocovariance

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Equilibrium:
    """Where one setting settles at its peak learning rate.

    ``relaxation_steps`` is None on the sphere, where the norm has nothing to forget.
    """

    weight_rms: float
    angular_update: float
    cosine: float
    relaxation_steps: float | None


class Moments(NamedTuple):
    r"""Second moments along a run of :math:`W_{t+1} = (1-x_t)W_t - e_tu_t`, up to a projection on the sphere.

    ``rho`` (num_steps + 1, num_matrices) squared RMS before each step and after the last; ``p`` mean of W u, ``s`` mean
    square of u, ``steps`` e and ``shrinkage`` x, each of a shape that broadcasts to (num_steps, num_matrices).
    """

    rho: Array
    p: Array
    s: Array
    steps: Array
    shrinkage: Array


@dataclass(frozen=True, eq=False)
class Decoupled:
    """``weight_decay`` at the peak rate, PyTorch's convention; ``shrinkage`` maps the rates of a run to the fraction
    that decay takes off at each step."""

    learning_rate: float
    weight_decay: float
    autocovariance: Callable[[], Autocovariance]
    drive: Callable[[int], Drive]
    shrinkage: Callable[[Array], Array]

    def equilibrium(self, initial_rms: float) -> Equilibrium:
        setting = (self.autocovariance(), self.learning_rate, self.weight_decay)
        return Equilibrium(
            weight_rms=float(stationary.equilibrium_rms(*setting)),
            angular_update=float(stationary.angular_update_equilibrium(*setting)),
            cosine=float(stationary.cosine_equilibrium(*setting)),
            relaxation_steps=float(stationary.relaxation_steps(self.learning_rate, self.weight_decay)),
        )

    def moments(self, rates: Array, initial_rms: Array) -> Moments:
        column, shrinkage = rates[:, None], self.shrinkage(rates)[:, None]
        drive = self.drive(len(rates))
        rho, p = driven.moments(column, shrinkage, drive, initial_rms)
        return Moments(rho, p, drive.variance[:, None], column, shrinkage)

    def num_relaxations(self, rates: Array) -> float | None:
        return 2 * float(np.sum(self.shrinkage(rates)))


@dataclass(frozen=True, eq=False)
class OnSphere:
    learning_rate: float
    autocovariance: Callable[[], Autocovariance]
    drive: Callable[[int], Drive]

    def equilibrium(self, initial_rms: float) -> Equilibrium:
        autocovariance = self.autocovariance()
        decay = stationary.equivalent_decay(autocovariance, self.learning_rate)
        return Equilibrium(
            weight_rms=initial_rms,
            angular_update=float(stationary.angular_update_equilibrium(autocovariance, 1.0, decay)),
            cosine=float(stationary.cosine_equilibrium(autocovariance, 1.0, decay)),
            relaxation_steps=None,
        )

    def moments(self, rates: Array, initial_rms: Array) -> Moments:
        drive = self.drive(len(rates))
        s = drive.variance[:, None]
        rho = np.broadcast_to(np.square(initial_rms), (len(rates) + 1, len(initial_rms)))
        p = driven.sphere_cosines(rates, drive)[:, None] * initial_rms * np.sqrt(s)
        return Moments(rho, p, s, rates[:, None] * initial_rms / np.sqrt(s), np.zeros((len(rates), 1)))

    def num_relaxations(self, rates: Array) -> float | None:
        return None


@dataclass(frozen=True, eq=False)
class FedBack:
    """``settle`` gives the equilibrium, ``run`` the moments rho, p and s, ``relaxation_steps`` those at given rates.

    ``power`` of the squared RMS that relaxes exponentially, on a slow way to equilibrium from afar.
    """

    settle: Callable[[], Equilibrium]
    run: Callable[[Array, Array], tuple[Array, Array, Array]]
    relaxation_steps: Callable[[Array], Array]
    decoupled_decay: float
    power: float = 1.0

    def equilibrium(self, initial_rms: float) -> Equilibrium:
        return self.settle()

    def moments(self, rates: Array, initial_rms: Array) -> Moments:
        table = np.broadcast_to(rates[:, None], (len(rates), len(initial_rms)))
        if len(initial_rms) == 1:  # arrays of one number would take four times as long
            rho, p, s = (column[:, None] for column in self.run(rates, initial_rms[0]))
        else:
            rho, p, s = self.run(table, initial_rms)
        return Moments(rho, p, s, table, self.decoupled_decay * table)

    def num_relaxations(self, rates: Array) -> float | None:
        return float(np.sum(1 / self.relaxation_steps(rates[rates > 0])))


Model = Decoupled | OnSphere | FedBack


def model_of(
    optimizer: Optimizer,
    *,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
) -> Model:
    """The model of a specification.

    Parameters
    ----------
    finite_beta2 : count the scatter of the second moment, in AdamW, AdamC, AdamH and Adam with L2. Off, beta2 -> 1.
    gradient_rms : RMS of a gradient entry at unit weight RMS; matters to SGDM and Adam with L2.
    shape : (d_out, d_in); Muon and MuonH need it.

    Raises
    ------
    InvalidParameter : a value outside its range, a shape that is missing, or a rate, decay or gradient whose powers
        floating-point numbers could not hold.
    """
    require_magnitude("gradient_rms", gradient_rms)
    for name in ("learning_rate", "weight_decay"):
        if value := getattr(optimizer, name, None):
            require_magnitude(name, value)
    match optimizer:
        case AdamW() | AdamC() | AdamH():
            autocovariance, drive = _adam(optimizer, finite_beta2)
        case Lion():
            autocovariance, drive = _sign(optimizer.beta1, optimizer.beta2)
        case SignSGDM():
            autocovariance, drive = _sign(optimizer.beta1, optimizer.beta1)
        case Muon() | MuonH():
            autocovariance, drive = _polar(optimizer, shape)
        case SGDM():
            return _sgdm(optimizer, gradient_rms)
        case AdamL2():
            return _adam_l2(optimizer, gradient_rms, finite_beta2)
        case _:
            assert_never(optimizer)
    if isinstance(optimizer, AdamH | MuonH):
        return OnSphere(optimizer.learning_rate, autocovariance, drive)
    rate, decay = optimizer.learning_rate, pytorch_decay(optimizer)

    def shrinkage(rates: Array) -> Array:
        if isinstance(optimizer, AdamC):
            return rates * adamc.weight_decays(rates, rate, decay)
        return rates * decay if optimizer.decay == "pytorch" else np.full_like(rates, optimizer.weight_decay)

    return Decoupled(rate, decay, autocovariance, drive, shrinkage)


Update = tuple[Callable[[], Autocovariance], Callable[[int], Drive]]


def _adam(optimizer: AdamW | AdamC | AdamH, finite_beta2: bool) -> Update:
    betas = (optimizer.beta1, optimizer.beta2)
    if finite_beta2:
        return lambda: second_moment.autocovariance(*betas), lambda n: second_moment.drive(n, *betas)
    return lambda: momentum.autocovariance(optimizer.beta1), lambda n: momentum.drive(n, *betas)


def _sign(beta1: float, beta2: float) -> Update:
    return lambda: lion.autocovariance(beta1, beta2), lambda n: lion.drive(n, beta1, beta2)


def _polar(optimizer: Muon | MuonH, shape: tuple[int, int] | None) -> Update:
    if shape is None or len(shape) != 2:
        raise InvalidParameter(
            "shape", shape, f"two whole numbers, rows and columns of the matrix, for {optimizer.name}"
        )
    for side in shape:
        require_integer("shape", side, at_least=1)
    beta1, nesterov = optimizer.beta1, optimizer.nesterov
    factor = None if isinstance(optimizer, MuonH) else optimizer.factor(shape)
    return (
        lambda: muon.autocovariance(shape, beta1, nesterov=nesterov, factor=factor),
        lambda n: muon.drive(shape, n, beta1, nesterov=nesterov, factor=factor),
    )


def _sgdm(optimizer: SGDM, gradient_rms: float) -> FedBack:
    decay, beta1, decoupled = optimizer.weight_decay, optimizer.beta1, optimizer.decoupled

    def relaxation_steps(rates: Array) -> Array:
        return sgdm.relaxation_steps(rates, decay, beta1, decoupled=decoupled)

    def settle() -> Equilibrium:
        setting = (optimizer.learning_rate, decay, beta1)
        return Equilibrium(
            weight_rms=float(sgdm.equilibrium_rms(*setting, decoupled=decoupled, gradient_rms=gradient_rms)),
            angular_update=float(sgdm.angular_update_equilibrium(*setting, decoupled=decoupled)),
            cosine=float(sgdm.cosine_equilibrium(*setting, decoupled=decoupled)),
            relaxation_steps=float(relaxation_steps(np.array(optimizer.learning_rate))),
        )

    def run(rates: Array, initial_rms: Array) -> tuple[Array, Array, Array]:
        return sgdm.moments(rates, decay, beta1, initial_rms, decoupled=decoupled, gradient_rms=gradient_rms)

    return FedBack(settle, run, relaxation_steps, decay if decoupled else 0.0, power=2.0)


def _adam_l2(optimizer: AdamL2, gradient_rms: float, finite_beta2: bool) -> FedBack:
    decay, beta1, beta2 = optimizer.weight_decay, optimizer.beta1, optimizer.beta2
    scatter = second_moment.scatter(beta1, beta2) if finite_beta2 else adam_l2.NO_SCATTER

    def relaxation_steps(rates: Array) -> Array:
        return adam_l2.relaxation_steps(rates, decay, beta1, gradient_rms=gradient_rms, scatter=scatter)

    def settle() -> Equilibrium:
        setting = (optimizer.learning_rate, decay, beta1)
        return Equilibrium(
            weight_rms=float(adam_l2.equilibrium_rms(*setting, gradient_rms=gradient_rms, scatter=scatter)),
            angular_update=float(
                adam_l2.angular_update_equilibrium(*setting, gradient_rms=gradient_rms, scatter=scatter)
            ),
            cosine=float(adam_l2.cosine_equilibrium(*setting, gradient_rms=gradient_rms, scatter=scatter)),
            relaxation_steps=float(relaxation_steps(np.array(optimizer.learning_rate))),
        )

    def run(rates: Array, initial_rms: Array) -> tuple[Array, Array, Array]:
        return adam_l2.moments(rates, decay, beta1, beta2, initial_rms, gradient_rms=gradient_rms, scatter=scatter)

    return FedBack(settle, run, relaxation_steps, 0.0)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
