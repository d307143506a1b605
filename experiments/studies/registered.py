"""The studies that have a name on the command line. Each is built when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from experiments.studies import ladder, lr_transfer_small, same_angle
from experiments.sweeps.study import Study

STUDIES: dict[str, Callable[[], Study]] = {
    "lr-transfer-small": lr_transfer_small.study,
    "same-angle": same_angle.study,
    "ladder": ladder.study,
}
