"""The batches of a run on the device that computes, made ahead of time where that device is a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from gpt.config import TrainConfig
from gpt.distributed import Processes
from gpt.text import Text

Batch = tuple[Tensor, Tensor]


def batches(
    text: Text, config: TrainConfig, processes: Processes, start: int, *, ahead: bool | None = None
) -> Iterator[tuple[int, list[Batch]]]:
    """Each step from ``start`` on, with inputs and targets of its parts: this process's share of the batch.

    A part has shape (batch_size / (count * accumulation_steps), context_length), int64. With ``ahead`` (by default on a
    GPU) a thread cuts the next batch out of the text, into pinned memory, while this one is being computed.
    """
    device, num_steps = processes.device, config.schedule.num_steps
    pinned = device.type == "cuda"

    def make(step: int) -> Batch:
        tokens, targets = text.batch(
            step,
            seed=config.seed,
            batch_size=config.batch_size,
            context_length=config.model.context_length,
            rows=processes.rows,
        )
        return (tokens.pin_memory(), targets.pin_memory()) if pinned else (tokens, targets)

    def parts(batch: Batch) -> list[Batch]:
        tokens, targets = (half.to(device, non_blocking=True).chunk(config.accumulation_steps) for half in batch)
        return list(zip(tokens, targets, strict=True))

    if not (pinned if ahead is None else ahead):
        for step in range(start, num_steps):
            yield step, parts(make(step))
        return
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make, start)
        for step in range(start, num_steps):
            batch = coming.result()
            if step + 1 < num_steps:
                coming = thread.submit(make, step + 1)
            yield step, parts(batch)
