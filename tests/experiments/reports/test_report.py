"""Reports: self-contained and complete, whatever lies in the directory."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from experiments.agreement.predictions import prediction_rows
from experiments.agreement.setting_runs import group_runs
from experiments.cli.main import main
from experiments.reports.report import write_report
from experiments.runs.produce import Job, train_run, training_label
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import Run, load_run
from gpt.config import preset
from tests.experiments.conftest import tiny_config
from theory import AdamW, Constant, Cosine


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
    page = write_report(runs, tmp_path, title="A <title> & more").page
    text = page.read_text()
    links = Links()
    links.feed(text)
    images = [value for tag, value in links.found if tag == "img"]
    assert len(images) == 5  # three settings, the losses, the errors of the matrices
    assert "Agreement on held-out settings" in text
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


def test_odd_runs_are_reported_and_not_pooled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One step, no decay, diverged at once, a dozen settings, two widths: no traceback, no verdict, no shared file."""
    short = Constant(num_steps=3)
    configs = [
        tiny_config(schedule=Constant(num_steps=1)),
        tiny_config(optimizer=AdamW(learning_rate=0.01, weight_decay=0.0), schedule=short),
        tiny_config(model=replace(preset("cpu-16", "gpt2"), embedding_init_rms=1000.0), schedule=short),
        tiny_config(model=preset("cpu-32", "scale-invariant"), schedule=short),
        tiny_config(schedule=Cosine(num_steps=3)),
        *(tiny_config(optimizer=AdamW(learning_rate=k / 1000, weight_decay=0.1), schedule=short) for k in range(1, 12)),
    ]
    for config in configs:
        train_run(Job(tmp_path, training_label(config), config))
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    runs = [load_run(path) for path in find_runs(tmp_path)]
    assert len(group_runs(runs)) == len(configs)
    assert not [row for row in prediction_rows(group_runs(runs), []) if row.verdict]
    assert len(list((tmp_path / "report").glob("trajectory-*.csv"))) == len(configs)
