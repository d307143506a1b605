"""The page as one self-contained file: the parts in the folder ``page``, put into one another.

Nothing is loaded from elsewhere, and style and scripts carry a nonce: no other script runs in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from experiments.figures.colours import COLOURS, GREY

SCRIPTS = ("format.js", "chart.js", "controls.js", "map.js", "optimum.js", "state.js", "overlay.js", "app.js")


def page_maker(config: Mapping[str, Any]) -> Callable[[str], bytes]:
    """A function from a nonce to the page, read from disk once. config : what the scripts find under ``CONFIG``."""
    folder = files("experiments.explore") / "page"
    text = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", *SCRIPTS)}
    palette = "".join(f"--palette-{place}: {colour};" for place, colour in enumerate(COLOURS))
    parts = {
        "STYLE": f":root {{ {palette} --palette-grey: {GREY}; }}\n{text['page.css']}",
        "SCRIPT": '"use strict";\n' + "\n".join(text[name] for name in SCRIPTS),
        "CONFIG": json.dumps(config, allow_nan=False).replace("<", "\\u003c"),
    }
    whole = text["page.html"]
    for name, part in parts.items():
        whole = whole.replace(f"{{{{ {name} }}}}", part)
    return lambda nonce: whole.replace("{{ NONCE }}", escape(nonce)).encode()
