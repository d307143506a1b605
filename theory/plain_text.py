r"""Docstrings for a terminal: the TeX of their formulas as the letters that it stands for.

``:math:`\theta_{eq} = \sqrt{2\eta\lambda}``` becomes θ_eq = √(2ηλ). Known is what the docstrings of this package use;
of another command the name is left. `spelled` is the way on to terminals that have no such letters: sqrt(2 eta lambda).
"""

from __future__ import annotations

import re
from functools import cache
from unicodedata import lookup

SMALL = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "pi"),
    *("rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
)
GREEK = {
    **{name: lookup(f"GREEK SMALL LETTER {name.replace('lambda', 'lamda')}") for name in SMALL},
    **{name: lookup(f"GREEK CAPITAL LETTER {name}") for name in ("Gamma", "Delta", "Theta", "Phi", "Psi")},
    **{"varsigma": lookup("GREEK SMALL LETTER FINAL SIGMA"), "varphi": lookup("GREEK PHI SYMBOL")},
}
SIGNS = {
    **{"langle": "⟨", "rangle": "⟩", "|": "‖", "infty": "∞", "sum": "Σ", "prod": "Π", "int": "∫", "partial": "∂"},
    **{
        "pm": "±",
        "mp": "∓",
        "in": "∈",
        "top": "ᵀ",
        "le": "≤",
        "ge": "≥",
        "ll": "≪",
        "gg": "≫",
        "sim": "~",
        "approx": "≈",
    },
    **{
        "gtrsim": "≳",
        "propto": "∝",
        "to": "→",
        "leftarrow": "←",
        "Rightarrow": "⇒",
        "ne": "≠",
        "cdot": "·",
        "dots": "…",
    },
    **{"{": "{", "}": "}"},
    **dict.fromkeys((",", ";", " ", "quad", "qquad"), " "),
    **dict.fromkeys(("left", "right", "big", "Big", "!"), ""),
}
FRACTIONS = (r"\frac", r"\tfrac")
NAMES = ("sqrt", "ln", "sin", "cos", "tan", "arcsin", "arccos", "min", "max", "Sigma")
LETTERS = ("mathrm", "text", "operatorname", "mathbf")
OVER = {"dot": "\u0307", "hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}
HIGH = dict(zip("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", strict=True))
LOW = dict(zip("0123456789-+", "₀₁₂₃₄₅₆₇₈₉₋₊", strict=True))
SCRIPTS = {letter: plain for letters in (HIGH, LOW) for plain, letter in letters.items()}
# In letters of ASCII; what is spelled by a name stands apart from letters beside it.
SPELLED = {
    **{letter: name.removeprefix("var") for name, letter in GREEK.items()},
    **{
        "√": "sqrt",
        "∞": "infinity",
        "Σ": "sum",
        "Π": "product",
        "∫": "integral",
        "∂": "d",
        "∈": "in",
        "∝": "proportional to",
    },
    **{
        "⟨": "<",
        "⟩": ">",
        "‖": "||",
        "±": "+-",
        "∓": "-+",
        "≤": "<=",
        "≥": ">=",
        "≪": "<<",
        "≫": ">>",
        "≈": "~",
        "≳": ">~",
    },
    **{"→": "->", "⇒": "=>", "←": "<-", "≠": "!=", "·": "*", "…": "...", "ᵀ": "^T", "°": "degrees"},
    **{mark: f"_{name}" for name, mark in OVER.items()},
}
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[_^{}&]|\s+|.", re.DOTALL)
PARTS = re.compile(rf"[{''.join(HIGH.values())}]+|[{''.join(LOW.values())}]+|[\x00-\x7f]+|.", re.DOTALL)
ROLE = re.compile(r":math:`([^`]*)`")
DISPLAY = re.compile(r"^([ \t]*)\.\. math::[ \t]*(.*(?:\n(?:\1[ \t]+\S.*))*)", re.MULTILINE)


def plain(text: str) -> str:
    """A docstring without its markup."""
    text = DISPLAY.sub(lambda found: f"{found[1]}    {_lines(found[2], found[1] + '    ')}", text)
    text = ROLE.sub(lambda found: formula(found[1]), text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def formula(tex: str) -> str:
    r"""A formula in one line.

    >>> formula(r"\rho_{t+1} = \frac{\eta^2}{1-\beta_1^k} \to \frac\eta{2\lambda}")
    'ρ_(t+1) = η²/(1-β₁^k) → η/(2λ)'
    """
    tokens = TOKEN.findall(tex)
    written = "".join(_read(tokens, until=None))
    return re.sub(r"\s+", " ", written).replace(" ⟩", "⟩").strip()


def spelled(text: str, encoding: str) -> str:
    r"""What an encoding cannot hold, in words that it can: names of letters and signs, else the number of a letter.

    >>> spelled("ρ_(t+1) = η²/(1-β₁^k) → √(2ηλ)", "ascii")
    'rho_(t+1) = eta^2/(1-beta_1^k) -> sqrt(2 eta lambda)'
    >>> spelled("ρη², née", "latin-1")
    'rho eta², née'
    """
    written, named_before = "", False
    for part in PARTS.findall(text):
        word = part if part.isascii() or _holds(encoding, part) else _in_words(part)
        named = word != part and not word.startswith("\\")
        touches = written[-1:].isalnum() or written[-1:] == ")"
        apart = (named or named_before) and touches and word[:1].isalnum() and part[0] not in SCRIPTS
        written += f" {word}" if apart else word
        named_before = named
    return written


def _in_words(part: str) -> str:
    if part[0] in SCRIPTS:
        return ("^" if part[0] in HIGH.values() else "_") + "".join(SCRIPTS[letter] for letter in part)
    return SPELLED.get(part) or part.encode("ascii", "backslashreplace").decode()


@cache
def _holds(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _lines(tex: str, indent: str) -> str:
    """A displayed formula: a line for each that its docstring ends with a double backslash or a wide gap."""
    parts = [formula(part) for part in re.split(r"\\\\|\\qquad", tex)]
    return f"\n{indent}".join(part for part in parts if part)


def _read(tokens: list[str], until: str | None) -> list[str]:
    """Take tokens off the list up to the closing one, and give what they look like."""
    out: list[str] = []
    while tokens:
        token = tokens.pop(0)
        if token == until:
            break
        out.append(_one(token, tokens, out[-1] if out else ""))
    return out


def _one(token: str, tokens: list[str], before: str) -> str:
    if token in "{&":
        return "".join(_read(tokens, until="}")) if token == "{" else ""
    if token in "_^":
        script = _script(_argument(tokens), token)
        return f"{script} " if script[-1:].isalpha() and _begins_with_letter(tokens) else script
    if not token.startswith("\\"):
        return token
    name = token[1:]
    if token in FRACTIONS:
        top, bottom = _argument(tokens), _argument(tokens)
        return f"{_together(top)}/{_together(bottom, products=False)}"
    if name == "binom":
        return f"binomial({_argument(tokens)}, {_argument(tokens)})"
    if name == "sqrt":
        return f"√{_together(_argument(tokens), products=False)}"
    if name in OVER:
        return f"{_argument(tokens)}{OVER[name]}"
    if name in LETTERS:
        return _word(_argument(tokens), tokens, before)
    if name in ("sum", "prod", "int"):
        return SIGNS[name] + _scripts(tokens)
    if name == "langle":
        _skip_gap(tokens)
    if name in GREEK or name in SIGNS:
        return GREEK.get(name, SIGNS.get(name, ""))
    return _word(name, tokens, before)


def _word(name: str, tokens: list[str], before: str) -> str:
    """The name of a function, with gaps to the letters beside it, and parentheses about a fraction."""
    gap = " " if before[-1:].isalnum() or before[-1:] == ")" else ""
    if tokens and tokens[0] in FRACTIONS:
        return f"{gap}{name}({_argument(tokens)})"
    return f"{gap}{name}{' ' if _begins_with_letter(tokens) else ''}"


def _begins_with_letter(tokens: list[str]) -> bool:
    follows = tokens[0] if tokens else ""
    return follows.isalnum() or (follows.startswith("\\") and follows[1:] in {*GREEK, *NAMES})


def _argument(tokens: list[str]) -> str:
    """What a command is applied to: a group in braces, or one token."""
    _skip_gap(tokens)
    return _one(tokens.pop(0), tokens, "") if tokens else ""


def _skip_gap(tokens: list[str]) -> None:
    while tokens and tokens[0].isspace():
        tokens.pop(0)


def _scripts(tokens: list[str]) -> str:
    """The bounds of a sum or an integral, and a gap to what is summed."""
    found = ""
    while tokens and tokens[0] in ("_", "^"):
        sign = tokens.pop(0)
        found += _script(_argument(tokens), sign)
    return f"{found} " if found else ""


def _script(text: str, sign: str) -> str:
    letters = HIGH if sign == "^" else LOW
    if text and all(letter in letters for letter in text):
        return "".join(letters[letter] for letter in text)
    if sign == "^" and text == "*":
        return text
    return sign + (text if len(text) == 1 or text.isalpha() else f"({text})")


def _together(text: str, *, products: bool = True) -> str:
    """In parentheses, unless it is one thing; a product is, above a line, and not below it or under a root."""
    inside = text.strip()
    high, low, over = "".join(HIGH.values()), "".join(LOW.values()), "".join(OVER.values())
    one = rf"[\w{over}{high}{low}^]+" if products else rf"\d+|\w[{over}]?[{low}]*(_[^\W_]+)?[{high}]*"
    return inside if re.fullmatch(one, inside) else f"({inside})"


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
