r"""What is trained with: optimizer specifications, stated once.

The closed forms of `theory`, the kernels of `sim` and the torch optimizers of `gpt` are all built from
these objects. Weight decay follows PyTorch: one step multiplies the weights by ``1 - learning_rate *
weight_decay``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from theory.parameters import InvalidParameter, require_number


@dataclass(frozen=True, kw_only=True)
class AdamW:
    r"""Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101).

    .. math:: W_{t+1} = (1 - \eta_t\lambda) W_t - \eta_t \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    Parameters
    ----------
    learning_rate : peak learning rate eta, above 0.
    weight_decay : decoupled decay lam (PyTorch convention), at least 0; ``learning_rate * weight_decay``
        must stay below 1, or one step would flip the sign of the weights.
    beta1, beta2 : decay rates of the moment averages, in [0, 1).
    eps : added to the root of the second moment, at least 0.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    name: ClassVar[str] = "adamw"

    learning_rate: float
    weight_decay: float
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, above=0)
        require_number("weight_decay", self.weight_decay, at_least=0)
        _require_adam(self.beta1, self.beta2, self.eps)
        if self.learning_rate * self.weight_decay >= 1:
            raise InvalidParameter(
                "weight_decay",
                self.weight_decay,
                f"below 1/learning_rate = {1 / self.learning_rate:g}"
                " (learning_rate * weight_decay < 1, or a step flips the sign of the weights)",
            )


@dataclass(frozen=True, kw_only=True)
class AdamH:
    r"""Adam on the sphere of fixed Frobenius norm (Hyperball: arXiv 2606.16899; theory in `theory.adamh`).

    .. math:: W_{t+1} = R\,\mathrm{Norm}(W_t - \eta_t R\,\mathrm{Norm}(u_t)), \qquad R = \|W_0\|_F

    with the bias-corrected Adam direction ``u``. No weight decay.

    Parameters
    ----------
    learning_rate : peak step as a fraction of the norm, above 0. If u is orthogonal to W, one step turns
        W by ``atan(learning_rate)``.
    beta1, beta2, eps : as in `AdamW`.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    name: ClassVar[str] = "adamh"

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, above=0)
        _require_adam(self.beta1, self.beta2, self.eps)


Optimizer = AdamW | AdamH
OPTIMIZERS: dict[str, type[AdamW] | type[AdamH]] = {cls.name: cls for cls in (AdamW, AdamH)}


def _require_adam(beta1: float, beta2: float, eps: float) -> None:
    require_number("beta1", beta1, at_least=0, below=1)
    require_number("beta2", beta2, at_least=0, below=1)
    require_number("eps", eps, at_least=0)
