"""The picture of a conversion carries the numbers of both optimizers."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.figures.conversions import ConvertedRun, conversion_figure
from experiments.figures.style import picture_bytes
from tests.experiments.figures.drawn import line, words
from theory import AdamW, Constant, predict_trajectory


@pytest.mark.long
@pytest.mark.parametrize("num_steps", [1, 500])
@pytest.mark.parametrize("number", [2, 3])
def test_the_lines_of_a_conversion(num_steps: int, number: int) -> None:
    runs = []
    for rate in (1e-3, 2e-3, 3e-3)[:number]:
        trajectory = predict_trajectory(
            AdamW(learning_rate=rate, weight_decay=0.1), Constant(num_steps=num_steps), initial_rms=0.02
        )
        runs.append(
            ConvertedRun(name=f"{rate:g}", trajectory=trajectory, learning_rate=np.full(len(trajectory.steps), rate))
        )
    figure = conversion_figure(runs, title="a to b", first_step=7, assumed="On white noise")
    rates, angles, norms = figure.axes
    for run in runs:
        np.testing.assert_array_equal(line(rates, run.name)[1], run.learning_rate)
        np.testing.assert_array_equal(line(angles, run.name)[1], run.trajectory.angular_update[:, 0])
        np.testing.assert_array_equal(line(norms, run.name)[1], run.trajectory.weight_rms[:, 0])
    assert "from step 7 on" in words(figure)
    assert "On white noise:" in words(figure)
    assert ("the rate that turns as far at equilibrium" in words(figure)) == (number == 3)
    assert picture_bytes(figure, "png")
