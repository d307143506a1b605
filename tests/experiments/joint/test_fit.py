"""Intervals of the joint estimator and of predictions, against what they reduce to."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import t as student

from experiments.bend.scaling_law import AXES, fit_scaling_law, group_cells
from experiments.calibration.made_sweeps import SHAPES, Scenario, make_sweep
from experiments.joint import loss_shape
from experiments.joint.fit import fit_jointly
from experiments.joint.model import Priors
from experiments.recommend.prediction import TYPICAL_SHAPE, Coefficients
from experiments.tables.reading import table_from_frame


@pytest.mark.parametrize("seed", range(4))
def test_scatter_far_above_the_noise_is_a_regression_over_cells(seed: int) -> None:
    """t intervals of ordinary least squares over the planted optima. So many rates that the noise's own degrees of
    freedom add nothing; a prior that falls as 1/tau^2 would be 4 % narrower."""
    sweep = make_sweep(Scenario(name="scatter", noise=1e-4, scatter=0.2, num_rates=21, factor=1.2), seed)
    cells, _, _ = group_cells(table_from_frame(sweep.table), None)
    law = fit_scaling_law(cells, AXES, "fixed")
    assert law.model is not None
    assert law.joint is not None
    columns = law.model.columns
    optima = np.log([sweep.optima[cell.key["num_params"], cell.key["num_tokens"]] for cell in law.usable])
    beta, squares, _, _ = np.linalg.lstsq(columns, optima, rcond=None)
    freedom = len(optima) - columns.shape[1]
    errors = np.sqrt(np.diag(np.linalg.inv(columns.T @ columns)) * squares[0] / freedom)
    for term in (("num_params",), ("num_tokens",), ("num_params", "num_params"), ("num_tokens", "num_tokens")):
        which = law.model.terms.index(term)
        low, high = law.joint.averages.interval(which, 0.95)
        assert (high + low) / 2 == pytest.approx(beta[which], abs=0.05 * errors[which])
        assert (high - low) / 2 == pytest.approx(student.ppf(0.975, freedom) * errors[which], rel=0.02)


def test_predictions_count_typical_shapes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean square error of ridge regression, by its two parts: noise, and a shape off the middle of its prior.
    Nothing is assumed of the law."""
    monkeypatch.setattr("experiments.recommend.prediction.ASSUMED_BEND", 1e6)
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
    np.testing.assert_allclose(found, noise + bias @ bias.T, rtol=1e-6, atol=1e-9)
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
