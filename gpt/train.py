"""Train a GPT and record what its matrices do: one function, from the first batch to the final loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gpt.batches import batches
from gpt.checkpoint import has_checkpoint, load_checkpoint, remove_partial_checkpoints, save_checkpoint
from gpt.checkpoint_contents import is_finite
from gpt.conditions import Conditions, conditions_of, continued
from gpt.config import TrainConfig
from gpt.data import Text, load_text
from gpt.distributed import join_processes
from gpt.estimates import flops_per_token, peak_flops, require_memory
from gpt.model import GPT, block_matrices, count_params
from gpt.optim import MATRICES, build_optimizers, describe_groups, set_learning_rates
from gpt.probe import Probe
from gpt.replay import Recording, Steer
from theory.checks import InvalidParameter
from theory.divergence import largest_loss
from theory.outcome import RunOutcome
from theory.trajectory import Trajectory, record_steps


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run leaves behind.

    Attributes
    ----------
    outcome : completed; diverged, if a loss was not finite or above `theory.divergence.largest_loss`;
        stopped, if the caller asked for it.
    losses : (num_steps_done,) training loss in nats per token at every step, before that step's update.
    trajectory : the probe's records.
    final_loss, final_loss_se : validation loss and its standard error over sequences; NaN unless completed.
    tokens_per_second : training speed of this call, all processes together, evaluation not included; NaN if it made
        no step.
    mfu : share of the peak FLOPs that the training steps used (`gpt.estimates`); NaN where the peak is not known.
    num_params : outside the embeddings.
    initial_weight_rms, final_weight_rms : RMS of each block matrix before the first and after the last step, by name.
    groups : which parameters were trained by what, one line each.
    fingerprint : of the text.
    conditions : under which it was computed, more than one if a run that was interrupted went on under others.
    diverged_at_step : first step with a bad loss (``num_steps`` if only the final loss is bad), else None.
    """

    outcome: RunOutcome
    losses: NDArray[np.float64]
    trajectory: Trajectory
    final_loss: float
    final_loss_se: float
    tokens_per_second: float
    mfu: float
    num_params: int
    initial_weight_rms: dict[str, float]
    final_weight_rms: dict[str, float]
    groups: tuple[str, ...]
    fingerprint: str
    conditions: tuple[Conditions, ...]
    diverged_at_step: int | None


class StepObserver(Protocol):
    """Looks at the block matrices before each optimizer step and leaves them as they are."""

    def __call__(self, step: int, matrices: Mapping[str, torch.Tensor]) -> None:
        """``matrices`` are the model's own, by name in the order of the trajectory; the ``grad`` of each is what its
        optimizer is about to use: averaged over processes, rescaled and clipped where the config asks for it."""


