"""First passages: measured against predicted, and the ratio along the memory of the second moment."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from experiments.reports.png import png_bytes
from experiments.studies.transient_length.figure import SIDES, against

ENDS = (300, 3000)
ARCHITECTURES = {"scale-invariant": "scale-invariant", "gpt2": "classic GPT-2"}
BOUND = 0.25  # of the memory
STEPS, MEMORIES = (300, 500, 1000, 2000, 3000), (0.02, 0.05, 0.1, 0.2)


def draw(settings: pd.DataFrame) -> bytes:
    """A PNG with a row per architecture."""
    figure, panels = plt.subplots(2, 2, figsize=(9.6, 7.6), layout="constrained")
    for row, (architecture, name) in zip(panels, ARCHITECTURES.items(), strict=True):
        found = settings[settings["architecture"] == architecture]
        against(row[0], found, ENDS)
        for axis in (row[0].xaxis, row[0].yaxis):
            axis.set_ticks(STEPS, labels=[f"{steps:,}" for steps in STEPS])
        row[0].minorticks_off()
        row[0].set_title(name, fontsize=10)
        memory = 2 * found["learning_rate"] * found["weight_decay"] / (1 - found["beta2"])
        for side, marker in SIDES.items():
            here = (found["start"] < 1) == (side == "below")
            ratio = (found["first_passage"] / found["first_passage_measured_ratio"])[here]
            row[1].plot(memory[here], ratio, marker, color="#0072B2", ms=5, label=f"start {side}", fillstyle="none")
        row[1].axhline(1, color="0.6", lw=0.8)
        row[1].axvline(BOUND, color="0.6", lw=0.8, ls=":")
        row[1].set(
            xscale="log",
            yscale="log",
            xlabel="2 x rate x decay / (1 - beta2)",
            ylabel="first passage, measured / predicted",
            ylim=(0.4, 2.5),
        )
        row[1].set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
        row[1].set_xticks(MEMORIES, [f"{memory:g}" for memory in MEMORIES])
        row[1].minorticks_off()
        row[1].legend(fontsize=8, frameon=False)
    return png_bytes(figure, dpi=110)
