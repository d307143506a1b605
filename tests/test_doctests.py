"""The examples in docstrings, run as they stand."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROMPT = re.compile(r"^ *>>> ", re.MULTILINE)
LEAST = 40  # prompts in all modules together


def count_prompts() -> dict[str, int]:
    """By module, from the sources: one without examples is not imported."""
    files = [file for room in ("theory", "sim", "gpt", "experiments") for file in sorted((ROOT / room).rglob("*.py"))]
    counts = {file.relative_to(ROOT).with_suffix(""): len(PROMPT.findall(file.read_text())) for file in files}
    return {".".join(path.parts): count for path, count in counts.items() if count}


PROMPTS = count_prompts()


@pytest.mark.parametrize("name", PROMPTS)
def test_examples_give_what_they_show(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted == PROMPTS[name], "an example stands where doctest does not look"
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {name}; the output says which"


def test_examples_are_found() -> None:
    assert sum(PROMPTS.values()) >= LEAST
