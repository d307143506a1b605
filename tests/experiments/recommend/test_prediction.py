"""What stands in for the covariance of a prediction, and the shapes it presumes."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from experiments.bend.scaling_law import AXES, fit_scaling_law, group_cells
from experiments.calibration.made_sweeps import SHAPES, Scenario, make_sweep
from experiments.joint import loss_shape
from experiments.joint.fit import fit_jointly
from experiments.joint.model import Priors
from experiments.recommend.prediction import ASSUMED_BEND, TYPICAL_SHAPE, Coefficients
from experiments.tables.reading import table_from_frame


def test_predictions_count_typical_shapes_only() -> None:
    """The mean square error of ridge regression, by its two parts: noise, and a shape off the middle of its prior."""
    cells, _, _ = group_cells(table_from_frame(make_sweep(Scenario(name="any"), 1).table), None)
    law = fit_scaling_law(cells, AXES, "fixed")
    assert law.model is not None
    assert law.data is not None
    joint = fit_jointly(law.data, law.model.columns, law.model.trend, tau=0.05)
    (posterior,) = joint.averages.covariances
    prior = np.zeros(len(posterior))
    prior[-3:] = Priors().shape[:, 1] ** -2
    noise = posterior @ (np.linalg.inv(posterior) - np.diag(prior)) @ posterior
    pull = posterior * prior  # of the estimate by a true shape off the middle
    bias = TYPICAL_SHAPE * pull[:, -3:] * Priors().shape[:, 1]
    (found,) = Coefficients.of(law.model, joint, [], AXES).covariances
    held = np.zeros(len(posterior))  # second derivatives have the assumption as their prior
    held[[place for place, term in enumerate(law.model.terms) if len(term) == 2]] = ASSUMED_BEND**-2
    expected = np.linalg.inv(np.linalg.inv(noise + bias @ bias.T) + np.diag(held))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert np.linalg.eigvalsh(found).min() > 0


def test_typical_shapes_lie_half_a_standard_deviation_off() -> None:
    priors, z = Priors().shape, np.linspace(-1.7, 1.7, 41)
    found = []
    for name, shape in SHAPES.items():
        if "wall" in name or name == "saturating":  # no single minimum of this family; held out
            continue
        solved = least_squares(
            lambda theta, y: np.exp(theta[3]) * loss_shape.rise(z, theta[:3]) - y, [0.1, 0.1, 0, 0], args=(shape(z),)
        )
        found.append((solved.x[:3] - priors[:, 0]) / priors[:, 1])
    skew, growth, split = np.sqrt(np.mean(np.square(found), axis=0))
    assert (skew, split) == pytest.approx((TYPICAL_SHAPE, TYPICAL_SHAPE), abs=0.1)
    assert growth == pytest.approx(0.9, abs=0.1)
