"""sympy on demand."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sympy

from theory.symbolic import positive, sp


def test_a_prediction_waits_for_no_derivation() -> None:
    code = (
        "import sys; from theory import AdamW, Cosine, predict\n"
        "adamw = AdamW(learning_rate=1e-3, weight_decay=0.1)\n"
        "for network in ('white-noise', 'scale-invariant', 'gpt2'):\n"
        "    predict(adamw, Cosine(num_steps=1000), initial_rms=0.02, network=network)\n"
        "assert 'scipy' in sys.modules\n"
        "assert 'sympy' not in sys.modules, 'heavy prediction'"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_symbols_are_those_that_sympy_makes() -> None:
    assert positive("eta beta_1") == sympy.symbols("eta beta_1", positive=True)
    assert positive("x") == (sympy.Symbol("x", positive=True),) != (sympy.Symbol("x"),)


def test_names_are_sympys_own() -> None:
    assert sp.Rational is sympy.Rational
    with pytest.raises(AttributeError, match="no attribute 'Rationale'"):
        _ = sp.Rationale
