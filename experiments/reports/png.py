"""A figure as the bytes of a PNG."""

from __future__ import annotations

import io
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

COLOURS = 128  # of the palette: flat drawings lose nothing that can be seen, and take a third of the bytes


def png_bytes(figure: Figure, dpi: float) -> bytes:
    """Drawn at ``dpi`` dots per inch in a palette, and closed."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font does not have: boxes are drawn
        figure.savefig(drawn, format="png", dpi=dpi)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(packed, format="png", optimize=True)
    return packed.getvalue()
