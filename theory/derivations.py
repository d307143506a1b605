"""The derived forms of a module, printed: ``python -m theory.adamw``; ``python -m theory`` lists the modules.

First comes what the docstring says: the law, and a legend of its symbols, with those that it refers to. A
module without a ``derive_*`` says what else it has.

sympy leaves results in shapes of its own; `tidy` gives them the shape of the docstrings where it can: one fraction
under one root, what a step leaves of the weights as alpha, factors like 1 - alpha positive. Formulas of docstrings are
printed as `theory.plain_text` reads them.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import sympy as sp

from theory.plain_text import plain, spelled

ETA, LAM, ALPHA, FRACTION = (sp.Symbol(name, positive=True) for name in ("eta", "lambda", "alpha", "f"))
PRETTY = 80  # operations in an expression, above which it is printed as code
WIDTH = 110  # of lines of code
POINTS = ((0.31, 0.07), (0.17, 0.05), (0.23, 0.11))  # where two forms are compared: first symbol, steps between symbols
# What a derivation is asked for where it takes arguments, by the annotation of the parameter.
EXAMPLES: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "bool": lambda name: (False, True),
    "int": lambda name: (2,),
    "sp.Expr": lambda name: (sp.Symbol(name, positive=True),),
    "list[sp.Expr]": lambda name: (list(sp.symbols(f"{name}_0:3", positive=True)),),
}


def derivations(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions of a module whose names begin with ``derive_``, in the order of the file."""
    found = vars(module).items()
    own = {n: f for n, f in found if n.startswith("derive_") and inspect.isfunction(f)}
    return {n: f for n, f in own.items() if f.__module__ == module.__name__}


def tidy(expression: sp.Expr) -> sp.Expr:
    """The shortest of some forms of an expression in positive symbols that agree with it; itself if none is shorter.

    >>> from theory import adamw
    >>> from theory.derivations import tidy
    >>> tidy(adamw.derive_limits()["rms"])
    sqrt(eta/(2*lambda))
    """
    if expression.has(sp.Integral, sp.Function) or sp.count_ops(expression) > PRETTY:
        return expression
    square = sp.factor(sp.cancel(sp.expand(expression**2)))
    forms = [sp.factor(expression), _root(square)]
    if any({ETA, LAM} <= each.free_symbols for each in square.atoms(sp.Add)):
        taken = ETA * LAM * FRACTION**2 if FRACTION in square.free_symbols else ETA * LAM
        forms.append(_root(sp.factor(sp.cancel(square.subs(LAM, (1 - ALPHA) * LAM / taken)))))
    at = [_point(expression, *numbers) for numbers in POINTS]
    if complex(expression.subs(at[0])).real < 0:
        forms = [forms[0], *(-form for form in forms[1:])]
    return min((expression, *(form for form in forms if _agree(form, expression, at))), key=_length)


def public(module: ModuleType) -> dict[str, Any]:
    """The classes and functions of a module that have no underscore, in the order of the file."""
    own = {n: each for n, each in vars(module).items() if inspect.isclass(each) or inspect.isfunction(each)}
    return {n: each for n, each in own.items() if not n.startswith("_") and each.__module__ == module.__name__}


def listed() -> Iterator[str]:
    """A line for every module: its derivations, or that it has none."""
    deriving, others = list[str](), list[str]()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("__"):
            module = importlib.import_module(f"theory.{path.stem}")
            (deriving if derivations(module) else others).append(f"  {path.stem:22}{_first_line(module)}")
    yield "With derivations; python -m theory.NAME prints them:"
    yield from deriving
    yield "\nWithout; python -m theory.NAME says what they have:"
    yield from others


def printed(module: ModuleType) -> Iterator[str]:
    """The lines."""
    yield f"{module.__name__}: {_doc(module)}"
    yield from (f"\n{name} has this {legend}" for name, legend in _legends(module).items())
    if not derivations(module):
        yield "\nNo derivations. It has:"
        for name, each in public(module).items():
            yield from textwrap.wrap(f"  {name}: {_first_line(each)}", WIDTH, subsequent_indent="    ")
    for name, derive in derivations(module).items():
        yield "\n" + textwrap.indent(f"{name}: {_doc(derive)}", "  ").removeprefix("  ")
        parameters = inspect.signature(derive).parameters.values()
        choices = [EXAMPLES[p.annotation](p.name) for p in parameters if p.default is p.empty]
        names = [p.name for p in parameters if p.default is p.empty]
        for values in product(*choices):
            arguments = dict(zip(names, values, strict=True))
            if arguments:
                yield "  with " + ", ".join(f"{key} = {value}" for key, value in arguments.items())
            result = derive(**arguments)
            yield from _lines(name.removeprefix("derive_") if isinstance(result, list) else "", result)


