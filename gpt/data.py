"""The texts by their names in a config.

pysource    the Python source on this machine, as bytes (`gpt.pysource`)
zipf        a synthetic source whose entropy is known (`gpt.zipf`)
PATH        files of your own: .bin shards, or text as bytes (`gpt.shards`)
"""

from __future__ import annotations

from pathlib import Path

from gpt import pysource, shards, zipf
from gpt.config import NAMED_SOURCES
from gpt.text import Text

__all__ = ["Text", "count_tokens", "is_bytes", "load_text"]


def load_text(source: str) -> Text:
    """The text of that name.

    Any number of processes may call this at once; what takes long is kept in `gpt.cache.cache_folder`.

    Raises
    ------
    InvalidParameter : a package of ``pysource`` is missing; files that are not there or cannot be what they should be.
    """
    if source == "pysource":
        return pysource.pysource_text()
    if source == "zipf":
        return zipf.zipf_text()
    return shards.files_text(Path(source))


def is_bytes(source: str) -> bool:
    """Whether its tokens are bytes, or as few; nothing is read."""
    return source in NAMED_SOURCES or not shards.holds_shards(Path(source))


def count_tokens(source: str) -> int | None:
    """Tokens to train on in the text of that name, without reading it; None if it still has to be made.

    Raises `InvalidParameter` as `load_text` does.
    """
    if source == "pysource":
        return pysource.count_tokens()
    if source == "zipf":
        return zipf.TRAIN_TOKENS
    return shards.count_tokens(Path(source))
