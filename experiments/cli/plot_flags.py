"""``--plot FILE``: a picture of a command's answer. matplotlib is imported only where one is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import BadInput, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg", "pdf")


def add_plot(parser: argparse.ArgumentParser, shows: str) -> None:
    """shows : what is in the picture."""
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help=f"draw {shows} into FILE, .png, .svg or .pdf (default: no file)"
    )


def check_plot(options: argparse.Namespace) -> None:
    """Before anything is computed: an ending that says what to write, in a folder that is there; raises `BadInput`."""
    if options.plot is None:
        return
    if _kind(options.plot) not in KINDS:
        raise BadInput(f"--plot {options.plot}: must end in .png, .svg or .pdf")
    if not options.plot.parent.is_dir():
        raise BadInput(f"--plot {options.plot}: no folder {options.plot.parent}")


def write_plot(options: argparse.Namespace, draw: Callable[[], Figure]) -> None:
    """The picture, whole or not at all, if one is asked for; raises `BadInput`."""
    if options.plot is None:
        return

    from experiments.figures.style import picture_bytes

    content = picture_bytes(draw(), _kind(options.plot))
    try:
        write_whole(options.plot, content)
    except BadInput as error:
        raise BadInput(f"--plot {error}") from None


def _kind(path: Path) -> str:
    return path.suffix[1:].lower()
