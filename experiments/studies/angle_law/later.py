"""The laws on runs that came after them: AdamH at other lengths, and AdamW's optima at the same width in `bend`.

Nothing of these runs was there when the forms were chosen and the constants fitted. No limit was set before them: told
and not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.studies.angle_law.answers import ADAMH, EQUILIBRIUM, RATES, adamw_angles, pilot_within
from experiments.studies.angle_law.fit import CONSTANT, LINE, Cell, cells_of_rates, errors_of, fit_law, predicted
from experiments.studies.angle_law.runs import line
from experiments.studies.same_angle.study import NUM_STEPS
from theory import Constant, Linear
from theory.final_loss import FinalLossLaw, best_learning_rate

WIDTH = 32  # of all runs that the laws are fitted to
INSIDE = (min(NUM_STEPS), max(NUM_STEPS))  # lengths of the fit


def later_cells(bend: pd.DataFrame, moved_optimum: pd.DataFrame, constant: pd.DataFrame) -> list[Cell]:
    """AdamH's cells in the runs of these three studies that the laws have not seen."""

    def later(table: pd.DataFrame, arm: str) -> pd.DataFrame:
        return table[(table["arm"] == arm) & ~table["num_steps"].isin(NUM_STEPS)]

    lines = pd.concat([later(bend[bend["width"] == WIDTH], ADAMH), later(moved_optimum, ADAMH)])
    flat = later(constant, CONSTANT)
    return [*cells_of_rates(lines, LINE, Linear), *cells_of_rates(flat, CONSTANT, Constant)]


def later_losses(cells: Sequence[Cell], earlier: Sequence[Cell], laws: Mapping[str, FinalLossLaw]) -> pd.DataFrame:
    """A row per cell: mean loss with its error, and a column per law."""
    errors = errors_of([*earlier, *cells])[len(earlier) :]
    rows = [{"shape": c.shape, "num_steps": c.num_steps, "level": c.level, "loss": c.losses.mean()} for c in cells]
    told = {name: predicted(law, cells) for name, law in laws.items()}
    return pd.DataFrame(rows).assign(error=errors, **told)


def later_optima(bend: pd.DataFrame, laws: Mapping[str, FinalLossLaw]) -> pd.DataFrame:
    """A row per optimum of AdamW at this width in the optima of `bend`: measured with its interval, and each law's."""
    known = bend[(bend["width"] == WIDTH) & (bend["arm"] != ADAMH) & (bend["status"] == "interior")]
    rows = []
    for row in known.to_dict("records"):
        start = None if row["arm"] == EQUILIBRIUM else float(row["initial_rms"])
        steps = int(row["num_steps"])
        angles = adamw_angles(RATES, steps, start, float(row["weight_decay"]))
        best = {name: best_learning_rate(law, RATES, angles, line(steps))[0] for name, law in laws.items()}
        told = {name: row[name] for name in ("arm", "num_steps", "initial_rms")}
        rows.append({**told, "measured": row["learning_rate"], "low": row["low"], "high": row["high"], **best})
    return pd.DataFrame(rows)


def cells_inside(cells: Sequence[Cell], name: str) -> list[Cell]:
    """Those inside the lengths of the fits; for the law in two clocks without constant rates, as in its own."""
    inside = [cell for cell in cells if INSIDE[0] <= cell.num_steps <= INSIDE[1]]
    return [cell for cell in inside if name == "law" or cell.shape != CONSTANT]


def later_answers(
    losses: pd.DataFrame,
    optima: pd.DataFrame,
    cells: Sequence[Cell],
    earlier: Sequence[Cell],
    laws: Mapping[str, FinalLossLaw],
) -> pd.DataFrame:
    """A row per question and law: misses of losses inside and outside the lengths of the fit, chi^2 per degree of
    freedom of the form fitted to all cells, how many of AdamW's optima hold the law's in their interval; and of each
    form fitted again to its `cells_inside`, chi^2 and how many of the pilot's optima it meets."""
    rows: list[dict[str, Any]] = []
    inside = losses["num_steps"].between(*INSIDE)
    for name, law in laws.items():
        miss = losses[name] - losses["loss"]
        for where, chosen in (("inside", inside), ("outside", ~inside)):
            told = {"quantity": f"root mean square miss, lengths {where} the fit's", "law": name}
            rows.append({**told, "cells": int(chosen.sum()), "value": float(np.sqrt((miss[chosen] ** 2).mean()))})
        again = fit_law([*earlier, *cells], law)
        told = {"quantity": "chi^2 per degree of freedom, fitted to all", "law": name}
        rows.append({**told, "cells": len(earlier) + len(cells), "value": again.chi_squared / again.degrees_of_freedom})
        own = cells_inside([*earlier, *cells], name)
        again = fit_law(own, law)
        values = {"chi^2 per degree of freedom": again.chi_squared / again.degrees_of_freedom}
        values["optima of the pilot within 20 %"] = pilot_within(again.law)
        rows += [
            {"quantity": f"{quantity}, fitted to all inside", "law": name, "cells": len(own), "value": value}
            for quantity, value in values.items()
        ]
        held = (optima["low"] <= optima[name]) & (optima[name] <= optima["high"])
        told = {"quantity": "optima of bend whose interval holds the law's", "law": name}
        rows.append({**told, "cells": len(optima), "value": int(held.sum())})
        scatter = float(np.sqrt((np.log(optima["measured"] / optima[name]) ** 2).mean()))
        rows.append({"quantity": "scatter over bend", "law": name, "cells": len(optima), "value": scatter})
    return pd.DataFrame(rows)
