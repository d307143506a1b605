"""One run shared by several processes, as started by ``torchrun``: each computes its part of every batch.

The gradients are averaged by DistributedDataParallel, so all processes make the same steps with the same weights. The
batch size of the config is that of all processes together: the config says what is trained, the number of processes
only how fast.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gpt.config import Device, TrainConfig
from theory.checks import InvalidParameter

# Seconds for all to come together, and for an answer of each to the others: one that is gone ends the others.
TIMEOUT, LONGEST_TIMEOUT = 300.0, 1e6
MOST_PROCESSES = 2**20


@dataclass(frozen=True)
class Processes:
    """The processes that share a run, seen from one of them.

    rank, count : this one, and how many there are.
    device : what this one computes on.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and reports."""
        return self.rank == 0

    @property
    def rows(self) -> slice:
        """Its sequences of a batch: every ``count``-th."""
        return slice(self.rank, None, self.count)

    def share(self, model: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The model, with gradients averaged over the processes."""
        if self.count == 1:
            return model
        assert isinstance(model, nn.Module)
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def averaging(self, model: Callable[..., Tensor], *, when: bool) -> AbstractContextManager[object]:
        """Average the gradients in this backward pass, or leave them to add up until a later one does."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) and not when else nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes of a tensor that each of them has; in place."""
        if self.count > 1:
            dist.all_reduce(value)
            value /= self.count
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is true in one of the processes."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(votes)
        return bool(votes > 0)


def is_first_process() -> bool:
    """Whether this is the process that writes: the only one, or number 0 of those that ``torchrun`` started."""
    return not _is_launched() or os.environ.get("RANK", "0") == "0"


def _is_launched() -> bool:
    """Whether ``torchrun`` started this process among others; RANK alone, left by something else, says nothing."""
    return os.environ.get("WORLD_SIZE", "1") != "1" or "TORCHELASTIC_RUN_ID" in os.environ


def join_processes(config: TrainConfig) -> Processes:
    """This process among those of the run; alone, unless ``torchrun`` started it or a process group exists.

    Raises
    ------
    InvalidParameter : no GPU where one is asked for; a batch that cannot be divided; half of what ``torchrun`` sets.
    """
    if not dist.is_initialized() and (size := os.environ.get("WORLD_SIZE", "1")) != "1":
        allowed = "unset, or set by torchrun together with RANK, MASTER_ADDR and MASTER_PORT"
        seconds = _timeout()
        try:
            if not 0 <= int(os.environ.get("RANK", "-1")) < int(size) <= MOST_PROCESSES:
                raise ValueError
            if not 0 <= int(os.environ.get("MASTER_PORT", "0")) < 2**16:
                raise ValueError
            backend = "nccl" if pick_device(config.device).type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
        except ValueError:
            raise InvalidParameter("WORLD_SIZE", size, allowed) from None
        except dist.DistError as error:
            reason = " ".join(str(error).split())[:150]
            line = f"that of processes which answer within {seconds:g} seconds, or unset ({reason})"
            raise InvalidParameter("WORLD_SIZE", size, line) from None
        atexit.register(dist.destroy_process_group)
    if not dist.is_initialized():
        return Processes(0, 1, pick_device(config.device))
    rank, count = dist.get_rank(), dist.get_world_size()
    if config.batch_size % (count * config.accumulation_steps):
        parts = f"{count} processes x {config.accumulation_steps} accumulation steps"
        raise InvalidParameter("batch_size", config.batch_size, f"a multiple of {parts}")
    device = pick_device(config.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return Processes(rank, count, device)


def _timeout() -> float:
    text = os.environ.get("LRBEND_PROCESS_TIMEOUT", "") or str(TIMEOUT)
    with suppress(ValueError):
        if 0 < float(text) <= LONGEST_TIMEOUT:
            return float(text)
    raise InvalidParameter("LRBEND_PROCESS_TIMEOUT", text, f"seconds, above 0 and at most {LONGEST_TIMEOUT:g}")


def pick_device(device: Device) -> torch.device:
    """Raises `InvalidParameter` for "cuda" on a machine without a GPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidParameter("device", device, "cpu or auto on a machine without a GPU")
    return torch.device(device)
