r"""What is trained with: optimizer specifications, stated once.

The closed forms of `theory`, the kernels of `sim` and the torch optimizers of `gpt` are all built from these objects.
Weight decay follows PyTorch: one step multiplies the weights by ``1 - learning_rate * weight_decay``, unless an
optimizer's ``decay`` says otherwise; that of AdamC follows the rate, that of AdamL2 is coupled. Theory and simulation
cover every `Optimizer`; `gpt.config` says which of them train.

Parameters they share:

learning_rate : peak learning rate eta, above 0. On the sphere the peak step as a fraction of the norm: if u is
    orthogonal to W, one step turns W by ``atan(learning_rate)``.
weight_decay : lam (PyTorch convention), at least 0; ``learning_rate * weight_decay`` must stay below 1, or one step
    would flip the sign of the weights.
decay : "pytorch"; or "independent", where every step takes ``weight_decay`` of the weights, below 1, whatever the rate.
beta1, beta2 : decay rates of the moment averages, in [0, 1). beta1 is the momentum where there is only one.
eps : added to the root of the second moment, at least 0.

Every specification raises `InvalidParameter` for a value outside its range.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from theory.checks import InvalidParameter, require_number
from theory.muon import SCALES, Scale, update_scale

Decay = Literal["pytorch", "independent"]

# Marks a field that older configs do not have. It is left out of files and names while it holds its default, so that
# those configs keep their names.
LATER: dict[str, Any] = {"later": True}


def _without_later(spec: Any) -> str:
    """As a dataclass shows itself, less what came later and is at its default: texts of old configs stay theirs."""
    told = [f for f in fields(spec) if not f.metadata.get("later") or getattr(spec, f.name) != f.default]
    return f"{type(spec).__name__}({', '.join(f'{f.name}={getattr(spec, f.name)!r}' for f in told)})"


@dataclass(frozen=True, kw_only=True)
class AdamW:
    r"""Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101; theory in `theory.adamw`).

    .. math:: W_{t+1} = (1 - \eta_t\lambda) W_t - \eta_t \hat m_t / (\sqrt{\hat v_t} + \epsilon)
    """

    name: ClassVar[str] = "adamw"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    decay: Decay = field(default="pytorch", metadata=LATER)

    __repr__ = _without_later

    def __post_init__(self) -> None:
        _require_decayed(self.learning_rate, self.weight_decay, self.decay)
        _require_adam(self.beta1, self.beta2, self.eps)


@dataclass(frozen=True, kw_only=True)
class AdamH:
    r"""Adam on the sphere of fixed Frobenius norm (Hyperball: arXiv 2606.16899; theory in `theory.adamh`).

    .. math:: W_{t+1} = R\,\mathrm{Norm}(W_t - \eta_t R\,\mathrm{Norm}(u_t)), \qquad R = \|W_0\|_F

    with the bias-corrected Adam direction ``u``. No weight decay.
    """

    name: ClassVar[str] = "adamh"

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, above=0)
        _require_adam(self.beta1, self.beta2, self.eps)


@dataclass(frozen=True, kw_only=True)
class AdamC:
    r"""AdamW with a decay that follows the rate, :math:`\lambda_t = \lambda\eta_t/\eta_{peak}` (Defazio, arXiv
    2506.02285; theory in `theory.adamc`). ``weight_decay`` is the one at the peak."""

    name: ClassVar[str] = "adamc"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _require_decayed(self.learning_rate, self.weight_decay)
        _require_adam(self.beta1, self.beta2, self.eps)


@dataclass(frozen=True, kw_only=True)
class AdamL2:
    r"""Adam with the decay in the gradient, :math:`g + \lambda W` (torch.optim.Adam; theory in `theory.adam_l2`)."""

    name: ClassVar[str] = "adam-l2"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _require_decayed(self.learning_rate, self.weight_decay)
        _require_adam(self.beta1, self.beta2, self.eps)


@dataclass(frozen=True, kw_only=True)
class SGDM:
    r"""SGD with heavy-ball momentum, no dampening (torch.optim.SGD; theory in `theory.sgdm`).

    .. math:: m_t = \beta_1 m_{t-1} + g_t + \lambda W_t, \qquad W_{t+1} = W_t - \eta_t m_t

    With ``decoupled`` the decay stands beside the gradient: :math:`W_{t+1} = (1-\eta_t\lambda)W_t - \eta_t m_t`.
    """

    name: ClassVar[str] = "sgdm"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.9
    decoupled: bool = False

    def __post_init__(self) -> None:
        _require_decayed(self.learning_rate, self.weight_decay)
        require_number("beta1", self.beta1, at_least=0, below=1)
        _require_flag("decoupled", self.decoupled)


@dataclass(frozen=True, kw_only=True)
class Lion:
    r"""The sign of an interpolated momentum (Chen et al., arXiv 2302.06675; theory in `theory.lion`).

    .. math:: W_{t+1} = (1 - \eta_t\lambda) W_t - \eta_t\,\mathrm{sign}(\beta_1m_{t-1} + (1-\beta_1)g_t)

    with :math:`m_t = \beta_2m_{t-1} + (1-\beta_2)g_t`.
    """

    name: ClassVar[str] = "lion"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.9
    beta2: float = 0.99
    decay: Decay = field(default="pytorch", metadata=LATER)

    __repr__ = _without_later

    def __post_init__(self) -> None:
        _require_decayed(self.learning_rate, self.weight_decay, self.decay)
        require_number("beta1", self.beta1, at_least=0, below=1)
        require_number("beta2", self.beta2, at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class SignSGDM:
    r"""The sign of the momentum, with decoupled decay (Bernstein et al., arXiv 1802.04434; theory in `theory.lion`)."""

    name: ClassVar[str] = "signsgdm"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.9
    decay: Decay = field(default="pytorch", metadata=LATER)

    __repr__ = _without_later

    def __post_init__(self) -> None:
        _require_decayed(self.learning_rate, self.weight_decay, self.decay)
        require_number("beta1", self.beta1, at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Muon:
    r"""The orthogonal polar factor of the momentum (Jordan et al., 2024; theory in `theory.muon`).

    .. math:: W_{t+1} = (1 - \eta_t\lambda) W_t - \eta_t\sqrt{\max(1, d_{out}/d_{in})}\;\mathrm{polar}(z_t)

    z is the momentum, or with ``nesterov`` the momentum once more averaged with the gradient. ``scale`` may be another
    factor in front of the polar factor, one of `theory.muon.SCALES`; ``update_ratio``, above 0: RMS of the polar factor
    as it is computed over that of the exact one (`theory.muon.newton_schulz_rms`).
    """

    name: ClassVar[str] = "muon"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.95
    nesterov: bool = True
    decay: Decay = field(default="pytorch", metadata=LATER)
    scale: Scale = field(default="keller-jordan", metadata=LATER)
    update_ratio: float = field(default=1.0, metadata=LATER)

    __repr__ = _without_later

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InvalidParameter("scale", self.scale, f"one of {', '.join(SCALES)}")
        require_number("update_ratio", self.update_ratio, at_least=1e-3, at_most=1e3)
        _require_decayed(self.learning_rate, self.weight_decay, self.decay)
        require_number("beta1", self.beta1, at_least=0, below=1)
        _require_flag("nesterov", self.nesterov)

    def factor(self, shape: tuple[int, int]) -> float:
        """What multiplies the exact polar factor of a matrix (d_out, d_in)."""
        return self.update_ratio * update_scale(shape, self.scale)


@dataclass(frozen=True, kw_only=True)
class MuonH:
    """Muon's direction on the sphere of fixed Frobenius norm, as in `AdamH` (theory in `theory.muon`)."""

    name: ClassVar[str] = "muonh"

    learning_rate: float
    beta1: float = 0.95
    nesterov: bool = True

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, above=0)
        require_number("beta1", self.beta1, at_least=0, below=1)
        _require_flag("nesterov", self.nesterov)


