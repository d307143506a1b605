"""Costs: FLOPs counted by torch, hours by division."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import theory
from gpt import estimates
from gpt.config import TrainConfig, preset
from gpt.model import GPT, count_params
from theory import InvalidParameter

CONFIG = TrainConfig(
    model=preset("cpu-64", "gpt2"),
    optimizer=theory.AdamW(learning_rate=1e-2, weight_decay=0.3),
    non_matrix_learning_rate=3e-3,
    schedule=theory.Constant(num_steps=10),
    device="cpu",
)


@pytest.mark.parametrize("name", ["cpu-32", "cpu-64"])
def test_flops_are_those_that_torch_counts(name: str) -> None:
    """Forward and backward with the plain attention formula; torch counts every matrix product it dispatches."""
    config = preset(name, "gpt2")
    model = GPT(config)
    model.initialise(0)
    tokens = torch.zeros(4, config.context_length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(tokens, tokens).mean().backward()
    assert estimates.flops_per_token(config) * tokens.numel() == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_matrix_params_are_those_of_the_model() -> None:
    config = preset("64M", "scale-invariant")
    with torch.device("meta"):
        assert estimates.num_matrix_params(config) == pytest.approx(count_params(GPT(config)), rel=0.005)


def test_estimate_adds_up() -> None:
    """6 N D and the rest, worked out by hand: 708M, 20 tokens per parameter, on an H100 at 45 %."""
    steps = 1000
    model = preset("708M", "gpt2")
    config = dataclasses.replace(
        CONFIG, model=model, batch_size=512, schedule=theory.WSD(num_steps=steps, warmup_steps=10)
    )
    per_token = 6 * (12 * 36 * 1280**2 + 2 * 36 * 1024 * 1280 + 50304 * 1280)
    total = estimates.estimate([config, config])
    assert (total.num_runs, total.num_steps) == (2, 2 * steps)
    assert total.num_tokens == 2 * steps * 512 * 1024
    assert total.flops == pytest.approx(per_token * total.num_tokens)
    assert total.gpu_hours == pytest.approx(total.flops / (989e12 * 0.45) / 3600)
    assert estimates.estimate([]).gpu_hours == 0


@pytest.mark.parametrize("bad", [{"gpu": "abacus"}, {"utilisation": 0.0}, {"utilisation": 1.1}])
def test_estimate_names_the_bad_value(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter) as error:
        estimates.estimate([CONFIG], **bad)  # type: ignore[arg-type]
    assert error.value.name in bad


def test_no_peak_is_known_for_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert estimates.peak_flops(torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert estimates.peak_flops(torch.device("cuda")) == 989e12
