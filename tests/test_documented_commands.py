"""Every command that a document, a docstring or the Makefile shows is one that the command line understands."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from pathlib import Path

import pytest

from experiments.cli.main import COMMANDS, build_parser, main
from experiments.cli.parser import Parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "Makefile",
    *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
SOURCES = ("theory", "sim", "gpt", "experiments", "notebooks", "benchmarks")
LEAST = 40  # commands that are found today; fewer means that the search is broken
OUTPUTS = ("--csv", "--trajectory", "--schedule-out", "--plot")
# seconds, and no training; a plan only of a study in a file, which is small
QUICK = ("predict", "convert", "simulate", "fit", "attribute", "recommend", "losses", "plan")
GAP = "..."  # stands for lines of an output that are not shown


def commands() -> list[tuple[str, str]]:
    """Where, and the command line: those of the documents, in code blocks or quoted, and those quoted in sources."""
    found = in_blocks()
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        found += [(name, line) for line in re.findall(r"(?<!`)`{1,2}lrbend ([^`]*)`", text)]
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.[pm][yd]")):
            text = " ".join(path.read_text(encoding="utf-8").split())
            found += [(str(path.relative_to(ROOT)), line) for line in re.findall(r"``lrbend ([^`]*)``", text)]
    return found


def in_blocks() -> list[tuple[str, str]]:
    """Those of the documents that stand on a line of their own."""
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^(?: {4}|\t)(?:\$ )?(?:\$\(BIN\)/)?lrbend (.*)$", text, flags=re.M)
        found += [(name, line) for line in lines]
    return found


def complete(line: str) -> list[str] | None:
    """The arguments; None where the text names a command, or a way of saying it, and no whole command line."""
    words = shlex.split(line, comments=True)
    placeholders = any(re.fullmatch(r"\[.*|.*\]|\.\.\.|.*\|.*", word) for word in words)
    return None if placeholders or len(words) < 2 else words


@functools.cache
def parser() -> Parser:
    return build_parser()


def test_commands_are_found() -> None:
    assert len(commands()) >= LEAST


@pytest.mark.parametrize(("where", "line"), commands())
def test_it_is_a_command(where: str, line: str) -> None:
    names = shlex.split(line, comments=True)[:1]
    assert all(set(name.split("|")) <= {*COMMANDS, "--help", "--version", "COMMAND"} for name in names), where
    words = complete(line)
    if words is not None and "--help" not in words:
        try:
            parser().parse_args(words)
        except SystemExit as stop:
            raise AssertionError(f"{where}: lrbend {line}") from stop


def quick() -> list[str]:
    """Those of the documents whose files are in the repository, and which take seconds; each once."""
    chosen = {}
    for where, line in in_blocks():
        words = complete(line)
        if where.endswith(".md") and words is not None and words[0] in QUICK and not any(map(str.isupper, words)):
            files = [word for word in words[1:] if word.endswith((".csv", ".jsonl", ".json"))]
            written = [word for flag, word in itertools.pairwise(words) if flag in OUTPUTS]
            here = all((ROOT / file).exists() for file in files if file not in written)
            if here and (words[0] != "plan" or files) and "file:" not in line:
                chosen[shlex.join(words)] = None
    return list(chosen)


def shown_outputs() -> dict[str, list[tuple[str, list[str]]]]:
    """For every command that a document shows with its output: where, and the lines shown."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        for line, output in re.findall(r"^ {4}\$ lrbend (.*)\n((?: {4}.+\n)+)", text, flags=re.M):
            found.setdefault(shlex.join(shlex.split(line)), []).append((name, output.splitlines()))
    return found


def is_as_shown(printed: str, shown: list[str]) -> bool:
    """Whether the output has the lines that are shown, from their beginnings, one after the other but for gaps."""
    lines = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
    place, free = 0, False
    for part in (" ".join(line.split()) for line in shown):
        if part == GAP:
            free = True
            continue
        fits = [k for k in range(place, len(lines)) if lines[k].startswith(part)][:1]
        if not fits or (not free and fits[0] != place):
            return False
        place, free = fits[0] + 1, False
    return True


def test_an_output_is_compared_line_by_line() -> None:
    printed = "one  1\ntwo 2\nthree 3\n"
    assert is_as_shown(printed, ["one 1", "two", "..."])
    assert is_as_shown(printed, ["...", "  three  3"])
    for other in (["two 2"], ["one 1", "three 3"], ["...", "two 3"], ["...", "two", "one"]):
        assert not is_as_shown(printed, other)


def test_every_output_that_is_shown_belongs_to_a_quick_command() -> None:
    assert len(shown_outputs()) >= 5
    assert set(shown_outputs()) <= set(quick())


@pytest.mark.parametrize("line", quick())
def test_it_runs_and_says_what_is_shown(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a copy of nothing but the committed tables, so that no file is left behind."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.sweeps.plan.measured_hours", lambda *_, **__: 0.05)  # timing steps takes seconds
    assert main(shlex.split(line)) == 0
    printed = capsys.readouterr().out
    for where, shown in shown_outputs().get(line, []):
        assert is_as_shown(printed, shown), where
