"""Reports: self-contained and complete, whatever lies in the directory."""

import base64
import gzip
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Picture

from experiments.agreement.predictions import prediction_rows
from experiments.agreement.setting_runs import group_runs
from experiments.cli.main import main
from experiments.reports.page import for_page
from experiments.reports.report import write_report
from experiments.reports.run_figures import loss_figure, trajectory_figure
from experiments.reports.run_tables import losses_table
from experiments.runs.produce import Job, train_run, training_label
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import Run, load_run
from experiments.runs.simulation import SimulationConfig
from gpt.config import preset
from tests.experiments.conftest import tiny_config
from theory import AdamW, Constant, Cosine, Lion


class Links(HTMLParser):
    """Everything a page would load or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value or "") for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def page(study: tuple[Path, list[Run]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on the runs of the study, in a directory of its own."""
    return write_report(study[1], tmp_path_factory.mktemp("report"), title="A <title> & more").page


def test_the_page_is_self_contained_and_has_the_numbers_behind_every_figure(
    study: tuple[Path, list[Run]], page: Path
) -> None:
    text = page.read_text()
    links = Links()
    links.feed(text)
    images = [value for tag, value in links.found if tag == "img"]
    assert len(images) == 5  # three settings, the losses, the errors of the matrices
    assert all(value.startswith("data:") or f'id="{value[1:]}"' in text for _, value in links.found)
    assert "A &lt;title&gt; &amp; more" in text
    for name in re.findall(r'download="([^"]+)"', text):
        assert len(pd.read_csv(page.parent / "report" / name.removesuffix(".gz"))) > 0
    for run in study[1]:
        assert run.path.name in text
    assert not list(page.parent.rglob("*.partial"))


def test_the_answer_stands_first_and_figures_before_tables(page: Path) -> None:
    text = page.read_text()
    places = [text.index(mark) for mark in ('class="answer', "<nav", "<figure", 'id="predictions"', 'id="runs"')]
    assert places == sorted(places)
    assert 'name="viewport"' in text
    lines = re.findall(r"<tr>.*?</tr>", text, flags=re.S)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", line, flags=re.S) for line in lines]
    assert rows
    assert not [row for row in rows if len(row) > 1 and not any(cell.strip(" -\n") for cell in row[1:])]


@pytest.mark.long
def test_one_setting_of_validate_weighs_an_eighth_of_two_megabytes_at_most() -> None:
    """Three runs of 12 matrices, 161 records, in noise, which does not compress; the rest of the page is small."""
    draw = np.random.default_rng(0)
    keys = {("measured", place): f"measured, seed {place}" for place in range(3)} | {("theory", 0): "theory from 1"}
    steps = np.repeat(np.arange(0, 1610, 10), 12)
    parts = {
        key: pd.DataFrame(
            {
                "series": series,
                "matrix": [f"blocks.{j // 6}.{'abcdef'[j % 6]}" for j in range(12)] * 161,
                "step": steps,
                "weight_rms": draw.uniform(0.1, 0.2, len(steps)),
                "angular_update": draw.uniform(0.01, 0.02, len(steps)),
            }
        )
        for key, series in keys.items()
    }
    figure = trajectory_figure(pd.concat(parts, names=["source", "place", None]), title="t", num_runs=3, num_steps=1600)
    shown = for_page(figure)
    assert len(str(shown)) < 250_000
    link = shown["data"]
    assert isinstance(link, dict)
    assert link["file"] == "trajectory-t.csv.gz"
    kept = gzip.decompress(base64.b64decode(link["href"].partition(",")[2]))
    assert len(pd.read_csv(io.BytesIO(kept))) == len(figure.table)
    assert "3 seeds: over the second half they differ by" in figure.caption


def test_the_csv_holds_what_was_measured(study: tuple[Path, list[Run]], page: Path) -> None:
    run = study[1][0]
    loss = pd.read_csv(page.parent / "report" / "loss.csv")
    assert loss[loss["run"] == run.path.name]["loss"].to_numpy() == pytest.approx(run.losses, rel=1e-6)
    table = pd.read_csv(page.parent / "report" / "trajectory-adamw-lr-0.03-wd-2-scale-invariant.csv")
    measured = table[table["series"] == f"measured, seed {run.config.seed}"]
    assert measured["weight_rms"].to_numpy() == pytest.approx(run.trajectory.weight_rms.ravel(), rel=1e-6)


