"""What a checkpoint holds, told without loading it, and whether that is what the run's own model needs.

A checkpoint may come from a stranger. `describe` reads the list of its contents with an unpickler that knows tensors by
dtype and shape alone, calls nothing, and allocates nothing from a number in the file; `require` compares it with what
`expected_state` says, name by name. Only then is there anything to load.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import nn

from gpt.config import TrainConfig
from gpt.model import block_matrices
from gpt.sphere import SphereOptimizer
from gpt.step_records import ROWS
from theory.trajectory import record_steps

LARGEST_LIST = 2**26  # bytes of the list of contents
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "BFloat16Storage": torch.bfloat16,
    "HalfStorage": torch.float16,
    "LongStorage": torch.int64,
}
CHANGING = {"lr", "weight_decay"}  # of a parameter group: by the schedule, and by AdamC


class Mismatch(ValueError):
    """The first difference between a checkpoint and what is expected: where, and what."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, or the one that is expected there."""

    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Number:
    """A finite number of at least ``least``."""

    least: float = -math.inf


def describe(file: BinaryIO, size: int) -> Any:
    """The contents of a checkpoint of ``size`` bytes, with a `Stored` for each tensor.

    Raises `Mismatch` for what no checkpoint has in it, and anything that zipfile and pickle raise.
    """
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        plain = all(info.compress_type == zipfile.ZIP_STORED for info in records.values())
        if not plain or sum(info.file_size for info in records.values()) > size:
            raise Mismatch("file: its parts are compressed, or larger than it is")
        (listing,) = (name for name in records if name.count("/") == 1 and name.endswith("/data.pkl"))
        if records[listing].file_size > LARGEST_LIST:
            raise Mismatch("file: the list of its contents is too long")
        folder = listing.removesuffix("data.pkl")
        sizes = {name.removeprefix(f"{folder}data/"): info.file_size for name, info in records.items()}
        with archive.open(listing) as content:
            return _Contents(content, sizes).load()


class _Contents(pickle._Unpickler):  # in Python: its memo grows by what is in it
    """Reads the list of a checkpoint; the only thing that it makes are containers, numbers, text and `Stored`."""

    def __init__(self, file: Any, sizes: Mapping[str, int]) -> None:
        super().__init__(file)
        self._sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise Mismatch(f"file: holds {module}.{name}"[:200])

    def persistent_load(self, identity: Any) -> Any:
        kind, dtype, key, _, count = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(count) is not int or count < 0:
            raise Mismatch("file: holds something else than tensors")
        if self._sizes.get(key, -1) != count * dtype.itemsize:
            raise Mismatch(f"file: a tensor says {count} entries, and they are not there")
        return dtype, count


def _tensor(storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> Stored:
    dtype, count = storage
    numbers = (offset, *shape, *strides)
    if type(shape) is not tuple or len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        raise Mismatch("file: a tensor without a shape")
    dense = 1
    for length, stride in reversed(list(zip(shape, strides, strict=True))):
        if length > 1 and stride != dense:
            raise Mismatch("file: a tensor whose entries do not lie one behind the other")
        dense *= length
    if offset + dense > count:
        raise Mismatch("file: a tensor that is larger than its entries")
    return Stored(dtype, shape)


def expected_state(
    step: int, config: TrainConfig, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """What `gpt.train.train` saves of this model and these optimizers after ``step`` steps."""
    recorded = [int(s) for s in record_steps(config.schedule.num_steps, config.record_every) if s < step]
    matrices = list(block_matrices(model))
    record = Stored(torch.float64, (len(ROWS), len(matrices)))
    probe = {"steps": recorded, "records": [record] * len(recorded), "calls": len(recorded), "pending": False}
    return {
        "step": step,
        "model": {name: _like(value) for name, value in model.state_dict().items()},
        "optimizers": {name: _expected_optimizer(optimizer) for name, optimizer in optimizers.items()},
        "probe": {**probe, "matrices": matrices},
        "losses": Stored(torch.float64, (step,)),
    }


def _expected_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    members = [(group, parameter) for group in optimizer.param_groups for parameter in group["params"]]
    groups = [
        {key: Number(least=0) if key in CHANGING else value for key, value in group.items()}
        for group in optimizer.state_dict()["param_groups"]
    ]
    return {
        "state": {index: _expected_moments(optimizer, *member) for index, member in enumerate(members)},
        "param_groups": groups,
    }


def _expected_moments(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], parameter: torch.Tensor
) -> dict[str, Any]:
    if isinstance(optimizer, SphereOptimizer):
        made = optimizer.initial_state(parameter.detach().to("meta"), group["dims"])
        return {**{name: _like(value) for name, value in made.items()}, "radius": Number(least=0)}
    assert isinstance(optimizer, torch.optim.Adam)
    return {"step": Stored(torch.float32, ()), "exp_avg": _like(parameter), "exp_avg_sq": _like(parameter)}


def _like(value: torch.Tensor) -> Stored:
    return Stored(value.dtype, tuple(value.shape))


def require(found: Any, expected: Any, where: str) -> None:
    """Raise `Mismatch` with the first place in which two descriptions differ."""
    if isinstance(expected, Mapping):
        if not isinstance(found, dict):
            raise Mismatch(f"{where}: {_kind(found)} in place of names and values")
        for key in expected:
            if key not in found:
                raise Mismatch(f"{where}: has no {key!r}")
        for key in found:
            if key not in expected:
                raise Mismatch(f"{where}: has {str(key)[:80]!r}, which does not belong there")
        for key, value in expected.items():
            require(found[key], value, f"{where}.{key}")
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            size = f" of {len(found)}" if isinstance(found, list | tuple) else ""
            raise Mismatch(f"{where}: {_kind(found)}{size} in place of a list of {len(expected)}")
        for place, value in enumerate(expected):
            require(found[place], value, f"{where}[{place}]")
    elif isinstance(expected, Number):
        number = isinstance(found, int | float) and not isinstance(found, bool)
        if not number or not math.isfinite(found) or found < expected.least:
            raise Mismatch(f"{where}: {_shown(found)} is not a number it can be")
    elif found != expected:
        raise Mismatch(f"{where}: {_shown(found)} in place of {_shown(expected)}")


def is_finite(state: Any) -> bool:
    """Whether all entries of all tensors in nested dicts are finite."""
    if isinstance(state, Mapping):
        return all(map(is_finite, state.values()))
    return not isinstance(state, torch.Tensor) or bool(torch.isfinite(state).all())


def _kind(value: object) -> str:
    return "a tensor" if isinstance(value, Stored) else type(value).__name__


def _shown(value: object) -> str:
    if isinstance(value, Stored):
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, dict | list | tuple):
        return type(value).__name__
    return repr(value)[:60]
