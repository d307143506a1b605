"""Bugs that may be planted in a file of `theory`, one at a time: operators, comparisons, constants, signs, swapped
arguments, functions taken for their neighbours. Annotations, decorators, imports, messages of errors and what runs
where a file is a program are left alone, and so are assumptions of symbols, which decide about the form of an
expression and not about its value.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

SYMMETRIC = (
    "Eq",
    "minimum",
    "maximum",
    "min",
    "max",
    "hypot",
    "logaddexp",
    "isclose",
    "allclose",
    "broadcast_shapes",
)  # in their two arguments

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
HIT = "_hit"
HEADED = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Unit:
    """An outermost function or method; or, without a name, all of a file that stands in none."""

    module: str
    name: str
    lines: range  # decorators included
    digest: str  # of its source

    def find(self, code: CodeType) -> CodeType:
        """Its code in that of the file; the file's own where it has no name."""
        if not self.name:
            return code
        place, waiting = (self.name, self.lines.start), [code]
        while waiting:
            one = waiting.pop()
            if (one.co_qualname, one.co_firstlineno) == place:
                return one
            waiting += [const for const in one.co_consts if isinstance(const, CodeType)]
        raise LookupError(self.name)


@dataclass(frozen=True, eq=False)
class Mutant:
    unit: Unit
    path: Path
    line: int
    lines: range  # that run with it: those of its statement, or of a head like that of an if
    change: str
    number: int  # among equal changes of the unit
    tree: ast.Module = field(repr=False)
    top: ast.stmt = field(repr=False)  # of the file's statements, that in which the bug is
    place: tuple[ast.AST, str, int | None] = field(repr=False)
    replacement: ast.AST = field(repr=False)

    @property
    def key(self) -> tuple[str, int]:
        """Unlike a line, the same after a change elsewhere."""
        return self.change, self.number

    def code(self, *, planted: bool = True, whole: bool = False) -> CodeType:
        """Of that one of the file's statements in which the bug is, or of all of it; lines are those of the file."""
        with self._planted() if planted else nullcontext():
            tree = self.tree if whole else ast.Module([self.top], [])
            return compile(tree, str(self.path), "exec")

    @contextmanager
    def _planted(self) -> Iterator[None]:
        parent, name, index = self.place
        value = getattr(parent, name)
        changed = self.replacement if index is None else [*value[:index], self.replacement, *value[index + 1 :]]
        setattr(parent, name, changed)
        try:
            yield
        finally:
            setattr(parent, name, value)


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a node may be replaced by, each with its description."""
    operator = getattr(node, "op", None)
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(operator) in OPERATORS:
        yield _with(node, op=OPERATORS[type(operator)]())
    if isinstance(node, ast.UnaryOp) and isinstance(operator, ast.USub | ast.Not):
        yield f"{ast.unparse(node)} -> {ast.unparse(node.operand)}", node.operand
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        yield _with(node, ops=[OPERATORS[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield _with(node, value=not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield _with(node, value=node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield _with(node, value=node.value * 1.1 or 0.1)
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


def mutants(path: Path) -> list[Mutant]:
    """All of a file, in the order of its lines."""
    source = path.read_text()
    tree = ast.parse(source)
    rows = source.splitlines(keepends=True)
    units = {id(node): _unit(path.stem, node, names, rows) for node, names in _functions(tree.body, [])}
    inside = {line for unit in units.values() for line in unit.lines}
    rest = [row for number, row in enumerate(rows, 1) if number not in inside]
    outside = Unit(path.stem, "", range(0), _digest(rest))
    counts: Counter[tuple[Unit, str]] = Counter()
    found: list[Mutant] = []

    def walk(node: ast.AST, top: ast.stmt, unit: Unit, lines: range) -> None:
        if (
            isinstance(node, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom)
            or _is_overload(node)
            or _is_main(node)
        ):
            return
        left = ("annotation", "returns", "decorator_list", *(["keywords"] if _makes_symbols(node) else []))
        unit = units.get(id(node), unit)
        for name, value in ast.iter_fields(node):
            if name in left:
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST):
                    continue
                own = _lines(child) if isinstance(child, ast.stmt) else lines
                for change, replacement in changes(child) if hasattr(child, "lineno") else ():
                    short, line = " ".join(change.split()), getattr(child, "lineno", 0)
                    number = counts[unit, short]
                    counts[unit, short] += 1
                    place = node, name, index
                    found.append(Mutant(unit, path, line, own, short, number, tree, top, place, replacement))
                walk(child, top, unit, own)

    for top in tree.body:
        walk(top, top, outside, _lines(top))
    return found


def _is_overload(node: ast.AST) -> bool:
    """A signature for type checkers alone."""
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "overload" for one in node.decorator_list)


def _is_main(node: ast.AST) -> bool:
    """What runs where the file is a program: not with a bug in memory."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def _makes_symbols(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("sp.Symbol", "sp.symbols", "sp.Dummy")


def _lines(node: ast.stmt) -> range:
    last = max(node.lineno, node.body[0].lineno - 1) if isinstance(node, HEADED) else node.end_lineno or 0
    return range(node.lineno, last + 1)


def _functions(body: list[ast.stmt], names: list[str]) -> Iterator[tuple[ast.FunctionDef, list[str]]]:
    """The outermost ones, with the classes that they stand in."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield node, names
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, [*names, node.name])


def _unit(module: str, node: ast.FunctionDef, names: list[str], rows: list[str]) -> Unit:
    first, last = min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno or 0
    return Unit(module, ".".join([*names, node.name]), range(first, last + 1), _digest(rows[first - 1 : last]))


def _digest(rows: list[str]) -> str:
    return hashlib.sha256("".join(rows).encode()).hexdigest()[:10]


def noted(path: Path) -> CodeType:
    """Of a file in which each statement of a function first tells ``builtins._hit``, if there, its module and line."""
    tree = ast.parse(path.read_text())
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        start = int(ast.get_docstring(function) is not None)
        function.body[start:] = _noted(function.body[start:], path.stem)
    future = [isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body]
    after = int(ast.get_docstring(tree) is not None) + sum(future)
    tree.body.insert(after, ast.parse(f"{HIT} = getattr(__import__('builtins'), '{HIT}', hash)").body[0])
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def _noted(body: list[ast.stmt], module: str) -> list[ast.stmt]:
    found = []
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                for name in ("body", "orelse", "finalbody"):
                    if inner := getattr(part, name, None):
                        setattr(part, name, _noted(inner, module))
        hit = ast.parse(f"{HIT}(({module!r}, {node.lineno}))").body[0]
        found += [ast.increment_lineno(hit, node.lineno - 1), node]
    return found
