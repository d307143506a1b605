"""Series that nothing tells apart but a word in the names of their runs.

Several series of runs often lie in one export, with the same settings in all columns, and ``cosine`` or ``v2`` in the
name of each run of one. Where a learning rate repeats with losses far apart, such a word is looked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.tables.keys import Codes

FEWEST = 2  # repeated learning rates that a word tells apart, and half of those that are far apart
LEAST_LETTERS = 3
MOST_WORDS = 50  # that are looked at, the most frequent ones


@dataclass(frozen=True)
class Word:
    """In some names of a ``column`` and not in others; it tells apart ``count`` repeated learning rates. ``other``: a
    word that the others have, if there is one."""

    column: str
    text: str
    count: int
    other: str | None = None

    def __str__(self) -> str:
        words = f"the word {self.text}" if self.other is None else f"the words {self.text} and {self.other}"
        return f"{self.count} of them by {words} in {self.column}"

    @property
    def advice(self) -> str:
        """The flags that leave one series out."""
        leave = f"--where {quote(f'{self.column}!=*{self.text}*')} leaves one out"
        return leave + (f", --where {quote(f'{self.column}!=*{self.other}*')} the other" if self.other else "")


def telling_word(
    unread: Iterable[tuple[str, Sequence[Any]]], low: Codes, high: Codes, far: NDArray[np.bool_]
) -> Word | None:
    """The word whose runs, left out, take most repeated learning rates that are far apart with them, for each run that
    is lost; None if there is no such word.

    unread : columns by name, each (num_runs,). low, high : (num_repeated,) two runs of every repeated learning rate.
    far : (num_repeated,) whether their losses are.
    """
    needed, best, most = max(FEWEST, int(far.sum() + 1) // 2), None, 0.0
    for name, values in unread:
        texts = [value if isinstance(value, str) else "" for value in values]
        pairs = [(_words(texts[one]), _words(texts[other])) for one, other in zip(low[far], high[far], strict=True)]
        tried = [word for word, _ in Counter(w for one, other in pairs for w in one ^ other).most_common(MOST_WORDS)]
        for word in tried:
            has = np.fromiter((word in text for text in texts), bool, len(texts))
            differ = has[low] != has[high]
            told = int(differ[far].sum())
            if told < needed or differ[~far].sum() > told:
                continue
            if told / int(has.sum()) > most:
                most = told / int(has.sum())
                against = Counter(
                    w for a, b in pairs if (word in a) != (word in b) for w in (b - a if word in a else a - b)
                )
                others = sorted(against.items(), key=lambda item: (-item[1], item[0]))
                best = Word(name, word, told, others[0][0] if others else None)
    return best


def _words(text: str) -> set[str]:
    """Of letters alone, between signs."""
    return {part for part in re.split(r"[^A-Za-z0-9]+", text) if part.isalpha() and len(part) >= LEAST_LETTERS}
