"""A figure as the bytes of a PNG."""

from __future__ import annotations

import io
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def png_bytes(figure: plt.Figure, dpi: float) -> bytes:
    """Drawn at ``dpi`` dots per inch, and closed."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font does not have: boxes are drawn
        figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    return buffer.getvalue()
