"""Intervals of the joint estimator and of predictions, against what they reduce to."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from experiments.bend.evidence.cells import stack
from experiments.bend.scaling_law import AXES, fit_scaling_law, group_cells
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.joint.averages import LOWEST_SPREAD
from experiments.joint.fit import fit_jointly
from experiments.joint.mixed_model import cross_products, solve
from experiments.joint.model import Priors, error_variances, linearise, spreads
from experiments.joint.regressors import Regressors
from experiments.recommend.pilot_law import fit_pilot_law
from experiments.tables.reading import table_from_frame


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_scatter_far_above_the_noise_is_a_regression_over_cells(seed: int) -> None:
    """t intervals of ordinary least squares over the planted optima. So many rates that the noise's own degrees of
    freedom add nothing; a prior of tau that falls as its square would be 4 % narrower. No prior on the law."""
    sweep = make_sweep(Scenario(name="scatter", noise=1e-4, scatter=0.2, num_rates=21, factor=1.2), seed)
    cells, _, _ = group_cells(table_from_frame(sweep.table), None)
    law = fit_scaling_law(cells, AXES, "fixed")
    assert law.model is not None
    assert law.data is not None
    columns = law.model.columns
    joint = fit_jointly(law.data, columns, law.model.trend)
    optima = np.log([sweep.optima[cell.key["num_params"], cell.key["num_tokens"]] for cell in law.usable])
    beta, squares, _, _ = np.linalg.lstsq(columns, optima, rcond=None)
    freedom = len(optima) - columns.shape[1]
    errors = np.sqrt(np.diag(np.linalg.inv(columns.T @ columns)) * squares[0] / freedom)
    for term in (("num_params",), ("num_tokens",), ("num_params", "num_params"), ("num_tokens", "num_tokens")):
        which = law.model.terms.index(term)
        low, high = joint.known.interval(which, 0.95)
        assert (high + low) / 2 == pytest.approx(beta[which], abs=0.05 * errors[which])
        assert (high - low) / 2 == pytest.approx(student.ppf(0.975, freedom) * errors[which], rel=0.02)


@pytest.mark.parametrize("seed", [3, 12])
def test_the_scatter_is_that_of_the_largest_restricted_likelihood(seed: int) -> None:
    """A search that stopped early was up to 10 % off, and ten times above a scatter of none."""
    table = make_sweep(Scenario(name="scatter", noise=0.012, scatter=0.15, factor=1.7, num_rates=6), seed).table
    cells, _, _ = group_cells(table_from_frame(table), None)
    model = Regressors.of([cell.key for cell in cells], AXES, skip_batch=True)
    data, _ = stack(cells)
    fit = fit_jointly(data, model.columns, model.trend)
    design, rise = linearise(data, fit.state, model.columns, model.trend, Priors())
    products = cross_products(design, error_variances(data, rise, fit.variances))
    scatter = np.maximum(fit.variances.tau * np.geomspace(0.8, 1.25, 45), LOWEST_SPREAD)
    deviances = [
        solve(design, products, spreads(data, replace(fit.variances, tau=float(tau)))).deviance for tau in scatter
    ]
    assert scatter[np.argmin(deviances)] == pytest.approx(fit.variances.tau, rel=0.02)


def test_a_fit_begun_at_another_is_the_same() -> None:
    table = make_sweep(Scenario(name="smooth", noise=0.005), 4).table
    cells, _, _ = group_cells(table_from_frame(table), None)
    model = Regressors.of([cell.key for cell in cells], AXES, skip_batch=True)
    data, _ = stack(cells)
    cold = fit_jointly(data, model.columns, model.trend)
    warm = fit_jointly(data, model.columns, model.trend, start=cold)
    errors = np.sqrt(np.diag(cold.covariance))
    assert np.abs(warm.coefficients - cold.coefficients).max() < 0.1 * errors.max()


def test_a_table_all_but_without_noise_settles() -> None:
    """Losses to four digits do not tell the variances, which must not keep the optima moving for ever."""
    rng, rows = np.random.default_rng(1), []
    for params in np.geomspace(1e7, 1e9, 28):
        best = 2e-3 * (params / 1e8) ** -0.55 * np.exp(0.06 * np.log(params / 1e8) ** 2)
        for k in range(-1, 2):
            rate = 2.0 ** (round(np.log2(best)) + k)
            loss = 2 + 0.05 * (np.cosh(np.log(rate / best)) - 1) + 1e-4 * rng.normal()
            rows.append(
                {"num_params": params, "num_tokens": 20 * params, "learning_rate": rate, "loss": round(loss, 4)}
            )
    assert fit_pilot_law(table_from_frame(pd.DataFrame(rows)), None).joint.converged
