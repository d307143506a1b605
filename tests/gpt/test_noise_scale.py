"""The noise scale against the two equations it solves, and against gradients of known mean and covariance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gpt.noise_scale import NoiseScale, measure_noise_scale, noise_scale_from_gram
from theory import InvalidParameter

DIM, BATCH_SIZE, NUM_BATCHES = 50, 8, 12
MEAN = torch.linspace(-0.3, 0.5, DIM, dtype=torch.float64)
SPREAD = torch.linspace(0.2, 2.0, DIM, dtype=torch.float64)


def estimate(seed: int) -> NoiseScale:
    """A linear loss: the gradient of an example is the example."""
    w = torch.zeros(DIM, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(NUM_BATCHES, BATCH_SIZE, DIM, dtype=torch.float64, generator=generator)
    return measure_noise_scale(lambda x: (x @ w).mean(), MEAN + SPREAD * draws, [w], batch_size=BATCH_SIZE)


def test_solves_the_two_equations() -> None:
    """Of McCandlish et al., appendix A.1, with the union of the batches as the large one."""
    gradients = torch.randn(5, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4
    small, large = gradients.square().sum(dim=1).mean(), gradients.mean(dim=0).square().sum()
    b, big = 4.0, 20.0
    squared = (big * large - b * small) / (big - b)
    trace = (small - large) / (1 / b - 1 / big)
    result = noise_scale_from_gram(gradients @ gradients.T, batch_size=b)
    assert result.squared_gradient == pytest.approx(float(squared), rel=1e-12)
    assert result.trace == pytest.approx(float(trace), rel=1e-12)
    assert result.noise_scale == pytest.approx(float(trace / squared), rel=1e-12)


@pytest.mark.long
def test_finds_known_mean_and_covariance() -> None:
    """400 estimates: means within 4 of their standard errors (false alarm 1e-4), error bars of the right size.

    The spread of 400 values is known to 3.5 %. A jackknife overstates a variance, here by up to 10 % in the error.
    """
    estimates = [estimate(seed) for seed in range(400)]
    true = {"squared_gradient": float(MEAN.square().sum()), "trace": float(SPREAD.square().sum())}
    for name, value in true.items():
        found = torch.tensor([getattr(e, name) for e in estimates], dtype=torch.float64)
        assert abs(found.mean() - value) < 4 * found.std() / math.sqrt(len(found)), name
        claimed = torch.tensor([getattr(e, f"{name}_se") for e in estimates], dtype=torch.float64)
        assert 0.88 < claimed.square().mean().sqrt() / found.std() < 1.25, name
    scales = torch.tensor([e.noise_scale for e in estimates])
    assert scales.median() == pytest.approx(true["trace"] / true["squared_gradient"], rel=0.1)
    inverse = torch.tensor([e.inverse for e in estimates])
    claimed = torch.tensor([e.inverse_se for e in estimates])
    assert 0.88 < claimed.square().mean().sqrt() / inverse.std() < 1.25


def test_leaves_the_module_alone_and_repeats() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1), nn.Linear(3, 3))  # the last one is not used

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model[:3](batch[0]) - batch[1]).square().mean()

    batches = [(torch.randn(16, 4), torch.randn(16, 1)) for _ in range(6)]
    parameters = list(model.parameters())
    first = measure_noise_scale(loss, batches, parameters, batch_size=16)
    assert first == measure_noise_scale(loss, batches, parameters, batch_size=16)
    assert all(p.grad is None for p in parameters)
    assert first.trace > 0
    assert first.num_batches == 6


def test_no_gradient_is_an_infinite_noise_scale() -> None:
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    batches = [torch.tensor(x, dtype=torch.float64) for x in ([1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0])]
    result = measure_noise_scale(lambda x: (x * w).sum(), batches, [w], batch_size=1)
    assert result.squared_gradient < 0
    assert (result.noise_scale, result.noise_scale_se) == (math.inf, math.inf)


@pytest.mark.parametrize(("num_batches", "batch_size", "name"), [(2, 1.0, "batches"), (3, 0.0, "batch_size")])
def test_refuses(num_batches: int, batch_size: float, name: str) -> None:
    w = torch.zeros(3, requires_grad=True)
    with pytest.raises(InvalidParameter) as error:
        measure_noise_scale(lambda x: (x * w).sum(), torch.ones(num_batches, 3), [w], batch_size=batch_size)
    assert error.value.name == name
