"""Derivations in print: every module's are listed, run, and keep their value in the shape they are given."""

from __future__ import annotations

import importlib
import inspect
import io
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import sympy as sp

from theory import adamc, adamh, adamw, plain_text, radial
from theory.derivations import (
    ALPHA,
    ETA,
    FRACTION,
    LAM,
    _agree,
    _lines,
    _root,
    derivations,
    listed,
    printed,
    public,
    show,
    tidy,
)
from theory.plain_text import formula, plain, spelled
from theory.symbolic import positive

RHO = "\N{GREEK SMALL LETTER RHO}"
ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "theory").glob("*.py") if not path.stem.startswith("__"))
DERIVING = [name for name in MODULES if "\ndef derive_" in (ROOT / "theory" / f"{name}.py").read_text()]


def test_the_index_holds_every_module_and_every_derivation() -> None:
    text = (ROOT / "docs" / "theory.md").read_text()
    listed = {
        match[1]: re.findall(r"`(derive_\w+)`", line)
        for line in text.splitlines()
        if (match := re.match(r"\| `(\w+)` \|", line))
    }
    assert sorted(listed) == DERIVING
    for name in DERIVING:
        assert listed[name] == list(derivations(importlib.import_module(f"theory.{name}"))), name
    rest = text.split("Without derivations")[1]
    assert sorted(re.findall(r"`(\w+)`", rest)) == [name for name in MODULES if name not in DERIVING]


@pytest.mark.filterwarnings("ignore:'theory.* found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", MODULES)
def test_a_module_prints_when_it_is_run_and_not_when_it_is_imported(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("theory.derivations.main", asked.append)
    runpy.run_module(f"theory.{name}", run_name="imported", alter_sys=True)
    assert (asked, capsys.readouterr().out) == ([], "")
    runpy.run_module(f"theory.{name}", run_name="__main__", alter_sys=True)
    if name == "derivations":  # which prints itself
        assert capsys.readouterr().out.startswith("theory.derivations: ")
    else:
        assert [Path(file).stem for file in asked] == [name]


def test_the_list_holds_every_module_in_the_part_that_it_belongs_to() -> None:
    lines = list(listed())
    assert all(line.count("\n") == line.startswith("\nWithout;") for line in lines)  # one of them each
    first, second = "\n".join(lines).split("Without;")
    assert re.findall(r"\n  (\w+)", first) == DERIVING
    assert re.findall(r"\n  (\w+)", second) == [name for name in MODULES if name not in DERIVING]


def test_a_module_without_derivations_says_what_it_has() -> None:
    text = "\n".join(printed(importlib.import_module("theory.roots")))
    assert "No derivations. It has:\n  " in text
    assert "root_between: " in text


def test_the_law_that_a_class_calls_above_is_printed_above_it() -> None:
    text = "\n".join(printed(importlib.import_module("theory.angle_law")))
    assert 0 < text.index("L = L_") < text.index("AngleLaw: The law above")


def test_law_and_legends_come_first() -> None:
    """Also those of a legend that says "as in"."""
    text = "\n".join(itertools.takewhile(lambda line: not line.startswith("\nderive_"), printed(radial)))
    places = [text.index(words) for words in ("R RMS at", "F = f/(1+z/z_v)", "f 1.7, z_v 0.105", "theory.adamw has")]
    assert places == sorted(places)
    assert text.count("squared weight RMS;") == 1


def test_a_name_behind_the_package_is_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", "roots"])
    runpy.run_module("theory", run_name="__main__")
    assert capsys.readouterr().out.startswith("theory.roots: ")
    monkeypatch.setattr(sys, "argv", ["theory", "adamx"])
    with pytest.raises(SystemExit, match="no module adamx"):
        runpy.run_module("theory", run_name="__main__")


def test_what_is_printed_has_no_markup() -> None:
    """Formulas of docstrings as the letters that they stand for; examples are code and stay."""
    for name in MODULES:
        module = importlib.import_module(f"theory.{name}")
        for documented in (module, *public(module).values()):
            for line in plain(inspect.getdoc(documented) or "").splitlines():
                if not line.lstrip().startswith((">>>", "...")):
                    assert not re.search(r":math:|``|\\|[{}]|\.\. math", line), f"{name}: {line}"


def test_every_command_of_a_formula_is_known() -> None:
    r"""Of another one the name is left, as in f = 1 mp tolerance."""
    known = {*plain_text.GREEK, *plain_text.SIGNS, *plain_text.NAMES, *plain_text.LETTERS, *plain_text.OVER, "binom"}
    for name in MODULES:
        module = importlib.import_module(f"theory.{name}")
        for documented in (module, *public(module).values()):
            text = inspect.getdoc(documented) or ""
            formulas = [*plain_text.ROLE.findall(text), *(tex for _, tex in plain_text.DISPLAY.findall(text))]
            used = {command for tex in formulas for command in re.findall(r"\\([a-zA-Z]+)", tex)}
            assert used <= {*known, "frac", "tfrac"}, f"{name}: {used - known}"


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"f = 1 \mp \mathrm{tolerance}", "f = 1 ∓ tolerance"),
        (r"\dot\rho = -2\lambda\eta\rho + \eta^2", f"{RHO}̇ = -2λη{RHO} + η²"),
        (r"\sqrt{2\eta\lambda} = \sqrt q", "√(2ηλ) = √q"),
        (r"\frac{1}{2\eta\lambda}\ln\frac{1-y}{1-f^2}", "1/(2ηλ) ln((1-y)/(1-f²))"),
        (r"p_t = -\sum_{s<t}\eta_s\langle u_su_{t+k}\rangle", "p_t = -Σ_(s<t) η_s⟨u_s u_(t+k)⟩"),
        (r"\mathrm{RMS}_0\sqrt{\hat v}\,e^{-n}", "RMS₀√v̂ e^(-n)"),
        (r"2\sin x = (1-y)\ln y", "2 sin x = (1-y) ln y"),
        (r"a_t\mathrm{RMS}", "a_t RMS"),
        (r"\lambda_{max}\ln\eta", "λ_max ln η"),
        (r"\frac{2x}{y^*} = x_*", "2x/(y*) = x_*"),
    ],
)
def test_a_formula_in_letters(tex: str, text: str) -> None:
    assert formula(tex) == text


