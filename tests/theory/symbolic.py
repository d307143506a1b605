"""Numbers out of symbolic expressions, to more digits than the closed forms they are compared with."""

from __future__ import annotations

import sympy as sp


def number(expression: sp.Expr, **values: float) -> float:
    """The value at symbols given by name, evaluated to 30 digits."""
    symbols = {symbol.name: symbol for symbol in sp.sympify(expression).free_symbols}
    at = {symbols[name]: sp.Float(value, 40) for name, value in values.items() if name in symbols}
    return float(sp.sympify(expression).subs(at).evalf(30))
