"""Derivations in print: every module's are listed, run, and keep their value in the shape they are given."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sympy as sp

from theory import adamc, adamh, adamw
from theory.derivations import ALPHA, ETA, LAM, derivations, listed, printed, tidy

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


def test_every_module_prints_when_it_is_run() -> None:
    for name in MODULES:
        end = (ROOT / "theory" / f"{name}.py").read_text().split('\nif __name__ == "__main__":\n')[-1]
        assert end in ("    from theory.derivations import main\n\n    main(__file__)\n", "    main(__file__)\n"), name


def test_the_list_holds_every_module_in_the_part_that_it_belongs_to() -> None:
    first, second = "\n".join(listed()).split("Without;")
    assert re.findall(r"\n  (\w+)", first) == DERIVING
    assert re.findall(r"\n  (\w+)", second) == [name for name in MODULES if name not in DERIVING]


def test_a_module_without_derivations_says_what_it_has() -> None:
    text = "\n".join(printed(importlib.import_module("theory.roots")))
    assert "No derivations. It has:\n  " in text
    assert "root_between: " in text


def test_the_law_that_a_class_calls_above_is_printed_above_it() -> None:
    text = "\n".join(printed(importlib.import_module("theory.angle_law")))
    assert 0 < text.index("L = L_") < text.index("AngleLaw: The law above")


def test_a_reader_that_stops_is_no_error() -> None:
    """As in ``python -m theory.momentum | head -0``."""
    command = f"{shlex.quote(sys.executable)} -m theory.momentum | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["adamh", "bernoulli", "odd_updates"])
def test_all_of_a_module_is_printed(name: str) -> None:
    module = importlib.import_module(f"theory.{name}")
    lines = list(printed(module))
    assert lines[0].startswith(f"theory.{name}: ")
    heads = [line.split(":")[0].strip() for line in lines if line.startswith("\n")]
    assert heads == [*(["Legend"] if "\nLegend:" in str(module.__doc__) else []), *derivations(module)]
    assert len(lines) > 3 * len(derivations(module))
    if name == "odd_updates":  # what takes arguments is shown with them
        assert any(line.startswith("  with weights = [weights_0, ") for line in lines)


def test_a_module_run_by_its_name_prints_and_warns_of_nothing() -> None:
    command = [sys.executable, "-W", "error", "-m", "theory.adamh"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("theory.adamh: AdamH")
    assert done.stderr == ""


def test_results_have_the_shape_of_the_docstrings() -> None:
    beta1 = adamw.beta1
    exact = {name: tidy(value) for name, value in adamw.derive_equilibrium().items()}
    assert str(exact["sine"]) == "sqrt((1 - alpha)*(1 - beta_1)*(alpha + 1)*(beta_1 + 1))/(alpha*beta_1 + 1)"
    assert exact["rms"].free_symbols == {ALPHA, ETA, beta1, adamw.U}
    assert str(tidy(adamw.derive_limits()["rms"])) == "sqrt(eta/(2*lambda))"
    assert str(tidy(adamw.derive_limits()["growth"])) == "eta**2"
    assert "alpha - 1" not in str(tidy(adamh.derive_matching_learning_rate()))


@pytest.mark.parametrize("forms", [adamw.derive_equilibrium, adamw.derive_limits, adamc.derive_limits])
def test_another_shape_is_the_same_value(forms: object) -> None:
    for expression in forms().values():  # type: ignore[operator]
        at = {symbol: sp.Rational(k + 2, 19) for k, symbol in enumerate(sorted(expression.free_symbols, key=str))}
        decay = at.get(ETA, 0) * at.get(LAM, 0)
        shown = tidy(expression).subs({**at, ALPHA: 1 - decay})
        assert float(shown) == pytest.approx(float(expression.subs(at)), rel=1e-12)
