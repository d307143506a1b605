"""Lanczos against spectra that are known: a quadratic, full Hessians, and the symmetry of a scale-invariant matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.sharpness import Sharpness, adam_preconditioner, sharpness
from theory import InvalidParameter


def quadratic(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix with this spectrum in a random basis, and a point."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), dtype=torch.float64, generator=generator)).Q
    point = torch.randn(len(spectrum), dtype=torch.float64, generator=generator).requires_grad_()
    return basis @ torch.diag(spectrum) @ basis.T, point


@pytest.mark.parametrize(
    "spectrum",
    [
        torch.linspace(-5, 3, 60, dtype=torch.float64),  # the largest, not the largest in size
        torch.cat([torch.linspace(0, 1, 59, dtype=torch.float64), torch.tensor([40.0], dtype=torch.float64)]),
        torch.ones(20, dtype=torch.float64),  # the Krylov space has one dimension
        -torch.linspace(1, 2, 20, dtype=torch.float64),
    ],
    ids=["linear", "outlier", "multiple", "negative"],
)
def test_quadratic(spectrum: Tensor) -> None:
    matrix, w = quadratic(spectrum)
    result = sharpness(lambda: w @ matrix @ w / 2, [w], tolerance=1e-6, num_steps=60)
    assert result.converged
    assert result.residual <= 1e-6 * abs(result.value)
    assert result.value == pytest.approx(float(spectrum.max()), rel=1e-6)


def test_residual_is_an_error_bar_before_convergence() -> None:
    spectrum = torch.linspace(0, 3, 200, dtype=torch.float64)
    matrix, w = quadratic(spectrum)
    for num_steps in (2, 5, 10):
        result = sharpness(lambda: w @ matrix @ w / 2, [w], tolerance=1e-12, num_steps=num_steps)
        assert not result.converged
        assert result.num_products == num_steps
        assert result.value <= 3 + 1e-12
        assert (spectrum - result.value).abs().min() <= result.residual


def small_network() -> tuple[nn.Module, list[nn.Parameter], Tensor, Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 2)).double()
    return model, list(model.parameters()), torch.randn(30, 3).double(), torch.randn(30, 2).double()


def full_hessian(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]

    def loss(flat: Tensor) -> Tensor:
        parts = zip(names, flat.split(sizes), model.parameters(), strict=True)
        outputs = torch.func.functional_call(model, {n: part.view(p.shape) for n, part, p in parts}, (x,))
        return (outputs - y).square().mean()

    point = torch.cat([p.detach().flatten() for p in model.parameters()])
    hessian: Tensor = torch.autograd.functional.hessian(loss, point)
    return hessian


def test_full_hessian_of_a_small_network() -> None:
    model, parameters, x, y = small_network()
    expected = float(torch.linalg.eigvalsh(full_hessian(model, x, y))[-1])

    def measure(seed: int) -> Sharpness:
        return sharpness(lambda: (model(x) - y).square().mean(), parameters, tolerance=1e-8, seed=seed)

    assert measure(0).value == pytest.approx(expected, rel=1e-8)
    assert measure(0) == measure(0)
    assert measure(1).value == pytest.approx(expected, rel=1e-8)
    assert all(p.grad is None for p in parameters)


def test_preconditioned_by_adam() -> None:
    model, parameters, x, y = small_network()
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.8, 0.9), eps=1e-3)
    for _ in range(4):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
    preconditioner = adam_preconditioner(optimizer, parameters)
    expected = []
    for p, measured in zip(parameters, preconditioner, strict=True):
        v = optimizer.state[p]["exp_avg_sq"]
        expected.append(((v / (1 - 0.9**4)).sqrt() + 1e-3) * (1 - 0.8**4))
        torch.testing.assert_close(measured, expected[-1])
    root = torch.cat([p.flatten() for p in expected]).rsqrt()
    hessian = full_hessian(model, x, y) * root[:, None] * root
    result = sharpness(
        lambda: (model(x) - y).square().mean(), parameters, preconditioner=preconditioner, tolerance=1e-8
    )
    assert result.value == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-8)


def test_normalised_sharpness_of_a_scale_invariant_matrix_does_not_see_its_scale() -> None:
    """The loss has degree 0 in W, so its Hessian has degree -2."""
    model = GPT(ModelConfig(architecture="scale-invariant", vocab_size=16, context_length=8, num_layers=1, d_model=8))
    model.initialise(0)
    model.double()
    tokens = torch.randint(16, (4, 9), generator=torch.Generator().manual_seed(0))
    w = model.blocks[0].attention.query.weight
    values = {}
    for factor in (1.0, 3.0):
        with torch.no_grad():
            w.mul_(factor)
        for name, inverse in (("plain", None), ("normalised", [1 / w.detach().square().sum()])):
            result = sharpness(
                lambda: model(tokens[:, :-1], tokens[:, 1:]).mean(), [w], preconditioner=inverse, tolerance=1e-8
            )
            assert result.converged
            values[name, factor] = result.value
    assert values["normalised", 3.0] == pytest.approx(values["normalised", 1.0], rel=1e-6)
    assert values["plain", 3.0] == pytest.approx(values["plain", 1.0] / 9, rel=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "scale-invariant"])
def test_whole_gpt_in_float32(architecture: str) -> None:
    model = GPT(ModelConfig(architecture=architecture, vocab_size=16, context_length=8, num_layers=1, d_model=8))  # type: ignore[arg-type]
    model.initialise(0)
    tokens = torch.randint(16, (4, 9), generator=torch.Generator().manual_seed(0))
    parameters = list(model.parameters())
    single = sharpness(lambda: model(tokens[:, :-1], tokens[:, 1:]).mean(), parameters)
    model.double()
    double = sharpness(lambda: model(tokens[:, :-1], tokens[:, 1:]).mean(), parameters)
    assert single.converged
    assert single.value == pytest.approx(double.value, rel=2e-3)


def test_linear_loss_has_none() -> None:
    w = torch.ones(3, requires_grad=True)
    assert sharpness(lambda: w.sum(), [w]) == Sharpness(value=0.0, residual=0.0, converged=True, num_products=1)


def test_not_a_number_is_not_converged() -> None:
    w = torch.zeros(3, requires_grad=True)
    assert not sharpness(lambda: (w * torch.nan).square().sum(), [w]).converged


@pytest.mark.parametrize("types", [(torch.float32, torch.float64), (torch.float64, torch.bfloat16)])
def test_types_may_differ(types: tuple[torch.dtype, torch.dtype]) -> None:
    """Diagonal Hessians (6, 2, 2) and (1, 4), and 4 over (1/8)^2 once rescaled."""
    a, b = torch.ones(3, dtype=types[0], requires_grad=True), torch.ones(2, dtype=types[1], requires_grad=True)

    def loss() -> Tensor:
        first, second = torch.tensor([3.0, 1, 1], dtype=types[0]), torch.tensor([0.5, 2.0], dtype=types[1])
        return (first * a * a).sum().double() + (second * b * b).sum().double()

    assert sharpness(loss, [a, b]).value == pytest.approx(6, rel=1e-3)
    scaled = sharpness(loss, [a, b], preconditioner=[torch.ones(1), torch.tensor([1.0, 1 / 64], dtype=torch.float64)])
    assert scaled.value == pytest.approx(256, rel=1e-3)


@pytest.mark.parametrize(
    "preconditioner",
    [
        [torch.tensor([1.0, 0.0, 1.0])],
        [torch.tensor([1.0, torch.inf, 1.0])],
        [torch.tensor([1.0, torch.nan, 1.0])],
        [torch.ones(2)],
        [torch.ones(2, 3)],
        [torch.ones(3), torch.ones(3)],
    ],
    ids=["zero", "infinite", "not a number", "too short", "too large", "one too many"],
)
def test_refuses_a_preconditioner(preconditioner: list[Tensor]) -> None:
    w = nn.Parameter(torch.ones(3))
    with pytest.raises(InvalidParameter, match="preconditioner"):
        sharpness(lambda: w.square().sum(), [w], preconditioner=preconditioner)


def test_refuses() -> None:
    w = nn.Parameter(torch.ones(3))
    with pytest.raises(InvalidParameter, match="parameters"):
        sharpness(lambda: w.square().sum(), [])
    with pytest.raises(InvalidParameter, match="num_steps"):
        sharpness(lambda: w.square().sum(), [w], num_steps=0)
    with pytest.raises(InvalidParameter, match="stepped"):
        adam_preconditioner(torch.optim.Adam([w]), [w])