@pytest.mark.long
def test_odd_runs_are_reported_and_not_pooled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One step, no decay, diverged at once, two widths: no traceback, no verdict, no shared file."""
    short = Constant(num_steps=3)
    configs = [
        tiny_config(schedule=Constant(num_steps=1)),
        tiny_config(optimizer=AdamW(learning_rate=0.01, weight_decay=0.0), schedule=short),
        tiny_config(model=replace(preset("cpu-16", "gpt2"), embedding_init_rms=1000.0), schedule=short),
        tiny_config(model=preset("cpu-32", "scale-invariant"), schedule=short),
        tiny_config(schedule=Cosine(num_steps=3)),
    ]
    for config in configs:
        train_run(Job(tmp_path, training_label(config), config))
    assert main(["report", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{tmp_path / 'report.html'}\n", "")
    runs = [load_run(path) for path in find_runs(tmp_path)]
    assert len(group_runs(runs)) == len(configs)
    assert not [row for row in prediction_rows(group_runs(runs), []) if row.verdict]
    text = (tmp_path / "report.html").read_text()
    assert "judged" not in text.partition("<nav")[0]
    for word in ("Without weight decay", "did not end", "Too short to settle", "One seed"):
        assert word in text
    assert len(list((tmp_path / "report").glob("trajectory-*.csv"))) == len(configs)


def test_what_is_not_there_is_not_spoken_of(
    study: tuple[Path, list[Run]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table of held-out settings where nothing is held out, no simulation in the legend of one run."""
    legends: list[set[str]] = []

    def read_legend(picture: Picture, _: int) -> bytes:
        legends.append({text.get_text() for text in picture.legends[0].get_texts()} if picture.legends else set())
        return b""

    monkeypatch.setattr("experiments.reports.run_figures.png_bytes", lambda picture, _: b"")
    monkeypatch.setattr("experiments.reports.leave_one_out_figures.png_bytes", read_legend)
    run = study[1][0]
    simulated = [run for run in study[1] if isinstance(run.config, SimulationConfig)]
    other = replace(run.config, optimizer=AdamW(learning_rate=0.01, weight_decay=2))  # type: ignore[arg-type]
    for runs, held_out, sources in (
        ([run], False, {"theory"}),
        ([run, replace(run, config=other), *simulated], True, {"theory", "simulation"}),
    ):
        directory = tmp_path / str(len(runs))
        directory.mkdir()
        text = write_report(runs, directory, title="t", judged=False).page.read_text()
        assert ("held-out settings" in text) == ("no other setting" in text) == held_out
        assert bool(list(directory.rglob("held-out-summary*"))) == held_out
        assert legends[0] == sources
        legends.clear()


def test_more_settings_than_colours(study: tuple[Path, list[Run]]) -> None:
    run = study[1][0]
    optimizers = [AdamW(learning_rate=k / 1000, weight_decay=0.1) for k in range(1, 13)]
    runs = [replace(run, config=replace(run.config, optimizer=each)) for each in optimizers]  # type: ignore[arg-type]
    assert len({setting.title for setting in group_runs(runs)}) == len(runs)
    figure = loss_figure(losses_table(runs))
    assert len(figure.table) == len(runs) * len(run.losses)
    assert figure.png.startswith(b"\x89PNG")


def test_a_directory_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"{tmp_path}: holds no finished run\n")
    assert not list(tmp_path.iterdir())
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "gpu-check.csv").write_text("part\n")
    assert main(["report", str(tmp_path)]) == 2
    assert f"is its table, {tmp_path / 'results' / 'gpu-check.csv'}\n" in capsys.readouterr().err


def test_a_simulation_of_an_optimizer_that_is_not_compared_is_listed(
    study: tuple[Path, list[Run]], tmp_path: Path
) -> None:
    run = next(run for run in study[1] if isinstance(run.config, SimulationConfig))
    config = replace(run.config, optimizer=Lion(learning_rate=1e-3, weight_decay=0.1))
    report = write_report([replace(run, config=config)], tmp_path, title="one", judged=False)
    assert not report.predictions
    assert run.path.name in (tmp_path / "report" / "runs.csv").read_text()
