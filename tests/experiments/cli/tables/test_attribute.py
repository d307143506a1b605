"""``lrbend attribute``: from a table of runs, or of optima, to parts, rivals and a page; bad input is one line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.planted_optima import grid

OPTIMA = Path(__file__).parents[4] / "docs" / "solvable-bend" / "optima.csv"
BENDS = {"adamw": 0.3, "replay": 0.3, "adamh": 0.0}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of three arms on shared seeds; AdamW bends by its angles alone. ``rival`` bends as well and moves nothing,
    ``culprit`` moves the optimum of every arm but bends nowhere."""
    rng, rows = np.random.default_rng(0), []
    for key, u, v in grid(4):
        apart, culprit = 0.3 * rng.normal(), 0.3 * rng.normal()
        for arm, bend in BENDS.items():
            optimum = -6 - 0.3 * u - 0.2 * v + bend * u**2 / 2 + 0.1 * culprit
            if arm == "adamh":
                optimum = optimum / 2
            for seed in range(2):
                for step in range(-2, 3):
                    x = optimum + np.log(2) * step + 0.2
                    loss = 3 + 0.1 * (x - optimum) ** 2 + 0.001 * rng.normal()
                    row = {**key, "learning_rate": np.exp(x), "loss": loss, "seed": seed, "arm": arm}
                    columns = {"rival": np.exp(0.4 * u - 0.3 * u**2 + apart), "culprit": np.exp(culprit)}
                    rows.append({**row, **columns, "mean_angle": np.exp(x * (1 if arm == "adamh" else 0.5))})
    path = tmp_path_factory.mktemp("table") / "runs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main(["attribute", *map(str, arguments), "--json"]) == 0
    return strict_json(capsys.readouterr().out)


@pytest.mark.long
def test_runs_to_parts_rivals_and_a_page(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(
        capsys, table, "--rival", "rival", "--rival", "culprit=0.1", "--mean-angle", "mean_angle", "--out", tmp_path
    )
    parts = found["axes"]["num_params"]["parts"]
    for name, truth in (("bend", 0.3), ("both", 0.3), ("left", 0.0), ("norm, angles own", 0.0)):
        assert parts[name]["low"] <= truth <= parts[name]["high"]
        assert parts[name]["high"] - parts[name]["low"] < 0.2
    assert parts["bend"]["verdict"] == "bends-up"
    assert parts["angle"]["value"] is None
    assert parts["both, straight law"]["value"] == pytest.approx(parts["both"]["value"], abs=0.02)
    verdicts = {rival["column"]: rival["axes"]["num_params"]["verdict"] for rival in found["rivals"]}
    assert verdicts == {"rival": "cannot-explain", "culprit": "cannot-explain"}
    assert found["num_cells"] == 16
    assert found["num_rows"] == 480
    page = Path(found["report"])
    text = page.read_text()
    assert "<td>straight within 0.07</td>" in text
    assert "the 90 % interval lies inside" in text
    assert all(name.startswith("data:") for name in re.findall(r'(?:src|href)="([^"]+)"', text))
    for name in re.findall(r'download="([^"]+)"', text):
        assert len(pd.read_csv(tmp_path / "attribution" / name))
    written = pd.read_csv(tmp_path / "attribution" / "parts.csv")
    assert written[written["axis"] == "num_params"].set_index("part").loc["bend", "curvature"] == pytest.approx(
        parts["bend"]["value"], rel=1e-4
    )


def test_the_same_in_words(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attribute", str(table), "--rival", "rival"]) == 0
    text = capsys.readouterr().out
    assert "480 of 480 rows read." in text
    assert "adamw (own angles, own norm)" in text
    assert "not identifiable (no arm with steady angles, norm own" in text
    assert "rival: exponent to the optimum" in text
    assert "] straight within 0.07 " in text
    explained = ("Columns: part; curvature", "straight within 0.07: the 90 % interval lies inside +-0.07")
    assert all(words in text.split("Curvature along")[0] for words in explained)


def test_the_committed_optima_of_the_solvable_model(capsys: pytest.CaptureFixture[str]) -> None:
    arms = ["reference=own:own", "reference predicted=own:fixed", "equilibrium start=steady:own"]
    flags = [part for arm in [*arms, "adamh=steady:fixed:angle"] for part in ("--arm", arm)]
    found = answer(capsys, OPTIMA, "--optima", "--where", "problem=mixed", *flags)
    for axis in found["axes"].values():
        parts = {name: part["value"] for name, part in axis["parts"].items()}
        assert parts["angle"] + parts["norm"] + parts["left"] == pytest.approx(parts["bend"])
        share = axis["parts"]["bend"]["share"]
        assert share[0] == pytest.approx(1)
    assert found["num_cells"] == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arm", "adamw=own"], "--arm adamw=own: must be ANGLES:NORM"),
        (["--arm", "adamw=own:loose"], "one of own, fixed"),
        (["--arm", "lion=own:own"], "--arm lion: must be one of adamh, adamw, replay"),
        (["--arm", "adamw=own:own", "--arm", "replay=own:own"], "another corner"),
        (["--arm", "adamw"], "--arm adamw: must be NAME=VALUE"),
        (["--rival", "sharpness"], "'sharpness' is not one further column"),
        (["--rival", "rival=steep"], "'steep' is not a number from -1e+06 to 1e+06"),
        (["--rival", "rival=nan"], "'nan' is not a number"),
        (["--rival", "rival=-1e200"], "'-1e200' is not a number"),
        (["--rival", "rival", "--rival", "rival=1"], "given twice"),
        (["--rival", "arm"], "none of 480 rows can be used"),
        (["--delta", "0"], "--delta 0.0: must be a finite number at least 1e-06 and at most 100"),
        (["--delta", "1e-310"], "--delta 1e-310: must be"),
        (["--steepest", "-1", "--rival", "rival"], "--steepest"),
        (["--steepest", "1e308", "--rival", "rival"], "--steepest 1e+308: must be"),
        (["--arm-column", "group"], "--group group: "),
        (["--where", "arm=lion"], "--where arm=lion: no such row"),
        (["--optima", "--rival", "rival"], "has no runs for --rival"),
        (["--optima", "--where", "planet=mars"], "no such column"),
        (["--optima", "--group", "a", "--group", "b"], "one column holds the arm, not a and b"),
        (["--optima"], "runs.csv: two rows for one cell and arm"),
    ],
)
def test_bad_input_is_one_line(
    table: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refusal(["attribute", str(table), *arguments], capsys)


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin.csv").write_bytes("arm,löss\n".encode("latin-1"))
    (tmp_path / "empty.csv").write_text("")
    for name in ("absent.csv", "latin.csv", "empty.csv", "."):
        for flags in ([], ["--optima"]):
            assert str(tmp_path) in refusal(["attribute", str(tmp_path / name), *flags], capsys)
    (tmp_path / "other.csv").write_text("arm,learning_rate,loss\nlion,0.1,3\nlion,0.2,2\nlion,0.4,3\n")
    assert "none of lion is known by name" in refusal(["attribute", str(tmp_path / "other.csv")], capsys)
