"""Run a test function in a fresh process, from which it is safe to fork: no threads, no locks of other tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def import_all_of_torch() -> None:
    """What torch imports for its first optimizer, seconds of it: before a fork, so that no child has to."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]).step()


def run_fresh(function: Callable[..., None], *arguments: object, timeout: float = 300) -> None:
    """Call a function of a test module with arguments that `repr` writes as code; AssertionError if it fails."""
    call = f"from {function.__module__} import {function.__name__} as f; f(*{arguments!r})"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.run(
        [sys.executable, "-c", call], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
