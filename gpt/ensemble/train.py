"""From the configs of an ensemble to the result of each of its runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gpt.conditions import conditions_of
from gpt.config import Device, TrainConfig
from gpt.data import Text, load_text
from gpt.distributed import Processes, pick_device
from gpt.ensemble.forward import token_losses
from gpt.ensemble.moves import RECORDED, Moves, decays_of
from gpt.ensemble.tape import taped
from gpt.ensemble.weights import Stack
from gpt.model import GPT, count_params
from gpt.optim import describe_groups
from gpt.replay import Recording
from gpt.train import TrainResult, check_text, first_bad_loss
from theory.checks import InvalidParameter
from theory.outcome import RunOutcome
from theory.trajectory import Trajectory, record_steps

STEPS_AT_ONCE = 200  # whose batches are on the device together
LARGEST_VOCABULARY = 4096  # embeddings are read by a product over it


def same_shape(config: TrainConfig) -> tuple[Hashable, ...]:
    """Runs for which this is equal can be in one ensemble."""
    model, spec = config.model, config.optimizer
    shape = replace(model, init_rms=1.0, residual_init_rms=1.0, embedding_init_rms=1.0)
    moments = tuple(getattr(spec, name, None) for name in ("beta1", "beta2", "eps"))
    sizes = (config.schedule.num_steps, config.batch_size, config.record_every, config.eval_batches)
    return shape, moments, sizes, config.dtype, config.source, config.steering is not None


def train_ensemble(
    configs: Sequence[TrainConfig],
    *,
    device: Device = "auto",
    recordings: Sequence[Recording | None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[TrainResult]:
    """Train them all at once, each as `gpt.train.train` would train it up to rounding; results in their order.

    There are no checkpoints: what is interrupted begins again. A run that diverges ends by itself.

    Parameters
    ----------
    configs : at least one, alike by `same_shape`. Their ``device``, ``compile`` and ``accumulation_steps`` are not
        looked at.
    device : for all of them.
    recordings : of steered runs, one each; none for an ensemble of others.
    on_progress : called with the number of steps done and of all, from time to time.

    Raises
    ------
    InvalidParameter : configs that do not go together or ask for what an ensemble has not: an optimizer other than
        AdamW, AdamC and AdamH, bfloat16, gradient clipping, a vocabulary above 4096, steering other than by recorded
        angles and norms with gradients as they come; a text that does not fit.
    """
    first = configs[0]
    for config in configs:
        _check(config, first)
    chosen = pick_device(device)
    text = load_text(first.source)
    check_text(text, first)
    stack = Stack(configs, chosen)
    initial = stack.rms().cpu().numpy()
    moves = Moves(stack, configs, _checked(configs, recordings, stack.matrices))
    losses, records, seconds = _run(stack, moves, configs, text, on_progress)
    if chosen.type == "cuda":
        torch.cuda.empty_cache()  # of what only the recorded steps needed
    finals = _evaluated(stack, first, text)
    final = stack.rms().cpu().numpy()
    steps = record_steps(first.schedule.num_steps, first.record_every)
    conditions = conditions_of(Processes(rank=0, count=1, device=chosen))
    num_params = count_params(GPT(first.model))
    results = []
    for index, config in enumerate(configs):
        own, (loss, error) = losses[:, index], finals[index]
        bad = first_bad_loss(own, 0, config.model.vocab_size)
        if bad is None and not math.isfinite(loss):
            bad = len(own)
        kept = steps[steps < (len(own) if bad is None else bad)]
        fields = {name: values[: len(kept), index] for name, values in zip(RECORDED, records, strict=True)}
        results.append(
            TrainResult(
                outcome=RunOutcome.COMPLETED if bad is None else RunOutcome.DIVERGED,
                losses=own[: len(own) if bad is None else bad + 1].numpy(),
                trajectory=Trajectory(steps=kept, matrices=stack.matrices, **fields),
                final_loss=loss if bad is None else math.nan,
                final_loss_se=error if bad is None else math.nan,
                tokens_per_second=len(own) * config.tokens_per_step * len(configs) / seconds,
                num_params=num_params,
                initial_weight_rms=dict(zip(stack.matrices, initial[index].tolist(), strict=True)),
                final_weight_rms=dict(zip(stack.matrices, final[index].tolist(), strict=True)),
                groups=describe_groups(GPT(config.model), config),
                fingerprint=text.fingerprint,
                conditions=(conditions,),
                diverged_at_step=bad,
                mfu=math.nan,
            )
        )
    return results


def _run(
    stack: Stack,
    moves: Moves,
    configs: Sequence[TrainConfig],
    text: Text,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, np.ndarray, float]:
    """All steps. Losses before each of them, (num_steps, M); records, (len(RECORDED), num_records, M, n); the seconds
    that the steps took."""
    first, device = configs[0], stack.values.device
    num_steps = first.schedule.num_steps
    recorded = record_steps(num_steps, first.record_every)
    losses = torch.zeros(num_steps, len(configs), dtype=torch.float64, device=device)
    shape = (len(recorded), len(RECORDED), len(configs), len(stack.matrices))
    records = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
    seeds = list(dict.fromkeys(config.seed for config in configs))
    whose = torch.tensor([seeds.index(config.seed) for config in configs], device=device)
    width = first.model.context_length + 1
    windows = torch.zeros(STEPS_AT_ONCE, len(seeds), first.batch_size, width, dtype=torch.int32, device=device)
    at, place, number = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(3))

    def gradients() -> None:
        own = windows[place][0][whose].long()
        mean = token_losses(first.model, stack.parameters, own[..., :-1], own[..., 1:]).mean(dim=(1, 2))
        stack.differentiate(mean.sum())
        losses.index_copy_(0, at, mean.detach().double()[None])

    def plain() -> None:
        gradients()
        moves.step(at)
        at.add_(1)
        place.add_(1)

    def watched() -> None:
        gradients()
        before = stack.values.clone()
        records.index_copy_(0, number, moves.record(at, before, moves.step(at))[None])
        number.add_(1)
        at.add_(1)
        place.add_(1)

    state = (stack.values, stack.gradients, *moves.moments, losses, records, at, place, number)
    if device.type == "cuda":
        windows.copy_(_windows(text, first, seeds, 0, min(STEPS_AT_ONCE, num_steps), STEPS_AT_ONCE))
    run_plain, run_watched = (taped(one, state, device=device) for one in (plain, watched))
    watch = set(recorded.tolist())
    started = time.perf_counter()
    for begin, chunk in _chunks(text, first, seeds):
        windows[: len(chunk)].copy_(chunk)
        place.zero_()
        for step in range(begin, begin + len(chunk)):
            run_watched() if step in watch else run_plain()
        if on_progress is not None:
            on_progress(begin + len(chunk), num_steps)
    found = losses.cpu()  # waits for the device
    seconds = time.perf_counter() - started
    return found, records.transpose(0, 1).cpu().numpy(), seconds


def _chunks(text: Text, config: TrainConfig, seeds: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """First step and batches of so many steps at a time, the next ones cut while these are used."""
    num_steps = config.schedule.num_steps
    begins = range(0, num_steps, STEPS_AT_ONCE)
    with ThreadPoolExecutor(1) as thread:

        def cut(begin: int) -> Tensor:
            return _windows(text, config, seeds, begin, min(begin + STEPS_AT_ONCE, num_steps))

        coming = thread.submit(cut, 0)
        for begin in begins:
            chunk = coming.result()
            if begin + STEPS_AT_ONCE < num_steps:
                coming = thread.submit(cut, begin + STEPS_AT_ONCE)
            yield begin, chunk


def _windows(
    text: Text, config: TrainConfig, seeds: Sequence[int], begin: int, end: int, length: int | None = None
) -> Tensor:
    """Tokens and next ones of the steps from ``begin`` to ``end``, (end - begin or ``length``, seeds, B, T + 1)."""
    batch, context = config.batch_size, config.model.context_length
    found = np.zeros((length or end - begin, len(seeds), batch, context + 1), np.int32)
    for step in range(begin, end):
        for index, seed in enumerate(seeds):
            tokens, targets = text.batch(step, seed=seed, batch_size=batch, context_length=context)
            found[step - begin, index, :, :-1], found[step - begin, index, :, -1] = tokens, targets[:, -1]
    return torch.from_numpy(found)


@torch.no_grad()
def _evaluated(stack: Stack, config: TrainConfig, text: Text) -> list[tuple[float, float]]:
    """Of each model the loss on the validation batches of `gpt.train.evaluate`, and its standard error."""
    device, num_models = stack.values.device, len(stack.values)
    sequences = []
    for index in range(config.eval_batches):
        tokens, targets = (
            half.to(device)[None].expand(num_models, -1, -1)
            for half in text.validation_batch(
                index, batch_size=config.batch_size, context_length=config.model.context_length
            )
        )
        sequences.append(token_losses(config.model, stack.parameters, tokens, targets).mean(dim=2))
    values = torch.cat(sequences, dim=1).double()
    errors = values.std(dim=1) / math.sqrt(values.shape[1]) if values.shape[1] > 1 else values[:, 0] * math.nan
    return list(zip(values.mean(dim=1).tolist(), errors.tolist(), strict=True))


def _check(config: TrainConfig, first: TrainConfig) -> None:
    if same_shape(config) != same_shape(first):
        raise InvalidParameter("configs", config.model.d_model, "of one shape, length, batch and precision")
    if config.dtype == "bfloat16":
        raise InvalidParameter("dtype", config.dtype, "float32 or float64 in an ensemble")
    if config.gradient_clip is not None:
        raise InvalidParameter("gradient_clip", config.gradient_clip, "null in an ensemble")
    if config.model.vocab_size > LARGEST_VOCABULARY:
        raise InvalidParameter("vocab_size", config.model.vocab_size, f"at most {LARGEST_VOCABULARY:,} in an ensemble")
    decays_of(config.optimizer, np.zeros(1))


def _checked(
    configs: Sequence[TrainConfig], recordings: Sequence[Recording | None] | None, matrices: tuple[str, ...]
) -> Sequence[Recording | None] | None:
    """The recordings of a steered ensemble, None of another."""
    if configs[0].steering is None:
        return None
    for config, recording in zip(configs, recordings or [None] * len(configs), strict=True):
        steering = config.steering
        assert steering is not None
        if steering.angle is not None or steering.norm != "recorded" or steering.rescale_gradients:
            raise InvalidParameter("steering", steering.norm, "by recorded angles and norms, gradients as they come")
        if recording is None or recording.digest != steering.recording or recording.matrices != matrices:
            raise InvalidParameter("recording", None, f"the recording {steering.recording} of this model")
    return recordings