def test_every_form_has_a_name_and_none_is_a_wall() -> None:
    """The branches of a contour are names in names; a list counts; a form of thousands of letters has many lines."""
    wall = sum(sp.Symbol(f"x_{k}") ** k for k in range(2, 60))
    results = {"derive_sides": {"below": {"rate": ETA}}, "derive_weights": [LAM, ETA], "derive_wall": wall}
    made = ModuleType("made")
    for name, result in results.items():
        setattr(made, name, lambda result=result: result)
        vars(made)[name].__module__ = "made"
    lines = "\n".join(printed(made)).splitlines()
    for line in ("    below, rate = \N{GREEK SMALL LETTER ETA}", "    weights[1] = \N{GREEK SMALL LETTER ETA}"):
        assert line in lines
    assert max(map(len, lines)) <= 120
    assert str(wall)[-20:] in lines[-1]


def test_what_a_derivation_is_asked_for_is_shown() -> None:
    """Both truths, and two of what is counted; what has a default is not asked for."""

    def derive_made(count: int, *, decoupled: bool, order: int = 1) -> sp.Expr:
        return LAM**count if decoupled else ETA ** (count + order)

    made = ModuleType("made")
    derive_made.__module__, made.derive_made = "made", derive_made  # type: ignore[attr-defined]
    lines = list(printed(made))
    asked = [f"  with count = 2, decoupled = {truth}" for truth in (False, True)]
    assert [line for line in lines if line.startswith("  with")] == asked
    assert lines[lines.index(asked[1]) - 2].strip() == "3"  # the power above eta


