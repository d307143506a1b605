"""Series that only the names of runs tell apart."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.cli.main import main
from experiments.tables.names import telling_word

RATES = 1e-3 * 2.0 ** np.arange(6)


def write_sweep(path: Path, shift: float, *, broken: bool = False) -> None:
    """Three sizes with optima at 4e-3 x size^-0.5; a second series of half the rates, ``shift`` nats above, only its
    names tell it."""
    rows = ["run_name,lr,N,loss"]
    for size in (1e8, 2e8, 4e8):
        best = 4e-3 * (size / 1e8) ** -0.5
        for number, rate in enumerate(RATES):
            loss = 3 + 0.1 * np.log(rate / best) ** 2
            rows.append(f"exp7-{size:.0e}-cosine-lr{rate:.2e}-a{number}f,{rate:.6g},{size:.0f},{loss:.5f}")
            if number % 2:
                rows.append(f"exp7-{size:.0e}-decay-lr{rate:.2e}-b{number}f,{rate:.6g},{size:.0f},{loss + shift:.5f}")
    if broken:
        rows.append(f"exp7-again-x,{RATES[2]:.6g},100000000,{3.9:.5f}")
    path.write_text("\n".join(rows) + "\n")


def fit(path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert main(["fit", str(path), "--json", *flags]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_words_of_two_series_are_named_and_either_flag_tells_them_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.csv"
    write_sweep(path, 0.3)
    (warning,) = (w for w in fit(path, capsys)["warnings"] if "nats apart" in w)
    assert "by the words decay and cosine in run_name" in warning
    _, flag = shlex.split(warning[warning.index("--where ") :])[:2]
    assert flag == "run_name!=*decay*"
    after = fit(path, capsys, "--where", flag)
    assert not [w for w in after["warnings"] if "nats apart" in w]
    (group,) = after["groups"]
    assert group["exponents"]["num_params"]["value"] == pytest.approx(-0.5, abs=0.02)


def test_one_broken_run_is_no_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.csv"
    write_sweep(path, 0.0, broken=True)
    text = str(fit(path, capsys)["warnings"])
    assert "by the word" not in text
    assert "leaves it out" in text


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a-base-1", "b-wide-2", "c-base-3", "d-wide-4"], True),
        (["a-base-1", "b-base-2", "c-base-3", "d-wide-4"], False),  # one of two
        (["a1base", "b1wide", "c1base", "d1wide"], False),  # parts of a hash
        ([3, 4, 5, 6], False),
    ],
)
def test_a_word_stands_between_signs_and_tells_half_of_what_is_far_apart(names: list[str | int], told: bool) -> None:
    low, high = np.array([0, 2]), np.array([1, 3])
    found = telling_word([("name", names)], low, high, np.array([True, True]))
    assert (found is not None) == told


def test_a_word_that_replicates_differ_in_tells_nothing() -> None:
    names = ["base", "wide"] * 5
    low, high = np.arange(0, 10, 2), np.arange(1, 10, 2)
    assert telling_word([("name", names)], low, high, np.array([True, True, False, False, False])) is None
