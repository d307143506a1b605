"""Logs of runs whose truth is known: moments of the theory on white noise, or with a planted direction."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory import AdamW, Schedule
from theory.models import model_of

Array = NDArray[np.float64]


def white_noise_rows(
    optimizer: AdamW, schedule: Schedule, *, initial_rms: float, every: int, signal: float = 0.0
) -> list[dict[str, Any]]:
    """Records after a step: rate, weight RMS, RMS of the direction and <W, u>. ``signal`` is a mean that is added to
    <W, u> before the step, as a share of its value on white noise."""
    rates = optimizer.learning_rate * schedule.multipliers()
    moments = model_of(optimizer).moments(rates, np.array([initial_rms]))
    p, s = moments.p[:, 0] * (1 + signal), np.broadcast_to(moments.s[:, 0], rates.shape)
    alpha = 1 - rates * optimizer.weight_decay
    rho = np.empty(len(rates) + 1)
    rho[0] = initial_rms**2
    for t, rate in enumerate(rates):
        rho[t + 1] = alpha[t] ** 2 * rho[t] - 2 * alpha[t] * rate * p[t] + rate**2 * s[t]
    return [
        {
            "step": t + 1,
            "learning_rate": rates[t],
            "weight_rms": float(np.sqrt(rho[t + 1])),
            "update_rms": float(np.sqrt(s[t])),
            "mean_w_u": float(alpha[t] * p[t] - rates[t] * s[t]),
        }
        for t in range(every - 1, len(rates), every)
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    names = list(rows[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_trainer_state(path: Path, rows: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"log_history": list(rows), "global_step": rows[-1]["step"], **more}, indent=2))
    return path


def event_file(records: Iterable[tuple[int, str, float]], *, tensors: bool = False) -> bytes:
    """A TensorBoard event file, checksums left at 0."""
    version = b"\x09" + struct.pack("<d", 1.7e9) + b"\x1a\x0dbrain.Event:2"
    content = _record(version)
    for step, tag, value in records:
        told = b"\x0a" + _varint(len(tag)) + tag.encode()
        if tensors:
            tensor = b"\x08\x01" + b"\x12\x00" + b"\x22\x04" + struct.pack("<f", value)
            told += b"\x42" + _varint(len(tensor)) + tensor
        else:
            told += b"\x15" + struct.pack("<f", value)
        summary = b"\x0a" + _varint(len(told)) + told
        event = b"\x09" + struct.pack("<d", 1.7e9) + b"\x10" + _varint(step)
        content += _record(event + b"\x2a" + _varint(len(summary)) + summary)
    return content


def _record(message: bytes) -> bytes:
    return struct.pack("<QI", len(message), 0) + message + bytes(4)


def _varint(number: int) -> bytes:
    found = b""
    while True:
        number, low = number >> 7, number & 0x7F
        found += bytes([low | (0x80 if number else 0)])
        if not number:
            return found
