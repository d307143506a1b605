"""The map of the transient: its length over (learning rate, weight decay), measured beside predicted."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from experiments.reports.png import png_bytes
from experiments.studies.transient_length.runs import NUM_STEPS

SIDES = {"below": "^", "above": "v"}


def draw(settings: pd.DataFrame) -> bytes:
    """A PNG: for each architecture the plane with measured lengths beside predicted ones, and one against the other."""
    figure, panels = plt.subplots(2, 3, figsize=(13, 7.6), layout="constrained", width_ratios=(3, 3, 3))
    scale = mpl.colors.LogNorm(10, NUM_STEPS)
    for row, (architecture, found) in zip(panels, settings.groupby("architecture", sort=False), strict=False):
        constant = found[found["schedule"] == "constant"]
        for panel, source, title in ((row[0], "", "measured"), (row[1], "_measured_ratio", "predicted")):
            _plane(panel, constant, f"first_passage{source}", scale)
            panel.set_title(f"{architecture}, {title}", fontsize=10)
        figure.colorbar(
            mpl.cm.ScalarMappable(scale, "viridis"), ax=row[1], label="steps until within 10 % of its own end"
        )
        against(row[2], found)
    return png_bytes(figure, dpi=110)


def _plane(panel: Axes, found: pd.DataFrame, column: str, scale: mpl.colors.Normalize) -> None:
    for side, marker in SIDES.items():
        for beta2, shift, side_of_text in ((0.95, 0.93, "right"), (0.99, 1.07, "left")):
            here = found[(found["beta2"] == beta2) & ((found["start"] < 1) == (side == "below"))]
            x, y = here["learning_rate"] * shift, here["weight_decay"]
            known = here[column].notna()
            style: dict[str, Any] = {"marker": marker, "s": 150, "edgecolors": "0.3"}
            panel.scatter(x[known], y[known], c=here[column][known], norm=scale, cmap="viridis", **style)
            panel.scatter(x[~known], y[~known], c="none", **style)
            for a, b, value in zip(x[known], y[known], here[column][known], strict=True):
                panel.annotate(
                    f"{value:.0f}",
                    (a, b),
                    (6 if shift < 1 else -6, 9),
                    textcoords="offset points",
                    ha=side_of_text,
                    fontsize=7,
                )
    rates, decays = sorted(set(found["learning_rate"])), sorted(set(found["weight_decay"]))
    panel.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="weight decay")
    panel.set_xticks(rates, [f"{rate:g}" for rate in rates])
    panel.set_yticks(decays, [f"{decay:g}" for decay in decays])
    panel.minorticks_off()
    panel.set_ylim(0.08, 1.1)


def against(panel: Axes, found: pd.DataFrame, ends: tuple[float, float] = (10, NUM_STEPS)) -> None:
    """First passages measured against predicted, with the line on which they agree between ``ends``, in steps."""
    for held_out, name, fill in ((True, "held-out half", "full"), (False, "design half", "none")):
        here = found[found["held_out"] == held_out]
        predicted, measured = here["first_passage_measured_ratio"], here["first_passage"]
        panel.plot(predicted, measured, "o", color="#0072B2", fillstyle=fill, ms=5, label=name)
    here = found[found["held_out"]]
    panel.plot(
        here["first_passage_white_noise"], here["first_passage"], "x", color="#D55E00", label="white noise, held-out"
    )
    panel.plot(ends, ends, color="0.6", lw=0.8)
    panel.set(xscale="log", yscale="log", xlabel="predicted first passage (steps)", ylabel="measured")
    panel.legend(fontsize=8, frameon=False)
