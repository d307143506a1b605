"""What a command said, read strictly."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from experiments.cli.main import main


def strict_json(text: str) -> dict:
    """One JSON object, without NaN."""
    result = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert isinstance(result, dict)
    return result


def refusal(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command refuses bad input, exit code 2 and nothing on stdout."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert "error:" in said.err
    return said.err
