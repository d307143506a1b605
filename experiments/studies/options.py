"""What a study can be told on the command line beside folders and workers, and how a text is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.tables.written import whole


@dataclass(frozen=True)
class Option:
    """What one study can be told beside folders and workers.

    name : as it is typed. value : what is typed behind it. meaning : in a few words, with the default. read : the value
    of a text; raises `ValueError` with what is allowed, in words.
    """

    name: str
    value: str
    meaning: str
    read: Callable[[str], object]


def whole_number(text: str, at_least: int = 1) -> int:
    value = whole(text)
    if value is None or value < at_least:
        raise ValueError(f"a whole number of at least {at_least}")
    return value


def share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError("a number above 0 and at most 1")
    return share


def one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return read


def minutes(text: str) -> int:
    return whole_number(text, at_least=0)


def yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def optimizers(text: str) -> tuple[str, ...]:
    from theory import OPTIMIZERS

    names = tuple(text.split(","))
    if not set(names) <= set(OPTIMIZERS) or len(set(names)) < len(names):
        raise ValueError(f"names with commas between them, each once, among {', '.join(OPTIMIZERS)}")
    return names


def lengths(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(whole_number(part) for part in text.split(","))


def tables(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(","))


SEEDS = Option("seeds", "NUMBER", "of those registered, from the first on (default: all)", whole_number)
TABLE = Option("table", "FILE.csv", "runs to answer in place of the study's own; trains nothing", Path)
EARLIER = Option("earlier", "FILE.csv", "a runs.csv whose rows count as finished runs", Path)
EARLIER_WIDTHS = Option("earlier-widths", "FILE.csv", "the same, a width-runs.csv", Path)


TABLE_ONLY = Option("table-only", "yes|no", "tables from the finished runs, trains nothing (default: no)", yes_or_no)
LENGTHS = Option("lengths", "STEPS,STEPS", "of the cells to train (default: all)", lengths)


def results_of(study: str, files: str = "runs.csv") -> Option:
    return Option(study, "FOLDER", f"that study's {files} (default: docs/{study})", Path)


ENSEMBLES = Option("ensembles", "yes|no", "make runs many at once, on a GPU if there is one (default: no)", yes_or_no)
SAME_ANGLE, MOVED = results_of("same-angle"), results_of("moved-optimum", "tables")
CLOCKS = results_of("angle-law", "two-clocks.csv")
CORES = Option("cores", "FILE.csv", "rows of runs that cores made (default: docs/bend/core-runs.csv)", Path)
