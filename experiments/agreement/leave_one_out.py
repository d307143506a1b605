r"""Theory and simulation against measured trajectories: the error of every matrix, its interval from the other settings
with this one left out, relaxation times.

**Error.** :math:`e_t = \ln(\text{measured}/\text{predicted})` of weight RMS and angular update, at every record from
ten momentum memories on (from the first, in a run shorter than that). The theory, that of the matrix's network, starts
from the matrix's own initial RMS; the simulation, where there is one, from that of the config, and only matrices that
start there are compared with it. Nothing is fitted.

**Calibration.** The closed form states no error of its own, so its interval for a setting comes from the other ones:
prediction times the 5 % and 95 % quantiles of :math:`e^{e_t}` over the records of all other settings with the same
architecture and optimizer, each setting weighing the same. ``inside`` is the share of the points of the setting left
out that lie in it, 0.9 if the errors of one setting are like those of another. Records of a run are anything but
independent: the interval of the mean is that of Student's t over settings.

**Relaxation.** Fitted by `experiments.agreement.measure`, with its interval, beside the theory's
:math:`-1/(2\ln(1-\eta\lambda))`; for matrices that start far enough from equilibrium by the rule there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from experiments.agreement.matrix_networks import predict_matrices
from experiments.agreement.setting_runs import SettingRuns
from experiments.runs.run_files import Run
from experiments.runs.simulation import COMPARED
from theory import Trajectory
from theory.momentum import startup_steps

Array = NDArray[np.float64]

LEVEL = 0.9
SAME_START = 0.05  # of ln(RMS): a matrix that starts further away is not the one that was simulated
NO_MOVEMENT = 1e-5  # errors of a norm that is held by construction are rounding, and have no interval to speak of

POINTS = ("setting", "family", "run", "matrix", "quantity", "source", "step", "measured", "predicted", "error")
RELAXATIONS = ("setting", "run", "matrix", "relaxation_steps", "low", "high", "predicted", "ratio", "holds_theory")


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """Tables with a row per point, matrix, setting, and all settings together.

    points : `POINTS`; family is what may calibrate each other. matrices : ``bias`` (mean of e), ``rms_error``,
    ``largest`` (of abs(e)), ``num_points`` by run, matrix, quantity and source. calibration : ``low, high`` factors,
    ``inside``, ``num_others`` settings behind the interval. summary : by family, quantity and source: median over
    matrices of ``rms_error``, ``inside`` with ``inside_low, inside_high`` at 95 %, ``num_settings``. relaxations :
    `RELAXATIONS`, intervals at 95 %.
    """

    points: pd.DataFrame
    matrices: pd.DataFrame
    calibration: pd.DataFrame
    summary: pd.DataFrame
    relaxations: pd.DataFrame


def leave_one_out(settings: Sequence[SettingRuns]) -> LeaveOneOut:
    """Read the runs of these settings; see above. Runs that did not complete are left out."""
    parts = [_points(setting, run) for setting in settings for run in setting.completed if len(run.trajectory.steps)]
    points = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=POINTS)
    relaxations = [_relaxations(setting) for setting in settings if len(setting.measured)]
    matrices = _per_matrix(points)
    calibration = _calibration(points)
    return LeaveOneOut(
        points=points,
        matrices=matrices,
        calibration=calibration,
        summary=_summary(matrices, calibration),
        relaxations=pd.concat(relaxations, ignore_index=True) if relaxations else pd.DataFrame(columns=RELAXATIONS),
    )


def _points(setting: SettingRuns, run: Run) -> pd.DataFrame:
    first = startup_steps(setting.optimizer.beta1)
    steps = run.trajectory.steps
    kept = steps >= (first if steps[-1] >= first else 0)
    chosen = run.trajectory.at(steps[kept])
    rows = []
    for source, predicted, matrices in _predictions(setting, run.trajectory, chosen.steps):
        for quantity in COMPARED:
            measured = getattr(chosen, quantity)[:, matrices]
            wanted = np.broadcast_to(getattr(predicted, quantity), measured.shape)
            with np.errstate(divide="ignore", invalid="ignore"):
                error = np.log(measured / wanted)
            table = {
                "matrix": np.tile(np.array(chosen.matrices)[matrices], len(measured)),
                "step": np.repeat(chosen.steps, measured.shape[1]),
                "measured": measured.ravel(),
                "predicted": wanted.ravel(),
                "error": error.ravel(),
            }
            rows.append(pd.DataFrame({"run": run.path.name, "quantity": quantity, "source": source, **table}))
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=POINTS[2:])
    family = f"{setting.optimizer.name}, {setting.config.model.architecture}"
    return found[np.isfinite(found["error"].astype(float))].assign(setting=setting.title, family=family)[list(POINTS)]


def _predictions(
    setting: SettingRuns, measured: Trajectory, steps: NDArray[np.int64]
) -> list[tuple[str, Trajectory, NDArray[np.int64]]]:
    """Source, what it predicts at ``steps``, (num_steps, num_matrices or 1), and the matrices it speaks of."""
    initial = measured.weight_rms[0]
    alive = np.flatnonzero(initial > 0)
    if not len(alive):
        return []
    names = [measured.matrices[j] for j in alive]
    theory = predict_matrices(setting.config, initial_rms=initial[alive], matrices=names)
    found, simulation = [("theory", theory.at(steps), alive)], setting.simulation
    if simulation is not None and np.isin(steps, simulation.trajectory.steps).all():
        started = float(simulation.trajectory.weight_rms[0, 0])
        alike = alive[np.abs(np.log(initial[alive] / started)) <= SAME_START]
        if len(alike):
            found.append(("simulation", simulation.trajectory.at(steps), alike))
    return found


def _relaxations(setting: SettingRuns) -> pd.DataFrame:
    table = setting.measured
    fitted = table[np.isfinite(table["relaxation_steps"].astype(float))]
    predicted = fitted["predicted_relaxation_steps"].astype(float)
    low, high = (fitted[f"relaxation_{bound}"].astype(float) for bound in ("low", "high"))
    return pd.DataFrame(
        {
            "setting": setting.title,
            "run": fitted["run"],
            "matrix": fitted["matrix"],
            "relaxation_steps": fitted["relaxation_steps"].astype(float),
            "low": low,
            "high": high,
            "predicted": predicted,
            "ratio": fitted["relaxation_steps"].astype(float) / predicted,
            "holds_theory": (low <= predicted) & (predicted <= high),
        },
        columns=list(RELAXATIONS),
    )


def _per_matrix(points: pd.DataFrame) -> pd.DataFrame:
    keys = ["setting", "family", "run", "matrix", "quantity", "source"]
    grouped = points.groupby(keys, sort=False)["error"]
    return grouped.agg(
        bias="mean",
        rms_error=lambda e: float(np.sqrt(np.mean(np.square(e)))),
        largest=lambda e: float(np.abs(e).max()),
        num_points="size",
    ).reset_index()


def _calibration(points: pd.DataFrame) -> pd.DataFrame:
    """Leave one setting out."""
    rows = []
    for (family, quantity, source), group in points.groupby(["family", "quantity", "source"], sort=False):
        by_setting = {name: part["error"].to_numpy(float) for name, part in group.groupby("setting", sort=False)}
        for name, errors in by_setting.items():
            others = [part for other, part in by_setting.items() if other != name]
            row: dict[str, object] = {"setting": name, "family": family, "quantity": quantity, "source": source}
            if others and max(np.abs(part).max() for part in others) > NO_MOVEMENT:
                low, high = weighted_quantiles(others, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
                row |= {"low": np.exp(low), "high": np.exp(high)}
                row |= {"inside": float(np.mean((low <= errors) & (errors <= high)))}
            rows.append(row | {"num_others": len(others), "num_points": len(errors)})
    columns = ["setting", "family", "quantity", "source", "low", "high", "inside", "num_others", "num_points"]
    return pd.DataFrame(rows, columns=columns)


def weighted_quantiles(groups: Sequence[Array], probabilities: Sequence[float]) -> Array:
    """Quantiles of all values together, every group weighing the same; groups not empty."""
    values = np.concatenate(groups)
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    order = np.argsort(values, kind="stable")
    reached = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    return np.asarray(np.interp(probabilities, reached, values[order]), np.float64)


def _summary(matrices: pd.DataFrame, calibration: pd.DataFrame) -> pd.DataFrame:
    keys = ["family", "quantity", "source"]
    rows = []
    for key, group in matrices.groupby(keys, sort=False):
        inside = calibration.loc[(calibration[keys] == list(key)).all(axis=1), "inside"].dropna().to_numpy(float)
        row = dict(zip(keys, key, strict=True)) | {
            "rms_error": float(group["rms_error"].median()),
            "largest": float(group["largest"].max()),
            "inside": float(inside.mean()) if len(inside) else np.nan,
            "inside_low": np.nan,
            "inside_high": np.nan,
            "num_settings": group["setting"].nunique(),
            "num_matrices": len(group),
        }
        if len(inside) > 1:
            half = float(stdtrit(len(inside) - 1, 0.975)) * inside.std(ddof=1) / np.sqrt(len(inside))
            row |= {"inside_low": max(0.0, row["inside"] - half), "inside_high": min(1.0, row["inside"] + half)}
        rows.append(row)
    columns = [*keys, "rms_error", "largest", "inside", "inside_low", "inside_high", "num_settings", "num_matrices"]
    return pd.DataFrame(rows, columns=columns)
