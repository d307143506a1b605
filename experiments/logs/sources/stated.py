"""What a log says in words of its own settings: rates, lengths, weight decay and betas, as programs print them.

    lr=1e-3 wd=0.1 betas=(0.9, 0.95)
    Namespace(learning_rate=0.0006, weight_decay=0.1, adam_beta1=0.9, adam_beta2=0.95)
    weight_decay .................................... 0.1

Names with another word before them, ``end_weight_decay``, are other settings; values that are computed, ``0.1 / 2``,
are none. Lines of a program's source say what it can do, not what it did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LARGEST = {"weight_decay": 10.0, "warmup_steps": 1e9, "num_steps": 1e9}  # below which values lie, 1 for all others
OWNER = r"(?<![\w./-])(?:--)?(?:[\w-]+[./])*(?:(?:optim(?:izer)?|adamw?)[_-])?"
GAP = r"\s{0,99}"  # and numbers of some length only: what could be any number of ways is tried in all of them
SAYS = rf"['\"]?(?:{GAP}[:=]{GAP}|{GAP}\.{{2,99}}{GAP}|\s{{1,99}})['\"]?"
EQUALS = rf"['\"]?{GAP}[:=]{GAP}['\"]?"  # behind names of two letters
NUMBER = (
    r"((?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:e[+-]?\d{1,3})?)"
    rf"(?![\w%]|\.\d|{GAP}[*/]{GAP}[\w(]|[+-][\w(])"
)
DECAY = re.compile(rf"{OWNER}(?:weight[_ -]?decay{SAYS}|wd{EQUALS}){NUMBER}", re.IGNORECASE)
RATE = re.compile(rf"{OWNER}(?:learning[_ -]?rate{SAYS}|lr{EQUALS}){NUMBER}", re.IGNORECASE)
LEAST_RATE = re.compile(rf"{OWNER}min_(?:lr|learning_rate){SAYS}{NUMBER}", re.IGNORECASE)
WARMUP = re.compile(rf"{OWNER}(?:(?:num|lr)_)?warmup_(?:iters|steps){SAYS}{NUMBER}", re.IGNORECASE)
LENGTH = re.compile(rf"{OWNER}(?:max_(?:iters|steps)|lr_decay_iters){SAYS}{NUMBER}", re.IGNORECASE)
BETA = re.compile(rf"{OWNER}(?:beta[_-]?([12]){SAYS}|b([12]){EQUALS}){NUMBER}", re.IGNORECASE)
BETAS = re.compile(rf"{OWNER}betas{SAYS}[(\[]?{GAP}{NUMBER}{GAP},?{GAP}{NUMBER}", re.IGNORECASE)
OPENS = re.compile(rf"{OWNER}betas['\"]?{GAP}:{GAP}\[?{GAP}", re.IGNORECASE)
ITEM = re.compile(rf"{GAP}(?:-{GAP})?{NUMBER}{GAP},?{GAP}")
HINT = re.compile(r"decay|wd|beta|b[12]|lr|rate|warmup|max_", re.IGNORECASE)
SOURCE = re.compile(r"\s*(?:(?:from [\w.]+ )?import [\w(]|(?:async )?def \w+\(|class \w+\s*[(:])")


def stated_in(text: str) -> Iterator[tuple[str, float]]:
    """Settings of a line by our names; a value that the setting cannot have is left out.

    >>> list(stated_in("Namespace(lr=0.001, wd=0.1, betas=(0.9, 0.95), end_weight_decay=0.2)"))
    [('weight_decay', 0.1), ('learning_rate', 0.001), ('beta1', 0.9), ('beta2', 0.95)]
    """
    if not HINT.search(text):  # as of most lines, of which there are many
        return
    found = [("weight_decay", one[1]) for one in DECAY.finditer(text)]
    found += [("learning_rate", one[1]) for one in RATE.finditer(text)]
    found += [("min_learning_rate", one[1]) for one in LEAST_RATE.finditer(text)]
    found += [("warmup_steps", one[1]) for one in WARMUP.finditer(text)]
    found += [("num_steps", one[1]) for one in LENGTH.finditer(text)]
    found += [(f"beta{one[1] or one[2]}", one[3]) for one in BETA.finditer(text)]
    for one in BETAS.finditer(text):
        found += [("beta1", one[1]), ("beta2", one[2])]
    for name, number in found:
        value = float(number)
        if value < LARGEST.get(name, 1.0):
            yield name, value


class LinesOfLists:
    """Two betas in lines of their own, as YAML and indented JSON have them, in one line again.

    >>> lists = LinesOfLists()
    >>> [lists.joined(line) for line in ("  betas:", "  - 0.9", "  - 0.95", "  - 0.99")]
    ['  betas:', '  - 0.9', 'betas=(0.9, 0.95)', '  - 0.99']
    """

    def __init__(self) -> None:
        self._first: str | None = None
        self._open = False

    def joined(self, text: str) -> str:
        item = ITEM.fullmatch(text) if self._open else None
        if item is None:
            self._open, self._first = OPENS.fullmatch(text.strip().lstrip("'\"")) is not None, None
            return text
        if self._first is None:
            self._first = item[1]
            return text
        self._open = False
        return f"betas=({self._first}, {item[1]})"


def is_source(text: str) -> bool:
    """Whether a line is one of a program."""
    return SOURCE.match(text) is not None
