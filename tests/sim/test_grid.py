"""The grid of `experiments.studies.simulation_grid` in small, on settings that the full one does not have.

Draws are fixed. Had they been new: of the exact forms' 60 comparisons at most one in 2,000 runs exceeds 4.5. A bias of
0.2 % would show at 5 standard errors.
"""

from __future__ import annotations

import numpy as np
import pytest

from experiments.studies.simulation_grid import APPROXIMATE, COMPARED, TARGET_ERROR, draw_setting, measure, normal_z
from theory import OPTIMIZERS

FIRST = 1000
# Worst single setting that the theory's own account allows, relative.
LARGEST_BIAS = {"adamw": 1e-3, "adamc": 1e-3, "adamh": 1e-4, "adam-l2": 4e-3, "muon": 2e-3, "muonh": 1e-3}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_random_settings_agree_with_theory(name: str) -> None:
    for index in range(FIRST, FIRST + (2 if name.startswith("muon") else 10)):
        row = measure(draw_setting(name, index), target=np.inf)
        for field in COMPARED:
            bias, error = row[f"{field}_bias"], row[f"{field}_error"]
            assert error < 1.5 * TARGET_ERROR
            if error < 1e-9:
                assert abs(bias) < 1e-7  # held by construction
            elif (name, field) in APPROXIMATE:
                assert abs(bias) < LARGEST_BIAS[name] + 4.5 * error, (index, field)
            else:
                assert abs(normal_z(np.array(bias / error), np.array(row["num_replicas"]))) < 4.5, (index, field)


def test_normal_z_of_students_t() -> None:
    """Two-sided 0.1 % points of t with 9 degrees of freedom and of the normal law, from tables."""
    assert normal_z(np.array([4.781, -4.781]), np.array([10, 10])) == pytest.approx([3.291, -3.291], abs=1e-3)
