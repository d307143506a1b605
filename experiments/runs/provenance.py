"""What it takes to tell two runs of one config apart: code, versions, machine, data."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "scipy", "numba", "xarray")


def provenance(
    *, seed: int, fingerprint: str | None, conditions: Sequence[Mapping[str, object]] = ()
) -> dict[str, Any]:
    """Of a run that ends now in this process; ``fingerprint`` is that of its text, None for a simulation.

    ``conditions`` : of `gpt.conditions`, under which it was computed, one after the other.
    """
    return {
        "commit": _git_commit(),
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "data_fingerprint": fingerprint,
        "conditions": [dict(one) for one in conditions],
        "seed": seed,
        "command": sys.argv,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def version() -> str:
    """What to cite: the version, and the commit where there is one. A checkout that is not installed tells it too."""
    commit = _git_commit()
    return f"lrbend {_number()}" + (f", commit {commit}" if commit else "")


def _number() -> str:
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text())["project"]["version"])
    return importlib.metadata.version("lrbend")


def _git_commit() -> str | None:
    """The commit of the code that ran, with ``+changes`` behind it if the files differ from it."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(here), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
