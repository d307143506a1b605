"""What a preset of ``lrbend train`` implies where no flag says otherwise; told, or refused with the flag to add."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from experiments.files import BadInput

BYTES = 256


def with_preset(options: argparse.Namespace) -> dict[str, Any]:
    """Source, vocabulary, arithmetic, compiler and batch of a run, by the names of the flags; None is the preset's own.

    Raises `BadInput` for a size of the GPU ladder without a GPU or without a text.
    """
    from gpt.config import GPU_SHAPES, preset
    from gpt.data import is_bytes
    from gpt.distributed import is_first_process, pick_device
    from gpt.preset_training import training_of_preset

    name = options.preset
    large, on_gpu = name in GPU_SHAPES, pick_device(options.device).type == "cuda"
    if large and not on_gpu and options.device == "auto":
        raise BadInput(f"--preset {name}: is for a GPU, and none is found here; --device cpu trains it all the same")
    if large and options.source is None:
        raise BadInput(
            f"--preset {name}: needs a text; add --source FOLDER with tokens of GPT-2 (lrbend prepare fineweb --out"
            " FOLDER makes them), or --source pysource for bytes"
        )
    implied: dict[str, Any] = {**vars(training_of_preset(name, on_gpu=on_gpu)), "source": "pysource"}
    implied["vocab_size"] = BYTES if large and is_bytes(options.source) else None
    chosen = {key: value for key, value in implied.items() if getattr(options, key) is None}
    found = {key: getattr(options, key) for key in implied} | chosen
    if large and is_first_process():
        length = preset(name, options.architecture).context_length
        print(f"note: preset {name} on {'a GPU' if on_gpu else 'the CPU'}: {_in_words(found, length)}", file=sys.stderr)
    return found


def _in_words(found: dict[str, Any], context_length: int) -> str:
    tokens = found["batch_size"] * context_length
    values = "" if found["vocab_size"] is None else f" ({found['vocab_size']} token values)"
    return (
        f"text {found['source']}{values}, {found['dtype']}, {'compiled' if found['compile'] else 'not compiled'},"
        f" {found['batch_size']} sequences of {context_length:,} ({tokens:,} tokens) a step in"
        f" {found['accumulation_steps']} parts; --source, --vocab-size, --dtype, --compile or --no-compile,"
        " --batch-size and --accumulation-steps change it"
    )
