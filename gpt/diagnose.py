"""What else could bend an optimum: noise scale, sharpness and Adam's statistics of a finished run, from its checkpoint.

All are taken at the end of the run, over the matrices of the blocks, on sequences that the run was neither trained nor
evaluated on. Where the schedule ends at a rate of zero, so does what the last steps did to the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpt.adam_statistics import adam_statistics
from gpt.checkpoint import load_checkpoint
from gpt.config import TrainConfig
from gpt.data import Text, load_text
from gpt.model import GPT, block_matrices
from gpt.noise_scale import measure_noise_scale
from gpt.optim import MATRICES, build_optimizers
from gpt.sharpness import adam_preconditioner, sharpness
from theory.checks import InvalidParameter, require_integer


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Of one run; NaN where its optimizer has no such number.

    Attributes
    ----------
    noise_scale, noise_scale_se : gradient noise scale in sequences; infinite if no signal was seen in the noise.
    squared_gradient : squared norm of the expected gradient.
    sharpness : largest eigenvalue of the Hessian of the mean loss on one batch.
    preconditioned_sharpness : the same as Adam sees it, of :math:`P^{-1/2} H P^{-1/2}`.
    update_rms : of Adam's direction at the last step, root mean square over all entries.
    sign_agreement : share of entries in which a new gradient has the sign of Adam's average.
    """

    noise_scale: float
    noise_scale_se: float
    squared_gradient: float
    sharpness: float
    preconditioned_sharpness: float
    update_rms: float
    sign_agreement: float


@dataclass(frozen=True)
class LoadedRun:
    """A run at one of its checkpoints: model, optimizer of the block matrices, and sequences that it has not seen."""

    config: TrainConfig
    model: GPT
    optimizer: torch.optim.Optimizer
    text: Text

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Tokens and targets of one batch that the run was neither trained nor evaluated on."""
        return self.text.validation_batch(
            self.config.eval_batches + index,
            batch_size=self.config.batch_size,
            context_length=self.config.model.context_length,
        )

    def joined(self, num_batches: int) -> tuple[Tensor, Tensor]:
        """The first of them as one batch."""
        pairs = [self.batch(index) for index in range(num_batches)]
        tokens, targets = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
        return tokens, targets


def load_run(config: TrainConfig, checkpoint: Path, *, step: int | None = None) -> LoadedRun:
    """The run as it was saved. ``step``: after which; None for its last.

    Raises `InvalidParameter` for a checkpoint of another step or config.
    """
    wanted = config.schedule.num_steps if step is None else step
    text = load_text(config.source)
    model = GPT(config.model).to(torch.float64 if config.dtype == "float64" else torch.float32)
    optimizers = build_optimizers(model, config)
    state = load_checkpoint(checkpoint, config, text.fingerprint, model, optimizers)
    if state["step"] != wanted:
        raise InvalidParameter(
            "checkpoint", state["step"], f"of {'the last step' if step is None else 'step'}, {wanted}"
        )
    model.load_state_dict(state["model"])
    optimizers[MATRICES].load_state_dict(state["optimizers"][MATRICES])
    return LoadedRun(config, model, optimizers[MATRICES], text)


def diagnose(config: TrainConfig, checkpoint: Path, *, num_batches: int = 16) -> Diagnosis:
    """Load the end of a run and measure, with half of the batches for the sharpness; see `measure`.

    Raises
    ------
    InvalidParameter : too few batches, or a checkpoint that is not the end of a run of this config.
    """
    require_integer("num_batches", num_batches, at_least=3)
    return measure(load_run(config, checkpoint), num_batches=num_batches, num_sharpness_batches=-(-num_batches // 2))


def measure(run: LoadedRun, *, num_batches: int, num_sharpness_batches: int) -> Diagnosis:
    """All of a `Diagnosis` at the weights of ``run``.

    Parameters
    ----------
    num_batches : of ``config.batch_size`` sequences for the noise scale, at least 3.
    num_sharpness_batches : of them that make the batch of the sharpness and of the new gradient, at least 1.
    """
    model, optimizer = run.model, run.optimizer
    matrices = block_matrices(model)
    parameters = list(matrices.values())
    noise = measure_noise_scale(
        lambda pair: model(*pair).mean(),
        map(run.batch, range(num_batches)),
        parameters,
        batch_size=run.config.batch_size,
    )
    tokens, targets = run.joined(num_sharpness_batches)

    def loss() -> Tensor:
        return model(tokens, targets).mean()

    plain = sharpness(loss, parameters).value
    conditioned = update_rms = agreement = math.nan
    if all("exp_avg_sq" in optimizer.state.get(parameter, {}) for parameter in parameters):
        conditioned = sharpness(loss, parameters, preconditioner=adam_preconditioner(optimizer, parameters)).value
        gradients = torch.autograd.grad(loss(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        adam = adam_statistics(matrices, optimizer)
        sizes = np.array([parameter.numel() for parameter in parameters], dtype=np.float64)
        update_rms = float(np.sqrt(np.average(adam.update_rms**2, weights=sizes)))
        agreement = float(np.average(adam.sign_agreement, weights=sizes))
    return Diagnosis(
        noise_scale=noise.noise_scale,
        noise_scale_se=noise.noise_scale_se,
        squared_gradient=noise.squared_gradient,
        sharpness=plain,
        preconditioned_sharpness=conditioned,
        update_rms=update_rms,
        sign_agreement=agreement,
    )
