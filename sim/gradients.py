r"""The law of the gradients that drive a simulated matrix.

.. math::
   h_t = \sigma\,\left(n_t + \sqrt S\,s_t\right), \qquad g_t = h_t - W_t\frac{\langle W_t,h_t\rangle}{\|W_t\|^2}

Legend: n noise and s signal, each of unit variance per entry and independent from entry to entry; S signal-to-noise
ratio; :math:`\sigma` constant, or one over the weight RMS as for a scale-invariant loss. Noise and signal may remember
the step before, :math:`n_t = r\,n_{t-1} + \sqrt{1-r^2}\,\xi_t`, and both start in their stationary state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sim.kernels import Law
from theory.checks import InvalidParameter, require_number

Scale = Literal["constant", "inverse-norm"]


@dataclass(frozen=True, kw_only=True)
class GradientNoise:
    """White Gaussian noise of unit RMS, unless told otherwise.

    Parameters
    ----------
    rms : of a noise entry, from 1e-12 to 1e12; under ``inverse-norm`` that at unit weight RMS (``gradient_rms`` of
        `theory.models`).
    scale : "inverse-norm" divides gradients by the weight RMS, which is how the gradient of a scale-invariant loss
        depends on it.
    degrees_of_freedom : of Student's t, above 2; None is Gaussian. The variance is the same. Autocorrelated noise has
        heavy-tailed innovations and a Gaussian start.
    autocorrelation : of the noise from one step to the next, in (-1, 1).
    signal_to_noise : mean square of the signal over that of the noise, at least 0.
    signal_persistence : of the signal from one step to the next, in [0, 1]; 1 is a direction that never turns.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    rms: float = 1.0
    scale: Scale = "constant"
    degrees_of_freedom: float | None = None
    autocorrelation: float = 0.0
    signal_to_noise: float = 0.0
    signal_persistence: float = 1.0

    def __post_init__(self) -> None:
        require_number("rms", self.rms, at_least=1e-12, at_most=1e12)
        if self.scale not in ("constant", "inverse-norm"):
            raise InvalidParameter("scale", self.scale, "constant or inverse-norm")
        if self.degrees_of_freedom is not None:
            require_number("degrees_of_freedom", self.degrees_of_freedom, above=2, at_most=1e6)
        require_number("autocorrelation", self.autocorrelation, above=-1, below=1)
        require_number("signal_to_noise", self.signal_to_noise, at_least=0, at_most=1e12)
        require_number("signal_persistence", self.signal_persistence, at_least=0, at_most=1)

    def law(self) -> Law:
        """The same for the kernels."""
        return Law(
            rms=float(self.rms),
            inverse_norm=self.scale == "inverse-norm",
            degrees=float(self.degrees_of_freedom or 0.0),
            autocorrelation=float(self.autocorrelation),
            signal=float(np.sqrt(self.signal_to_noise)),
            persistence=float(self.signal_persistence),
        )