def main(file: str) -> None:
    """Print those of the module that this is the file of: its own `__main__` knows no other name."""
    show(printed(importlib.import_module(f"theory.{Path(file).stem}")))


def show(lines: Iterator[str]) -> None:
    """Print lines, in words where the terminal has no Greek; a reader that stops taking them, as ``| head`` does, is
    no error."""
    try:
        for line in lines:
            print(spelled(line, sys.stdout.encoding or "utf-8"), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at the end


def _lines(name: str, result: object) -> Iterator[str]:
    if isinstance(result, dict):
        for key, value in result.items():
            yield from _lines(f"{name}, {key}" if name else str(key), value)
    elif isinstance(result, list | tuple):
        for index, value in enumerate(result):
            yield from _lines(f"{name}[{index}]", value)
    else:
        shown = tidy(result) if isinstance(result, sp.Expr) else result
        short = isinstance(shown, sp.Expr) and sp.count_ops(shown) <= PRETTY
        head = f"    {name} = " if name else "    "
        if short:
            first, *rest = sp.pretty(shown, wrap_line=False, order="rev-lex").split("\n")
        else:
            first, *rest = textwrap.wrap(str(shown), WIDTH, break_long_words=False) or [""]
        if rest:
            if name:
                yield f"    {name} ="
            yield from (f"        {line}" for line in (first, *rest))
        else:
            yield head + first


def _legends(module: ModuleType) -> dict[str, str]:
    """The legends that the module's own leads to, by the names of their modules."""
    found: dict[str, str] = {}
    waiting = [_legend(module)]
    while waiting:
        for name in re.findall(r"as in `(theory\.\w+)`", waiting.pop()):
            if name not in found:
                found[name] = _legend(importlib.import_module(name))
                waiting.append(found[name])
    return found


def _legend(module: ModuleType) -> str:
    return next((part for part in _doc(module).split("\n\n") if part.startswith("Legend:")), "")


def _first_line(documented: object) -> str:
    return _doc(documented).split("\n\n")[0].replace("\n", " ")


def _doc(documented: object) -> str:
    return plain(inspect.getdoc(documented) or "")


def _root(square: sp.Expr) -> sp.Expr:
    """The positive root: squares before it, and factors in it that are positive for symbols between 0 and 1."""
    inside, sign = sp.Integer(1), 1
    outside = sp.Integer(1)
    for factor in sp.Mul.make_args(square):
        if factor.is_negative:  # else it would be multiplied into a sum
            factor, sign = -factor, -sign
        base, power = factor.as_base_exp()
        if base.is_Add and base.as_coeff_Add()[0] < 0 and power.is_Integer:
            base, sign = -base, -sign if power % 2 else sign
        if power.is_Integer and int(power) % 2 == 0:
            outside *= base ** (power / 2)
        else:
            inside *= base**power
    inside *= sign
    if inside == 1:
        return outside
    root = sp.Pow(inside, sp.Rational(1, 2), evaluate=False)
    return root if outside == 1 else sp.Mul(outside, root, evaluate=False)


def _length(expression: sp.Expr) -> int:
    return len(str(expression))


def _agree(form: sp.Expr, expression: sp.Expr, points: list[dict[sp.Symbol, float]]) -> bool:
    pairs = [(complex(form.subs(at)), complex(expression.subs(at))) for at in points]
    return all(abs(one - other) <= 1e-9 * abs(other) for one, other in pairs)


def _point(expression: sp.Expr, first: float, step: float) -> dict[sp.Symbol, float]:
    """A value between 0 and 1 for every symbol."""
    names = sorted({*expression.free_symbols, ETA, LAM} - {ALPHA}, key=str)
    at = {symbol: first + step * place for place, symbol in enumerate(names)}
    taken = at[ETA] * at[LAM] * at.get(FRACTION, 1.0) ** 2
    return {**at, ALPHA: 1 - taken}


if __name__ == "__main__":
    main(__file__)
