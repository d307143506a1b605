"""The figure of the study: loss against learning rate and against mean angle."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.reports.png import png_bytes


def draw(table: pd.DataFrame) -> bytes:
    """Loss against learning rate and against measured mean angle, a colour per length; a PNG."""
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.6), sharey=True, layout="constrained")
    lengths = sorted(table["num_steps"].unique())
    for place, num_steps in enumerate(lengths):
        for arm, style in (("adamh", "o-"), ("equilibrium", "s--")):
            rows = table[(table["arm"] == arm) & (table["num_steps"] == num_steps)]
            means = rows.groupby("learning_rate")[["loss", "mean_angle"]].agg(["mean", "std", "count"])
            loss, error = means["loss"]["mean"], means["loss"]["std"] / np.sqrt(means["loss"]["count"])
            for panel, x in zip(panels, (means.index, means["mean_angle"]["mean"]), strict=True):
                label = f"{'AdamH' if arm == 'adamh' else 'AdamW'}, {num_steps} steps"
                panel.errorbar(x, loss, yerr=error, fmt=style, color=f"C{place}", ms=4, lw=1, label=label)
    panels[0].set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats per byte)")
    panels[1].set(xscale="log", xlabel="mean angle per step, measured (rad)")
    for panel in panels:
        panel.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    panels[1].set_xticks([0.002, 0.005, 0.01, 0.02, 0.05], ["0.002", "0.005", "0.01", "0.02", "0.05"])
    panels[1].legend(fontsize=8, frameon=False, loc=(1.02, 0.3))
    return png_bytes(figure, dpi=120)
