"""README and docs: links that lead somewhere, pages that are short. Their numbers are in `tests/pages`."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT, ROOT / "docs", *sorted((ROOT / "docs").iterdir()), ROOT / "notebooks")
PAGES = [str(path.relative_to(ROOT)) for folder in FOLDERS for path in sorted(folder.glob("*.md"))]
SOURCES = ("theory", "sim", "gpt", "experiments", "notebooks", "benchmarks", "tests")


def prose(page: Path) -> str:
    """The text of a page without blocks of code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"^(?: {4}|\t)(?! *[-*\d|]).*$", "", text, flags=re.M)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What GitHub makes of the headings of a page: lower case, punctuation dropped, a number behind the second."""
    found: Counter[str] = Counter()
    names = []
    for heading in re.findall(r"^#{1,6} (.*)$", page.read_text(encoding="utf-8"), flags=re.M):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names.append(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return frozenset(names)


def broken(page: Path, text: str) -> list[str]:
    """The links of a text, relative to its page, that lead to no file or to no heading of one."""
    bad = []
    for link in re.findall(r"\]\(\s*([^)\s]+)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            bad.append(link)
    return bad


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    assert not broken(ROOT / name, prose(ROOT / name))


def test_broken_links_are_noticed() -> None:
    good = "[a](log.md) [b](#findings) [c](log.md#log) [d](https://arxiv.org/abs/1706.05350#none)"
    bad = "![e](no.png) [f](#nowhere) [g](log.md#nowhere) [h](rivals/answers.csv#a)"
    found = broken(ROOT / "docs" / "findings.md", f"{good} {bad}")
    assert found == ["no.png", "#nowhere", "log.md#nowhere", "rivals/answers.csv#a"]


def test_paths_that_sources_quote_exist() -> None:
    files = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")] + [ROOT / "Makefile"]
    quoted = {name for path in files for name in re.findall(r"`(docs/[\w./-]*\w)`", path.read_text(encoding="utf-8"))}
    assert len(quoted) > 10
    assert not [name for name in quoted if not (ROOT / name).exists()]


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in text


def test_the_findings_are_two_pages_and_lead_to_every_study() -> None:
    """Figures and the targets of links are not counted as words."""
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    words = re.sub(r"\]\([^)]*\)", " ", re.sub(r"^!\[.*$", "", text, flags=re.M))
    assert len(re.findall(r"[^\s|]*\w[^\s|]*", words)) <= 1400
    assert len(text.splitlines()) <= 130
    for path in (ROOT / "docs").glob("*/README.md"):
        assert f"]({path.parent.name}/README.md)" in text
