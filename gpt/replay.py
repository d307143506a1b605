r"""The angles of one run under the norms of another: what acts through direction, and what through length.

A step takes a matrix from :math:`W` to :math:`W + D`, with D whatever the optimizer does, decay included. Only the part
of D across W turns it, so the new direction lies in the plane of W and :math:`D_\perp`. A steered step goes to

.. math:: W' = R'\,(\cos\theta\;\hat W + \sin\theta\;\hat D_\perp), \qquad D_\perp = D - \hat W\langle\hat W, D\rangle

with the angle :math:`\theta` and the norm :math:`R'` taken from elsewhere (`gpt.config.Steering`). With the angles and
norms of the same run this is the identity: :math:`W' = W + D`.

The gradient of a scale-invariant matrix is homogeneous of degree -1 in its norm, :math:`g(cW) = g(W)/c`. A matrix
held at norm R that stands for one of norm :math:`R_t` therefore sees a gradient that is larger by :math:`R_t/R`. Adam
divides this factor out only if it does not change within the memory of its averages, and adds an eps of fixed size. So
the gradient is multiplied by :math:`R/R_t` before anything else sees it (``Steering.rescale_gradients``): the moments
are then those of the recorded run, and in an exactly scale-invariant model the whole run is the recorded one, step by
step, with other norms. Whatever difference remains is the radial channel of a model that is not scale-invariant.
(Derived here.)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpt.config import Steering, TrainConfig
from theory.checks import InvalidParameter
from theory.trajectory import Trajectory

SMALLEST, LARGEST = 1e-30, 1e30  # norms whose ratios are numbers


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What every step of a run did to every block matrix.

    Attributes
    ----------
    matrices : names.
    angles : (num_steps, num_matrices), radians, between :math:`W_t` and :math:`W_{t+1}`.
    rms : (num_steps + 1, num_matrices), of :math:`W_0` to :math:`W_T`.

    Raises
    ------
    InvalidParameter : an angle that is none, or a norm that is none of a matrix, from `SMALLEST` to `LARGEST`.
    """

    matrices: tuple[str, ...]
    angles: NDArray[np.float64]
    rms: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not np.all((self.angles >= 0) & (self.angles <= math.pi)):
            raise InvalidParameter("recording", "its angles", "between 0 and pi")
        if not np.all((self.rms >= SMALLEST) & (self.rms <= LARGEST)):
            raise InvalidParameter("recording", "its norms", f"from {SMALLEST:g} to {LARGEST:g}")

    @property
    def digest(self) -> str:
        """Sixteen hex digits that tell this recording from any other."""
        content = hashlib.sha256("\n".join(self.matrices).encode())
        for values in (self.angles, self.rms):
            content.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return content.hexdigest()[:16]


def recording_of(trajectory: Trajectory, final_weight_rms: Mapping[str, float], num_steps: int) -> Recording:
    """The recording of a run of ``num_steps`` steps from its trajectory and its last weights.

    Raises `InvalidParameter` if a step is missing: record with ``record_every = 1``.
    """
    if not np.array_equal(trajectory.steps, np.arange(num_steps)):
        raise InvalidParameter("record_every", "another value", "1 in a run whose angles are to be replayed")
    if set(final_weight_rms) != set(trajectory.matrices):
        raise InvalidParameter("final_weight_rms", sorted(final_weight_rms), "given for each matrix of the recording")
    last = np.array([final_weight_rms[name] for name in trajectory.matrices], np.float64)
    return Recording(
        matrices=trajectory.matrices,
        angles=trajectory.angular_update,
        rms=np.vstack([trajectory.weight_rms, last]),
    )


class Steer:
    """Takes the steps of the block matrices out of the optimizer's hands; three calls per step:

        steer.scale_gradients(step)
        steer.remember()
        optimizer.step()
        steer.turn(step)

    Build it on the initial weights, whose norms are the fixed ones.
    """

    def __init__(self, matrices: Mapping[str, Tensor], config: TrainConfig, recording: Recording | None) -> None:
        assert config.steering is not None
        steering, num_steps = config.steering, config.schedule.num_steps
        self._matrices = list(matrices.values())
        self._before: list[Tensor] = []
        rms = np.array([float(w.detach().double().square().mean().sqrt()) for w in self._matrices])
        recorded = _checked(recording, steering, tuple(matrices), num_steps)
        if steering.angle is None:
            assert recorded is not None
            self._angles = recorded.angles
        else:
            self._angles = np.tile(steering.angle * config.schedule.multipliers()[:, None], (1, len(rms)))
        self._rms = np.tile(rms, (num_steps + 1, 1))
        if steering.norm == "recorded":
            assert recorded is not None
            self._rms = recorded.rms
        rescaled = recorded is not None and steering.rescale_gradients
        self._gradient_factors = self._rms / recorded.rms if rescaled and recorded is not None else None

    def scale_gradients(self, step: int) -> None:
        """Give each gradient the size it would have at the recorded norm; before clipping."""
        if self._gradient_factors is not None:
            for w, factor in zip(self._matrices, self._gradient_factors[step].tolist(), strict=True):
                if w.grad is not None:
                    w.grad.mul_(factor)

    @torch.no_grad()
    def remember(self) -> None:
        """Keep the weights; right before ``optimizer.step()``."""
        self._before = [w.to(torch.float64, copy=True) for w in self._matrices]

    @torch.no_grad()
    def turn(self, step: int) -> None:
        """Replace what the optimizer made of the weights; right after ``optimizer.step()``."""
        angles, rms = self._angles[step].tolist(), self._rms[step + 1].tolist()
        for w, before, angle, target in zip(self._matrices, self._before, angles, rms, strict=True):
            w.copy_(rotated(before, w.double(), angle) * (target * math.sqrt(w.numel())))
        self._before = []


def rotated(before: Tensor, after: Tensor, angle: float) -> Tensor:
    """Unit matrix at ``angle`` radians from ``before``, in the plane of both and on the side of ``after``; float64.

    If the two are parallel there is no such plane, and ``before`` keeps its direction.
    """
    along = before / before.norm()
    across = after - before
    for _ in range(2):  # the second pass removes what rounding left of a long radial part
        across = across - along * (along * across).sum()
    size = float(across.norm())
    if size == 0:
        return along
    turned = along * math.cos(angle) + across * (math.sin(angle) / size)
    return turned / turned.norm()


def _checked(
    recording: Recording | None, steering: Steering, matrices: tuple[str, ...], num_steps: int
) -> Recording | None:
    if steering.recording is None:
        return None
    if recording is None or recording.digest != steering.recording:
        given = None if recording is None else recording.digest
        raise InvalidParameter("recording", given, f"the recording {steering.recording} (lrbend replay gives it)")
    if recording.matrices != matrices or recording.angles.shape[0] != num_steps:
        raise InvalidParameter(
            "recording", recording.digest, f"of {len(matrices)} matrices of this model over {num_steps} steps"
        )
    return recording