def test_a_terminal_of_ascii_gets_names_for_greek(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken, encoding="ascii"))
    show(itertools.takewhile(lambda line: not line.startswith("\nderive_"), printed(adamw)))
    text = taken.getvalue().decode("ascii")
    assert "alpha_t^2 rho_t - 2 alpha_t eta_t p_t + eta_t^2 s_t" in text
    assert not re.search(r"\?|\\[xu]", text)


def test_every_letter_of_a_formula_has_a_name() -> None:
    """Not a number, which is what other letters get."""
    for name in MODULES:
        text = plain(importlib.import_module(f"theory.{name}").__doc__ or "")
        assert not re.search(r"\\[xu][0-9a-f]{2}", spelled(text, "ascii")), name


def test_what_an_encoding_holds_stays_as_it_is() -> None:
    assert spelled("ρη², née", "utf-8") == "ρη², née"
    assert spelled("ρη², née", "latin-1") == "rho eta², née"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ηλ", "eta lambda"),
        ("ηx = 2η", "eta x = 2 eta"),
        ("(1-y)η", "(1-y) eta"),
        ("η²⟨u⟩", "eta^2<u>"),
        ("née", r"n\xe9e"),
    ],
)
def test_names_stand_apart_from_letters_beside_them(text: str, words: str) -> None:
    """What has no name is a number."""
    assert spelled(text, "ascii") == words


@pytest.mark.long
def test_a_reader_that_stops_is_no_error() -> None:
    """As in ``python -m theory.momentum | head -0``."""
    command = f"{shlex.quote(sys.executable)} -m theory.momentum | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == ""


def test_what_follows_after_a_reader_has_gone_is_lost_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    read, written = os.pipe()
    os.close(read)
    with open(written, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        show(iter(["one", "two"]))
        print("three", flush=True)


@pytest.mark.long
@pytest.mark.parametrize("name", ["adamh", "bernoulli", "odd_updates"])
def test_all_of_a_module_is_printed(name: str) -> None:
    module = importlib.import_module(f"theory.{name}")
    lines = list(printed(module))
    assert lines[0].startswith(f"theory.{name}: ")
    heads = [line.split(":")[0].strip() for line in lines[1:] if ":" in line and line.startswith("\nderive_")]
    assert heads == list(derivations(module))
    assert len(lines) > 3 * len(derivations(module))
    if name == "odd_updates":  # what takes arguments is shown with them
        assert any(line.startswith("  with weights = [weights_0, ") for line in lines)


@pytest.mark.long
def test_a_module_run_by_its_name_prints_and_warns_of_nothing() -> None:
    command = [sys.executable, "-W", "error", "-m", "theory.adamh"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("theory.adamh: AdamH")
    assert done.stderr == ""


def test_results_have_the_shape_of_the_docstrings() -> None:
    beta1, update_rms = positive("beta_1 U")
    exact = {name: tidy(value) for name, value in adamw.derive_equilibrium().items()}
    assert str(exact["sine"]) == "sqrt((1 - alpha)*(1 - beta_1)*(alpha + 1)*(beta_1 + 1))/(alpha*beta_1 + 1)"
    assert exact["rms"].free_symbols == {ALPHA, ETA, beta1, update_rms}
    assert str(tidy(adamw.derive_limits()["rms"])) == "sqrt(eta/(2*lambda))"
    assert str(tidy(adamw.derive_limits()["growth"])) == "eta**2"
    assert "alpha - 1" not in str(tidy(adamh.derive_matching_learning_rate()))


X, Y, Z = sp.symbols("x y z", positive=True)
LEFT, LEFT_OF_ADAMC = 1 - ETA * LAM, 1 - ETA * LAM * FRACTION**2  # whose decay goes with the rate


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (sp.sqrt(1 - LEFT_OF_ADAMC**2), "sqrt((1 - alpha)*(alpha + 1))"),
        (sp.sqrt(1 + LEFT), "sqrt(alpha + 1)"),
        (sp.sqrt((1 + LEFT_OF_ADAMC) * (1 + X)), "sqrt((alpha + 1)*(x + 1))"),
        (-sp.sqrt(X**2 * Y + X**2 * Z), "-x*sqrt(y + z)"),
        (-sp.sqrt(1 - LEFT**2), "-sqrt((1 - alpha)*(alpha + 1))"),
        (X * sp.exp(Z) + Y * sp.exp(Z), "x*exp(z) + y*exp(z)"),  # with a function it stays as it is
        (-sp.sqrt(LAM) * sp.sqrt(ETA + 1), "-sqrt(lambda*(eta + 1))"),
    ],
)
def test_a_tidy_form(expression: sp.Expr, text: str) -> None:
    assert str(tidy(expression)) == text


