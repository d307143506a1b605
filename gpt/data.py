"""Text to train on: real, on every machine, without a download.

``pysource`` is the Python source of the standard library and of the packages in ``PACKAGES``, as bytes. Which text it
is follows from the installed versions alone: files are named by package and path, in the order of these names, without
those that differ between two installations of one version (generated files) or between two builds of Python. A file
that occurs twice counts once. The hash of a file decides whether it is for training or for validation (13 of 256).
Files are separated by a zero byte, which Python source cannot contain.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpt.config import Source
from theory.parameters import InvalidParameter

# torch is left out: GPU machines often bring their own build, and the text should not depend on it.
PACKAGES = (
    "h5netcdf",
    "jinja2",
    "joblib",
    "matplotlib",
    "mpmath",
    "networkx",
    "numba",
    "numpy",
    "pandas",
    "scipy",
    "sympy",
    "xarray",
)
GENERATED = {"version.py", "_version.py", "__config__.py", "_distributor_init.py"}
# Debian and others ship these apart from the standard library, or not at all.
SPLIT_FROM_STDLIB = {
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "sitecustomize",
    "tkinter",
    "turtle",
    "turtledemo",
}
VALIDATION_SHARE = 13 / 256


@dataclass(frozen=True, kw_only=True)
class Text:
    """Tokens to train on and to validate with; the arrays may be memory maps.

    Attributes
    ----------
    train, validation : (num_tokens,) unsigned integers below ``vocab_size``.
    fingerprint : changes when any file changes.
    """

    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    vocab_size: int
    fingerprint: str

    def batch(self, step: int, *, seed: int, batch_size: int, context_length: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a training step, int64 (batch_size, context_length): a function of its arguments.

        Windows start anywhere, drawn uniformly with replacement.
        """
        rng = np.random.default_rng([seed, step])
        starts = rng.integers(len(self.train) - context_length, size=batch_size)
        return _windows(self.train, starts, context_length)

    def validation_batch(self, index: int, *, batch_size: int, context_length: int) -> tuple[Tensor, Tensor]:
        """The ``index``-th fixed batch, the same for every run of this shape."""
        rng = np.random.default_rng([index, context_length, 2**32])
        starts = rng.integers(len(self.validation) - context_length, size=batch_size)
        return _windows(self.validation, starts, context_length)

    def require_context(self, context_length: int) -> None:
        """Raise `InvalidParameter` if a window of ``context_length`` tokens and a target does not fit."""
        shortest = min(len(self.train), len(self.validation))
        if shortest <= context_length:
            raise InvalidParameter(
                "context_length", context_length, f"below the {shortest} tokens of the smaller part of the text"
            )


def load_text(source: Source) -> Text:
    """The text of that name; built at the first call, then read from the cache as memory maps.

    The cache is the folder in ``LRBEND_CACHE``, by default ``~/.cache/lrbend``. Any number of processes may call
    this at once.

    Raises
    ------
    InvalidParameter : a package of the text is not installed.
    """
    assert source == "pysource"
    folder = _cached_pysource()
    manifest = json.loads((folder / "manifest.json").read_text())
    train, validation = (np.memmap(folder / f"{part}.bin", np.uint8, "r") for part in ("train", "validation"))
    return Text(train=train, validation=validation, vocab_size=256, fingerprint=manifest["fingerprint"])


def pysource_files() -> dict[str, Path]:
    """Every file of ``pysource`` by its machine-independent name, such as "numpy/linalg/_linalg.py"."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    modules = sorted(sys.stdlib_module_names - SPLIT_FROM_STDLIB)
    roots = [(f"python/{module}", stdlib / module) for module in modules]
    roots += [(package, _package_folder(package)) for package in PACKAGES]
    files = {f"python/{module}.py": stdlib / f"{module}.py" for module in modules}
    files = {name: path for name, path in files.items() if path.is_file()}
    for prefix, root in roots:
        files |= {f"{prefix}/{path}": root / path for path in _python_files(root)}
    return {name: files[name] for name in sorted(files) if not _differs_between_builds(name)}


def _python_files(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        relative = os.path.relpath(folder, root)
        for name in names:
            if name.endswith(".py") and name not in GENERATED:
                yield name if relative == "." else f"{Path(relative).as_posix()}/{name}"


def _differs_between_builds(name: str) -> bool:
    return name.startswith("python/_sysconfigdata") or (name.startswith("python/") and "/test" in name)


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidParameter("source", "pysource", f"another text, or {package} installed: it is part of this text")
    return Path(spec.submodule_search_locations[0])


def _cached_pysource() -> Path:
    cache = Path(os.environ.get("LRBEND_CACHE") or Path.home() / ".cache" / "lrbend")
    files = pysource_files()
    versions = [f"{package} {metadata.version(package)}" for package in PACKAGES]
    key = hashlib.sha256("\n".join([sys.version, *versions, *files]).encode()).hexdigest()[:16]
    folder = cache / f"pysource-{key}"
    if not folder.is_dir():
        _build(files, folder)
    return folder


def _build(files: dict[str, Path], folder: Path) -> None:
    """Write the text under a temporary name, then rename: a cache folder that exists is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        fingerprint = _write_parts(files, work)
        (work / "manifest.json").write_text(json.dumps({"fingerprint": fingerprint, "files": list(files)}))
        try:
            work.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_parts(files: dict[str, Path], work: Path) -> str:
    seen: set[bytes] = set()
    fingerprint = hashlib.sha256()
    with (work / "train.bin").open("wb") as train, (work / "validation.bin").open("wb") as validation:
        for path in files.values():
            content = path.read_bytes()
            digest = hashlib.sha256(content).digest()
            if digest in seen or not content:
                continue
            seen.add(digest)
            fingerprint.update(digest)
            part = validation if digest[0] / 256 < VALIDATION_SHARE else train
            part.write(content + b"\0")
    return fingerprint.hexdigest()


def _windows(tokens: NDArray[np.uint8], starts: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
    windows = torch.from_numpy(tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64))
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
