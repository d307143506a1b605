"""``lrbend predict``: values worked out by hand, tables, words."""

import csv
import os
from pathlib import Path

import pytest

from experiments.cli.main import main
from tests.experiments.cli.said import strict_json
from theory import radial, valley

PREDICT = ["predict", "--learning-rate", "1e-3", "--weight-decay", "0.1", "--num-steps", "20000"]


def test_predict_gives_the_values_worked_out_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PREDICT, "--initial-rms", "0.02", "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["equilibrium_rms"] == pytest.approx(0.0707, rel=0.01)
    assert result["relaxation_steps"] == pytest.approx(5000)
    assert result["num_relaxations"] == pytest.approx(4.0)
    assert result["angular_update_equilibrium"] == pytest.approx(0.00324, rel=0.01)
    assert result["transient_steps"] == pytest.approx(11_200, rel=0.02)
    assert result["reaches_equilibrium"] is True


def test_predict_says_null_where_the_equilibrium_is_not_reached(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*PREDICT[:-1], "5000", "--json"]
    assert main(arguments) == 0
    result = strict_json(capsys.readouterr().out)
    assert result["transient_steps"] is None
    assert result["reaches_equilibrium"] is False


@pytest.mark.parametrize("flags", [[], ["--network", "scale-invariant"]])
def test_more_steps_than_memory_are_refused_before_any_is_taken(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 100
    assert main([*PREDICT[:-1], str(steps), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "not enough memory; ask for fewer steps" in line


def test_lists_give_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    arguments = ["predict", "--learning-rate", "1e-3", "3e-3", "--weight-decay", "0.1", "0.3", "1"]
    assert main([*arguments, "--num-steps", "100", "--json", "--csv", str(table)]) == 0
    settings = strict_json(capsys.readouterr().out)["settings"]
    assert isinstance(settings, list)
    assert [(s["learning_rate"], s["weight_decay"]) for s in settings] == [
        (rate, decay) for rate in (1e-3, 3e-3) for decay in (0.1, 0.3, 1)
    ]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["equilibrium_rms"]) for row in rows] == [s["equilibrium_rms"] for s in settings]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamh"])
def test_every_optimizer_and_schedule_in_words_and_in_json(
    optimizer: str, schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", "--optimizer", optimizer, "--schedule", schedule, "--learning-rate", "0.01"]
    assert main([*arguments, "--num-steps", "300", "--warmup-steps", "10"]) == 0
    assert "norm" in capsys.readouterr().out or optimizer == "adamw"
    assert main([*arguments, "--num-steps", "300", "--json"]) == 0
    strict_json(capsys.readouterr().out)


@pytest.mark.long
@pytest.mark.parametrize(
    ("optimizer", "extra"),
    [
        ("adamc", []),
        ("adam-l2", []),
        ("sgdm", ["--gradient-rms", "0.1"]),
        ("lion", []),
        ("signsgdm", []),
        ("muon", ["--shape", "64", "256"]),
        ("muonh", ["--shape", "64", "64"]),
    ],
)
def test_every_optimizer_of_the_theory_can_be_asked(
    optimizer: str, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PREDICT, "--optimizer", optimizer, *extra, "--json"]) == 0
    result = strict_json(capsys.readouterr().out)
    assert 0 < float(str(result["angular_update_equilibrium"])) < 0.1


def test_a_decay_that_takes_the_norm_away_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    setting = ["--learning-rate", "1e-2", "--weight-decay", "0.3", "--num-steps", "20000", "--schedule", "cosine"]
    assert main(["predict", *setting]) == 0
    assert "takes it away again" in capsys.readouterr().out


def rows_of(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_a_trajectory_has_a_row_per_record(tmp_path: Path) -> None:
    """Thinned to what a plot can show, or as asked; the first step and the last are there."""
    path = tmp_path / "run.csv"
    assert main([*PREDICT, "--initial-rms", "0.03", "--trajectory", str(path)]) == 0
    rows = rows_of(path)
    assert list(rows[0]) == ["step", "weight_rms", "angular_update"]
    assert [row["step"] for row in rows] == [*range(0, 20_000, 20), 19_999]
    assert rows[0]["weight_rms"] == pytest.approx(0.03)
    assert rows[-1]["weight_rms"] == pytest.approx(0.0701, rel=0.01)
    assert rows[-1]["angular_update"] == pytest.approx(0.0033, rel=0.02)

    assert main([*PREDICT, "--trajectory", str(path), "--record-every", "9000"]) == 0
    assert [row["step"] for row in rows_of(path)] == [0, 9000, 18_000, 19_999]
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.csv"]


def test_several_starts_give_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts, path = ["0.02", "0.07", "0.5"], tmp_path / "run.csv"
    flags = [*PREDICT[:-1], "5000", "--initial-rms", *starts]
    assert main([*flags, "--json", "--trajectory", str(path), "--record-every", "2500"]) == 0
    settings = strict_json(capsys.readouterr().out)["settings"]
    assert [row["initial_rms"] for row in settings] == [0.02, 0.07, 0.5]
    assert [row["steps_to_equilibrium"] for row in settings] == pytest.approx([11_210, 0, 30_900], rel=5e-3)
    assert [row["initial_rms"] for row in rows_of(path)] == [0.02] * 3 + [0.07] * 3 + [0.5] * 3

    assert main(flags) == 0
    explained, table = capsys.readouterr().out.split("\n\n", maxsplit=1)
    assert {line.split(":")[0] for line in explained.splitlines()} >= {"transient_steps", "reaches_equilibrium"}
    header, *rows = table.splitlines()
    assert header.split()[:3] == ["learning_rate", "weight_decay", "initial_rms"]
    assert [row.split()[2] for row in rows[:3]] == starts
    assert any("lrbend convert --to adamh" in row for row in rows)
    assert any(row == "Assumed: beta1 0.9, beta2 0.95, eps 1e-08, a constant rate without warmup." for row in rows)


@pytest.mark.parametrize(
    ("flags", "idle"),
    [
        (["--beta2", "0.999"], True),
        ([], False),
        (["--beta2", "0.999", "--network", "scale-invariant"], False),
        (["--beta2", "0.999", "--finite-beta2"], False),
        (["--beta2", "0.999", "--optimizer", "adam-l2"], False),
    ],
)
def test_a_beta2_that_does_nothing_is_told(flags: list[str], idle: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PREDICT[:-1], "200", *flags]) == 0
    said = capsys.readouterr().out
    assert ("beta2 0.999 does not act in white noise; --network scale-invariant counts it." in said) == idle
    assert ("Given: beta2 0.999." in said) == bool(flags)


def test_a_run_that_is_too_short_says_how_far_it_gets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PREDICT[:-1], "5000"]) == 0
    said = capsys.readouterr().out
    assert "At the peak rate it takes 11,211 steps, and the run is worth 5,000 of those (45%); it ends at 81%" in said
    assert "An initial RMS of 0.07068 would have no transient." in said
    assert "0.0032445    rad per step, 0.186 degrees" in said
    wild = ["predict", "--learning-rate", "0.1", "--weight-decay", "1", "--num-steps", "100"]
    assert main(wild) == 0
    assert "has a transient too, of 38 steps" in capsys.readouterr().out


