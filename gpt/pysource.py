"""``pysource``: real text that is on every machine, without a download.

The Python source of the standard library and of the packages in ``PACKAGES``, as bytes. Which text it is follows from
the installed versions alone: files are named by package and path, in the order of these names, without those that
differ between two installations of one version (generated files) or between two builds of Python. A file that occurs
twice counts once. The hash of a file decides whether it is for training or for validation (13 of 256). Files are
separated by a zero byte, which Python source cannot contain.

A machine with other versions, or without some of the packages, can train on the text of another one: copy the folder
``pysource-*`` of its cache (`gpt.cache.cache_folder`), whole, and name the copy in the environment as
``LRBEND_PYSOURCE``. It is used if its files still have the checksums that they were made with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from gpt.cache import cache_folder, cached_folder, is_whole
from gpt.text import Text
from theory.checks import InvalidParameter

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
FOLDER = "LRBEND_PYSOURCE"  # the variable of the environment


def pysource_text() -> Text:
    """The text; built at the first call, then read from the cache as memory maps.

    Raises
    ------
    InvalidParameter : a package of the text is not installed; ``LRBEND_PYSOURCE`` is not such a folder.
    """
    folder = _given() or _cached_pysource()
    manifest = json.loads((folder / "manifest.json").read_text())
    train, validation = (np.memmap(folder / f"{part}.bin", np.uint8, "r") for part in ("train", "validation"))
    return Text(train=train, validation=validation, vocab_size=256, fingerprint=manifest["fingerprint"])


def count_tokens() -> int | None:
    """Bytes to train on; None where the text is still to be built. Raises `InvalidParameter` as `pysource_text`."""
    file = (_given() or cache_folder() / _cache_name(pysource_files())) / "train.bin"
    return file.stat().st_size if file.is_file() else None


def _given() -> Path | None:
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    if not is_whole(Path(folder)):
        raise InvalidParameter(
            FOLDER, folder, "a whole copy of a folder pysource-* of a cache, checksums.json included"
        )
    return Path(folder)


def pysource_files() -> dict[str, Path]:
    """Every file of ``pysource`` by its machine-independent name, such as "numpy/linalg/_linalg.py"."""
    return _files_of(PACKAGES)


@cache  # thousands of folders, which every run of a process would look through again
def _files_of(packages: tuple[str, ...]) -> dict[str, Path]:
    stdlib = Path(sysconfig.get_path("stdlib"))
    modules = sorted(sys.stdlib_module_names - SPLIT_FROM_STDLIB)
    roots = [(f"python/{module}", stdlib / module) for module in modules]
    roots += [(package, _package_folder(package)) for package in packages]
    files = {f"python/{module}.py": stdlib / f"{module}.py" for module in modules}
    files = {name: path for name, path in files.items() if path.is_file()}
    for prefix, root in roots:
        files |= {f"{prefix}/{path}": root / path for path in _python_files(root)}
    return {name: files[name] for name in sorted(files) if not _differs_between_builds(name)}


def _python_files(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        below = Path(folder).relative_to(root).parts
        for name in names:
            if name.endswith(".py") and name not in GENERATED:
                yield "/".join((*below, name))


def _differs_between_builds(name: str) -> bool:
    return name.startswith("python/_sysconfigdata") or (name.startswith("python/") and "/test" in name)


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidParameter("source", "pysource", f"another text, or {package} installed: it is part of this text")
    return Path(spec.submodule_search_locations[0])


def _cached_pysource() -> Path:
    files = pysource_files()
    return cached_folder(_cache_name(files), lambda work: _write(files, work))


def _cache_name(files: dict[str, Path]) -> str:
    versions = [f"{package} {_version(package)}" for package in PACKAGES]
    key = hashlib.sha256("\n".join([sys.version, *versions, *files]).encode()).hexdigest()[:16]
    return f"pysource-{key}"


_version = cache(metadata.version)


def _write(files: dict[str, Path], work: Path) -> None:
    fingerprint = _write_parts(files, work)
    (work / "manifest.json").write_text(json.dumps({"fingerprint": fingerprint, "files": list(files)}))


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
