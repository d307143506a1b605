"""The settings, which are not to be changed any more, and which half each is in."""

from __future__ import annotations

from typing import NamedTuple

from experiments.studies.held_out.runs import Setting, config_of
from gpt.config import Architecture, TrainConfig

RATES: dict[Architecture, tuple[float, ...]] = {
    "scale-invariant": (0.008, 0.016, 0.032, 0.064),
    "gpt2": (0.004, 0.008, 0.016, 0.032),
}
DECAYS = (0.1, 0.2, 0.4, 0.8)
BETAS = ((0.9, 0.95), (0.9, 0.99))
BELOW, ABOVE = 0.35, 2.5  # start over the predicted equilibrium
NUM_STEPS = 800


class Chosen(NamedTuple):
    """A setting of an architecture, and whether it is in the held-out half."""

    architecture: Architecture
    setting: Setting
    held_out: bool

    @property
    def config(self) -> TrainConfig:
        return config_of(self.architecture, self.setting, 0)


def chosen(architecture: Architecture) -> list[Chosen]:
    """All settings of an architecture, constant rates first."""
    found = []
    for i, rate in enumerate(RATES[architecture]):
        for j, decay in enumerate(DECAYS):
            for k, betas in enumerate(BETAS):
                start = BELOW if (i // 2 + j) % 2 == 0 else ABOVE
                setting = Setting(32, rate, decay, *betas, "constant", NUM_STEPS, start, 16)
                found.append(Chosen(architecture, setting, (i + j + k) % 2 == 1))
    for i, rate in enumerate(RATES[architecture]):
        for k, betas in enumerate(BETAS):
            decay, start = DECAYS[(i + 2 * k + 1) % 4], (ABOVE, BELOW)[(i + k) % 2]
            setting = Setting(32, rate, decay, *betas, "wsd", NUM_STEPS, start, 16)
            found.append(Chosen(architecture, setting, (i // 2 + k) % 2 == 1))
    return found


SETTINGS: dict[Architecture, list[Chosen]] = {name: chosen(name) for name in RATES}
