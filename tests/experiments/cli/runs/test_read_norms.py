"""``lrbend read`` on norms of matrices: what it says of equilibrium, sizes, directions, and what a picture lacks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.main import main
from experiments.figures import logs as figures
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.logs.made_logs import white_noise_rows
from theory import AdamW, Constant, predict

ADAMW = AdamW(learning_rate=0.01, weight_decay=0.1, beta1=0.9, beta2=0.95)
FLAGS = ["--weight-decay", "0.1", "--beta1", "0.9", "--beta2", "0.95"]
SIZES = {"h.0.attn.c_attn": 10_000, "h.0.mlp.c_fc": 40_000}


def written(path: Path, name: str, *, num_steps: int = 4000, every: int = 20, direction: float = 1.0) -> list[str]:
    """A text log with Frobenius norms of two matrices; directions, not logged, of a size of their own."""
    rows = white_noise_rows(
        dataclasses.replace(ADAMW, learning_rate=0.01 * direction, weight_decay=0.1 / direction),
        Constant(num_steps=num_steps),
        initial_rms=0.02,
        every=every,
    )
    path.write_text(
        "".join(
            f"iter {row['step']}: loss {3 / row['step'] ** 0.1:.4f}, lr 0.01, "
            + ", ".join(f"{name.format(m)} {row['weight_rms'] * size**0.5:.7g}" for m, size in SIZES.items())
            + "\n"
            for row in rows
        )
    )
    return ["read", str(path), *FLAGS]


def page(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_norms_that_nobody_tells_what_they_are_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = written(tmp_path / "train.log", "norm/{}")
    said = page(words, capsys)
    assert "no weight norm is logged" not in said
    assert "log the weight RMS" not in said
    assert "norm/h.0.attn.c_attn, norm/h.0.mlp.c_fc; --column 'weight_norm=norm/*'" in said
    assert "by theory alone" in said
    assert "by the logged norms" in page([*words, "--column", "weight_norm=norm/*"], capsys)


def test_sizes_by_matrix_make_rms_and_angles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = written(tmp_path / "train.log", "weight_norm/{}")
    unsized = page(words, capsys)
    assert "--matrix-entries 'h.0.attn.c_attn=NUMBER', and so on," in unsized
    assert unsized.index("First and last weight RMS, or the norm") < unsized.index("equilibrium at")
    one = "norms of 2 matrices are logged in"
    assert one in (told := refusal([*words, "--num-entries", "10000"], capsys))
    assert "--matrix-entries 'h.0.attn.c_attn=NUMBER'" in told
    sizes = [word for name, size in SIZES.items() for word in ("--matrix-entries", f"{name}={size}")]
    found = strict_json(page([*words, *sizes, "--json"], capsys))
    alone = strict_json(page([*words, "--json"], capsys))
    truth = predict(ADAMW, Constant(num_steps=4000), initial_rms=0.02)
    assert found["series"]["weight_rms"][-1] == pytest.approx(truth.final_rms, rel=1e-3)
    assert found["series"]["angular_update"][-1] == pytest.approx(truth.final_angular_update, rel=1e-3)
    assert alone["equilibrium_step"] == found["equilibrium_step"] == pytest.approx(truth.transient_steps, abs=60)
    assert [group["settles"] for group in alone["groups"]] == [True, True]
    for given, told in (
        (["x=3"], "it has h.0.attn.c_attn, h.0.mlp.c_fc"),
        (["h.0.mlp.c_fc=0"], "--matrix-entries 0"),
        (["h.0.mlp.c_fc=a"], "--matrix-entries: 'a' is not a whole number"),
        (["3"], "must be NAME=VALUE"),
        (["h.0.mlp.c_fc=3", "h.0.mlp.c_fc=3"], "given twice"),
    ):
        flags = [word for one in given for word in ("--matrix-entries", one)]
        assert told in refusal([*words, *flags], capsys)


@pytest.mark.parametrize(
    ("log", "flags", "cell", "sentence"),
    [
        ({}, [], "1160", "reached at step 1160, by the logged norms"),
        (
            {"num_steps": 500},
            [],
            "never",
            "not reached in this log, by the logged norms: 2 of 2 groups are not within 5%",
        ),
        ({"num_steps": 400, "every": 200}, [], "not known", "not known: the norms tell none with less than 5 records"),
        (
            {"num_steps": 400, "every": 200, "name": "weight_rms/{}"},
            [],
            "never",
            "not reached, by the length of the run and its first norm",
        ),
        ({}, ["--weight-decay", "0"], "never", "never: nothing decays"),
        ({}, ["--decay", "coupled"], "not known", "not known: a decay in the gradient tells no time"),
        ({}, ["--optimizer", "adamh"], "-", "the norm is held, there is no transient"),
    ],
)
def test_whether_it_is_in_equilibrium_is_one_line(
    log: dict[str, Any], flags: list[str], cell: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = written(tmp_path / "train.log", **{"name": "weight_norm/{}", **log})
    words = words[:2] if "adamh" in flags else words
    said = page([*words, *flags], capsys)
    assert f"equilibrium_step             {cell}\n" in said
    (line,) = (line for line in said.splitlines() if line.startswith("equilibrium: "))
    assert line.startswith(f"equilibrium: {sentence}")


def test_a_decay_that_nobody_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = page(written(tmp_path / "train.log", "weight_norm/{}")[:2], capsys)
    assert "equilibrium: not known: no weight decay is told" in said


@pytest.mark.parametrize("direction", [1.0, 0.8, 1.2])
def test_a_direction_that_the_norm_tells(direction: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = written(tmp_path / "train.log", "weight_norm/{}", direction=direction)
    words += [word for name, size in SIZES.items() for word in ("--matrix-entries", f"{name}={size}")]
    said = page(words, capsys)
    assert "by as much, are by logged norm, direction of white noise:\n" in said
    advice = f"one {direction:.2g} times that of white noise"
    assert (advice in said) == ("--direction" in said) == (direction != 1)
    if direction != 1:
        said = page([*words, "--direction", f"{direction:g}"], capsys)
        assert f"by logged norm, direction of white noise at {direction:g}" in said
        assert "no direction is logged" not in said
        found = strict_json(page([*words, "--direction", f"{direction:g}", "--json"], capsys))
        assert found["weight_rms_error_predicted"] < 0.01


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "flags", "norm", "angle"),
    [
        ("weight_norm/{}", FLAGS, "norms are logged, but not of how many entries", "norms are logged, but not"),
        ("norm/{}", [], "without a weight decay theory has none", "without a weight decay theory has none"),
        ("weight_rms/{}", FLAGS, "logged", "from the logged norm"),
    ],
)
def test_a_picture_says_what_it_lacks(
    name: str,
    flags: list[str],
    norm: str,
    angle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn = []
    make = figures.reading_figure
    monkeypatch.setattr(
        figures, "reading_figure", lambda *args, **named: drawn.append(make(*args, **named)) or drawn[0]
    )
    words = written(tmp_path / "train.log", name)[:2]
    page([*words, *flags, "--plot", str(tmp_path / "picture.png")], capsys)
    texts = [[" ".join(text.get_text().split()) for text in ax.texts] for ax in drawn[0].axes]
    assert any(norm in text for text in texts[0])
    assert any(angle in text for text in texts[1])