Optimizer = AdamW | AdamH | AdamC | AdamL2 | SGDM | Lion | SignSGDM | Muon | MuonH
OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.name: cls for cls in (AdamW, AdamH, AdamC, AdamL2, SGDM, Lion, SignSGDM, Muon, MuonH)
}


def pytorch_decay(optimizer: Optimizer) -> float:
    """``weight_decay`` in PyTorch's convention at the peak rate: an independent one over the rate; 0 on the sphere."""
    decay: float = getattr(optimizer, "weight_decay", 0.0)
    return decay / optimizer.learning_rate if getattr(optimizer, "decay", "pytorch") == "independent" else decay


def _require_decayed(learning_rate: float, weight_decay: float, decay: str = "pytorch") -> None:
    require_number("learning_rate", learning_rate, above=0)
    require_number("weight_decay", weight_decay, at_least=0)
    if decay not in get_args(Decay):
        raise InvalidParameter("decay", decay, f"one of {', '.join(get_args(Decay))}")
    if decay == "independent":
        if weight_decay >= 1:
            raise InvalidParameter("weight_decay", weight_decay, "below 1: a step takes that share of the weights")
    elif learning_rate * weight_decay >= 1:
        raise InvalidParameter(
            "weight_decay",
            weight_decay,
            f"below 1/learning_rate = {1 / learning_rate:g}"
            " (learning_rate * weight_decay < 1, or a step flips the sign of the weights)",
        )


def _require_adam(beta1: float, beta2: float, eps: float) -> None:
    require_number("beta1", beta1, at_least=0, below=1)
    require_number("beta2", beta2, at_least=0, below=1)
    require_number("eps", eps, at_least=0)


def _require_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidParameter(name, value, "true or false")


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
