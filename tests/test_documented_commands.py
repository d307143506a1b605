"""Every command that a document, a docstring or the Makefile shows is one that the command line understands."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest

from experiments.cli.main import COMMANDS, build_parser, main

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "Makefile",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
SOURCES = ("theory", "sim", "gpt", "experiments", "notebooks", "benchmarks")
LEAST = 40  # commands that are found today; fewer means that the search is broken
OUTPUTS = ("--csv", "--trajectory", "--schedule-out")
QUICK = ("predict", "convert", "simulate", "fit", "attribute", "study")  # seconds, and no training


def commands() -> list[tuple[str, str]]:
    """Where, and the command line: those of the documents, in code blocks or quoted, and those quoted in sources."""
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^(?: {4}|\t)(?:\$ )?(?:\$\(BIN\)/)?lrbend (.*)$", text, flags=re.M)
        quoted = re.findall(r"(?<!`)`{1,2}lrbend ([^`]*)`", text)
        found += [(name, line) for line in (*blocks, *quoted)]
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.[pm][yd]")):
            text = " ".join(path.read_text(encoding="utf-8").split())
            found += [(str(path.relative_to(ROOT)), line) for line in re.findall(r"``lrbend ([^`]*)``", text)]
    return found


def complete(line: str) -> list[str] | None:
    """The arguments; None where the text names a command, or a way of saying it, and no whole command line."""
    words = shlex.split(line, comments=True)
    placeholders = any(re.fullmatch(r"\[.*|.*\]|\.\.\.|.*\|.*", word) for word in words)
    return None if placeholders or len(words) < 2 else words


def test_commands_are_found() -> None:
    assert len(commands()) >= LEAST


@pytest.mark.parametrize(("where", "line"), commands())
def test_it_is_a_command(where: str, line: str) -> None:
    names = shlex.split(line, comments=True)[:1]
    assert all(set(name.split("|")) <= {*COMMANDS, "--help", "--version", "COMMAND"} for name in names), where
    words = complete(line)
    if words is not None and "--help" not in words:
        try:
            build_parser().parse_args(words)
        except SystemExit as stop:
            raise AssertionError(f"{where}: lrbend {line}") from stop


def quick() -> list[list[str]]:
    """Whole commands of the README whose files are in the repository, and which take seconds."""
    chosen = []
    for where, line in commands():
        words = complete(line)
        if where == "README.md" and words is not None and words[0] in QUICK and not any(map(str.isupper, words)):
            files = [word for word in words[1:] if word.endswith((".csv", ".jsonl"))]
            written = [word for flag, word in itertools.pairwise(words) if flag in OUTPUTS]
            if all((ROOT / file).exists() for file in files if file not in written):
                chosen.append(words)
    return chosen


@pytest.mark.parametrize("words", quick(), ids=" ".join)
def test_it_runs(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a copy of nothing but the committed tables, so that no file is left behind."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
