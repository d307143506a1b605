"""The study from its runs to its tables."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.agreement.matrix_networks import FEED_FORWARD
from experiments.files import BadInput, to_json
from experiments.reports.png import png_bytes
from experiments.runs.configs import config_to_dict
from experiments.studies.radial_gradients import fits
from experiments.studies.radial_gradients.runs import by_kind, configs, growth_windows, rows_of
from experiments.studies.workplace import Findings, Workplace
from theory import AdamW
from theory.radial import BURST, DEFAULT, DIRECTION_RATIO, Law

NUMBERS = ("num_entries", "step", "weight_rms", "direction_ratio")
PUBLIC = "LRBEND_PUBLIC_DATA"


def run_study(place: Workplace) -> Findings:
    """``trajectories.csv``, ``windows.csv``, ``laws.csv``, ``pythia.csv``, ``radial.png`` and ``config.json``.

    Raises `BadInput` where the public runs are not to be found.
    """
    if PUBLIC not in os.environ:
        raise BadInput(f"{PUBLIC}: unset; the folder that holds npm_weibull (github.com/tiexinding/NPM-Weibull-public)")
    place.make_folders()
    chosen = configs()
    tables = place.run_tables(chosen, rows_of, numbers=NUMBERS, texts=("run", "matrix", "kind"))
    windows = pd.concat([growth_windows(c, rows) for c, rows in zip(chosen, tables, strict=True)], ignore_index=True)
    kinds = pd.concat([by_kind(rows) for rows in tables], ignore_index=True)
    laws = fits.laws_table([c for c in chosen if isinstance(c.optimizer, AdamW) and c.optimizer.beta2 == 0.95], kinds)
    mlp = laws[(laws["kind"] == FEED_FORWARD) & (laws["left_out"] == "")].iloc[0]  # eight of nine entries of Pythia's
    law = Law(outward=float(mlp["outward"]), valley=float(mlp["valley"]))
    pythia = fits.pythia_table(Path(os.environ[PUBLIC]), law)
    place.write("config.json", to_json([config_to_dict(config) for config in chosen], indent=1) + "\n")
    for name, table in (("trajectories", kinds), ("windows", windows), ("laws", laws), ("pythia", pythia)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    place.write("radial.png", draw(windows, Path(os.environ[PUBLIC])))
    judged = pythia[pythia["law_from"] == "small models"]
    held = judged[
        [
            row["run"] not in row["fitted_to"].split(" + ") and row["run"] != fits.CONTINUED
            for _, row in judged.iterrows()
        ]
    ]
    early, late = held[f"error_before_{fits.LATE}"].max(), held[f"error_from_{fits.LATE}"].max()
    return Findings(answers=pythia, passed=bool(early <= 0.2 and late <= 0.1))


def draw(windows: pd.DataFrame, folder: Path) -> bytes:
    """G against the relative step, and two public runs with their predictions; a PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    settled = windows[(windows["first"] >= 200) & windows["run"].str.contains("beta2 0.95")]
    for kind, found in settled.groupby("kind"):
        left.plot(found["relative_step"], found["growth"], "o", ms=4, label=kind)
    z = np.geomspace(settled["relative_step"].min(), settled["relative_step"].max(), 100)
    left.plot(z, DIRECTION_RATIO**2 * DEFAULT.force(z), "k", label="law of the MLP")
    left.axhline(1, color="0.6", lw=0.8)
    left.set(xscale="log", yscale="log", xlabel="relative step, rate / weight RMS", ylabel="growth G (noise: 1)")
    left.legend(fontsize=8, frameon=False)
    settings = fits.read_settings(folder)
    for name, colour in (("pythia_lr1e-3_wd0.01_seed3", "C0"), ("pythia_lr1e-3_wd0.05", "C1")):
        table = fits.read_pythia(folder, name)
        right.plot(table["step"], table["weight_rms"], "o", ms=3, color=colour, label=name.removeprefix("pythia_"))
        start = float(table["weight_rms"].iloc[0])
        for law, style in ((DEFAULT, "-"), (None, ":")):
            rms = fits.predicted_rms(settings[name], start, law, BURST)
            right.plot(rms, style, lw=1, color=colour)
    right.set(xscale="log", yscale="log", xlim=(50, None), xlabel="step", ylabel="weight RMS (dotted: white noise)")
    right.legend(fontsize=8, frameon=False)
    return png_bytes(figure, dpi=120)
