"""The one result type that theory, simulation and training share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIELDS = ("weight_rms", "angular_update", "relative_update", "update_rms", "cosine")
OPTIONAL_FIELDS = ("radial_gradient",)


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    r"""How the norm and the direction of each matrix move.

    A record at step ``t`` (0-based) speaks of the step that takes :math:`W_t` to :math:`W_{t+1}`.

    Attributes
    ----------
    steps : (num_records,) int64, increasing.
    matrices : names of the matrices.
    weight_rms : (num_records, num_matrices), root mean square of the entries of :math:`W_t`.
    angular_update : same shape, angle between :math:`W_t` and :math:`W_{t+1}` in radians.
    relative_update : same shape, :math:`\|W_{t+1}-W_t\|_F / \|W_t\|_F`.
    update_rms : same shape, root mean square of the optimizer's direction :math:`u_t` (before the learning
        rate, without weight decay; 1 for a sign update).
    cosine : same shape, :math:`\cos(W_t, u_t)`.
    radial_gradient : same shape, mean over the entries of :math:`W_t g_t/(\sqrt{\hat v_t} + \epsilon)`, the gradient of
        this step along the weights as Adam sees it; NaN where it is not known, None where nobody looked.

    Raises
    ------
    ValueError : shapes that do not fit together, or steps that do not increase.
    """

    steps: NDArray[np.int64]
    matrices: tuple[str, ...]
    weight_rms: NDArray[np.float64]
    angular_update: NDArray[np.float64]
    relative_update: NDArray[np.float64]
    update_rms: NDArray[np.float64]
    cosine: NDArray[np.float64]
    radial_gradient: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.steps), len(self.matrices))
        for field, values in self.fields().items():
            if values.shape != shape:
                raise ValueError(f"{field} has shape {values.shape}, expected {shape}")
        if np.any(np.diff(self.steps) <= 0):
            raise ValueError("steps must increase")

    def fields(self) -> dict[str, NDArray[np.float64]]:
        """What the records hold, by name, without the optional fields that are not there."""
        present = (*FIELDS, *(field for field in OPTIONAL_FIELDS if getattr(self, field) is not None))
        return {field: getattr(self, field) for field in present}

    def at(self, steps: NDArray[np.int64]) -> Trajectory:
        """The records at the given steps; ValueError if one of them was not recorded."""
        index = np.searchsorted(self.steps, steps)
        if np.any(index >= len(self.steps)) or np.any(self.steps[index] != steps):
            raise ValueError("a step was asked for that the trajectory does not hold")
        return Trajectory(
            steps=self.steps[index],
            matrices=self.matrices,
            **{field: values[index] for field, values in self.fields().items()},
        )


def record_steps(num_steps: int, record_every: int = 1) -> NDArray[np.int64]:
    """Steps to record in a run: every ``record_every``-th from 0 on, and the last one."""
    steps = np.arange(0, num_steps, record_every, dtype=np.int64)
    return steps if steps[-1] == num_steps - 1 else np.append(steps, num_steps - 1)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