def test_trajectories_of_several_settings_name_them(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    several = ["predict", "--learning-rate", "1e-3", "3e-3", "--weight-decay", "0.1", "1", "--num-steps", "50"]
    assert main([*several, "--trajectory", str(path), "--record-every", "10"]) == 0
    rows = rows_of(path)
    assert list(rows[0]) == ["learning_rate", "weight_decay", "step", "weight_rms", "angular_update"]
    assert [(row["learning_rate"], row["weight_decay"], row["step"]) for row in rows] == [
        (rate, decay, step) for rate in (1e-3, 3e-3) for decay in (0.1, 1) for step in (0, 10, 20, 30, 40, 49)
    ]


def test_the_answer_says_which_network_it_speaks_of(capsys: pytest.CaptureFixture[str]) -> None:
    """The ratio moves the norm, the memory of the second moment the transient; the angle at equilibrium stays."""
    said = {}
    for name, flags in {
        "white": [],
        "invariant": ["--network", "scale-invariant"],
        "white direction": ["--network", "scale-invariant", "--direction", "white"],
        "own direction": ["--direction", "0.5"],
        "early": ["--network", "scale-invariant", "--early-gradients", "10", "300"],
    }.items():
        assert main([*PREDICT, "--beta2", "0.999", *flags, "--json"]) == 0
        said[name] = strict_json(capsys.readouterr().out)
    assert (said["white"]["network"], said["white"]["direction_ratio"]) == ("white-noise", 1)
    assert (said["invariant"]["network"], said["invariant"]["direction_ratio"]) == ("scale-invariant", 0.885)
    rms = {name: answer["equilibrium_rms"] for name, answer in said.items()}
    assert rms["own direction"] == pytest.approx(0.5 * rms["white"], rel=1e-12)
    assert rms["invariant"] == pytest.approx(0.885 * rms["white direction"], rel=1e-12)
    assert rms["white direction"] == pytest.approx(rms["white"], rel=1e-3)
    for answer in said.values():
        assert answer["angular_update_equilibrium"] == pytest.approx(0.00324, rel=0.01)
    assert said["white direction"]["transient_steps"] > 1.2 * said["white"]["transient_steps"]
    assert said["early"]["transient_steps"] > said["invariant"]["transient_steps"]

    assert main([*PREDICT, "--network", "scale-invariant"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Network scale-invariant, direction 0.885 of white noise: ")


def test_a_norm_that_is_held_does_not_settle_lower(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--optimizer", "adamh", "--learning-rate", "0.01", "--num-steps", "100"]) == 0
    said = capsys.readouterr().out
    assert "adamh holds the norm" in said
    assert "settle lower" not in said


def test_each_kind_of_matrix_of_gpt2_has_its_law(capsys: pytest.CaptureFixture[str]) -> None:
    settled = {}
    for kind in ("up-down", "value-output", "query-key"):
        assert main([*PREDICT, "--network", "gpt2", "--kind", kind, "--json"]) == 0
        answer = strict_json(capsys.readouterr().out)
        assert answer["matrix_kind"] == kind.replace("-", ", ")
        settled[kind] = answer["equilibrium_rms"]
    laws = {kind: radial.KINDS[kind.replace("-", ", ")] for kind in settled}
    for kind, law in laws.items():
        assert settled[kind] == pytest.approx(float(radial.equilibrium(1e-3, 0.1, 0.9, law=law).weight_rms))
    assert main([*PREDICT, "--network", "gpt2"]) == 0
    assert "Network gpt2 for up, down matrices (the MLP's" in capsys.readouterr().out
    assert main([*PREDICT, "--network", "gpt2", "--kind", "query-key"]) == 0
    said = capsys.readouterr().out
    assert "no law is known that holds" in said
    assert "Pythia" not in said
    assert main([*PREDICT, "--kind", "query-key"]) == 2
    assert "--kind query-key: needs --network gpt2" in capsys.readouterr().err


def test_a_start_can_be_a_multiple_of_equilibrium(capsys: pytest.CaptureFixture[str]) -> None:
    rates = ["--learning-rate", "3e-3", "1e-3"]
    assert main([*PREDICT, *rates, "--initial-rms", "Equilibrium", "2x", "--json"]) == 0
    settings = strict_json(capsys.readouterr().out)["settings"]
    assert [row["initial_rms"] / row["equilibrium_rms"] for row in settings] == pytest.approx([1, 2, 1, 2])
    assert [row["transient_steps"] == 0 for row in settings] == [True, False, True, False]
    assert main([*PREDICT, "--initial-rms", "2x"]) == 0  # a single one; the words name no factor, the column the number
    assert "initial_rms                  0.14136" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["twice"], "twice: must be a number, equilibrium, or a multiple like 2x"),
        (["x"], "x: must be a number"),
        (["0x"], "0x: the multiple of the equilibrium must be above 0"),
        (["2x", "--optimizer", "adamh"], "2x: adamh holds the norm"),
        (["2x", "--weight-decay", "0"], "2x: without decay there is no equilibrium"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "simulate"])
def test_a_start_that_there_is_not(
    command: str, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([command, "--learning-rate", "1e-3", "--num-steps", "100", "--initial-rms", *flags])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"--initial-rms {said}" in line


def test_what_a_falling_rate_takes_through_equilibrium_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    """From above a cosine passes, and is too short to settle; a trapezoid is there before its decay begins."""
    cosine = [*PREDICT[:-1], "30000", "--schedule", "cosine", "--initial-rms", "2x"]
    assert main([*cosine, "--json"]) == 0
    answer = strict_json(capsys.readouterr().out)
    assert answer["transient_steps"] is not None
    assert answer["reaches_equilibrium"] is False
    assert "passes it: no end of a transient" in answer["note"]
    assert "would not reach equilibrium (reaches_equilibrium)" in answer["note"]
    assert main([*cosine[:-1], "0.02", "2x"]) == 0
    table = capsys.readouterr().out
    assert "\ntransient_steps: first step after which" in table
    assert "\nreaches_equilibrium: whether as many steps at the peak rate" in table
    assert main([*PREDICT[:-1], "30000", "--schedule", "wsd", "--initial-rms", "2x", "--json"]) == 0
    assert "The schedule ends at 0, and with it the angle." in table
    assert "passes it" not in strict_json(capsys.readouterr().out)["note"]  # within 5 % before the decay begins


@pytest.mark.parametrize("beta1", ["0.9", "0.5"])
def test_the_direction_of_a_valley(beta1: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, ratio in (
        ("valley(1.15)", valley.direction_ratio(1.15, float(beta1))),
        ("valley(1.15, 0.31)", valley.direction_ratio(1.15, float(beta1), 0.31)),
    ):
        assert main([*PREDICT, "--beta1", beta1, "--direction", words, "--json"]) == 0
        assert strict_json(capsys.readouterr().out)["direction_ratio"] == float(ratio)
    for wrong in ("valley", "valley()", "valley(-1)", "valley(1,2,3)", "valley(1,0)", "valley(1e6)", "valley(x)"):
        assert main([*PREDICT, "--direction", wrong]) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert f"--direction {wrong}" in said.err


PYTHIA = "predict --network gpt2 --beta2 0.999 --schedule cosine --final-fraction 0.1 --warmup-steps 200"


@pytest.mark.long
@pytest.mark.parametrize(("decay", "name"), [("0.01", "seed3"), ("0.01", "seed4"), ("0.05", None)])
def test_pythia_by_the_command(decay: str, name: str | None, tmp_path: Path) -> None:
    """Somebody else's runs of 20,000 steps; white noise is 84 % off before step 5,000 and 15 % from there on."""
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: github.com/tiexinding/NPM-Weibull-public is not here")
    table = tmp_path / "run.csv"
    setting = ["--num-steps", "20000", "--initial-rms", "0.02", "--learning-rate", "1e-3", "--weight-decay", decay]
    assert main([*PYTHIA.split(), *setting, "--trajectory", str(table), "--record-every", "1"]) == 0
    predicted = {int(row["step"]): row["weight_rms"] for row in rows_of(table)}
    file = f"pythia_lr1e-3_wd{decay}{'' if name is None else '_' + name}.csv"
    with (Path(root) / "npm_weibull" / file).open() as source:
        measured = {int(row["step"]): float(row["weight_rms"]) for row in csv.DictReader(source)}
    error = {step: abs(predicted[step] / rms - 1) for step, rms in measured.items() if step in predicted}
    assert len(error) > 10
    assert max(value for step, value in error.items() if step < 5000) < 0.2
    assert max(value for step, value in error.items() if step >= 5000) < 0.1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--learning-rate 1e-3 --weight-decay 0.1", False),
        ("--learning-rate 0.032 --weight-decay 0.8 --beta2 0.99", True),
        ("--learning-rate 1e-3 --weight-decay 0.1 --beta2 0.9995", True),
        ("--learning-rate 1e-3 0.03 --weight-decay 0.1", True),
        ("--learning-rate 0.03 --weight-decay 0", False),
        ("--learning-rate 0.03 --weight-decay 0.1 --optimizer lion", False),
        ("--learning-rate 0.03 --weight-decay 0.1 --decay coupled", False),
    ],
)
def test_where_real_transients_were_not_met_is_told(flags: str, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"predict --num-steps 800 {flags}".split()) == 0
    assert ("is at most 0.25 and rate x decay at most 0.002" in capsys.readouterr().out) == told
