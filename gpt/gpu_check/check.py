"""All parts, one after the other; one that fails is a row, and the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from gpt.config import Device
from gpt.distributed import pick_device
from gpt.gpu_check.parity import adamh_rows, path_rows
from gpt.gpu_check.rows import Report, Row
from gpt.gpu_check.sizes import Size
from gpt.gpu_check.speed import speed_rows
from gpt.gpu_check.together import ensemble_rows
from gpt.gpu_check.transient import transient_rows
from theory.checks import InvalidParameter, require_number

PARTS: dict[str, Callable[[Size], Iterator[Row]]] = {
    "paths": path_rows,
    "adamh": adamh_rows,
    "ensemble": ensemble_rows,
    "speed": speed_rows,
    "transient": transient_rows,
}
CPU_SCALE = 0.1


def run_check(
    *, device: Device = "auto", scale: float | None = None, on_row: Callable[[Row], None] = lambda row: None
) -> Report:
    """Run all parts.

    Parameters
    ----------
    device : "cpu" for a rehearsal; "auto" wants a GPU too.
    scale : share of the size, above 0 and at most 1; by default 1 on a GPU and a tenth on a CPU.
    on_row : called with every row as soon as it is known.

    Raises
    ------
    InvalidParameter : a value outside its range, or no GPU where none was given up.
    """
    chosen = pick_device(device)
    if device == "auto" and chosen.type != "cuda":
        raise InvalidParameter(
            "device",
            device,
            "cpu where no GPU is found, which runs a tenth of it by the same code",
        )
    if scale is None:
        scale = 1.0 if chosen.type == "cuda" else CPU_SCALE
    size = Size(chosen, require_number("scale", scale, above=0, at_most=1))
    rows: list[Row] = []
    seconds = {}
    for name, part in PARTS.items():
        started = time.perf_counter()
        for row in _whatever_happens(name, part, size):
            rows.append(row)
            on_row(row)
        seconds[name] = round(time.perf_counter() - started, 1)
    return Report(
        device=torch.cuda.get_device_name(chosen) if size.on_gpu else "CPU",
        on_gpu=size.on_gpu,
        scale=size.scale,
        torch=torch.__version__,
        cuda=torch.version.cuda if size.on_gpu else None,
        seconds=seconds,
        rows=tuple(rows),
    )


def _whatever_happens(name: str, part: Callable[[Size], Iterator[Row]], size: Size) -> Iterator[Row]:
    """The rows of a part, and one more that has failed if it ends in an error: minutes on a GPU are dear, and what went
    wrong there is what the check is for."""
    try:
        yield from part(size)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        yield Row(part=name, what="runs to its end", value=None, unit="", limit=0.0, note=reason)
