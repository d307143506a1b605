"""Hashes of the versions in ``constraints.txt``, a file a layer of the environment: ``make lock`` runs this.

    python tests/lock.py [FOLDER OF PIP-COMPILE'S FILES]

Without a folder pip-compile (pip-tools) is asked for all packages of each set of extras. A layer has what the layers
below it have not. torch is left out, and installed by its version: it comes in builds for many kinds of processors,
from several indexes, each with hashes and dependencies of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = {
    "core": "",
    "dev": "core",
    "notebooks": "core",
    "adapters": "dev",
    "browser": "dev",
}  # each with the one that it stands on
EXTRAS = {
    "core": (),
    "dev": ("dev",),
    "notebooks": ("notebooks",),
    "adapters": ("dev", "adapters"),
    "browser": ("dev", "browser"),
}
FLAGS = ("--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-annotate", "--no-header")
BY_VERSION = {"torch"}


def blocks(text: str) -> dict[str, str]:
    """Each requirement with its hashes, by name."""
    whole = r"^([\w.-]+)==\S+(?: ; [^\\\n]*)? \\\n(?:    --hash=\S+(?: \\)?\n)+"
    return {block[1]: block[0] for block in re.finditer(whole, text, re.MULTILINE)}


def compile_all(folder: Path) -> None:
    for layer, extras in EXTRAS.items():
        asked = [word for extra in extras for word in ("--extra", extra)]
        files = ["--constraint", "constraints.txt", "--output-file", str(folder / f"{layer}.txt"), "pyproject.toml"]
        subprocess.run(["pip-compile", *FLAGS, *asked, *files], check=True, cwd=ROOT)


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made)
        if len(sys.argv) == 1:
            compile_all(folder)
        whole = {layer: blocks((folder / f"{layer}.txt").read_text()) for layer in LAYERS}
    for layer, below in LAYERS.items():
        left_out = BY_VERSION | set(whole.get(below, {}))
        text = [block for name, block in whole[layer].items() if name not in left_out]
        file = ROOT / "requirements" / f"{layer}.txt"
        file.write_text("# Made by tests/lock.py from constraints.txt\n" + "".join(text))


if __name__ == "__main__":
    main()