def test_what_is_long_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above `PRETTY` operations; here there are three."""
    for longest, text in ((3, "eta*(x + y)"), (2, "eta*x + eta*y")):
        monkeypatch.setattr("theory.derivations.PRETTY", longest)
        assert str(tidy(ETA * X + ETA * Y)) == text


def test_what_is_long_is_printed_as_code_in_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a form of few operations on several lines only where it is a fraction, however wide."""
    wide, product = sum(sp.symbols(f"{'a' * 60}_:3")), sp.prod(sp.symbols("a_10:40"))
    assert [len(list(_lines("", form))) for form in (X / Y, wide)] == [3, 1]
    monkeypatch.setattr("theory.derivations.PRETTY", 1)
    assert [len(list(_lines("", form))) for form in (X / Y, X / (Y + Z))] == [3, 1]
    assert list(_lines("", product)) == [f"    {product}"]


@pytest.mark.parametrize("forms", [adamw.derive_equilibrium, adamw.derive_limits, adamc.derive_limits])
def test_another_shape_is_the_same_value(forms: object) -> None:
    for expression in forms().values():  # type: ignore[operator]
        at = {symbol: sp.Rational(k + 2, 19) for k, symbol in enumerate(sorted(expression.free_symbols, key=str))}
        decay = at.get(ETA, 0) * at.get(LAM, 0)
        shown = tidy(expression).subs({**at, ALPHA: 1 - decay})
        assert float(shown) == pytest.approx(float(expression.subs(at)), rel=1e-12)


def test_a_root_is_positive_for_symbols_between_0_and_1() -> None:
    x, y = sp.symbols("x y", positive=True)
    for square, expected in {
        x**2: x,
        (x + y) ** 2: x + y,
        (x - 1) ** 2: 1 - x,
        (x - 1) ** 2 * y: (1 - x) * sp.sqrt(y),
        (x - 1) ** 3 * (y - 1): sp.sqrt((1 - x) ** 3 * (1 - y)),
    }.items():
        assert _root(square).equals(expected), square
        assert _root(square).subs({x: 0.3, y: 0.4}) > 0, square
    assert _root(x**2) == x
    assert _root(x**2 * y).args == (x, sp.sqrt(y))  # in the order in which it is read
    for square in ((x - 1) * y, (x - 1) ** 3):
        assert sp.expand(_root(square) ** 2 - square) == 0


def test_forms_agree_if_their_values_do_at_every_point_whatever_their_size() -> None:
    x = sp.Symbol("x", positive=True)
    points = [{x: 0.5}, {x: 2.0}]
    for form, expression, expected in (
        (x * (1 + x), x + x**2, True),
        (2 * x, sp.Integer(1), False),  # at the first point alone
        (1e-6 * x, (1e-6 + 1e-11) * x, False),
        (1e6 * x, (1e6 + 1e-6) * x, True),
        (x - x, sp.Integer(0), True),
    ):
        assert _agree(form, expression, points) is expected, form
