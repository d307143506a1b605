"""The texts by their names in a config.

pysource    the Python source on this machine, as bytes (`gpt.pysource`)
zipf        a synthetic source whose entropy is known (`gpt.zipf`)
PATH        files of your own: .bin shards or any file as bytes (`gpt.shards`)
"""

from __future__ import annotations

from pathlib import Path

from gpt.pysource import pysource_text
from gpt.shards import files_text
from gpt.text import Text
from gpt.zipf import zipf_text

__all__ = ["Text", "load_text"]


def load_text(source: str) -> Text:
    """The text of that name.

    Any number of processes may call this at once; what takes long is kept in `gpt.cache.cache_folder`.

    Raises
    ------
    InvalidParameter : a package of ``pysource`` is missing; files that are not there or cannot be what they should be.
    """
    if source == "pysource":
        return pysource_text()
    if source == "zipf":
        return zipf_text()
    return files_text(Path(source))
