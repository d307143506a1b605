"""Adam's statistics against their closed forms for white noise and for a gradient that stays."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

from gpt.adam_statistics import adam_statistics
from gpt.adamh import AdamH
from gpt.directions import adam_direction
from theory import InvalidParameter

BETAS = (0.9, 0.999)


def test_white_noise() -> None:
    """40,000 entries after 60 steps, m corrected for its start: 4.5 standard errors, and 1 % for finite beta2."""
    w = nn.Parameter(torch.zeros(200, 200))
    optimizer = torch.optim.Adam([w], lr=0.0, betas=BETAS, eps=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        w.grad = torch.randn(w.shape, generator=generator)
        optimizer.step()
    w.grad = torch.randn(w.shape, generator=generator)
    probabilities = (0.25, 0.5, 0.9)
    result = adam_statistics({"w": w}, optimizer, probabilities=probabilities)
    assert result.names == ("w",)
    assert result.sign_agreement[0] == pytest.approx(0.5, abs=4.5 * 0.5 / 200)

    memory = (1 - 0.9) / (1 + 0.9) * (1 + 0.9**60) / (1 - 0.9**60)
    # v is a mean over n effective squares: E(1/v) = 1 + 2/n, so the ratio is wider by 1/n
    weights = 0.999 ** np.arange(60)
    widening = math.sqrt(1 + 2 * (weights**2).sum() / weights.sum() ** 2)
    scale = math.sqrt(memory) * widening
    assert result.update_rms[0] == pytest.approx(scale, rel=0.01 + 4.5 / math.sqrt(2 * 40_000))
    for probability, found in zip(probabilities, result.quantiles[0], strict=True):
        expected = NormalDist().inv_cdf((1 + probability) / 2) * math.sqrt(memory)
        assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("build", [torch.optim.AdamW, AdamH])
def test_a_gradient_that_stays(build: type[torch.optim.Optimizer]) -> None:
    """u is the sign; every new gradient agrees. Entries without a gradient count neither way."""
    w = nn.Parameter(torch.ones(4, 5))
    optimizer = build([w], lr=1e-3)  # type: ignore[call-arg]
    w.grad = torch.arange(20.0).view(4, 5) - 3
    for _ in range(3):
        optimizer.step()
    result = adam_statistics({"w": w}, optimizer, probabilities=(0.05, 0.051, 1.0))
    assert result.sign_agreement[0] == 1
    np.testing.assert_allclose(result.quantiles[0], [0, 1, 1], rtol=1e-5)
    assert result.update_rms[0] == pytest.approx(math.sqrt(19 / 20), rel=1e-5)
    w.grad = -w.grad
    assert adam_statistics({"w": w}, optimizer).sign_agreement[0] == 0
    w.grad = None
    assert np.isnan(adam_statistics({"w": w}, optimizer).sign_agreement[0])


def test_quantiles_and_rms_by_numpy() -> None:
    parameters = {"a": nn.Parameter(torch.ones(7, 11)), "b": nn.Parameter(torch.ones(13))}
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-3, eps=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for p in parameters.values():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    result = adam_statistics(parameters, optimizer)
    for row, p in enumerate(parameters.values()):
        state = optimizer.state[p]
        m, v = state["exp_avg"].double() / (1 - 0.9**4), state["exp_avg_sq"].double() / (1 - 0.999**4)
        ratio = (m.abs() / v.sqrt()).numpy()
        np.testing.assert_allclose(
            result.quantiles[row], np.quantile(ratio, result.probabilities, method="inverted_cdf"), rtol=1e-5
        )
        u = adam_direction(state, optimizer.param_groups[0])
        assert result.update_rms[row] == pytest.approx(float(u.square().mean().sqrt()), rel=1e-12)


def test_refuses() -> None:
    w = nn.Parameter(torch.ones(3))
    with pytest.raises(InvalidParameter, match="stepped"):
        adam_statistics({"w": w}, torch.optim.Adam([w]))
    with pytest.raises(InvalidParameter, match="probabilities"):
        adam_statistics({"w": w}, torch.optim.Adam([w]), probabilities=(0.0,))
