"""The linear mixed model from sums over cells, against the dense formulas."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.joint.mixed_model import (
    Design,
    cross_products,
    deviance_slopes,
    predict,
    scatter_information,
    solve,
    solve_each,
    solve_without_each,
)


def small_design(rng: np.random.Generator) -> tuple[Design, np.ndarray, np.ndarray, np.ndarray]:
    starts, sizes = np.array([0, 4, 9]), [4, 5, 6]
    design = Design(
        starts=starts,
        random=rng.normal(size=(15, 2)),
        fixed=rng.normal(size=(15, 2)),
        response=rng.normal(size=15),
        prior_mean=np.zeros(2),
        prior_precision=np.zeros(2),
    )
    return design, rng.uniform(0.5, 2, 15), rng.uniform(0.2, 1, (3, 2)), np.repeat(np.arange(3), sizes)


def test_mixed_model_against_the_dense_formula() -> None:
    """Estimates, covariance and restricted likelihood as in the textbook, with the intercepts as columns."""
    rng = np.random.default_rng(0)
    starts, sizes = np.array([0, 4, 9]), [4, 5, 6]
    member = np.repeat(np.arange(3), sizes)
    fixed, random = rng.normal(size=(15, 2)), rng.normal(size=(15, 2))
    y, variance, spread = rng.normal(size=15), rng.uniform(0.5, 2, 15), rng.uniform(0.2, 1, (3, 2))
    design = Design(
        starts=starts,
        random=random,
        fixed=fixed,
        response=y,
        prior_mean=np.zeros(2),
        prior_precision=np.zeros(2),
    )
    ours = solve(design, cross_products(design, variance), spread)
    dense = np.diag(variance)
    for cell in range(3):
        inside = np.ix_(member == cell, member == cell)
        z = random[member == cell] * spread[cell]
        dense[inside] += z @ z.T
    columns = np.concatenate([fixed, np.eye(3)[member]], axis=1)
    inverse = np.linalg.inv(dense)
    information = columns.T @ inverse @ columns
    solved = np.linalg.solve(information, columns.T @ inverse @ y)
    residual = y - columns @ solved
    deviance = np.linalg.slogdet(dense)[1] + np.linalg.slogdet(information)[1] + residual @ inverse @ residual
    np.testing.assert_allclose(ours.fixed, solved[:2], rtol=1e-10)
    np.testing.assert_allclose(ours.covariance, np.linalg.inv(information)[:2, :2], rtol=1e-10)
    assert ours.deviance == pytest.approx(deviance, rel=1e-10)


def test_prediction_against_the_dense_formula() -> None:
    """Mean and variance at points that took no part, as in universal kriging, the intercepts as columns."""
    design, variance, spread, member = small_design(np.random.default_rng(1))
    points = np.array([3, 14])
    without = variance.copy()
    without[points] = np.inf
    solution = solve(design, cross_products(design, without), spread)
    expected, error = predict(design, without, spread, solution, points, member[points])
    scaled = design.random * spread[member]
    shared = (scaled @ scaled.T) * (member[:, None] == member)
    columns = np.concatenate([design.fixed, np.eye(3)[member]], axis=1)
    seen = np.setdiff1d(np.arange(15), points)
    inverse = np.linalg.inv(np.diag(variance[seen]) + shared[np.ix_(seen, seen)])
    information = columns[seen].T @ inverse @ columns[seen]
    solved = np.linalg.solve(information, columns[seen].T @ inverse @ design.response[seen])
    across = shared[np.ix_(points, seen)] @ inverse
    left = columns[points] - across @ columns[seen]
    mean = columns[points] @ solved + across @ (design.response[seen] - columns[seen] @ solved)
    full = shared[np.ix_(points, points)] - across @ shared[np.ix_(seen, points)]
    full = full + left @ np.linalg.solve(information, left.T)
    np.testing.assert_allclose(expected, mean, rtol=1e-10)
    np.testing.assert_allclose(error, np.diag(full), rtol=1e-10)


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_many_at_once_are_each(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.joint.mixed_model.AT_ONCE", at_once)
    design, variance, spread, _ = small_design(np.random.default_rng(2))
    products = cross_products(design, variance)
    spreads = np.stack([spread, 2 * spread, spread / 3])
    together = solve_each(design, products, spreads)
    singles = [solve(design, products, each) for each in spreads]
    np.testing.assert_allclose(
        np.concatenate([s.deviance for s in together]), [s.deviance for s in singles], rtol=1e-12
    )
    np.testing.assert_allclose(np.concatenate([s.random for s in together]), [s.random for s in singles], rtol=1e-10)


def test_slopes_of_the_deviance_against_differences() -> None:
    design, variance, spread, _ = small_design(np.random.default_rng(3))

    def deviance(variance: np.ndarray, spread: np.ndarray) -> float:
        return float(solve(design, cross_products(design, variance), spread).deviance)

    products = cross_products(design, variance)
    found = deviance_slopes(design, products, variance, spread, solve(design, products, spread))
    step = 1e-6
    by_variance = [
        (deviance(variance + step * one, spread) - deviance(variance - step * one, spread)) / (2 * step)
        for one in np.eye(15)
    ]
    by_spread = [
        (deviance(variance, spread * np.exp(step * one)) - deviance(variance, spread * np.exp(-step * one)))
        / (2 * step)
        for one in np.eye(6).reshape(6, 3, 2)
    ]
    np.testing.assert_allclose(found[0], by_variance, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[1].ravel(), by_spread, rtol=1e-6, atol=1e-7)


def test_information_on_the_scatter_against_the_dense_formula() -> None:
    design, variance, spread, member = small_design(np.random.default_rng(4))
    products = cross_products(design, variance)
    found = scatter_information(design, products, spread, solve(design, products, spread))
    scaled = design.random * spread[member]
    inverse = np.linalg.inv(np.diag(variance) + (scaled @ scaled.T) * (member[:, None] == member))
    columns = np.concatenate([design.fixed, np.eye(3)[member]], axis=1)
    through = inverse @ columns
    projector = inverse - through @ np.linalg.solve(columns.T @ through, through.T)
    shared = design.random[:, :1] * np.eye(3)[member]
    told = shared.T @ projector @ shared
    np.testing.assert_allclose(found, [np.trace(told), np.trace(told @ told)], rtol=1e-10)


def test_without_each_cell_as_without_its_points() -> None:
    """And nothing where the other cells do not tell a coefficient."""
    design, variance, spread, member = small_design(np.random.default_rng(5))
    found = solve_without_each(design, cross_products(design, variance), variance, spread)
    for cell, own in enumerate(found):
        kept = member != cell
        sizes = np.unique(member[kept], return_counts=True)[1]
        parts = {name: getattr(design, name)[kept] for name in ("random", "fixed", "response")}
        smaller = replace(design, starts=np.cumsum(sizes) - sizes, **parts)
        products = cross_products(smaller, variance[kept])
        np.testing.assert_allclose(own, solve(smaller, products, np.delete(spread, cell, axis=0)).fixed, rtol=1e-10)
    alone = replace(design, fixed=design.fixed * np.stack([np.ones(15), member == 1], axis=1))
    found = solve_without_each(alone, cross_products(alone, variance), variance, spread)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
