"""Reports: self-contained, complete, and every verdict follows from its row."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from experiments.cli import main
from experiments.comparison import Row, compare
from experiments.report import text_table, write_report
from experiments.run_directory import Run


class Links(HTMLParser):
    """Everything a page would load or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value or "") for name, value in attrs if name in ("src", "href")]


def test_the_page_is_self_contained_and_has_the_numbers_behind_every_figure(
    study: tuple[Path, list[Run]], tmp_path: Path
) -> None:
    _, runs = study
    page = write_report(runs, tmp_path, title="A <title> & more")
    text = page.read_text()
    links = Links()
    links.feed(text)
    images = [value for tag, value in links.found if tag == "img"]
    assert len(images) == 4  # three settings and the losses
    assert all(value.startswith("data:") for _, value in links.found)
    assert "A &lt;title&gt; &amp; more" in text
    for name in re.findall(r'download="([^"]+)"', text):
        assert len(pd.read_csv(tmp_path / "report" / name)) > 0
    for run in runs:
        assert run.path.name in text
    assert not list(tmp_path.rglob("*.partial"))


def test_the_csv_holds_what_was_measured(study: tuple[Path, list[Run]], tmp_path: Path) -> None:
    _, runs = study
    write_report(runs, tmp_path, title="t")
    loss = pd.read_csv(tmp_path / "report" / "loss.csv")
    one = loss[loss["run"] == runs[0].path.name]["loss"].to_numpy()
    assert one == pytest.approx(runs[0].losses, rel=1e-6)


def test_report_command_covers_a_directory(study: tuple[Path, list[Run]], capsys: pytest.CaptureFixture[str]) -> None:
    directory, _ = study
    assert main(["report", str(directory)]) == 0
    assert capsys.readouterr().out.strip() == str(directory / "report.html")


def test_rows_cover_every_setting_and_only_scale_invariant_ones_are_judged(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    rows = compare(runs)
    assert {row.architecture for row in rows if row.verdict} <= {"scale-invariant"}
    drift = [row for row in rows if row.quantity == "norm drift"]
    assert [row.verdict for row in drift] == ["pass"]
    table = text_table(rows)
    assert all(row.quantity in table for row in rows)


def test_a_verdict_follows_from_error_and_limit() -> None:
    row = Row(
        setting="s",
        architecture="a",
        quantity="q",
        predicted=1.0,
        simulated=None,
        measured=1.05,
        low=1.0,
        high=1.1,
        error=0.05,
        limit=0.06,
        count=1,
    )
    assert row.verdict == "pass"
    assert replace(row, error=-0.07).verdict == "fail"
    assert replace(row, error=None).verdict == "fail"
    assert replace(row, limit=None).verdict is None
