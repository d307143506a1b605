"""Numbers out of symbolic expressions, to more digits than the closed forms they are compared with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath
import sympy as sp


def number(expression: sp.Expr, *, digits: int = 60, **values: float) -> float:
    """The real part at symbols given by name, computed with so many ``digits``; values without a symbol do no harm."""
    names, evaluate = _compiled(sp.sympify(expression))
    with mpmath.workdps(digits):
        return float(mpmath.re(evaluate(*(mpmath.mpf(values[name]) for name in names))))


@functools.cache
def _compiled(expression: sp.Expr) -> tuple[list[str], Callable[..., Any]]:
    """Names of the arguments, and the function: far quicker than to substitute them, value after value."""
    symbols = sorted(expression.free_symbols, key=str)
    return [symbol.name for symbol in symbols], sp.lambdify(symbols, expression, "mpmath")
