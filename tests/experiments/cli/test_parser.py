"""Numbers, help and errors that every command shares."""

from __future__ import annotations

import argparse

import pytest

from experiments.cli.parser import Parser, answer, number, size, whole_number
from experiments.files import BadInput


@pytest.mark.parametrize("text", ["nan", "-nan", "inf", "-inf", "1e999", "", "many", "1e", "0x10", "1,5"])
def test_nonsense_is_no_number(text: str) -> None:
    for kind in (number, whole_number):
        with pytest.raises(argparse.ArgumentTypeError, match=text or "is not"):
            kind(text)


def test_whole_numbers() -> None:
    for text, value in (("12", 12), ("-3", -3), ("1e3", 1000), ("2.5e1", 25), ("9007199254740993", 2**53 + 1)):
        assert (whole_number(text), type(whole_number(text))) == (value, int)
    for text, value in (("100k", 10**5), ("1e5", 10**5), ("100_000", 10**5), ("130M", 130_000_000), ("2^19", 2**19)):
        assert whole_number(text) == value
    assert (whole_number("4.35B"), size("4.35B"), size("1.5"), number("2^-1")) == (4_350_000_000, 4.35e9, 1.5, 0.5)
    for text in ("2.5", "1e-3", "1e17"):  # beyond 2^53 a fraction cannot be told from a whole number
        with pytest.raises(argparse.ArgumentTypeError, match="not a whole number"):
            whole_number(text)


def test_a_flag_that_there_is_not_names_the_one_that_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="it")
    for name in ("learning-rate", "weight-decay", "num-steps", "batch-size", "beta1", "schedule", "final-fraction"):
        parser.add_argument(f"--{name}", required=True, choices=("cosine", "adam-l2"))
    for given, meant in (
        *(
            ("--lr", "--learning-rate"),
            ("--wd", "--weight-decay"),
            ("--steps=9", "--num-steps"),
            ("--bs", "--batch-size"),
        ),
        *(("--beta_1", "--beta1"), ("--Learning_Rate", "--learning-rate"), ("--sched", "--schedule")),
        *(("--min-lr-ratio", "--final-fraction"), ("--num-stpes", "--num-steps"), ("-lr", "--learning-rate")),
    ):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(["--schedule", "cosine", given])
        line = f"it: error: {given.partition('=')[0]}: no such flag; did you mean {meant}?\n"
        assert (stop.value.code, capsys.readouterr().err) == (2, line)
    with pytest.raises(SystemExit):
        parser.parse_args(["--zzz"])
    assert capsys.readouterr().err == "it: error: --zzz: no such flag; it --help shows all\n"
    with pytest.raises(SystemExit):
        parser.parse_args(["--lr", "1", "--zzz", "-3", "--steps=9", "--lr", "2"])
    told = "--lr (--learning-rate?), --zzz, --steps (--num-steps?): no such flags; it --help shows all"
    assert capsys.readouterr().err == f"it: error: {told}\n"


def test_choices_are_read_in_any_case() -> None:
    parser = Parser(prog="it")
    parser.add_argument("--optimizer", choices=("adamw", "adam-l2"))
    assert [parser.parse_args(["--optimizer", text]).optimizer for text in ("ADAMW", "Adam_L2")] == ["adamw", "adam-l2"]


def test_an_error_names_the_flag_and_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="it")
    parser.add_argument("--width", type=number, nargs=2)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--width", "1", "-inf"])
    assert (stop.value.code, capsys.readouterr().err) == (2, "it: error: --width -inf: must be a finite number\n")
    parser.add_argument("--to", required=True)
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert capsys.readouterr().err == "it: error: --to: required\n"


@pytest.mark.parametrize(
    "made_of_it",
    [None, ImportError("initialization failed"), TypeError("no dtype"), OSError(4, "x"), BadInput("not a trajectory")],
)
def test_interrupted(made_of_it: Exception | None, capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: object) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            if made_of_it is not None:
                raise made_of_it from stop
            raise

    assert answer(run, Parser(prog="it").parse_args([]), prog="it", when_stopped="nothing is kept") == 130
    assert capsys.readouterr().err == "it: stopped; nothing is kept\n"


def test_help_shows_defaults_where_there_are_some() -> None:
    parser = Parser(prog="it")
    parser.add_argument("--length", type=int, help="in steps (default: all of them)")
    parser.add_argument("--width", type=int, default=3, help="in units")
    text = parser.format_help()
    assert "all of them)\n" in text
    assert "None" not in text
    assert "in units (default: 3)" in text


@pytest.mark.parametrize(("heard", "code", "expected"), [(True, 1, 130), (False, 1, 1), (True, 0, 0), (True, 130, 130)])
def test_what_failed_after_ctrl_c_was_stopped(
    heard: bool, code: int, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of the work may have taken the interrupt for a fault of its own."""
    monkeypatch.setattr("experiments.cli.parser.was_heard", lambda: heard)
    assert answer(lambda options: code, Parser(prog="it").parse_args([]), prog="it") == expected
    assert capsys.readouterr().err.startswith("it: stopped") == (heard and code == 1)
