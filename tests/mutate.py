"""Plants one bug at a time in a file of `theory` and counts those that no test notices.

    python tests/mutate.py [--module valley ...] [--budget 900] [--seed 0] [--out mutants.csv] [--list]

Operators, comparisons, constants, signs, swapped arguments, functions taken for their neighbours. Everything happens in
a copy of the repository. First the tests run once in it, while it is noted which of them call which function. Then
each mutant meets the tests that call its function, the quick ones first, and one that outlives them meets all the
others. Rows are appended to ``--out``, and mutants that have one are not tried again, so that a run can be stopped at
any time.
Without ``--module`` the mutants of all modules are shuffled by the seed, and the budget (seconds) ends a sample.

Exit code 1 if a mutant tried in this run survived. A survivor is a missing test, or a change that changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("theory", "sim", "gpt", "experiments", "tests", "pyproject.toml", "README.md")
TESTS = ("tests/theory",)
FIELDS = ("module", "line", "change", "outcome", "by", "seconds", "key")
SYMMETRIC = ("Eq", "minimum", "maximum", "min", "max", "hypot", "isclose", "allclose")  # in their two arguments
LONGEST = 300.0  # seconds of a mutant, which may loop for ever

OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NEIGHBOURS = {
    "minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min", "floor": "ceil", "ceil": "floor",
    "exp": "expm1", "expm1": "exp", "log": "log1p", "log1p": "log", "any": "all", "all": "any", "sin": "cos",
    "cos": "sin", "zeros": "ones", "ones": "zeros", "cumsum": "cumprod", "cumprod": "cumsum", "sqrt": "square",
    "square": "sqrt", "zeros_like": "ones_like", "ones_like": "zeros_like",
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a node may be replaced by, each with its description."""
    operator = getattr(node, "op", None)
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(operator) in OPERATORS:
        yield _with(node, op=OPERATORS[type(operator)]())
    if isinstance(node, ast.UnaryOp) and isinstance(operator, ast.USub | ast.Not):
        yield f"{ast.unparse(node)} -> {ast.unparse(node.operand)}", node.operand
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        yield _with(node, ops=[OPERATORS[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield _with(node, value=node.value + 1 if isinstance(node.value, int) else node.value * 1.1 or 0.1)
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield _with(node, value=not node.value)
    if isinstance(node, ast.Call) and len(node.args) > 1 and not _symmetric(node):
        yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])
    if isinstance(node, ast.Attribute) and node.attr in NEIGHBOURS:
        yield _with(node, attr=NEIGHBOURS[node.attr])
    if isinstance(node, ast.Name) and node.id in ("min", "max", "any", "all"):
        yield _with(node, id=NEIGHBOURS[node.id])


def _symmetric(call: ast.Call) -> bool:
    """Whether the first two arguments may change places, or cannot."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in SYMMETRIC or any(isinstance(argument, ast.Starred) for argument in call.args[:2])


def _with(node: ast.AST, **fields: Any) -> tuple[str, ast.AST]:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return f"{ast.unparse(node)} -> {ast.unparse(changed)}", changed


def sites(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, int, list[int]]]:
    """(parent, field, index, line, first lines of the enclosing functions) of what may be changed: no annotations,
    no messages of errors, no decorators, no imports."""

    def walk(node: ast.AST, functions: list[int]) -> Iterator[tuple[ast.AST, str, int | None, int, list[int]]]:
        if isinstance(node, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.FunctionDef):
            functions = [min([node.lineno, *(d.lineno for d in node.decorator_list)]), *functions]
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    if hasattr(child, "lineno"):
                        yield node, name, index, child.lineno, functions
                    yield from walk(child, functions)

    yield from walk(tree, [])


def mutants(path: Path) -> list[dict[str, Any]]:
    """All of a file: where, what, a function that gives the source with it, and a key that changes with the file."""
    source = path.read_text()
    tree, found = ast.parse(source), []
    digest = hashlib.sha256(source.encode()).hexdigest()[:10]
    for parent, field, index, line, functions in sites(tree):
        place = getattr(parent, field)
        node = place if index is None else place[index]
        for number, (change, replacement) in enumerate(changes(node)):
            key = f"{path.stem}-{digest}-{line}-{node.col_offset}-{type(node).__name__}-{number}"  # type: ignore[attr-defined]
            found.append(
                {"module": path.stem, "line": line, "change": " ".join(change.split()), "key": key}
                | {"functions": functions, "source": partial(_source, tree, parent, field, index, replacement)}
            )
    return found


def _source(tree: ast.Module, parent: ast.AST, field: str, index: int | None, replacement: ast.AST) -> str:
    place = getattr(parent, field)
    node = place if index is None else place[index]

    def put(one: ast.AST) -> None:
        if index is None:
            setattr(parent, field, one)
        else:
            place[index] = one

    put(replacement)
    source = ast.unparse(ast.fix_missing_locations(tree))
    put(node)
    return source


class Watch:
    """A plugin of pytest: which test fails first; if asked, who calls which function of `theory`; and the times."""

    def __init__(self, scratch: Path, *, calls: bool) -> None:
        self.failed: str | None = None
        self.called: defaultdict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self._prefix = f"{scratch / 'theory'}{os.sep}"
        self._now = "collection"
        if calls:
            sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code.co_filename.startswith(self._prefix):
            self.called[f"{Path(frame.f_code.co_filename).stem}:{frame.f_code.co_firstlineno}"].add(self._now)

    def pytest_collectstart(self, collector: Any) -> None:
        self._now = str(collector.nodeid)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._now = nodeid

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and self.failed is None:
            self.failed = f"{report.nodeid} (collection)"


def run_tests(scratch: Path, chosen: list[str], *, limit: float, calls: bool = False) -> dict[str, Any]:
    """In a child that has NumPy, SciPy and SymPy imported already."""
    answer = scratch / "answer.json"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.chdir(scratch)
        here = str(Path(__file__).parent)  # in which tests/theory would be found as theory
        sys.path[:] = [str(scratch), *(folder for folder in sys.path if folder != here)]
        for name in [name for name in sys.modules if name.split(".")[0] in COPIED]:
            del sys.modules[name]
        import pytest

        watch = Watch(scratch, calls=calls)
        plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        arguments = [*plugins, "-q", "-m", "not slow and not slurm", *chosen]
        code = int(pytest.main([*arguments, *([] if calls else ["-x"])], plugins=[watch]))
        sys.settrace(None)
        found = {"code": code, "failed": watch.failed, "seconds": watch.seconds}
        answer.write_text(json.dumps({**found, "called": {name: sorted(by) for name, by in watch.called.items()}}))
        os._exit(0)
    ends = time.monotonic() + limit
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > ends:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"code": -1, "failed": "too long", "seconds": {}, "called": {}}
        time.sleep(0.02)
    if not answer.exists():
        return {"code": -1, "failed": "the process died", "seconds": {}, "called": {}}
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def survey(scratch: Path) -> dict[str, Any]:
    """Tests without a bug, once for a state of the sources: their times, and who calls what."""
    sources = [*sorted((ROOT / "theory").rglob("*.py")), *(f for t in TESTS for f in sorted((ROOT / t).rglob("*.py")))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"lrbend-mutate-{digest}.json"
    if kept.exists():
        known: dict[str, Any] = json.loads(kept.read_text())
        return known
    print("tests without a bug ...", file=sys.stderr, flush=True)
    found = run_tests(scratch, list(TESTS), limit=3600, calls=True)
    if found["code"] != 0:
        raise SystemExit(f"the tests fail without a bug: {found['failed']}")
    kept.write_text(json.dumps(found))
    return found


def judge(mutant: dict[str, Any], scratch: Path, known: dict[str, Any], *, only_callers: bool) -> tuple[str, str]:
    """Outcome, and the test that noticed."""
    seconds = known["seconds"]
    lines = [f"{mutant['module']}:{line}" for line in mutant["functions"][:1]]
    names = lines or [name for name in known["called"] if name.startswith(f"{mutant['module']}:")]
    callers = {by for name in names for by in known["called"].get(name, ())}
    first = [test for test in seconds if test in callers or test.split("::")[0] in callers]
    first.sort(key=seconds.__getitem__)
    rest = sorted(set(seconds) - set(first), key=seconds.__getitem__)
    own = [test for test in first if test.split("::")[0].endswith(f"test_{mutant['module']}.py")]
    others = [test for test in first if test not in own]
    file = scratch / "theory" / f"{mutant['module']}.py"
    original = file.read_text()
    file.write_text(mutant["source"]())
    try:
        for chosen in (own, others, [] if only_callers else rest):
            if chosen:
                limit = min(LONGEST, 30 + 10 * sum(seconds[test] for test in chosen))
                found = run_tests(scratch, chosen, limit=limit)
                if found["code"] != 0:
                    return "killed", str(found["failed"])
    finally:
        file.write_text(original)
    return ("survived" if first else "unreached"), ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", action="append", metavar="NAME", help="of theory; repeat for more (default: all)")
    parser.add_argument("--budget", type=float, default=900.0, metavar="SECONDS", help="no mutant is begun after it")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--out", type=Path, default=Path("mutants.csv"), help="table of results, continued")
    parser.add_argument("--only-callers", action="store_true", help="of a survivor, leave it at the tests that call it")
    parser.add_argument("--list", action="store_true", help="count the mutants by module and stop")
    given = parser.parse_args()
    files = {path.stem: path for path in sorted((ROOT / "theory").glob("*.py")) if not path.stem.startswith("__")}
    unknown = set(given.module or ()) - set(files)
    if unknown:
        parser.error(f"--module {', '.join(sorted(unknown))}: must be one of {', '.join(files)}")
    waiting = [mutant for name in given.module or files for mutant in mutants(files[name])]
    if given.list:
        for name in given.module or files:
            print(f"{name:24}{sum(mutant['module'] == name for mutant in waiting):6}")
        return
    random.Random(given.seed).shuffle(waiting)
    done = {row["key"] for row in csv.DictReader(given.out.open())} if given.out.exists() else set()
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import scipy.integrate
    import scipy.interpolate
    import scipy.optimize
    import scipy.stats  # noqa: F401
    import sympy  # noqa: F401

    sys.dont_write_bytecode = True
    counts: defaultdict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        for name in COPIED:
            one = ROOT / name
            if one.is_dir():
                shutil.copytree(one, scratch / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(one, scratch / name)
        known = survey(scratch)
        ends = time.monotonic() + given.budget
        with given.out.open("a", newline="") as out:
            table = csv.DictWriter(out, FIELDS, extrasaction="ignore", lineterminator="\n")
            if out.tell() == 0:
                table.writeheader()
            for mutant in waiting:
                if time.monotonic() > ends:
                    break
                if mutant["key"] in done:
                    continue
                began = time.monotonic()
                outcome, by = judge(mutant, scratch, known, only_callers=given.only_callers)
                counts[outcome] += 1
                row = {**mutant, "outcome": outcome, "by": by, "seconds": f"{time.monotonic() - began:.1f}"}
                table.writerow(row)
                out.flush()
                if outcome != "killed":
                    print(f"{outcome}: theory/{mutant['module']}.py:{mutant['line']}: {mutant['change']}", flush=True)
    print(json.dumps({"mutants": len(waiting), "tried": sum(counts.values()), **counts}))
    raise SystemExit(1 if counts["survived"] + counts["unreached"] else 0)


if __name__ == "__main__":
    main()
