"""A step that is recorded once on a GPU and replayed without Python; on a CPU it is simply called."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARMUPS = 3  # calls before the recording, in which libraries allocate what they need


def taped(step: Callable[[], None], state: Sequence[Tensor], *, device: torch.device) -> Callable[[], None]:
    """``step`` itself on a CPU; on a GPU its replay, as a CUDA graph.

    state : every tensor that a step changes and a later one reads; as it was when this returns.
    """
    if device.type != "cuda":
        return step
    kept = [tensor.detach().clone() for tensor in state]
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARMUPS):
            step()
            _restore(state, kept)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@torch.no_grad()
def _restore(state: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    for tensor, before in zip(state, kept, strict=True):
        tensor.copy_(before)
