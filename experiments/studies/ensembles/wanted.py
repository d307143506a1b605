"""Which studies can be made in ensembles, in their order, and what each of them wants next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from experiments.studies.ensembles.tasks import Task
from experiments.studies.workplace import Workplace, read_rows

MODULES = {
    "small-starts": "small_starts.run",
    "moved-optimum": "moved_optimum.run",
    "schedule-exponent": "schedule_exponent.run",
    "bend": "bend.begin",
    "classic": "classic.run",
}
"""Their modules in `experiments.studies`, each with ``wishes(place, docs)``."""


def wishes_of(
    names: Sequence[str], runs: Path, docs: Path, again: Path | None = None
) -> dict[str, Callable[[], Sequence[Task]]]:
    """By study, what it wants next of what has no file among ``runs/NAME``, where `lrbend study NAME` has them.

    docs : folder with the results of all studies, whose rows stand for their runs. again : a table of those for which
    they do not. Raises `BadInput`.
    """
    others = frozenset() if again is None else frozenset(read_rows(again, numbers=(), texts=("run",))["run"])
    found: dict[str, Callable[[], Sequence[Task]]] = {}
    for name in names:
        place = Workplace(runs=runs / name, results=runs / name / "results", again=others)
        found[name] = import_module(f"experiments.studies.{MODULES[name]}").wishes(place, docs)
    return found
