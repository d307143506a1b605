"""AdamW's best rate against tokens from several initial norms, measured, and by a law that has seen AdamH alone."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.figures.colours import COLOURS
from experiments.figures.style import captioned
from experiments.reports.png import png_bytes
from experiments.studies.angle_law.answers import EQUILIBRIUM, RATES, WEIGHT_DECAY, adamw_angles
from experiments.studies.angle_law.runs import line
from experiments.studies.same_angle.study import NUM_STEPS
from theory.final_loss import FinalLossLaw, best_learning_rate

TOKENS_PER_STEP = 1024
NUM_LENGTHS = 13  # of a curve
CAPTION = (
    "Points: scale-invariant GPTs of width 32 on Python bytes, decay 0.1, linear schedule, with 95 % intervals. Curves:"
    " the law in two angles, fitted to AdamH's runs in the grey range of lengths, at theory's angles."
)
ASIDE = 1.03  # by which points of one length stand apart


def draw_later(optima: pd.DataFrame, law: FinalLossLaw) -> bytes:
    """A PNG: points of `later.later_optima` with their intervals, curves of the law; grey: the lengths of its fit."""
    figure, panel = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    lengths = np.unique(np.geomspace(optima["num_steps"].min(), optima["num_steps"].max(), NUM_LENGTHS).round())
    fitted = (TOKENS_PER_STEP * steps / 1e6 for steps in (min(NUM_STEPS), max(NUM_STEPS)))
    panel.axvspan(*fitted, color="0.93", zorder=0)
    arms = list(dict.fromkeys(optima["arm"]))
    for index, (arm, colour) in enumerate(zip(arms, COLOURS, strict=False)):
        own = optima[optima["arm"] == arm].sort_values("num_steps")
        start = None if arm == EQUILIBRIUM else float(own["initial_rms"].iloc[0])
        curve = [_best(law, int(steps), start) for steps in lengths]
        panel.plot(TOKENS_PER_STEP * lengths / 1e6, curve, color=colour, lw=1.5)
        at = TOKENS_PER_STEP * own["num_steps"] / 1e6 * ASIDE ** (index - (len(arms) - 1) / 2)
        ends = [own["measured"] - own["low"], own["high"] - own["measured"]]
        panel.errorbar(at, own["measured"], yerr=ends, fmt="o", ms=5, color=colour, capsize=2, lw=1)
        told = "its equilibrium" if start is None else f"RMS {start:g}"
        panel.annotate(
            f"from {told}",
            (TOKENS_PER_STEP * lengths[-1] / 1e6, curve[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
        )
    panel.set(xscale="log", yscale="log", xlabel="tokens (millions)", ylabel="AdamW's best peak learning rate")
    panel.set_xlim(0.46, 8.6)
    panel.xaxis.set_major_locator(mpl.ticker.FixedLocator([0.5, 1, 2, 4]))
    panel.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    panel.yaxis.set_major_locator(mpl.ticker.FixedLocator([0.001, 0.003, 0.01, 0.03]))
    panel.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_locator(mpl.ticker.NullLocator())
    captioned(figure, 7.5, "AdamW's best rate from three initial norms, and a law that has seen AdamH alone", CAPTION)
    return png_bytes(figure, dpi=120)


def _best(law: FinalLossLaw, num_steps: int, initial_rms: float | None) -> float:
    angles = adamw_angles(RATES, num_steps, initial_rms, WEIGHT_DECAY)
    return best_learning_rate(law, RATES, angles, line(num_steps))[0]
