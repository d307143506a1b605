"""Plants one bug at a time in `theory` and counts those that no test notices.

    python -m tests.mutation [--module valley ...] [--budget 900] [--limit 60] [--seed 0] [--again] [--list]

In a copy of the repository each test of ``tests/theory`` runs once while the lines of `theory` that it runs are noted.
Then a mutant meets the tests that run its line, the quickest first, up to the first that fails. The work is done by
functions, all bugs of one after another; ``functions.csv``, beside this file, has a row for each and is written after
each, and a function whose source has not changed since is not tried again. Next comes the module with the fewest tried.

What outlived its tests stands in ``survivors.csv``: a missing test, or a change that changes nothing, and then ``why``
says so. ``--again`` tries those without a reason once more, after tests were added.

Exit code 1 if one without a reason is left among what was tried.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

from tests.mutation.bench import Bench, Survey
from tests.mutation.plants import Mutant, Unit, mutants, noted

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPIED = ("theory", "sim", "gpt", "experiments", "tests", "docs", "pyproject.toml", "README.md")
TESTS = "tests/theory"
FUNCTIONS = ("module", "function", "digest", "mutants", "killed", "same", "survived")
OUTLIVED = ("survived", "unreached")
SURVIVORS = ("module", "function", "change", "number", "why")


@dataclass
class Known:
    """Without a bug: surveys of all tests, and of what runs when their files are imported."""

    tests: dict[str, Survey]
    at_import: dict[str, Survey]


def survey(scratch: Path) -> Known:
    """Kept for each file of tests until it, or what it stands on, changes."""
    files = sorted(str(file.relative_to(scratch)) for file in (scratch / TESTS).glob("test_*.py"))
    shared = [*sorted((scratch / "theory").glob("*.py")), *sorted((scratch / TESTS).glob("[!t]*.py"))]
    shared += [HERE / "bench.py", HERE / "plants.py"]  # who surveys, and how
    ground = b"".join(file.read_bytes() for file in shared)
    folder = Path(tempfile.gettempdir()) / "lrbend-mutation"
    folder.mkdir(exist_ok=True)
    kept = {file: folder / f"{_digest(ground + (scratch / file).read_bytes())}.json" for file in files}
    if new := [file for file in files if not kept[file].exists()]:
        print(f"tests without a bug: {len(new)} files ...", file=sys.stderr, flush=True)
        with Bench(scratch, new, {path: noted(path) for path in (scratch / "theory").glob("[!_]*.py")}) as bench:
            if bench.failed:
                raise SystemExit(f"the tests fail without a bug: {bench.failed}")
            for file in new:
                found = bench.survey([test for test in bench.tests if test.startswith(f"{file}::")])
                for test in [test for test, one in found.items() if one is None]:
                    print(f"{test} fails without a bug and is left out", file=sys.stderr, flush=True)
                    del found[test]
                found |= {name: bench.at_import[name] for name in (file, "theory")}
                kept[file].write_text(json.dumps({test: asdict(one) for test, one in found.items() if one}))
    known = {name: Survey(**one) for file in files for name, one in json.loads(kept[file].read_text()).items()}
    return Known(
        {name: one for name, one in known.items() if "::" in name},
        {name: one for name, one in known.items() if "::" not in name},
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def judge(mutant: Mutant, scratch: Path, known: Known, bench: Bench, *, limit: float = math.inf) -> tuple[str, str]:
    """``killed`` with the test that noticed; ``survived``; ``unreached`` by any test; ``same`` bytecode."""
    unit, module = mutant.unit, mutant.unit.module
    code, before = mutant.code(), mutant.code(planted=False)
    if code == before:
        return "same", ""
    used = [name for name, one in known.at_import.items() if not set(unit.lines).isdisjoint(one.lines.get(module, ()))]
    function = unit.find(code)
    defaults = function == unit.find(before)
    lines = set(unit.lines if defaults else mutant.lines)
    reach = {test for test, one in known.tests.items() if not lines.isdisjoint(one.lines.get(module, ()))}
    if unit.name and reach:
        place = str(mutant.path), function.co_qualname, function.co_firstlineno
        if by := bench.meet(_quickest(known, reach, limit), place, code if defaults else function):
            return "killed", by
    if unit.name and not used:
        return ("survived" if reach else "unreached"), ""
    if not unit.name or "theory" in used:  # anybody may have what was made with it
        reach = set(known.tests)
    reach |= {test for test in known.tests if test.split("::")[0] in used}
    own = {test for test in reach if test.startswith(f"{TESTS}/test_{module}.py")}
    near = {test for test in reach - own if module in known.tests[test].lines}
    for chosen in (own, near, reach - own - near):
        if chosen and (by := _meet_anew(mutant, scratch, known, chosen, limit)):
            return "killed", by
    return "survived", ""


def _meet_anew(mutant: Mutant, scratch: Path, known: Known, chosen: set[str], limit: float) -> str:
    files = sorted({test.split("::")[0] for test in chosen})
    with Bench(scratch, files, {mutant.path: mutant.code(whole=True)}) as bench:
        if bench.failed:
            return bench.failed
        new = set(bench.tests) - set(known.tests)  # parameters can be part of a name
        return bench.meet(_quickest(known, (chosen | new) & set(bench.tests), limit))


def _quickest(known: Known, tests: set[str], limit: float) -> dict[str, float]:
    """With their seconds, which sum to the limit at most, but for the first."""
    seconds = {test: known.tests[test].seconds if test in known.tests else 0.0 for test in tests}
    names = sorted(tests, key=seconds.__getitem__)
    spent = accumulate(seconds[name] for name in names)
    return {
        name: seconds[name] for name, so_far in zip(names, spent, strict=True) if name == names[0] or so_far < limit
    }


class Table:
    """The two files: what was tried, and what survived. Rows of what is no longer in the sources fall out, and those of
    functions in which by now other bugs are planted."""

    def __init__(self, folder: Path, units: Mapping[Unit, list[Mutant]]) -> None:
        self._files = folder / "functions.csv", folder / "survivors.csv"
        self._units = {(unit.module, unit.name): unit for unit in units}
        self.tried: dict[Unit, dict[str, int]] = {}
        self.why: defaultdict[Unit, dict[tuple[str, int], str]] = defaultdict(dict)
        for row in _read(self._files[0]):
            unit = self._units.get((row["module"], row["function"]))
            if unit and (unit.digest, len(units[unit])) == (row["digest"], int(row["mutants"])):
                self.tried[unit] = {name: int(row[name]) for name in FUNCTIONS[3:]}
        for row in _read(self._files[1]):
            if unit := self._units.get((row["module"], row["function"])):
                self.why[unit][row["change"], int(row["number"])] = row["why"]

    def put(self, unit: Unit, outcomes: dict[Mutant, str]) -> None:
        """Of all bugs of a function, or of some that had survived; a reason is kept where it is the same change."""
        before = self.why.pop(unit, {})
        outlived = {mutant.key for mutant, one in outcomes.items() if one in OUTLIVED}
        if again := unit in self.tried:
            outlived |= set(before) - {mutant.key for mutant in outcomes}
        self.why[unit] = {key: before.get(key, "") for key in sorted(outlived)}
        same = self.tried[unit]["same"] if again else sum(one == "same" for one in outcomes.values())
        number = self.tried[unit]["mutants"] if again else len(outcomes)
        killed = number - same - len(outlived)
        self.tried[unit] = {"mutants": number, "killed": killed, "same": same, "survived": len(outlived)}

    def open(self, unit: Unit) -> set[tuple[str, int]]:
        """Survivors without a reason."""
        return {key for key, why in self.why[unit].items() if not why} if unit in self.tried else set()

    def write(self) -> None:
        for path, names, rows in zip(
            self._files, (FUNCTIONS, SURVIVORS), (self._counts(), self._reasons()), strict=True
        ):
            with path.open("w", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(names)
                table.writerows(rows)

    def _counts(self) -> Iterator[tuple[object, ...]]:
        for (module, name), unit in self._units.items():
            if unit in self.tried:
                yield module, name, unit.digest, *(self.tried[unit][column] for column in FUNCTIONS[3:])

    def _reasons(self) -> Iterator[tuple[object, ...]]:
        for (module, name), unit in self._units.items():
            for (change, number), why in self.why[unit].items():
                if why or unit in self.tried:
                    yield module, name, change, number, why

    def summary(self, modules: dict[str, int]) -> Iterator[str]:
        """A line for each module: how many bugs there are, were tried, killed, change nothing, are left."""
        yield f"{'':22}{'mutants':>9}{'tried':>9}{'killed':>9}{'nothing':>9}{'left':>9}"
        for name, number in modules.items():
            units = [unit for unit in self.tried if unit.module == name]
            tried, killed = (sum(self.tried[unit][column] for unit in units) for column in ("mutants", "killed"))
            left = sum(len(self.open(unit)) for unit in units)
            yield f"{name:22}{number:9}{tried:9}{killed:9}{tried - killed - left:9}{left:9}"


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def is_quick(unit: Unit) -> bool:
    """Neither a derivation, which takes seconds, nor outside of functions, where each bug costs an import."""
    return bool(unit.name) and "derive_" not in unit.name


def next_unit(waiting: dict[str, list[Unit]], table: Table) -> Unit | None:
    """From the module with the fewest bugs tried, among those that have quick ones left; its last first."""
    tried = {name: sum(one["mutants"] for unit, one in table.tried.items() if unit.module == name) for name in waiting}
    left = [name for name in waiting if waiting[name]]
    best = min(left, key=lambda name: (not is_quick(waiting[name][-1]), tried[name]), default=None)
    return waiting[best].pop() if best else None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--module", action="append", metavar="NAME", help="of theory; repeat for more (default: all)")
    parser.add_argument("--budget", type=float, default=900.0, metavar="SECONDS", help="no function is begun after it")
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="of tests that a mutant meets")
    parser.add_argument("--seed", type=int, default=0, help="of the order of functions")
    parser.add_argument("--again", action="store_true", help="survivors without a reason, and nothing else")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a line for each mutant is appended")
    parser.add_argument("--list", action="store_true", help="print the table by modules and stop")
    given = parser.parse_args()
    names = [path.stem for path in sorted((ROOT / "theory").glob("[!_]*.py"))]
    if unknown := set(given.module or ()) - set(names):
        parser.error(f"--module {', '.join(sorted(unknown))}: must be one of {', '.join(names)}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, scratch / name)
        units: defaultdict[Unit, list[Mutant]] = defaultdict(list)
        for name in names:
            for mutant in mutants(scratch / "theory" / f"{name}.py"):
                units[mutant.unit].append(mutant)
        table = Table(HERE, units)
        numbers = {name: sum(len(units[unit]) for unit in units if unit.module == name) for name in names}
        if not given.list:
            waiting = {name: [unit for unit in units if unit.module == name] for name in given.module or names}
            for name, own in waiting.items():
                own[:] = [unit for unit in own if (table.open(unit) if given.again else unit not in table.tried)]
                random.Random(f"{given.seed} {name}").shuffle(own)
                own.sort(key=is_quick)
            work(scratch, waiting, units, table, given)
    print("\n".join(table.summary(numbers)))
    raise SystemExit(1 if any(table.open(unit) for unit in table.tried) else 0)


def work(
    scratch: Path,
    waiting: dict[str, list[Unit]],
    units: dict[Unit, list[Mutant]],
    table: Table,
    given: argparse.Namespace,
) -> None:
    known = survey(scratch)
    ends = time.monotonic() + given.budget
    with Bench(scratch, [TESTS]) as bench:
        while time.monotonic() < ends and (unit := next_unit(waiting, table)):
            outcomes = {}
            for mutant in units[unit]:
                if given.again and mutant.key not in table.open(unit):
                    continue
                began = time.monotonic()
                outcomes[mutant], by = judge(mutant, scratch, known, bench, limit=given.limit)
                where = f"theory/{unit.module}.py:{mutant.line}"
                if outcomes[mutant] in OUTLIVED and not table.why[unit].get(mutant.key):
                    print(f"{outcomes[mutant]}: {where}: {mutant.change}", flush=True)
                if given.out:
                    with given.out.open("a", newline="") as out:
                        seconds = f"{time.monotonic() - began:.2f}"
                        csv.writer(out).writerow([where, unit.name, *mutant.key, outcomes[mutant], by, seconds])
            table.put(unit, outcomes)
            table.write()


if __name__ == "__main__":
    main()
