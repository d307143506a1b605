"""Fitted curves between the rates, against the residuals of the fit at the rates."""

import numpy as np
import pytest

from experiments.bend.fit import fit_bend
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.joint.curves import fitted_losses, standard_errors


@pytest.mark.parametrize("shape", ["parabola", "kink"])
def test_the_curve_at_the_rates_leaves_the_residuals_of_the_fit(shape: str) -> None:
    """With one shape for all cells, and with a shape of its own for each."""
    table = make_sweep(Scenario(name="test", noise=0.003, shape=shape), 2).table
    law = fit_bend(table, sensitivity=False).groups[0].law
    assert law.data is not None
    assert law.model is not None
    assert law.joint is not None
    terms = law.model.columns, law.model.trend
    errors = standard_errors(law.data, law.joint, *terms)
    for place, (start, size) in enumerate(zip(law.data.starts, law.data.sizes, strict=True)):
        own = slice(start, start + size)
        everywhere = np.tile(law.data.x[own], (len(law.data.starts), 1))
        fitted = fitted_losses(law.data, law.joint, *terms, everywhere)[place]
        np.testing.assert_allclose(
            (law.data.loss[own] - fitted) / errors[own], law.joint.residuals[own], rtol=1e-6, atol=1e-8
        )
