"""What the last bits of a run depend on beside its config and text: where and by what code it is computed."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from gpt.distributed import Processes

Conditions = dict[str, str | int]
NAMES = ("torch", "threads", "processes", "device", "code")
MOST = 1000  # times that a run is taken up under other conditions


def conditions_of(processes: Processes) -> Conditions:
    """Version of torch, threads of each process, processes, device, and a digest of the code of gpt and theory."""
    device = processes.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    values = (torch.__version__, torch.get_num_threads(), processes.count, name, code_digest())
    return dict(zip(NAMES, map(_plain, values), strict=True))


@cache
def code_digest() -> str:
    """Twelve hexadecimal digits for the files of gpt and theory as they are now."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted([*(root / "gpt").rglob("*.py"), *(root / "theory").rglob("*.py")]):
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def are_conditions(found: object) -> bool:
    """Whether something from a file is a list of `conditions_of`, none of them longer than a line."""
    return (
        isinstance(found, list)
        and len(found) <= MOST
        and all(
            isinstance(one, dict)
            and tuple(one) == NAMES
            and all(type(value) in (str, int) and len(str(value)) < 200 for value in one.values())
            for one in found
        )
    )


def continued(earlier: Sequence[Conditions], now: Conditions, where: Path) -> list[Conditions]:
    """The conditions of a run that goes on; says on stderr what is different now."""
    if not earlier or earlier[-1] == now:
        return list(earlier) or [now]
    changes = ", ".join(f"{key} {earlier[-1][key]} (now {now[key]})" for key in NAMES if earlier[-1][key] != now[key])
    print(f"note: {where}: begun with {changes}: not the same to the last bit", file=sys.stderr, flush=True)
    return [*earlier, now]


def _plain(value: object) -> str | int:
    return value if type(value) is int else str(value)