def train(
    config: TrainConfig,
    *,
    recording: Recording | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int | None = None,
    on_start: Callable[[int], None] | None = None,
    on_progress: Callable[[int, float], None] | None = None,
    on_evaluation: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    before_step: StepObserver | None = None,
    device_peak_flops: float | None = None,
) -> TrainResult:
    """Train one model.

    The same config gives the same numbers to the last bit on one machine, also when the run was interrupted and
    resumed from its checkpoint. Started by ``torchrun``, each process trains on its part of every batch; the numbers
    are then those of one process up to rounding, and the first process alone writes and reports.

    Parameters
    ----------
    recording : of the run whose angles or norms ``config.steering`` asks for.
    checkpoint : file to resume from, if it exists, and to save to.
    checkpoint_every : steps between saves; the end of the run, and a stop asked for, are always saved.
    on_start : called before the first step with the number of steps that a checkpoint has done already.
    on_progress : called at every recorded step with the number of steps done and the loss.
    on_evaluation : called with the number of validation batches done and of all, from (0, all) on.
    should_stop : asked at every recorded step; True ends the run with a checkpoint.
    before_step : called in every process before each optimizer step that this call makes.
    device_peak_flops : of one device, FLOP/s, for the MFU; None takes that of a GPU in `gpt.estimates.PEAK_FLOPS`.

    Raises
    ------
    InvalidParameter : no GPU where one is asked for, a text that does not fit the model, a batch that cannot be divided
        among the processes, a checkpoint or a recording that does not belong to this run.
    """
    processes = join_processes(config)
    device = processes.device
    text = load_text(config.source)
    check_text(text, config)
    require_memory(config, device)
    model = GPT(config.model).to(torch.float64 if config.dtype == "float64" else torch.float32)
    model.initialise(config.seed)
    rescale_initial_weights(model, config)
    model.to(device)
    matrices = block_matrices(model)
    initial_weight_rms = weight_rms(matrices)
    optimizers = build_optimizers(model, config)
    probe = Probe(matrices, optimizers[MATRICES], check_moves=config.steering is None)
    steer = None if config.steering is None else Steer(matrices, config, recording)
    compiled: Callable[..., torch.Tensor] = torch.compile(model) if config.compile else model
    shared = processes.share(compiled)

    num_steps = config.schedule.num_steps
    multipliers = config.schedule.multipliers().tolist()
    matrix_multipliers = (config.matrix_schedule or config.schedule).multipliers().tolist()
    recorded = set(record_steps(num_steps, config.record_every).tolist())
    losses = torch.zeros(num_steps, dtype=torch.float64, device=device)
    start, conditions = 0, [conditions_of(processes)]
    if checkpoint is not None and processes.is_first:
        checkpoint.parent.mkdir(
            parents=True, exist_ok=True
        )  # here alone: a folder that goes away takes the run with it
        remove_partial_checkpoints(checkpoint)
    if checkpoint is not None and has_checkpoint(checkpoint):
        state = load_checkpoint(checkpoint, config, text.fingerprint, model, optimizers)
        start, conditions = state["step"], continued(state["conditions"], conditions[0], checkpoint)
        model.load_state_dict(state["model"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        probe.load_state_dict(state["probe"])
        losses[:start] = state["losses"].to(device)

    def save(step: int) -> None:
        if checkpoint is None or not processes.is_first:
            return
        state = {
            "step": step,
            "model": model.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "probe": probe.state_dict(),
            "losses": losses[:step].clone(),
        }
        if is_finite(state["model"]) and is_finite(state["optimizers"]):  # else the run is about to end as diverged
            save_checkpoint(checkpoint, config, text.fingerprint, state, conditions)

    if on_start is not None and processes.is_first:
        on_start(start)
    outcome, diverged_at_step, done, checked = RunOutcome.COMPLETED, None, start, 0
    started = time.perf_counter()
    for step, parts in batches(text, config, processes, start):
        for index, (tokens, targets) in enumerate(parts):
            with processes.averaging(shared, when=index == len(parts) - 1):
                with autocast(config, device):
                    loss = shared(tokens, targets).mean() / len(parts)
                loss.backward()
            losses[step] += loss.detach()
        processes.mean(losses[step])
        if steer is not None:
            steer.scale_gradients(step)
            steer.remember()
        if config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)

        if step in recorded:  # the only place where a GPU is waited for
            diverged_at_step = first_bad_loss(losses[checked : step + 1], checked, config.model.vocab_size)
            if diverged_at_step is not None:
                outcome, done = RunOutcome.DIVERGED, diverged_at_step + 1
                break
            checked = step + 1
            probe.before()
        set_learning_rates(optimizers, multipliers[step], matrix_multipliers[step])
        if before_step is not None:
            before_step(step, matrices)
        for optimizer in optimizers.values():
            optimizer.step()
        if steer is not None:
            steer.turn(step)
        done = step + 1
        if step in recorded:
            probe.after(step)  # needs the gradients for some directions
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if step in recorded:
            if on_progress is not None and processes.is_first:
                on_progress(done, float(losses[step]))
            if done < num_steps and processes.any(should_stop is not None and should_stop()):
                outcome = RunOutcome.STOPPED
                save(done)
                break
        if done == num_steps or (checkpoint_every is not None and done % checkpoint_every == 0):
            save(done)
    losses = losses[:done].cpu()
    speed = (done - start) * config.tokens_per_step / (time.perf_counter() - started) if done > start else math.nan
    peak = device_peak_flops or peak_flops(device)

    final_loss, final_loss_se = math.nan, math.nan
    if outcome is RunOutcome.COMPLETED:
        told = on_evaluation if processes.is_first else None
        final_loss, final_loss_se = evaluate(compiled, text, config, device, told)
        if not math.isfinite(final_loss):
            outcome, diverged_at_step = RunOutcome.DIVERGED, num_steps
    return TrainResult(
        outcome=outcome,
        losses=losses.numpy(),
        trajectory=probe.trajectory(),
        final_loss=final_loss,
        final_loss_se=final_loss_se,
        tokens_per_second=speed,
        mfu=speed * flops_per_token(config.model) / (peak * processes.count) if peak else math.nan,
        num_params=count_params(model),
        initial_weight_rms=initial_weight_rms,
        final_weight_rms=weight_rms(matrices),
        groups=describe_groups(model, config),
        fingerprint=text.fingerprint,
        conditions=tuple(conditions),
        diverged_at_step=diverged_at_step,
    )


@torch.no_grad()
def evaluate(
    model: Callable[..., torch.Tensor],
    text: Text,
    config: TrainConfig,
    device: torch.device,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[float, float]:
    """Loss on the fixed validation batches and its standard error over their sequences, in nats per token.

    A batch is computed in as many parts as in training, since the whole of it may not fit.
    """
    sequences = []
    for index in range(config.eval_batches):
        if on_batch is not None:
            on_batch(index, config.eval_batches)
        tokens, targets = text.validation_batch(
            index, batch_size=config.batch_size, context_length=config.model.context_length
        )
        parts = (half.to(device).chunk(config.accumulation_steps) for half in (tokens, targets))
        for some, following in zip(*parts, strict=True):
            with autocast(config, device):
                sequences.append(model(some, following).mean(dim=1))
    if on_batch is not None:
        on_batch(config.eval_batches, config.eval_batches)
    values = torch.cat(sequences).double()
    spread = float(values.std()) if len(values) > 1 else math.nan
    return float(values.mean()), spread / math.sqrt(len(values))


def first_bad_loss(losses: torch.Tensor, start: int, vocab_size: int) -> int | None:
    """Step of the first loss that is not finite or far above that of a uniform guess; ``losses`` begin at ``start``."""
    bad = ~(losses <= largest_loss(vocab_size))
    return start + int(bad.int().argmax()) if bad.any() else None


def weight_rms(matrices: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Root mean square of the entries of each matrix, by name."""
    return {name: float(w.detach().double().square().mean().sqrt()) for name, w in matrices.items()}


@torch.no_grad()
def rescale_initial_weights(model: GPT, config: TrainConfig) -> None:
    """Apply ``block_rms`` and ``initial_factor`` of the config, in this order."""
    if config.block_rms is not None:
        for w in block_matrices(model).values():
            w.mul_(config.block_rms / w.double().square().mean().sqrt())
    if config.initial_factor != 1:
        for parameter in model.parameters():
            parameter.mul_(config.initial_factor)


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Compute in bfloat16 where the config asks for it."""
    if config.dtype == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def check_text(text: Text, config: TrainConfig) -> None:
    """Raise `InvalidParameter` if the model cannot read the text."""
    text.require_context(config.model.context_length)
    if config.model.vocab_size < text.vocab_size:
        raise InvalidParameter(
            "vocab_size", config.model.vocab_size, f"at least {text.vocab_size}, the token values of {config.source}"
        )
